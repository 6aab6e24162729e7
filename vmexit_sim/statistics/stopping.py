"""Stopping: replicate until an estimate is as precise as asked.

The caller replicates, estimates, and asks; the budget is the caller's::

    precision = Precision.parse("2%")
    estimate = mean(values)
    while not precision.is_met(estimate) and len(values) < budget:
        values += [replicate() for _ in range(precision.more(estimate))]
        estimate = mean(values)

A relative precision is one of a positive quantity. A difference of two policies can be small, zero
or negative, so that a share of it says nothing: give an absolute one.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from vmexit_sim.errors import InputError
from vmexit_sim.statistics.estimate import Estimate
from vmexit_sim.statistics.text import SCALES
from vmexit_sim.units import LONGEST_PS, parse_time

LEAST = 10
"""Fewer replications do not stop a study: their spread is too uncertain to go by."""

_PERCENT = re.compile(r"\s*([0-9]{1,3}(?:\.[0-9]{1,20})?(?:e-[0-9]{1,2})?)\s*%\s*")
_MEND = 'write for instance "2%" or "0.2 us"'


@dataclass(frozen=True, kw_only=True)
class Precision:
    """How precise an estimate has to be; exactly one of the two is given.

    Sequential stopping has its price: an interval that stopped because it happened to be short
    covers a little less often than nominal. With at least 10 replications and the stricter
    bound γ/(1 + γ) that loss is small.

    Source: Law, Simulation Modeling and Analysis, 5th ed., section 9.4.1.

    Attributes:
        relative: γ, the largest error allowed as a part of the true mean (between 0 and 1).
        absolute: the largest half-width allowed, in ps.

    Raises:
        InputError: both or neither are given, or one is not positive, or `relative` is 1 or more.
    """

    relative: float | None = None
    absolute: int | None = None

    def __post_init__(self) -> None:
        if (self.relative is None) == (self.absolute is None):
            raise InputError("is not one precision", key="precision",
                             mend="give a relative or an absolute one")  # fmt: skip
        if self.relative is not None and not 0 < self.relative < 1:
            raise InputError("is not a relative precision", key="precision", value=self.relative,
                             mend="give more than 0 and less than 1")  # fmt: skip
        if self.absolute is not None and not 0 < self.absolute <= LONGEST_PS:
            raise InputError("is not an absolute precision", key="precision", value=self.absolute,
                             mend="give a time of more than 0")  # fmt: skip

    @classmethod
    def parse(cls, text: str) -> Precision:
        """A precision from text: ``"2%"`` of the mean, or a half-width such as ``"0.2 us"``.

        Raises:
            InputError: neither, or not positive, or 100 % or more.
        """
        percent = _PERCENT.fullmatch(text) if isinstance(text, str) else None
        try:
            if percent:
                return cls(relative=float(percent.group(1)) / 100)
            return cls(absolute=parse_time(text))
        except InputError as error:
            problem = f"is no precision ({error.problem})"
            raise InputError(problem, key="precision", value=text, mend=_MEND) from None

    def __str__(self) -> str:
        """As `parse` reads it."""
        if self.relative is not None:
            return f"{self.relative * 100:.15g}%"
        time = self.absolute or 0
        unit, scale = next(scale for scale in SCALES if time % scale[1] == 0)
        return f"{time // scale} {unit}"

    def is_met(self, estimate: Estimate) -> bool:
        """Whether the estimate is precise enough, after 10 replications or more.

        An exact estimate always is, and replications that all agree are, zero included. Apart from
        those, no value that is zero or negative meets a relative precision.

        Raises:
            InputError: the precision is a time and the estimate is none.
        """
        target = self._target(estimate)
        if estimate.is_exact:
            return True
        if estimate.n < LEAST:
            return False
        return estimate.half_width == 0 or estimate.half_width <= target

    def more(self, estimate: Estimate) -> int:
        """A forecast of how many more replications will do; 0 if the precision is met.

        It takes the value and the spread as they are now. An interval without an end (one
        replication, a median of few) asks for replications up to the 10 that are the least, and
        for one more after that.

        Raises:
            InputError: the precision is a time and the estimate is none; or it is relative and the
                value is zero or negative, so that no number of replications is known to do.
        """
        if self.is_met(estimate):
            return 0
        target = self._target(estimate)
        if not math.isfinite(estimate.half_width):
            return max(LEAST - estimate.n, 1)
        if estimate.half_width == 0:
            return LEAST - estimate.n
        if target <= 0:
            raise InputError("has no relative precision", key="precision", value=estimate.value,
                             mend="give an absolute one")  # fmt: skip
        needed = replications_for(spread_of(estimate), target, estimate.confidence)
        return max(needed, LEAST, estimate.n + 1) - estimate.n

    def _target(self, estimate: Estimate) -> float:
        """The half-width allowed."""
        if self.relative is not None:
            # Allowed is a part of the true mean, which may be the estimate less its error.
            return self.relative / (1 + self.relative) * max(estimate.value, 0.0)
        if estimate.unit != "ps":
            raise InputError("is a time, but the estimate is none", key="precision",
                             value=str(self), mend='give a relative one, such as "2%"')  # fmt: skip
        return float(self.absolute or 0)


def spread_of(estimate: Estimate) -> float:
    """The standard deviation of a replication that an estimate's half-width goes back to.

    Args:
        estimate: of two replications or more, with a bounded interval.
    """
    return estimate.half_width * math.sqrt(estimate.n) / _t(estimate.n, estimate.confidence)


def replications_for(spread: float, half_width: float, confidence: float) -> int:
    """The smallest number of replications whose t interval has less than a half-width.

    Args:
        spread: standard deviation of one replication's result.
        half_width: what the half-width is to stay below; positive.
        confidence: nominal coverage.

    Returns:
        At least 2.
    """

    def is_enough(n: int) -> bool:
        return _t(n, confidence) * spread < half_width * math.sqrt(n)

    high = 2
    while not is_enough(high):
        high *= 2
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if is_enough(middle) else (middle, high)
    return high


def _t(n: int, confidence: float) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(min(n, 10**9) - 1, 0.5 + confidence / 2))
