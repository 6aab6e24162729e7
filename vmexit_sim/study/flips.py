"""Flips: where the sign of a difference changes along a line, and how sure that is.

::

    difference                      ╱ high end of its interval
        │                        ╱   ╱
        │                     ╱   ╱  ╱ low end
      0 ┼──────────────────┼───┼───┼──────────────▶ factor
        │               ╱  ╱╲  ╱    ╲
        │            ╱  ╱    root    here the low end reaches 0
        │                here the high end reaches 0

The root of the mean difference is the estimate. Its interval holds the values at which the
difference's own interval contains 0, so its ends are roots of that interval's ends: the test is
inverted, nothing is linearised, and the nominal coverage is the test's own.

Source: E. C. Fieller, Some problems in interval estimation, J. R. Statist. Soc. B 16 (1954), for
inverting the t test of a difference; R. P. Brent, Algorithms for Minimization without Derivatives
(1973), chapter 4, for the roots.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise

from vmexit_sim.statistics import Estimate
from vmexit_sim.statistics.estimate import EXACT

INVERTED_T = "paired t, inverted"
"""How a flip's interval is found."""

Difference = Callable[[float], Estimate]
"""A difference at a value of the factor; asked again, it gives the same."""


@dataclass(frozen=True, kw_only=True)
class Flip:
    """Where a difference changes its sign.

    Attributes:
        at: the value, with its interval. Of a whole-number factor half-way between the neighbours
            that it lies between, or where both sides are equal; the interval's ends are then the
            last value on either side that is told. Where nothing is left to chance the interval
            has no width beyond the tolerance, unless both sides are equal over a stretch.
        before: the difference's sign below it, -1 or 1; above, it is the other one.
        is_open_low: nothing is told at the range's low end, so the interval goes on beyond it.
        is_open_high: the same of the high end.
        neighbours: of a whole-number factor, the values just below and above.
    """

    at: Estimate
    before: int
    is_open_low: bool
    is_open_high: bool
    neighbours: tuple[int, int] | None


@dataclass(frozen=True, kw_only=True)
class Stretch:
    """A part of the range in which a difference's sign is the same.

    Attributes:
        low: where it begins.
        high: where it ends.
        sign: -1, 1, or 0: the sign cannot be told.
    """

    low: float
    high: float
    sign: int


def sign_of(difference: Estimate) -> int:
    """The sign that a difference is told to have: -1, 1, or 0 if its interval holds 0."""
    return (difference.low > 0) - (difference.high < 0)


def find_flips(
    difference: Difference,
    grid: Sequence[float],
    *,
    tolerance: float,
    unit: str,
    whole: bool = False,
) -> tuple[list[Stretch], list[Flip]]:
    """Look along a grid for changes of sign, and close in on each.

    Two flips between neighbouring values of the grid stay unseen.

    Args:
        difference: at a value of the factor.
        grid: ascending values to look at first, two or more.
        tolerance: to which part of its value a root is found.
        unit: the factor's.
        whole: whether only whole numbers are values.

    Returns:
        The range's stretches from low to high, and the flips.
    """
    search = _Search(difference, list(grid), tolerance, unit, whole)
    runs = search.runs()
    stretches: list[Stretch] = []
    flips: list[Flip] = []

    def stretch(low: float, high: float, sign: int) -> None:
        if low < high or (whole and low == high):
            stretches.append(Stretch(low=low, high=high, sign=sign))

    begin, step = grid[0], 1 if whole else 0
    for before, run, after in zip([None, *runs], runs, [*runs[1:], None], strict=False):
        if run.sign == 0:
            told, zone = before, search.between(before, run, after)
        elif after is not None and after.sign != 0:
            told, zone = run, search.between(run, None, after)
        else:
            continue
        if told is not None:
            stretch(begin, zone.low - step, told.sign)
        stretch(zone.low, zone.high, 0)
        flips += [zone.flip] if zone.flip is not None else []
        begin = zone.high + step
    if runs[-1].sign:
        stretch(begin, grid[-1], runs[-1].sign)
    return stretches, flips


@dataclass(frozen=True)
class _Run:
    """Neighbouring values of the grid with one sign, by their places."""

    sign: int
    first: int
    last: int


@dataclass(frozen=True)
class _Zone:
    """What is untold between told values; empty if its low end is not below its high end."""

    low: float
    high: float
    flip: Flip | None


