"""The compiled engine's event loop: the same rows as the SimPy engine, in one Numba function.

Everything the loop touches is an array that was there before it began: it allocates nothing,
calls nothing that takes an array (Numba would count references, atomically, at every call), draws
nothing, and holds no lock of Python's. Whenever it needs something that arrays cannot give (a
vCPU's next block of accesses, more room in a mailbox) it returns and says so; called again, it goes
on where it was.

The order of events is that of the SimPy engine's docstring. The next actor is found by a linear
scan where actors are few, and by an indexed heap where they are many.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from vmexit_sim.engine.jit import compiled
from vmexit_sim.program import WIDTH, Mode, Op
from vmexit_sim.steps import TIMED_OUT

(
    SPEND, TAKE, TIMED_TAKE, PUT, EXIT, ENTRY, START, RESUME, NEXT, DONE, POSTED, LET, BRANCH, JUMP,
    BOOK, SYNC, HALT,
) = map(int, Op)  # fmt: skip
(
    CONSTANT, REGISTER, COLUMN, COLUMN_OF, CELL, OWN_CELL, LENGTH, OWN_LENGTH, CLOCK, POSTED_AT,
) = map(int, Mode)  # fmt: skip
TIME_OUT = int(TIMED_OUT)
ROW = WIDTH

NEVER = 2**63 - 1
"""The wake-up time of an actor that has none."""

FINISHED, NEEDS_BLOCK, NEEDS_ROOM = 0, 1, 2
"""Why the loop returned: nobody will ever wake, a vCPU wants accesses, a mailbox wants room."""

# Places in `world`.
NOW, COUNTER, RUNNING, WHO, BLOCK_BITS, VCPU_SHIFT, WORLD = range(7)

# Columns of `actors`.
(
    A_PLACE, A_CLOCK, A_ACCESS_SLOT, A_OPENED, A_LEFT, A_REASON, A_FOLLOWING, A_LOADED, A_VCPU,
    A_STATE, A_GIVEN, A_PRIORITY, A_NEXT, ACTOR,
) = range(14)  # fmt: skip

# What an actor is about, in `A_STATE`.
FRESH, SYNCED, WAITING, SERVED, ASKING, HALTED = range(6)

# Columns of `queues`.
(
    Q_CAPACITY, Q_TOKENS, Q_PRIORITY, Q_HEAD, Q_TAIL, Q_FIRST, Q_LENGTH, Q_ROOM, Q_ITEMS, Q_TAKES,
    Q_WAITS, Q_STORED, Q_WAITING, Q_LOCK, QUEUE,
) = range(15)  # fmt: skip

# Columns of `tallies`.
T_SAMPLES, T_TOTAL, T_LEAST, T_GREATEST, TALLY = range(5)

# Rows of `record`.
DUE_AT, START_AT, RESUME_AT, STALL, POSTED_AT_, DONE_AT, EXITS, RECORD = range(8)


@njit(inline="always")
def _earlier(times: Any, numbers: Any, a: int, b: int) -> bool:
    return bool(times[a] < times[b] or (times[a] == times[b] and numbers[a] < numbers[b]))


@compiled
def advance(
    world: Any, rows: Any, entries: Any, end: int, actors: Any, registers: Any, columns: Any,
    compute: Any, arrival: Any, classes: Any, stage_time: Any, width: int, record: Any, cells: Any,
    queues: Any, items: Any, holds: Any, tallies: Any, wake_times: Any, wake_numbers: Any,
    heap: Any, heap_place: Any,
) -> int:  # fmt: skip
    """Run until every actor sleeps for good, or something is needed from outside.

    Args:
        world: scalars that live on between calls (`NOW` …).
        rows: the program, flat.
        entries: the first row of each class's routine.
        end: the row at which a vCPU goes on after its last access.
        actors: state, shape (actors, `ACTOR`).
        registers: shape (actors, registers).
        columns: the access columns that the program names, shape (columns, slots).
        compute, arrival, classes: columns that every program needs, shape (slots,).
        stage_time: booked time, shape (slots · width,).
        width: stages of an access.
        record: moments and counts of each access, shape (`RECORD`, slots).
        cells: shared integers.
        queues: state, shape (queues, `QUEUE`).
        items: the mailboxes' rings, one behind the other.
        holds: how often each actor holds each lock, shape (locks, actors).
        tallies: exits by reason, shape (reasons, `TALLY`).
        wake_times, wake_numbers: when each actor wakes, and the number that breaks ties.
        heap, heap_place: the indexed heap of actors; `heap` is empty where a scan is faster.

    Returns:
        `FINISHED`, `NEEDS_BLOCK` or `NEEDS_ROOM`; for the latter two ``world[WHO]`` says who.
    """
    n = actors.shape[0]
    with_heap = heap.shape[0] > 0
    bits = world[BLOCK_BITS]
    shift = world[VCPU_SHIFT]
    window = np.int64(1) << bits
    mask = window - 1
    nowhere = record.shape[1] - 1
    now = world[NOW]
    counter = world[COUNTER]
    me = world[RUNNING]
    size = heap_place[n] if with_heap else 0

    while True:
        # ---- whose turn is it ---------------------------------------------------------------
        if me < 0:
            if with_heap:
                if size == 0:
                    break
                me = heap[0]
                size -= 1
                moved = heap[size]
                heap_place[me] = -1
                if size > 0:
                    hole = 0
                    while True:
                        child = 2 * hole + 1
                        if child >= size:
                            break
                        if child + 1 < size and _earlier(
                            wake_times, wake_numbers, heap[child + 1], heap[child]
                        ):
                            child += 1
                        if not _earlier(wake_times, wake_numbers, heap[child], moved):
                            break
                        heap[hole] = heap[child]
                        heap_place[heap[hole]] = hole
                        hole = child
                    heap[hole] = moved
                    heap_place[moved] = hole
            else:
                earliest = NEVER
                number = NEVER
                for actor in range(n):
                    time = wake_times[actor]
                    if time < earliest or (time == earliest and wake_numbers[actor] < number):
                        earliest = time
                        number = wake_numbers[actor]
                        me = actor
                if me < 0 or earliest == NEVER:
                    me = -1
                    break
            now = wake_times[me]
            wake_times[me] = NEVER

        # ---- take up its state --------------------------------------------------------------
        place = actors[me, A_PLACE]
        clock = actors[me, A_CLOCK]
        slot = actors[me, A_ACCESS_SLOT]
        opened = actors[me, A_OPENED]
        left = actors[me, A_LEFT]
        reason = actors[me, A_REASON]
        vcpu = actors[me, A_VCPU]
        state = actors[me, A_STATE]
        base = slot * width
        sleeping = False
        outside = 0

        if state in (WAITING, SERVED):
            at = place * ROW
            queue = rows[at + 6] + vcpu * rows[at + 7]
            if state == SERVED:
                item = actors[me, A_GIVEN]
            else:  # the time-out: leave the line
                item = TIME_OUT
                before = np.int64(-1)
                walker = queues[queue, Q_HEAD]
                while walker != me:
                    before = walker
                    walker = actors[walker, A_NEXT]
                after = actors[me, A_NEXT]
                if before < 0:
                    queues[queue, Q_HEAD] = after
                else:
                    actors[before, A_NEXT] = after
                if after < 0:
                    queues[queue, Q_TAIL] = before
                queues[queue, Q_WAITING] += now
            stage_time[base + rows[at + 8]] += now - clock
            clock = now
            into = rows[at + 9]
            if into >= 0:
                registers[me, into] = item
                if into == 0:
                    slot = nowhere if item < 0 else (item >> shift) * window + (item & mask)
                    base = slot * width
            place += 1
            state = FRESH

        # ---- run its rows -------------------------------------------------------------------
        while True:
            at = place * ROW
            op = rows[at]
            if state == FRESH:
                clock += rows[at + 1]
            else:
                state = FRESH
            x = rows[at + 3]
            mode = rows[at + 2]
            if mode != CONSTANT:
                if mode == COLUMN:
                    x = columns[x, slot]
                elif mode == REGISTER:
                    x = registers[me, x]
                elif mode == CLOCK:
                    x = clock
                elif mode == COLUMN_OF:
                    access = registers[me, x & 255]
                    where = nowhere if access < 0 else (access >> shift) * window + (access & mask)
                    x = columns[x >> 8, where]
                elif mode == POSTED_AT:
                    access = registers[me, x]
                    where = nowhere if access < 0 else (access >> shift) * window + (access & mask)
                    x = record[POSTED_AT_, where]
                elif mode == CELL:
                    x = cells[x]
                elif mode == OWN_CELL:
                    x = cells[x + vcpu]
                elif mode == LENGTH:
                    x = queues[x, Q_LENGTH]
                else:
                    x = queues[x + vcpu, Q_LENGTH]
            y = rows[at + 5]
            mode = rows[at + 4]
            if mode != CONSTANT:
                if mode == REGISTER:
                    y = registers[me, y]
                elif mode == COLUMN:
                    y = columns[y, slot]
                elif mode == CLOCK:
                    y = clock
                elif mode == COLUMN_OF:
                    access = registers[me, y & 255]
                    where = nowhere if access < 0 else (access >> shift) * window + (access & mask)
                    y = columns[y >> 8, where]
                elif mode == POSTED_AT:
                    access = registers[me, y]
                    where = nowhere if access < 0 else (access >> shift) * window + (access & mask)
                    y = record[POSTED_AT_, where]
                elif mode == CELL:
                    y = cells[y]
                elif mode == OWN_CELL:
                    y = cells[y + vcpu]
                elif mode == LENGTH:
                    y = queues[y, Q_LENGTH]
                else:
                    y = queues[y + vcpu, Q_LENGTH]
            place += 1
            if op == SPEND:
                clock += x
                stage_time[base + rows[at + 6]] += x
                continue
            if op in (TAKE, TIMED_TAKE, PUT, SYNC):
                if clock > now:  # come back when the world is as late
                    place -= 1
                    state = SYNCED
                    wake_times[me] = clock
                    wake_numbers[me] = counter
                    counter += 1
                    sleeping = True
                    break
                if op == SYNC:
                    continue
                queue = rows[at + 6] + vcpu * rows[at + 7]
                if op == PUT:
                    lock = queues[queue, Q_LOCK]
                    if lock >= 0 and holds[lock, me] > 0:
                        holds[lock, me] -= 1
                    refused = 0
                    other = queues[queue, Q_HEAD]
                    if other >= 0:
                        queues[queue, Q_HEAD] = actors[other, A_NEXT]
                        if actors[other, A_NEXT] < 0:
                            queues[queue, Q_TAIL] = -1
                        queues[queue, Q_WAITING] += now
                        queues[queue, Q_TAKES] += 1
                        if lock >= 0:
                            holds[lock, other] += 1
                        actors[other, A_GIVEN] = x
                        actors[other, A_STATE] = SERVED
                        wake_times[other] = now
                        wake_numbers[other] = counter
                        counter += 1
                        if with_heap:  # in anew, or up from where its time-out was
                            hole = heap_place[other]
                            if hole < 0:
                                hole = size
                                size += 1
                            else:  # a later number at an earlier or equal time: down first
                                while True:
                                    child = 2 * hole + 1
                                    if child >= size:
                                        break
                                    if child + 1 < size and _earlier(
                                        wake_times, wake_numbers, heap[child + 1], heap[child]
                                    ):
                                        child += 1
                                    if not _earlier(wake_times, wake_numbers, heap[child], other):
                                        break
                                    heap[hole] = heap[child]
                                    heap_place[heap[hole]] = hole
                                    hole = child
                            while hole > 0:
                                parent = (hole - 1) // 2
                                if not _earlier(wake_times, wake_numbers, other, heap[parent]):
                                    break
                                heap[hole] = heap[parent]
                                heap_place[heap[hole]] = hole
                                hole = parent
                            heap[hole] = other
                            heap_place[other] = hole
                    elif queues[queue, Q_LENGTH] < queues[queue, Q_CAPACITY]:
                        length = queues[queue, Q_LENGTH]
                        if lock < 0:
                            room = queues[queue, Q_ROOM]
                            if length == room:
                                place -= 1
                                state = SYNCED
                                outside = NEEDS_ROOM
                                break
                            spot = queues[queue, Q_FIRST] + length
                            if spot >= room:
                                spot -= room
                            items[queues[queue, Q_ITEMS] + spot] = x
                        queues[queue, Q_LENGTH] = length + 1
                        queues[queue, Q_STORED] -= now
                    else:
                        refused = 1
                    if rows[at + 8] >= 0:
                        registers[me, rows[at + 8]] = refused
                    continue
                # a take
                lock = queues[queue, Q_LOCK]
                if queues[queue, Q_LENGTH] > 0:
                    queues[queue, Q_LENGTH] -= 1
                    queues[queue, Q_STORED] += now
                    queues[queue, Q_TAKES] += 1
                    if lock >= 0:
                        item = np.int64(0)
                        holds[lock, me] += 1
                    else:
                        first = queues[queue, Q_FIRST]
                        item = items[queues[queue, Q_ITEMS] + first]
                        first += 1
                        queues[queue, Q_FIRST] = 0 if first == queues[queue, Q_ROOM] else first
                elif op == TIMED_TAKE and x <= 0:
                    item = np.int64(TIME_OUT)
                else:  # stand in line
                    queues[queue, Q_WAITS] += 1
                    queues[queue, Q_WAITING] -= now
                    rank = np.int64(0)
                    before = queues[queue, Q_TAIL]
                    if queues[queue, Q_PRIORITY] != 0:
                        rank = y
                        before = np.int64(-1)
                        walker = queues[queue, Q_HEAD]
                        while walker >= 0 and actors[walker, A_PRIORITY] <= rank:
                            before = walker
                            walker = actors[walker, A_NEXT]
                    actors[me, A_PRIORITY] = rank
                    if before < 0:
                        actors[me, A_NEXT] = queues[queue, Q_HEAD]
                        queues[queue, Q_HEAD] = me
                    else:
                        actors[me, A_NEXT] = actors[before, A_NEXT]
                        actors[before, A_NEXT] = me
                    if actors[me, A_NEXT] < 0:
                        queues[queue, Q_TAIL] = me
                    place -= 1
                    state = WAITING
                    if op == TIMED_TAKE:
                        wake_times[me] = now + x
                        wake_numbers[me] = counter
                        counter += 1
                        sleeping = True
                    break
                into = rows[at + 9]
                if into >= 0:
                    registers[me, into] = item
                    if into == 0:
                        slot = nowhere if item < 0 else (item >> shift) * window + (item & mask)
                        base = slot * width
                continue
            if op == EXIT:
                reason = rows[at + 6]
                left = clock
                record[EXITS, slot] += 1
            elif op == ENTRY:
                time = clock - left
                if tallies[reason, T_SAMPLES] == 0 or time < tallies[reason, T_LEAST]:
                    tallies[reason, T_LEAST] = time
                if time > tallies[reason, T_GREATEST]:
                    tallies[reason, T_GREATEST] = time
                tallies[reason, T_SAMPLES] += 1
                tallies[reason, T_TOTAL] += time
            elif op == START:
                opened = clock
                if record[START_AT, slot] < 0:
                    record[START_AT, slot] = clock
                    due = clock
                    if arrival[slot] >= 0:
                        due = arrival[slot] + compute[slot]
                    record[DUE_AT, slot] = due
            elif op == RESUME:
                record[STALL, slot] += clock - opened
                if record[RESUME_AT, slot] < 0:
                    record[RESUME_AT, slot] = clock
            elif op == NEXT:
                following = actors[me, A_FOLLOWING]
                if following < actors[me, A_LOADED]:
                    registers[me, 0] = following
                    actors[me, A_FOLLOWING] = following + 1
                    slot = vcpu * window + (following & mask)
                    base = slot * width
                    place = entries[classes[slot]]
                elif actors[me, A_LOADED] < 0:  # there are no more
                    place = end
                else:
                    place -= 1
                    state = ASKING
                    outside = NEEDS_BLOCK
                    break
            elif op == DONE:
                where = slot
                if rows[at + 6] != 0:
                    access = registers[me, rows[at + 6]]
                    where = nowhere if access < 0 else (access >> shift) * window + (access & mask)
                record[DONE_AT, where] = clock
            elif op == POSTED:
                where = slot
                if rows[at + 6] != 0:
                    access = registers[me, rows[at + 6]]
                    where = nowhere if access < 0 else (access >> shift) * window + (access & mask)
                record[POSTED_AT_, where] = clock
            elif op == JUMP:
                place = rows[at + 9]
            elif op == BOOK:
                access = registers[me, rows[at + 7]]
                where = nowhere if access < 0 else (access >> shift) * window + (access & mask)
                stage_time[where * width + rows[at + 6]] += x
            elif op == HALT:
                state = HALTED
                break
            else:  # LET or BRANCH
                which = rows[at + 6]
                if op == BRANCH:
                    if which == 0:
                        holds_true = x == y
                    elif which == 1:
                        holds_true = x != y
                    elif which == 2:
                        holds_true = x < y
                    elif which == 3:
                        holds_true = x <= y
                    elif which == 4:
                        holds_true = x > y
                    else:
                        holds_true = x >= y
                    if not holds_true:
                        place = rows[at + 9]
                else:
                    if which == 0:
                        result = x + y
                    elif which == 1:
                        result = x - y
                    elif which == 2:
                        result = x * y
                    elif which == 3:
                        result = min(x, y)
                    else:
                        result = max(x, y)
                    target = rows[at + 8]
                    if rows[at + 7] == REGISTER:
                        registers[me, target] = result
                        if target == 0:
                            slot = (
                                nowhere
                                if result < 0
                                else (result >> shift) * window + (result & mask)
                            )
                            base = slot * width
                    elif rows[at + 7] == OWN_CELL:
                        cells[target + vcpu] = result
                    else:
                        cells[target] = result

        # ---- lay its state down -------------------------------------------------------------
        actors[me, A_PLACE] = place
        actors[me, A_CLOCK] = clock
        actors[me, A_ACCESS_SLOT] = slot
        actors[me, A_OPENED] = opened
        actors[me, A_LEFT] = left
        actors[me, A_REASON] = reason
        actors[me, A_STATE] = state
        if outside != 0:
            world[NOW] = now
            world[COUNTER] = counter
            world[RUNNING] = me
            world[WHO] = vcpu if outside == NEEDS_BLOCK else queue
            if with_heap:
                heap_place[n] = size
            return outside
        if sleeping and with_heap:
            hole = size
            size += 1
            while hole > 0:
                parent = (hole - 1) // 2
                if not _earlier(wake_times, wake_numbers, me, heap[parent]):
                    break
                heap[hole] = heap[parent]
                heap_place[heap[hole]] = hole
                hole = parent
            heap[hole] = me
            heap_place[me] = hole
        me = -1

    world[NOW] = now
    world[COUNTER] = counter
    world[RUNNING] = -1
    if with_heap:
        heap_place[n] = size
    return FINISHED
