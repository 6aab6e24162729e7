"""The compiled engine's event loop: the same rows as the SimPy engine, in one Numba function.

Everything the loop touches is an array that was there before it began: it allocates nothing,
calls nothing that takes an array (Numba would count references, atomically, at every call), draws
nothing, and holds no lock of Python's. Whenever it needs something that arrays cannot give (a
vCPU's next block of accesses, more room in a mailbox) it returns and says so; called again, it goes
on where it was.

The order of events is that of the SimPy engine's docstring; who wakes next stands at the top of an
indexed heap.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from vmexit_sim.engine.jit import compiled
from vmexit_sim.lowering import ALWAYS
from vmexit_sim.program import MARKS, NEXT_MARK, THEIRS, Mode, Op, Row
from vmexit_sim.steps import TIMED_OUT

(
    PASS, MARK, TAKE, PUT, MARK_DONE, MARK_POSTED, LET, BRANCH, JUMP, BOOK, SYNC, TIMED_TAKE, HALT,
) = map(int, Op)  # fmt: skip
(
    CONSTANT, REGISTER, COLUMN, COLUMN_OF, CELL, OWN_CELL, LENGTH, OWN_LENGTH, CLOCK, POSTED_AT,
    THEIR_CELL, THEIR_LENGTH,
) = map(int, Mode)  # fmt: skip
START, EXIT, ENTRY, RESUME = MARKS.values()
TIME_OUT = int(TIMED_OUT)

# Fields of a row as it is laid for this loop, which looks at both modes at once.
OP, AHEAD, SPENT_AS, MODES, X, Y, A, B, C, D = range(10)
Y_SHIFT = 4

NEVER = 2**63 - 1
"""The wake-up time of an actor that has none."""

FINISHED, NEEDS_BLOCK, NEEDS_ROOM, ALL_HALTED = range(4)
"""Why the loop returned: nobody will ever wake, a vCPU wants accesses, a mailbox wants room, the
last vCPU has halted (others may still have work)."""

# Places in `world`.
NOW, COUNTER, RUNNING, WHO, BLOCK_BITS, VCPU_SHIFT, RUNNING_VCPUS, WORLD = range(8)

# Columns of `actors`.
(
    A_PLACE, A_CLOCK, A_ACCESS_SLOT, A_VCPU, A_STATE, A_OPENED, A_LEFT, A_REASON, A_FOLLOWING,
    A_LOADED, A_GIVEN, A_PRIORITY, A_NEXT, A_IS_VCPU,
) = range(14)  # fmt: skip

# What an actor is about, in `A_STATE`.
READY, WAITING, SERVED, HALTED = range(4)

# Columns of `queues`.
(
    Q_CAPACITY, Q_TOKENS, Q_PRIORITY, Q_HEAD, Q_TAIL, Q_FIRST, Q_LENGTH, Q_ROOM, Q_ITEMS, Q_TAKES,
    Q_WAITS, Q_STORED, Q_WAITING, Q_LOCK,
) = range(14)  # fmt: skip

# Columns of `tallies`.
T_SAMPLES, T_TOTAL, T_LEAST, T_GREATEST = range(4)

# Columns of `record`, in the order of `window.RECORDED`; a line of cache for each access.
DUE, STARTED, RESUMED, STALL, POSTED, DONE, EXITS = range(7)

ROW_BITS, ACTOR_BITS, QUEUE_BITS, TALLY_BITS, RECORD_BITS = 4, 4, 4, 2, 3
ROW, ACTOR, QUEUE, TALLY, RECORD = 16, 16, 16, 4, 8
"""Places that a row of the program, an actor, … takes: powers of two, so that finding it is a
shift by a constant."""

# The first columns of an access, in the order of `ALWAYS`; the program's own follow.
CLASS, COMPUTE, ARRIVAL, OPERATION = range(4)
OWN = len(ALWAYS)

INDEX = 2**31 - 1
"""A mask for what indexes an array. An index that cannot be negative spares the check with which
Numba lets negative ones count from the end; together these checks cost much of the loop's time."""


