"""The walk: from a routine's first row to the next access, with every lock free.

Time is a `Sum` throughout. Where a branch cannot be resolved both sides are walked; if they cost
the access the same, it does not matter which one it takes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from operator import eq, floordiv, ge, gt, le, lt, mod, mul, ne
from typing import TypeAlias

from vmexit_sim.demand.sums import NOTHING, Sum, Unknown
from vmexit_sim.lowering import Lowered
from vmexit_sim.program import MARKS, NEXT_MARK, OPERATORS, RELATIONS, THEIRS, Mode, Op
from vmexit_sim.steps import Moment, Queue, Stage

MOST_BRANCHES = 64
"""Branches that a walk follows both sides of before it calls a routine a loop."""

_COMPARED: dict[str, Callable[[int, int], bool]] = {
    "==": eq, "!=": ne, "<": lt, "<=": le, ">": gt, ">=": ge,
}  # fmt: skip
_OPERATED: dict[str, Callable[[int, int], int]] = {
    "*": mul, "min": min, "max": max, "//": floordiv, "%": mod,
}  # fmt: skip
_START, _EXIT, _RESUME = (MARKS[m] for m in (Moment.START, Moment.EXIT, Moment.RESUME))


@dataclass(frozen=True, kw_only=True)
class Hold:
    """One lock or server, from where an access takes it until it gives it back.

    Attributes:
        queue: the lock.
        time: how long it is held if nobody waits.
        within: locks that are held already as it is taken; if there are any, nobody who needs
            those too can be in its way.
        around: locks that are taken while it is held; waiting for them lengthens the hold.
    """

    queue: Queue
    time: Sum
    within: tuple[str, ...] = ()
    around: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Demand:
    """What an access of a class costs when nobody waits.

    Attributes:
        stall: how long it keeps the vCPU.
        stages: the same by stage; these sum to the stall.
        effect: from its start until the device has changed; None: others bring that about.
        holds: its locks, in the order in which they are given back.
        locked: the time in which it holds any, by the first one taken.
        exits: VM exits.
        posted: queues that it leaves work or a token in for others.
    """

    stall: Sum
    stages: Mapping[Stage, Sum]
    effect: Sum | None
    holds: tuple[Hold, ...]
    locked: Mapping[str, Sum]
    exits: int
    posted: tuple[str, ...]


@dataclass(frozen=True)
class StateDependent:
    """A routine without a sum of its own: it goes one way or the other by what was before.

    Attributes:
        reason: what decides, in words that follow "depends on".
    """

    reason: str


def demand_of(
    lowered: Lowered, number: int, known: Mapping[str, int] | None = None
) -> Demand | StateDependent:
    """What an access of a class costs when nobody waits.

    Args:
        lowered: the program.
        number: which class, a place in `Program.entries`.
        known: columns that have one value for all accesses of the class, and this value; a branch
            on them is resolved.
    """
    return _Walk(lowered, number, known or {}).result()


@dataclass
class _Held:
    """A lock that is being held; `within` and `around` as for `Hold`."""

    queue: Queue
    since: Sum
    within: tuple[str, ...]
    around: tuple[str, ...] = ()


_Outcome: TypeAlias = Demand | StateDependent


@dataclass
class _State:
    """Where a walk has got to."""

    place: int
    clock: Sum
    registers: dict[int, Sum] = field(default_factory=dict)
    stages: dict[int, Sum] = field(default_factory=dict)
    held: dict[tuple[int, int], _Held] = field(default_factory=dict)
    holds: tuple[Hold, ...] = ()
    locked: dict[str, Sum] = field(default_factory=dict)
    locked_since: tuple[str, Sum] = ("", NOTHING)
    opened: Sum | None = None
    stall: Sum = NOTHING
    done: Sum | None = None
    exits: int = 0
    posted: tuple[str, ...] = ()

    def copy(self) -> _State:
        """A state that goes on by itself."""
        held = {key: _Held(h.queue, h.since, h.within, h.around) for key, h in self.held.items()}
        return _State(
            self.place, self.clock, dict(self.registers), dict(self.stages), held, self.holds,
            dict(self.locked), self.locked_since, self.opened, self.stall, self.done, self.exits,
            self.posted,
        )  # fmt: skip


class _Stopped(Exception):
    """The walk meets what it cannot know."""


class _Walk:
    """A walk through a class's routine."""

    def __init__(self, lowered: Lowered, number: int, known: Mapping[str, int]) -> None:
        self.program = lowered.program
        self.number = number
        self.known = known
        self.branches = self.unknowns = 0

    def result(self) -> _Outcome:
        fixed = self.program.fixed[self.number]
        begin = _State(self.program.entries[self.number], self._unknown("the clock"))
        begin.stages = {stage: Sum(time) for stage, time in fixed.items()}
        return self._from(begin)

    def _from(self, state: _State) -> _Outcome:
        try:
            while True:
                row = self.program.rows[state.place]
                if row[0] == Op.BRANCH:
                    side = self._side(state, row)
                    if side is None:
                        return self._both(state, row)
                    state.place = side
                elif self._step(state, row):
                    return self._finished(state)
        except _Stopped as stop:
            return StateDependent(str(stop))

    def _both(self, state: _State, row: tuple[int, ...]) -> _Outcome:
        """What both sides of a branch come to, if that is the same."""
        self.branches += 1
        reason = self._decider(state, row)
        if self.branches > MOST_BRANCHES:
            return StateDependent(reason)
        other = state.copy()
        state.place, other.place = state.place + 1, row[10]
        one = self._from(state)
        if isinstance(one, StateDependent):
            return one
        two = self._from(other)
        return two if isinstance(two, StateDependent) or one == two else StateDependent(reason)

    def _side(self, state: _State, row: tuple[int, ...]) -> int | None:
        """Where a branch goes; None: that is not known."""
        self._pass(state, row)
        difference = self._value(state, row[3], row[4]) - self._value(state, row[5], row[6])
        if difference.terms:
            return None
        holds = _COMPARED[RELATIONS[row[7]]](difference.constant, 0)
        return state.place + 1 if holds else row[10]

    def _step(self, state: _State, row: tuple[int, ...]) -> bool:
        """Run a row; whether the access is over."""
        op, _, _, x_mode, x, y_mode, y, a, b, c, d = row
        self._pass(state, row)
        state.place += 1
        if op == Op.MARK:
            if a & _START:
                state.opened = state.clock
            state.exits += bool(a & _EXIT)
            if a & _RESUME:
                assert state.opened is not None, "a stall has a beginning"
                state.stall += state.clock - state.opened
            return bool(a & NEXT_MARK)
        if op == Op.TAKE:
            self._take(state, a, b, d)
        elif op == Op.PUT:
            self._put(state, a, b, c)
        elif op == Op.LET:
            value = self._operated(state, a, (x_mode, x), (y_mode, y))
            if b == Mode.REGISTER:
                if c == 0:
                    raise _Stopped("which accesses are pending: it works on others than its own")
                state.registers[c] = value
        elif op in (Op.DONE, Op.POSTED, Op.BOOK):
            if (b if op == Op.BOOK else a) != 0:
                raise _Stopped("which accesses are pending: it finishes others than its own")
            if op == Op.DONE:
                state.done = state.clock
            elif op == Op.BOOK:
                state.stages[a] = state.stages.get(a, Sum()) + self._value(state, y_mode, y)
        elif op == Op.JUMP:
            state.place = d
        elif op == Op.TIMED_TAKE:
            raise _Stopped(f"what comes into {self.program.queues[a].name!r} in time")
        return False

    def _pass(self, state: _State, row: tuple[int, ...]) -> None:
        """The time that passes first; a row that spends has no other use for its operand x."""
        state.clock += Sum(row[1])
        if row[2]:
            amount = self._value(state, row[3], row[4])
            state.clock += amount
            state.stages[row[2] - 1] = state.stages.get(row[2] - 1, Sum()) + amount

    def _take(self, state: _State, queue: int, whose: int, into: int) -> None:
        lock = self.program.queues[queue]
        if whose >= THEIRS or lock.tokens == 0:
            raise _Stopped(f"what others put into {lock.name!r}")
        if not state.held:
            state.locked_since = lock.name, state.clock
        for held in state.held.values():
            held.around += (lock.name,)
        within = tuple(held.queue.name for held in state.held.values())
        state.held[queue, whose] = _Held(lock, state.clock, within)
        if into == 0:
            raise _Stopped("which accesses are pending: it works on others than its own")
        if into > 0:
            state.registers[into] = Sum()

    def _put(self, state: _State, queue: int, whose: int, refused: int) -> None:
        lock = self.program.queues[queue]
        held = state.held.pop((queue, whose), None)
        if held is None:
            state.posted += (lock.name,)
        else:
            time = state.clock - held.since
            hold = Hold(queue=lock, time=time, within=held.within, around=held.around)
            state.holds += (hold,)
            if not state.held:
                first, since = state.locked_since
                state.locked[first] = state.locked.get(first, Sum()) + (state.clock - since)
        if refused >= 0:
            state.registers[refused] = self._unknown(f"whether {lock.name!r} was full")

    def _finished(self, state: _State) -> _Outcome:
        """The demand, if nothing unknown is left in it."""
        stages = {
            self.program.stages[number]: time
            for number, time in state.stages.items()
            if self.program.stages[number].is_front and time != Sum()
        }
        times = [state.stall, *stages.values(), *(hold.time for hold in state.holds)]
        unknown = next((time.unknown for time in times if time.unknown), None)
        if unknown is not None:
            return StateDependent(unknown)
        effect = None
        if state.done is not None and state.opened is not None:
            since = state.done - state.opened
            effect = since if since.unknown is None else None
        kept = tuple(held.queue.name for held in state.held.values())
        return Demand(
            stall=state.stall,
            stages=stages,
            effect=effect,
            holds=state.holds,
            locked=state.locked,
            exits=state.exits,
            posted=state.posted + kept,
        )

    def _operated(
        self, state: _State, operator: int, x: tuple[int, int], y: tuple[int, int]
    ) -> Sum:
        """What a `let` computes."""
        one, two = self._value(state, *x), self._value(state, *y)
        name = OPERATORS[operator]
        if name in ("+", "-"):
            return one + two if name == "+" else one - two
        if not one.terms and not two.terms:
            a, b = one.constant, two.constant
            return Sum(_OPERATED[name](a, b))
        if name == "*" and not two.terms:
            return one * two.constant
        if name == "*" and not one.terms:
            return two * one.constant
        return self._unknown(one.unknown or two.unknown or f"the {name} of two times")

    def _value(self, state: _State, mode: int, index: int) -> Sum:
        """An operand."""
        program = self.program
        match mode:
            case Mode.CONSTANT:
                return Sum(index)
            case Mode.REGISTER:
                if index not in state.registers:
                    state.registers[index] = self._unknown("what accesses before it have left")
                return state.registers[index]
            case Mode.COLUMN | Mode.COLUMN_OF:
                if mode == Mode.COLUMN_OF and index & 255:
                    return self._unknown("other accesses")
                name = program.columns[index if mode == Mode.COLUMN else index >> 8]
                return Sum(self.known[name]) if name in self.known else Sum(0, ((name, 1),))
            case Mode.CLOCK:
                return state.clock
            case Mode.CELL | Mode.OWN_CELL:
                return self._unknown(f"{program.cells[index].name!r}")
            case Mode.THEIR_CELL:
                return self._unknown(f"{program.cells[index >> 8].name!r}")
            case Mode.LENGTH | Mode.OWN_LENGTH:
                return self._unknown(f"how much is in {program.queues[index].name!r}")
            case Mode.THEIR_LENGTH:
                return self._unknown(f"how much is in {program.queues[index >> 8].name!r}")
        return self._unknown("when other accesses were posted")

    def _decider(self, state: _State, row: tuple[int, ...]) -> str:
        """What an unresolved branch looks at."""
        looked_at = self._value(state, row[3], row[4]) - self._value(state, row[5], row[6])
        unknown = looked_at.unknown
        if unknown is not None:
            return unknown
        return " and ".join(f"column {name!r}" for name, _ in looked_at.terms)

    def _unknown(self, what: str) -> Sum:
        self.unknowns += 1
        return Sum(0, ((Unknown(what, self.unknowns), 1),))
