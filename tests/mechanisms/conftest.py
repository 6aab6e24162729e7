"""What the tests of mechanisms share: one guest, one mechanism, one platform."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from vmexit_sim.guest.table import Space, make_table
from vmexit_sim.guest.workload import Recorded, Workload
from vmexit_sim.hypervisor.platform import Platform, load_platform
from vmexit_sim.measure.records import RunResult
from vmexit_sim.policy import Match, Policy, Rule
from vmexit_sim.study.simulate import simulate

DEVICE = {"user": "nvme", "kernel": "pit"}


@dataclass(frozen=True)
class Outcome:
    """A run, in the words of a test."""

    result: RunResult
    platform: Platform

    @property
    def cost(self) -> dict[str, int]:
        """The platform's costs by name, in ps."""
        return {name: round(c.value.mean_ps) for name, c in self.platform.costs.items()}

    @property
    def exits(self) -> dict[str, int]:
        """Exits by reason."""
        return {tally.reason: tally.samples for tally in self.result.exits}

    def column(self, name: str) -> list[int]:
        """A recorded column, row by row."""
        return self.result.to_columns()[name].tolist()

    def stages(self, row: int = 0, *, guest: bool = False) -> dict[str, int]:
        """The stages of one access that took time, guest compute left out."""
        return {
            stage.name: int(time)
            for stage in self.result.summary.stages
            if (time := self.result.to_columns()[f"stage: {stage.name}"][row])
            and (guest or stage.role.name != "GUEST")
        }


Run = Callable[..., Outcome]


@pytest.fixture
def run_by() -> Run:
    """Run rows by a mechanism, on a platform."""

    def run(
        mechanism: Any,
        n: int = 1,
        *,
        location: str = "user",
        platform: str = "kvm-2013",
        costs: dict[str, Any] | None = None,
        workload: Workload | None = None,
        match: Match | None = None,
        **columns: Any,
    ) -> Outcome:
        if workload is None:
            columns = {"space": Space.PCI_CONFIG, "devices": (DEVICE[location],), **columns}
            workload = Recorded(make_table(n, **columns))
        host = load_platform(platform, changes=costs)
        rule = Rule(side="host", match=match or Match(), mechanism=mechanism)
        policy = Policy(title="the mechanism alone", rules=[rule])
        return Outcome(simulate(policy, host, workload, keep_rows=True, engine="simpy"), host)

    return run
