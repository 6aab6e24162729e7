"""Influences: what each cost does to the difference of two policies, by Morris's method.

From a random point of the ranges one cost after the other takes a step; what the step does, carried
to the whole range, is an *elementary effect*. Every trajectory has one of each cost::

    cost b ▲        ●──●            mu*    mean size of a cost's effects: how much it matters
           │        │               sigma  their spread: it acts together with others, or bends
           │     ●──┘               flips  steps that turned the verdict around
           └──────────▶ cost a

On a linear range an effect of a cost that adds up is occurrences times range. All points meet the
same draws (one seed), so that no effect is chance.

Source: M. D. Morris, Factorial sampling plans for preliminary computational experiments,
Technometrics 33 (1991); mu*: Campolongo, Cariboni and Saltelli, Environmental Modelling & Software
22 (2007); as implemented by SALib.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vmexit_sim.errors import InputError
from vmexit_sim.statistics import CONFIDENCE, Estimate
from vmexit_sim.study.differences import Differences, Points, sign
from vmexit_sim.study.metrics import unit_of
from vmexit_sim.study.plausible import Plausible
from vmexit_sim.study.sweep.factor import Quantity

LEVELS = 8
"""Levels of each range that trajectories visit; a step goes 4/7 of it, from one of the lower four.
With fewer, the effects of a cost on a log scale are of so few sizes that a bootstrap sees too
little."""

RESAMPLES = 1000
"""Bootstrap resamples behind mu*'s interval."""

NOTHING = 1e-9
"""An effect of less than this part of the largest is rounding."""


@dataclass(frozen=True, kw_only=True)
class Influence:
    """What one cost (or another key) does to the difference of two policies.

    Attributes:
        place: the scenario's key.
        mark: how much its number is worth; "": it is no cost.
        base: its value now.
        low: the plausible range's lower end, in the base's unit.
        high: its upper end.
        scale: of the range, "linear" or "log".
        mu_star: mean size of its elementary effects, each of the whole range, in the metric's
            unit; n is the number of trajectories.
        mu: mean of the effects, signs kept.
        sigma: their standard deviation.
        share: part of all costs' mu* (0 … 1).
        flips: share of its own steps that turned the verdict around.
        at_low: the difference with this cost at its low end, all others at their base.
        at_high: the same at its high end.
    """

    place: str
    mark: str
    base: Quantity
    low: float
    high: float
    scale: str
    mu_star: Estimate
    mu: float
    sigma: float
    share: float
    flips: Estimate
    at_low: Estimate
    at_high: Estimate

    @property
    def name(self) -> str:
        """The place, of a cost the cost alone."""
        return self.place.removeprefix("costs.")


def influences(
    used: Sequence[Plausible], evaluate: Differences, trajectories: int, seed: int
) -> list[Influence]:
    """What each cost does, the largest first.

    Args:
        used: the costs, and their ranges.
        evaluate: the difference at a point.
        trajectories: how many to walk, at least 2.
        seed: of the trajectories, and of mu*'s bootstrap.

    Raises:
        InputError: SALib is not installed.
    """
    if not used:
        return []
    problem = {"num_vars": len(used), "names": [each.place for each in used],
               "bounds": [[0.0, 1.0]] * len(used)}  # fmt: skip
    sampler, analyser = salib()
    points = sampler.sample(problem, trajectories, num_levels=LEVELS, seed=seed)
    differences = evaluate.shares(used, points)
    values = np.array([each.value for each in differences])
    effects = analyser.analyze(problem, points, values, num_resamples=RESAMPLES,
                               conf_level=CONFIDENCE, num_levels=LEVELS, seed=seed)  # fmt: skip
    flips = _flips(points, [sign(each) for each in differences])
    ends = evaluate.values([{each.place: each.at(end)} for each in used for end in (0.0, 1.0)])
    largest = float(max(effects["mu_star"]))
    # Sums of many times differ in their last bits; such an effect is none.
    sizes = [0.0 if size <= NOTHING * largest else float(size) for size in effects["mu_star"]]
    total = sum(sizes) or 1.0
    unit = unit_of(evaluate.metric)
    found = []
    for number, (each, size) in enumerate(zip(used, sizes, strict=True)):
        half = float(effects["mu_star_conf"][number]) if size else 0.0
        found.append(Influence(
            place=each.place, mark=each.mark, base=each.base, low=each.range.low.number,
            high=each.range.high.number, scale=each.range.scale,
            mu_star=Estimate(size, max(size - half, 0.0), size + half, trajectories,
                             "normal bootstrap", CONFIDENCE, unit),
            mu=float(effects["mu"][number]) if size else 0.0,
            sigma=float(effects["sigma"][number]) if size else 0.0,
            share=size / total, flips=share_of(flips[number], trajectories),
            at_low=ends[2 * number], at_high=ends[2 * number + 1],
        ))  # fmt: skip
    return sorted(found, key=lambda each: (-each.mu_star.value, each.place))


def _flips(points: Points, signs: Sequence[int]) -> list[int]:
    """By cost, how many of its steps turned the verdict around; every trajectory has one."""
    count = [0] * points.shape[1]
    for row in range(1, len(points)):
        (moved,) = np.nonzero(points[row] != points[row - 1])
        if row % (points.shape[1] + 1) and signs[row] * signs[row - 1] < 0:
            count[int(moved[0])] += 1
    return count


def share_of(count: int, n: int, confidence: float = CONFIDENCE) -> Estimate:
    """A share of independent cases, with the interval of Clopper and Pearson (Biometrika 1934).

    Args:
        count: cases that have the property.
        n: all cases; at least 1.
        confidence: the least coverage of the interval.
    """
    from scipy.special import betaincinv

    error = (1 - confidence) / 2
    low = float(betaincinv(count, n - count + 1, error)) if count else 0.0
    high = float(betaincinv(count + 1, n - count, 1 - error)) if count < n else 1.0
    return Estimate(count / n, low, high, n, "Clopper-Pearson", confidence, "1")


def salib() -> tuple[Any, Any]:
    """SALib's sampler and analyser.

    Raises:
        InputError: it is not installed.
    """
    try:
        from SALib.analyze import morris as analyser
        from SALib.sample import morris as sampler
    except ImportError:
        raise InputError("screening needs SALib, which is not installed",
                         mend="pip install 'vmexit-sim[screen]'") from None  # fmt: skip
    return sampler, analyser
