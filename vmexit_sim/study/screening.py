"""Screening: which costs decide between two policies, and how far they must be off to do so.

::

    all costs ──► those in the programs ──► influences (Morris) ──► thresholds of those that matter
    with their plausible ranges        └──► independent points ──► how often the verdict stands

Costs that stand in neither policy's program cannot matter, and are left out before anything is run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vmexit_sim.engine import EngineName
from vmexit_sim.errors import InputError
from vmexit_sim.opened import Opened
from vmexit_sim.program import Program
from vmexit_sim.statistics import Estimate
from vmexit_sim.study.differences import Differences, sign
from vmexit_sim.study.influence import Influence, influences, salib, share_of
from vmexit_sim.study.metrics import is_better_larger
from vmexit_sim.study.plausible import Plausible, plausible
from vmexit_sim.study.replication import lowered_for
from vmexit_sim.study.template import NO_VALUES, Template, template, with_cost, workers
from vmexit_sim.study.threshold import Threshold, threshold


@dataclass(frozen=True, kw_only=True)
class Screening:
    """Which costs decide between two policies.

    Attributes:
        scenario: its name.
        platform: its name.
        block: the guest's name.
        first: a policy.
        second: the other.
        metric: what is compared.
        difference: second - first, with every cost at its base.
        influences: of every cost that stands in a program, the largest mu* first.
        unused: costs that stand in neither policy's program.
        thresholds: where the verdict changes, for the costs that matter most and for those that
            change it within their range; none if there is no verdict.
        agrees: share of the sampled points (independent, uniform over the ranges) whose verdict is
            the base's. The share of a box of plausible values, and no probability of being right.
        reverses: share whose verdict is the opposite; at what is left it is undecided.
        trajectories: how many were walked.
        replications: of each point.
        evaluations: how often the two policies were compared.
        seed: of the points; the draws of all points have the scenario's.
    """

    scenario: str
    platform: str
    block: str
    first: str
    second: str
    metric: str
    difference: Estimate
    influences: tuple[Influence, ...]
    unused: tuple[str, ...]
    thresholds: tuple[Threshold, ...]
    agrees: Estimate
    reverses: Estimate
    trajectories: int
    replications: int
    evaluations: int
    seed: int

    @property
    def better(self) -> str | None:
        """The policy that is better at the base; None: the two are equal, or cannot be told."""
        told = sign(self.difference) * (1 if is_better_larger(self.metric) else -1)
        return None if not told else self.second if told > 0 else self.first

    @property
    def other(self) -> str:
        """The policy that is not `better`."""
        return self.first if self.better == self.second else self.second

    @property
    def deciding(self) -> list[Threshold]:
        """Thresholds that lie in the plausible range: costs that can change the verdict alone."""
        return [t for t in self.thresholds if any(t.is_plausible(at) for at in t.found)]


def screen(
    scenario: str | Mapping[str, Any],
    first: str,
    second: str,
    *,
    metric: str = "added",
    block: str | int | None = None,
    ranges: Mapping[str, Sequence[Any]] = NO_VALUES,
    changes: Mapping[str, Any] = NO_VALUES,
    path: Path | None = None,
    elsewhere: Mapping[str, Path | None] = NO_VALUES,
    trajectories: int = 10,
    points: int = 100,
    top: int = 5,
    seed: int = 1,
    engine: EngineName = "auto",
    jobs: int = 1,
    executor: Executor | None = None,
    progress: Callable[[str], None] | None = None,
) -> Screening:
    """Screen all costs of a scenario's platform for their part in a verdict.

    Args:
        scenario: a name or path, as for `find_scenario`, or a scenario's data.
        first: a policy.
        second: another; the difference is second - first.
        metric: what is compared (`vmexit_sim.study.metrics`).
        block: the guest, by name or number; None: the only one.
        ranges: by cost, or by any place of the scenario, ``(low, high)`` or ``(low, high, scale)``
            to use instead of, or besides, what `plausible` says.
        changes: keys of the scenario to set for good, by their places (``platform``).
        path: the file that a scenario's data came from, if any.
        elsewhere: keys of such data that do not stand in that file, as for `open_scenario`.
        trajectories: how many to walk, at least 2.
        points: how many independent points the share of agreeing verdicts rests on, at least 1.
        top: for how many of the costs that matter most a threshold is looked for.
        seed: of trajectories and points.
        engine: what runs it; the numbers are the same.
        jobs: how many points are run at a time, on threads.
        executor: where to run them instead; it stays open.
        progress: told what is being done.

    Raises:
        InputError: SALib is not installed, two equal policies, or anything stated does not fit.
    """
    if first == second:
        raise InputError("is compared with itself", key="policy", value=first)
    for name, number, least in (("trajectories", trajectories, 2), ("points", points, 1)):
        if number < least:
            raise InputError("are too few", key=name, value=number, mend=f"give {least} or more")
    salib()
    made = template(scenario, places=[name for name in ranges if "." in name],
                    policies=[first, second], changes=changes, block=block,
                    metrics=[metric], path=path,
                    elsewhere=elsewhere)  # fmt: skip
    tell = progress or (lambda _: None)
    tell("which costs stand in the programs")
    used, unused = _split(made, plausible(made, ranges))
    with workers(executor, jobs) as pool:
        evaluate = Differences(made, (first, second), metric, engine, pool)
        base = evaluate.values([NO_VALUES])[0]
        tell(f"{len(used)} costs, {trajectories} trajectories")
        effects = influences(used, evaluate, trajectories, seed)
        tell(f"{points} independent points")
        shares = np.random.default_rng([seed, 1]).random((points, len(used)))
        signs = [sign(each) for each in evaluate.shares(used, shares)]
        tell("thresholds")
        found = () if not sign(base) else _thresholds(used, effects, evaluate, base, top)
    opened = made.opened()
    return Screening(
        scenario=opened.scenario.name, platform=opened.platform.name, block=opened.blocks[0].name,
        first=first, second=second, metric=metric, difference=base, influences=tuple(effects),
        unused=tuple(each.name for each in unused), thresholds=found,
        agrees=share_of(signs.count(sign(base)), len(signs)),
        reverses=share_of(signs.count(-sign(base)) if sign(base) else 0, len(signs)),
        trajectories=trajectories, replications=opened.replications,
        evaluations=evaluate.count, seed=seed,
    )  # fmt: skip


def _split(made: Template, costs: Sequence[Plausible]) -> tuple[list[Plausible], list[Plausible]]:
    """What may matter, and the costs that stand in neither program."""
    used: list[Plausible] = []
    unused: list[Plausible] = []
    opened = made.opened()
    programs = _programs(opened)
    for cost in costs:
        matters = not cost.is_cost or any(
            _programs(with_cost(opened, cost.place, cost.at(end))) != programs for end in (1.0, 0.0)
        )
        (used if matters else unused).append(cost)
    return used, unused


def _programs(opened: Opened) -> list[Program]:
    return [lowered_for(opened, policy, opened.blocks[0]).program for policy in opened.policies]


def _thresholds(
    used: Sequence[Plausible], ranked: Sequence[Influence], evaluate: Differences,
    base: Estimate, top: int,
) -> tuple[Threshold, ...]:  # fmt: skip
    """Of the costs that matter most, and of those that turn the verdict within their range."""
    by_place = {each.place: each for each in used}
    wanted = [
        each for rank, each in enumerate(ranked)
        if (rank < top and each.mu_star.value)
        or any(sign(end) * sign(base) < 0 for end in (each.at_low, each.at_high))
    ]  # fmt: skip
    return tuple(
        threshold(by_place[each.place], evaluate.along(by_place[each.place])) for each in wanted
    )
