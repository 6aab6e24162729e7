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


CHUNK = 64
"""So many accesses stay in the processor's first cache."""


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
def lay_block(
    first: int, number: int, accesses: Any, each: int, made: Any, begin: int, unrecorded: Any
) -> None:
    """Lay so many accesses from a slot on.

    Args:
        first, number: which slots.
        accesses, each: as for the loop.
        made, begin: columns of accesses, and from where on these ones are.
        unrecorded: what is recorded of an access before it begins.
    """
    recorded = unrecorded.shape[0]
    known = recorded + made.shape[0]
    for chunk in range(0, number, CHUNK):
        end = min(chunk + CHUNK, number)
        for place in range(each):
            at = ((first + chunk) * each + place) & INDEX
            if recorded <= place < known:
                for access in range(begin + chunk, begin + end):
                    accesses[at] = made[place - recorded, access]
                    at += each
            else:
                initial = unrecorded[place] if place < recorded else np.int64(0)
                for _ in range(chunk, end):
                    accesses[at] = initial
                    at += each


@njit(inline="always")
def _count(values: Any, which: int, number: int, counts: Any, stats: Any) -> None:
    """Count so many values into one of the sketches.

    What all of them are counted into stands in variables of its own, not in memory.
    """
    low = high = most = np.int64(0)
    least = np.int64(NEVER)
    for place in range(which * CHUNK, which * CHUNK + number):
        value = values[place & INDEX]
        low += value & LOW
        high += value >> LOW_BITS
        least = min(least, value)
        most = max(most, value)
        values[place & INDEX] = which * BUCKETS + _bucket(value)
    for place in range(which * CHUNK, which * CHUNK + number):
        counts[values[place & INDEX] & INDEX] += 1
    own = which * STATS
    stats[own + N] += number
    stats[own + TOTAL_LOW] += low
    stats[own + TOTAL_HIGH] += high
    stats[own + LEAST] = min(stats[own + LEAST], least)
    stats[own + GREATEST] = max(stats[own + GREATEST], most)


@compiled
def reduce_block(
    begin: int, end: int, accesses: Any, each: int, booked: int, values: Any, counts: Any,
    stats: Any, totals: Any, seen: Any, still_open: Any,
) -> int:  # fmt: skip
    """Reduce the accesses in slots begin … end-1, one vCPU's, in program order.

    They are gone through for one thing after the other, a chunk at a time that stays in cache.

    Args:
        begin, end: slots.
        accesses, each: as for the loop.
        booked: how many stages are booked.
        values: room for a chunk's latencies, of the shape (sketches, `CHUNK`).
        counts, stats: the sketches, one behind the other: stall, response and effect of accesses,
            then of operations.
        totals: time per booked stage; the last entry counts exits.
        seen: counts the accesses of each class, for their constant times.
        still_open: the operation that may go on in the vCPU's next block, shape (`OPEN`,).

    Returns:
        The first slot whose access has had no effect, or -1.
    """
    operation = still_open[OPEN_OPERATION]
    stall = still_open[O_STALL]
    due = still_open[O_DUE]
    resume = still_open[O_RESUME]
    done = still_open[O_DONE]
    for first in range(begin, end, CHUNK):
        last = min(first + CHUNK, end)
        ended = 0
        for slot in range(first, last):
            at = (slot * each) & INDEX
            if accesses[at + DONE] < 0:
                return slot
            own_stall, own_due = accesses[at + STALL], accesses[at + DUE]
            own_resume, own_done = accesses[at + RESUMED], accesses[at + DONE]
            values[(slot - first) & INDEX] = own_stall
            values[CHUNK + ((slot - first) & INDEX)] = own_resume - own_due
            values[2 * CHUNK + ((slot - first) & INDEX)] = own_done - own_due
            seen[accesses[at + CLASS] & INDEX] += 1
            own_operation = accesses[at + OPERATION]
            if own_operation < 0:
                continue
            if own_operation == operation:
                stall += own_stall
                due = min(due, own_due)
                resume = max(resume, own_resume)
                done = max(done, own_done)
                continue
            if operation >= 0:
                values[3 * CHUNK + (ended & INDEX)] = stall
                values[4 * CHUNK + (ended & INDEX)] = resume - due
                values[5 * CHUNK + (ended & INDEX)] = done - due
                ended += 1
            operation, stall = own_operation, own_stall
            due, resume, done = own_due, own_resume, own_done
        for which in range(3):
            _count(values, which, last - first, counts, stats)
            _count(values, which + 3, ended, counts, stats)
        for stage in range(booked + 1):
            place = EXITS if stage == booked else each - booked + stage
            total = np.int64(0)
            for slot in range(first, last):
                total += accesses[((slot * each) & INDEX) + place]
            totals[stage] += total
    still_open[OPEN_OPERATION] = operation
    still_open[O_STALL] = stall
    still_open[O_DUE] = due
    still_open[O_RESUME] = resume
    still_open[O_DONE] = done
    return -1


def no_operation() -> Any:
    """The state in which no operation is open."""
    return np.array([-1, 0, 0, 0, 0], np.int64)
