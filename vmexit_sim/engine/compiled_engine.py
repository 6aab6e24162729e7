"""The compiled engine: lays a program and its guest's accesses into arrays, and runs the kernel.

What it computes is what the SimPy engine computes, to the last bit; `kernel` is the loop, this
module everything around it. Accesses pass through the same windows of two blocks a vCPU.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from functools import cache

import numpy as np
import numpy.typing as npt

from vmexit_sim.engine import kernel as k
from vmexit_sim.engine import reduction
from vmexit_sim.engine.deadlock import Waiting, deadlock_error
from vmexit_sim.engine.jit import uncached
from vmexit_sim.engine.reduction import no_operation
from vmexit_sim.engine.window import RECORDED, Window, no_effect_error
from vmexit_sim.lowering import ALWAYS, VCPU_SHIFT, Lowered
from vmexit_sim.measure.records import ExitTally, Records, ResourceUse, RunResult, Summary

Array = npt.NDArray[np.int64]

FIRST_ROOM = 16
"""Items that a mailbox has room for at first."""


PATIENCE = 0.7
"""Seconds after which somebody who waits for the compiler is told so."""

log = logging.getLogger("vmexit_sim")


_preparing = threading.Lock()


def prepare() -> None:
    """Have the compiled code at hand; threads that come meanwhile wait for it."""
    with _preparing:
        _prepare()


@cache
def _prepare() -> None:
    """Have the engine compiled, or loaded from the cache on disk, before it is needed.

    The first time on a machine takes some seconds, and says so on the log. Where the cache cannot
    be written after all (a full disk), the code lives in this process only.
    """
    notice = threading.Timer(
        PATIENCE, log.warning, ["compiling the engine for this machine; this happens once"]
    )
    notice.daemon = True
    notice.start()
    try:
        try:
            _call_with_nothing()
        except OSError:
            k.advance = uncached(k.advance.py_func)
            reduction.reduce_block = uncached(reduction.reduce_block.py_func)
            _call_with_nothing()
    finally:
        notice.cancel()


def _call_with_nothing() -> None:
    """Call the compiled functions with arrays of the right types, and nothing to do."""
    line = np.zeros(6 * k.ROW, np.int64)
    world = np.zeros(k.WORLD, np.int64)
    world[k.RUNNING] = -1
    k.advance(
        world, line, line, 0, 0, line, line, 1, line, 1, line, 1, line, line, line, line, line,
        line, line[:0], line[:0], line[:0], line,
    )  # fmt: skip
    reduction.reduce_block(
        0, 0, line, line, 1, line, 1, line, line, line, line, no_operation()
    )  # fmt: skip


class CompiledSimulation:
    """One run of a program over a guest's accesses."""

    def __init__(self, lowered: Lowered, window: Window, *, keep_rows: bool = False) -> None:
        self.lowered = lowered
        self.program = program = lowered.program
        self.window = window
        self.items = np.zeros(0, np.int64)
        self.summary = Summary(program.stages, keep_rows)
        self.rows = k.laid(program.rows)
        self.entries = np.array(program.entries, np.int64)
        self.width = len(program.stages)
        self.names = [*ALWAYS, *program.columns]
        self.columns = np.zeros((window.slots, len(self.names)), np.int64)
        self.record = np.zeros((window.slots, k.RECORD), np.int64)
        self.unrecorded = np.array([*RECORDED.values(), 0], np.int64)
        self.stage_time = np.zeros(window.slots * self.width, np.int64)
        self.fixed = window.fixed_times(program)
        self.seen = np.zeros(len(self.fixed), np.int64)
        self.world = np.zeros(k.WORLD, np.int64)
        self.open = [no_operation() for _ in range(program.vcpus)]
        self._lay_actors()
        self._lay_queues()

    def _lay_actors(self) -> None:
        program, n = self.program, len(self.program.actors)
        self.actors = np.zeros((n, k.ACTOR), np.int64)
        self.actors[:, k.A_PLACE] = [actor.entry for actor in program.actors]
        self.actors[:, k.A_VCPU] = [actor.vcpu for actor in program.actors]
        self.actors[:, k.A_IS_VCPU] = [actor.is_vcpu for actor in program.actors]
        self.world[k.RUNNING_VCPUS] = program.vcpus
        first = self.actors[:, k.A_VCPU] << VCPU_SHIFT
        self.actors[:, k.A_FOLLOWING] = self.actors[:, k.A_LOADED] = first
        self.actors[:, k.A_ACCESS_SLOT] = self.window.slots - 1
        self.registers = np.zeros((n, program.registers), np.int64)
        self.registers[:, 0] = -1
        self.wake_times = np.zeros(n, np.int64)
        self.wake_numbers = np.arange(n, dtype=np.int64)
        self.heap = np.arange(n, dtype=np.int64)
        self.heap_place = np.arange(n + 1, dtype=np.int64)
        self.world[[k.COUNTER, k.RUNNING]] = n, -1
        self.world[[k.BLOCK_BITS, k.VCPU_SHIFT]] = self.window.bits, VCPU_SHIFT

    def _lay_queues(self) -> None:
        program = self.program
        n = len(program.queues)
        self.queues = np.zeros((n, k.QUEUE), np.int64)
        self.queues[:, [k.Q_HEAD, k.Q_TAIL, k.Q_LOCK]] = -1
        locks = 0
        for number, queue in enumerate(program.queues):
            own = self.queues[number]
            own[[k.Q_CAPACITY, k.Q_TOKENS, k.Q_LENGTH]] = queue.capacity, queue.tokens, queue.tokens
            own[k.Q_PRIORITY] = queue.discipline == "priority"
            if queue.tokens:
                own[k.Q_LOCK] = locks
                locks += 1
        self.holds = np.zeros((locks, len(program.actors)), np.int64)
        self._make_room(np.full(n, FIRST_ROOM, np.int64))
        self.cells = np.zeros(len(program.cells), np.int64)
        self.tallies = np.zeros((len(program.reasons), k.TALLY), np.int64)
        self.tallies[:, k.T_LEAST] = k.NEVER

    def run(self) -> RunResult:
        """Run until every vCPU has halted.

        Raises:
            SimulationError: a deadlock (it says who waits for whom), or an access whose effect
                has not happened within the window.
        """
        prepare()
        uses: list[ResourceUse] = []
        while True:
            ended = k.advance(
                self.world, self.rows, self.entries, self.program.end,
                self.program.asking, self.actors.ravel(), self.registers.ravel(),
                self.program.registers, self.columns.ravel(), len(self.names), self.stage_time,
                self.width, self.record.ravel(), self.cells, self.queues.ravel(), self.items,
                self.holds.ravel(), self.tallies.ravel(), self.wake_times, self.wake_numbers,
                self.heap, self.heap_place,
            )  # fmt: skip
            if ended == k.FINISHED:
                break
            who = int(self.world[k.WHO])
            if ended == k.ALL_HALTED:  # what others still do is no part of the run
                span = int(self.world[k.NOW])
                uses = [self._use(number, span) for number in range(len(self.queues))]
            elif ended == k.NEEDS_BLOCK:
                self._load(who)
            else:
                room = self.queues[:, k.Q_ROOM].copy()
                room[who] *= 2
                self._make_room(room)
        vcpus = self.program.vcpus
        if (self.actors[:vcpus, k.A_STATE] != k.HALTED).any():
            raise self._deadlock()
        for vcpu in range(vcpus):
            for begin, end in self.window.left_over(vcpu):
                self._retire(vcpu, begin, end)
            if self.open[vcpu][0] >= 0:
                self.summary.close_operation(*self.open[vcpu][1:].tolist())
        self.summary.totals[:-1] += self.seen @ self.fixed
        finish = self.actors[:vcpus, k.A_CLOCK].tolist()
        return RunResult(
            summary=self.summary,
            exits=self._exits(),
            resources=uses,
            finish=finish,
            reach=self.lowered.reach(self.seen),
        )

    def _load(self, vcpu: int) -> None:
        """Lay a vCPU's next block into its window, or note that there is none."""
        block = self.window.next_block(vcpu)
        if block is None:
            self.actors[vcpu, k.A_LOADED] = -1
            return
        if block.replaces is not None:
            self._retire(vcpu, *block.replaces)
        a, b = block.slot, block.slot + block.accesses
        for number, name in enumerate(self.names):
            self.columns[a:b, number] = block.columns[name]
        self.record[a:b] = self.unrecorded
        self.stage_time[a * self.width : b * self.width] = 0
        self.actors[vcpu, k.A_LOADED] += block.accesses

    def _retire(self, vcpu: int, begin: int, end: int) -> None:
        """Reduce a vCPU's accesses begin … end-1, all of which must have had their effect."""
        a = self.window.slot(vcpu, begin)
        b = a + end - begin
        late = reduction.reduce_block(
            a, b, self.record.ravel(), self.stage_time, self.width, self.columns.ravel(),
            len(self.names), self.summary.counts.ravel(), self.summary.stats.ravel(),
            self.summary.totals, self.seen, self.open[vcpu],
        )  # fmt: skip
        if late >= 0:
            done = int(self.record[late, k.DONE])
            raise no_effect_error(vcpu, begin + late - a, done, self.window.block)
        if self.summary.keep_rows:
            moments = {
                name: self.record[a:b, number].copy() for number, name in enumerate(RECORDED)
            }
            booked = self.stage_time[a * self.width : b * self.width]
            stages = booked.reshape(end - begin, self.width)
            self.summary.keep(
                Records(
                    vcpu=vcpu,
                    first=begin,
                    operation=self.columns[a:b, k.OPERATION].copy(),
                    stages=stages + self.fixed[self.columns[a:b, k.CLASS]],
                    **moments,
                )
            )

    def _make_room(self, room: Array) -> None:
        """Give every mailbox a ring of the room asked for, its items in order at the front."""
        rings = np.zeros(int(room.sum()), np.int64)
        begin = 0
        for number, own in enumerate(self.queues):
            old, length = int(own[k.Q_ROOM]), int(own[k.Q_LENGTH])
            if own[k.Q_LOCK] < 0 and length:
                places = (own[k.Q_FIRST] + np.arange(length)) % old
                rings[begin : begin + length] = self.items[own[k.Q_ITEMS] + places]
            own[[k.Q_FIRST, k.Q_ITEMS, k.Q_ROOM]] = 0, begin, room[number]
            begin += int(room[number])
        self.items = rings

    def _exits(self) -> list[ExitTally]:
        return [
            ExitTally(reason, *map(int, tally))
            for reason, tally in zip(self.program.reasons, self.tallies, strict=True)
            if tally[k.T_SAMPLES]
        ]

    def _use(self, number: int, span: int) -> ResourceUse:
        own = [int(field) for field in self.queues[number]]
        tokens = own[k.Q_TOKENS]
        stored = own[k.Q_STORED] + own[k.Q_LENGTH] * span
        return ResourceUse(
            name=self.program.queues[number].name,
            tokens=tokens,
            takes=own[k.Q_TAKES],
            waits=own[k.Q_WAITS],
            busy=tokens * span - stored if tokens else 0,
            waiting=own[k.Q_WAITING] + sum(1 for _ in self._line(number)) * span,
            span=span,
        )

    def _line(self, number: int) -> Iterator[int]:
        """The actors who wait in a queue, in order."""
        actor = int(self.queues[number, k.Q_HEAD])
        while actor >= 0:
            yield actor
            actor = int(self.actors[actor, k.A_NEXT])

    def _deadlock(self) -> Exception:
        names = [actor.name for actor in self.program.actors]
        waiting = []
        for number, queue in enumerate(self.program.queues):
            lock = int(self.queues[number, k.Q_LOCK])
            holders = [
                name
                for name, times in zip(names, self.holds[lock], strict=True)
                for _ in range(int(times))
            ] if lock >= 0 else []  # fmt: skip
            waiting += [
                Waiting(names[actor], queue.name, tuple(holders),
                        int(self.actors[actor, k.A_CLOCK]))
                for actor in self._line(number)
            ]  # fmt: skip
        return deadlock_error(waiting)
