"""The reference engine: what holds for every guest under every policy, and known answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vmexit_sim import catalog
from vmexit_sim.analytic import md1_wait, repairman, two_spinners
from vmexit_sim.configuration import checked
from vmexit_sim.device import DeviceCatalog, load_devices
from vmexit_sim.engine import run
from vmexit_sim.errors import SimulationError
from vmexit_sim.guest.generators import Spread
from vmexit_sim.guest.table import NEVER, AccessTable, Agent, Flag, Kind, Space, make_table
from vmexit_sim.guest.workload import NO_CONTEXTS, Recorded, Workload
from vmexit_sim.hypervisor.platform import Platform, VmmLock, load_platform
from vmexit_sim.lowering import lower
from vmexit_sim.measure.records import RunResult
from vmexit_sim.policy import Match, Policy, Rule, load_policy
from vmexit_sim.statistics import Estimate, mean
from vmexit_sim.steps import Role
from vmexit_sim.streams import Streams

US = 1_000_000
BACK_END = "paravirtual_front_end"


def batched(max_wait: str, needs: str) -> Policy:
    mechanism = {"name": "batched_hypercall", "max_batch": 3, "max_wait": max_wait, "needs": needs}
    return Policy(title="timed batches", rules=[Rule(side="guest", mechanism=mechanism)])


@cache
def policies() -> dict[str, Policy]:
    return {
        **{name: load_policy(name) for name in catalog.names("policies")},
        "timed": batched("4 us", "oracle"),
        "timed, as recorded": batched("2 us", "recorded"),
    }


@cache
def devices() -> DeviceCatalog:
    return load_devices()


@cache
def platforms() -> dict[str, Platform]:
    """A measured host, one where ties abound, and one with random costs."""
    whole = dict.fromkeys(
        ["world_switch_in", "dispatch_port", "to_user", "to_kernel", "gather", "item", "injection",
         "refresh_page", "thread_wake_up", "state_change", "page_load", "native_mmio"], "1 us",
    )  # fmt: skip
    chance: dict[str, Any] = {
        name: {"kind": "exponential", "mean": "1 us"}
        for name in ("world_switch_out", "to_user", "item", "dispatch_port", "injection")
    }
    return {
        "kvm-2013": load_platform("kvm-2013"),
        "ties": load_platform("ideal", changes=whole),
        "random": load_platform("ideal", changes=chance),
    }


def ran(policy: Policy, platform: Platform, guest: AccessTable | Workload, *, rows: int = 256,
        seed: int = 1, replication: int = 0) -> RunResult:  # fmt: skip
    workload = Recorded(guest) if isinstance(guest, AccessTable) else guest
    lowered = lower(policy, platform, devices(), workload)
    streams = Streams(seed, replication)
    return run(lowered, workload, streams, engine="simpy", keep_rows=True, block_rows=rows)


def table_of(rows: list[tuple[Any, ...]]) -> AccessTable:
    """A guest from drawn rows, in any order of vCPUs."""
    rows = sorted(rows, key=lambda row: row[0])
    n = len(rows)
    vcpu, space, write, flag, compute, emulate, gap, ahead, device, joins, agent = (
        list(column) for column in zip(*rows, strict=True)
    )
    vcpu = np.unique(vcpu, return_inverse=True)[1]
    begins = np.diff(vcpu, prepend=-1) > 0
    operation = np.cumsum(begins | ~np.array(joins)) - 1
    arrival = np.full(n, NEVER)
    for one in np.unique(vcpu):
        own = np.flatnonzero(vcpu == one)
        due = np.cumsum([max(gap[row], 0) for row in own]) * US
        arrival[own] = np.where([gap[row] >= 0 for row in own], due, NEVER)
    return make_table(
        n, vcpu=vcpu, space=space, write=write, flags=flag, operation=operation,
        compute=np.array(compute) * US, emulate=np.array(emulate) * US, arrival=arrival,
        needed_by=np.where(np.array(ahead) > 0, np.arange(n) + ahead, NEVER),
        kind=np.where(np.array(joins), Kind.BAR_SIZING, Kind.NONE),
        device=device, devices=("nvme", "pit"), agent=agent,
    )  # fmt: skip


FLAGS = [Flag.NONE, Flag.NONE, Flag.ABSENT, Flag.SIDE_EFFECT, Flag.DECODE_TOGGLE, Flag.ECAM,
         Flag.INDEX_ONLY, Flag.WAITED, Flag.WAITED | Flag.ABSENT]  # fmt: skip
ROW = st.tuples(
    st.integers(0, 3),
    st.sampled_from(list(Space)),
    st.booleans(),
    st.sampled_from(FLAGS),
    st.integers(0, 6),
    st.integers(0, 3),
    st.sampled_from([-1, -1, 0, 3, 20]),
    st.integers(0, 3),
    st.integers(0, 1),
    st.booleans(),
    st.sampled_from([Agent.FIRMWARE, Agent.KERNEL, Agent.DRIVER]),
)
GUESTS = st.lists(ROW, min_size=1, max_size=24).map(table_of)
NAMES = sorted([*catalog.names("policies"), "timed", "timed, as recorded"])


def total(result: RunResult, *roles: Role, of_back_end: bool = True) -> np.ndarray:
    """Each access's time in the stages of some roles."""
    columns = result.to_columns()
    sums = np.zeros(len(columns["due"]), np.int64)
    for stage in result.summary.stages:
        if stage.role in roles and (of_back_end or not stage.name.startswith("back end")):
            sums += columns[f"stage: {stage.name}"]
    return sums


