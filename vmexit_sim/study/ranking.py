"""Do policies keep their ranks on another host, and if not, why?

Policies are ranked by the time that virtualisation adds. Where two change places, the stage is
named whose time, as a part of the baseline's, has moved most in favour of the one that gains.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

from vmexit_sim.measure.records import ADDED
from vmexit_sim.study.outcome import BlockOutcome, PolicyOutcome


@dataclass(frozen=True, kw_only=True)
class Swap:
    """Two policies that change places.

    Attributes:
        gains: the policy that was behind, and is ahead now.
        loses: the other.
        stage: the stage that made most of the difference.
    """

    gains: str
    loses: str
    stage: str


def ranked(block: BlockOutcome) -> list[PolicyOutcome]:
    """The policies that reach this guest and that it could use, and the baseline; least first."""
    baseline, usable = block.policies[0], block.usable
    taking_part = [o for o in block.policies if o is baseline or (o in usable and o.reach > 0)]
    return sorted(taking_part, key=lambda outcome: outcome.hypervisor_time.value)


def swaps(here: BlockOutcome, there: BlockOutcome) -> Iterator[Swap]:
    """Who passes whom between two hosts.

    Args:
        here: one guest on one host.
        there: the same guest and policies on another.
    """
    order = {outcome.policy.name: rank for rank, outcome in enumerate(ranked(there))}
    for loser, gainer in combinations([outcome.policy.name for outcome in ranked(here)], 2):
        if order[gainer] < order[loser]:
            leads = [_lead(block, gainer, loser) for block in (here, there)]
            moved = {name: leads[1].get(name, 0.0) - leads[0].get(name, 0.0)
                     for name in {*leads[0], *leads[1]}}  # fmt: skip
            yield Swap(gains=gainer, loses=loser, stage=max(sorted(moved), key=moved.__getitem__))


def _lead(block: BlockOutcome, gainer: str, loser: str) -> dict[str, float]:
    """By stage, how much less one policy takes than another, in parts of the baseline's time."""
    baseline = block.policies[0].hypervisor_time.value
    times = [_added(block.policies, name) for name in (loser, gainer)]
    return {
        stage: (times[0].get(stage, 0.0) - times[1].get(stage, 0.0)) / baseline
        for stage in {*times[0], *times[1]}
    }


def _added(outcomes: Sequence[PolicyOutcome], name: str) -> dict[str, float]:
    outcome = next(o for o in outcomes if o.policy.name == name)
    return {
        stage.name: estimate.value
        for stage, estimate in outcome.stage_times.items()
        if stage.role in ADDED
    }
