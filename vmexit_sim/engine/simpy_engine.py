"""The reference engine: every actor a SimPy process, every queue an event when someone waits.

**The order of events** is part of the model. An actor has its own clock, which `SPEND` advances
without an event. A step that touches what is shared waits until the world is as late as the actor.
An actor has at most one pending wake-up: set on reaching such a step while ahead, by a time-out,
or by a `PUT` to it, which replaces a time-out. Setting one takes the next number of one global
counter; actors wake by (time, number), at first by index. A step that needs no waiting sets none.
SimPy's own queue, ordered by time and then by event number, is exactly that.
"""

from __future__ import annotations

from array import array
from bisect import insort
from collections import deque
from collections.abc import Callable, Generator, Iterator
from operator import add, eq, ge, gt, le, lt, mul, ne, sub
from typing import Any

import numpy as np
import simpy

from vmexit_sim.errors import SimulationError
from vmexit_sim.guest.workload import BLOCK_ROWS, Workload
from vmexit_sim.lowering import VCPU_SHIFT, Columns, Lowered
from vmexit_sim.measure.records import ExitTally, Records, ResourceUse, RunResult, Summary
from vmexit_sim.program import Actor, Mode, Op
from vmexit_sim.steps import TIMED_OUT, Moment, Queue
from vmexit_sim.streams import Streams
from vmexit_sim.units import format_time

SPEND, TAKE, PUT, LET, BRANCH, JUMP, STAMP, BOOK, NEXT, HALT, SYNC = map(int, Op)
CONSTANT, REGISTER, COLUMN, COLUMN_OF, CELL, OWN_CELL, LENGTH, OWN_LENGTH, CLOCK, POSTED_AT = map(
    int, Mode
)
START, RESUME, POSTED, DONE, EXIT, ENTRY = map(int, Moment)
OPERATORS: tuple[Callable[[int, int], int], ...] = (add, sub, mul, min, max)
RELATIONS: tuple[Callable[[int, int], bool], ...] = (eq, ne, lt, le, gt, ge)

NOBODY = -1
"""The access of an actor that works for none: its time is booked where nobody looks."""


class World(simpy.Environment):
    """SimPy's environment, with a time that is always whole picoseconds."""

    @property
    def now(self) -> int:
        """The world's time, in ps."""
        return self._now  # type: ignore[return-value]


class Line:
    """A queue at work: its items, and the actors who wait for one.

    Time integrals need no event: an item that comes at t and goes at u adds u - t.
    """

    __slots__ = ("holders", "items", "queue", "stored", "takes", "waiters", "waiting", "waits")

    def __init__(self, queue: Queue) -> None:
        self.queue = queue
        self.items: deque[int] = deque([0] * queue.tokens)
        self.waiters: list[tuple[int, int, simpy.Event, str]] = []
        self.holders: list[str] = []
        self.takes = self.waits = self.stored = self.waiting = 0

    def wait(self, env: World, priority: int, who: str, timeout: int | None
             ) -> tuple[int, int, simpy.Event, str]:  # fmt: skip
        """Stand in line; the event brings an item, or `TIMED_OUT` after a while."""
        event = env.event() if timeout is None else env.timeout(timeout, TIMED_OUT)
        self.waits += 1
        self.waiting -= env.now
        rank = priority if self.queue.discipline == "priority" else 0
        place = (rank, self.waits, event, who)
        insort(self.waiters, place)
        return place

    def put(self, env: World, item: int) -> bool:
        """Hand an item to the first waiter, or store it; false if there is no room."""
        if self.waiters:
            _, _, event, who = self.waiters.pop(0)
            self.waiting += env.now
            self.takes += 1
            if self.queue.tokens:
                self.holders.append(who)
            if event.triggered:  # a time-out is pending: this wake-up replaces it
                wake = env.event()
                assert event.callbacks is not None
                wake.callbacks, event.callbacks = event.callbacks, []
                event = wake
            event.succeed(item)
            return True
        if len(self.items) >= self.queue.capacity:
            return False
        self.items.append(item)
        self.stored -= env.now
        return True

    def use(self, span: int) -> ResourceUse:
        """What this queue saw up to `span`."""
        stored = self.stored + len(self.items) * span
        tokens = self.queue.tokens
        return ResourceUse(
            name=self.queue.name,
            tokens=tokens,
            takes=self.takes,
            waits=self.waits,
            busy=tokens * span - stored if tokens else 0,
            waiting=self.waiting + len(self.waiters) * span,
            span=span,
        )


