"""The compiled engine's event loop: the same rows as the SimPy engine, in one Numba function.

Everything the loop touches is an array that was there before it began: it allocates nothing,
draws nothing, and holds no lock of Python's. Whenever it needs something that arrays cannot give (a
vCPU's next block of accesses, more room in a mailbox) it returns and says so; called again, it goes
on where it was.

The order of events is that of the SimPy engine's docstring. Who wakes next is the winner of a
tournament: a binary tree with an actor's wake-up at each leaf, and at each inner node the earlier
one of the two below. A new wake-up plays its way from its leaf to the root. That takes the same
steps whoever wins, so the processor has nothing to guess; it is wrong guesses that cost most here.

For the same reason waking is nothing special: an actor runs the row at its place. How it goes on
after waiting stands in rows of its own (see `layout`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from vmexit_sim.engine.jit import compiled
from vmexit_sim.engine.window import RECORDED
from vmexit_sim.lowering import ALWAYS
from vmexit_sim.program import MARKS, NEXT_MARK, Mode, Op
from vmexit_sim.steps import TIMED_OUT

(
    PASS, MARK, TAKE, PUT, MARK_DONE, MARK_POSTED, LET, BRANCH, JUMP, BOOK, SYNC, TIMED_TAKE, HALT,
) = map(int, Op)  # fmt: skip
TIME, RECEIVE = PASS, len(Op)
"""Ops of this loop's own: time passes, with moments in it; a wait in line is over."""
(
    CONSTANT, REGISTER, COLUMN, COLUMN_OF, CELL, OWN_CELL, LENGTH, OWN_LENGTH, CLOCK, POSTED_AT,
    THEIR_CELL, THEIR_LENGTH,
) = map(int, Mode)  # fmt: skip
START, EXIT, ENTRY, RESUME = MARKS.values()
OWN_MARKS = {MARK_DONE: 2 * NEXT_MARK, MARK_POSTED: 4 * NEXT_MARK}
"""The current access's own effect and posting are marks as the others are."""
IS_DONE, IS_POSTED = OWN_MARKS.values()
TIME_OUT = int(TIMED_OUT)

# Fields of a row as it is laid for this loop. NEXT is where to go on, WOKEN where after waiting in
# line; both modes are in one number.
OP, NEXT, MODES, X, Y, A, B, C, D, WOKEN = range(10)
X_MODE, Y_SHIFT = 15, 4
# A row of `TIME` has others behind X: first AHEAD passes, and x if it is spent; then comes what is
# marked; then LATER passes; and last it may have to wait for the world.
AHEAD, SPENT_AS, MARKED, REASON, LATER, WAITS = range(A, A + 6)

NEVER = 2**63 - 1
"""The wake-up time of an actor that has none."""

FINISHED, NEEDS_BLOCK, NEEDS_ROOM, ALL_HALTED = range(4)
"""Why the loop returned: nobody will ever wake, a vCPU wants accesses, a mailbox wants room, the
last vCPU has halted (others may still have work)."""

# Places in `world`.
COUNTER, WHO, RUNNING_VCPUS, WORLD = range(4)

# Columns of `actors`.
(
    A_PLACE, A_CLOCK, A_ACCESS, A_VCPU, A_OPENED, A_LEFT, A_REASON, A_FOLLOWING,
    A_LOADED, A_GIVEN, A_PRIORITY, A_NEXT, A_IS_VCPU,
) = range(13)  # fmt: skip

# Columns of `queues`.
(
    Q_LENGTH, Q_HEAD, Q_LOCK, Q_STORED, Q_TAKES, Q_TAIL, Q_WAITS, Q_WAITING, Q_CAPACITY, Q_TOKENS,
    Q_PRIORITY, Q_FIRST, Q_ROOM, Q_ITEMS,
) = range(14)  # fmt: skip

# Columns of `tallies`. The sum of squares is exact, in three words of 32 bits, each of which counts
# on beyond them: it would not fit into one.
T_SAMPLES, T_TOTAL, T_LEAST, T_GREATEST, T_SQUARES, T_SQUARES_1, T_SQUARES_2 = range(7)
WORD_BITS, HALF_BITS = 32, 31
WORD, HALF = (1 << WORD_BITS) - 1, 1 << HALF_BITS

