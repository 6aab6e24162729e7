"""A case: one policy on one guest, both simulated and added up."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from vmexit_sim.guest.workload import Workload
from vmexit_sim.lowering import Lowered
from vmexit_sim.measure.records import RunResult
from vmexit_sim.opened import Loaded, Opened
from vmexit_sim.program import Op, Program
from vmexit_sim.statistics import Estimate, exact, mean
from vmexit_sim.study.metrics import estimated
from vmexit_sim.study.outcome import PolicyOutcome
from vmexit_sim.study.twin.own_draws import Demands, OwnDraws

Said = dict[str, Any]
"""A twin's fields but for its block and policy."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """One policy on one guest, simulated and added up.

    Attributes:
        opened: the scenario.
        block: the guest.
        outcome: what the comparison says.
        lowered: the program.
        demands: of the classes that occur.
        own: each replication's accesses, nobody waiting.
        kept: of these, the ones that the comparison tells of: all, but for a warm-up.
        runs: each replication's run.
    """

    opened: Opened
    block: Loaded
    outcome: PolicyOutcome
    lowered: Lowered
    demands: Demands
    own: list[OwnDraws]
    kept: list[OwnDraws]
    runs: list[RunResult]

    @property
    def workload(self) -> Workload:
        """The guest at the think scale that all is told for."""
        return self.block.workloads[self.block.main_scale]

    @property
    def vcpus(self) -> int:
        """How many."""
        return self.workload.vcpus

    @property
    def surely_free(self) -> bool:
        """Whether nobody can be in an access's way."""
        return not (self.contended or self.posts)

    @cached_property
    def by_others(self) -> frozenset[str]:
        """Locks that actors beside the vCPUs take."""
        return taken_beside(self.lowered.program)

    @cached_property
    def locks(self) -> list[str]:
        """Locks that accesses take and give back, one for all vCPUs."""
        holds = [hold for demand in self.demands.values() for hold in demand.holds]
        return list(dict.fromkeys(h.queue.name for h in holds if not h.queue.per_vcpu))

    @cached_property
    def servers(self) -> dict[str, int]:
        """By lock, how many can hold it at a time."""
        holds = [hold for demand in self.demands.values() for hold in demand.holds]
        return {hold.queue.name: hold.queue.tokens for hold in holds}

    @property
    def posts(self) -> bool:
        """Whether any access leaves work to others."""
        return any(demand.posted for demand in self.demands.values())

    @cached_property
    def contended(self) -> frozenset[str]:
        """Locks that somebody may have to wait for."""
        names = set(self.locks) & self.by_others
        if self.vcpus > 1:
            names |= {name for name in self.locks if not self._is_guarded(name)}
        return frozenset(names)

    def _is_guarded(self, name: str) -> bool:
        """Whether all who take a lock hold another one, always the same, already."""
        guards = [
            set(hold.within)
            for demand in self.demands.values()
            for hold in demand.holds
            if hold.queue.name == name
        ]
        return bool(set.intersection(*guards))

    @property
    def refills(self) -> bool:
        """Whether exits make later compute longer."""
        return self.opened.platform.costs.duration("refill").mean_ps > 0

    @property
    def is_open(self) -> bool:
        """Whether accesses wait for arrivals."""
        return any(draws.is_open for draws in self.own)

    def estimate(self, values: Sequence[float], unit: str) -> Estimate:
        """Of one number a replication."""
        return mean(values, unit=unit) if self.outcome.is_random else exact(values[0], unit)

    def sampled(self, metric: str) -> Estimate:
        """A metric of the comparison over whole replications, each told in full."""
        absent = [0.0] * self.outcome.replications
        values = self.outcome.samples.get(metric, absent)
        return estimated(metric, values, is_random=self.outcome.is_random)


def taken_beside(program: Program) -> frozenset[str]:
    """The queues that actors other than vCPUs may take from."""
    names = set()
    ahead = [actor.entry for actor in program.actors if not actor.is_vcpu]
    seen = set(ahead)
    while ahead:
        place = ahead.pop()
        op, *_, a, _, _, d = program.rows[place]
        if op in (Op.TAKE, Op.TIMED_TAKE):
            names.add(program.queues[a].name)
        following = [] if op == Op.HALT else [d] if op == Op.JUMP else [place + 1]
        following += [d] if op == Op.BRANCH else []
        ahead += [each for each in following if each not in seen]
        seen.update(following)
    return frozenset(names)


def equal(value: float, **fields: Any) -> Said:
    """What a law says that states a value."""
    return {"low": value, "high": value, **fields}


def average(values: Sequence[float]) -> float:
    """Over replications."""
    return math.fsum(values) / len(values)


def none(quantity: str, why: str) -> Said:
    """That there is no theory of a quantity, and why."""
    return {"quantity": quantity, "simulated": None, "standing": "none", "assumes": why}
