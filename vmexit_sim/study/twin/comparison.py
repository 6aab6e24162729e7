"""Comparing with theory: one twin for each quantity that a law speaks of."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Literal

from vmexit_sim.engine import EngineName
from vmexit_sim.opened import Loaded, Opened
from vmexit_sim.statistics import Estimate
from vmexit_sim.streams import Streams
from vmexit_sim.study.outcome import Comparison, PolicyOutcome
from vmexit_sim.study.replication import EXACT_ROWS, lowered_for, run_once
from vmexit_sim.study.threads import threads
from vmexit_sim.study.twin.case import Case, Said
from vmexit_sim.study.twin.closed_loop import closed_loop
from vmexit_sim.study.twin.open_loop import stated_laws
from vmexit_sim.study.twin.own_draws import Demands, PathDependsError, own_draws
from vmexit_sim.study.twin.sums import lock, sum_of_costs

Standing = Literal["identity", "exact", "bound", "approximation", "none"]

ROUNDING = 1e-9
"""Numbers that agree to this part of them differ by floating point only."""


@dataclass(frozen=True, kw_only=True)
class Twin:
    """A simulated number, and what theory says of it.

    Attributes:
        block: the guest.
        policy: the policy.
        quantity: what it is a number of.
        simulated: the estimate; None: nothing was simulated for it.
        low: theory's value, or its lower bound (-inf: none), in the estimate's unit.
        high: theory's value, or its upper bound (inf: none).
        law: the theory's name.
        assumes: what it takes for granted; where there is no theory, why.
        standing: how theory stands to the guest that was simulated (see the package).
        is_part: a part of another twin's quantity, of interest if it misses.
    """

    block: str
    policy: str
    quantity: str
    simulated: Estimate | None
    low: float = math.nan
    high: float = math.nan
    law: str = ""
    assumes: str
    standing: Standing
    is_part: bool = False

    @property
    def judges(self) -> bool:
        """Whether theory and simulation can contradict each other."""
        return self.standing in ("identity", "exact", "bound") and self.simulated is not None

    @property
    def misses(self) -> bool:
        """Whether they do: by the estimate's interval, or by the number itself if it is sure."""
        if not self.judges or self.simulated is None:
            return False
        ends = (self.simulated.low, self.simulated.high)
        low, high = ends if self.standing == "exact" else (self.simulated.value,) * 2
        slack = ROUNDING * max(abs(self.simulated.value), _size(self.low), _size(self.high))
        if math.isnan(self.simulated.value):
            return True
        return high < self.low - slack or low > self.high + slack

    @property
    def off_by(self) -> float:
        """How far the simulated value lies from theory, as a share of that; 0 within bounds."""
        if self.simulated is None or math.isnan(self.low):
            return math.nan
        nearest = min(max(self.simulated.value, self.low), self.high)
        gap = self.simulated.value - nearest
        return gap / abs(nearest) if nearest else (math.copysign(math.inf, gap) if gap else 0.0)


def twins(
    opened: Opened, comparison: Comparison, *, engine: EngineName = "auto", jobs: int = 1
) -> list[Twin]:
    """What theory says of a comparison, for every block and policy.

    What the comparison does not hold (locks, moments of single accesses) is measured in runs of
    the same replications.

    Args:
        opened: the scenario.
        comparison: its outcome.
        engine: what runs the replications.
        jobs: how many run at a time.

    Raises:
        SimulationError: a deadlock.
    """
    found: list[Twin] = []
    for block, outcomes in zip(opened.blocks, comparison.blocks, strict=True):
        for outcome in outcomes.policies:
            skipped = 0 if outcomes.cut is None else outcomes.cut.accesses
            found += _twins(opened, block, outcome, skipped, engine, jobs)
    return found


def _twins(
    opened: Opened,
    block: Loaded,
    outcome: PolicyOutcome,
    skipped: int,
    engine: EngineName,
    jobs: int,
) -> Iterator[Twin]:
    policy = next(each for each in opened.policies if each.name == outcome.policy.name)
    lowered = lowered_for(opened, policy, block)
    workload = block.workloads[block.main_scale]
    named = partial(Twin, block=block.name, policy=policy.name)
    if any(queue.name == "CPUs" for queue in lowered.program.queues):
        yield named(
            quantity="all", simulated=None, standing="none",
            assumes="threads share the host's CPUs, so when one runs depends on all others",
        )  # fmt: skip
        return
    demands = Demands(lowered)
    replications = range(outcome.replications)
    streams = [Streams(opened.scenario.seed, replication) for replication in replications]
    try:
        own = [own_draws(demands, workload, each) for each in streams]
        kept = [own_draws(demands, workload, each, skipped) for each in streams if skipped]
    except PathDependsError as depends:
        yield named(quantity="all", simulated=None, standing="none", assumes=str(depends))
        return
    crowded = workload.vcpus > 1 and any(draws.locked.total() for draws in own)
    keeps_rows = crowded and not own[0].is_open and own[0].accesses <= EXACT_ROWS
    once = partial(
        run_once, opened, lowered, block, keep_rows=keeps_rows, engine=engine
    )  # fmt: skip
    with threads(jobs) as pool:
        runs = list(pool.map(once, replications))
    case = Case(
        opened=opened, block=block, outcome=outcome, lowered=lowered, demands=demands, own=own,
        kept=kept or own, runs=runs,
    )  # fmt: skip
    for said in _laws(case):
        yield named(**said)


def _size(value: float) -> float:
    return abs(value) if math.isfinite(value) else 0.0


def _laws(case: Case) -> Iterator[Said]:
    """Everything that theory says of a case."""
    yield from sum_of_costs(case)
    for name in case.locks:
        yield from lock(case, name)
    if not case.is_open:
        yield from closed_loop(case)
    yield from stated_laws(case)
