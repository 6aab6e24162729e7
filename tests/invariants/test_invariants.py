"""Whatever the scenario: time, accesses, exits, queues and dependences are as they must be."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import ModuleType

import pytest
from hypothesis import Phase, given, seed, settings
from invariants.checks import Rows, equal, holds
from invariants.drawn import Drawn, share
from invariants.scenarios import scenarios
from invariants.watching import watched

from vmexit_sim.hypervisor import stages as reasons
from vmexit_sim.hypervisor.idle import HALT_EXIT
from vmexit_sim.mechanisms import MECHANISMS, name_of
from vmexit_sim.steps import Stage


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_invariants_hold_and_engines_agree(mechanism: str) -> None:
    """All in one, for the run is what takes the time; `checks` names each of them."""

    @settings(max_examples=share(6))
    @given(drawn=scenarios(mechanism))
    def hold(drawn: Drawn) -> None:
        run = watched(drawn)
        holds(run)
        equal(run.result, drawn.run("compiled"))

    hold()


# ---- Do the scenarios get everywhere?


def defined(what: type) -> Iterator[tuple[str, object]]:
    """What the modules of mechanisms and of the hypervisor define."""
    for name, module in list(sys.modules.items()):
        if name.startswith(("vmexit_sim.mechanisms", "vmexit_sim.hypervisor")):
            assert isinstance(module, ModuleType)
            for key, value in vars(module).items():
                if isinstance(value, what):
                    yield key, value


STAGES = {value.name for _, value in defined(Stage) if isinstance(value, Stage)}
OF_NO_ACCESS = {
    "thread asleep", "thread wake-up", "thread waits: VMM lock", "thread waits: CPU",
    "thread runs handler", "thread start", "back end idle", "side core off", "polling",
    "timer idle", "coalescing timer idle",
}  # fmt: skip
"""Stages of threads and timers that are booked on no access."""

REASONS = {v for k, v in vars(reasons).items() if k.endswith("_EXIT")} | {HALT_EXIT}
QUEUES = (
    "config lock", "VMM lock", "front-end lock", "requests to the back end", "answers of",
    "interrupts", "CPUs", "signals of", "signals found", "room for signals", "coalescing ring",
    "batch timer", "virtqueue", "side core", "available ring", "used ring", "kicks",
    "results needed", "descriptors returned", "coalescing timer", "guest waiting",
    "vCPU lent to its interrupt context", "vCPU given back by its interrupt context",
)  # fmt: skip


ROUNDS = 12
"""In so many rounds of five scenarios for each mechanism everything is reached; mostly in three."""


def test_scenarios_reach_every_mechanism_stage_reason_and_queue() -> None:
    stages: set[str] = set()
    exits: set[str] = set()
    mechanisms: set[str] = set()
    taken: set[str] = set()

    def run_some(mechanism: str, number: int) -> None:
        @seed(number)
        @settings(max_examples=5, database=None, phases=[Phase.generate])
        @given(drawn=scenarios(mechanism))
        def reach(drawn: Drawn) -> None:
            result = drawn.run()
            mechanisms.update(name_of(each) for each in Rows(drawn, result).mechanisms)
            stages.update(result.stage_times())
            exits.update(tally.reason for tally in result.exits)
            taken.update(use.name for use in result.resources if use.takes)

        reach()

    for number in range(ROUNDS):
        for mechanism in MECHANISMS:
            run_some(mechanism, number)
        queues = {part for part in QUEUES if any(part in name for name in taken)}
        if stages >= STAGES - OF_NO_ACCESS and exits >= REASONS and queues == set(QUEUES):
            break
    assert mechanisms == set(MECHANISMS)
    assert STAGES - stages == OF_NO_ACCESS
    assert exits == REASONS
    assert queues == set(QUEUES)