@dataclass(frozen=True)
class _Search:
    difference: Difference
    grid: list[float]
    tolerance: float
    unit: str
    whole: bool

    def runs(self) -> list[_Run]:
        signs = [sign_of(self.difference(value)) for value in self.grid]
        made = []
        for sign, places in groupby(range(len(signs)), signs.__getitem__):
            group = list(places)
            made.append(_Run(sign, group[0], group[-1]))
        return made

    def between(self, before: _Run | None, untold: _Run | None, after: _Run | None) -> _Zone:
        """Between two told runs, or a told run and the range's end."""
        first = before.last if before else 0
        last = after.first if after else len(self.grid) - 1
        crossed = self._crossing(self.grid[first : last + 1])
        inside = [] if crossed is None else list(crossed)
        inside += [self.grid[untold.first], self.grid[untold.last]] if untold else []
        ends = self.grid[first], self.grid[last]
        if before:
            ends = self._edge(ends[0], min(inside), before.sign), ends[1]
        if after:
            ends = ends[0], self._edge(ends[1], max(inside), after.sign)
        low = ends[0] + (self.whole and before is not None)
        high = ends[1] - (self.whole and after is not None)
        if crossed is None:
            return _Zone(low, high, None)
        flip = Flip(
            at=self._estimate(sum(crossed) / 2, ends, self.difference(crossed[0])),
            before=-1 if self._mean(self.grid[first]) < 0 else 1,
            is_open_low=before is None,
            is_open_high=after is None,
            neighbours=self._neighbours(crossed) if self.whole else None,
        )
        if flip.at.low == flip.at.high:  # nothing wider than the tolerance is untold
            return _Zone(flip.at.low, flip.at.high, flip)
        return _Zone(low, high, flip)

    def _estimate(self, at: float, ends: tuple[float, float], found: Estimate) -> Estimate:
        if not found.is_exact:
            return Estimate(at, *ends, found.n, INVERTED_T, found.confidence, self.unit)
        is_level = ends[1] - ends[0] > 10 * self.tolerance * abs(at)
        return Estimate(at, *(ends if self.whole or is_level else (at, at)), 1, EXACT,
                        unit=self.unit)  # fmt: skip

    def _neighbours(self, crossed: tuple[float, float]) -> tuple[int, int]:
        one, other = (round(value) for value in crossed)
        return (one, other) if one < other else (one - 1, one + 1)

    def _mean(self, value: float) -> float:
        return self.difference(value).value

    def _crossing(self, values: Sequence[float]) -> tuple[float, float] | None:
        """Around the root: the same value twice, or two neighbouring whole numbers."""
        signed = [value for value in values if self._mean(value) != 0]
        pairs = [
            (one, other) for one, other in pairwise(signed)
            if (self._mean(one) < 0) != (self._mean(other) < 0)
        ]  # fmt: skip
        if len(pairs) % 2 == 0:  # none, or there and back: no flip
            return None
        one, other = pairs[len(pairs) // 2]  # several are noise around one
        level = [value for value in values if one < value < other]
        if level:
            return (level[len(level) // 2],) * 2
        return (
            self._bisected(one, other) if self.whole else (self._root(self._mean, one, other),) * 2
        )

    def _bisected(self, low: float, high: float) -> tuple[float, float]:
        below = self._mean(low) < 0
        while high - low > 1:
            middle = float((low + high) // 2)
            if self._mean(middle) == 0:
                return middle, middle
            low, high = (middle, high) if (self._mean(middle) < 0) == below else (low, middle)
        return low, high

    def _edge(self, told: float, inside: float, sign: int) -> float:
        """Where the sign stops being told, from a told value inwards; whole: the last told."""
        if sign_of(self.difference(inside)) == sign:  # so steep that nothing is untold
            return inside
        if self.whole:
            while abs(inside - told) > 1:
                middle = float((told + inside) // 2)
                is_told = sign_of(self.difference(middle)) == sign
                told, inside = (middle, inside) if is_told else (told, middle)
            return told

        near = inside + math.copysign(4 * self.tolerance * abs(inside), told - inside)
        between = min(told, inside) < near < max(told, inside)
        if between and self.difference(inside).is_exact and sign_of(self.difference(near)) == sign:
            return inside

        def surely(value: float) -> float:
            """Positive where the sign is told; 0 is not."""
            found = self.difference(value)
            bound = found.low if sign > 0 else -found.high
            return bound or -at_told

        at_told = surely(told)
        return self._root(surely, told, inside)

    def _root(self, of: Callable[[float], float], one: float, other: float) -> float:
        from scipy.optimize import brentq

        reach = self.tolerance * (self.grid[-1] - self.grid[0]) * 1e-3
        return float(brentq(of, one, other, xtol=reach, rtol=self.tolerance))
