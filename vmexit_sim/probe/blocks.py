"""Timing in short blocks, so that a host that others use, too, can be measured.

A block runs a guest some hundred times, for a millisecond or two, and beside it the same guest
without what is measured::

    control │ body │ control │ body │ …      a sample: (body - control) / iterations

A block in which the kernel took the CPU away from the measuring thread (its involuntary context
switches, getrusage(2)) is set aside and repeated, within bounds. What stays is one number a block,
and the median of these is what is told. Time that a hypervisor below takes cannot be seen so; the
median bears it while it hits less than half of the blocks.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from vmexit_sim.probe.loop import COUNTS
from vmexit_sim.probe.machine import Machine, Ran

BLOCK_PS = 1_500_000_000
"""How long a block should take: shorter than a time slice, long against a look at the clock."""

FEWEST, TRIAL, MOST = 2, 16, 200_000
"""Iterations of a block at least; of the trial that finds out how many; at most."""

TRIALS = 4
"""Trials, of which the fastest tells: the first ones meet a cold machine."""

WARM_UP = 2
"""Blocks before the first that counts."""

ATTEMPTS = 4
"""Attempts for each block that is asked for, those set aside included."""

FEW = 9
"""So few blocks that disturbed ones are better than none: their median has an interval."""

PAUSE_S = 0.002
"""A pause after a disturbed block: who has slept is let run for a while."""

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Blocks:
    """What blocks gave, in the order of time.

    Attributes:
        whole: time of an iteration with what is measured, in ps, float64 [block].
        control: time of one without it, in ps, float64 [block].
        iterations: iterations of a block.
        counts: exits by reason, then items, of all blocks (`loop.COUNTS`).
        set_aside: blocks that were repeated, since the CPU was taken away in them.
        disturbed: blocks that stay although it was.
    """

    whole: npt.NDArray[np.float64]
    control: npt.NDArray[np.float64]
    iterations: int
    counts: npt.NDArray[np.int64]
    set_aside: int = 0
    disturbed: int = 0


def undisturbed(measure: Callable[[], tuple[T, int]], wanted: int) -> tuple[list[T], int, int]:
    """What `measure` gave in calls in which the CPU was not taken away.

    Args:
        measure: one block: its result, and how often the CPU was taken away.
        wanted: how many results.

    Returns:
        The results: `wanted`, or as many as `ATTEMPTS` for each gave, but if these are fewer than
        `FEW`, the least disturbed ones fill up to that; how many were set aside; and how many
        disturbed ones are among the results.
    """
    kept: list[T] = []
    aside: list[tuple[int, T]] = []
    for _ in range(ATTEMPTS * wanted):
        if len(kept) == wanted:
            break
        result, taken = measure()
        if taken:
            aside.append((taken, result))
            time.sleep(PAUSE_S)
        else:
            kept.append(result)
    short = min(max(min(FEW, wanted) - len(kept), 0), len(aside))
    aside.sort(key=lambda each: each[0])
    kept += [result for _, result in aside[:short]]
    return kept, len(aside) - short, short


def iterations_for(machine: Machine, block_ps: int = BLOCK_PS) -> int:
    """How many iterations make a block, from a short trial.

    Raises:
        ProbeFailed: the guest does not come to its end.
    """
    took = min(machine.run(TRIAL).took for _ in range(TRIALS))
    return int(min(max(block_ps * TRIAL / max(took, 1), FEWEST), MOST))


def measure(
    body: Machine,
    control: Machine | None,
    blocks: int,
    iterations: int | None = None,
    block_ps: int = BLOCK_PS,
) -> Blocks:
    """Time a guest, and one without what is measured, block by block.

    Args:
        body: what is measured.
        control: the same without it; None: nothing to compare with.
        blocks: how many.
        iterations: of a block; None: as fit `block_ps`.
        block_ps: how long a block should take, in ps.

    Raises:
        ProbeFailed: a guest does not come to its end.
    """
    n = iterations_for(body, block_ps) if iterations is None else iterations
    counts = np.zeros(COUNTS, np.int64)

    def one() -> tuple[tuple[float, float, Any], int]:
        without = Ran(0, counts, 0) if control is None else control.run(n)
        ran = body.run(n)
        return (ran.took / n, without.took / n, ran.counts), ran.preempted + without.preempted

    for _ in range(WARM_UP):
        one()
    rows, set_aside, disturbed = undisturbed(one, blocks)
    for row in rows:
        counts += row[2]
    return Blocks(
        whole=np.array([row[0] for row in rows]),
        control=np.array([row[1] for row in rows]),
        iterations=n,
        counts=counts,
        set_aside=set_aside,
        disturbed=disturbed,
    )
