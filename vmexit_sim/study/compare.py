"""Comparing policies: all of them on the same guest, draw for draw.

For each block of a scenario, each policy is lowered, run on every replication and at every think
scale, and each replication is reduced to its metrics at once; the first policy is what the others
are compared with, replication by replication.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property, partial

import numpy as np

from vmexit_sim.engine import EngineName, run
from vmexit_sim.lowering import Lowered, lower
from vmexit_sim.measure.records import LATENCIES, RunResult
from vmexit_sim.policy import Policy
from vmexit_sim.scenario import Loaded, Opened
from vmexit_sim.statistics import (
    Estimate,
    Paired,
    Precision,
    batch_means,
    batch_quantile,
    best_set,
    compare_pair,
    exact,
    paired_ratio,
)
from vmexit_sim.steps import Stage
from vmexit_sim.streams import Streams
from vmexit_sim.study.metrics import (
    QUANTILES,
    Metrics,
    estimated,
    is_better_larger,
    measured,
    refuse_unknown,
    unit_of,
)
from vmexit_sim.study.steady_state import (
    PILOT,
    Cut,
    Latencies,
    find_cut,
    latencies_in_order,
    mean_latencies,
    trimmed,
)

EXACT_ROWS = 2_000_000
"""Up to so many accesses the rows of a recorded guest are kept, and its quantiles are exact."""

LARGEST_BUDGET = 1_000
"""Replications after which sequential stopping gives up, if the user does not say."""

Samples = dict[str, list[float]]
"""Metrics by name, one value for each replication."""


@dataclass(frozen=True, kw_only=True)
class PolicyOutcome:
    """What one policy costs one guest.

    Attributes:
        policy: the policy.
        reach: share of the accesses that its rules decide (0 … 1).
        counterfactual: it needs ECAM, which this guest does not have.
        samples: every metric, one value for each replication.
        baseline: those of the policy that this one is compared with.
        stages: the stages that took any time.
        scales: think scales; the last is the one that all but completion is told for.
        is_random: whether replications can differ.
        with_cpus: whether the scenario limits the host's CPUs.
        single: estimates from within one long run, where a steady-state study has no more.
    """

    policy: Policy
    reach: float
    counterfactual: bool
    samples: Samples
    baseline: Samples
    stages: tuple[Stage, ...]
    scales: tuple[float, ...]
    is_random: bool
    with_cpus: bool
    single: dict[str, Estimate] = field(default_factory=dict)

    def estimate(self, metric: str) -> Estimate:
        """A metric over replications; what the guest or host does not have is not a number."""
        if metric in self.single:
            return self.single[metric]
        return estimated(metric, self.values(metric), is_random=self.is_random)

    def values(self, metric: str) -> list[float]:
        """A metric of each replication; what the guest or host does not have is not a number."""
        return _values(self.samples, metric)

    def against_first(self, metric: str = "added") -> Paired:
        """A metric less the first policy's, replication by replication."""
        return compare_pair(_values(self.baseline, metric), self.values(metric),
                            unit=unit_of(metric))  # fmt: skip

    @property
    def replications(self) -> int:
        """How many replications the estimates rest on."""
        return len(self.times)

    @property
    def times(self) -> list[float]:
        """Time that virtualisation adds, of each replication, in ps."""
        return self.samples["added"]

    @property
    def accesses(self) -> float:
        """Accesses of one replication (mean)."""
        return sum(self.samples["accesses"]) / self.replications

    @property
    def exits(self) -> Estimate:
        """VM exits of one replication."""
        return self.estimate("exits")

    @property
    def exits_by_reason(self) -> dict[str, Estimate]:
        """The same by reason."""
        return {name.removeprefix("exits."): self.estimate(name)
                for name in sorted(self.samples) if name.startswith("exits.")}  # fmt: skip

    @property
    def hypervisor_time(self) -> Estimate:
        """What virtualisation added to the vCPUs' time."""
        return self.estimate("added")

    @property
    def completion(self) -> dict[float, Estimate]:
        """By think scale, when the last vCPU was through."""
        return {scale: self.estimate(f"completion@{scale:g}") for scale in self.scales}

    @cached_property
    def latency(self) -> dict[str, dict[str, Estimate]]:
        """Stall, response and effect latency of accesses: mean and `QUANTILES` of each."""
        return {which: self._latency(which) for which in LATENCIES}

    @cached_property
    def operation_latency(self) -> dict[str, dict[str, Estimate]]:
        """The same of whole operations; empty if there are none."""
        if "operation.stall.mean" not in self.samples:
            return {}
        return {which: self._latency(f"operation.{which}") for which in LATENCIES}

    @property
    def stage_times(self) -> dict[Stage, Estimate]:
        """Time per stage over all accesses, guest compute included."""
        return {stage: self.estimate(f"stage.{stage.name}") for stage in self.stages}

    @property
    def idle(self) -> dict[str, Estimate]:
        """What waiting costs, if the policy says how the guest waits.

        Time `asleep`; the share of idle time `burnt` by polling and by exits to halt; and the share
        of the vCPUs' time that they did not sleep, `cpu_share`.
        """
        if self.policy.idle.is_free:
            return {}
        return {name: self.estimate(f"idle.{name}") for name in ("asleep", "burnt", "cpu_share")}

    @property
    def host_cpus(self) -> dict[str, Estimate]:
        """If the scenario limits the host's CPUs, who had to wait for one.

        Their `utilisation`; time `stolen`, between accesses; time waited inside stalls, `waited`.
        """
        if not self.with_cpus:
            return {}
        return {name: self.estimate(f"cpus.{name}") for name in ("utilisation", "stolen", "waited")}

    @property
    def ratio(self) -> Estimate:
        """Hypervisor time over the first policy's."""
        first, own = self.baseline["added"], self.times
        if not self.is_random:
            return exact(own[0] / first[0] if first[0] else float("nan"), "1")
        return paired_ratio(first, own)

    @property
    def difference(self) -> Estimate:
        """Hypervisor time less the first policy's."""
        if not self.is_random:
            return exact(self.times[0] - self.baseline["added"][0])
        return self.against_first().difference

    def _latency(self, which: str) -> dict[str, Estimate]:
        return {name: self.estimate(f"{which}.{name}") for name in ("mean", *QUANTILES)}