def comparable(result: RunResult) -> dict[str, Any]:
    """Everything a run recorded, by vCPU and row; the back end's idling is on no access."""
    columns = result.to_columns()
    order = np.lexsort((columns["row"], columns["vcpu"])) if columns else []
    columns = {
        name: column[order].tolist() for name, column in columns.items()
        if name != "stage: back end idle"
    }  # fmt: skip
    return {**columns, "finish": result.finish, "resources": result.resources,
            "exits": sorted((t.reason, t.samples, t.total) for t in result.exits)}  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=12, deadline=None)
@given(guest=GUESTS, platform=st.sampled_from(["kvm-2013", "ties", "random"]))
def test_time_is_conserved(name: str, guest: AccessTable, platform: str) -> None:
    result = ran(policies()[name], platforms()[platform], guest)
    columns = result.to_columns()
    assert len(columns["due"]) == len(guest) == result.summary.accesses

    # Front stages sum to the stall, back stages to the time from posting to the effect.
    assert (total(result, Role.ACCESS, Role.HYPERVISOR, Role.WAIT) == columns["stall"]).all()
    posted = columns["posted"] >= 0
    late = (columns["done"] - columns["posted"])[posted]
    assert (total(result, Role.BACK)[posted] == late).all()

    # Moments come in order.
    assert (columns["start"] >= columns["due"]).all()
    assert (columns["resume"] >= columns["start"]).all()
    assert (columns["done"] >= columns["start"]).all()
    assert (late >= 0).all()
    assert (columns["done"][~posted] <= columns["resume"][~posted]).all()
    for vcpu in range(guest.vcpus):
        own = guest.vcpu == vcpu
        assert (columns["start"][own][1:] >= columns["resume"][own][:-1]).all()

        # A vCPU computes, idles, is late or stands still, and nothing else.
        roles = (Role.GUEST, Role.POLL, Role.DELAY)
        guest_time = total(result, *roles, of_back_end=False)[own]
        assert result.finish[vcpu] == guest_time.sum() + columns["stall"][own].sum()

    # The guest computes what the table says, whatever the policy.
    computing = ~guest.has(Flag.WAITED)
    zero = np.zeros(len(guest), np.int64)
    computed = columns.get("stage: guest compute", zero)
    assert (computed[computing] == guest.compute[computing]).all()
    # What it waits for comes at its moment, even if an interrupt was served meanwhile.
    for vcpu in range(guest.vcpus):
        own = guest.vcpu == vcpu
        since = columns["start"][own] - np.concatenate([[0], columns["resume"][own][:-1]])
        waited = ~computing[own]
        assert (since[waited] >= guest.compute[own][waited]).all()
    open_loop = guest.arrival != NEVER
    assert (columns["due"][open_loop] == (guest.arrival + guest.compute)[open_loop]).all()
    assert (columns["due"] == columns["start"])[~open_loop].all()

    # Exits are counted alike from both sides, and no server is busier than it can be.
    assert columns["exits"].sum() == sum(t.samples for t in result.exits) == result.summary.exits
    for use in result.resources:
        assert 0 <= use.utilisation <= 1
        if use.tokens:
            assert use.waiting >= 0
            assert use.busy <= use.tokens * use.span


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=2, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(["ties", "random"]))
def test_the_size_of_blocks_changes_no_number(name: str, seed: int, platform: str) -> None:
    rng = np.random.default_rng(seed)
    n = 300
    vcpu = np.sort(rng.integers(0, 2, n))
    operation = np.cumsum((np.diff(vcpu, prepend=0) > 0) | (rng.random(n) < 0.4))
    guest = make_table(
        n, vcpu=vcpu, space=rng.integers(0, 4, n), write=rng.random(n) < 0.5,
        operation=operation, kind=Kind.BAR_SIZING, flags=rng.choice([0, 0, 1, 2, 4, 8, 128], n),
        compute=rng.integers(0, 6, n) * US, emulate=rng.integers(0, 3, n) * US,
        needed_by=np.where(rng.random(n) < 0.4, np.arange(n) + rng.integers(1, 4, n), NEVER),
        device=rng.integers(0, 2, n), devices=("nvme", "pit"),
    )  # fmt: skip
    one, *others = (
        ran(policies()[name], platforms()[platform], guest, rows=r) for r in (512, 64, 32)
    )
    for other in others:
        assert comparable(one) == comparable(other)


