"""The search for a parameter's best value: a coarse grid, then finer around the best.

Every value meets the same draws. Values are compared by their means over replications, of a
quantile too; which of them are told apart, `best_set` says.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from vmexit_sim.engine import EngineName
from vmexit_sim.statistics import Estimate, best_set
from vmexit_sim.study.limit import Limit
from vmexit_sim.study.metrics import estimated
from vmexit_sim.study.sweep.factor import Factor, quantity
from vmexit_sim.study.template import Run, Sampled, Template, sample_all

GRID = 9
"""Values of a range that does not say how many."""

ROUNDS, REFINED = 2, 4
"""How often the search looks closer around the best, and at how many values more each time."""


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A value that was tried, on the draws of the search.

    Attributes:
        value: as files state it.
        objective: the metric; of the value that was chosen it flatters.
        limited: what is limited, in the limits' order.
        keeps: whether all limits are kept to, by the estimates' values.
        among_best: whether no other value that keeps the limits is told to be better.
    """

    value: Any
    objective: Estimate
    limited: tuple[Estimate, ...]
    keeps: bool
    among_best: bool


class Search:
    """Values that were tried so far, and what they came to."""

    def __init__(self, made: Template, place: str, metrics: tuple[str, ...],
                 limits: tuple[Limit, ...], larger_is_better: bool, engine: EngineName,
                 pool: Executor) -> None:  # fmt: skip
        self.made, self.place, self.metrics, self.limits = made, place, metrics, limits
        self.larger_is_better, self.engine, self.pool = larger_is_better, engine, pool
        self.found: dict[Any, Sampled] = {}

    @property
    def is_random(self) -> bool:
        """Whether replications of any value can differ."""
        return any(each.is_random for each in self.found.values())

    @property
    def replications(self) -> int:
        """Of each value."""
        return max(len(self.raw(each, self.metrics[0])) for each in self.found.values())

    def grid(self, factor: Factor, tell: Callable[[str], None]) -> None:
        """Try the values that were asked for."""
        ends = factor.range
        if ends is None or ends.steps is not None:
            values = factor.levels()
        else:
            values = list(dict.fromkeys(ends.at(n / (GRID - 1)) for n in range(GRID)))
        tell(f"{len(values)} values of {self.place}")
        self.try_out(values)

    def refine(self, factor: Factor, tell: Callable[[str], None]) -> bool:
        """Try values between the best and its neighbours; whether there were any."""
        best, ordered = self.chosen(), self.ordered()
        if best is None or factor.range is None:
            return False
        at = ordered.index(best)
        more: list[Any] = []
        for one, other in pairwise(ordered[max(at - 1, 0) : at + 2]):
            parts = REFINED // 2 + 1
            between = Factor(place=self.place, values=[one, other, factor.range.scale]).range
            assert between is not None, "two values and a scale are a range"
            more += [between.at(n / parts) for n in range(1, parts)]
        more = [value for value in dict.fromkeys(more) if value not in self.found]
        if more:
            tell(f"{len(more)} values around {best}")
            self.try_out(more)
        return bool(more)

    def try_out(self, values: Sequence[Any]) -> None:
        """Run these values on the draws of the search."""
        self.found |= dict(zip(values, self.run(self.made, values), strict=True))

    def run(self, made: Template, values: Sequence[Any]) -> list[Sampled]:
        """Run some values; None stands for what the scenario has."""
        runs = [
            Run(template=made, values={} if value is None else {self.place: value},
                metrics=self.metrics, engine=self.engine)
            for value in values
        ]  # fmt: skip
        return sample_all(runs, self.pool)

    def raw(self, found: Sampled, metric: str) -> list[float]:
        """A metric's values, one for each replication."""
        (samples,) = found.policies.values()
        return samples[metric]

    def estimate(self, found: Sampled, metric: str) -> Estimate:
        """A metric's estimate."""
        return estimated(metric, self.raw(found, metric), is_random=found.is_random)

    def padded(self, found: Mapping[Any, Sampled]) -> dict[Any, list[float]]:
        """The objective by value, as many replications of each: what is exact is repeated."""
        raw = {value: self.raw(each, self.metrics[0]) for value, each in found.items()}
        most = max(len(values) for values in raw.values())
        return {value: own * most if len(own) == 1 else own for value, own in raw.items()}

    def ordered(self) -> list[Any]:
        """All values, by size where they are quantities."""
        sizes = {value: quantity(value) for value in self.found}
        if any(size is None for size in sizes.values()):
            return list(self.found)
        return sorted(self.found, key=lambda value: sizes[value].number)  # type: ignore[union-attr]

    def keeps(self, found: Sampled) -> bool:
        """Whether all limits are kept to."""
        return all(limit.is_kept(self.estimate(found, limit.metric)) for limit in self.limits)

    def best(self) -> list[Any]:
        """Values that keep the limits and are not told to be worse than another, best first."""
        kept = {
            value: self.found[value] for value in self.ordered() if self.keeps(self.found[value])
        }
        if not kept:
            return []
        if self.is_random and self.replications > 1:
            names = {str(number): value for number, value in enumerate(kept)}
            samples = self.padded(kept)
            told = best_set({name: samples[value] for name, value in names.items()},
                            larger_is_better=self.larger_is_better)  # fmt: skip
            return [names[name] for name in told]
        sign = -1 if self.larger_is_better else 1
        values = {value: sign * self.raw(each, self.metrics[0])[0] for value, each in kept.items()}
        if self.is_random:  # one replication tells nothing
            return sorted(values, key=lambda value: values[value])
        return [value for value in values if values[value] == min(values.values())]

    def chosen(self) -> Any:
        """The value with the best mean; of equals the smallest."""
        best = self.best()
        return best[0] if best else None

    def candidates(self) -> tuple[Candidate, ...]:
        """Everything that was tried."""
        best = self.best()
        return tuple(
            Candidate(
                value=value, objective=self.estimate(found, self.metrics[0]),
                limited=tuple(self.estimate(found, limit.metric) for limit in self.limits),
                keeps=self.keeps(found), among_best=value in best,
            )
            for value, found in ((value, self.found[value]) for value in self.ordered())
        )  # fmt: skip
