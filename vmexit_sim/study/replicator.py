"""One replication at a time, of whichever policies are still wanted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field

from vmexit_sim.engine import EngineName
from vmexit_sim.lowering import Lowered
from vmexit_sim.opened import Loaded, Opened
from vmexit_sim.policy import Policy
from vmexit_sim.study.metrics import measured, refuse_unknown
from vmexit_sim.study.replication import lowered_for, run_once
from vmexit_sim.study.steady_state import PILOT, Cut, find_cut, mean_latencies, trimmed


@dataclass
class Replicator:
    """Runs one replication of some policies of a scenario of one guest, and then another.

    Attributes:
        opened: the scenario; only its first guest is run.
        usable: the policies, by the names they are asked for by.
        metric: what a replication comes to.
        engine: what runs it.
        pool: threads to run on.
        results: what each policy's replications came to so far.
    """

    opened: Opened
    usable: Mapping[str, Policy]
    metric: str
    engine: EngineName
    pool: Executor
    results: dict[str, list[float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.block: Loaded = self.opened.blocks[0]
        self.policies: dict[str, Lowered] = {
            name: lowered_for(self.opened, policy, self.block)
            for name, policy in self.usable.items()
        }
        self.results = {name: [] for name in self.policies}
        self.cut = self._pilot() if self.opened.scenario.study == "steady-state" else None

    def once(self, replication: int, names: Sequence[str]) -> dict[str, float]:
        """One replication of each of these policies, added to the results.

        Raises:
            InputError: there is no such metric.
            SimulationError: a deadlock.
        """
        values = self.pool.map(lambda name: self._value(name, replication), names)
        found = dict(zip(names, values, strict=True))
        for name, value in found.items():
            self.results[name].append(value)
        return found

    def _value(self, name: str, replication: int) -> float:
        results = {
            scale: run_once(self.opened, self.policies[name], self.block, replication, scale,
                            None if self.cut is None else True, self.engine)
            for scale in self.block.workloads
        }  # fmt: skip
        main = results[self.block.main_scale]
        if self.cut is not None:
            cut: Cut = self.cut
            results = {scale: trimmed(result, cut) for scale, result in results.items()}
        metrics = measured(results, whole=main)
        if self.metric not in metrics:
            refuse_unknown(self.metric, metrics)
        return metrics[self.metric]

    def _pilot(self) -> Cut:
        """The warm-up, one for all policies."""
        series = []
        for lowered in self.policies.values():
            runs = [run_once(self.opened, lowered, self.block, replication, keep_rows=True,
                             engine=self.engine) for replication in range(PILOT)]  # fmt: skip
            series.append(mean_latencies(runs))
        return find_cut(series)