def test_where_a_block_ends_ends_no_operation() -> None:
    guest = make_table(8, space=Space.MMIO, write=1, operation=[0, 0, 0, 0, -1, 0, 0, 0])
    mechanism = {"name": "batched_hypercall", "needs": "oracle"}
    policy = Policy(title="batches", rules=[Rule(side="host", mechanism=mechanism)])
    exits = [ran(policy, platforms()["ties"], guest, rows=r).summary.exits for r in (8, 4)]
    assert exits[0] == exits[1] == 1


@dataclass(frozen=True)
class Handed:
    """A workload that hands out its rows in blocks of its own choosing, with idle vCPUs."""

    table: AccessTable
    most: int = 2**20
    idle: int = 0
    is_random: bool = False

    @property
    def vcpus(self) -> int:
        return self.table.vcpus + self.idle

    @property
    def is_whole(self) -> bool:
        return True

    @property
    def contexts(self) -> Mapping[int, int]:
        return NO_CONTEXTS

    def examples(self) -> AccessTable:
        return self.table

    def blocks(self, vcpu: int, streams: Streams, rows: int = 256) -> Iterator[AccessTable]:
        yield from self.table.of_vcpu(vcpu).in_blocks(min(rows, self.most))


def test_only_a_vcpus_last_block_may_be_short() -> None:
    guest = make_table(40, space=Space.MMIO, vcpu=np.repeat([0, 1], 20), compute=1)
    policy = policies()["hypercall"]
    whole = ran(policy, platforms()["ties"], Handed(guest), rows=64)
    parts = ran(policy, platforms()["ties"], Handed(guest), rows=16)
    assert comparable(whole) == comparable(parts)
    with pytest.raises(SimulationError, match="must be full, but for a vCPU's last"):
        ran(policy, platforms()["ties"], Handed(guest, 3), rows=4)


