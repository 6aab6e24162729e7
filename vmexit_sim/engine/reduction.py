"""Reducing finished accesses in compiled code: what `Summary.add` does, at the loop's speed.

Adds into the very arrays that a `Summary`'s sketches and totals are made of.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from vmexit_sim.engine.jit import compiled
from vmexit_sim.engine.kernel import (
    CLASS,
    DONE,
    DUE,
    EXITS,
    INDEX,
    NEVER,
    OPERATION,
    RECORD_BITS,
    RESUMED,
    STALL,
)
from vmexit_sim.measure.sketch import (
    BITS,
    BUCKETS,
    GREATEST,
    LEAST,
    LOW,
    LOW_BITS,
    STATS,
    TOTAL_HIGH,
    TOTAL_LOW,
    N,
)

# Places in an open operation's state.
OPEN_OPERATION, O_STALL, O_DUE, O_RESUME, O_DONE, OPEN = range(6)


@intrinsic
def _leading_zeros(_: Any, value: Any) -> Any:
    """How many of an int64's upper bits are zero."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.ctlz(arguments[0], ir.Constant(ir.IntType(1), 0))

    return types.int64(types.int64), generate


@njit(inline="always")
def _bucket(value: int) -> int:
    """The bucket of a value, as `sketch.bucket_of` has it."""
    exponent = max(63 - BITS - _leading_zeros(value), 0)  # type: ignore[call-arg]
    return int((exponent << BITS) + (value >> exponent))


@compiled
def reduce_block(
    begin: int, end: int, record: Any, stage_time: Any, width: int, columns: Any,
    columns_each: int, counts: Any, stats: Any, totals: Any, seen: Any, still_open: Any,
) -> int:  # fmt: skip
    """Reduce the accesses in slots begin … end-1, one vCPU's, in program order.

    Args:
        begin, end: slots.
        record, stage_time, width, columns, columns_each: as for the loop.
        counts, stats: the sketches, one behind the other: stall, response and effect of accesses,
            then of operations.
        totals: variable time per stage; the last entry counts exits.
        seen: counts the accesses of each class, for their constant times.
        still_open: the operation that may go on in the vCPU's next block, shape (`OPEN`,).

    Returns:
        The first slot whose access has had no effect, or -1.
    """
    # What every access is counted into stands in variables of its own, not in memory.
    low_0 = low_1 = low_2 = high_0 = high_1 = high_2 = exits = np.int64(0)
    least_0 = least_1 = least_2 = np.int64(NEVER)
    most_0 = most_1 = most_2 = np.int64(0)
    for slot in range(begin, end):
        at = slot << RECORD_BITS
        done = record[at + DONE]
        if done < 0:
            return slot
        due = record[at + DUE]
        resume = record[at + RESUMED]
        exits += record[at + EXITS]
        at_stage = slot * width
        for stage in range(width):
            totals[stage] += stage_time[at_stage + stage]
        at_column = slot * columns_each
        seen[columns[at_column + CLASS] & INDEX] += 1

        stall = record[at + STALL]
        counts[_bucket(stall) & INDEX] += 1
        low_0 += stall & LOW
        high_0 += stall >> LOW_BITS
        least_0 = min(least_0, stall)
        most_0 = max(most_0, stall)
        response = resume - due
        counts[BUCKETS + (_bucket(response) & INDEX)] += 1
        low_1 += response & LOW
        high_1 += response >> LOW_BITS
        least_1 = min(least_1, response)
        most_1 = max(most_1, response)
        effect = done - due
        counts[2 * BUCKETS + (_bucket(effect) & INDEX)] += 1
        low_2 += effect & LOW
        high_2 += effect >> LOW_BITS
        least_2 = min(least_2, effect)
        most_2 = max(most_2, effect)

        operation = columns[at_column + OPERATION]
        if operation < 0:
            continue
        if still_open[OPEN_OPERATION] == operation:
            still_open[O_STALL] += stall
            still_open[O_DUE] = min(still_open[O_DUE], due)
            still_open[O_RESUME] = max(still_open[O_RESUME], resume)
            still_open[O_DONE] = max(still_open[O_DONE], done)
            continue
        if still_open[OPEN_OPERATION] >= 0:
            due_then = still_open[O_DUE]
            for which in range(3):
                value = still_open[O_STALL]
                if which == 1:
                    value = still_open[O_RESUME] - due_then
                elif which == 2:
                    value = still_open[O_DONE] - due_then
                counts[(3 + which) * BUCKETS + (_bucket(value) & INDEX)] += 1
                own = (3 + which) * STATS
                stats[own + N] += 1
                stats[own + TOTAL_LOW] += value & LOW
                stats[own + TOTAL_HIGH] += value >> LOW_BITS
                stats[own + LEAST] = min(stats[own + LEAST], value)
                stats[own + GREATEST] = max(stats[own + GREATEST], value)
        still_open[OPEN_OPERATION] = operation
        still_open[O_STALL] = stall
        still_open[O_DUE] = due
        still_open[O_RESUME] = resume
        still_open[O_DONE] = done
    totals[width] += exits
    lows, highs = (low_0, low_1, low_2), (high_0, high_1, high_2)
    leasts, mosts = (least_0, least_1, least_2), (most_0, most_1, most_2)
    for which in range(3):
        own = which * STATS
        stats[own + N] += end - begin
        stats[own + TOTAL_LOW] += lows[which]
        stats[own + TOTAL_HIGH] += highs[which]
        stats[own + LEAST] = min(stats[own + LEAST], leasts[which])
        stats[own + GREATEST] = max(stats[own + GREATEST], mosts[which])
    return -1


def no_operation() -> Any:
    """The state in which no operation is open."""
    return np.array([-1, 0, 0, 0, 0], np.int64)