@dataclass(frozen=True, kw_only=True)
class BlockOutcome:
    """What the policies cost one guest.

    Attributes:
        name: the block's name.
        origin: where its accesses came from.
        accesses: how many there are (of a synthetic guest: one replication's mean).
        policies: in the scenario's order.
        cut: the warm-up that was left out; None: the study is a terminating one.
        reached: whether a precision that was asked for was reached; None: none was.
    """

    name: str
    origin: str
    accesses: float
    policies: list[PolicyOutcome]
    cut: Cut | None = None
    reached: bool | None = None

    @property
    def usable(self) -> list[PolicyOutcome]:
        """The policies that can win: bounds, counterfactuals and `otherwise_waiting` left out."""
        others = self.otherwise_waiting
        return [
            o for o in self.policies
            if not o.policy.is_bound and not o.counterfactual and o not in others
        ]  # fmt: skip

    @property
    def otherwise_waiting(self) -> list[PolicyOutcome]:
        """Those that say how the guest waits where the first does not, or the other way round.

        Where a policy does not say it, waiting is free and ends at once.
        """
        first = self.policies[0]
        return [o for o in self.policies if o.policy.idle.is_free != first.policy.idle.is_free]

    def best(self, metric: str = "added") -> list[PolicyOutcome]:
        """The usable policies of which none is told to be worse than another, the best first.

        The best is among them with the intervals' confidence, whatever the number of policies
        (`statistics.best_set`); where nothing is left to chance, the numbers themselves decide.

        Raises:
            InputError: no such metric.
        """
        usable = self.usable
        if not usable:
            return []
        refuse_unknown(metric, {name for outcome in usable for name in outcome.samples})
        larger = is_better_larger(metric)
        values = [outcome.values(metric) for outcome in usable]
        if usable[0].is_random:
            kept = best_set({str(n): own for n, own in enumerate(values)}, larger_is_better=larger)
            return [usable[int(n)] for n in kept]
        best = (max if larger else min)(own[0] for own in values)
        return [outcome for outcome, own in zip(usable, values, strict=True) if own[0] == best]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The answer to a scenario.

    Attributes:
        opened: what was asked.
        replications: how many were run, of the guest that took most.
        blocks: one outcome a guest.
    """

    opened: Opened
    replications: int
    blocks: list[BlockOutcome] = field(default_factory=list)


Progress = Callable[[str], None]


def compare(
    opened: Opened,
    progress: Progress | None = None,
    *,
    engine: EngineName = "auto",
    jobs: int = 1,
    precision: Precision | None = None,
    budget: int = LARGEST_BUDGET,
) -> Comparison:
    """Run every policy of a scenario on every block.

    Args:
        opened: the scenario.
        progress: told what is being run, before each policy.
        engine: what runs it; the numbers are the same.
        jobs: how many replications run at a time, on threads of this process; the numbers are the
            same. Only the compiled engine lets threads run side by side.
        precision: go on with replications until every policy's time added is known to it, and, if
            it is an absolute one, every difference to the first policy; None: run as many as the
            scenario states.
        budget: most replications that this may take.

    Raises:
        SimulationError: a deadlock.
    """
    with ThreadPoolExecutor(jobs) as pool:
        blocks = [
            _compare_block(_Runner(opened, block, engine, pool, progress), precision, budget)
            for block in opened.blocks
        ]
    most = max(outcome.replications for block in blocks for outcome in block.policies)
    return Comparison(opened=opened, replications=most, blocks=blocks)


def _compare_block(runner: _Runner, precision: Precision | None, budget: int) -> BlockOutcome:
    wanted = runner.opened.replications
    if precision is not None:
        wanted = min(wanted, budget)
    while True:
        runner.run_up_to(wanted)
        outcomes = runner.outcomes()
        if precision is None or not runner.opened.is_random:
            reached = None if precision is None else True
            break
        open_ones = [e for e in _targets(outcomes, precision) if not precision.is_met(e)]
        reached = not open_ones
        if reached or wanted >= budget:
            break
        more = max(precision.more(estimate) for estimate in open_ones)
        wanted = min(
            budget, wanted + max(1, min(more, wanted))
        )  # forecasts are rough: at most double
    return BlockOutcome(
        name=runner.block.name,
        origin=runner.block.table.origin,
        accesses=outcomes[0].accesses,
        policies=outcomes,
        cut=runner.cut,
        reached=reached,
    )


def _targets(outcomes: Sequence[PolicyOutcome], precision: Precision) -> Iterator[Estimate]:
    """The estimates that a precision is asked of; a signed difference has no relative one."""
    for outcome in outcomes:
        yield outcome.hypervisor_time
        if precision.absolute is not None and outcome is not outcomes[0]:
            yield outcome.difference


@dataclass
class _Runs:
    """What the replications of one policy have come to so far."""

    policy: Policy
    lowered: Lowered
    metrics: list[Metrics] = field(default_factory=list)
    stages: dict[str, Stage] = field(default_factory=dict)
    reaches: list[float] = field(default_factory=list)
    single: dict[str, Estimate] = field(default_factory=dict)


class _Runner:
    """Runs one guest's replications under every policy, as many as are asked for."""

    def __init__(
        self,
        opened: Opened,
        block: Loaded,
        engine: EngineName,
        pool: Executor,
        progress: Progress | None,
    ) -> None:
        self.opened, self.block, self.engine, self.pool = opened, block, engine, pool
        self.progress: Progress = progress or (lambda _: None)
        self.cut: Cut | None = None
        self.policies = [
            _Runs(policy, lowered_for(opened, policy, block)) for policy in opened.policies
        ]

    def run_up_to(self, replications: int) -> None:
        """Run what is missing of so many replications of every policy."""
        if self.opened.scenario.study == "steady-state" and self.cut is None:
            self.cut = self._pilot(min(replications, PILOT))
        for runs in self.policies:
            missing = range(len(runs.metrics), replications)
            if missing:
                self.progress(f"{self.block.name}: {runs.policy.name}")
            once = partial(self._once, runs, replications == 1)
            for metrics, stages, reach in self.pool.map(once, missing):
                runs.metrics.append(metrics)
                runs.stages.update(stages)
                runs.reaches.append(reach)

    def outcomes(self) -> list[PolicyOutcome]:
        """What the replications so far come to."""
        samples = [by_name(runs.metrics) for runs in self.policies]
        return [
            PolicyOutcome(
                policy=runs.policy,
                reach=sum(runs.reaches) / len(runs.reaches),
                counterfactual=runs.policy.is_counterfactual(self.block.table),
                samples=own,
                baseline=samples[0],
                stages=tuple(runs.stages.values()),
                scales=tuple(self.block.workloads),
                is_random=self.opened.is_random,
                with_cpus=self.opened.scenario.cpus is not None,
                single=runs.single if len(runs.metrics) == 1 else {},
            )
            for runs, own in zip(self.policies, samples, strict=True)
        ]

    def _once(
        self, runs: _Runs, alone: bool, replication: int
    ) -> tuple[Metrics, dict[str, Stage], float]:
        """One replication, reduced to its metrics."""
        keep_rows = None if self.cut is None else True
        results = {
            scale: run_once(self.opened, runs.lowered, self.block, replication, scale, keep_rows,
                            self.engine)
            for scale in self.block.workloads
        }  # fmt: skip
        main = results[self.block.main_scale]
        stages = {stage.name: stage for stage in main.summary.stages}
        if self.cut is None:
            return measured(results), stages, main.reach
        if alone:
            runs.single.update(_within(main, self.cut))
        kept = {scale: trimmed(result, self.cut) for scale, result in results.items()}
        return measured(kept, whole=main), stages, main.reach

    def _pilot(self, replications: int) -> Cut:
        """The warm-up, from a first look at some replications of every policy."""
        series: list[Latencies] = []
        for runs in self.policies:
            self.progress(f"{self.block.name}: warm-up of {runs.policy.name}")
            once = partial(run_once, self.opened, runs.lowered, self.block, keep_rows=True,
                           engine=self.engine)  # fmt: skip
            series.append(mean_latencies(list(self.pool.map(once, range(replications)))))
        return find_cut(series)


