"""A config cache: what is answered from memory, and that all else goes the underlying way."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vmexit_sim.configuration import checked
from vmexit_sim.device import load_devices
from vmexit_sim.engine import run
from vmexit_sim.errors import InputError
from vmexit_sim.guest.generators import Spread
from vmexit_sim.guest.table import Flag, Space, make_table
from vmexit_sim.guest.workload import Recorded
from vmexit_sim.hypervisor.platform import load_platform
from vmexit_sim.lowering import lower
from vmexit_sim.mechanisms import make_mechanism
from vmexit_sim.policy import Policy, Rule, load_policy
from vmexit_sim.streams import Streams

COSTS = {"cache_hit": "3 us", "world_switch_out": "10 us", "dispatch_port": "20 us",
         "world_switch_in": "30 us"}  # fmt: skip
US = 1_000_000
REGISTER = 1 << 15 | 0x34


def cached(**parameters: Any) -> dict[str, Any]:
    return {"name": "cached", **parameters}


@pytest.fixture
def kept(run_by: Any) -> Any:
    """Run config accesses of one register in the kernel on the made-up costs above."""

    def run(n: int, parameters: dict[str, Any] | None = None, **columns: Any) -> Any:
        plain = {"location": "kernel", "costs": COSTS, "address": REGISTER}
        return run_by(cached(**parameters or {}), n, platform="ideal", **{**plain, **columns})

    return run


def test_a_miss_a_hit_a_write_and_a_miss_by_hand(kept: Any) -> None:
    # Two exits of 10 + 20 + 30 each for a miss or a write by ports, 3 for a hit.
    ran = kept(4, write=[0, 0, 1, 0])
    assert ran.column("stall") == [120 * US, 3 * US, 120 * US, 120 * US]
    assert ran.stages(1) == {"cache hit": 3 * US}
    assert ran.column("done")[:2] == [(120 - 30) * US, 123 * US]
    assert ran.column("exits") == [2, 0, 2, 2]
    assert ran.exits == {"IO_INSTRUCTION": 6}


@pytest.mark.parametrize(
    ("via", "reasons"),
    [
        ("recorded", {"IO_INSTRUCTION": 2}),
        ("trap_pio", {"IO_INSTRUCTION": 2}),
        ("trap_mmio", {"EPT_MISCONFIG": 1}),
        ("hypercall", {"VMCALL": 1}),
    ],
)
def test_a_miss_goes_the_underlying_way(kept: Any, via: str, reasons: dict[str, int]) -> None:
    assert kept(3, {"via": via}).exits == reasons


def test_what_is_recorded_by_ecam_misses_by_ecam(kept: Any) -> None:
    assert kept(2, flags=Flag.ECAM).exits == {"EPT_MISCONFIG": 1}


def test_command_and_status_are_not_kept_unless_told_to(kept: Any) -> None:
    status = {"address": 1 << 15 | 6, "size": 2}
    assert kept(3, **status).column("exits") == [2, 2, 2]
    assert kept(3, {"exclude": []}, **status).column("exits") == [2, 0, 0]


def test_side_effects_and_volatile_registers_always_exit(kept: Any) -> None:
    assert kept(2, flags=Flag.SIDE_EFFECT).column("exits") == [2, 2]
    assert kept(2, flags=Flag.VOLATILE).column("exits") == [2, 2]
    assert kept(2, {"volatile": True}, flags=Flag.VOLATILE).column("exits") == [2, 0]


def test_a_write_forgets_what_it_is_told_to(kept: Any) -> None:
    columns = {"address": [REGISTER, REGISTER | 8, REGISTER], "write": [0, 1, 0]}
    assert kept(3, **columns).column("exits") == [2, 2, 0]
    assert kept(3, {"invalidate": "function"}, **columns).column("exits") == [2, 2, 2]


def test_each_vcpu_has_a_cache_of_its_own(kept: Any) -> None:
    assert kept(4, vcpu=[0, 0, 1, 1]).column("exits") == [2, 0, 2, 0]


def test_it_is_counterfactual_where_its_way_is() -> None:
    old = make_table(1, space=Space.PCI_CONFIG, has_ecam=False)
    for via, is_counterfactual in (("trap_mmio", True), ("recorded", False)):
        rule = Rule(side="host", mechanism=make_mechanism(cached(via=via)))
        assert Policy(title="one", rules=[rule]).is_counterfactual(old) is is_counterfactual


def test_examples_need_not_show_what_hits() -> None:
    single = Recorded(make_table(1, space=Space.PCI_CONFIG))
    lowered = lower(load_policy("config-cache"), load_platform("ideal"), load_devices(), single)
    assert len(lowered.codes) == 2


def test_a_long_stream_hits_the_same_whatever_the_block_size() -> None:
    stated = {"kind": "spread", "operations": 3_000, "between": "1 us", "read_share": 0.7,
              "space": "pci_config", "absent_share": 0.2}  # fmt: skip
    guest = checked(Spread, stated)
    policy, platform = load_policy("config-cache"), load_platform("kvm-2017")
    lowered = lower(policy, platform, load_devices(), guest)
    small, large = (
        run(lowered, guest, Streams(1), engine="simpy", block_rows=rows) for rows in (64, 4096)
    )
    assert np.array_equal(small.summary.totals, large.summary.totals)
    assert small.finish == large.finish
    reads = small.stage_times()["cache hit"] / platform.costs.duration("cache_hit").mean_ps
    # Of the reads that are answered, all hit but the first and those after a write.
    assert 0 < reads < 0.7 * 0.8 * 3_000


def test_parameters_that_do_not_fit_are_refused() -> None:
    for parameters, says in (
        ({"via": "read_only_page"}, "via: 'read_only_page'"),
        ({"invalidate": "page"}, "invalidate: 'page'"),
        ({"line": 4}, "line"),
        ({"exclude": [[0, 4096]]}, "exclude"),
    ):
        with pytest.raises(InputError, match=says):
            make_mechanism(cached(**parameters))


@settings(max_examples=15, deadline=None,
          suppress_health_check=[HealthCheck.function_scoped_fixture])  # fmt: skip
@given(
    data=st.data(),
    via=st.sampled_from(["recorded", "trap_mmio", "hypercall"]),
    invalidate=st.sampled_from(["register", "function"]),
    line=st.sampled_from(["dword", "byte"]),
    block_rows=st.sampled_from([None, 256]),
)
def test_engines_agree_and_every_access_is_done_in_its_stall(
    data: st.DataObject, tied_config_guests: Any, run_both: Any, via: str, invalidate: str,
    line: str, block_rows: int | None,
) -> None:  # fmt: skip
    table = data.draw(tied_config_guests)
    platform = load_platform("ideal", changes={"to_user": "500 ns", "cache_hit": "500 ns"})
    mechanism = make_mechanism(cached(via=via, invalidate=invalidate, line=line))
    ran = run_both(mechanism, table, platform, block_rows)
    columns = ran.result.to_columns()
    front = [columns[f"stage: {s.name}"] for s in ran.result.summary.stages if s.is_front]
    assert np.array_equal(np.sum(front, axis=0), columns["stall"])
    assert (columns["done"] >= columns["start"]).all()
    assert (columns["done"] <= columns["start"] + columns["stall"]).all()
