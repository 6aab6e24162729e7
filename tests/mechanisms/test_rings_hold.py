"""What holds for every mechanism with rings, on random guests where everything ties."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vmexit_sim import catalog
from vmexit_sim.configuration import checked
from vmexit_sim.device import load_devices
from vmexit_sim.engine import run
from vmexit_sim.guest.table import NEVER, AccessTable, Flag, Space, make_table
from vmexit_sim.guest.workload import Recorded
from vmexit_sim.hypervisor.idle import Idle
from vmexit_sim.hypervisor.platform import load_platform
from vmexit_sim.lowering import HostCpus, lower
from vmexit_sim.measure.records import RunResult
from vmexit_sim.mechanisms import make_mechanism
from vmexit_sim.opened import cached_trace
from vmexit_sim.policy import Match, Policy, Rule, load_policy
from vmexit_sim.steps import Role
from vmexit_sim.streams import Streams

GRID = 500_000
COSTS = {
    "world_switch_out": "500 ns", "signal": "500 ns", "thread_wake_up": "1 us", "gather": "500 ns",
    "pick_up": "500 ns", "injection": "500 ns", "poll_queue": "500 ns", "vcpu_wake_up": "1 us",
}  # fmt: skip


@st.composite
def guests(draw: st.DrawFn) -> AccessTable:
    """Guests on a coarse grid of times, most of whose accesses are requests."""
    vcpus = draw(st.integers(1, 4))
    rows = draw(st.lists(st.integers(1, 20), min_size=vcpus, max_size=vcpus))
    n = sum(rows)

    def column(values: st.SearchStrategy[int]) -> Any:
        return np.array(draw(st.lists(values, min_size=n, max_size=n)))

    needed = np.arange(n) + column(st.integers(1, 6))
    return make_table(
        n,
        vcpu=np.repeat(np.arange(vcpus), rows),
        space=column(st.sampled_from([Space.DOORBELL, Space.DOORBELL, Space.MMIO])),
        write=1,
        compute=column(st.integers(0, 6)) * GRID,
        emulate=column(st.integers(0, 4)) * GRID,
        needed_by=np.where(column(st.integers(0, 2)) == 0, needed, NEVER),
        flags=column(st.sampled_from([0, 0, 0, Flag.WAITED, Flag.DECODE_TOGGLE])),
    )


@st.composite
def mechanisms(draw: st.DrawFn) -> dict[str, Any]:
    """Any mechanism with rings, with any parameters that fit."""
    name = draw(st.sampled_from(["virtqueue", "side_core"]))
    stated = {
        "name": name,
        "queues": draw(st.sampled_from(["vcpu", "guest"])),
        "depth": draw(st.integers(1, 6)),
        "notify": draw(st.sampled_from(["always", "flag", "event_idx"])),
        "completions": draw(st.sampled_from(["interrupt", "interrupt", "polled", "none"])),
    }
    if stated["completions"] == "interrupt":
        stated["waiting"] = draw(st.sampled_from(["spin", "sleep"]))
        match draw(st.sampled_from(["each", "held", "ratio"])):
            case "held":
                stated["interrupt_count"] = draw(st.integers(2, 4))
                stated["interrupt_timer"] = draw(st.sampled_from(["500 ns", "2 us", "5 us"]))
            case "ratio":
                stated["interrupt_ratio"] = "commands_in_flight"
    if name == "side_core":
        stated["burst"] = draw(st.sampled_from([None, 1, 2]))
        stated["idle_off"] = draw(st.sampled_from([None, "500 ns", "3 us"]))
        if stated["idle_off"] is not None:
            stated["on_above"] = draw(st.sampled_from([None, 100_000, 10**6]))
    else:
        stated["kick"] = draw(st.sampled_from(["ioeventfd", "user"]))
    return {key: value for key, value in stated.items() if value is not None}


IDLE: list[dict[str, Any]] = [
    {},
    {"guest": "poll"},
    {"guest": "halt", "guest_poll": {"window": "dynamic", "longest": "4 us", "grow_start": "1 us"}},
    {"guest": "halt", "host_poll": {"window": "always", "longest": "2 us"}},
    {"guest": "halt", "host_poll": {"window": "dynamic", "longest": "4 us", "grow_start": "1 us"}},
]


def both(policy: Policy, table: AccessTable, cpus: HostCpus | None = None) -> RunResult:
    """Run on both engines, insist that they agree to the last bit, and return what they say."""
    platform = load_platform("ideal", changes=COSTS)
    lowered = lower(policy, platform, load_devices(), Recorded(table), cpus)
    one, other = (
        run(lowered, Recorded(table), Streams(7), engine=engine, keep_rows=True)
        for engine in ("simpy", "compiled")
    )
    rows, others = one.to_columns(), other.to_columns()
    assert list(rows) == list(others)
    assert [name for name in rows if not np.array_equal(rows[name], others[name])] == []
    assert one.finish == other.finish
    assert one.exits == other.exits
    assert one.resources == other.resources
    return one


def held(result: RunResult, table: AccessTable, stated: dict[str, Any]) -> None:
    """The invariants: sums of stages, order, dependences."""
    columns = result.to_columns()
    front, back = np.zeros(len(table), np.int64), np.zeros(len(table), np.int64)
    for stage in result.summary.stages:
        if stage.is_front:
            front += columns[f"stage: {stage.name}"]
        elif stage.role is Role.BACK:
            back += columns[f"stage: {stage.name}"]
    assert np.array_equal(front, columns["stall"])
    posted = columns["posted"] >= 0
    assert np.array_equal(posted, table.space == Space.DOORBELL)
    assert np.array_equal(back[posted], (columns["done"] - columns["posted"])[posted])
    assert not back[~posted].any()
    for vcpu in range(table.vcpus):
        done = columns["done"][posted & (table.vcpu == vcpu)]
        assert (np.diff(done) >= 0).all()
    for row, consumer in enumerate(table.needed_by):
        if consumer != NEVER and consumer < len(table) and table.vcpu[consumer] == table.vcpu[row]:
            assert columns["done"][row] <= columns["start"][consumer] - table.compute[consumer]
    if stated["completions"] != "interrupt":
        assert not {"EXTERNAL_INTERRUPT", "APIC_ACCESS"} & {e.reason for e in result.exits}


@settings(max_examples=100)
@given(table=guests(), stated=mechanisms(), idle=st.sampled_from(IDLE))
def test_stages_sum_requests_keep_their_order_and_engines_agree(
    table: AccessTable, stated: dict[str, Any], idle: dict[str, Any]
) -> None:
    rule = Rule(side="host", match=Match(space=["doorbell"]), mechanism=make_mechanism(stated))
    policy = Policy(title="rings", idle=checked(Idle, idle), rules=[rule])
    held(both(policy, table), table, stated)


@settings(max_examples=30)
@given(
    table=guests(), stated=mechanisms(), idle=st.sampled_from(IDLE), cpus=st.integers(2, 3)
)  # fmt: skip
def test_all_is_done_where_threads_share_cpus(
    table: AccessTable, stated: dict[str, Any], idle: dict[str, Any], cpus: int
) -> None:
    # A polling core keeps its CPU; what is left must do for the vCPUs.
    rule = Rule(side="host", match=Match(space=["doorbell"]), mechanism=make_mechanism(stated))
    cpus_of_host = HostCpus(cpus, time_slice=3 * GRID)
    policy = Policy(title="rings", idle=checked(Idle, idle), rules=[rule])
    result = both(policy, table, cpus_of_host)
    held(result, table, stated)


@settings(max_examples=30)
@given(table=guests(), one=mechanisms(), other=mechanisms())
def test_two_mechanisms_with_rings_and_a_batch_live_side_by_side(
    table: AccessTable, one: dict[str, Any], other: dict[str, Any]
) -> None:
    batch = {"name": "batched_hypercall", "max_batch": 3, "max_wait": "1500 ns"}
    rules = [
        Rule(side="host", match=match, mechanism=mechanism)
        for match, mechanism in (
            (Match(space=["doorbell"], device=["net"]), one | {"label": "net"}),
            (Match(space=["doorbell"]), other | {"label": "blk"}),
            (Match(), batch),
        )
    ]
    devices = np.arange(len(table)) % 2
    named = make_table(len(table), **{**table.columns, "device": devices}, devices=("net", "blk"))
    result = both(Policy(title="three", rules=rules), named)
    assert result.summary.accesses == len(table)


@pytest.mark.parametrize("trace", ["net-virtio", "blk-virtio"])
@pytest.mark.parametrize("name", ["vhost", "spdk-like"])
def test_recorded_virtio_guests_run(name: str, trace: str) -> None:
    table = cached_trace(catalog.find("traces", trace), load_devices()).table
    table = table.only(table.space == Space.DOORBELL)
    result = both(load_policy(name), table)
    exits = {tally.reason: tally.samples for tally in result.exits}
    assert exits["EXTERNAL_INTERRUPT"] == exits["APIC_ACCESS"] > 0
    if name == "vhost":
        assert 0 < exits["EPT_MISCONFIG"] <= len(table)
    else:
        assert "EPT_MISCONFIG" not in exits
