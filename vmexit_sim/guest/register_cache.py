"""A cache of config registers: which reads repeat one since the last write.

::

    read 0x34   ─ miss, kept        read 0x34   ─ hit
    write 0x34  ─ goes through, forgotten
    read 0x34   ─ miss, kept        read 0x35 (one byte) ─ hit, if lines are four bytes

The cache is one vCPU's, as large as config space, and starts empty. What hits depends on program
order alone, so it is found for whole blocks at once: a line is there if it was read later than
anything that empties it was written. What is carried from block to block is the set of lines that
are there: of the config space that the guest has touched, not of the accesses it made.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from vmexit_sim.guest.table import AccessTable, Flag, Space

Mask = npt.NDArray[np.bool_]
Rows = npt.NDArray[np.int64]

BEFORE, NEVER = -1, -2
"""When a line was filled or emptied: before this block, or never. Later moments are rows."""


class RegisterCache:
    """One vCPU's cache of config registers.

    Args:
        line: bytes that are kept together and read at once.
        invalidate: what a write empties: the lines that it touches, or all of its function's.
        exclude: stretches of registers, both ends included, that are never kept.
        volatile: whether registers that may change without being written are kept all the same.
    """

    def __init__(
        self,
        *,
        line: int,
        invalidate: Literal["register", "function"],
        exclude: Sequence[tuple[int, int]],
        volatile: bool,
    ) -> None:
        self._line, self._by_function = line, invalidate == "function"
        self._exclude, self._volatile = exclude, volatile
        self._there = np.zeros(0, np.int64)

    def hits(self, table: AccessTable, own: Mask) -> Mask:
        """Which of the next rows are answered by the cache; see `History.hits`.

        Reads that are not `own` neither hit nor fill; every config write empties.
        """
        config = (table.space == Space.PCI_CONFIG) & ~table.has(Flag.INDEX_ONLY)
        reads = config & own & ~table.write & self._keeps(table)
        row, line = self._lines(table, np.flatnonzero(reads | (config & table.write)))
        n, asked = len(row), np.union1d(line, self._there)  # asked for at the block's end
        row = np.concatenate([row, np.full(len(asked), len(table))])
        line = np.concatenate([line, asked])
        written = np.append(table.write, False)[row]
        scope = line // (4096 // self._line) if self._by_function else line
        emptied = _latest(scope, row, written, np.full(len(row), NEVER))
        carried = np.where(np.isin(line, self._there), BEFORE, NEVER)
        filled = _latest(line, row, ~written, carried)
        is_there = filled > emptied
        self._there = asked[is_there[n:]]
        hits: Mask = reads
        hits[row[:n][~is_there[:n]]] = False
        return hits

    def _keeps(self, table: AccessTable) -> Mask:
        """Rows whose every byte may be kept."""
        first = table.address & 0xFFF
        last = first + table.size - 1
        kept: Mask = ~table.has(Flag.SIDE_EFFECT)
        if not self._volatile:
            kept &= ~table.has(Flag.VOLATILE)
        for begin, end in self._exclude:
            kept &= (last < begin) | (first > end)
        return kept

    def _lines(self, table: AccessTable, rows: Rows) -> tuple[Rows, Rows]:
        """The lines that rows touch: (row, line), in order of rows."""
        first = table.address[rows] // self._line
        last = (table.address[rows] + np.maximum(table.size[rows], 1) - 1) // self._line
        count = last - first + 1
        row, begin = np.repeat(rows, count), np.repeat(np.cumsum(count) - count, count)
        return row, np.repeat(first, count) + np.arange(len(row)) - begin


def _latest(key: Rows, row: Rows, event: Mask, otherwise: Rows) -> Rows:
    """For each entry the latest earlier row with an event of the same key.

    Args:
        key: what each entry is about.
        row: when it is; ascending.
        event: which entries are events.
        otherwise: what to give an entry that has none before it.
    """
    order = np.argsort(key, kind="stable")
    moment = np.where(event, row, NEVER)[order]
    starts = np.flatnonzero(np.diff(key[order], prepend=-1))
    group = np.repeat(np.arange(len(starts)), np.diff(np.append(starts, len(order))))
    # Groups are kept apart by an offset, so that one running maximum serves all of them.
    apart = group * (int(row.max(initial=0)) + 3)
    before = np.concatenate([[NEVER], (moment + apart)[:-1]])
    if len(starts):
        before[starts] = NEVER + apart[starts]
    result = np.empty(len(key), np.int64)
    result[order] = np.maximum.accumulate(before) - apart
    return np.maximum(result, otherwise)
