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
from vmexit_sim.engine.layout import OWN_REGISTERS, lay, place_of
from vmexit_sim.engine.reduction import no_operation
from vmexit_sim.engine.window import RECORDED, Window, no_effect_error
from vmexit_sim.lowering import VCPU_SHIFT, Lowered
from vmexit_sim.measure.records import ExitTally, Records, ResourceUse, RunResult, Summary
from vmexit_sim.program import OWN

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
        PATIENCE, log.warning, ["getting the engine ready; it is compiled once for this machine"]
    )
    notice.daemon = True
    notice.start()
    try:
        try:
            _call_with_nothing()
        except OSError:
            k.advance = uncached(k.advance.py_func)
            reduction.lay_block = uncached(reduction.lay_block.py_func)
            reduction.reduce_block = uncached(reduction.reduce_block.py_func)
            _call_with_nothing()
    finally:
        notice.cancel()


def _call_with_nothing() -> None:
    """Call the compiled functions with arrays of the right types, and nothing to do."""
    line = np.zeros(8, np.int64)
    nobody = np.full(2 * k.NODE, k.NEVER)
    k.advance(
        line, line, line, 0, 0, line, line, 1, line, 1, 1, VCPU_SHIFT, line, line, line, line, line,
        nobody,
    )  # fmt: skip
    reduction.lay_block(0, 0, line, 1, line.reshape(2, 4), 0, line)
    reduction.reduce_block(0, 0, line, 1, 1, line, line, line, line, line, no_operation())


