"""Each run of a scenario: one guest, every policy, every replication, reduced as it comes.

What a figure needs of a run (a distribution, sums over its slowest accesses) is taken from it at
once, so that memory does not grow with the replications.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypeVar

from vmexit_sim.engine import EngineName
from vmexit_sim.lowering import Lowered
from vmexit_sim.measure.records import RunResult
from vmexit_sim.opened import Loaded, Opened
from vmexit_sim.study.replication import Progress, lowered_for, run_once
from vmexit_sim.study.steady_state import PILOT, Cut, find_cut, mean_latencies, trimmed
from vmexit_sim.study.threads import threads

Reduced = TypeVar("Reduced")


def each_run(
    opened: Opened,
    block: Loaded,
    reduce: Callable[[RunResult], Reduced],
    *,
    keep_rows: bool | None = None,
    engine: EngineName = "auto",
    jobs: int = 1,
    progress: Progress | None = None,
) -> list[tuple[str, list[Reduced]]]:
    """What every policy's replications come to, all on the same draws.

    Of a steady-state study the warm-up is left out, as `compare` leaves it out.

    Args:
        opened: the scenario.
        block: one of its guests.
        reduce: takes from a run what is wanted of it.
        keep_rows: whether `reduce` needs rows; None: if the guest is a recording of modest size.
        engine: what runs it; the numbers are the same.
        jobs: replications that run at a time, on threads.
        progress: told what is being run.

    Returns:
        Each policy's name, and one for each replication.

    Raises:
        SimulationError: a deadlock.
    """
    tell: Progress = progress or (lambda _: None)
    lowered = [(each.name, lowered_for(opened, each, block)) for each in opened.policies]
    numbers = range(opened.replications)
    with threads(jobs) as pool:
        cut: Cut | None = None
        if opened.scenario.study == "steady-state":
            series = []
            for name, own in lowered:
                tell(f"{block.name}: warm-up of {name}")
                once = partial(run_once, opened, own, block, keep_rows=True, engine=engine)
                series.append(mean_latencies(list(pool.map(once, numbers[:PILOT]))))
            cut = find_cut(series)

        def one(own: Lowered, number: int) -> Reduced:
            rows = keep_rows if cut is None else True
            result = run_once(opened, own, block, number, keep_rows=rows, engine=engine)
            if cut is not None:
                result = trimmed(result, cut, keep_rows=keep_rows is not False)
            return reduce(result)

        found = []
        for name, own in lowered:
            tell(f"{block.name}: {name}")
            found.append((name, list(pool.map(partial(one, own), numbers))))
    return found
