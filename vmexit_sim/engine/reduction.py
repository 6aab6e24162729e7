"""Reducing finished accesses in compiled code: what `Summary.add` does, at the loop's speed.

Adds into the very arrays that a `Summary`'s sketches and totals are made of.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from vmexit_sim.engine.jit import compiled
from vmexit_sim.engine.kernel import DONE_AT, DUE_AT, EXITS, RESUME_AT, STALL
from vmexit_sim.measure.sketch import (
    BITS,
    GREATEST,
    LEAST,
    LOW,
    LOW_BITS,
    TOTAL_HIGH,
    TOTAL_LOW,
    N,
)

# Places in an open operation's state.
OPERATION, O_STALL, O_DUE, O_RESUME, O_DONE, OPEN = range(6)


@njit(inline="always")
def _count(counts: Any, stats: Any, which: int, value: int) -> None:
    """Count a value into a sketch; `stats` as in `Sketch`."""
    exponent = 0
    rest = value >> (BITS + 1)
    while rest >= 16:
        rest >>= 4
        exponent += 4
    while rest > 0:
        rest >>= 1
        exponent += 1
    counts[which, (exponent << BITS) + (value >> exponent)] += 1
    stats[which, N] += 1
    stats[which, TOTAL_LOW] += value & LOW
    stats[which, TOTAL_HIGH] += value >> LOW_BITS
    if value < stats[which, LEAST]:
        stats[which, LEAST] = value
    if value > stats[which, GREATEST]:
        stats[which, GREATEST] = value


@compiled
def reduce_block(
    begin: int, end: int, record: Any, stage_time: Any, width: int, fixed: Any, classes: Any,
    operation: Any, counts: Any, stats: Any, totals: Any, still_open: Any,
) -> int:  # fmt: skip
    """Reduce the accesses in slots begin … end-1, one vCPU's, in program order.

    Args:
        begin, end: slots.
        record, stage_time, width, classes: as for the loop.
        fixed: constant times by class and stage, booked here; shape (classes, width).
        operation: the operation of each slot's access.
        counts, stats: the sketches: stall, response and effect of accesses, then of operations.
        totals: time per stage; the last entry counts exits.
        still_open: the operation that may go on in the vCPU's next block, shape (`OPEN`,).

    Returns:
        The first slot whose access has had no effect, or -1.
    """
    for slot in range(begin, end):
        done = record[DONE_AT, slot]
        if done < 0:
            return slot
        due = record[DUE_AT, slot]
        resume = record[RESUME_AT, slot]
        stall = record[STALL, slot]
        totals[width] += record[EXITS, slot]
        for stage in range(width):
            time = stage_time[slot * width + stage] + fixed[classes[slot], stage]
            stage_time[slot * width + stage] = time
            totals[stage] += time
        _count(counts, stats, 0, stall)
        _count(counts, stats, 1, resume - due)
        _count(counts, stats, 2, done - due)
        if operation[slot] >= 0:
            if still_open[OPERATION] == operation[slot]:
                still_open[O_STALL] += stall
                still_open[O_DUE] = min(still_open[O_DUE], due)
                still_open[O_RESUME] = max(still_open[O_RESUME], resume)
                still_open[O_DONE] = max(still_open[O_DONE], done)
            else:
                if still_open[OPERATION] >= 0:
                    _count(counts, stats, 3, still_open[O_STALL])
                    _count(counts, stats, 4, still_open[O_RESUME] - still_open[O_DUE])
                    _count(counts, stats, 5, still_open[O_DONE] - still_open[O_DUE])
                still_open[OPERATION] = operation[slot]
                still_open[O_STALL] = stall
                still_open[O_DUE] = due
                still_open[O_RESUME] = resume
                still_open[O_DONE] = done
    return -1


def no_operation() -> Any:
    """The state in which no operation is open."""
    return np.array([-1, 0, 0, 0, 0], np.int64)
