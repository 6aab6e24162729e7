"""Comparing policies: all of them on the same guest, draw for draw.

For each block of a scenario, each policy is lowered, run on every replication and at every think
scale, and reduced to estimates; the first policy is what the others are compared with.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial

from vmexit_sim.engine import EngineName, run
from vmexit_sim.hypervisor.stages import STEAL, WAIT_CPU
from vmexit_sim.lowering import Lowered, lower
from vmexit_sim.measure.records import LATENCIES, RunResult
from vmexit_sim.policy import Policy
from vmexit_sim.scenario import Loaded, Opened
from vmexit_sim.statistics import Estimate, exact, mean, median, paired_difference, paired_ratio
from vmexit_sim.steps import Stage
from vmexit_sim.streams import Streams

QUANTILES = {"p50": 0.5, "p99": 0.99}

EXACT_ROWS = 2_000_000
"""Up to so many accesses the rows of a recorded guest are kept, and its quantiles are exact."""


@dataclass(frozen=True, kw_only=True)
class PolicyOutcome:
    """What one policy costs one guest.

    Attributes:
        policy: the policy.
        reach: share of the accesses that its rules decide (0 … 1).
        counterfactual: it needs ECAM, which this guest does not have.
        accesses: accesses of one replication (mean).
        exits: VM exits of one replication.
        exits_by_reason: the same by reason.
        hypervisor_time: what virtualisation added to the vCPUs' time.
        completion: by think scale, when the last vCPU was through.
        latency: stall, response and effect latency of accesses: mean, p50, p99 of each.
        operation_latency: the same of whole operations; empty if there are none.
        stage_times: time per stage over all accesses, guest compute included.
        idle: if the policy says how the guest waits: time `asleep`; the share of idle time `burnt`
            by polling and by exits to halt; and the share of the vCPUs' time that they did not
            sleep, `cpu_share`.
        host_cpus: if the scenario limits them: their `utilisation`; time `stolen`, between
            accesses; and time waited for one inside stalls, `waited`.
        times: hypervisor time of each replication, in ps.
        ratio: hypervisor time over the first policy's.
        difference: hypervisor time less the first policy's.
    """

    policy: Policy
    reach: float
    counterfactual: bool
    accesses: float
    exits: Estimate
    exits_by_reason: dict[str, Estimate]
    hypervisor_time: Estimate
    completion: dict[float, Estimate]
    latency: dict[str, dict[str, Estimate]]
    operation_latency: dict[str, dict[str, Estimate]]
    stage_times: dict[Stage, Estimate]
    idle: dict[str, Estimate]
    host_cpus: dict[str, Estimate]
    times: list[float]
    ratio: Estimate
    difference: Estimate


@dataclass(frozen=True, kw_only=True)
class BlockOutcome:
    """What the policies cost one guest.

    Attributes:
        name: the block's name.
        origin: where its accesses came from.
        accesses: how many there are (of a synthetic guest: one replication's mean).
        policies: in the scenario's order.
    """

    name: str
    origin: str
    accesses: float
    policies: list[PolicyOutcome]

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
        return [o for o in self.policies if bool(o.idle) != bool(first.idle)]

    def best(self) -> list[PolicyOutcome]:
        """The usable policies that add least: those that nothing tells from the least mean.

        Two policies are told apart by the paired interval of their difference; where nothing is
        left to chance, by the numbers themselves.
        """
        if not self.usable:
            return []
        least = min(self.usable, key=lambda outcome: outcome.hypervisor_time.value)
        return [least, *(o for o in self.usable if o is not least and _is_tied(least, o))]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The answer to a scenario.

    Attributes:
        opened: what was asked.
        replications: how many were run.
        blocks: one outcome a guest.
    """

    opened: Opened
    replications: int
    blocks: list[BlockOutcome] = field(default_factory=list)


def _is_tied(least: PolicyOutcome, other: PolicyOutcome) -> bool:
    if least.hypervisor_time.is_exact:
        return least.times == other.times
    return paired_difference(least.times, other.times).low <= 0


Progress = Callable[[str], None]


def compare(
    opened: Opened,
    progress: Progress | None = None,
    *,
    engine: EngineName = "auto",
    jobs: int = 1,
) -> Comparison:
    """Run every policy of a scenario on every block.

    Args:
        opened: the scenario.
        progress: told what is being run, before each policy.
        engine: what runs it; the numbers are the same.
        jobs: how many replications run at a time, on threads of this process; the numbers are the
            same. Only the compiled engine lets threads run side by side.

    Raises:
        SimulationError: a deadlock.
    """
    with ThreadPoolExecutor(jobs) as pool:
        blocks = [_compare_block(opened, block, progress, engine, pool) for block in opened.blocks]
    return Comparison(opened=opened, replications=opened.replications, blocks=blocks)


def _compare_block(
    opened: Opened, block: Loaded, progress: Progress | None, engine: EngineName, pool: Executor
) -> BlockOutcome:
    baseline: list[float] | None = None
    outcomes = []
    for policy in opened.policies:
        if progress is not None:
            progress(f"{block.name}: {policy.name}")
        tasks = [
            (replication, scale)
            for scale in block.workloads
            for replication in range(opened.replications)
        ]
        lowered = lowered_for(opened, policy, block)
        once = partial(run_once, opened, lowered, block, engine=engine)
        results = pool.map(once, *zip(*tasks, strict=True))
        runs: dict[float, list[RunResult]] = {scale: [] for scale in block.workloads}
        for (_, scale), result in zip(tasks, results, strict=True):
            runs[scale].append(result)
        times = [float(result.hypervisor_time) for result in runs[block.main_scale]]
        baseline = times if baseline is None else baseline
        outcomes.append(_outcome(opened, policy, block, runs, baseline))
    return BlockOutcome(
        name=block.name,
        origin=block.table.origin,
        accesses=outcomes[0].accesses,
        policies=outcomes,
    )


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


def _outcome(
    opened: Opened,
    policy: Policy,
    block: Loaded,
    runs: dict[float, list[RunResult]],
    baseline: list[float],
) -> PolicyOutcome:
    main = runs[block.main_scale]
    is_exact = not opened.is_random

    def of(values: Sequence[float], unit: str = "ps") -> Estimate:
        return exact(values[0], unit) if is_exact else mean(values, unit=unit)

    def quantile(values: Sequence[float]) -> Estimate:
        return exact(values[0]) if is_exact else median(values)

    times = [float(result.hypervisor_time) for result in main]
    reasons = sorted({tally.reason for result in main for tally in result.exits})
    stages = dict.fromkeys(stage for result in main for stage in result.summary.stages)
    with_operations = main[0].summary.operations["stall"].n > 0
    return PolicyOutcome(
        policy=policy,
        reach=sum(result.reach for result in main) / len(main),
        counterfactual=policy.is_counterfactual(block.table),
        accesses=sum(result.summary.accesses for result in main) / len(main),
        exits=of([result.summary.exits for result in main], "1"),
        exits_by_reason={
            reason: of([result.exits_of(reason) for result in main], "1") for reason in reasons
        },
        hypervisor_time=of(times),
        completion={
            scale: of([result.completion for result in results]) for scale, results in runs.items()
        },
        latency={
            which: {
                "mean": of([result.summary.latencies[which].mean for result in main]),
                **{
                    name: quantile([result.summary.quantile(which, q) for result in main])
                    for name, q in QUANTILES.items()
                },
            }
            for which in LATENCIES
        },
        operation_latency={
            which: {
                "mean": of([result.summary.operations[which].mean for result in main]),
                **{
                    name: quantile([r.summary.operations[which].quantile(q) for r in main])
                    for name, q in QUANTILES.items()
                },
            }
            for which in LATENCIES
        }
        if with_operations
        else {},
        stage_times={
            stage: of([result.stage_times().get(stage.name, 0) for result in main])
            for stage in stages
        },
        idle={}
        if policy.idle.is_free
        else {
            "asleep": of([result.asleep for result in main]),
            "burnt": of([result.idle_burnt for result in main], "1"),
            "cpu_share": of([result.cpu_share for result in main], "1"),
        },
        host_cpus={}
        if opened.scenario.cpus is None
        else {
            "utilisation": of([_cpu_utilisation(result) for result in main], "1"),
            "stolen": of([result.stage_times().get(STEAL.name, 0) for result in main]),
            "waited": of([result.stage_times().get(WAIT_CPU.name, 0) for result in main]),
        },
        times=times,
        ratio=exact(times[0] / baseline[0] if baseline[0] else float("nan"), "1")
        if is_exact
        else paired_ratio(baseline, times),
        difference=exact(times[0] - baseline[0])
        if is_exact
        else paired_difference(baseline, times),
    )


def _cpu_utilisation(result: RunResult) -> float:
    """Share of the host's CPUs in use; not a number if there were enough for every thread."""
    use = result.resource("CPUs")
    return float("nan") if use is None else use.utilisation
