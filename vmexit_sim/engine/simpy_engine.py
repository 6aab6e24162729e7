"""The reference engine: every actor a SimPy process, every queue an event when someone waits.

**The order of events** is part of the model. An actor has its own clock, which `SPEND` advances
without an event. A step that touches what is shared waits until the world is as late as the actor.
An actor has at most one pending wake-up: set on reaching such a step while ahead, by a time-out,
or by a `PUT` to it, which replaces a time-out. Setting one takes the next number of one global
counter; actors wake by (time, number), at first by index. A step that needs no waiting sets none.
SimPy's own queue, ordered by time and then by event number, is exactly that.
"""

from __future__ import annotations

from bisect import insort
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Generator
from operator import add, eq, floordiv, ge, gt, le, lt, mod, mul, ne, sub
from typing import Any

import numpy as np
import simpy
from simpy.events import Timeout

from vmexit_sim.engine.deadlock import Waiting, deadlock_error
from vmexit_sim.engine.window import RECORDED, Window, no_effect_error
from vmexit_sim.lowering import VCPU_SHIFT, Lowered
from vmexit_sim.measure.records import ExitTally, Records, ResourceUse, RunResult, Summary
from vmexit_sim.measure.tracer import Tracer
from vmexit_sim.program import MARKS, NEXT_MARK, OWN, THEIRS, Actor, Mode, Op
from vmexit_sim.steps import NOBODY, TIMED_OUT, Queue

(
    PASS, MARK, TAKE, PUT, DONE, POSTED, LET, BRANCH, JUMP, BOOK, SYNC, TIMED_TAKE, HALT,
) = map(int, Op)  # fmt: skip
TAKES = (TAKE, TIMED_TAKE)
START, EXIT, ENTRY, RESUME = MARKS.values()
(
    CONSTANT, REGISTER, COLUMN, COLUMN_OF, CELL, OWN_CELL, LENGTH, OWN_LENGTH, CLOCK, POSTED_AT,
    THEIR_CELL, THEIR_LENGTH,
) = map(int, Mode)  # fmt: skip
OPERATORS: tuple[Callable[[int, int], int], ...] = (add, sub, mul, min, max, floordiv, mod)
RELATIONS: tuple[Callable[[int, int], bool], ...] = (eq, ne, lt, le, gt, ge)


Place = tuple[int, int, simpy.Event, str, int]
"""A waiter's place in line: rank, arrival number (both order it), its event, who, since when."""