def by_name(replications: Sequence[Metrics]) -> Samples:
    """Metrics of replications side by side; what one of them lacks is 0 there."""
    names = dict.fromkeys(name for metrics in replications for name in metrics)
    return {name: [metrics.get(name, 0.0) for metrics in replications] for name in names}


def _values(samples: Samples, metric: str) -> list[float]:
    absent = 0.0 if metric.startswith(("stage.", "exits.")) else float("nan")
    return samples.get(metric, [absent] * len(samples["added"]))


def _within(result: RunResult, cut: Cut) -> dict[str, Estimate]:
    """Latencies estimated from within one long run, by batch means and batches' quantiles."""
    found: dict[str, Estimate] = {}
    for which in LATENCIES:
        series = latencies_in_order(result, which, cut).astype(np.float64)
        found[f"{which}.mean"] = batch_means(series)
        for name, q in QUANTILES.items():
            found[f"{which}.{name}"] = batch_quantile(series, q)
    return found


def lowered_for(opened: Opened, policy: Policy, block: Loaded) -> Lowered:
    """A policy lowered for a guest: the same at every think scale and in every replication."""
    guest = block.workloads[block.main_scale]
    return lower(policy, opened.platform, opened.catalog, guest, opened.scenario.host_cpus)


def run_once(
    opened: Opened,
    lowered: Lowered,
    block: Loaded,
    replication: int = 0,
    scale: float | None = None,
    keep_rows: bool | None = None,
    engine: EngineName = "auto",
) -> RunResult:
    """One policy on one guest, once.

    Args:
        opened: the scenario, for the seed.
        lowered: how the guest reaches its devices, as `lowered_for` has it.
        block: the guest.
        replication: which repetition.
        scale: the think scale; None: the block's main one.
        keep_rows: keep every access's record; None: if the guest is a recording of modest size.
        engine: what runs it.
    """
    workload = block.workloads[block.main_scale if scale is None else scale]
    if keep_rows is None:
        keep_rows = block.is_recorded and len(block.table) <= EXACT_ROWS
    streams = Streams(opened.scenario.seed, replication)
    return run(lowered, workload, streams, engine=engine, keep_rows=keep_rows)