# Columns of `accesses`: what is recorded, what every access is, what the program's own columns
# say, and last the booked time of each stage that any row books.
DUE, STARTED, RESUMED, STALL, POSTED, DONE, EXITS = range(len(RECORDED))
CLASS, COMPUTE, ARRIVAL, OPERATION = range(len(RECORDED), len(RECORDED) + len(ALWAYS))

# Fields of a node of the tournament: when somebody wakes; and the number that breaks ties, with who
# it is in its lower bits.
WHEN, TICKET = range(2)
WHO_BITS = 20
WHO_MASK = (1 << WHO_BITS) - 1
ROOT = 1

ROW_BITS, ACTOR_BITS, QUEUE_BITS, TALLY_BITS, NODE_BITS = 4, 4, 4, 3, 1
ROW, ACTOR, QUEUE, TALLY, NODE = 16, 16, 16, 8, 2
"""Places that a row of the program, an actor, … takes: powers of two, so that finding it is a
shift by a constant."""

INDEX = 2**31 - 1
"""A mask for what indexes an array. An index that cannot be negative spares the check with which
Numba lets negative ones count from the end; together these checks cost much of the loop's time."""


@njit(inline="always")
def _found(access: int, shift: int, mask: int, each: int, nowhere: int) -> int:
    """Where an access stands in `accesses`; the access of nobody has a place too."""
    slot = (access >> shift) * (mask + 1) + (access & mask)
    return nowhere if access < 0 else (slot * each) & INDEX


@njit(inline="always")
def _value(
    mode: int, index: int, clock: int, vcpu: int, here: int, mine: int, registers: Any,
    accesses: Any, cells: Any, queues: Any, shift: int, mask: int, each: int, nowhere: int,
) -> Any:  # fmt: skip
    """An operand's value."""
    if mode == COLUMN:
        index = accesses[here + (index & INDEX)]
    elif mode == REGISTER:
        index = registers[mine + (index & INDEX)]
    elif mode == CLOCK:
        index = clock
    elif mode == COLUMN_OF:
        at = _found(registers[mine + (index & 255)], shift, mask, each, nowhere)
        index = accesses[at + ((index >> 8) & INDEX)]
    elif mode == POSTED_AT:
        at = _found(registers[mine + (index & INDEX)], shift, mask, each, nowhere)
        index = accesses[at + POSTED]
    elif mode == CELL:
        index = cells[index & INDEX]
    elif mode == OWN_CELL:
        index = cells[(index + vcpu) & INDEX]
    elif mode == LENGTH:
        index = queues[((index & INDEX) << QUEUE_BITS) + Q_LENGTH]
    elif mode == OWN_LENGTH:
        index = queues[(((index + vcpu) & INDEX) << QUEUE_BITS) + Q_LENGTH]
    elif mode == THEIR_CELL:
        index = cells[((index >> 8) + registers[mine + (index & 255)]) & INDEX]
    elif mode == THEIR_LENGTH:
        holder = registers[mine + (index & 255)]
        index = queues[((((index >> 8) + holder) & INDEX) << QUEUE_BITS) + Q_LENGTH]
    return index


@intrinsic
def _earlier(_: Any, time: Any, ticket: Any, other_time: Any, other_ticket: Any) -> Any:
    """The earlier one of two wake-ups, (time, ticket) each.

    Compared as numbers of 128 bits, and marked as nothing that can be guessed: the processor shall
    choose and not jump.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        long = ir.IntType(128)

        def whole(high: Any, low: Any) -> Any:
            upper = builder.shl(builder.sext(high, long), ir.Constant(long, 64))
            return builder.or_(upper, builder.zext(low, long))

        one, other = arguments[:2], arguments[2:]
        other_first = builder.icmp_signed("<", whole(*other), whole(*one))
        earlier = [builder.select(other_first, *both) for both in zip(other, one, strict=True)]
        for part in earlier:
            part.set_metadata("unpredictable", builder.module.add_metadata([]))
        return context.make_tuple(builder, signature.return_type, earlier)

    pair = types.UniTuple(types.int64, 2)  # type: ignore[no-untyped-call]
    return pair(time, ticket, other_time, other_ticket), generate


@njit(inline="always")
def _set_alarm(tree: Any, leaf: int, time: int, ticket: int) -> tuple[int, int]:
    """Set an actor's wake-up, play it through the tournament, and return who has won."""
    node = leaf & INDEX
    while node != ROOT:
        tree[(node << NODE_BITS) + WHEN] = time
        tree[(node << NODE_BITS) + TICKET] = ticket
        rival = (node ^ 1) << NODE_BITS
        time, ticket = _earlier(  # type: ignore[call-arg]
            time, ticket, tree[rival + WHEN], tree[rival + TICKET]
        )
        node >>= 1
    return time, ticket


