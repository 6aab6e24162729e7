"""A distribution as it was measured: every value that occurred, and how often.

From kept rows it is the empirical distribution itself. From a sketch, each value is known to
within `sketch.RELATIVE_ERROR`, and their number is exact.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vmexit_sim.measure.records import Summary
from vmexit_sim.measure.sketch import Sketch, middle_of


@dataclass(frozen=True, kw_only=True)
class Distribution:
    """Values and how often each occurred.

    Attributes:
        values: ascending, each once, in ps; float64 [value].
        counts: how often, 1 or more; int64 [value].
        is_exact: whether the values are those that occurred, and no sketch's buckets.
    """

    values: npt.NDArray[np.float64]
    counts: npt.NDArray[np.int64]
    is_exact: bool

    @property
    def n(self) -> int:
        """How many values there were."""
        return int(self.counts.sum())

    @property
    def beyond(self) -> npt.NDArray[np.float64]:
        """The share of values greater than each (0 … 1, of the greatest 0); float64 [value]."""
        shares: npt.NDArray[np.float64] = 1 - np.cumsum(self.counts) / self.n
        shares[-1:] = 0.0
        return shares

    def quantiles(self, shares: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Lower empirical quantiles: the ⌈q·n⌉-th smallest value, as `Summary.quantile` has it.

        Args:
            shares: q, 0 … 1, in any order; float64 [quantile].

        Returns:
            In ps; float64 [quantile]. NaN of nothing.
        """
        if not self.n:
            return np.full(len(shares), np.nan)
        ranks = np.clip(np.ceil(shares * self.n), 1, self.n)
        found: npt.NDArray[np.float64] = self.values[np.searchsorted(np.cumsum(self.counts), ranks)]
        return found


def distribution(summary: Summary, which: str) -> Distribution:
    """A latency's distribution: from the rows if they are kept, else from the sketch.

    Args:
        summary: of a run.
        which: of `LATENCIES`.
    """
    if not summary.keep_rows:
        return from_sketch(summary.latencies[which])
    rows = [records.latency(which) for records in summary.rows]
    values, counts = np.unique(
        np.concatenate(rows) if rows else np.empty(0, np.int64), return_counts=True
    )
    return Distribution(values=values.astype(np.float64), counts=counts, is_exact=True)


def from_sketch(sketch: Sketch) -> Distribution:
    """What a sketch knows: its filled buckets, the outermost no further out than what occurred."""
    buckets = np.flatnonzero(sketch.counts)
    middles = np.array([middle_of(int(bucket)) for bucket in buckets], np.float64)
    if len(middles):
        middles = np.clip(middles, sketch.least, sketch.greatest)
    return Distribution(values=middles, counts=sketch.counts[buckets].copy(), is_exact=False)
