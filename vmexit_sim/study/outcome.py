"""Outcomes: what policies cost a guest, over replications."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from vmexit_sim.measure.records import LATENCIES
from vmexit_sim.opened import Asked
from vmexit_sim.policy import Policy
from vmexit_sim.statistics import (
    Estimate,
    Paired,
    against,
    best_set,
    compare_pair,
    exact,
    paired_ratio,
)
from vmexit_sim.steps import Stage
from vmexit_sim.study.metrics import (
    QUANTILES,
    Metrics,
    estimated,
    is_better_larger,
    refuse_unknown,
    unit_of,
)
from vmexit_sim.study.steady_state import (
    Cut,
)
from vmexit_sim.study.versions import versions

Samples = dict[str, list[float]]
"""Metrics by name, one value for each replication."""


def by_name(replications: Sequence[Metrics]) -> Samples:
    """Metrics of replications side by side; what one of them lacks is 0 there."""
    names = dict.fromkeys(name for metrics in replications for name in metrics)
    return {name: [metrics.get(name, 0.0) for metrics in replications] for name in names}


def _values(samples: Samples, metric: str) -> list[float]:
    absent = 0.0 if metric.startswith(("stage.", "exits.")) else float("nan")
    return samples.get(metric, [absent] * len(samples["added"]))


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
        left_out: accesses to timers and interrupt controllers that were not asked for.
    """

    name: str
    origin: str
    accesses: float
    policies: list[PolicyOutcome]
    cut: Cut | None = None
    reached: bool | None = None
    left_out: int = 0

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

    def pairs(self, metric: str = "added") -> list[Paired]:
        """Each policy's metric less the first's, with intervals that hold together.

        In the policies' order, the first with itself included; a difference without variance is
        exact.
        """
        first, *others = self.policies
        samples = {str(n): outcome.values(metric) for n, outcome in enumerate(others)}
        together = against(first.values(metric), samples, unit=unit_of(metric))
        found = [first.against_first(metric)]
        for outcome, difference in zip(others, together.values(), strict=True):
            pair = outcome.against_first(metric)
            is_open = not pair.difference.is_exact
            found.append(replace(pair, difference=difference) if is_open else pair)
        return [
            replace(pair, first=first.policy.name, second=outcome.policy.name)
            for pair, outcome in zip(found, self.policies, strict=True)
        ]

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
        opened: what was asked; `Opened` where it was run in this process.
        replications: how many were run, of the guest that took most.
        blocks: one outcome a guest.
        made_with: versions of this package, of Python and of what else numbers come from, by name.
    """

    opened: Asked
    replications: int
    blocks: list[BlockOutcome] = field(default_factory=list)
    made_with: Mapping[str, str] = field(default_factory=versions)
