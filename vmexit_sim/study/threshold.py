"""Thresholds: at which value of one cost a verdict between two policies changes.

::

    second - first
        │╲
        │  ╲   interval of the difference
      0 ┼╌╌╌╲╌╌●╌╌╲╌╌╌╌╌╌╌╌╌╌▶ the cost
        │   low  │  high
        │     threshold

All else stays at its base. The search goes from the base to both ends of the plausible range, and
of a cost beyond them, to a tenth of the low end and to ten times the high one. The threshold's
interval holds all values at which the difference's interval contains 0: the difference's
confidence is the threshold's (the interval is the inversion of a test, as Fieller's is).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache

from vmexit_sim.statistics import Estimate
from vmexit_sim.study.plausible import Plausible
from vmexit_sim.study.sweep.factor import Quantity

WIDER = 10.0
"""A cost is searched to so many times beyond its plausible range."""

WITHIN, BEYOND = 4, 2
"""Into how many parts the way to an end is cut, and the way beyond it."""

TOLERANCE = 1e-6
"""A threshold that is no time is found to within this part of the range."""

Differences = Callable[[float], Estimate]
"""The difference of two policies, by the value of what is varied, in its base's unit."""


@dataclass(frozen=True, kw_only=True)
class Threshold:
    """Where the verdict changes along one cost, all others at their base.

    Attributes:
        place: the scenario's key.
        base: its value now.
        below: the verdict is another one below this value; None: there is none such.
        above: the same above this value.
        plausible: the plausible range, in the base's unit.
        searched: the range that was searched.
    """

    place: str
    base: Quantity
    below: Estimate | None
    above: Estimate | None
    plausible: tuple[float, float]
    searched: tuple[float, float]

    @property
    def name(self) -> str:
        """The place, of a cost the cost alone."""
        return self.place.removeprefix("costs.")

    @property
    def found(self) -> list[Estimate]:
        """The thresholds there are."""
        return [each for each in (self.below, self.above) if each is not None]

    def is_plausible(self, found: Estimate) -> bool:
        """Whether a threshold lies within the plausible range."""
        return self.plausible[0] <= found.value <= self.plausible[1]


def threshold(varied: Plausible, differences: Differences) -> Threshold:
    """Where a verdict changes along one cost.

    Args:
        varied: what is varied, and its plausible range.
        differences: the paired difference at a value; at the base it must be told from 0.
    """
    low, high = varied.range.low.number, varied.range.high.number
    base = varied.base.number
    plausible = (low, high)
    low, high = min(low, base), max(high, base)
    ends = (low / WIDER, high * WIDER) if varied.is_cost else (low, high)
    resolution = 0.5 if varied.range.is_whole else TOLERANCE * (high - low)
    search = _Search(cache(differences), base, resolution)
    return Threshold(
        place=varied.place,
        base=varied.base,
        below=search.along(_steps(base, low, ends[0]), varied.base.unit),
        above=search.along(_steps(base, high, ends[1]), varied.base.unit),
        plausible=plausible,
        searched=ends,
    )


def _steps(base: float, near: float, far: float) -> list[float]:
    """Where to look on the way from the base to an end, and beyond."""
    found: list[float] = []
    for start, end, parts in ((base, near, WITHIN), (near, far, BEYOND)):
        if start == end:
            continue
        for number in range(1, parts + 1):
            share = number / parts
            found.append(
                start * (end / start) ** share if start > 0 and end > 0
                else start + (end - start) * share
            )  # fmt: skip
    return found


class _Search:
    """Looks for where the differences change their sign, from the base on."""

    def __init__(self, differences: Differences, base: float, resolution: float) -> None:
        self.differences, self.base, self.resolution = differences, base, resolution
        self.sign = math.copysign(1.0, differences(base).value)

    def along(self, steps: list[float], unit: str) -> Estimate | None:
        """The first change of sign on a way, with the interval around it."""
        before = self.base
        for place, x in enumerate(steps):
            if self._side(x, "value") > 0:
                before = x
                continue
            root = self._root("value", before, x)
            found = self.differences(root)
            ends = [self._near(root), self._far(root, steps[place:])]
            if found.is_exact:
                ends = [root, root]
            elif not math.isfinite(found.half_width):
                ends = [-math.inf, math.inf]
            # Both are in the unit of what was varied, not in the difference's.
            return replace(found, value=root, low=min(ends), high=max(ends), unit=unit,
                           method=found.method if found.is_exact
                           else f"{found.method}, inverted")  # fmt: skip
        return None

    def _near(self, root: float) -> float:
        """The end towards the base: there the interval reaches 0 with its nearer end."""
        return self._root("near", self.base, root) if self._side(root, "near") < 0 else root

    def _far(self, root: float, steps: list[float]) -> float:
        """The end away from the base; infinite if it was not reached."""
        before = root
        for x in steps:
            if self._side(x, "far") <= 0:
                return self._root("far", before, x) if self._side(before, "far") > 0 else before
            before = x
        return math.inf if root > self.base else 0.0 if steps[-1] >= 0 else -math.inf

    def _side(self, x: float, which: str) -> float:
        """How far a part of the estimate is on the base's side of 0."""
        found = self.differences(x)
        nearest_to_0 = {"value": found.value, "near": found.low, "far": found.high}
        if self.sign < 0:
            nearest_to_0 |= {"near": found.high, "far": found.low}
        return self.sign * nearest_to_0[which]

    def _root(self, which: str, one: float, other: float) -> float:
        from scipy.optimize import brentq

        ends = [self._side(x, which) for x in (one, other)]
        if ends[1] == 0:
            return other
        if ends[0] * ends[1] > 0:  # noise on both ends of a short way
            return other
        found = brentq(lambda x: self._side(x, which), one, other, xtol=self.resolution)
        return float(found)