@settings(max_examples=12, deadline=None)
@given(GUESTS, st.sampled_from(NAMES), st.sampled_from(["ties", "random"]), st.integers(1, 2))
def test_an_idle_vcpu_more_changes_nothing_for_the_others(
    guest: AccessTable, name: str, platform: str, idle: int
) -> None:
    policy, host = policies()[name], platforms()[platform]
    alone, beside = (ran(policy, host, Handed(guest, idle=extra)) for extra in (0, idle))
    assert beside.finish == [*alone.finish, *[0] * idle]
    for name_, column in alone.to_columns().items():
        assert np.array_equal(column, beside.to_columns()[name_])


@settings(max_examples=12, deadline=None)
@given(GUESTS, st.sampled_from(NAMES), st.sampled_from(["ties", "random"]), st.integers(0, 99))
def test_the_same_seed_gives_the_same_numbers(
    guest: AccessTable, name: str, platform: str, seed: int
) -> None:
    policy, host = policies()[name], platforms()[platform]
    one, two = (ran(policy, host, guest, seed=seed) for _ in range(2))
    assert comparable(one) == comparable(two)


def test_random_costs_differ_between_seeds_and_replications() -> None:
    guest = make_table(20, space=Space.MMIO)
    policy, host = policies()["hypercall"], platforms()["random"]
    runs = [ran(policy, host, guest, seed=s, replication=r) for s, r in ((1, 0), (1, 1), (2, 0))]
    assert len({result.finish[0] for result in runs}) == 3


def test_a_rule_that_reaches_nothing_shifts_no_draw() -> None:
    guest = make_table(4, space=Space.MMIO)
    rule = Rule(side="host", match=Match(space=["pci_config"]), mechanism="batched_hypercall")
    policies_ = [Policy(title="as recorded"), Policy(title="the same", rules=[rule])]
    one, two = (ran(policy, platforms()["random"], guest).finish for policy in policies_)
    assert one == two


def test_a_guest_without_accesses_is_through_at_once() -> None:
    for name in NAMES:
        result = ran(policies()[name], platforms()["ties"], make_table(0, space=[]))
        assert result.finish == [0]
        assert result.summary.accesses == 0
        assert result.exits == []


def test_an_effect_that_lies_beyond_the_window_is_an_error_not_a_wrong_number() -> None:
    guest = make_table(40, space=Space.MMIO, write=1)
    mechanism = {"name": "batched_hypercall", "needs": "oracle", "max_batch": 1000}
    policy = Policy(title="large batches", rules=[Rule(side="host", mechanism=mechanism)])
    with pytest.raises(SimulationError, match=r"access 0 of vCPU 0 .*raise the block size"):
        ran(policy, platforms()["ties"], guest, rows=8)


def test_config_accesses_by_ports_serialise_on_the_guests_lock() -> None:
    guest = make_table(8, space=Space.PCI_CONFIG, vcpu=np.repeat([0, 1], 4))
    result = ran(policies()["linux-default"], load_platform("ideal"), guest)
    assert result.completion == 8 * 2 * US
    (lock,) = [use for use in result.resources if use.name == "config lock"]
    assert lock.utilisation == 1.0
    begin, end = (np.sort(result.to_columns()[name]) for name in ("done", "resume"))
    assert (np.diff(end) == 2 * US).all()
    assert (begin <= end).all()


@pytest.mark.parametrize(
    ("discipline", "order"), [("fifo", [0, 3, 2, 1]), ("priority", [0, 1, 2, 3])]
)
def test_the_vmms_lock_goes_by_its_discipline(discipline: Any, order: list[int]) -> None:
    # vCPU 0 holds the lock from 1 to 11; the others arrive at 4, 3 and 2.
    guest = make_table(4, space=Space.MMIO, vcpu=np.arange(4), emulate=10 * US,
                       compute=np.array([0, 3, 2, 1]) * US)  # fmt: skip
    lock = VmmLock(discipline=discipline)
    platform = load_platform("ideal").model_copy(update={"vmm_lock": lock})
    done = ran(policies()["hypercall"], platform, guest).to_columns()["done"]
    assert np.argsort(done).tolist() == order
    assert np.sort(done).tolist() == [11 * US, 21 * US, 31 * US, 41 * US]


