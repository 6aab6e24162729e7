"""The compiled engine gives what the SimPy engine gives, to the last bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba.core.config import DISABLE_JIT

from vmexit_sim import catalog
from vmexit_sim.configuration import checked
from vmexit_sim.device import load_devices
from vmexit_sim.engine import kernel, reduction, run
from vmexit_sim.engine.jit import OPTIONS
from vmexit_sim.errors import SimulationError
from vmexit_sim.guest.generators import (
    BarSizing,
    Enumeration,
    Interrupted,
    InterruptService,
    Ipi,
    RequestResponse,
    Spread,
)
from vmexit_sim.guest.table import NEVER, AccessTable, Flag, Kind, Space, make_table
from vmexit_sim.guest.workload import Recorded, Workload
from vmexit_sim.hypervisor.access_class import AccessClass
from vmexit_sim.hypervisor.host import Host
from vmexit_sim.hypervisor.platform import Platform, load_platform
from vmexit_sim.lowering import HostCpus, Lowered, lower
from vmexit_sim.measure.records import RunResult
from vmexit_sim.mechanisms import Mechanism
from vmexit_sim.mechanisms.base import make_mechanism
from vmexit_sim.opened import cached_trace
from vmexit_sim.policy import Policy, Rule, load_policy
from vmexit_sim.steps import (
    ACCESS,
    Clock,
    Column,
    Length,
    Moment,
    PostedAt,
    Queue,
    Register,
    Role,
    Stage,
    Step,
    Steps,
    acquire,
    leave,
    let,
    loop,
    put,
    release,
    spend,
    stamp,
    take,
    when,
)
from vmexit_sim.streams import Streams

RANDOM_COSTS = {
    "world_switch_out": {"kind": "exponential", "mean": "1 us"},
    "to_user": {"kind": "lognormal", "mean": "2 us", "cv": 0.5},
    "item": {"kind": "uniform", "low": "100 ns", "high": "300 ns"},
}
TIMED = {"name": "batched_hypercall", "max_batch": 4, "max_wait": "3 us", "needs": "idioms"}
POLICIES = [*catalog.names("policies"), "timed"]
GENERATORS = {
    "spread": (
        Spread,
        {"operations": 40, "accesses_per_operation": 3, "vcpus": 3, "read_share": 0.5,
         "needed_share": 0.4, "space": "pci_config", "absent_share": 0.3,
         "between": {"kind": "exponential", "mean": "4 us"}, "within": "200 ns",
         "emulate": {"kind": "gamma", "mean": "1 us", "cv": 0.5}},
    ),
    "open spread": (
        Spread,
        {"operations": 60, "vcpus": 2, "read_share": 0, "space": "mmio", "between": "0 ns",
         "arrivals": {"kind": "exponential", "mean": "3 us"}},
    ),
    "bar_sizing": (
        BarSizing,
        {"sequence": "old", "bars32": 2, "bars64": 1, "rom": True, "decode_on": True, "vcpus": 2},
    ),
    "pci_enumeration": (
        Enumeration,
        {"buses_empty": 3, "think": "200 ns",
         "functions": [{"caps": 3, "msix": True, "bars32": 2, "driver_extra": 5}]},
    ),
    "ipi": (
        Ipi,
        {"mode": "cluster", "multicasts": 15, "vcpus": 20, "targets": [1, 19], "timers": 1,
         "between": {"kind": "exponential", "mean": "5 us"}},
    ),
    "interrupt_service": (
        InterruptService,
        {"services": 40, "accesses": 4, "read_share": 0.3, "vcpus": 2, "within": "300 ns",
         "interarrival": {"kind": "exponential", "mean": "20 us"}},
    ),
    "request_response": (
        RequestResponse,
        {"requests": 100, "in_flight": 3, "vcpus": 2,
         "think": {"kind": "exponential", "mean": "3 us"},
         "service": {"kind": "exponential", "mean": "2 us"}},
    ),
    "interrupted": (
        Interrupted,
        {"main": {"kind": "spread", "operations": 40, "vcpus": 2, "read_share": 0.5,
                  "space": "mmio", "between": {"kind": "exponential", "mean": "9 us"}},
         "services": {"kind": "interrupt_service", "services": 15, "accesses": 3,
                      "read_share": 0.3, "within": "300 ns",
                      "interarrival": {"kind": "exponential", "mean": "20 us"}}},
    ),
}  # fmt: skip


def policy(name: str) -> Policy:
    if name != "timed":
        return load_policy(name)
    return Policy(title="timed", rules=[Rule(side="host", mechanism=make_mechanism(TIMED))])


def assert_equal(one: RunResult, other: RunResult) -> None:
    rows, others = one.to_columns(), other.to_columns()
    assert list(rows) == list(others)
    for name, column in rows.items():
        assert np.array_equal(column, others[name]), name
    assert one.finish == other.finish
    assert one.exits == other.exits
    assert one.resources == other.resources
    assert np.array_equal(one.summary.counts, other.summary.counts)
    assert np.array_equal(one.summary.stats, other.summary.stats)
    assert np.array_equal(one.summary.totals, other.summary.totals)


def both(lowered: Lowered, workload: Workload, block_rows: int | None = None) -> RunResult:
    """Run on both engines, insist that they agree, and return what they say."""
    results = [
        run(lowered, workload, Streams(7), engine=engine, keep_rows=True, block_rows=block_rows)
        for engine in ("simpy", "compiled")
    ]
    assert_equal(*results)
    return results[0]


@pytest.fixture(scope="module")
def random_platform() -> Platform:
    return load_platform("kvm-2013", changes=RANDOM_COSTS)


@pytest.mark.parametrize("generator", GENERATORS)
@pytest.mark.parametrize("name", POLICIES)
def test_engines_agree_on_every_generator_under_every_policy(
    name: str, generator: str, random_platform: Platform
) -> None:
    model, parameters = GENERATORS[generator]
    kind = generator.split()[-1]
    workload = checked(model, {"kind": kind, **parameters})
    for platform in (random_platform, load_platform("ideal")):
        lowered = lower(policy(name), platform, load_devices(), workload)
        assert both(lowered, workload).summary.accesses > 0


@pytest.mark.parametrize("trace", catalog.names("traces"))
def test_engines_agree_on_the_beginning_of_every_recording(
    trace: str, random_platform: Platform
) -> None:
    devices = load_devices()
    table = cached_trace(catalog.find("traces", trace), devices).table
    cut = table.only(np.arange(len(table)) % 40_000 < 1_200)
    for name in POLICIES:
        lowered = lower(policy(name), random_platform, devices, Recorded(cut))
        both(lowered, Recorded(cut))


@st.composite
def tied_guests(draw: st.DrawFn) -> AccessTable:
    """Guests on a coarse grid of times, so that much happens at the same instant."""
    vcpus = draw(st.integers(1, 6))
    rows = draw(st.lists(st.integers(1, 25), min_size=vcpus, max_size=vcpus))
    n = sum(rows)

    def column(values: st.SearchStrategy[int]) -> np.ndarray:
        return np.array(draw(st.lists(values, min_size=n, max_size=n)))

    space = column(st.sampled_from([0, 0, 1, 2, 3]))
    write = column(st.integers(0, 1)).astype(bool) | (space == Space.DOORBELL)
    operation = np.cumsum(column(st.integers(0, 1)))
    arrival = np.where(
        column(st.integers(0, 3)) == 0, np.arange(n) * draw(st.integers(0, 3)) * 500_000, NEVER
    )
    vcpu = np.repeat(np.arange(vcpus), rows)
    needed = np.arange(n) + column(st.integers(1, 4))
    return make_table(
        n,
        vcpu=vcpu,
        space=space,
        write=write,
        operation=operation + 100 * vcpu,
        kind=column(st.sampled_from(list(Kind))),
        compute=column(st.integers(0, 3)) * 500_000,
        emulate=column(st.integers(0, 2)) * 500_000,
        arrival=arrival,
        needed_by=np.where(write, NEVER, needed),
        flags=column(
            st.sampled_from([0, 0, Flag.ABSENT, Flag.SIDE_EFFECT, Flag.DECODE_TOGGLE, Flag.WAITED])
        ),
    )


@settings(max_examples=60, deadline=None)
@given(
    table=tied_guests(),
    name=st.sampled_from(POLICIES),
    max_batch=st.integers(1, 5),
    max_wait=st.sampled_from([None, "0 ns", "500 ns", "1 us", "2500 ns"]),
    discipline=st.sampled_from(["fifo", "priority"]),
)
def test_engines_agree_where_everything_ties(
    table: AccessTable, name: str, max_batch: int, max_wait: str | None, discipline: str
) -> None:
    platform = load_platform("ideal", changes={"to_user": "500 ns", "injection": "500 ns"})
    lock = platform.vmm_lock.model_copy(update={"discipline": discipline})
    platform = platform.model_copy(update={"vmm_lock": lock})
    chosen = policy(name)
    if name == "timed":
        mechanism = make_mechanism({**TIMED, "max_batch": max_batch, **(
            {} if max_wait is None else {"max_wait": max_wait})})  # fmt: skip
        chosen = Policy(title="timed", rules=[Rule(side="host", mechanism=mechanism)])
    workload = Recorded(table)
    both(lower(chosen, platform, load_devices(), workload), workload)


@pytest.mark.parametrize("vcpus", [1, 2, 3, 7, 64])
def test_engines_agree_for_any_number_of_vcpus(vcpus: int) -> None:
    workload = checked(
        Spread,
        {"kind": "spread", "operations": 20, "vcpus": vcpus, "read_share": 0.5, "space": "mmio",
         "between": "2 us", "needed_share": 0.2},
    )  # fmt: skip
    for name in ("linux-default", "timed", "xen-front-end"):
        both(lower(policy(name), load_platform("ideal"), load_devices(), workload), workload)


@pytest.mark.parametrize("cpus", [1, 2])
def test_engines_agree_where_threads_share_cpus(cpus: int) -> None:
    """A vCPU that has used up a block asks for the next one without queueing for a CPU again."""
    workload = checked(
        Spread,
        {"kind": "spread", "operations": 300, "vcpus": 3, "read_share": 0.5, "space": "pci_config",
         "between": "2 us"},
    )  # fmt: skip
    shared = HostCpus(cpus, 5_000_000)
    for name in ("linux-default", "qemu-kvm"):
        lowered = lower(policy(name), load_platform("kvm-2017"), load_devices(), workload, shared)
        both(lowered, workload, 64)


def test_the_block_size_changes_no_number() -> None:
    workload = checked(
        Spread, {"kind": "spread", "operations": 700, "accesses_per_operation": 3, "vcpus": 2,
                 "read_share": 0.5, "space": "mmio", "between": "1 us"},
    )  # fmt: skip
    lowered = lower(policy("timed"), load_platform("kvm-2013"), load_devices(), workload)
    small = both(lowered, workload, 64)
    large = both(lowered, workload, 4096)
    assert np.array_equal(small.summary.counts, large.summary.counts)
    assert small.finish == large.finish


def test_a_mailbox_that_outgrows_its_room_loses_nothing() -> None:
    """Sixty vCPUs ask one back end at once, through a mailbox with room for sixteen at first."""
    workload = checked(
        Spread, {"kind": "spread", "operations": 5, "vcpus": 60, "read_share": 1,
                 "space": "pci_config", "between": "1 us"},
    )  # fmt: skip
    from vmexit_sim.mechanisms.paravirtual_front_end import REQUESTS, ParavirtualFrontEnd

    class Lockless(ParavirtualFrontEnd):
        def access(self, host, access):  # type: ignore[no-untyped-def]
            from vmexit_sim.steps import Put, Take

            for step in super().access(host, access):
                if not isinstance(step, (Put, Take)) or step.queue == REQUESTS:
                    yield step

    slow = load_platform("ideal", changes={"thread_wake_up": "100 us"})
    lockless: Mechanism = Lockless()
    lowered = lower(Policy(title="flood", rules=[Rule(side="host", mechanism=lockless)]), slow,
                    load_devices(), workload)  # fmt: skip
    result = both(lowered, workload)
    done = np.sort(result.to_columns()["done"])
    assert np.array_equal(np.diff(done), np.full(299, 100_000_000))


def test_engines_say_the_same_of_an_effect_that_lies_beyond_the_window() -> None:
    # Reads are waited for, writes are not. The twelfth access of vCPU 1 is the first that is late,
    # and neither the first of its block nor of its vCPU.
    rows = np.arange(30)
    guest = make_table(
        60, space=Space.MMIO, vcpu=np.repeat([0, 1], 30), write=np.r_[0 * rows, rows >= 12],
        needed_by=np.r_[rows[1:], NEVER, np.where(rows < 12, rows + 31, NEVER)],
    )  # fmt: skip
    mechanism = {"name": "batched_hypercall", "needs": "recorded", "max_batch": 1000}
    policy = Policy(title="large batches", rules=[Rule(side="host", mechanism=mechanism)])
    workload = Recorded(guest)
    lowered = lower(policy, load_platform("ideal"), load_devices(), workload)
    said = []
    for engine in ("simpy", "compiled"):
        with pytest.raises(SimulationError) as caught:
            run(lowered, workload, Streams(7), engine=engine, block_rows=8)
        said.append(str(caught.value))
    assert said[0] == said[1]
    assert said[0].startswith("access 12 of vCPU 1 has had no effect although 8 later ones")


@pytest.mark.skipif(bool(DISABLE_JIT), reason="about the code that Numba emits")
def test_no_reference_is_counted() -> None:
    """Numba counts references atomically; one such pair an access would cost more than the rest.

    The option that forbids it is all the kernels' own; what it does shows in a function that hands
    its arrays on, as they do.
    """
    from numba import njit, types

    line = types.Array(types.int64, 1, "C")

    def counts(**options: Any) -> bool:
        inner = njit(**options)(lambda one: one[0])
        outer = njit(**options)(lambda one, other: inner(one) + inner(other))
        outer.compile((line, line))
        (code,) = outer.inspect_llvm().values()
        return "NRT_" in code

    assert counts(**{**OPTIONS, "_nrt": True})
    assert not counts(**OPTIONS)
    for function in (kernel.advance, reduction.lay_block, reduction.reduce_block):
        assert function.targetoptions.items() >= OPTIONS.items()


LOCK = Queue("lock", tokens=1)
BOX = Queue("box", capacity=2)
WAIT, WORK, REST = (Stage(name, Role.WAIT) for name in ("wait", "work", "rest"))
COUNT, ITEM, SINCE = Register("count"), Register("item"), Register("since")
PIECES: list[list[Step]] = [
    [spend(WORK, 500_000)],
    [spend(WORK, Column("emulate"))],
    [let(COUNT, Clock(), "-", SINCE), let(COUNT, COUNT, "min", 700_000), spend(REST, COUNT)],
    [let(SINCE, Clock())],
    [acquire(LOCK, WAIT), spend(WORK, 500_000), release(LOCK)],
    [acquire(LOCK, WAIT), release(LOCK), spend(REST, Column("compute"))],
    [put(BOX, ACCESS, refused=COUNT), spend(REST, COUNT)],
    [take(BOX, WAIT, into=ITEM, timeout=500_000), let(COUNT, ITEM, "max", 0)],
    [take(BOX, WAIT, into=ITEM, timeout=0)],
    [spend(WORK, Length(BOX))],
    [stamp(Moment.EXIT, reason="IO_INSTRUCTION"), spend(WORK, 1_000), stamp(Moment.ENTRY)],
    [stamp(Moment.POSTED), spend(REST, 100_000), let(SINCE, PostedAt(ACCESS))],
]


def nested(pieces: st.SearchStrategy[list[Step]]) -> st.SearchStrategy[list[Step]]:
    several = st.lists(pieces, max_size=3).map(lambda parts: [s for part in parts for s in part])
    return (
        several
        | several.map(lambda steps: [loop([*steps, leave()])])
        | several.map(lambda steps: [loop([spend(REST, 1), *steps, leave()]), spend(WORK, 2)])
        | st.tuples(several, several).map(lambda both: [when(ITEM, ">", 0, *both)])
    )


@settings(max_examples=150, deadline=None)
@given(steps=nested(st.recursive(st.sampled_from(PIECES), nested, max_leaves=6)))
def test_engines_agree_on_any_steps(steps: list[Step]) -> None:
    class AnySteps(Mechanism):
        def access(self, host: Host, access: AccessClass) -> Steps:
            yield from steps
            yield stamp(Moment.DONE)

    workload = checked(
        Spread, {"kind": "spread", "operations": 30, "accesses_per_operation": 2, "vcpus": 3,
                 "read_share": 0.5, "space": "mmio", "between": "500 ns",
                 "emulate": {"kind": "exponential", "mean": "500 ns"}},
    )  # fmt: skip
    policy = Policy(title="any", rules=[Rule(side="host", mechanism=AnySteps())])
    both(lower(policy, load_platform("ideal"), load_devices(), workload), workload)


@pytest.mark.parametrize("generator", ["interrupt_service", "interrupted", "spread", "bar_sizing"])
@pytest.mark.parametrize("mechanism", [TIMED, "operation_hypercall"])
def test_a_rule_may_take_a_part_of_an_operation(generator: str, mechanism: object) -> None:
    """Only the writes: what is first and last among them, no whole operation shows."""
    model, parameters = GENERATORS[generator]
    workload = checked(model, {"kind": generator, **parameters})
    rule = Rule(side="host", match={"write": True}, mechanism=mechanism)  # type: ignore[arg-type]
    lowered = lower(Policy(title="writes", rules=[rule]), load_platform("ideal"), load_devices(),
                    workload)  # fmt: skip
    assert both(lowered, workload).summary.accesses > 0
