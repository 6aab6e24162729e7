"""Comparing policies: all of them on the same guest, draw for draw.

For each block of a scenario, each policy is run on every replication and at every think scale; the
first policy is what the others are compared with, replication by replication. Where a precision is
asked for, replications go on until it is reached, or the budget is not enough.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from vmexit_sim.engine import EngineName
from vmexit_sim.opened import Opened
from vmexit_sim.statistics import (
    Estimate,
    Precision,
)
from vmexit_sim.study.outcome import BlockOutcome, Comparison, PolicyOutcome
from vmexit_sim.study.replication import Progress, Runner
from vmexit_sim.study.threads import threads

LARGEST_BUDGET = 1_000
"""Replications after which sequential stopping gives up, if the user does not say."""


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
    with threads(jobs) as pool:
        blocks = [
            _compare_block(Runner(opened, block, engine, pool, progress), precision, budget)
            for block in opened.blocks
        ]
    most = max(outcome.replications for block in blocks for outcome in block.policies)
    return Comparison(opened=opened, replications=most, blocks=blocks)


def _compare_block(runner: Runner, precision: Precision | None, budget: int) -> BlockOutcome:
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
        left_out=runner.block.left_out,
    )


def _targets(outcomes: Sequence[PolicyOutcome], precision: Precision) -> Iterator[Estimate]:
    """The estimates that a precision is asked of; a signed difference has no relative one."""
    for outcome in outcomes:
        yield outcome.hypervisor_time
        if precision.absolute is not None and outcome is not outcomes[0]:
            yield outcome.difference