class Line:
    """A queue at work: its items, and the actors who wait for one.

    Time integrals need no event: an item that comes at t and goes at u adds u - t.
    """

    __slots__ = (
        "capacity", "holders", "is_lock", "items", "place", "queue", "stored", "takes", "waiters",
        "waiting", "waits",
    )  # fmt: skip

    def __init__(self, queue: Queue, place: int) -> None:
        self.queue = queue
        self.place = place
        self.capacity = queue.capacity
        self.is_lock = queue.tokens > 0
        self.items: deque[int] = deque([0] * queue.tokens)
        self.waiters: list[Place] = []
        self.holders: defaultdict[str, int] = defaultdict(int)
        self.takes = self.waits = self.stored = self.waiting = 0

    def wait(self, event: simpy.Event, now: int, priority: int, who: str) -> Place:
        """Stand in line; the event will bring an item, or `TIMED_OUT`."""
        self.waits += 1
        self.waiting -= now
        rank = priority if self.queue.discipline == "priority" else 0
        place = (rank, self.waits, event, who, now)
        insort(self.waiters, place)
        return place

    def hand_over(self, env: simpy.Environment, now: int, item: int) -> None:
        """Wake the first waiter with an item."""
        _, _, event, who, _ = self.waiters.pop(0)
        self.waiting += now
        self.takes += 1
        if self.is_lock:
            self.holders[who] += 1
        if event.triggered:  # a time-out is pending: this wake-up replaces it
            wake = env.event()
            assert event.callbacks is not None
            wake.callbacks, event.callbacks = event.callbacks, []
            event = wake
        event.succeed(item)

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
    before last is reduced, and the next is laid in its place. A tracer is told what happens.
    """

    def __init__(
        self,
        lowered: Lowered,
        window: Window,
        *,
        keep_rows: bool = False,
        tracer: Tracer | None = None,
    ) -> None:
        self.lowered = lowered
        self.tracer = tracer
        self.program = program = lowered.program
        self.window = window
        self.env = simpy.Environment(0)
        self.columns = {name: [0] * window.slots for name in window.names}
        self.record = {name: [initial] * window.slots for name, initial in RECORDED.items()}
        self.width = len(program.stages)
        self.stage_time = [0] * (window.slots * self.width)
        self.fixed = window.fixed_times(program)
        self.lines = [Line(queue, place) for place, queue in enumerate(program.queues)]
        self.cells = [0] * len(program.cells)
        self.exit_times: list[list[int]] = [[] for _ in program.reasons]
        self.tallies = [ExitTally(reason) for reason in program.reasons]
        self.finish: list[int | None] = [None] * program.vcpus
        self.summary = Summary(program.stages, keep_rows)
        self.seen = np.zeros(len(program.entries), np.int64)
        self.uses: list[ResourceUse] = []

    def run(self) -> RunResult:
        """Run until every vCPU has halted.

        Raises:
            SimulationError: a deadlock (it says who waits for whom), or an access whose effect
                has not happened within the window.
        """
        for number, actor in enumerate(self.program.actors):
            self.env.process(self._live(actor, number))
        self.env.run()
        if None in self.finish:
            raise self._deadlock()
        for vcpu in range(self.program.vcpus):
            for begin, end in self.window.left_over(vcpu):
                self._retire(vcpu, begin, end)
        self.summary.finish()
        self._tally()
        finish = [time for time in self.finish if time is not None]
        return RunResult(
            summary=self.summary,
            exits=[tally for tally in self.tallies if tally.samples],
            resources=self.uses,
            finish=finish,
            who=self.program.who,
            vcpus=self.program.vcpus - self.program.contexts,
            reach=self.lowered.reach(self.seen),
        )

    def _live(self, actor: Actor, number: int) -> Generator[simpy.Event, Any, None]:
        """An actor's life: run rows of the program, and wait where others are concerned."""
        env, rows, lines, cells = self.env, self.program.rows, self.lines, self.cells
        tracer = self.tracer
        stage_time, width, mask = self.stage_time, self.width, self.window.size - 1
        by_number = [self.columns[name] for name in self.program.columns]
        compute, arrival = self.columns["compute"], self.columns["arrival"]
        classes, entries = self.columns["class"], self.program.entries
        due, start, resume, stall, posted, done, exits = self.record.values()
        exit_times = self.exit_times
        known_lines = self._known_lines(actor)
        registers = [NOBODY] + [0] * (self.program.registers - 1)
        vcpu, name = actor.vcpu, actor.name
        window, nowhere = self.window.slot(vcpu, 0), self.window.slots - 1
        following = loaded = vcpu << VCPU_SHIFT
        clock = now = opened = left = reason = 0
        slot = nowhere  # where the current access's columns and records are
        base = slot * width  # and its stages
        place = actor.entry

        def slot_of(access: int) -> int:
            if access < 0:
                return nowhere
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
            if mode == COLUMN_OF:
                return by_number[index >> 8][slot_of(registers[index & 255])]
            if mode == POSTED_AT:
                return posted[slot_of(registers[index])]
            if mode == CELL:
                return cells[index]
            if mode == OWN_CELL:
                return cells[index + vcpu]
            if mode == LENGTH:
                return len(lines[index].items)
            if mode == OWN_LENGTH:
                return len(lines[index + vcpu].items)
            if mode == THEIR_CELL:
                return cells[(index >> 8) + registers[index & 255]]
            return len(lines[(index >> 8) + registers[index & 255]].items)

        while True:
            op, ahead, spend, x_mode, x, y_mode, y, a, b, c, d = rows[place]
            place += 1
            clock += ahead
            if spend:
                amount = by_number[x][slot] if x_mode == COLUMN else value(x_mode, x)
                clock += amount
                stage_time[base + spend - 1] += amount
            if tracer is not None:
                if ahead or spend:
                    tracer.passed(number, registers[0], ahead, spend - 1, clock)
                if op == MARK:
                    tracer.marked(number, registers[0], a, b, clock)
            if op == MARK:
                if a & START:
                    opened = clock
                    if start[slot] < 0:
                        start[slot] = clock
                        arrived = arrival[slot]
                        due[slot] = clock if arrived < 0 else arrived + compute[slot]
                if a & EXIT:
                    reason, left = b, clock
                    exits[slot] += 1
                if a & ENTRY:
                    exit_times[reason].append(clock - left)
                if a & RESUME:
                    stall[slot] += clock - opened
                    if resume[slot] < 0:
                        resume[slot] = clock
                if a & NEXT_MARK:
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
            elif op in TAKES:
                if clock > now:
                    yield Timeout(env, clock - now)
                    now = clock
                line = known_lines[place - 1] or lines[a + registers[b - THEIRS]]
                timeout = value(x_mode, x) if op == TIMED_TAKE else None
                if line.items:
                    item = line.items.popleft()
                    line.stored += now
                    line.takes += 1
                    if line.is_lock:
                        line.holders[name] += 1
                elif timeout is not None and timeout <= 0:
                    item = TIMED_OUT
                else:
                    wake = env.event() if timeout is None else Timeout(env, timeout, TIMED_OUT)
                    spot = line.wait(wake, now, value(y_mode, y), name)
                    if tracer is not None:
                        tracer.queued(line.place, len(line.waiters), len(line.items), now)
                    item = yield wake
                    now = int(env.now)
                    if timeout is not None and item == TIMED_OUT:
                        line.waiters.remove(spot)
                        line.waiting += now
                    stage_time[base + c] += now - clock
                    clock = now
                    if tracer is not None:
                        tracer.waited(number, registers[0], c, line.place, clock)
                if tracer is not None:
                    tracer.queued(line.place, len(line.waiters), len(line.items), now)
                if d >= 0:
                    registers[d] = item
                    if d == 0:
                        slot = slot_of(item)
                        base = slot * width
            elif op == PUT:
                if clock > now:
                    yield Timeout(env, clock - now)
                    now = clock
                line = known_lines[place - 1] or lines[a + registers[b - THEIRS]]
                if line.is_lock and line.holders[name]:
                    line.holders[name] -= 1
                item = value(y_mode, y) if y_mode else y
                refused = 0
                if line.waiters:
                    line.hand_over(env, now, item)
                elif len(line.items) < line.capacity:
                    line.items.append(item)
                    line.stored -= now
                else:
                    refused = 1
                if tracer is not None:
                    tracer.queued(line.place, len(line.waiters), len(line.items), now)
                if c >= 0:
                    registers[c] = refused
            elif op == DONE:
                done[slot_of(registers[a]) if a else slot] = clock
                if tracer is not None:
                    tracer.done(number, registers[a], clock)
            elif op == LET:
                result = OPERATORS[a](value(x_mode, x), value(y_mode, y))
                if b == REGISTER:
                    registers[c] = result
                    if c == 0:
                        slot = slot_of(result)
                        base = slot * width
                elif b == THEIR_CELL:
                    cells[(c >> 8) + registers[c & 255]] = result
                else:
                    cells[c + (vcpu if b == OWN_CELL else 0)] = result
            elif op == BRANCH:
                if not RELATIONS[a](value(x_mode, x), value(y_mode, y)):
                    place = d
            elif op == JUMP:
                place = d
            elif op == POSTED:
                posted[slot_of(registers[a]) if a else slot] = clock
                if tracer is not None:
                    tracer.posted(number, registers[a], clock)
            elif op == BOOK:
                stage_time[slot_of(registers[b]) * width + a] += value(y_mode, y)
                if tracer is not None:
                    tracer.booked(number, registers[b], a, value(y_mode, y), clock)
            elif op == SYNC:
                if clock > now:
                    yield Timeout(env, clock - now)
                    now = clock
            elif op == HALT:
                if clock > now:
                    yield Timeout(env, clock - now)
                if actor.is_vcpu:
                    self.finish[vcpu] = clock
                    if None not in self.finish:  # what others still do is no part of the run
                        self.uses = [line.use(clock) for line in lines]
                return

    def _known_lines(self, actor: Actor) -> list[Line | None]:
        """For each row, the queue that it takes from or puts to, if no register says whose."""
        known: list[Line | None] = []
        for op, *_, queue, whose, _, _ in self.program.rows:
            is_known = op in (*TAKES, PUT) and whose < THEIRS
            place = queue + (actor.vcpu if whose == OWN else 0)
            known.append(self.lines[place] if is_known else None)
        return known

    def _load(self, vcpu: int) -> int:
        """Lay a vCPU's next block into its window; returns how many accesses it has."""
        block = self.window.next_block(vcpu)
        if block is None:
            return 0
        if block.replaces is not None:
            self._retire(vcpu, *block.replaces)
        a, b, n, width = block.slot, block.slot + block.accesses, block.accesses, self.width
        for name, column in zip(self.window.names, block.made, strict=True):
            self.columns[name][a:b] = column[block.at : block.at + n].tolist()
        for name, initial in RECORDED.items():
            self.record[name][a:b] = [initial] * n
        self.stage_time[a * width : b * width] = [0] * (n * width)
        self._tally()
        return n

    def _retire(self, vcpu: int, begin: int, end: int) -> None:
        """Reduce a vCPU's accesses begin … end-1, all of which must have had their effect."""
        a = self.window.slot(vcpu, begin)
        b = a + end - begin
        try:
            part = {name: np.array(column[a:b], np.int64) for name, column in self.record.items()}
            times = np.array(self.stage_time[a * self.width : b * self.width], np.int64)
        except OverflowError:  # no whole number of Python's is too large, but the others are
            late = next((n for n, due in enumerate(self.record["done"][a:b]) if due >= 2**63), 0)
            raise no_effect_error(vcpu, begin + late, -2, self.window.block) from None
        if (part["done"] < 0).any():
            late = begin + int(np.flatnonzero(part["done"] < 0)[0])
            done = int(part["done"][late - begin])
            raise no_effect_error(vcpu, late, done, self.window.block)
        stages = times.reshape(end - begin, self.width)
        classes = np.array(self.columns["class"][a:b], np.int64)
        stages += self.fixed[classes]
        self.seen += np.bincount(classes, minlength=len(self.seen))
        operation = np.array(self.columns["operation"][a:b], np.int64)
        self.summary.add(
            Records(vcpu=vcpu, first=begin, operation=operation, stages=stages, **part)
        )

    def _tally(self) -> None:
        """Count the exits since the last time."""
        for tally, times in zip(self.tallies, self.exit_times, strict=True):
            tally.add(times)
            times.clear()

    def _deadlock(self) -> Exception:
        return deadlock_error(
            Waiting(who, line.queue.name, tuple(Counter(line.holders).elements()), since)
            for line in self.lines
            for _, _, _, who, since in line.waiters
        )
