"""Sensitivity: what each of a platform's costs means for a verdict.

Each cost is made a tenth dearer, alone, on the same draws; a cost of 0 gets a tenth of a world
switch. What that does to the difference of two policies is the cost's *weight* in the verdict.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from vmexit_sim.engine import EngineName
from vmexit_sim.statistics import Estimate
from vmexit_sim.study.differences import Differences
from vmexit_sim.study.plausible import Plausible, plausible
from vmexit_sim.study.template import NO_VALUES, Template, workers
from vmexit_sim.study.threshold import Threshold, threshold

if TYPE_CHECKING:
    from collections.abc import Sequence

STEP = 0.1
"""By which part of it a cost is made dearer."""


@dataclass(frozen=True, kw_only=True)
class Weight:
    """What one cost means for a verdict.

    Attributes:
        cost: its name.
        step: how much dearer it was made, in ps.
        change: what that does to the difference, in the metric's unit.
        threshold: where the verdict changes along it; None: it was not looked for.
    """

    cost: str
    step: float
    change: float
    threshold: Threshold | None = None


@dataclass(frozen=True, kw_only=True)
class Sensitivity:
    """What costs mean for the difference of two policies.

    Attributes:
        first: a policy.
        second: another.
        block: the guest.
        metric: what is compared.
        difference: second less first.
        weights: by cost, in the platform's order.
    """

    first: str
    second: str
    block: str
    metric: str
    difference: Estimate
    weights: list[Weight]


def sensitivity(
    made: Template,
    pair: tuple[str, str],
    *,
    metric: str = "added",
    only: Sequence[str] = (),
    engine: EngineName = "auto",
    jobs: int = 1,
) -> Sensitivity:
    """What a platform's costs mean for the difference of two policies.

    Args:
        made: the scenario, with the two policies.
        pair: their names; the difference is the second's metric less the first's.
        metric: what is compared.
        only: these costs, and where the verdict changes along each; none: all, without that.
        engine: what runs it.
        jobs: how many points run at a time.
    """
    opened = made.opened()
    costs = opened.platform.costs
    switch = costs.world_switch_out.value.mean_ps + costs.world_switch_in.value.mean_ps
    chosen = [
        each for each in plausible(made, NO_VALUES)
        if each.is_cost and (not only or each.name in only)
    ]  # fmt: skip
    steps = [round(STEP * (each.base.number or switch)) or 1 for each in chosen]
    with workers(None, jobs) as pool:
        differences = Differences(made, pair, metric, engine, pool)
        base, *others = differences.values([
            NO_VALUES,
            *({each.place: each.stated(each.base.number + step)}
              for each, step in zip(chosen, steps, strict=True)),
        ])  # fmt: skip
        weights = [
            Weight(
                cost=each.name, step=step, change=other.value - base.value,
                threshold=_threshold(each, differences, base, other) if only else None,
            )
            for each, step, other in zip(chosen, steps, others, strict=True)
        ]  # fmt: skip
    return Sensitivity(first=pair[0], second=pair[1], block=opened.blocks[0].name, metric=metric,
                       difference=base, weights=weights)  # fmt: skip


def _threshold(
    varied: Plausible, differences: Differences, base: Estimate, other: Estimate
) -> Threshold | None:
    if not base.value or (base.low <= 0 <= base.high) or other.value == base.value:
        return None
    return threshold(varied, differences.along(varied))
