"""The stream: operations of equal length, one after another, of any number, in one block's memory.

::

    row         0     1     2     3     4     5     6   …
    operation   0     0     0     1     1     1     2   …     (three accesses each)
    before it   gap   in    in    gap   in    in    gap …     (gap: between operations, in: within)
    arrival     t₀    -     -     t₁    -     -     t₂  …     (open loop only)

A block may cut an operation anywhere. What carries over is little: each random column's own
stream, which is consumed in row order, and the moment of the last arrival.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any, NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import Field

from vmexit_sim.configuration import Configured, misfit
from vmexit_sim.distributions import Constant, Duration, Times
from vmexit_sim.guest.table import NEVER, Agent, Space
from vmexit_sim.guest.workload import NO_CONTEXTS
from vmexit_sim.streams import Streams
from vmexit_sim.units import LONGEST_PS

Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
"""A part of a whole, 0 … 1."""

Vcpus = Annotated[int, Field(ge=1, le=65_536)]
"""How many vCPUs issue accesses."""

Many = Annotated[int, Field(ge=1, le=10**12)]
"""How many of something, at least one; bounded so that row numbers stay far inside int64."""

Accesses = Annotated[int, Field(ge=1, le=10**6)]
"""Accesses of one operation, at least one."""

ZERO = Constant.model_validate({"value": "0 ps"})
"""No time at all."""

ADDRESSES = {
    Space.PCI_CONFIG: 1 << 15 | 0x40,  # 00:01.0, the first device-specific register
    Space.PORT_IO: 0xC000,
    Space.MMIO: 0xFEB0_0000,
    Space.DOORBELL: 0xFEB0_3000,
}
"""Where the accesses of a generator without a register map go: any place such a space has."""


class Generated(Configured):
    """What all generators have in common, but for those that interrupt."""

    @property
    def contexts(self) -> Mapping[int, int]:
        """None: every stream is a vCPU's own."""
        return NO_CONTEXTS

    @property
    def is_whole(self) -> bool:
        """Never: operations are shown, and others may be made of the same accesses."""
        return False


class Draws:
    """One vCPU's random streams, one for each purpose, each consumed in row order."""

    def __init__(self, streams: Streams, vcpu: int) -> None:
        self._streams, self._vcpu = streams, vcpu
        self._open: dict[str, np.random.Generator] = {}

    def times(self, purpose: str, duration: Duration, n: int) -> Times:
        """The next `n` times (ps) drawn for a purpose."""
        return duration.draw(self._stream(purpose), n)

    def chosen(self, purpose: str, share: float, n: int) -> npt.NDArray[np.bool_]:
        """Which of the next `n` rows are in the share; none or all of them draws nothing."""
        if share in (0, 1):
            return np.full(n, share == 1)
        return self._stream(purpose).random(n) < share

    def whole(self, purpose: str, low: int, high: int, n: int) -> npt.NDArray[np.int64]:
        """The next `n` whole numbers from `low` to `high`, all equally likely."""
        if low == high:
            return np.full(n, low)
        return self._stream(purpose).integers(low, high + 1, n)

    def some_of(
        self, purpose: str, counts: npt.NDArray[np.int64], width: int
    ) -> npt.NDArray[np.bool_]:
        """For each count so many of `width`, every choice equally likely: mask [count, place]."""
        order = self._stream(purpose).random((len(counts), width)).argsort(axis=1)
        return order.argsort(axis=1) < counts[:, None]

    def _stream(self, purpose: str) -> np.random.Generator:
        if purpose not in self._open:
            self._open[purpose] = self._streams.named("guest", self._vcpu, purpose)
        return self._open[purpose]


class Rows(NamedTuple):
    """Consecutive rows of a stream of operations.

    Attributes:
        operation: the operation that each row belongs to.
        first: whether the row is its operation's first.
        place: the row's place in the stream.
    """

    operation: npt.NDArray[np.int64]
    first: npt.NDArray[np.bool_]
    place: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.first)

    def gaps(self, draws: Draws, between: Duration, within: Duration) -> Times:
        """The guest's compute (ps) before each row."""
        firsts = int(np.count_nonzero(self.first))
        if firsts == len(self):
            return draws.times("between", between, firsts)
        compute = np.empty(len(self), np.int64)
        compute[self.first] = draws.times("between", between, firsts)
        compute[~self.first] = draws.times("within", within, len(self) - firsts)
        return compute


def operation_rows(operations: int, accesses: int, rows: int) -> Iterator[Rows]:
    """The rows of `operations` operations of `accesses` accesses each, at most `rows` at a time."""
    total = operations * accesses
    for begin in range(0, total, rows):
        row = np.arange(begin, min(begin + rows, total))
        operation = row // accesses if accesses > 1 else row
        yield Rows(operation, operation * accesses == row, row)


def in_blocks(parts: Iterable[dict[str, Any]], rows: int) -> Iterator[dict[str, Any]]:
    """Columns that come in parts of any length, in blocks of `rows` rows, but for the last."""
    waiting: list[dict[str, Any]] = []
    have = 0
    for part in parts:
        waiting.append(part)
        have += len(next(iter(part.values())))
        if have < rows:
            continue
        joined = {name: np.concatenate([each[name] for each in waiting]) for name in part}
        whole = have // rows * rows
        for begin in range(0, whole, rows):
            yield {name: column[begin : begin + rows] for name, column in joined.items()}
        waiting = [{name: column[whole:] for name, column in joined.items()}]
        have -= whole
    if have:
        yield {name: np.concatenate([each[name] for each in waiting]) for name in waiting[0]}


class Arrivals:
    """The moments at which operations fall due: a running sum of drawn times, in whole ps."""

    def __init__(self, draws: Draws, interarrival: Duration) -> None:
        self._draws, self._interarrival = draws, interarrival
        self._now = 0

    def column(self, rows: Rows) -> Times:
        """Each operation's arrival (ps) on its first row; `NEVER` on the others."""
        arrival = np.full(len(rows), NEVER, np.int64)
        firsts = int(np.count_nonzero(rows.first))
        if firsts:
            drawn = self._draws.times("arrivals", self._interarrival, firsts)
            moments = self._now + np.cumsum(drawn)
            self._now = int(moments[-1])
            arrival[rows.first] = moments
        return arrival


def refuse_endless(interarrival: Duration, operations: int) -> None:
    """Refuse arrivals whose moments would leave the range of times.

    Raises:
        ValueError: the last arrival is expected later than 53 days; reported as a misfit.
    """
    if interarrival.mean_ps * operations > LONGEST_PS:
        raise misfit(
            "has its last arrival later than 53 days",
            mend="ask for fewer operations or for shorter times between arrivals",
        )


def agent_of(space: Space) -> Agent:
    """Whose code reaches a space: config space is the kernel's routines', the rest a driver's."""
    return Agent.KERNEL if space is Space.PCI_CONFIG else Agent.DRIVER