class Simulation:
    """One run of a program over a guest's accesses.

    The accesses of a vCPU pass through a window of two blocks: when it enters one block, the one
    before last is reduced, and the next is laid in its place.
    """

    def __init__(
        self, lowered: Lowered, workload: Workload, streams: Streams, *, keep_rows: bool = False,
        block_rows: int = BLOCK_ROWS,
    ) -> None:  # fmt: skip
        self.program = program = lowered.program
        self.env = World(0)
        self.block = block_rows
        assert block_rows & (block_rows - 1) == 0, "the window's size is a power of two"
        self.window = 2 * block_rows
        self.slots = self.window * program.vcpus + 1
        self.feeds: list[Iterator[Columns]] = [
            lowered.feed(workload, streams, vcpu, block_rows) for vcpu in range(program.vcpus)
        ]
        self.loaded = [0] * program.vcpus
        self.names = ["class", "compute", "arrival", "operation", *program.columns]
        self.columns: dict[str, list[int]] = {name: [0] * self.slots for name in self.names}
        self.record = {
            name: array("q", bytes(8 * self.slots))
            for name in ("due", "start", "resume", "stall", "posted", "done", "exits")
        }
        self.stage_time = array("q", bytes(8 * self.slots * max(len(program.stages), 1)))
        self.lines = [Line(queue) for queue in program.queues]
        self.cells = [0] * len(program.cells)
        self.tallies = [ExitTally(reason) for reason in program.reasons]
        self.finish: list[int | None] = [None] * program.vcpus
        self.summary = Summary(program.stages, keep_rows)

    def run(self) -> RunResult:
        """Run until every vCPU has halted.

        Raises:
            SimulationError: a deadlock (it says who waits for whom), or an access whose effect
                has not happened within the window.
        """
        for actor in self.program.actors:
            self.env.process(self._live(actor))
        self.env.run()
        if None in self.finish:
            raise SimulationError(self._deadlock())
        for vcpu, loaded in enumerate(self.loaded):
            blocks = -(-loaded // self.block)
            for block in range(max(blocks - 2, 0), blocks):
                self._retire(vcpu, block * self.block, min((block + 1) * self.block, loaded))
        self.summary.finish()
        finish = [time for time in self.finish if time is not None]
        return RunResult(
            summary=self.summary,
            exits=[tally for tally in self.tallies if tally.samples],
            resources=[line.use(max(finish)) for line in self.lines],
            finish=finish,
        )

    def _live(self, actor: Actor) -> Generator[simpy.Event, Any, None]:
        """An actor's life: run rows of the program, and wait where others are concerned."""
        env, rows, lines, cells = self.env, self.program.rows, self.lines, self.cells
        stage_time, width, mask = self.stage_time, len(self.program.stages), self.window - 1
        by_number = [self.columns[name] for name in self.program.columns]
        compute, arrival = self.columns["compute"], self.columns["arrival"]
        classes, entries = self.columns["class"], self.program.entries
        due, start, resume, stall, posted, done, exits = self.record.values()
        registers = [NOBODY] + [0] * (self.program.registers - 1)
        vcpu, slots = actor.vcpu, self.slots
        window = vcpu * self.window
        following = vcpu << VCPU_SHIFT
        loaded = following
        clock = opened = left = reason = 0
        slot = slots - 1
        base = slot * width
        place = actor.entry

        def slot_of(access: int) -> int:
            if access < 0:
                return slots - 1
            return (access >> VCPU_SHIFT) * (mask + 1) + (access & mask)

        def value(mode: int, index: int) -> int:
            if mode == CONSTANT:
                return index
            if mode == REGISTER:
                return registers[index]
            if mode == COLUMN:
                return by_number[index][slot]
            if mode == CLOCK:
                return clock
            if mode == CELL:
                return cells[index]
            if mode == OWN_CELL:
                return cells[index + vcpu]
            if mode == LENGTH:
                return len(lines[index].items)
            if mode == OWN_LENGTH:
                return len(lines[index + vcpu].items)
            if mode == POSTED_AT:
                return posted[slot_of(registers[index])]
            return by_number[index >> 8][slot_of(registers[index & 255])]

        while True:
            row = rows[place]
            place += 1
            op = row[0]
            if op == SPEND:
                mode = row[2]
                if mode == CONSTANT:
                    amount = row[3]
                elif mode == COLUMN:
                    amount = by_number[row[3]][slot]
                else:
                    amount = value(mode, row[3])
                clock += amount
                stage_time[base + row[1]] += amount
            elif op == STAMP:
                moment = row[1]
                where = slot if row[2] == 0 else slot_of(registers[row[2]])
                if moment == EXIT:
                    reason, left = row[3], clock
                    exits[where] += 1
                elif moment == ENTRY:
                    self.tallies[reason].add(clock - left)
                elif moment == DONE:
                    done[where] = clock
                elif moment == START:
                    opened = clock
                    if start[where] < 0:
                        start[where] = clock
                        due[where] = (
                            arrival[where] + compute[where] if arrival[where] >= 0 else clock
                        )
                elif moment == RESUME:
                    stall[where] += clock - opened
                    if resume[where] < 0:
                        resume[where] = clock
                elif moment == POSTED:
                    posted[where] = clock
            elif op == TAKE:
                if clock > env.now:
                    yield env.timeout(clock - env.now)
                line = lines[row[1] + vcpu * row[2]]
                if line.items:
                    item = line.items.popleft()
                    line.stored += clock
                    line.takes += 1
                    if line.queue.tokens:
                        line.holders.append(actor.name)
                else:
                    timeout = None if row[5] < 0 else value(row[5], row[6])
                    if timeout is not None and timeout <= 0:
                        item = TIMED_OUT
                    else:
                        spot = line.wait(env, value(row[7], row[8]), actor.name, timeout)
                        item = yield spot[2]
                        if timeout is not None and item == TIMED_OUT:
                            line.waiters.remove(spot)
                            line.waiting += env.now
                        stage_time[base + row[3]] += env.now - clock
                        clock = env.now
                if row[4] >= 0:
                    registers[row[4]] = item
                    if row[4] == 0:
                        slot = slot_of(item)
                        base = slot * width
            elif op == PUT:
                if clock > env.now:
                    yield env.timeout(clock - env.now)
                line = lines[row[1] + vcpu * row[2]]
                if line.queue.tokens and actor.name in line.holders:
                    line.holders.remove(actor.name)
                taken = line.put(env, value(row[3], row[4]))
                if row[5] >= 0:
                    registers[row[5]] = int(not taken)
            elif op == LET:
                amount = OPERATORS[row[5]](value(row[3], row[4]), value(row[6], row[7]))
                if row[1] == REGISTER:
                    registers[row[2]] = amount
                    if row[2] == 0:
                        slot = slot_of(amount)
                        base = slot * width
                else:
                    cells[row[2] + (vcpu if row[1] == OWN_CELL else 0)] = amount
            elif op == BRANCH:
                if not RELATIONS[row[3]](value(row[1], row[2]), value(row[4], row[5])):
                    place = row[6]
            elif op == JUMP:
                place = row[1]
            elif op == BOOK:
                where = slot_of(registers[row[4]])
                stage_time[where * width + row[1]] += value(row[2], row[3])
            elif op == NEXT:
                if following == loaded:
                    loaded += self._load(vcpu)
                if following < loaded:
                    registers[0] = following
                    slot = window + (following & mask)
                    base = slot * width
                    following += 1
                    place = entries[classes[slot]]
                else:
                    place = self.program.end
            elif op == SYNC:
                if clock > env.now:
                    yield env.timeout(clock - env.now)
            else:  # HALT
                if actor.is_vcpu:
                    self.finish[vcpu] = clock
                return

    def _load(self, vcpu: int) -> int:
        """Lay a vCPU's next block into its window; returns how many accesses it has."""
        block = next(self.feeds[vcpu], None)
        if block is None:
            return 0
        begin, n = self.loaded[vcpu], len(block["class"])
        if begin >= self.window:
            self._retire(vcpu, begin - self.window, begin - self.block)
        a = vcpu * self.window + (begin & (self.window - 1))
        for name in self.names:
            self.columns[name][a : a + n] = block[name].tolist()
        for name, column in self.record.items():
            np.frombuffer(column, np.int64)[a : a + n] = -1 if name not in ("stall", "exits") else 0
        width = len(self.program.stages)
        np.frombuffer(self.stage_time, np.int64)[a * width : (a + n) * width] = 0
        self.loaded[vcpu] += n
        return n

    def _retire(self, vcpu: int, begin: int, end: int) -> None:
        """Reduce a vCPU's accesses begin … end-1, all of which must have had their effect."""
        a = vcpu * self.window + (begin & (self.window - 1))
        b = a + end - begin
        width = len(self.program.stages)
        part = {
            name: np.frombuffer(column, np.int64)[a:b].copy()
            for name, column in self.record.items()
        }
        if (part["done"] < 0).any():
            row = begin + int(np.flatnonzero(part["done"] < 0)[0])
            raise SimulationError(
                f"access {row} of vCPU {vcpu} has had no effect although {self.block} later ones "
                "have been issued; raise the block size"
            )
        stages = np.frombuffer(self.stage_time, np.int64)[a * width : b * width]
        self.summary.add(
            Records(
                vcpu=vcpu,
                first=begin,
                operation=np.array(self.columns["operation"][a:b], np.int64),
                stages=stages.reshape(end - begin, width).copy(),
                **part,
            )
        )

    def _deadlock(self) -> str:
        """Who waits for whom."""
        waits = [
            f"{who} waits for {line.queue.name!r}"
            + (f", held by {', '.join(sorted(line.holders))}" if line.holders else "")
            for line in self.lines
            for _, _, _, who in line.waiters
        ]
        return f"deadlock at {format_time(self.env.now)}: " + "; ".join(waits)


def run(
    lowered: Lowered, workload: Workload, streams: Streams, *, keep_rows: bool = False,
    block_rows: int | None = None,
) -> RunResult:  # fmt: skip
    """Run a lowered policy over a workload.

    Args:
        lowered: the program and its feed.
        workload: the guest; must be the one that was lowered for.
        streams: the replication's random streams.
        keep_rows: keep every access's record in the result.
        block_rows: accesses of a vCPU per block, a power of two; by default so many that the
            windows of all vCPUs together stay small.

    Raises:
        SimulationError: see `Simulation.run`.
    """
    if block_rows is None:
        share = max(BLOCK_ROWS // workload.vcpus, 256)
        block_rows = 1 << (share.bit_length() - 1)
    return Simulation(lowered, workload, streams, keep_rows=keep_rows, block_rows=block_rows).run()