@compiled
def advance(
    world: Any, rows: Any, entries: Any, end: int, asking: int, actors: Any, registers: Any,
    registers_each: int, accesses: Any, each: int, window_bits: int, shift: int, cells: Any,
    queues: Any, items: Any, holds: Any, tallies: Any, tree: Any,
) -> int:  # fmt: skip
    """Run until every actor sleeps for good, or something is needed from outside.

    All arrays are flat: an index of several dimensions would cost a multiplication at each use.

    Args:
        world: scalars that live on between calls (`COUNTER` …).
        rows: the program, as `layout.lay` has it.
        entries: where each class's routine begins in it.
        end: where a vCPU goes on after its last access.
        asking: where it asks for its next one.
        actors: state, `ACTOR` places each.
        registers: `registers_each` places for each actor, the last two of which hold 0 and the
            number of its vCPU, so that whose queue is meant always stands in a register.
        accesses: what is known and recorded of accesses, `each` places a slot: a window of slots
            for each vCPU, and at last one for the access of nobody.
        window_bits: so many slots, as a power of two, has a vCPU's window.
        shift: an access's number is its vCPU's, so many bits up, and its place in program order.
        cells: shared integers.
        queues: state, `QUEUE` places each.
        items: the mailboxes' rings, one behind the other.
        holds: how often each actor holds each lock: lock by lock.
        tallies: exits by reason, `TALLY` places each.
        tree: the tournament, `NODE` places a node; the leaves make up its second half.

    Returns:
        `FINISHED`, `NEEDS_BLOCK`, `NEEDS_ROOM` or `ALL_HALTED`; ``world[WHO]`` says who needs it.
    """
    leaves = tree.shape[0] >> (NODE_BITS + 1)
    mask = (1 << window_bits) - 1
    nowhere = (accesses.shape[0] - each) & INDEX
    counter = world[COUNTER]
    now, ticket = tree[(ROOT << NODE_BITS) + WHEN], tree[(ROOT << NODE_BITS) + TICKET]
    outside = FINISHED

    while now != NEVER:
        # ---- take up the state of whose turn it is ------------------------------------------
        me = ticket & WHO_MASK
        own = me << ACTOR_BITS
        mine = (me * registers_each) & INDEX
        place = actors[own + A_PLACE]
        clock = actors[own + A_CLOCK]
        here = actors[own + A_ACCESS] & INDEX
        vcpu = actors[own + A_VCPU]
        alarm = NEVER

        # ---- run its rows -------------------------------------------------------------------
        while True:
            at = place & INDEX
            op = rows[at + OP]
            place = rows[at + NEXT]
            if op == TIME:
                clock += rows[at + AHEAD]
                spent_as = rows[at + SPENT_AS]
                if spent_as != 0:
                    x = _value(
                        rows[at + MODES], rows[at + X], clock, vcpu, here, mine, registers,
                        accesses, cells, queues, shift, mask, each, nowhere,
                    )  # fmt: skip
                    clock += x
                    accesses[here + (spent_as & INDEX)] += x
                marks = rows[at + MARKED]
                if marks != 0:
                    if marks & START:
                        actors[own + A_OPENED] = clock
                        if accesses[here + STARTED] < 0:
                            accesses[here + STARTED] = clock
                            due = accesses[here + ARRIVAL]
                            due = clock if due < 0 else due + accesses[here + COMPUTE]
                            accesses[here + DUE] = due
                    if marks & EXIT:
                        actors[own + A_REASON] = rows[at + REASON]
                        actors[own + A_LEFT] = clock
                        accesses[here + EXITS] += 1
                    if marks & ENTRY:
                        time = clock - actors[own + A_LEFT]
                        tally = (actors[own + A_REASON] & INDEX) << TALLY_BITS
                        tallies[tally + T_SAMPLES] += 1
                        tallies[tally + T_TOTAL] += time
                        if time < tallies[tally + T_LEAST]:
                            tallies[tally + T_LEAST] = time
                        if time > tallies[tally + T_GREATEST]:
                            tallies[tally + T_GREATEST] = time
                        if time < HALF:  # 2 ms: nearly all
                            square = time * time
                            tallies[tally + T_SQUARES] += square & WORD
                            tallies[tally + T_SQUARES_1] += square >> WORD_BITS
                        else:
                            high, low = time >> HALF_BITS, time & (HALF - 1)
                            square, cross, top = low * low, low * high, high * high
                            tallies[tally + T_SQUARES] += square & WORD
                            tallies[tally + T_SQUARES_1] += (
                                (square >> WORD_BITS) + (cross & WORD) + ((top & 3) << 30)
                            )
                            tallies[tally + T_SQUARES_2] += (cross >> WORD_BITS) + (top >> 2)
                    if marks & RESUME:
                        accesses[here + STALL] += clock - actors[own + A_OPENED]
                        if accesses[here + RESUMED] < 0:
                            accesses[here + RESUMED] = clock
                    if marks & IS_DONE:
                        accesses[here + DONE] = clock
                    if marks & IS_POSTED:
                        accesses[here + POSTED] = clock
                    if marks & NEXT_MARK:
                        following = actors[own + A_FOLLOWING]
                        if following < actors[own + A_LOADED]:
                            registers[mine] = following
                            actors[own + A_FOLLOWING] = following + 1
                            here = _found(following, shift, mask, each, nowhere)
                            place = entries[accesses[here + CLASS] & INDEX]
                        elif actors[own + A_LOADED] < 0:  # there are no more
                            place = end
                        else:  # the other marks are made; it asks again when called again
                            place = asking
                            outside = NEEDS_BLOCK
                            break
                clock += rows[at + LATER]
                if rows[at + WAITS] != 0 and clock > now:
                    alarm = clock
                    break
            elif op == TAKE or op == TIMED_TAKE or op == PUT:
                queue = (rows[at + A] + registers[mine + (rows[at + B] & INDEX)]) & INDEX
                line = queue << QUEUE_BITS
                lock = queues[line + Q_LOCK]
                length = queues[line + Q_LENGTH]
                if op == PUT:
                    item = _value(
                        rows[at + MODES] >> Y_SHIFT, rows[at + Y], clock, vcpu, here, mine,
                        registers, accesses, cells, queues, shift, mask, each, nowhere,
                    )  # fmt: skip
                    if lock >= 0:  # nobody says that it must be a holder who gives it back
                        held = holds[(lock & INDEX) + me]
                        holds[(lock & INDEX) + me] = held - np.int64(held > 0)
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
                            holds[(lock & INDEX) + other] += 1
                        actors[theirs + A_GIVEN] = item
                        _set_alarm(tree, leaves + other, now, counter | other)
                        counter += 1 << WHO_BITS
                    elif length < queues[line + Q_CAPACITY]:
                        if lock < 0:
                            room = queues[line + Q_ROOM]
                            if length == room:
                                place = at
                                outside = NEEDS_ROOM
                                break
                            spot = queues[line + Q_FIRST] + length
                            if spot >= room:
                                spot -= room
                            items[(queues[line + Q_ITEMS] + spot) & INDEX] = item
                        queues[line + Q_LENGTH] = length + 1
                        queues[line + Q_STORED] -= now
                    else:
                        refused = 1
                    if rows[at + C] >= 0:
                        registers[mine + (rows[at + C] & INDEX)] = refused
                    continue
                patience = np.int64(NEVER)
                if op == TIMED_TAKE:
                    patience = _value(
                        rows[at + MODES] & X_MODE, rows[at + X], clock, vcpu, here, mine, registers,
                        accesses, cells, queues, shift, mask, each, nowhere,
                    )  # fmt: skip
                if length > 0:
                    queues[line + Q_LENGTH] = length - 1
                    queues[line + Q_STORED] += now
                    queues[line + Q_TAKES] += 1
                    item = np.int64(0)
                    if lock >= 0:
                        holds[(lock & INDEX) + me] += 1
                    else:
                        first = queues[line + Q_FIRST]
                        item = items[(queues[line + Q_ITEMS] + first) & INDEX]
                        first += 1
                        queues[line + Q_FIRST] = 0 if first == queues[line + Q_ROOM] else first
                elif patience <= 0:
                    item = np.int64(TIME_OUT)
                else:  # stand in line
                    queues[line + Q_WAITS] += 1
                    queues[line + Q_WAITING] -= now
                    rank = np.int64(0)
                    before = queues[line + Q_TAIL]
                    if queues[line + Q_PRIORITY] != 0:
                        rank = _value(
                            rows[at + MODES] >> Y_SHIFT, rows[at + Y], clock, vcpu, here, mine,
                            registers, accesses, cells, queues, shift, mask, each, nowhere,
                        )  # fmt: skip
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
                    place = rows[at + WOKEN]
                    if op == TIMED_TAKE:
                        actors[own + A_GIVEN] = TIME_OUT  # unless somebody gives something
                        alarm = now + patience
                    break
                into = rows[at + D]
                if into >= 0:
                    registers[mine + (into & INDEX)] = item
                    if into == 0:
                        here = _found(item, shift, mask, each, nowhere)
            elif op == RECEIVE:
                item = actors[own + A_GIVEN]
                if item == TIME_OUT:  # leave the line
                    whose = registers[mine + (rows[at + B] & INDEX)]
                    line = ((rows[at + A] + whose) & INDEX) << QUEUE_BITS
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
                accesses[here + (rows[at + C] & INDEX)] += now - clock
                clock = now
                into = rows[at + D]
                if into >= 0:
                    registers[mine + (into & INDEX)] = item
                    if into == 0:
                        here = _found(item, shift, mask, each, nowhere)
            else:
                x = _value(
                    rows[at + MODES] & X_MODE, rows[at + X], clock, vcpu, here, mine, registers,
                    accesses, cells, queues, shift, mask, each, nowhere,
                )  # fmt: skip
                y = _value(
                    rows[at + MODES] >> Y_SHIFT, rows[at + Y], clock, vcpu, here, mine, registers,
                    accesses, cells, queues, shift, mask, each, nowhere,
                )  # fmt: skip
                if op == MARK_DONE or op == MARK_POSTED:
                    access = registers[mine + (rows[at + A] & INDEX)]
                    where = _found(access, shift, mask, each, nowhere)
                    accesses[where + (DONE if op == MARK_DONE else POSTED)] = clock
                elif op == BRANCH:
                    a = rows[at + A]
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
                elif op == LET:
                    a = rows[at + A]
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
                        registers[mine + (target & INDEX)] = result
                        if target == 0:
                            here = _found(result, shift, mask, each, nowhere)
                    elif rows[at + B] == OWN_CELL:
                        cells[(target + vcpu) & INDEX] = result
                    elif rows[at + B] == THEIR_CELL:
                        holder = registers[mine + (target & 255)]
                        cells[((target >> 8) + holder) & INDEX] = result
                    else:
                        cells[target & INDEX] = result
                elif op == BOOK:
                    access = registers[mine + (rows[at + B] & INDEX)]
                    where = _found(access, shift, mask, each, nowhere)
                    accesses[where + (rows[at + A] & INDEX)] += y
                else:  # HALT
                    running = world[RUNNING_VCPUS] - actors[own + A_IS_VCPU]
                    if actors[own + A_IS_VCPU] != 0 and running == 0:
                        outside = ALL_HALTED
                    world[RUNNING_VCPUS] = running
                    break

        # ---- lay its state down -------------------------------------------------------------
        actors[own + A_PLACE] = place
        actors[own + A_CLOCK] = clock
        actors[own + A_ACCESS] = here
        if outside == NEEDS_BLOCK or outside == NEEDS_ROOM:  # it goes on when called again
            world[WHO] = queue if outside == NEEDS_ROOM else vcpu
            break
        now, ticket = _set_alarm(tree, leaves + me, alarm, counter | me)
        counter += 1 << WHO_BITS
        if outside == ALL_HALTED:
            world[WHO] = vcpu
            break

    world[COUNTER] = counter
    tree[(ROOT << NODE_BITS) + WHEN], tree[(ROOT << NODE_BITS) + TICKET] = now, ticket
    return outside
