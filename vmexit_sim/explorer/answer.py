"""Answers: what the page says of a state, from the first replications on.

::

    Exploration ──► advance ──► outcome (n of N replications) ──► tables, bars, dots
                      ▲   │
                      └───┘  until all are run, or nobody waits any more

A guest left to chance is answered after a few replications, with the intervals that these give, and
then more exactly. When all are run, the outcome is that of `compare` on the exported scenario.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import cached_property

from vmexit_sim.engine import EngineName
from vmexit_sim.explorer.charts import Bars, Dots, dots, stacked
from vmexit_sim.explorer.guests import offer
from vmexit_sim.explorer.scenario import scenario_of
from vmexit_sim.explorer.state import State
from vmexit_sim.opened import open_scenario
from vmexit_sim.present.colours import PARTS, part_colour, part_of
from vmexit_sim.present.report_tables import ReportTable, costs_table, latency_tables, stage_table
from vmexit_sim.present.text import count_text
from vmexit_sim.present.verdicts import how_it_was_run, verdict
from vmexit_sim.scenario import checked_scenario
from vmexit_sim.steps import Role
from vmexit_sim.study.outcome import BlockOutcome
from vmexit_sim.study.replication import Runner

FEWEST = 2
"""Replications of a first answer, at least: one alone says nothing of chance."""

LATENCIES = {
    "stall": "How long one access stalls its vCPU",
    "effect": "When an access takes effect in the device",
}
"""The latencies that are drawn."""


class Exploration:
    """A state's scenario, opened, and the replications of it that were run so far.

    Args:
        state: what was chosen.
        pool: threads to run on.
        engine: what runs it.

    Raises:
        InputError: the scenario does not fit.
    """

    def __init__(self, state: State, pool: Executor, engine: EngineName = "auto") -> None:
        self.state = state
        self.opened = open_scenario(checked_scenario(scenario_of(state)))
        self.wanted = self.opened.replications
        self.done = 0
        self._runner = Runner(self.opened, self.opened.blocks[0], engine, pool, None)

    @property
    def is_whole(self) -> bool:
        """Whether all replications were run."""
        return self.done == self.wanted

    def advance(self, seconds: float) -> None:
        """Run more replications, until all are run or the time is over; `FEWEST` in any case.

        Raises:
            SimulationError: a deadlock.
        """
        end = time.monotonic() + seconds
        step = os.cpu_count() or 1
        while not self.is_whole and (self.done < FEWEST or time.monotonic() < end):
            self.done = min(self.wanted, max(FEWEST, self.done + step))
            self._runner.run_up_to(self.done)

    @property
    def outcome(self) -> BlockOutcome:
        """What the replications so far come to."""
        outcomes = self._runner.outcomes()
        block = self._runner.block
        return BlockOutcome(name=block.name, origin=block.table.origin, policies=outcomes,
                            accesses=outcomes[0].accesses, left_out=block.left_out)  # fmt: skip

    @property
    def answer(self) -> Answer:
        """What the page says of them."""
        return Answer(exploration=self, block=self.outcome)


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What the page says.

    Attributes:
        exploration: what was run.
        block: what it came to.
    """

    exploration: Exploration
    block: BlockOutcome

    @cached_property
    def verdict(self) -> str:
        """The comparison in a sentence or two."""
        return verdict(self.block)

    @property
    def caution(self) -> str:
        """What the platform says of its own worth."""
        return self.exploration.opened.platform.caution

    @property
    def run(self) -> str:
        """How much was simulated, and what the numbers rest on."""
        done, wanted = self.exploration.done, self.exploration.wanted
        accesses = f"{count_text(self.block.accesses)} accesses"
        if not self.exploration.opened.is_random:
            return f"exact: nothing is left to chance; {accesses}"
        if self.exploration.is_whole:
            return f"{wanted} replications of {accesses}, intervals at 95 %"
        return f"first answer: {done} of {wanted} replications of {accesses}, intervals at 95 %"

    @property
    def notes(self) -> list[str]:
        """What was left out."""
        return [f"{note[0].upper()}{note[1:]}." for note in how_it_was_run(self.block)]

    @cached_property
    def costs(self) -> ReportTable:
        """Reach, exits, time added, ratio and completion of each policy."""
        return costs_table(self.block)

    @cached_property
    def details(self) -> list[ReportTable]:
        """Latencies, and the numbers behind the bars."""
        return [*latency_tables(self.block), stage_table(self.block)]

    @cached_property
    def bars(self) -> Bars:
        """Where the vCPUs' time goes."""
        sums: list[dict[str, float]] = []
        for outcome in self.block.policies:
            own: dict[str, float] = {}
            for stage, estimate in outcome.stage_times.items():
                if stage.is_front and estimate.value:
                    part = part_of(stage.name)
                    own[part] = own.get(part, 0.0) + estimate.value
            sums.append(own)
        parts = list(dict.fromkeys((*PARTS, *(part for own in sums for part in own))))
        names = [outcome.policy.name for outcome in self.block.policies]
        return stacked(names, sums, parts, part_colour)

    @cached_property
    def dots(self) -> list[Dots]:
        """Latencies with their intervals; effect only where something is posted."""
        posted = any(stage.role is Role.BACK for outcome in self.block.policies
                     for stage in outcome.stage_times)  # fmt: skip
        wanted = [which for which in LATENCIES if which != "effect" or posted]
        return [
            dots(LATENCIES[which], which,
                 [(o.policy.name, o.latency[which]) for o in self.block.policies])
            for which in wanted
        ]  # fmt: skip

    @cached_property
    def idle_sliders(self) -> list[str]:
        """Sliders that move nothing here, since no policy's accesses pass their stages."""
        passed = {stage.name for outcome in self.block.policies for stage in outcome.stage_times}
        return list(_without_stages(self.exploration.state, passed))


def _without_stages(state: State, passed: set[str]) -> Iterator[str]:
    for key, slider in offer().sliders_of(state.guest).items():
        if slider.stages and passed.isdisjoint(slider.stages):
            yield key
