"""Estimates: no number without its interval.

A deterministic study (a recorded guest on constant costs) has no sampling error; its estimates
say *exact*. A random one is estimated over independent replications: means by Student's t,
quantiles by order statistics. Policies are compared replication by replication, since all of them
meet the same guest (common random numbers).

An interval from the standard error of one run's autocorrelated latencies covers far less than it
claims, so there is none here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from vmexit_sim.errors import InputError

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Estimate:
    """A number and how far it can be trusted.

    Attributes:
        value: the estimate.
        low: lower end of the interval.
        high: upper end of the interval.
        n: replications it rests on.
        method: "exact", "t", "order statistics", "paired t", or "one replication" (then the
            interval is unbounded: repeat it).
        confidence: nominal coverage of the interval.
        unit: the unit of all three numbers ("ps", "1" for a ratio or a count).
    """

    value: float
    low: float
    high: float
    n: int
    method: str
    confidence: float = CONFIDENCE
    unit: str = "ps"

    @property
    def half_width(self) -> float:
        """Half the interval's width."""
        return (self.high - self.low) / 2

    @property
    def is_exact(self) -> bool:
        """Whether there is no sampling error."""
        return self.method == "exact"

    def holds(self, value: float) -> bool:
        """Whether the interval contains a value."""
        return self.low <= value <= self.high

    def as_json(self) -> dict[str, object]:
        """For JSON documents; an unbounded end is null."""
        ends = {"low": self.low, "high": self.high}
        finite = {name: end if math.isfinite(end) else None for name, end in ends.items()}
        value = self.value if math.isfinite(self.value) else None
        return {"value": value, **finite, "n": self.n, "confidence": self.confidence,
                "method": self.method, "unit": self.unit}  # fmt: skip


def exact(value: float, unit: str = "ps") -> Estimate:
    """A number without sampling error."""
    return Estimate(value, value, value, 1, "exact", unit=unit)


def mean(values: Sequence[float], *, confidence: float = CONFIDENCE, unit: str = "ps",
         method: str = "t") -> Estimate:  # fmt: skip
    """The mean of independent replications' results, with Student's t interval.

    One replication gives a value and an unbounded interval; replications that all agree give an
    interval of no width.

    Raises:
        InputError: no values.
    """
    if not len(values):
        raise InputError("no replications to estimate from")
    sample = np.asarray(values, np.float64)
    value = float(sample.mean())
    if len(sample) == 1:
        return Estimate(value, -math.inf, math.inf, 1, "one replication", confidence, unit)
    half = _half_width(sample, confidence)
    return Estimate(value, value - half, value + half, len(sample), method, confidence, unit)


def median(values: Sequence[float], *, confidence: float = CONFIDENCE, unit: str = "ps"
           ) -> Estimate:  # fmt: skip
    """The median of independent replications' results, between two order statistics.

    Used for quantiles of latency: each replication gives one, and quantiles must not be averaged.
    The interval is exact for any distribution; with fewer than 6 replications no pair of order
    statistics covers 95 %, and the interval is unbounded.

    Source: the sign test's interval; scipy.stats.quantile_test.
    """
    from scipy.stats import quantile_test

    sample = np.asarray(values, np.float64)
    if not len(sample):
        raise InputError("no replications to estimate from")
    value = float(np.median(sample))
    if len(sample) == 1:
        return Estimate(value, -math.inf, math.inf, 1, "one replication", confidence, unit)
    ends: Any = quantile_test(sample, p=0.5).confidence_interval(confidence_level=confidence)
    low = -math.inf if math.isnan(ends.low) else float(ends.low)
    high = math.inf if math.isnan(ends.high) else float(ends.high)
    return Estimate(value, low, high, len(sample), "order statistics", confidence, unit)


def paired_difference(first: Sequence[float], second: Sequence[float], *,
                      confidence: float = CONFIDENCE, unit: str = "ps") -> Estimate:  # fmt: skip
    """Mean of ``second - first`` over replications that shared their random draws.

    Raises:
        InputError: the two do not have equally many replications.
    """
    if len(first) != len(second):
        raise InputError(f"cannot pair {len(first)} replications with {len(second)}")
    differences = np.asarray(second, np.float64) - np.asarray(first, np.float64)
    return mean(differences.tolist(), confidence=confidence, unit=unit, method="paired t")


def paired_ratio(first: Sequence[float], second: Sequence[float], *,
                 confidence: float = CONFIDENCE) -> Estimate:  # fmt: skip
    """Ratio of means ``second / first`` over paired replications (delta method, Student's t).

    A ratio to nothing is not a number.
    """
    if len(first) != len(second):
        raise InputError(f"cannot pair {len(first)} replications with {len(second)}")
    a, b = np.asarray(first, np.float64), np.asarray(second, np.float64)
    centre = float(a.mean())
    if centre == 0:
        return Estimate(math.nan, -math.inf, math.inf, len(a), "t", confidence, "1")
    ratio = float(b.mean()) / centre
    if len(a) == 1:
        return Estimate(ratio, -math.inf, math.inf, 1, "one replication", confidence, "1")
    half = _half_width(b - ratio * a, confidence, noise=float(np.abs(b).max())) / abs(centre)
    return Estimate(ratio, ratio - half, ratio + half, len(a), "paired t", confidence, "1")


ROUNDING = 1e-12
"""Values that agree to this part of them differ by floating point, and not by chance."""


def _half_width(
    sample: npt.NDArray[np.float64], confidence: float, *, noise: float | None = None
) -> float:
    """Of Student's t interval for a mean; `noise`: how large what was computed with is."""
    from scipy.special import stdtrit

    largest = float(np.abs(sample).max()) if noise is None else noise
    if float(np.ptp(sample)) <= ROUNDING * largest:
        return 0.0
    t = float(stdtrit(len(sample) - 1, 0.5 + confidence / 2))
    return t * float(sample.std(ddof=1)) / math.sqrt(len(sample))
