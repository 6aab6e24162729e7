"""Pairs at points: the difference of two policies wherever values of a scenario are set."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from typing import Any

import numpy as np
import numpy.typing as npt

from vmexit_sim.engine import EngineName
from vmexit_sim.statistics import Estimate, compare_pair, exact
from vmexit_sim.study.metrics import unit_of
from vmexit_sim.study.plausible import Plausible
from vmexit_sim.study.template import Run, Template, sample_all

Points = npt.NDArray[np.float64]
"""Shares (0 … 1) of the ranges, float64 [point, cost]."""


def sign(difference: Estimate) -> int:
    """Of a difference: 1 or -1 where its interval excludes 0, otherwise 0."""
    return int(difference.low > 0) - int(difference.high < 0)


class Differences:
    """Compares two policies wherever it is asked to, always on the same draws.

    Args:
        made: the scenario.
        pair: the two policies; a difference is the second's metric less the first's.
        metric: what is compared.
        engine: what runs it.
        pool: where it runs.

    Attributes:
        count: how often the policies were compared.
    """

    def __init__(self, made: Template, pair: tuple[str, str], metric: str, engine: EngineName,
                 pool: Executor) -> None:  # fmt: skip
        self.made, self.pair, self.metric = made, pair, metric
        self.engine, self.pool = engine, pool
        self.count = 0

    def values(self, points: Sequence[Mapping[str, Any]]) -> list[Estimate]:
        """The differences where these values are set, by place."""
        self.count += len(points)
        wanted = (self.metric,)
        runs = [
            Run(template=self.made, values=dict(values), metrics=wanted, engine=self.engine)
            for values in points
        ]
        return [
            self._difference(*(found.policies[name][self.metric] for name in self.pair),
                             is_random=found.is_random)
            for found in sample_all(runs, self.pool)
        ]  # fmt: skip

    def shares(self, used: Sequence[Plausible], points: Points) -> list[Estimate]:
        """The differences at shares of the ranges."""
        return self.values([
            {each.place: each.at(float(u)) for each, u in zip(used, row, strict=True)}
            for row in points
        ])  # fmt: skip

    def along(self, varied: Plausible) -> Callable[[float], Estimate]:
        """The differences by one value, all else at its base."""
        return lambda number: self.values([{varied.place: varied.stated(number)}])[0]

    def _difference(self, first: list[float], second: list[float], *, is_random: bool) -> Estimate:
        unit = unit_of(self.metric)
        if not is_random:
            return exact(second[0] - first[0], unit)
        return compare_pair(first, second, unit=unit).difference
