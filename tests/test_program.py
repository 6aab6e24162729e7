"""Programs: steps laid flat, with a number for everything and every jump inside."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vmexit_sim.assembler import Assembler
from vmexit_sim.configuration import Configured, checked
from vmexit_sim.distributions import Constant, Distribution
from vmexit_sim.errors import SimulationError
from vmexit_sim.program import WIDTH, Op, Program
from vmexit_sim.steps import (
    ACCESS,
    Cell,
    Clock,
    Column,
    Halt,
    Length,
    Moment,
    Queue,
    Register,
    Role,
    Stage,
    Step,
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

WORK, MORE = Stage("work", Role.HYPERVISOR), Stage("more", Role.HYPERVISOR)
A = Register("a")
SHARED, OWN = Cell("shared"), Cell("own", per_vcpu=True)
BOX = Queue("box", per_vcpu=True)


class Held(Configured):
    time: Distribution


def exponential(mean: str) -> Any:
    return checked(Held, {"time": {"kind": "exponential", "mean": mean}}).time


def assembled(*routines: list[Step], vcpus: int = 1) -> Program:
    assembler = Assembler(vcpus)
    return assembler.program([assembler.routine([*steps, Halt()]) for steps in routines], 0, 0, [])


def ops(program: Program) -> list[Op]:
    return [Op(row[0]) for row in program.rows]


def test_every_row_is_equally_wide() -> None:
    program = assembled([stamp(Moment.DONE), spend(WORK, A), take(BOX, MORE, timeout=A)])
    assert {len(row) for row in program.rows} == {WIDTH}
    assert ops(program)[-1] == Op.HALT


def test_what_costs_nothing_is_no_row() -> None:
    program = assembled([spend(WORK, 0), spend(WORK, Constant(value="0 ns"))])
    assert ops(program) == [Op.HALT]
    assert program.stages == []


def test_a_constant_cost_of_a_class_is_booked_with_the_class() -> None:
    assembler = Assembler(1)
    steps = [spend(WORK, Constant(value="5 ns")), spend(WORK, 2), spend(MORE, 1), Halt()]
    program = assembler.program([assembler.routine(steps, of_class=True)], 0, 0, [])
    booked = {program.stages[number]: time for number, time in program.fixed[0].items()}
    assert booked == {WORK: 5002, MORE: 1}


def test_routines_stand_behind_each_other() -> None:
    program = assembled([], [stamp(Moment.DONE)], [])
    assert program.entries == [0, 1, 3]


def test_the_current_access_is_a_register_that_is_always_there() -> None:
    assert assembled([]).registers == 1
    assert assembled([let(A, ACCESS)]).registers == 2


@pytest.mark.parametrize(
    ("step", "waits"),
    [
        (let(A, 1), False),
        (let(A, Clock(), "+", Column("emulate")), False),
        (spend(WORK, A), False),
        (let(A, SHARED), True),
        (let(OWN, 1), True),
        (let(A, 1, "+", Length(BOX)), True),
        (spend(WORK, SHARED), True),
        (when(Length(BOX), ">", 0, [Halt()]), True),
        (when(A, ">", 0, [Halt()]), False),
    ],
    ids=str,
)
def test_only_what_looks_at_shared_state_waits_for_the_world(step: Step, waits: bool) -> None:
    assert (Op.SYNC in ops(assembled([step]))) == waits


def test_what_each_vcpu_has_stands_in_consecutive_places() -> None:
    lock = Queue("lock", tokens=1)
    steps = [acquire(lock, WORK), put(BOX, 1), let(OWN, 1), let(SHARED, 2), release(lock)]
    program = assembled(steps, vcpus=3)
    assert program.queues == [lock, BOX, BOX, BOX]
    assert program.cells == [OWN, OWN, OWN, SHARED]


def test_a_random_cost_is_drawn_for_its_stage_and_occurrence() -> None:
    slow, fast = exponential("9 us"), exponential("1 us")
    program = assembled([spend(WORK, slow), spend(MORE, slow), spend(WORK, slow)])
    assert [draw.purpose for draw in program.draws.values()] == [
        "cost/work/0", "cost/more/0", "cost/work/1",
    ]  # fmt: skip
    program = assembled([spend(WORK, slow)], [spend(WORK, slow)], [spend(WORK, fast)])
    assert len(program.draws) == 2  # the same cost in two routines is one column
    assert {draw.purpose for draw in program.draws.values()} == {"cost/work/0"}
    assert set(program.draws) == set(program.columns)


def test_a_stage_that_is_skipped_shifts_no_other_draw() -> None:
    slow = exponential("9 us")
    both = assembled([spend(MORE, slow), spend(WORK, slow)])
    one = assembled([spend(WORK, slow)])
    assert set(one.draws) < set(both.draws)


def test_leave_needs_a_loop() -> None:
    for steps in ([leave()], [when(1, "==", 1, [leave()])], [loop([leave()]), leave()]):
        with pytest.raises(SimulationError, match="outside every loop"):
            assembled(steps)


def blocks(inside: st.SearchStrategy[list[Step]]) -> st.SearchStrategy[list[Step]]:
    relation = st.sampled_from(["==", "<"])
    branch = st.builds(lambda r, x, y: when(A, r, 1, x, y), relation, inside, inside)
    endless = st.builds(lambda x: loop([*x, when(A, "==", 1, [leave()])]), inside)
    return st.lists(branch | endless | PLAIN, max_size=3)


PLAIN = st.sampled_from([spend(WORK, 1), let(SHARED, 1), put(BOX, 1), stamp(Moment.DONE)])


@settings(max_examples=80)
@given(st.recursive(st.lists(PLAIN, max_size=2), blocks, max_leaves=12))
def test_every_jump_lands_inside_the_routine(steps: list[Step]) -> None:
    program = assembled(steps)
    targets = [row[-1] for row in program.rows if row[0] in (Op.BRANCH, Op.JUMP)]
    assert all(0 <= target < len(program.rows) for target in targets)
    assert program.rows[-1][0] == Op.HALT


@settings(max_examples=20)
@given(st.recursive(st.lists(PLAIN, max_size=2), blocks, max_leaves=12))
def test_assembling_twice_gives_the_same(steps: list[Step]) -> None:
    assert assembled(steps) == assembled(steps)
