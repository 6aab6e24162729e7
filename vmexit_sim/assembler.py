"""Assembling: nested steps become a program's rows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import TypeVar

from vmexit_sim.distributions import Constant
from vmexit_sim.errors import SimulationError
from vmexit_sim.program import (
    MARKS,
    NEXT_MARK,
    OPERATORS,
    OWN,
    RELATIONS,
    SHARED,
    THEIRS,
    Actor,
    Draw,
    Mode,
    Op,
    Program,
    Row,
)
from vmexit_sim.steps import (
    ACCESS,
    Book,
    Cell,
    Clock,
    Column,
    Cost,
    Halt,
    Leave,
    Length,
    Let,
    Loop,
    Moment,
    NextAccess,
    Operand,
    PostedAt,
    Put,
    Queue,
    Register,
    Spend,
    Stage,
    Stamp,
    Step,
    Take,
    When,
)

K = TypeVar("K")


@dataclass
class Assembler:
    """Builds a `Program`, routine by routine.

    A constant time that every pass through a routine spends on the routine's own access needs no
    row: the clock advances with the next row, and the stage is booked for the class as a whole.
    That holds at the routine's top level, as long as nothing has made another access current. A
    variable time rides on the next row too, if that has room for it, and moments that fall
    together share a row.
    """

    vcpus: int
    contexts: int = 0
    rows: list[Row] = field(default_factory=list)
    fixed: dict[int, dict[int, int]] = field(default_factory=dict)
    _ahead: int = 0
    _pending: tuple[int, Operand] | None = None
    _label: int = 0
    _own_access: bool = True
    _stages: dict[Stage, int] = field(default_factory=dict)
    _queues: dict[Queue, int] = field(default_factory=dict)
    _cells: dict[Cell, int] = field(default_factory=dict)
    _registers: dict[Register, int] = field(default_factory=lambda: {ACCESS: 0})
    _columns: dict[str, int] = field(default_factory=dict)
    _reasons: dict[str, int] = field(default_factory=dict)
    _draws: dict[str, Draw] = field(default_factory=dict)
    _occurrences: dict[str, int] = field(default_factory=dict)
    _queue_places: list[Queue] = field(default_factory=list)
    _cell_places: list[Cell] = field(default_factory=list)

    def routine(self, steps: Iterable[Step], *, of_class: bool = False) -> int:
        """Lay a routine's steps behind what is there; returns the row it starts at.

        Args:
            steps: what it does.
            of_class: whether it is passed once for each access of a class.
        """
        entry = self._label = len(self.rows)
        self._occurrences = {}
        self._own_access = True
        self.fixed[entry] = {}
        self._lay(steps, None, self.fixed[entry] if of_class else None)
        assert (self._ahead, self._pending) == (0, None), "a routine ends by going elsewhere"
        return entry

    def program(self, entries: list[int], asking: int, end: int, actors: list[Actor]) -> Program:
        """The finished program."""
        return Program(
            rows=list(self.rows),
            fixed=[self.fixed[entry] for entry in entries],
            entries=entries,
            asking=asking,
            end=end,
            actors=actors,
            stages=list(self._stages),
            queues=list(self._queue_places),
            cells=list(self._cell_places),
            reasons=list(self._reasons),
            columns=list(self._columns),
            draws=dict(self._draws),
            registers=len(self._registers),
            vcpus=self.vcpus,
            contexts=self.contexts,
        )

    def _lay(
        self,
        steps: Iterable[Step],
        leaves: list[int] | None,
        fixed: dict[int, int] | None = None,
    ) -> None:
        """Lay steps; `leaves` gathers the jumps out of a loop, `fixed` what needs no row."""
        for step in steps:
            match step:
                case Spend(stage, cost, whose, aside):
                    if cost == 0 or (isinstance(cost, Constant) and cost.value == 0):
                        continue
                    operand = self._cost(stage, cost, whose, aside)
                    number = self._stage(stage)
                    if fixed is not None and self._own_access and isinstance(operand, int):
                        fixed[number] = fixed.get(number, 0) + operand
                        self._ahead += operand
                        continue
                    self._flush()
                    self._pending = number, operand
                    if isinstance(operand, (Clock, Cell, Length)):  # what they say changes
                        self._flush()
                case Take(queue, stage, into, timeout, priority):
                    target = -1 if into is None else self._assigned(into)
                    place = (*self._queue(queue), self._stage(stage), target)
                    if timeout is None:
                        self._emit(Op.TAKE, *place, y=priority)
                    else:
                        self._emit(Op.TIMED_TAKE, *place, x=timeout, y=priority)
                case Put(queue, item, refused):
                    flag = -1 if refused is None else self._assigned(refused)
                    self._emit(Op.PUT, *self._queue(queue), flag, y=item)
                case Let(target_, x, operator, y):
                    if operator in ("//", "%") and not (isinstance(y, int) and y > 0):
                        raise SimulationError(f"a `let` divides by {y}, no positive constant")
                    if isinstance(target_, Register):
                        self._assigned(target_)
                    else:
                        self._emit(Op.SYNC)
                    self._emit(Op.LET, OPERATORS.index(operator), *self._operand(target_),
                               x=x, y=y)  # fmt: skip
                case When(x, relation, y, then, otherwise):
                    branch = self._emit(Op.BRANCH, RELATIONS.index(relation), x=x, y=y)
                    self._lay(then, leaves)
                    self._flush()
                    if otherwise:
                        jump = self._emit(Op.JUMP)
                        self._aim(branch)
                        self._lay(otherwise, leaves)
                        self._flush()
                        self._aim(jump)
                    else:
                        self._aim(branch)
                case Loop(body):
                    self._flush()
                    if self._ahead:  # it passes once, not in every round
                        self._emit(Op.PASS)
                    begin = self._label = len(self.rows)
                    own_leaves: list[int] = []
                    self._lay(body, own_leaves)
                    self._aim(self._emit(Op.JUMP), begin)
                    for row in own_leaves:
                        self._aim(row)
                case Leave():
                    if leaves is None:
                        raise SimulationError("a `leave` stands outside every loop")
                    leaves.append(self._emit(Op.JUMP))
                case Stamp(Moment.DONE, access, _):
                    self._emit(Op.DONE, self._register(access))
                case Stamp(Moment.POSTED, access, _):
                    self._emit(Op.POSTED, self._register(access))
                case Stamp(moment, _, reason):
                    known = 0 if reason is None else _number(self._reasons, reason)
                    self._mark(MARKS[moment], known)
                case Book(stage, amount, access):
                    self._emit(Op.BOOK, self._stage(stage), self._register(access), y=amount)
                case NextAccess():
                    self._mark(NEXT_MARK, 0)
                case Halt():
                    self._emit(Op.HALT)

    def _emit(self, op: Op, *numbers: int, x: Operand | None = None, y: Operand = 0) -> int:
        if x is not None:
            self._flush()
        if isinstance(x, (Cell, Length)) or isinstance(y, (Cell, Length)):
            self._emit(Op.SYNC)
        spend = 0
        if self._pending is not None:
            spend, x = self._pending[0] + 1, self._pending[1]
            self._pending = None
        operands = (*self._operand(0 if x is None else x), *self._operand(y))
        padded = (*numbers, *[0] * (4 - len(numbers)))
        self.rows.append(tuple(map(int, (op, self._ahead, spend, *operands, *padded))))
        self._ahead = 0
        return len(self.rows) - 1

    def _flush(self) -> None:
        """Give a pending variable time a row of its own: what follows has no room for it."""
        if self._pending is not None:
            stage, operand = self._pending
            self._pending = None
            if isinstance(operand, (Cell, Length)):
                self._emit(Op.SYNC)
            self._pending = stage, operand
            self._emit(Op.PASS)

    def _mark(self, mark: int, reason: int) -> None:
        """A moment; in the row before, if that marks earlier ones and no time lies between."""
        row = self.rows[-1] if len(self.rows) > self._label else None
        if row and row[0] == Op.MARK and row[7] < mark and not self._ahead and not self._pending:
            known = reason if mark == MARKS[Moment.EXIT] else row[8]
            self.rows[-1] = (*row[:7], row[7] + mark, known, *row[9:])
        else:
            self._emit(Op.MARK, mark, reason)

    def _aim(self, row: int, target: int | None = None) -> None:
        """Set where a jump or branch goes: its last field; by default to what comes next."""
        if target is None:
            target = self._label = len(self.rows)
        self.rows[row] = (*self.rows[row][:-1], target)

    def _cost(self, stage: Stage, cost: Cost, whose: Register | None, aside: str) -> Operand:
        if isinstance(cost, Constant):
            return cost.value
        if isinstance(cost, (int, Register, Column, Cell, Length, Clock, PostedAt)):
            return cost
        path = f"cost/{aside}/{stage.name}" if aside else f"cost/{stage.name}"
        occurrence = self._occurrences.get(path, 0)
        self._occurrences[path] = occurrence + 1
        draw = Draw(f"{path}/{occurrence}", cost)
        variants = [name for name, known in self._draws.items() if known.purpose == draw.purpose]
        for name in variants:
            if self._draws[name] == draw:
                return Column(name, whose)
        name = f"{draw.purpose}/{len(variants)}"
        self._draws[name] = draw
        return Column(name, whose)

    def _operand(self, operand: Operand) -> tuple[int, int]:
        match operand:
            case int():
                return Mode.CONSTANT, operand
            case Register():
                return Mode.REGISTER, self._register(operand)
            case Column(name, None):
                return Mode.COLUMN, _number(self._columns, name)
            case Column(name, of):
                assert of is not None
                return Mode.COLUMN_OF, _number(self._columns, name) << 8 | self._register(of)
            case Cell(_, per_vcpu, whose):
                cell = replace(operand, whose=None)
                if cell not in self._cells:
                    self._cells[cell] = len(self._cell_places)
                    self._cell_places += [cell] * (self.vcpus if per_vcpu else 1)
                place = self._cells[cell]
                if whose is not None:
                    return Mode.THEIR_CELL, place << 8 | self._register(whose)
                return (Mode.OWN_CELL if per_vcpu else Mode.CELL), place
            case Length(queue):
                place, owner = self._queue(queue)
                if owner >= THEIRS:
                    return Mode.THEIR_LENGTH, place << 8 | owner - THEIRS
                return (Mode.OWN_LENGTH if owner == OWN else Mode.LENGTH), place
            case Clock():
                return Mode.CLOCK, 0
            case PostedAt(of):
                return Mode.POSTED_AT, self._register(of)

    def _stage(self, stage: Stage) -> int:
        return _number(self._stages, stage)

    def _register(self, register: Register) -> int:
        return _number(self._registers, register)

    def _assigned(self, register: Register) -> int:
        """A register that a step sets; after it, `ACCESS` may be another routine's access."""
        self._own_access &= register != ACCESS
        return self._register(register)

    def _queue(self, queue: Queue) -> tuple[int, int]:
        """A queue's place, and whose it is."""
        known = replace(queue, whose=None)
        if known not in self._queues:
            self._queues[known] = len(self._queue_places)
            self._queue_places += [known] * (self.vcpus if known.per_vcpu else 1)
        if queue.whose is not None:
            return self._queues[known], THEIRS + self._register(queue.whose)
        return self._queues[known], OWN if known.per_vcpu else SHARED


def _number(known: dict[K, int], key: K) -> int:
    return known.setdefault(key, len(known))