def laid(rows: Sequence[Row]) -> npt.NDArray[np.int64]:
    """A program's rows as the loop reads them, one behind the other."""
    op, ahead, spent_as, x_mode, x, y_mode, y, *numbers = np.array(rows, np.int64).T
    modes = x_mode | y_mode << Y_SHIFT
    fields = np.zeros((len(rows), ROW), np.int64)
    fields[:, : D + 1] = np.column_stack([op, ahead, spent_as, modes, x, y, *numbers])
    return fields.ravel()


@compiled
def advance(
    world: Any, rows: Any, entries: Any, end: int, asking: int, actors: Any, registers: Any,
    registers_each: int, columns: Any, columns_each: int, stage_time: Any, width: int, record: Any,
    cells: Any, queues: Any, items: Any, holds: Any, tallies: Any, wake_times: Any,
    wake_numbers: Any, heap: Any, heap_place: Any,
) -> int:  # fmt: skip
    """Run until every actor sleeps for good, or something is needed from outside.

    All arrays are flat: an index of several dimensions would cost a multiplication at each use.

    Args:
        world: scalars that live on between calls (`NOW` …).
        rows: the program, as `laid`.
        entries: the first row of each class's routine.
        end: the row at which a vCPU goes on after its last access.
        asking: the row at which it asks for its next one.
        actors: state, `ACTOR` places each.
        registers: `registers_each` places for each actor.
        columns: what the accesses are, `columns_each` places a slot: `ALWAYS`, then what the
            program names.
        stage_time: booked time, `width` stages a slot.
        record: moments and counts, `RECORD` places a slot.
        cells: shared integers.
        queues: state, `QUEUE` places each.
        items: the mailboxes' rings, one behind the other.
        holds: how often each actor holds each lock: lock by lock.
        tallies: exits by reason, `TALLY` places each.
        wake_times, wake_numbers: when each actor wakes, and the number that breaks ties.
        heap: the actors who will wake, as a binary heap.
        heap_place: each actor's place in it (-1: none), and last its size.

    Returns:
        `FINISHED`, `NEEDS_BLOCK`, `NEEDS_ROOM` or `ALL_HALTED`; ``world[WHO]`` says who needs it.
    """
    n = heap.shape[0]
    shift = world[VCPU_SHIFT]
    window = np.int64(1) << world[BLOCK_BITS]
    mask = window - 1
    nowhere = ((record.shape[0] >> RECORD_BITS) - 1) & INDEX
    now = world[NOW]
    counter = world[COUNTER]
    me = world[RUNNING]
    size = heap_place[n]
    goes_on = me >= 0  # from where the last call left it

    while True:
        # ---- whose turn is it ---------------------------------------------------------------
        if me < 0:
            if size == 0:
                break
            me = heap[0] & INDEX
            heap_place[me] = -1
            size -= 1
            moved = heap[size] & INDEX
            if size > 0:  # the last one takes the first place, and sinks to where it belongs
                time = wake_times[moved]
                number = wake_numbers[moved]
                hole = 0
                while True:
                    child = 2 * hole + 1
                    if child >= size:
                        break
                    upper = heap[child] & INDEX
                    if child + 1 < size:
                        rival = heap[child + 1] & INDEX
                        if wake_times[rival] < wake_times[upper] or (
                            wake_times[rival] == wake_times[upper]
                            and wake_numbers[rival] < wake_numbers[upper]
                        ):
                            child += 1
                            upper = rival
                    if time < wake_times[upper] or (
                        time == wake_times[upper] and number < wake_numbers[upper]
                    ):
                        break
                    heap[hole] = upper
                    heap_place[upper] = hole
                    hole = child
                heap[hole] = moved
                heap_place[moved] = hole

        # ---- take up its state --------------------------------------------------------------
        me &= INDEX
        if goes_on:
            goes_on = False
        else:
            now = wake_times[me]
        own = me << ACTOR_BITS
        my_registers = (me * registers_each) & INDEX
        place = actors[own + A_PLACE]
        clock = actors[own + A_CLOCK]
        slot = actors[own + A_ACCESS_SLOT] & INDEX
        vcpu = actors[own + A_VCPU]
        state = actors[own + A_STATE]
        base = (slot * width) & INDEX
        row_of = (slot * columns_each) & INDEX
        sleeping = False
        outside = 0

        if state == WAITING or state == SERVED:
            at = (place & INDEX) << ROW_BITS
            whose = rows[at + B]
            queue = rows[at + A] + vcpu * whose
            if whose >= THEIRS:
                queue = rows[at + A] + registers[my_registers + ((whose - THEIRS) & INDEX)]
            queue &= INDEX
            line = queue << QUEUE_BITS
            if state == SERVED:
                item = actors[own + A_GIVEN]
            else:  # the time-out: leave the line
                item = TIME_OUT
                before = np.int64(-1)
                walker = queues[line + Q_HEAD]
                while walker != me:
                    before = walker
                    walker = actors[((walker & INDEX) << ACTOR_BITS) + A_NEXT]
                after = actors[own + A_NEXT]
                if before < 0:
                    queues[line + Q_HEAD] = after
                else:
                    actors[((before & INDEX) << ACTOR_BITS) + A_NEXT] = after
                if after < 0:
                    queues[line + Q_TAIL] = before
                queues[line + Q_WAITING] += now
            stage_time[base + (rows[at + C] & INDEX)] += now - clock
            clock = now
            into = rows[at + D]
            if into >= 0:
                registers[my_registers + (into & INDEX)] = item
                if into == 0:
                    slot = (item >> shift) * window + (item & mask)
                    slot = nowhere if item < 0 else slot & INDEX
                    base = (slot * width) & INDEX
                    row_of = (slot * columns_each) & INDEX
            place += 1
            state = READY

        # ---- run its rows -------------------------------------------------------------------
        while True:
            at = (place & INDEX) << ROW_BITS
            op = rows[at + OP]
            ahead = rows[at + AHEAD]
            clock += ahead
            x = rows[at + X]
            y = rows[at + Y]
            modes = rows[at + MODES]
            if modes != 0:
                mode = modes & 15
                if mode == COLUMN:
                    x = columns[row_of + OWN + (x & INDEX)]
                elif mode == REGISTER:
                    x = registers[my_registers + (x & INDEX)]
                elif mode == CLOCK:
                    x = clock
                elif mode == COLUMN_OF:
                    access = registers[my_registers + (x & 255)]
                    where = (access >> shift) * window + (access & mask)
                    where = nowhere if access < 0 else where & INDEX
                    x = columns[((where * columns_each) & INDEX) + OWN + ((x >> 8) & INDEX)]
                elif mode == POSTED_AT:
                    access = registers[my_registers + (x & INDEX)]
                    where = (access >> shift) * window + (access & mask)
                    where = nowhere if access < 0 else where & INDEX
                    x = record[(where << RECORD_BITS) + POSTED]
                elif mode == CELL:
                    x = cells[x & INDEX]
                elif mode == OWN_CELL:
                    x = cells[(x + vcpu) & INDEX]
                elif mode == LENGTH:
                    x = queues[((x & INDEX) << QUEUE_BITS) + Q_LENGTH]
                elif mode == OWN_LENGTH:
                    x = queues[(((x + vcpu) & INDEX) << QUEUE_BITS) + Q_LENGTH]
                elif mode == THEIR_CELL:
                    x = cells[((x >> 8) + registers[my_registers + (x & 255)]) & INDEX]
                elif mode == THEIR_LENGTH:
                    holder = registers[my_registers + (x & 255)]
                    x = queues[((((x >> 8) + holder) & INDEX) << QUEUE_BITS) + Q_LENGTH]
                mode = modes >> Y_SHIFT
                if mode == COLUMN:
                    y = columns[row_of + OWN + (y & INDEX)]
                elif mode == REGISTER:
                    y = registers[my_registers + (y & INDEX)]
                elif mode == CLOCK:
                    y = clock
                elif mode == COLUMN_OF:
                    access = registers[my_registers + (y & 255)]
                    where = (access >> shift) * window + (access & mask)
                    where = nowhere if access < 0 else where & INDEX
                    y = columns[((where * columns_each) & INDEX) + OWN + ((y >> 8) & INDEX)]
                elif mode == POSTED_AT:
                    access = registers[my_registers + (y & INDEX)]
                    where = (access >> shift) * window + (access & mask)
                    where = nowhere if access < 0 else where & INDEX
                    y = record[(where << RECORD_BITS) + POSTED]
                elif mode == CELL:
                    y = cells[y & INDEX]
                elif mode == OWN_CELL:
                    y = cells[(y + vcpu) & INDEX]
                elif mode == LENGTH:
                    y = queues[((y & INDEX) << QUEUE_BITS) + Q_LENGTH]
                elif mode == OWN_LENGTH:
                    y = queues[(((y + vcpu) & INDEX) << QUEUE_BITS) + Q_LENGTH]
                elif mode == THEIR_CELL:
                    y = cells[((y >> 8) + registers[my_registers + (y & 255)]) & INDEX]
                elif mode == THEIR_LENGTH:
                    holder = registers[my_registers + (y & 255)]
                    y = queues[((((y >> 8) + holder) & INDEX) << QUEUE_BITS) + Q_LENGTH]
            stage = rows[at + SPENT_AS]
            if stage != 0:
                clock += x
                stage_time[base + ((stage - 1) & INDEX)] += x
            place += 1
            a = rows[at + A]
            if op == MARK:
                if a & START:
                    actors[own + A_OPENED] = clock
                    if record[(slot << RECORD_BITS) + STARTED] < 0:
                        record[(slot << RECORD_BITS) + STARTED] = clock
                        due = columns[row_of + ARRIVAL]
                        due = clock if due < 0 else due + columns[row_of + COMPUTE]
                        record[(slot << RECORD_BITS) + DUE] = due
                if a & EXIT:
                    actors[own + A_REASON] = rows[at + B]
                    actors[own + A_LEFT] = clock
                    record[(slot << RECORD_BITS) + EXITS] += 1
                if a & ENTRY:
                    time = clock - actors[own + A_LEFT]
                    reason = actors[own + A_REASON] & INDEX
                    tallies[(reason << TALLY_BITS) + T_SAMPLES] += 1
                    tallies[(reason << TALLY_BITS) + T_TOTAL] += time
                    if time < tallies[(reason << TALLY_BITS) + T_LEAST]:
                        tallies[(reason << TALLY_BITS) + T_LEAST] = time
                    if time > tallies[(reason << TALLY_BITS) + T_GREATEST]:
                        tallies[(reason << TALLY_BITS) + T_GREATEST] = time
                if a & RESUME:
                    record[(slot << RECORD_BITS) + STALL] += clock - actors[own + A_OPENED]
                    if record[(slot << RECORD_BITS) + RESUMED] < 0:
                        record[(slot << RECORD_BITS) + RESUMED] = clock
                if a & NEXT_MARK:
                    following = actors[own + A_FOLLOWING]
                    if following < actors[own + A_LOADED]:
                        registers[my_registers + (0)] = following
                        actors[own + A_FOLLOWING] = following + 1
                        slot = (vcpu * window + (following & mask)) & INDEX
                        base = (slot * width) & INDEX
                        row_of = (slot * columns_each) & INDEX
                        place = entries[columns[row_of + CLASS] & INDEX]
                    elif actors[own + A_LOADED] < 0:  # there are no more
                        place = end
                    else:  # the other marks are made; it asks again when called again
                        place = asking
                        state = READY
                        outside = NEEDS_BLOCK
                        break
            elif op == TAKE or op == PUT or op == TIMED_TAKE or op == SYNC or op == HALT:
                if clock > now:
                    # Wake when the world is as late. If nobody wakes before, that is at once.
                    earliest = wake_times[heap[0] & INDEX] if size > 0 else NEVER
                    if earliest <= clock:  # at a tie the other's number is the lower one
                        wake_times[me] = clock
                        wake_numbers[me] = counter
                        counter += 1
                        place -= 1  # the whole row again then, so take back what has passed
                        clock -= ahead
                        if stage != 0:
                            clock -= x
                            stage_time[base + ((stage - 1) & INDEX)] -= x
                        state = READY
                        sleeping = True
                        break
                    counter += 1
                    now = clock
                if op == SYNC:
                    continue
                if op == HALT:
                    state = HALTED
                    running = world[RUNNING_VCPUS] - actors[own + A_IS_VCPU]
                    if actors[own + A_IS_VCPU] != 0 and running == 0:
                        outside = ALL_HALTED
                    world[RUNNING_VCPUS] = running
                    break
                whose = rows[at + B]
                queue = a + vcpu * whose
                if whose >= THEIRS:
                    queue = a + registers[my_registers + ((whose - THEIRS) & INDEX)]
                queue &= INDEX
                line = queue << QUEUE_BITS
                lock = queues[line + Q_LOCK]
                length = queues[line + Q_LENGTH]
                if op == PUT:
                    if lock >= 0 and holds[((lock * n) & INDEX) + me] > 0:
                        holds[((lock * n) & INDEX) + me] -= 1
                    refused = 0
                    other = queues[line + Q_HEAD]
                    if other >= 0:
                        other &= INDEX
                        theirs = other << ACTOR_BITS
                        after = actors[theirs + A_NEXT]
                        queues[line + Q_HEAD] = after
                        if after < 0:
                            queues[line + Q_TAIL] = -1
                        queues[line + Q_WAITING] += now
                        queues[line + Q_TAKES] += 1
                        if lock >= 0:
                            holds[((lock * n) & INDEX) + other] += 1
                        actors[theirs + A_GIVEN] = y
                        actors[theirs + A_STATE] = SERVED
                        wake_times[other] = now
                        wake_numbers[other] = counter
                        counter += 1
                        hole = heap_place[other]
                        if hole < 0:
                            hole = size
                            size += 1
                        else:  # it replaces a time-out; later, if that was at the same instant
                            while True:
                                child = 2 * hole + 1
                                if child >= size:
                                    break
                                upper = heap[child] & INDEX
                                if child + 1 < size:
                                    rival = heap[child + 1] & INDEX
                                    if wake_times[rival] < wake_times[upper] or (
                                        wake_times[rival] == wake_times[upper]
                                        and wake_numbers[rival] < wake_numbers[upper]
                                    ):
                                        child += 1
                                        upper = rival
                                if wake_times[upper] > now:  # nobody has a higher number
                                    break
                                heap[hole] = upper
                                heap_place[upper] = hole
                                hole = child
                        while hole > 0:
                            parent = (hole - 1) >> 1
                            upper = heap[parent] & INDEX
                            if wake_times[upper] <= now:
                                break
                            heap[hole] = upper
                            heap_place[upper] = hole
                            hole = parent
                        heap[hole] = other
                        heap_place[other] = hole
                    elif length < queues[line + Q_CAPACITY]:
                        if lock < 0:
                            room = queues[line + Q_ROOM]
                            if length == room:
                                place -= 1
                                clock -= ahead
                                if stage != 0:
                                    clock -= x
                                    stage_time[base + ((stage - 1) & INDEX)] -= x
                                state = READY
                                outside = NEEDS_ROOM
                                break
                            spot = queues[line + Q_FIRST] + length
                            if spot >= room:
                                spot -= room
                            items[(queues[line + Q_ITEMS] + spot) & INDEX] = y
                        queues[line + Q_LENGTH] = length + 1
                        queues[line + Q_STORED] -= now
                    else:
                        refused = 1
                    if rows[at + C] >= 0:
                        registers[my_registers + (rows[at + C] & INDEX)] = refused
                    continue
                if length > 0:
                    queues[line + Q_LENGTH] = length - 1
                    queues[line + Q_STORED] += now
                    queues[line + Q_TAKES] += 1
                    item = np.int64(0)
                    if lock >= 0:
                        holds[((lock * n) & INDEX) + me] += 1
                    else:
                        first = queues[line + Q_FIRST]
                        item = items[(queues[line + Q_ITEMS] + first) & INDEX]
                        first += 1
                        queues[line + Q_FIRST] = 0 if first == queues[line + Q_ROOM] else first
                elif op == TIMED_TAKE and x <= 0:
                    item = np.int64(TIME_OUT)
                else:  # stand in line
                    queues[line + Q_WAITS] += 1
                    queues[line + Q_WAITING] -= now
                    rank = np.int64(0)
                    before = queues[line + Q_TAIL]
                    if queues[line + Q_PRIORITY] != 0:
                        rank = y
                        before = np.int64(-1)
                        walker = queues[line + Q_HEAD]
                        while walker >= 0:
                            theirs = (walker & INDEX) << ACTOR_BITS
                            if actors[theirs + A_PRIORITY] > rank:
                                break
                            before = walker
                            walker = actors[theirs + A_NEXT]
                    actors[own + A_PRIORITY] = rank
                    if before < 0:
                        actors[own + A_NEXT] = queues[line + Q_HEAD]
                        queues[line + Q_HEAD] = me
                    else:
                        actors[own + A_NEXT] = actors[((before & INDEX) << ACTOR_BITS) + A_NEXT]
                        actors[((before & INDEX) << ACTOR_BITS) + A_NEXT] = me
                    if actors[own + A_NEXT] < 0:
                        queues[line + Q_TAIL] = me
                    place -= 1
                    state = WAITING
                    if op == TIMED_TAKE:
                        wake_times[me] = now + x
                        wake_numbers[me] = counter
                        counter += 1
                        sleeping = True
                    break
                into = rows[at + D]
                if into >= 0:
                    registers[my_registers + (into & INDEX)] = item
                    if into == 0:
                        slot = (item >> shift) * window + (item & mask)
                        slot = nowhere if item < 0 else slot & INDEX
                        base = (slot * width) & INDEX
                        row_of = (slot * columns_each) & INDEX
            elif op == MARK_DONE or op == MARK_POSTED:
                where = slot
                if a != 0:
                    access = registers[my_registers + (a & INDEX)]
                    where = (access >> shift) * window + (access & mask)
                    where = nowhere if access < 0 else where & INDEX
                if op == MARK_DONE:
                    record[(where << RECORD_BITS) + DONE] = clock
                else:
                    record[(where << RECORD_BITS) + POSTED] = clock
            elif op == BRANCH:
                if a == 0:
                    holds_true = x == y
                elif a == 1:
                    holds_true = x != y
                elif a == 2:
                    holds_true = x < y
                elif a == 3:
                    holds_true = x <= y
                elif a == 4:
                    holds_true = x > y
                else:
                    holds_true = x >= y
                if not holds_true:
                    place = rows[at + D]
            elif op == JUMP:
                place = rows[at + D]
            elif op == LET:
                if a == 0:
                    result = x + y
                elif a == 1:
                    result = x - y
                elif a == 2:
                    result = x * y
                elif a == 3:
                    result = min(x, y)
                elif a == 4:
                    result = max(x, y)
                elif a == 5:
                    result = x // y
                else:
                    result = x % y
                target = rows[at + C]
                if rows[at + B] == REGISTER:
                    registers[my_registers + (target & INDEX)] = result
                    if target == 0:
                        slot = (result >> shift) * window + (result & mask)
                        slot = nowhere if result < 0 else slot & INDEX
                        base = (slot * width) & INDEX
                        row_of = (slot * columns_each) & INDEX
                elif rows[at + B] == OWN_CELL:
                    cells[(target + vcpu) & INDEX] = result
                elif rows[at + B] == THEIR_CELL:
                    holder = registers[my_registers + (target & 255)]
                    cells[((target >> 8) + holder) & INDEX] = result
                else:
                    cells[target & INDEX] = result
            elif op == BOOK:
                access = registers[my_registers + (rows[at + B] & INDEX)]
                where = (access >> shift) * window + (access & mask)
                where = nowhere if access < 0 else where & INDEX
                stage_time[((where * width) & INDEX) + (a & INDEX)] += y

        # ---- lay its state down -------------------------------------------------------------
        actors[own + A_PLACE] = place
        actors[own + A_CLOCK] = clock
        actors[own + A_ACCESS_SLOT] = slot
        actors[own + A_STATE] = state
        if outside != 0:
            world[NOW] = now
            world[COUNTER] = counter
            world[RUNNING] = -1 if outside == ALL_HALTED else me
            world[WHO] = queue if outside == NEEDS_ROOM else vcpu
            heap_place[n] = size
            return outside
        if sleeping:  # its number is the highest, so at a tie it stands behind
            time = wake_times[me]
            hole = size
            size += 1
            while hole > 0:
                parent = (hole - 1) >> 1
                upper = heap[parent] & INDEX
                if wake_times[upper] <= time:
                    break
                heap[hole] = upper
                heap_place[upper] = hole
                hole = parent
            heap[hole] = me
            heap_place[me] = hole
        me = np.int64(-1)

    world[NOW] = now
    world[COUNTER] = counter
    world[RUNNING] = -1
    heap_place[n] = size
    return FINISHED
