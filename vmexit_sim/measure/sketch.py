"""A mergeable sketch of a distribution of times: a log-linear histogram.

Every power of two is cut into `STEPS` equal buckets, so a value is known to within half a bucket:
a relative error of at most 1 / (2 · STEPS). Values below `STEPS` are exact. Sketches of parts add
up to the sketch of the whole.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

BITS = 10
STEPS = 1 << BITS
BUCKETS = (63 - BITS) * STEPS + STEPS
RELATIVE_ERROR = 1 / (2 * STEPS)


def bucket_of(values: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The bucket of each value (values of 0 or more)."""
    # frexp is exact below 2**53; above, rounding can only lift a value to the power it was
    # rounded to, which the shift check below puts right.
    exponent: npt.NDArray[np.int64]
    exponent = np.maximum(np.frexp(values.astype(np.float64))[1] - 1 - BITS, 0).astype(np.int64)
    exponent -= (values >> (exponent + BITS) == 0) & (exponent > 0)
    buckets: npt.NDArray[np.int64] = exponent * STEPS + (values >> exponent)
    return buckets


def middle_of(bucket: int) -> float:
    """The middle of a bucket: the value it stands for."""
    if bucket < 2 * STEPS:
        return float(bucket)
    exponent, mantissa = bucket // STEPS - 1, bucket % STEPS + STEPS
    return float((mantissa << exponent) + ((1 << exponent) - 1) / 2)


N, TOTAL_LOW, TOTAL_HIGH, LEAST, GREATEST, STATS = range(6)
"""Places in `Sketch.stats`. The sum of all values is ``high << LOW_BITS | low``, in two halves
since it may exceed 63 bits."""

LOW_BITS = 20
LOW = (1 << LOW_BITS) - 1


def empty_stats() -> npt.NDArray[np.int64]:
    """The stats of nothing."""
    return np.array([0, 0, 0, 2**63 - 1, 0], np.int64)


@dataclass
class Sketch:
    """Counts per bucket, with the exact number, sum, least and greatest value.

    Attributes:
        counts: values per bucket, shape (`BUCKETS`,).
        stats: shape (`STATS`,); compiled code counts straight into both arrays.
    """

    counts: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(BUCKETS, np.int64))
    stats: npt.NDArray[np.int64] = field(default_factory=empty_stats)

    def add(self, values: npt.NDArray[np.int64]) -> None:
        """Count in some values, in ps, 0 or more."""
        if not len(values):
            return
        np.add.at(self.counts, bucket_of(values), 1)
        self.stats[N] += len(values)
        self.stats[TOTAL_LOW] += (values & LOW).sum()
        self.stats[TOTAL_HIGH] += (values >> LOW_BITS).sum()
        self.stats[LEAST] = min(self.least, int(values.min()))
        self.stats[GREATEST] = max(self.greatest, int(values.max()))

    def merge(self, other: Sketch) -> None:
        """Count in all that another sketch has counted."""
        self.counts += other.counts
        self.stats[:LEAST] += other.stats[:LEAST]
        self.stats[LEAST] = min(self.least, other.least)
        self.stats[GREATEST] = max(self.greatest, other.greatest)

    @property
    def n(self) -> int:
        """How many values."""
        return int(self.stats[N])

    @property
    def total(self) -> int:
        """Their exact sum."""
        return (int(self.stats[TOTAL_HIGH]) << LOW_BITS) + int(self.stats[TOTAL_LOW])

    @property
    def least(self) -> int:
        """The least value, exactly."""
        return int(self.stats[LEAST])

    @property
    def greatest(self) -> int:
        """The greatest value, exactly; 0 of nothing."""
        return int(self.stats[GREATEST])

    @property
    def mean(self) -> float:
        """The exact mean; NaN of nothing."""
        return self.total / self.n if self.n else float("nan")

    def quantile(self, q: float) -> float:
        """The value below or at which a share `q` lies, to within `RELATIVE_ERROR`.

        The lower empirical quantile: the ⌈q·n⌉-th smallest value. NaN of nothing.
        """
        if not self.n:
            return float("nan")
        rank = min(max(int(np.ceil(q * self.n)), 1), self.n)
        bucket = int(np.searchsorted(np.cumsum(self.counts), rank))
        return min(max(middle_of(bucket), float(self.least)), float(self.greatest))
