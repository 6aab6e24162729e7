"""What an access costs when nobody waits: by hand, and against what an engine records."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vmexit_sim.configuration import Configured, checked
from vmexit_sim.demand import (
    Demand,
    Moments,
    StateDependent,
    Sum,
    Unknown,
    demand_of,
    moments_of,
)
from vmexit_sim.device import load_devices
from vmexit_sim.distributions import Distribution
from vmexit_sim.engine import run
from vmexit_sim.guest.generators import Spread
from vmexit_sim.guest.table import AccessTable, Flag, Space, make_table
from vmexit_sim.guest.workload import Recorded, Workload
from vmexit_sim.hypervisor.access_class import AccessClass
from vmexit_sim.hypervisor.host import Host
from vmexit_sim.hypervisor.platform import load_platform
from vmexit_sim.hypervisor.stages import EMULATE
from vmexit_sim.lowering import Lowered, lower
from vmexit_sim.mechanisms import Mechanism
from vmexit_sim.policy import Match, Policy, Rule
from vmexit_sim.steps import (
    ACCESS,
    Cell,
    Column,
    Length,
    Moment,
    Operand,
    PostedAt,
    Queue,
    Register,
    Role,
    Stage,
    Step,
    Steps,
    book,
    leave,
    let,
    loop,
    release,
    spend,
    stamp,
    take,
    when,
)
from vmexit_sim.streams import Streams

US = 1_000_000
DEVICES = ("nvme", "pit")
"""One in user space, one in the kernel."""


def lowered_by(
    mechanism: Any, *, platform: str = "ideal", costs: dict[str, Any] | None = None, **columns: Any
) -> Lowered:
    """One access by one mechanism."""
    columns = {"space": Space.MMIO, "devices": DEVICES, **columns}
    return lowered_for(mechanism, Recorded(make_table(1, **columns)), platform, costs)


def lowered_for(
    mechanism: Any,
    guest: Workload,
    platform: str = "ideal",
    costs: dict[str, Any] | None = None,
) -> Lowered:
    policy = Policy(title="alone", rules=[Rule(side="host", mechanism=mechanism)])
    return lower(policy, load_platform(platform, changes=costs), load_devices(), guest)


def demand(mechanism: Any, known: dict[str, int] | None = None, **keys: Any) -> Demand:
    found = demand_of(lowered_by(mechanism, **keys), 0, known)
    assert isinstance(found, Demand), found
    return found


def reason(mechanism: Any, **keys: Any) -> str:
    found = demand_of(lowered_by(mechanism, **keys), 0)
    assert isinstance(found, StateDependent), found
    return found.reason


# ------------------------------------------------------------------------------------- by hand


def test_an_exit_to_an_ideal_host_is_a_microsecond_and_its_emulation() -> None:
    trap = demand("trap_mmio")
    assert trap.stall == Sum(US, (("emulate", 1),))
    assert trap.exits == 1
    assert trap.effect == trap.stall
    (hold,) = trap.holds
    assert (hold.queue.name, hold.time, hold.within, hold.around) == (
        "VMM lock", Sum(0, (("emulate", 1),)), (), (),
    )  # fmt: skip


def test_a_config_access_by_ports_holds_the_config_lock_over_both_exits() -> None:
    ports = demand("trap_pio", space=Space.PCI_CONFIG)
    assert ports.stall == Sum(2 * US, (("emulate", 1),))
    assert ports.exits == 2
    address, data, config = ports.holds
    assert (address.time, data.time) == (Sum(), Sum(0, (("emulate", 1),)))
    assert address.within == data.within == ("config lock",)
    assert config.time == ports.stall
    assert config.around == ("VMM lock", "VMM lock")
    assert ports.locked == {"config lock": ports.stall}


def test_a_port_read_on_the_2017_host_is_the_sum_of_its_published_parts() -> None:
    ports = demand("trap_pio", platform="kvm-2017", space=Space.PORT_IO)
    cycles = 590 + 591 + 210 + 948 + 2 * 1935
    # Each cost is rounded to whole picoseconds by itself.
    assert abs(ports.stall.constant - cycles / 3.5e9 * 1e12) <= 3
    assert sum(time.constant for time in ports.stages.values()) == ports.stall.constant
    assert ports.stages[EMULATE] == Sum(0, (("emulate", 1),))


def test_a_device_in_the_kernel_takes_no_lock() -> None:
    assert demand("trap_mmio", device=1).holds == ()


def test_a_load_from_a_page_makes_no_exit() -> None:
    page = demand("read_only_page", platform="kvm-2017", space=Space.PCI_CONFIG, flags=Flag.ECAM)
    assert page.exits == 0
    assert page.stall.constant == 100_000


def test_a_random_cost_stands_as_a_column_of_its_own() -> None:
    costs = {"world_switch_out": {"kind": "exponential", "mean": "1 us"}}
    lowered = lowered_by("trap_mmio", costs=costs)
    trap = demand_of(lowered, 0)
    assert isinstance(trap, Demand)
    drawn, emulate = trap.stall.terms
    assert emulate == ("emulate", 1)
    assert lowered.program.draws[str(drawn[0])].duration.mean_ps == US


def test_whether_the_guest_idles_before_an_arrival_is_no_part_of_the_stall() -> None:
    assert demand("trap_mmio", arrival=5 * US).stall == demand("trap_mmio").stall


def test_targets_that_are_known_resolve_the_loop_over_them() -> None:
    sent = {"space": Space.MSR, "write": True, "targets": 3, "device": 1, "platform": "kvm-2017"}
    assert "column 'targets'" in reason("trap_msr", **sent)
    three, one = (demand("trap_msr", {"targets": n}, **sent) for n in (3, 1))
    per_target = load_platform("kvm-2017").costs.duration("deliver_ipi").mean_ps
    assert three.stall.constant - one.stall.constant == 2 * per_target > 0


def test_a_signal_leaves_the_work_to_a_thread() -> None:
    rings = {"space": Space.DOORBELL, "write": True}
    signalled = demand("ioeventfd", platform="kvm-2017", **rings)
    assert signalled.effect is None
    assert len(signalled.posted) == 2, "the signal, and the token that says there is room for it"
    assert signalled.holds == ()


@pytest.mark.parametrize(
    ("mechanism", "columns", "said"),
    [
        ({"name": "batched_hypercall", "max_wait": "5 us"}, {}, "'interrupts' in time"),
        ("batched_hypercall", {}, "which accesses are pending"),
        ("coalesced_mmio", {"write": True}, "others put into 'coalescing ring"),
        ("side_core", {"write": True}, "in time"),
        ("virtqueue", {"space": Space.DOORBELL, "write": True}, "in time"),
        ("paravirtual_front_end", {"space": Space.PCI_CONFIG}, "answers of the back end"),
    ],
)  # fmt: skip
def test_what_depends_on_accesses_before_says_so(
    mechanism: Any, columns: dict[str, Any], said: str
) -> None:
    assert said in reason(mechanism, platform="kvm-2017", **columns)


def test_a_walk_ends_where_a_loop_depends_on_what_nobody_knows() -> None:
    assert reason(Endless()) == "what accesses before it have left"


def test_two_registers_that_nobody_has_set_are_not_taken_for_equal() -> None:
    assert reason(Compares()) == "what accesses before it have left"


ONE, OTHER = Register("one"), Register("other")
BOOKED = Stage("booked", Role.HYPERVISOR)


def doing(*steps: Step) -> Mechanism:
    """An access that takes these steps, a microsecond, and is done."""

    class Doing(Mechanism):
        def access(self, host: Host, access: AccessClass) -> Steps:
            yield from steps
            yield spend(EMULATE, US)
            yield stamp(Moment.DONE)

    return Doing()


@pytest.mark.parametrize(
    ("one", "operator", "other", "time"),
    [
        (3 * US, "+", US, Sum(4 * US)),
        (3 * US, "-", US, Sum(2 * US)),
        (3 * US, "*", 4, Sum(12 * US)),
        (3 * US, "min", US, Sum(US)),
        (3 * US, "max", US, Sum(3 * US)),
        (7 * US, "//", 2 * US, Sum(3)),
        (7 * US, "%", 2 * US, Sum(US)),
        (Column("emulate"), "*", 3, Sum(0, (("emulate", 3),))),
        (3, "*", Column("emulate"), Sum(0, (("emulate", 3),))),
    ],
)
def test_what_a_step_computes_from_numbers_and_columns_is_spent(
    one: Operand, operator: Any, other: Operand, time: Sum
) -> None:
    found = demand(doing(let(ONE, one, operator, other), spend(EMULATE, ONE)))
    assert found.stall == time + Sum(US)


@pytest.mark.parametrize(
    ("operator", "said"),
    [("*", "the * of two times"), ("min", "the min of two times"), ("max", "the max of two times")],
)
def test_what_is_no_sum_of_columns_is_named(operator: Any, said: str) -> None:
    step = let(ONE, Column("emulate"), operator, Column("compute"))
    assert reason(doing(step, spend(EMULATE, ONE))) == said


QUEUE = Queue("a queue")
CELL = Cell("a cell", per_vcpu=True)


@pytest.mark.parametrize(
    ("amount", "said"),
    [
        (OTHER, "what accesses before it have left"),
        (CELL, "'a cell'"),
        (CELL.of(ONE), "'a cell'"),
        (Length(QUEUE), "how much is in 'a queue'"),
        (Length(replace(QUEUE, per_vcpu=True).of(ONE)), "how much is in 'a queue'"),
        (Column("emulate", of=ONE), "other accesses"),
        (PostedAt(ONE), "when other accesses were posted"),
    ],
)
def test_an_access_that_takes_as_long_as_nobody_knows_says_what_it_depends_on(
    amount: Operand, said: str
) -> None:
    assert reason(doing(let(ONE, 0), spend(EMULATE, amount))) == said


@pytest.mark.parametrize(
    "step",
    [let(ACCESS, 7), take(Queue("tokens", tokens=1), Stage("wait", Role.WAIT), into=ACCESS)],
)
def test_an_access_that_goes_on_with_another_has_no_demand_of_its_own(step: Step) -> None:
    assert reason(doing(step)) == "which accesses are pending: it works on others than its own"


def test_a_free_lock_hands_over_nothing() -> None:
    lock = Queue("lock", tokens=1)
    steps = [take(lock, Stage("wait", Role.WAIT), into=ONE), spend(EMULATE, ONE), release(lock)]
    found = demand(doing(*steps))
    assert found.stall == Sum(US)
    assert [(hold.queue, hold.time) for hold in found.holds] == [(lock, Sum())]


def test_time_that_is_booked_on_the_own_access_stands_in_its_stage_and_stalls_nobody() -> None:
    found = demand(doing(book(BOOKED, 2 * US, ACCESS), book(BOOKED, US, ACCESS)))
    assert found.stages[BOOKED] == Sum(3 * US)
    assert found.stall == Sum(US)


class Endless(Mechanism):
    """Goes round as often as the access before has said."""

    def access(self, host: Host, access: AccessClass) -> Steps:
        yield loop([when(ONE, "==", 0, [leave()]), let(ONE, ONE, "-", 1), spend(EMULATE, US)])
        yield stamp(Moment.DONE)


class Compares(Mechanism):
    """Takes longer if two registers are equal."""

    def access(self, host: Host, access: AccessClass) -> Steps:
        yield when(ONE, "==", OTHER, [spend(EMULATE, US)])
        yield stamp(Moment.DONE)


# ------------------------------------------------------------------------- against the engines

STRAIGHT: dict[Space, list[Any]] = {
    Space.PCI_CONFIG: [
        "trap_pio", "trap_mmio", "hypercall", "read_only_page", "cached", "native", "passthrough",
        "operation_hypercall", "decode_toggle_batching", "instruction_cluster",
    ],
    Space.PORT_IO: ["trap_pio", "hypercall", "instruction_cluster", "native"],
    Space.MMIO: ["trap_mmio", "hypercall", "instruction_cluster", "passthrough"],
    Space.MSR: ["trap_msr", "hypercall"],
}  # fmt: skip


@st.composite
def straight_policies(draw: st.DrawFn) -> Policy:
    """A rule for reads and one for writes of each space."""
    rules = [
        Rule(
            side="host",
            match=Match(space=[space.name.lower()], write=write),
            mechanism=draw(st.sampled_from(mechanisms)),
        )
        for space, mechanisms in STRAIGHT.items()
        for write in (False, True)
    ]
    delivery = draw(st.sampled_from(["exit", "posted"]))
    return Policy(title="straight", rules=rules, delivery=delivery)


@st.composite
def guests(draw: st.DrawFn) -> AccessTable:
    """Few registers, times on a coarse grid, so that much falls together."""
    vcpus = draw(st.integers(1, 3))
    rows = draw(st.lists(st.integers(1, 15), min_size=vcpus, max_size=vcpus))
    n = sum(rows)

    def column(values: st.SearchStrategy[int]) -> np.ndarray:
        return np.array(draw(st.lists(values, min_size=n, max_size=n)))

    vcpu = np.repeat(np.arange(vcpus), rows)
    flags = [0, 0, Flag.SIDE_EFFECT, Flag.DECODE_TOGGLE, Flag.WAITED, Flag.ECAM, Flag.ABSENT]
    flags += [Flag.INTERRUPT, Flag.END_OF_INTERRUPT]
    return make_table(
        n,
        vcpu=vcpu,
        space=column(st.sampled_from([0, 0, 0, 1, 2, 4])),
        write=column(st.integers(0, 1)).astype(bool),
        address=column(st.sampled_from([0, 4, 0x10, 1 << 12, 1 << 12 | 0x10])),
        operation=np.cumsum(column(st.integers(0, 1))) + 100 * vcpu,
        compute=column(st.integers(0, 3)) * 500_000,
        arrival=np.where(column(st.integers(0, 1)), np.arange(n) * US, -1),
        emulate=column(st.integers(0, 3)) * 400_000,
        device=column(st.integers(0, 1)),
        devices=DEVICES,
        flags=column(st.sampled_from(flags)),
    )


RANDOM = {
    "world_switch_out": {"kind": "exponential", "mean": "1 us"},
    "dispatch_mmio": {"kind": "uniform", "low": "10 ns", "high": "30 ns"},
}


@settings(max_examples=40)
@given(straight_policies(), guests(), st.booleans())
def test_a_walk_says_what_the_engine_records(
    policy: Policy, table: AccessTable, is_random: bool
) -> None:
    platform = load_platform("kvm-2017", changes=RANDOM if is_random else None)
    guest = Recorded(table)
    lowered = lower(policy, platform, load_devices(), guest)
    result = run(lowered, guest, Streams(3), engine="simpy", keep_rows=True)
    recorded = result.to_columns()
    at = 0
    for vcpu in range(guest.vcpus):
        for columns in lowered.feed(guest, Streams(3), vcpu, 1 << 14):
            for row, number in enumerate(columns["class"]):
                one = {name: column[row : row + 1] for name, column in columns.items()}
                found = demand_of(lowered, int(number))
                assert isinstance(found, Demand), found
                stall, own = int(found.stall.of(one, 1)[0]), recorded["stall"][at + row]
                assert sum(int(time.of(one, 1)[0]) for time in found.stages.values()) == stall
                waits = 0
                for stage in lowered.program.stages:
                    time = recorded[f"stage: {stage.name}"][at + row]
                    if stage.role.name == "WAIT":
                        waits += time
                    elif stage.is_front:
                        assert time == found.stages.get(stage, Sum()).of(one, 1)[0], stage
                assert own == stall + waits
                assert recorded["exits"][at + row] == found.exits
                if guest.vcpus == 1:
                    assert waits == 0
                    assert found.effect is not None
                    effect = recorded["done"][at + row] - recorded["start"][at + row]
                    assert effect == found.effect.of(one, 1)[0]
            at += len(columns["class"])


# ------------------------------------------------------------------------------ sums, moments

SUMS = st.builds(
    lambda constant, terms: sum(
        (Sum(0, ((name, c),)) for name, c in terms.items() if c), Sum(constant)
    ),
    st.integers(-100, 100),
    st.dictionaries(st.sampled_from("abc"), st.integers(-3, 3)),
)
COLUMNS = {name: np.array([1, 5, -2]) * (place + 1) for place, name in enumerate("abc")}


@given(SUMS, SUMS, st.integers(-4, 4))
def test_sums_add_and_scale_as_their_values_do(one: Sum, two: Sum, factor: int) -> None:
    a, b = one.of(COLUMNS, 3), two.of(COLUMNS, 3)
    assert ((one + two).of(COLUMNS, 3) == a + b).all()
    assert ((one - two).of(COLUMNS, 3) == a - b).all()
    assert ((one * factor).of(COLUMNS, 3) == a * factor).all()
    assert one - one == Sum()


def test_a_sum_names_what_is_unknown_in_it() -> None:
    assert Sum(3, (("a", 1),)).unknown is None
    assert Sum(3, ((Unknown("the weather", 1), 1),)).unknown == "the weather"


def test_variances_of_independent_columns_add() -> None:
    of = {"a": Moments(2.0, 3.0), "b": Moments(5.0, 7.0)}
    found = Sum(10, (("a", 2), ("b", -1))).moments(of.__getitem__)
    assert (found.mean, found.variance) == (10 + 4 - 5, 4 * 3 + 7)
    assert found.second == found.variance + found.mean**2


class Holder(Configured):
    duration: Distribution


@pytest.mark.parametrize(
    "stated",
    [
        "3 us",
        {"kind": "uniform", "low": "1 us", "high": "4 us"},
        {"kind": "exponential", "mean": "3 us", "shift": "1 us"},
        {"kind": "lognormal", "mean": "3 us", "cv": 0.5, "shift": "1 us"},
        {"kind": "gamma", "mean": "3 us", "cv": 0.7},
        {"kind": "empirical", "samples": (1000, 4000, 4000, 9000)},
    ],
)
def test_moments_are_those_of_the_draws(stated: Any) -> None:
    duration = checked(Holder, {"duration": stated}).duration
    draws = duration.draw(np.random.default_rng(5), 200_000) / 1.0
    found = moments_of(duration)
    spread = math.sqrt(found.variance / len(draws))
    assert abs(draws.mean() - found.mean) <= 5 * spread
    assert draws.var() == pytest.approx(found.variance, rel=0.03)


def test_a_distribution_of_unknown_variance_is_refused() -> None:
    class Strange:
        mean_ps = 1.0
        is_constant = False

    with pytest.raises(ValueError, match="variance"):
        moments_of(Strange())  # type: ignore[arg-type]


def test_every_class_of_a_synthetic_guest_has_its_demand() -> None:
    guest = checked(
        Spread,
        {"kind": "spread", "operations": 5, "between": "1 us", "read_share": 0.5,
         "absent_share": 0.5, "space": "pci_config"},
    )  # fmt: skip
    lowered = lowered_for("trap_pio", guest)
    demands = [demand_of(lowered, number) for number in range(len(lowered.codes))]
    assert len(demands) == 3
    assert all(isinstance(found, Demand) for found in demands)
