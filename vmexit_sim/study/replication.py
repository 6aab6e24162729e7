"""Replications: running a guest under policies, as often as is asked for.

A replication is reduced to its metrics as soon as it is through, so any number of them needs little
memory. All policies meet the same draws in the same replication.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from vmexit_sim.engine import EngineName, run
from vmexit_sim.lowering import Lowered, lower
from vmexit_sim.measure.records import LATENCIES, RunResult
from vmexit_sim.opened import Loaded, Opened
from vmexit_sim.policy import Policy
from vmexit_sim.statistics import (
    Estimate,
    batch_means,
    batch_quantile,
)
from vmexit_sim.steps import Stage
from vmexit_sim.streams import Streams
from vmexit_sim.study.metrics import (
    QUANTILES,
    Metrics,
    measured,
)
from vmexit_sim.study.outcome import PolicyOutcome, by_name
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

Progress = Callable[[str], None]


@dataclass
class _Runs:
    """What the replications of one policy have come to so far."""

    policy: Policy
    lowered: Lowered
    metrics: list[Metrics] = field(default_factory=list)
    stages: dict[str, Stage] = field(default_factory=dict)
    reaches: list[float] = field(default_factory=list)
    single: dict[str, Estimate] = field(default_factory=dict)


class Runner:
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
                single=runs.single if len(runs.metrics) == 1 and self.opened.is_random else {},
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


def _within(result: RunResult, cut: Cut) -> dict[str, Estimate]:
    """Latencies estimated from within one long run, by batch means and batches' quantiles."""
    found: dict[str, Estimate] = {}
    for which in LATENCIES:
        series = latencies_in_order(result, which, cut).astype(np.float64)
        found[f"{which}.mean"] = batch_means(series)
        for name, q in QUANTILES.items():
            found[f"{which}.{name}"] = batch_quantile(series, q)
    return found
