"""Programs: steps laid flat, as both engines run them.

Assembling turns nested steps into rows of small integers with jumps, gives every stage, queue,
cell, register and column a number, and makes every random cost a column of its own. What a row's
fields mean is listed at `Op`; an engine is a loop over such rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from vmexit_sim.distributions import Duration
from vmexit_sim.steps import (
    Cell,
    Moment,
    Queue,
    Stage,
)


class Op(IntEnum):
    """What a row of a program does.

    A row is ``(op, ahead, spend, x mode, x, y mode, y, a, b, c, d)``. First `ahead` passes, a
    constant time. Then, if `spend` is not 0, x passes, and is booked as stage `spend` - 1. Then
    comes the op; what its operands x and y and the plain numbers a to d mean:
    """

    PASS = 0  # nothing more
    MARK = 1  # a: which moments (a sum of `MARKS`), in their order; b: exit reason
    TAKE = 2  # y: priority; a: queue, b: whose, c: stage, d: into | -1
    PUT = 3  # y: item; a: queue, b: whose, c: refused | -1
    DONE = 4  # a: register
    POSTED = 5  # a: register
    LET = 6  # x, y: operands; a: operator, b: target mode, c: target
    BRANCH = 7  # x, y: operands; a: relation, d: where to go if it does not hold
    JUMP = 8  # d: where to
    BOOK = 9  # y: time; a: stage, b: register
    SYNC = 10  # wait until the world is as late as the actor: a cell or a length is next
    TIMED_TAKE = 11  # as TAKE; x: time-out
    HALT = 12


MARKS = {Moment.START: 1, Moment.EXIT: 2, Moment.ENTRY: 4, Moment.RESUME: 8}
NEXT_MARK = 16
"""What a `MARK` can stand for: moments of the current access in this order, and at last going on
with the vCPU's next one."""


SHARED, OWN, THEIRS = 0, 1, 2
"""Whose queue a row means: everybody's, the actor's own vCPU's, or that of the vCPU whose number
stands in register ``whose - THEIRS``."""


class Mode(IntEnum):
    """Where an operand's value stands; `index` says which."""

    CONSTANT = 0  # the index itself
    REGISTER = 1
    COLUMN = 2  # of the current access
    COLUMN_OF = 3  # index = column << 8 | register
    CELL = 4
    OWN_CELL = 5  # the first of a row of cells, one for each vCPU
    LENGTH = 6
    OWN_LENGTH = 7
    CLOCK = 8
    POSTED_AT = 9  # index = register
    THEIR_CELL = 10  # index = first cell << 8 | register that holds the vCPU
    THEIR_LENGTH = 11  # index = first queue << 8 | register that holds the vCPU


OPERATORS = ("+", "-", "*", "min", "max", "//", "%")
RELATIONS = ("==", "!=", "<", "<=", ">", ">=")
WIDTH = 11
"""Fields of a row; unused ones are 0."""

Row = tuple[int, ...]


@dataclass(frozen=True)
class Draw:
    """How a random cost's column is drawn: from the stream of its purpose."""

    purpose: str
    duration: Duration


@dataclass(frozen=True)
class Actor:
    """Who runs where from.

    Attributes:
        name: for people, ``"vCPU 0"``.
        entry: the row it starts at.
        vcpu: the vCPU it is, or whose queues and cells it means.
        is_vcpu: whether the run lasts until it halts.
    """

    name: str
    entry: int
    vcpu: int
    is_vcpu: bool


@dataclass(frozen=True, kw_only=True)
class Program:
    """Everything an engine needs to know, but the accesses.

    Attributes:
        rows: the code, `WIDTH` integers a row.
        fixed: per access class, the constant times that every one of its accesses spends: by
            stage. They pass as rows' `ahead`, and are booked when an access is reduced.
        entries: per access class, the row its program starts at.
        asking: the row at which a vCPU asks for its next access, and does nothing besides.
        end: the row at which a vCPU goes on after its last access.
        actors: vCPUs first, by number.
        stages, queues, cells, reasons, columns: what the numbers in the code mean. A per-vCPU
            queue or cell stands once for every vCPU, in consecutive places.
        draws: how the columns of random costs are drawn, by column name.
        registers: how many each actor has; number 0 is the current access.
        vcpus: how many vCPUs there are, interrupt contexts included.
        contexts: how many of these are contexts.
    """

    rows: list[Row]
    fixed: list[dict[int, int]]
    entries: list[int]
    asking: int
    end: int
    actors: list[Actor]
    stages: list[Stage]
    queues: list[Queue]
    cells: list[Cell]
    reasons: list[str]
    columns: list[str]
    draws: dict[str, Draw]
    registers: int
    vcpus: int
    contexts: int

    def __hash__(self) -> int:
        """By identity, so that what is made of a program can be kept for the next run of it."""
        return id(self)

    @property
    def who(self) -> list[str]:
        """The names of the vCPUs, and of the interrupt contexts behind them."""
        return [actor.name for actor in self.actors[: self.vcpus]]