class CompiledSimulation:
    """One run of a program over a guest's accesses."""

    def __init__(self, lowered: Lowered, window: Window, *, keep_rows: bool = False) -> None:
        self.lowered = lowered
        self.program = program = lowered.program
        self.window = window
        self.items = np.zeros(0, np.int64)
        self.summary = Summary(program.stages, keep_rows)
        self.layout = lay(program, tuple(window.names))
        self.entries = np.array([place_of(entry) for entry in program.entries], np.int64)
        self.accesses = np.zeros((window.slots, self.layout.each), np.int64)
        self.slots = self.accesses.ravel(), self.layout.each
        self.unrecorded = np.array(list(RECORDED.values()), np.int64)
        self.fixed = window.fixed_times(program)
        self.seen = np.zeros(len(self.fixed), np.int64)
        self.totals = np.zeros(len(self.layout.booked) + 1, np.int64)
        self.sums = (
            np.zeros(len(self.summary.counts) * reduction.CHUNK, np.int64),
            self.summary.counts.ravel(), self.summary.stats.ravel(), self.totals, self.seen,
        )  # fmt: skip
        self.world = np.zeros(k.WORLD, np.int64)
        self.open = [no_operation() for _ in range(program.vcpus)]
        self._lay_actors()
        self._lay_queues()

    def _lay_actors(self) -> None:
        program, n = self.program, len(self.program.actors)
        assert n <= k.WHO_MASK, "an actor's number has its place in a ticket"
        self.actors = np.zeros((n, k.ACTOR), np.int64)
        self.actors[:, k.A_PLACE] = [place_of(actor.entry) for actor in program.actors]
        self.actors[:, k.A_VCPU] = [actor.vcpu for actor in program.actors]
        self.actors[:, k.A_IS_VCPU] = [actor.is_vcpu for actor in program.actors]
        first = self.actors[:, k.A_VCPU] << VCPU_SHIFT
        self.actors[:, k.A_FOLLOWING] = self.actors[:, k.A_LOADED] = first
        self.actors[:, k.A_ACCESS] = self.accesses.size - self.layout.each
        self.registers = np.zeros((n, program.registers + len(OWN_REGISTERS)), np.int64)
        self.registers[:, 0] = -1
        self.registers[:, program.registers + OWN] = self.actors[:, k.A_VCPU]
        self.world[k.RUNNING_VCPUS] = program.vcpus
        self.world[k.COUNTER] = n << k.WHO_BITS
        leaves = 1 << (n - 1).bit_length()
        self.tree = np.zeros((2 * leaves, k.NODE), np.int64)
        self.tree[leaves:, k.TICKET] = np.arange(leaves) * ((1 << k.WHO_BITS) + 1)
        self.tree[leaves + n :, k.TIME] = k.NEVER
        for node in range(leaves - 1, 0, -1):  # at time 0 the first one wins everywhere
            self.tree[node] = self.tree[2 * node]

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
                own[k.Q_LOCK] = locks * len(program.actors)
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
        program = self.program
        before_items = (
            self.world, self.layout.rows, self.entries, place_of(program.end),
            place_of(program.asking), self.actors.ravel(), self.registers.ravel(),
            self.registers.shape[1], *self.slots, self.window.bits,
            VCPU_SHIFT, self.cells, self.queues.ravel(),
        )  # fmt: skip
        behind_items = self.holds.ravel(), self.tallies.ravel(), self.tree.ravel()
        while True:
            ended = k.advance(*before_items, self.items, *behind_items)
            if ended == k.FINISHED:
                break
            who = int(self.world[k.WHO])
            if ended == k.ALL_HALTED:  # what others still do is no part of the run
                span = int(self.actors[who, k.A_CLOCK])
                uses = [self._use(number, span) for number in range(len(self.queues))]
            elif ended == k.NEEDS_BLOCK:
                self._load(who)
            else:
                room = self.queues[:, k.Q_ROOM].copy()
                room[who] *= 2
                self._make_room(room)
        vcpus = self.program.vcpus
        if self.world[k.RUNNING_VCPUS]:
            raise self._deadlock()
        for vcpu in range(vcpus):
            for begin, end in self.window.left_over(vcpu):
                self._retire(vcpu, begin, end)
            if self.open[vcpu][0] >= 0:
                self.summary.close_operation(*self.open[vcpu][1:].tolist())
        self.summary.totals[:-1] += self.seen @ self.fixed
        self.summary.totals[[*self.layout.booked, -1]] += self.totals
        finish = self.actors[:vcpus, k.A_CLOCK].tolist()
        return RunResult(
            summary=self.summary,
            exits=self._exits(),
            resources=uses,
            finish=finish,
            who=self.program.who,
            vcpus=self.program.vcpus - self.program.contexts,
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
        reduction.lay_block(
            block.slot, block.accesses, *self.slots, block.made, block.at, self.unrecorded
        )
        self.actors[vcpu, k.A_LOADED] += block.accesses

    def _retire(self, vcpu: int, begin: int, end: int) -> None:
        """Reduce a vCPU's accesses begin … end-1, all of which must have had their effect."""
        a = self.window.slot(vcpu, begin)
        b = a + end - begin
        late = reduction.reduce_block(
            a, b, *self.slots, len(self.layout.booked), *self.sums, self.open[vcpu]
        )
        if late >= 0:
            done = int(self.accesses[late, k.DONE])
            raise no_effect_error(vcpu, begin + late - a, done, self.window.block)
        if self.summary.keep_rows:
            rows = self.accesses[a:b].copy()
            stages = self.fixed[rows[:, k.CLASS]]
            stages[:, self.layout.booked] += rows[:, self.layout.each - len(self.layout.booked) :]
            moments = {name: rows[:, number] for number, name in enumerate(RECORDED)}
            self.summary.keep(
                Records(
                    vcpu=vcpu, first=begin, operation=rows[:, k.OPERATION], stages=stages, **moments
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
            _tally(reason, tally)
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
                for name, times in zip(names, self.holds[lock // len(names)], strict=True)
                for _ in range(int(times))
            ] if lock >= 0 else []  # fmt: skip
            waiting += [
                Waiting(names[actor], queue.name, tuple(holders),
                        int(self.actors[actor, k.A_CLOCK]))
                for actor in self._line(number)
            ]  # fmt: skip
        return deadlock_error(waiting)


def _tally(reason: str, columns: npt.NDArray[np.int64]) -> ExitTally:
    """What the loop has counted of one exit reason."""
    values = [int(value) for value in columns]
    words = values[k.T_SQUARES : k.T_SQUARES_2 + 1]
    return ExitTally(
        reason,
        samples=values[k.T_SAMPLES],
        total=values[k.T_TOTAL],
        least=values[k.T_LEAST],
        greatest=values[k.T_GREATEST],
        squares=sum(word << (place * k.WORD_BITS) for place, word in enumerate(words)),
    )
