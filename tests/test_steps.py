"""What each step means, run on the reference engine, in orders derived by hand."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vmexit_sim.device import load_devices
from vmexit_sim.engine import run
from vmexit_sim.errors import SimulationError
from vmexit_sim.guest.table import Space, make_table
from vmexit_sim.guest.workload import Recorded
from vmexit_sim.hypervisor.platform import load_platform
from vmexit_sim.lowering import VCPU_SHIFT, lower
from vmexit_sim.measure.records import RunResult
from vmexit_sim.mechanisms import Mechanism, SideActor
from vmexit_sim.policy import Policy, Rule
from vmexit_sim.steps import (
    ACCESS,
    TIMED_OUT,
    Cell,
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
    acquire,
    book,
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

DONE = stamp(Moment.DONE)
WORK = Stage("work", Role.HYPERVISOR)
MORE = Stage("more work", Role.HYPERVISOR)
WAIT = Stage("waiting", Role.WAIT)
SIDE = Stage("on the side", Role.BACK)
A, B, C = Register("a"), Register("b"), Register("c")
BIG = 2**40
Access = Callable[[Any], Iterable[Step]]
Actor = tuple[str, bool, list[Step]]


ENGINES = ("simpy", "compiled")


def tried(
    access: Access, actors: Iterable[Actor] = (), *, engine: Any = "simpy", **columns: Any
) -> RunResult:
    """Run rows whose accesses do what `access` says; one row for each entry of `compute`."""

    class Tried(Mechanism):
        def access(self, host: Any, access_class: Any) -> Any:
            yield from access(access_class)
            yield DONE

        def actors(self, host: Any) -> Any:
            return [SideActor(*actor) for actor in actors]

    n = len(columns["compute"])
    workload = Recorded(make_table(n, **{"space": Space.MMIO, "write": 1, **columns}))
    policy = Policy(title="tried", rules=[Rule(side="host", mechanism=Tried())])
    lowered = lower(policy, load_platform("ideal"), load_devices(), workload)
    return run(lowered, workload, Streams(1), engine=engine, keep_rows=True, block_rows=8)


def column(result: RunResult, name: str) -> list[int]:
    return result.to_columns()[name].tolist()


def spent(steps: Iterable[Step], stage: Stage = WORK) -> int:
    """What a lone access books on a stage."""
    return column(tried(lambda _: steps, compute=[0]), f"stage: {stage.name}")[0]


def by_vcpu(*each: Iterable[Step]) -> Access:
    """A different program for each of up to 4 vCPUs, told apart by the cells of their class."""
    return lambda access: each[2 * access.write + access.side_effect]


def one_each(compute: list[int]) -> dict[str, Any]:
    """A row for each vCPU, of the classes that `by_vcpu` tells apart."""
    rows = np.arange(len(compute))
    return {"vcpu": rows, "compute": compute, "write": rows // 2, "flags": 2 * (rows % 2)}


OPERATORS = {"+": operator.add, "-": operator.sub, "*": operator.mul, "min": min, "max": max}
DIVISIONS = {"//": operator.floordiv, "%": operator.mod}
RELATIONS = {
    "==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le,
    ">": operator.gt, ">=": operator.ge,
}  # fmt: skip
SMALL = st.integers(-1000, 1000)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(sorted(OPERATORS)), SMALL, SMALL)
def test_let_computes(name: Any, x: int, y: int) -> None:
    steps = [let(A, x), let(B, y), let(A, A, name, B), let(A, A, "+", BIG), spend(WORK, A)]
    assert spent(steps) - BIG == OPERATORS[name](x, y)


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(sorted(DIVISIONS)), SMALL, st.integers(1, 50), st.sampled_from(ENGINES))
def test_let_divides_by_a_positive_constant_and_rounds_down(
    name: Any, x: int, y: int, engine: Any
) -> None:
    steps = [let(A, x), let(A, A, name, y), let(A, A, "+", BIG), spend(WORK, A)]
    result = tried(lambda _: steps, compute=[0], engine=engine)
    assert column(result, "stage: work")[0] - BIG == DIVISIONS[name](x, y)


@pytest.mark.parametrize("divisor", [0, -3, A])
def test_other_divisors_are_refused_at_lowering(divisor: Any) -> None:
    with pytest.raises(SimulationError, match="no positive constant"):
        tried(lambda _: [let(A, 7, "//", divisor)], compute=[0])


@pytest.mark.parametrize("engine", ENGINES)
def test_queues_and_cells_of_another_vcpu_are_reached_by_its_number(engine: Any) -> None:
    # vCPU 0 leaves 700 in the cell of vCPU 1 and an item in its queue; vCPU 1 takes both at 50.
    mine, queue = Cell("mine", per_vcpu=True), Queue("own mailbox", per_vcpu=True)
    to = [
        let(B, 1), let(mine.of(B), 700), put(queue.of(B), 9), let(C, Length(queue.of(B))),
        let(C, C, "+", mine.of(B)), spend(WORK, C),
    ]  # fmt: skip
    back = [take(queue, WAIT, into=A), spend(WORK, A), let(A, mine), spend(MORE, A)]
    result = tried(by_vcpu(to, back), engine=engine, **one_each([0, 50]))
    assert column(result, "stage: work") == [701, 9]
    assert column(result, "stage: more work") == [0, 700]
    assert column(result, "stage: waiting") == [0, 0]


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(sorted(RELATIONS)), SMALL, SMALL | st.just(None))
def test_when_takes_one_branch(name: Any, x: int, y: int | None) -> None:
    y = x if y is None else y
    steps = [when(x, name, y, [spend(WORK, 2)], [spend(WORK, 1)]), spend(WORK, 10)]
    assert spent(steps) == 12 if RELATIONS[name](x, y) else 11


def test_when_without_otherwise_goes_on() -> None:
    assert spent([when(1, "==", 2, [spend(WORK, 100)]), spend(WORK, 1)]) == 1


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 6), st.integers(0, 6))
def test_leave_leaves_the_innermost_loop(outer: int, inner: int) -> None:
    steps = [
        let(A, 0),
        loop([
            when(A, "==", outer, [leave()]),
            let(B, 0),
            loop([when(B, "==", inner, [leave()]), spend(WORK, 1), let(B, B, "+", 1)]),
            let(A, A, "+", 1),
            spend(MORE, 1),
        ]),
    ]  # fmt: skip
    assert spent(steps) == outer * inner
    assert spent([*steps, spend(MORE, 0)], MORE) == outer if outer else True


@pytest.mark.parametrize("passes", [0, 1, 4])
def test_time_before_a_loop_passes_once(passes: int) -> None:
    steps = [
        spend(WORK, 5),
        loop([when(A, "==", passes, [leave()]), let(A, A, "+", 1)]),
        spend(MORE, 3),
    ]
    result = tried(lambda _: steps, compute=[0])
    assert column(result, "stall") == [8]
    assert column(result, "stage: work") == [5]


def test_time_before_a_branch_passes_once() -> None:
    for x in (0, 1):
        steps = [spend(WORK, 5), when(x, "==", 0, [spend(MORE, 1)], [spend(MORE, 2)]),
                 spend(WORK, 7)]  # fmt: skip
        assert column(tried(lambda _, s=steps: s, compute=[0]), "stall") == [13 + x]


def test_leave_outside_every_loop_is_refused() -> None:
    with pytest.raises(SimulationError, match="outside every loop"):
        spent([leave()])


def test_operands_are_read_where_they_stand() -> None:
    queue = Queue("held", tokens=3)
    steps = [
        spend(WORK, 5),
        spend(WORK, Clock()),  # 7 of compute, and 5
        spend(MORE, Column("compute")),
        spend(MORE, Length(queue)),
        stamp(Moment.POSTED),
        spend(SIDE, PostedAt(ACCESS)),
    ]
    result = tried(lambda _: steps, compute=[7])
    assert column(result, "stage: work") == [5 + 12]
    assert column(result, "stage: more work") == [7 + 3]
    assert column(result, "posted") == [7 + 17 + 10]
    assert column(result, "stage: on the side") == [34]


def test_a_column_of_another_access() -> None:
    steps = [
        when(A, "==", 0, [let(A, 1), let(B, ACCESS)], [spend(WORK, Column("emulate", B))]),
    ]
    result = tried(lambda _: steps, compute=[0, 0], emulate=[30, 50])
    assert column(result, "stage: work") == [0, 30]


def test_registers_are_an_actors_own_and_cells_are_shared() -> None:
    shared, own = Cell("shared"), Cell("own", per_vcpu=True)
    steps = [
        let(A, A, "+", 1), let(shared, shared, "+", 10), let(own, own, "+", 100),
        spend(WORK, A), spend(MORE, shared), spend(SIDE, own),
    ]  # fmt: skip
    result = tried(lambda _: steps, compute=[1, 10_000], vcpu=[0, 1])
    assert column(result, "stage: work") == [1, 1]
    assert column(result, "stage: more work") == [10, 20]
    assert column(result, "stage: on the side") == [100, 100]


def test_booking_on_another_access_takes_no_time() -> None:
    first = ACCESS
    steps = [
        when(A, "==", 0, [let(A, 1), let(B, first)], [book(SIDE, 40, B), book(SIDE, 2, B)]),
    ]
    result = tried(lambda _: steps, compute=[5, 6])
    assert column(result, "stage: on the side") == [42, 0]
    assert result.finish == [11]


def test_an_accesss_moments_are_recorded() -> None:
    steps = [spend(WORK, 3), stamp(Moment.POSTED), spend(WORK, 4)]
    result = tried(lambda _: steps, compute=[10])
    got = {name: column(result, name)[0] for name in ("due", "start", "posted", "done", "resume")}
    assert got == {"due": 10, "start": 10, "posted": 13, "done": 17, "resume": 17}
    assert column(result, "stall") == [7]


LOCK = Queue("the lock", tokens=1)


def held(time: int, lock: Queue = LOCK, priority: Any = 0) -> list[Step]:
    return [acquire(lock, WAIT, priority=priority), spend(WORK, time), release(lock)]


def test_a_lock_is_handed_over_in_order_of_arrival() -> None:
    result = tried(lambda _: held(100), vcpu=[0, 1, 2], compute=[3, 1, 2])
    assert column(result, "resume") == [301, 101, 201]
    assert column(result, "stage: waiting") == [301 - 103, 0, 201 - 102]
    (use,) = [use for use in result.resources if use.name == "the lock"]
    assert (use.takes, use.waits, use.busy, use.span) == (3, 2, 300, 301)
    assert use.waiting == 198 + 99


def test_a_priority_queue_serves_the_lowest_number_then_arrival() -> None:
    lock = Queue("ranked", tokens=1, discipline="priority")
    result = tried(
        lambda _: held(100, lock, Column("emulate")),
        vcpu=[0, 1, 2, 3], compute=[0, 1, 2, 3], emulate=[9, 5, 2, 5],
    )  # fmt: skip
    assert column(result, "resume") == [100, 300, 200, 400]


def test_priorities_mean_nothing_to_a_fifo_queue() -> None:
    result = tried(
        lambda _: held(100, LOCK, Column("emulate")),
        vcpu=[0, 1, 2], compute=[0, 1, 2], emulate=[9, 5, 2],
    )  # fmt: skip
    assert column(result, "resume") == [100, 200, 300]


def test_as_many_hold_a_queue_as_it_has_tokens() -> None:
    result = tried(
        lambda _: held(100, Queue("two", tokens=2)), vcpu=[0, 1, 2, 3], compute=[0, 1, 2, 3]
    )
    assert column(result, "resume") == [100, 101, 200, 201]


BOX = Queue("box")


def test_items_come_out_in_the_order_in_which_they_went_in() -> None:
    steps = [
        put(BOX, 5), put(BOX, 3), put(BOX, 8),
        take(BOX, WAIT, into=A), spend(WORK, A),
        take(BOX, WAIT, into=A), spend(MORE, A),
    ]  # fmt: skip
    assert (spent(steps), spent(steps, MORE)) == (5, 3)


def test_a_full_queue_refuses_and_says_so() -> None:
    bell = Queue("bell", capacity=1)
    steps = [
        put(bell, 7, refused=A), put(bell, 9, refused=B), spend(WORK, A), spend(MORE, B),
        take(bell, WAIT, into=C), spend(SIDE, C),
        put(bell, 4, refused=B), spend(MORE, B), spend(MORE, Length(bell)),
    ]  # fmt: skip
    result = tried(lambda _: steps, compute=[0])
    assert column(result, "stage: work") == [0]
    assert column(result, "stage: more work") == [1 + 0 + 1]
    assert column(result, "stage: on the side") == [7]


def test_a_time_out_waits_exactly_so_long_and_leaves_nothing_behind() -> None:
    waiter = [
        take(BOX, WAIT, into=A, timeout=40),
        when(A, "==", TIMED_OUT, [spend(WORK, 5)]),
        spend(SIDE, 200),
        take(BOX, WAIT, into=B),  # what came after the time-out is still there
        spend(MORE, B),
    ]
    giver = [put(BOX, 3), spend(WORK, Length(BOX))]
    result = tried(by_vcpu(waiter, giver), **one_each([0, 60]))
    assert column(result, "stage: waiting") == [40, 0]
    assert column(result, "stage: work") == [5, 1]
    assert column(result, "stage: more work") == [3, 0]


@pytest.mark.parametrize("timeout", [0, -5])
def test_a_time_out_of_nothing_does_not_wait_but_takes_what_is_there(timeout: int) -> None:
    steps = [
        let(C, timeout),
        take(BOX, WAIT, into=A, timeout=C),
        when(A, "==", TIMED_OUT, [spend(WORK, 1)]),
        put(BOX, 6),
        take(BOX, WAIT, into=B, timeout=C),
        spend(MORE, B),
    ]
    assert (spent(steps), spent(steps, MORE), spent(steps, WAIT)) == (1, 6, 0)


def test_an_item_before_the_time_out_wakes_at_once() -> None:
    waiter = [take(BOX, WAIT, into=A, timeout=40), spend(WORK, A), spend(MORE, 100)]
    result = tried(by_vcpu(waiter, [put(BOX, 6)]), **one_each([0, 30]))
    assert column(result, "stage: waiting") == [30, 0]
    assert column(result, "stage: work") == [6, 0]
    assert result.finish == [136, 30]


@pytest.mark.parametrize(("giver_first", "waited_out"), [(True, False), (False, True)])
def test_at_the_same_instant_the_earlier_number_decides(
    giver_first: bool, waited_out: bool
) -> None:
    # At time 0 the actors run by index. The one that runs first sets its wake-up for 10 first:
    # the giver's put then replaces the time-out, which otherwise has gone off already.
    waiter = [take(BOX, WAIT, into=A, timeout=10), when(A, "==", TIMED_OUT, [spend(WORK, 1)])]
    giver = [spend(MORE, 10), put(BOX, 6)]
    each = (giver, waiter) if giver_first else (waiter, giver)
    result = tried(by_vcpu(*each), **one_each([0, 0]))
    assert sum(column(result, "stage: work")) == int(waited_out)
    assert sum(column(result, "stage: waiting")) == 10


def test_actors_that_tie_go_by_the_number_of_their_wake_up() -> None:
    # vCPU 0 looks at the world at 5, so its wake-up for 10 is set then; vCPU 1 set its own at 0.
    cell = Cell("looked at")
    early = [spend(MORE, 5), let(cell, 1), spend(MORE, 5), *held(100)]
    direct = [spend(MORE, 10), *held(100)]
    result = tried(by_vcpu(early, direct), **one_each([0, 0]))
    assert column(result, "resume") == [210, 110]
    result = tried(by_vcpu(direct, early), **one_each([0, 0]))
    assert column(result, "resume") == [110, 210]
    result = tried(by_vcpu(direct, direct), **one_each([0, 0]))
    assert column(result, "resume") == [110, 210]


def test_steps_that_need_no_waiting_set_no_wake_up() -> None:
    # vCPU 0 touches shared state again and again at 10; it still has the lock before vCPU 1.
    cell = Cell("looked at")
    busy = [spend(MORE, 10), *[let(cell, cell, "+", 1)] * 5, put(BOX, 1), take(BOX, WAIT)]
    result = tried(by_vcpu([*busy, *held(100)], [spend(MORE, 10), *held(100)]), **one_each([0, 0]))
    assert column(result, "resume") == [110, 210]


def test_whom_a_put_wakes_comes_behind_those_who_were_due_already() -> None:
    # At 10: vCPU 1 puts and so wakes vCPU 0, whose number is then the youngest; vCPU 2's wake-up
    # for 10 dates from 0, so it has the lock first.
    waiter = [take(BOX, WAIT), *held(100)]
    giver = [spend(MORE, 10), put(BOX, 1)]
    other = [spend(MORE, 10), *held(100)]
    result = tried(by_vcpu(waiter, giver, other), **one_each([0, 0, 0]))
    assert column(result, "resume") == [210, 10, 110]


def test_an_actor_of_ones_own_serves_all_vcpus() -> None:
    asked, answer = Queue("asked"), Queue("answered", per_vcpu=True)
    server = loop([take(asked, SIDE, into=ACCESS), spend(SIDE, 50), put(answer, 0)])
    result = tried(
        lambda _: [put(asked, ACCESS), take(answer, WAIT)],
        [("server", False, [server])],
        compute=[0],
    )
    assert column(result, "stall") == [50]


def test_an_access_number_tells_vcpu_and_place() -> None:
    steps = [let(A, ACCESS, "-", (1 << VCPU_SHIFT)), spend(WORK, A)]
    result = tried(lambda _: steps, vcpu=[1, 1, 1], compute=[0, 0, 0])
    assert column(result, "stage: work") == [0, 1, 2]


@pytest.mark.parametrize("engine", ["simpy", "compiled"])
def test_a_deadlock_says_who_waits_for_whom(engine: str) -> None:
    other = Queue("other lock", tokens=1)
    one = [acquire(LOCK, WAIT), spend(WORK, 1_000_000), acquire(other, WAIT)]
    two = [acquire(other, WAIT), spend(WORK, 2_000_000), acquire(LOCK, WAIT)]
    with pytest.raises(SimulationError) as caught:
        tried(by_vcpu(one, two), engine=engine, **one_each([0, 0]))
    said = str(caught.value)
    assert said.startswith("deadlock at 2 µs: ")
    assert "vCPU 0 waits for 'other lock', held by vCPU 1" in said
    assert "vCPU 1 waits for 'the lock', held by vCPU 0" in said


def test_engines_say_the_same_of_a_line_that_nobody_serves() -> None:
    # vCPU 0 stands behind vCPU 1, so it is in the midst of the line.
    late, early = [spend(WORK, 500), take(BOX, WAIT)], [take(BOX, WAIT)]
    said = []
    for engine in ("simpy", "compiled"):
        with pytest.raises(SimulationError) as caught:
            tried(by_vcpu(late, early, late), engine=engine, **one_each([0, 0, 7]))
        said.append(str(caught.value))
    assert said[0] == said[1]
    assert [said[0].count(f"vCPU {number} waits for 'box'") for number in range(3)] == [1, 1, 1]


def test_waiting_for_what_nobody_brings_is_a_deadlock() -> None:
    with pytest.raises(SimulationError, match=r"deadlock at 0: vCPU 0 waits for 'box'"):
        spent([take(BOX, WAIT)])


def test_any_integer_may_be_an_item_where_nobody_times_out() -> None:
    waiter = [take(BOX, WAIT, into=A, timeout=100), spend(WORK, 1)]
    result = tried(by_vcpu(waiter, [put(BOX, -1)]), **one_each([0, 30]))
    assert column(result, "stage: waiting") == [30, 0]


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(0, 3), min_size=4, max_size=12),
    st.integers(2, 3),
    st.integers(0, 4),
    st.integers(0, 4),
    st.booleans(),
)
def test_splitting_a_stage_or_adding_one_of_no_cost_changes_nothing_else(
    compute: list[int], vcpus: int, first: int, second: int, ranked: bool
) -> None:
    lock = Queue("hot", tokens=1, discipline="priority" if ranked else "fifo")
    half, rest = Stage("half", Role.HYPERVISOR), Stage("rest", Role.HYPERVISOR)
    free = Stage("free", Role.HYPERVISOR)

    def path(work: list[Step]) -> list[Step]:
        return [
            *work,
            acquire(lock, WAIT, priority=Column("vcpu")),
            *work,
            release(lock),
            let(Cell("count"), Cell("count"), "+", 1),
            *work,
        ]

    whole = path([spend(WORK, first + second)])
    split = path([spend(half, first), spend(free, 0), spend(rest, second)])
    vcpu = np.sort(np.arange(len(compute)) % vcpus)
    one = tried(lambda _: whole, compute=compute, vcpu=vcpu)
    two = tried(lambda _: split, compute=compute, vcpu=vcpu)
    a, b = one.to_columns(), two.to_columns()
    zero = np.zeros(len(compute))
    parts = sum(b.pop(f"stage: {stage.name}", zero) for stage in (half, rest, free))
    assert np.array_equal(a.pop("stage: work", zero), parts)
    assert {k: v.tolist() for k, v in a.items()} == {k: v.tolist() for k, v in b.items()}
    assert one.resources == two.resources
    assert one.finish == two.finish
