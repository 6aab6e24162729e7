"""The pattern: a fixed sequence of config-space accesses, written down once and placed often.

A kernel treats every function of a sort alike. So its accesses are written down once, with
addresses, operations and consumers counted from the pattern's start, then moved to each function's
place, repeated and joined. `pattern_blocks` makes access tables of the result: it adds the guest's
compute and the device's time, the only random columns.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from vmexit_sim.distributions import Duration
from vmexit_sim.guest.generators.stream import Draws
from vmexit_sim.guest.table import NEVER, AccessTable, Agent, Flag, Kind, Phase, Space, make_table

SLOT = 1 << 15
"""From one device's config space to the next one's, in bytes of ECAM offset."""

FUNCTION = 1 << 12
"""From one function's config space to the next one's, in bytes of ECAM offset."""

EXTENDED = 0x100
"""The first config register that ports cannot reach."""

_RELATIVE = ("needed_by", "needed_idiom")


@dataclass(frozen=True)
class Pattern:
    """A sequence of config accesses, counted from its own start.

    Attributes:
        columns: access-table columns by name, int64 [row]: address, write, size, flags, kind,
            operation, needed_by, needed_idiom. A consumer may be the row behind the last one.
        operations: how many operations the rows belong to.
    """

    columns: dict[str, npt.NDArray[np.int64]]
    operations: int

    def __len__(self) -> int:
        return len(self.columns["address"])

    def at(self, address: int) -> Pattern:
        """The same accesses, `address` bytes further on."""
        return Pattern({**self.columns, "address": self.columns["address"] + address},
                       self.operations)  # fmt: skip

    def repeated(self, times: int, stride: int) -> Pattern:
        """The pattern for each of `times` functions in turn, `stride` bytes from each other."""
        turn = np.repeat(np.arange(times), len(self))
        columns = {name: np.tile(column, times) for name, column in self.columns.items()}
        columns["address"] = columns["address"] + turn * stride
        _renumber(columns, turn * len(self), turn * self.operations)
        return Pattern(columns, self.operations * times)

    @staticmethod
    def joined(parts: Sequence[Pattern]) -> Pattern:
        """One pattern after the other."""
        lengths, operations = [len(part) for part in parts], [part.operations for part in parts]
        columns = {
            name: np.concatenate([part.columns[name] for part in parts]) for name in _COLUMNS
        }
        before = np.cumsum([0, *lengths])[:-1], np.cumsum([0, *operations])[:-1]
        _renumber(columns, np.repeat(before[0], lengths), np.repeat(before[1], lengths))
        return Pattern(columns, sum(operations))


def _renumber(
    columns: dict[str, npt.NDArray[np.int64]],
    rows: npt.NDArray[np.int64],
    operations: npt.NDArray[np.int64],
) -> None:
    for name in _RELATIVE:
        columns[name] = np.where(columns[name] == NEVER, NEVER, columns[name] + rows)
    own = columns["operation"]
    columns["operation"] = np.where(own < 0, -1, own + operations)


_COLUMNS = (
    "address", "write", "size", "flags", "kind", "operation", "needed_by", "needed_idiom",
)  # fmt: skip


class PatternWriter:
    """Writes a pattern down, access by access.

    A read is needed by the next row unless `need` says otherwise; nobody needs a write's result.
    """

    def __init__(self) -> None:
        self._rows: list[list[int]] = []
        self._operation, self._operations, self._kind = -1, 0, Kind.NONE

    @property
    def next_row(self) -> int:
        """The number of the access that comes next."""
        return len(self._rows)

    def read(self, register: int, size: int = 4, flags: Flag = Flag.NONE) -> int:
        """A read of `size` bytes; returns its row."""
        return self._access(register, size, flags, write=False)

    def write(self, register: int, size: int = 4, flags: Flag = Flag.NONE) -> int:
        """A write of `size` bytes; returns its row."""
        return self._access(register, size, flags, write=True)

    def need(self, row: int, by: int) -> None:
        """The result of access `row` is first consumed by row `by`."""
        self._rows[row][-1] = by

    @contextmanager
    def operation(self, kind: Kind) -> Iterator[None]:
        """What is written inside belongs to one operation."""
        self._operation, self._kind = self._operations, kind
        self._operations += 1
        yield
        self._operation, self._kind = -1, Kind.NONE

    def done(self) -> Pattern:
        """What has been written."""
        array = np.array(self._rows, np.int64).reshape(-1, len(_COLUMNS) - 1)
        columns = dict(zip(_COLUMNS, array.T, strict=False))
        return Pattern({**columns, "needed_idiom": columns["needed_by"]}, self._operations)

    def _access(self, register: int, size: int, flags: Flag, *, write: bool) -> int:
        # Ports reach only the first 256 bytes of a function.
        flags |= Flag.ECAM if register >= EXTENDED else Flag.NONE
        row = self.next_row
        needed_by = NEVER if write else row + 1
        self._rows.append(
            [register, write, size, flags, self._kind, self._operation, needed_by]
        )  # fmt: skip
        return row


def pattern_blocks(
    pattern: Pattern,
    *,
    vcpu: int,
    draws: Draws,
    think: Duration,
    emulate: Duration,
    rows: int,
    origin: str,
) -> Iterator[AccessTable]:
    """A pattern as access tables of at most `rows` rows, issued by the kernel as it boots.

    Args:
        pattern: the accesses.
        vcpu: who issues them.
        draws: that vCPU's random streams.
        think: guest compute before each access.
        emulate: time that emulating each access takes in the device model.
        rows: rows of one block.
        origin: where the accesses come from, for people.
    """
    for begin in range(0, len(pattern), rows):
        part: dict[str, Any] = {
            name: column[begin : begin + rows] for name, column in pattern.columns.items()
        }
        n = len(part["address"])
        for name in _RELATIVE:
            part[name] = np.where(part[name] == NEVER, NEVER, part[name] - begin)
        yield make_table(
            n,
            origin=origin,
            vcpu=vcpu,
            agent=Agent.KERNEL,
            phase=Phase.KERNEL,
            compute=draws.times("think", think, n),
            space=Space.PCI_CONFIG,
            emulate=draws.times("emulate", emulate, n),
            **part,
        )
