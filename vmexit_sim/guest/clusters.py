"""Clusters: accesses that follow on each other closely enough to be run in one go.

::

    compute  9 us     0.2 us   0.1 us     7 us     0.3 us
    access   first    joins    joins      first    joins       (within 1 us)

What belongs together follows from the vCPU's program order and its compute alone.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from vmexit_sim.guest.table import NEVER, AccessTable, Flag

Mask = npt.NDArray[np.bool_]


class Clusters:
    """One vCPU's clusters.

    Args:
        within: the longest compute (ps) between two accesses of a cluster.
        longest: the most accesses of a cluster.
    """

    def __init__(self, *, within: int, longest: int) -> None:
        self._within, self._longest = within, longest
        self._open = 0  # accesses of the cluster that the last row belongs to; 0: to none

    def hits(self, table: AccessTable, own: Mask) -> Mask:
        """Which of the next rows join the cluster of the row before; see `History.hits`.

        Rows that are not `own` belong to none. Nobody joins after idling.
        """
        n = len(table)
        near = own & (table.compute <= self._within)
        near &= ~table.has(Flag.WAITED) & (table.arrival == NEVER)
        before = np.concatenate([[self._open > 0], own[:-1]])
        runs = np.flatnonzero(~(near & before))  # rows that continue nothing
        started = np.concatenate([[-self._open], runs])
        place = np.arange(n) - started[np.searchsorted(runs, np.arange(n), side="right")]
        place %= self._longest
        if n:
            self._open = int(place[-1]) + 1 if own[-1] else 0
        joins: Mask = own & (place > 0)
        return joins