def spread(**keys: Any) -> Spread:
    plain = {"kind": "spread", "read_share": 1, "space": "pci_config", "between": "0 ns"}
    return checked(Spread, {**plain, **keys})


def throughput(guest: Spread, platform: Platform, policy: str, replications: int) -> Estimate:
    """Accesses per microsecond until the first vCPU is through, over replications."""
    values = []
    for replication in range(replications):
        result = ran(policies()[policy], platform, guest, rows=4096, replication=replication)
        end = min(result.finish)
        values.append(float((result.to_columns()["resume"] <= end).sum()) / (end / US))
    return mean(values, confidence=0.999, unit="1")


def near(estimate: Estimate, theory: float, within: float) -> bool:
    """Theory lies in the estimate's interval, which is not wide."""
    return estimate.holds(theory) and estimate.half_width < within * theory


def test_two_spinners_reach_the_throughput_of_theory() -> None:
    # A config access by ports holds the lock for two exits of 1 us.
    guest = spread(operations=700, vcpus=2, between={"kind": "exponential", "mean": "3 us"})
    estimate = throughput(guest, load_platform("ideal"), "linux-default", 8)
    assert near(estimate, two_spinners(3, 2), 0.06)


@pytest.mark.parametrize("n", [2, 4, 8, 16])
def test_exponential_holders_are_the_machine_repairman(n: int) -> None:
    # Only the emulation costs anything: it runs under the VMM's lock, and under the guest's.
    free = load_platform("ideal", changes={"world_switch_out": "0 ns"})
    guest = spread(
        operations=2400 // n, vcpus=n, between={"kind": "exponential", "mean": "8 us"},
        emulate={"kind": "exponential", "mean": "2 us"},
    )  # fmt: skip
    estimate = throughput(guest, free, "linux-default", 8)
    assert near(estimate, repairman(n, 8, 2), 0.12)


@pytest.mark.parametrize("load", [0.3, 0.7])
def test_spread_hypercalls_wait_as_in_m_d_1(load: float) -> None:
    guest = spread(
        operations=2500,
        space="mmio",
        arrivals={"kind": "exponential", "mean": f"{1 / load:.6f} us"},
    )
    effects = []
    for replication in range(8):
        result = ran(policies()["hypercall"], load_platform("ideal"), guest, rows=4096,
                     replication=replication)  # fmt: skip
        columns = result.to_columns()
        effects.append(float(np.mean(columns["done"] - columns["due"])) / US)
    assert near(mean(effects, confidence=0.999), 1 + md1_wait(load, 1.0), 0.2)


def test_the_mean_number_waiting_obeys_littles_law() -> None:
    guest = spread(operations=300, vcpus=4, between={"kind": "exponential", "mean": "5 us"})
    result = ran(policies()["linux-default"], load_platform("ideal"), guest, rows=512)
    (lock,) = [use for use in result.resources if use.name == "config lock"]
    waited = int(result.to_columns()["stage: wait: config lock"].sum())
    assert lock.waiting == waited
    assert lock.mean_queue == waited / result.completion
    assert lock.takes == 1200
    assert lock.busy == 1200 * 2 * US


def test_a_scaled_guest_computes_longer_and_nothing_else() -> None:
    guest = make_table(5, space=Space.MMIO, compute=3 * US)
    host, policy = platforms()["ties"], policies()["hypercall"]
    one, two = ran(policy, host, guest), ran(policy, host, guest.with_think_scale(2.0))
    assert two.completion - one.completion == 15 * US
    assert replace(guest, compute=guest.compute * 2).compute.tolist() == [6 * US] * 5
    assert one.hypervisor_time == two.hypervisor_time
