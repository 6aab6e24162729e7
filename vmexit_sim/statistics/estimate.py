"""An estimate: a number, and how far it can be trusted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from vmexit_sim.errors import InputError
from vmexit_sim.statistics.text import number, time_scale, with_half_width
from vmexit_sim.units import format_time

Values = Sequence[float] | npt.NDArray[np.float64] | npt.NDArray[np.int64]
"""Results to estimate from: of replications, or of one run in the order of time."""

CONFIDENCE = 0.95

ROUNDING = 1e-12
"""Values that agree to this part of them differ by floating point, and not by chance."""

EXACT = "exact"
ONE_REPLICATION = "one replication"


@dataclass(frozen=True)
class Estimate:
    """A number and how far it can be trusted.

    Attributes:
        value: the estimate.
        low: lower end of the interval.
        high: upper end of the interval.
        n: replications it rests on; batches, if the method names batches.
        method: what the interval rests on, such as "exact", "t", "order statistics", "paired t",
            "batch means", or "one replication" (then the interval is unbounded: repeat it).
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
        return self.method == EXACT

    def holds(self, value: float) -> bool:
        """Whether the interval contains a value."""
        return self.low <= value <= self.high

    def __neg__(self) -> Estimate:
        """The same of the opposite quantity: of first - second instead of second - first."""
        return replace(self, value=-self.value, low=-self.high, high=-self.low)

    def as_json(self) -> dict[str, object]:
        """For JSON documents; an unbounded end is null."""
        ends = {"low": self.low, "high": self.high}
        finite = {name: end if math.isfinite(end) else None for name, end in ends.items()}
        value = self.value if math.isfinite(self.value) else None
        return {"value": value, **finite, "n": self.n, "confidence": self.confidence,
                "method": self.method, "unit": self.unit}  # fmt: skip

    def __str__(self) -> str:
        """``13.6 ± 0.2 µs (95 %, 30 reps)``, ``35.39 ms (exact)``, ``14 µs ± ? (1 rep)``."""
        if math.isnan(self.value):
            return "-"
        is_time = self.unit == "ps"
        name, scale = "" if self.unit == "1" else f" {self.unit}", 1
        bare = format_time(self.value) if is_time else f"{number(self.value)}{name}"
        if self.is_exact:
            return f"{bare} (exact)"
        basis, end = f"{self.n:,} rep", "s"
        if "batch" in self.method:
            basis, end = f"{self.n:,} batch", "es"
        basis += end if self.n != 1 else ""
        if not math.isfinite(self.half_width):
            return f"{bare} ± ? ({basis})"
        basis = f"{self.confidence * 100:.4g} %, {basis}"
        if self.half_width == 0:
            return f"{bare} ± 0 ({basis})"
        if is_time:
            unit, scale = time_scale(max(abs(self.value), self.half_width))
            name = f" {unit}"
        return f"{with_half_width(self.value, self.half_width, scale)}{name} ({basis})"


def exact(value: float, unit: str = "ps") -> Estimate:
    """A number without sampling error."""
    return Estimate(value, value, value, 1, EXACT, unit=unit)


def unbounded(value: float, n: int, method: str, confidence: float, unit: str) -> Estimate:
    """A value about whose error nothing can be said."""
    return Estimate(value, -math.inf, math.inf, n, method, confidence, unit)


def mean(values: Values, *, confidence: float = CONFIDENCE, unit: str = "ps",
         method: str = "t") -> Estimate:  # fmt: skip
    """The mean of independent replications' results, with Student's t interval.

    One replication gives a value and an unbounded interval; replications that all agree give an
    interval of no width.

    Raises:
        InputError: no values.
    """
    sample = sampled(values)
    value = float(sample.mean())
    if len(sample) == 1:
        return unbounded(value, 1, ONE_REPLICATION, confidence, unit)
    half = half_width(sample, confidence)
    return Estimate(value, value - half, value + half, len(sample), method, confidence, unit)


def sampled(values: Values) -> npt.NDArray[np.float64]:
    """The results as an array, float64 [replication].

    Raises:
        InputError: no values.
    """
    if not len(values):
        raise InputError("no replications to estimate from")
    return np.asarray(values, np.float64)


def half_width(
    sample: npt.NDArray[np.float64], confidence: float, *, noise: float | None = None
) -> float:
    """Of Student's t interval for a mean of two values or more.

    Args:
        sample: the values.
        confidence: nominal coverage.
        noise: the largest number that the values were computed from; None: the largest of them.
            Values that differ by no more than its rounding do not differ.
    """
    from scipy.special import stdtrit

    largest = float(np.abs(sample).max()) if noise is None else noise
    if float(np.ptp(sample)) <= ROUNDING * largest:
        return 0.0
    t = float(stdtrit(len(sample) - 1, 0.5 + confidence / 2))
    return t * float(sample.std(ddof=1)) / math.sqrt(len(sample))
