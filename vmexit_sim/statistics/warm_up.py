"""Warm-up: how much of a steady-state study's beginning to cut, by MSER-5.

A run that starts empty is at first faster than it will be. Cutting too little leaves that bias,
cutting too much throws data away; MSER cuts where the standard error of the mean of what remains,
computed as if it were independent, is smallest. A terminating study (a boot) has no warm-up.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vmexit_sim.statistics.estimate import Values

BATCH = 5
"""Values of one batch: MSER on single values cuts at random spikes."""


@dataclass(frozen=True, kw_only=True)
class WarmUp:
    """Where a series begins to be steady.

    Attributes:
        cut: how many values to leave out at the beginning.
        too_short: no steady part was found: the minimum lies at the edge of what was searched, or
            there was too little to search. Run longer rather than trust `cut`.
        values: length of the series.
    """

    cut: int
    too_short: bool
    values: int

    @property
    def kept(self) -> int:
        """How many values remain."""
        return self.values - self.cut


def warm_up(series: Values) -> WarmUp:
    """Find the warm-up of a series by MSER-5, searched over its first half.

    Give it the mean over replications of the i-th value, and cut all replications alike: a single
    run's noise hides its warm-up.

    Source: White, "An effective truncation heuristic for bias reduction in simulation output",
    Simulation 69 (1997); batches of 5: White, Cobb and Spratt, "A comparison of five steady-state
    truncation heuristics for simulation", Proc. Winter Simulation Conference 2000.

    Args:
        series: values in the order of time.
    """
    values = np.asarray(series, np.float64)
    batches = len(values) // BATCH
    if batches < 4:
        return WarmUp(cut=0, too_short=True, values=len(values))
    means = values[: batches * BATCH].reshape(batches, BATCH).mean(axis=1)
    # Sums from the end, of differences to the last batch: exact zeros where all are alike.
    means -= means[-1]
    left = np.arange(batches, 0, -1)
    sums, squares = (np.cumsum(part[::-1])[::-1] for part in (means, means**2))
    error = np.maximum(squares - sums**2 / left, 0.0) / left**2.0
    searched = batches // 2 + 1
    best = int(np.argmin(error[:searched]))
    return WarmUp(cut=best * BATCH, too_short=best == searched - 1, values=len(values))
