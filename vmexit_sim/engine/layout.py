"""Laying a program for the compiled engine's loop, with all settled beforehand that can be.

What a row of a program does falls into two: time passes, with moments in it; then the op proper
acts. Where the op concerns others, an actor waits in between for the world, and goes on with the
second half. Operands say where the loop finds them, and jumps have gone where they go.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from vmexit_sim.engine import kernel as k
from vmexit_sim.program import NEXT_MARK, OWN, SHARED, THEIRS, Program, Row

TAKES = (k.TAKE, k.TIMED_TAKE)

OWN_REGISTERS = (SHARED, OWN)
"""What the loop's own registers behind the program's hold: 0, and the actor's vCPU."""

WAITING = (*TAKES, k.PUT, k.HALT, k.SYNC)
"""The ops before which an actor waits until the world is as late as it is."""

AT_NOW = (*TAKES, k.PUT, k.RECEIVE)
"""The ops after which the world is as late as the actor."""


@dataclass(frozen=True)
class Layout:
    """A program as the loop reads it.

    Attributes:
        rows: the program's own in their order, `kernel.ROW` places each; behind them the second
            halves of those that have two, and what is done at the end of a wait in line.
        booked: the stages that some row books; all others have constant times only.
        each: how many places an access takes: what is recorded, its columns, the booked stages.
    """

    rows: npt.NDArray[np.int64]
    booked: list[int]
    each: int


def place_of(row: int) -> int:
    """Where one of the program's own rows begins."""
    return row << k.ROW_BITS


_laying = threading.Lock()


def lay(program: Program, names: tuple[str, ...]) -> Layout:
    """Lay a program for accesses that have columns of these names, `ALWAYS` first.

    A program that runs again, in another replication, is not laid again; nor if it runs at the
    same time on another thread, which waits. One program is laid at a time: it is Python's work,
    of which there is one at a time in any case.
    """
    with _laying:
        return _lay(program, names)


@lru_cache(maxsize=64)
def _lay(program: Program, names: tuple[str, ...]) -> Layout:
    booked = sorted({stage for row in program.rows for stage in _booked(row)})
    stages = k.CLASS + len(names)
    halves = _Halves(
        program.rows,
        columns=[k.CLASS + names.index(name) for name in program.columns],
        stages={stage: stages + number for number, stage in enumerate(booked)},
        registers=program.registers,
    )
    lines: list[list[int]] = [[] for _ in program.rows]
    for number, (op, ahead, spend, *_) in enumerate(program.rows):
        first, second = halves.time(number), halves.act(number)
        if second is None:
            lines[number] = first
            continue
        if ahead or spend or op in WAITING:
            lines[number] = first
            first[k.NEXT] = place_of(len(lines))
            lines.append(second)
        else:
            lines[number] = second
        if op in TAKES:
            second[k.WOKEN] = place_of(len(lines))
            lines.append([k.RECEIVE, *second[1:]])
    for line in lines:
        _look_ahead(line, lines[line[k.NEXT] >> k.ROW_BITS])
    return Layout(np.array(lines, np.int64).ravel(), booked, stages + len(booked))


def _booked(row: Row) -> set[int]:
    """The stages that a row books."""
    op, _, spend, _, _, _, _, a, _, c, _ = row
    stages = {spend - 1} if spend else set()
    if op in TAKES:
        stages.add(c)
    elif op == k.BOOK:
        stages.add(a)
    return stages


@dataclass(frozen=True)
class _Halves:
    """Makes the two halves of a program's rows.

    Attributes:
        rows: the program's.
        columns, stages: where in an access its columns stand, and the time of its booked stages.
        registers: how many registers of an actor the program uses.
    """

    rows: Sequence[Row]
    columns: Sequence[int]
    stages: dict[int, int]
    registers: int

    def time(self, number: int) -> list[int]:
        """The time that passes in a row, and the moments in it."""
        op, ahead, spend, x_mode, x, _, _, a, b, _, d = self.rows[number]
        line = [0] * k.ROW
        line[k.OP], line[k.AHEAD], line[k.WAITS] = k.TIME, ahead, op in WAITING
        line[k.NEXT] = self._reached(d if op == k.JUMP else number + 1)
        if spend:
            line[k.SPENT_AS] = self.stages[spend - 1]
            line[k.MODES], line[k.X] = x_mode, self._found(x_mode, x)
        if op == k.MARK:
            line[k.MARKED], line[k.REASON] = a, b
        elif op in k.OWN_MARKS and a == 0:
            line[k.MARKED] = k.OWN_MARKS[op]
        return line

    def act(self, number: int) -> list[int] | None:
        """What a row does when its time has passed; None if that is nothing."""
        op, _, spend, x_mode, x, y_mode, y, a, b, c, d = self.rows[number]
        if op in (k.PASS, k.MARK, k.SYNC, k.JUMP) or (op in k.OWN_MARKS and a == 0):
            return None
        if spend:  # x is what has passed
            x_mode = x = 0
        if op in (*TAKES, k.PUT):
            b = self._whose(b)
        if op in TAKES:
            c = self.stages[c]
        elif op == k.BOOK:
            a = self.stages[a]
        elif op == k.BRANCH:
            d = self._reached(d)
        line = [0] * k.ROW
        line[k.OP], line[k.NEXT] = op, self._reached(number + 1)
        line[k.MODES] = x_mode | y_mode << k.Y_SHIFT
        line[k.X], line[k.Y] = self._found(x_mode, x), self._found(y_mode, y)
        line[k.A], line[k.B], line[k.C], line[k.D] = a, b, c, d
        return line

    def _found(self, mode: int, index: int) -> int:
        """What the loop finds an operand by."""
        if mode == k.COLUMN:
            return self.columns[index]
        if mode == k.COLUMN_OF:
            return self.columns[index >> 8] << 8 | index & 255
        return index

    def _whose(self, whose: int) -> int:
        """The register that holds whose queue is meant."""
        return whose - THEIRS if whose >= THEIRS else self.registers + whose

    def _reached(self, number: int) -> int:
        """The place of the first row from there on that does more than to go elsewhere."""
        for _ in self.rows:
            op, ahead, spend, *_, target = self.rows[min(number, len(self.rows) - 1)]
            if op != k.JUMP or ahead or spend:
                break
            number = target
        return place_of(number)


def _look_ahead(line: list[int], following: Sequence[int]) -> None:
    """Have a row do what the next one does, if that is only to pass time or to wait."""
    if following[k.OP] != k.TIME or following[k.SPENT_AS] or following[k.MARKED]:
        return
    if line[k.OP] == k.TIME and not line[k.WAITS] and not line[k.MARKED] & NEXT_MARK:
        line[k.LATER] = following[k.AHEAD] + following[k.LATER]
        line[k.WAITS], line[k.NEXT] = following[k.WAITS], following[k.NEXT]
    elif line[k.OP] in AT_NOW and not (following[k.AHEAD] or following[k.LATER]):
        line[k.NEXT] = following[k.NEXT]  # there is nothing to wait for
