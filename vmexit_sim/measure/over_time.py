"""A tracer that counts exits, and sums up how queues and threads are used, in bins of time.

::

    in use    ─┐__┌────┐__      an item taken and given back; ∫ in use dt falls to the bins it spans
    waiting   __┌─┐_____
              │    │    │      bins

Sums are integers (ps, times how many), so bins add up to the run's own tallies to the last bit.
Memory grows with the number of bins and queues, and not with the run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from vmexit_sim.program import MARKS, Program
from vmexit_sim.steps import NOBODY, Moment, Role

EXIT = MARKS[Moment.EXIT]

IDLE = (Role.GUEST, Role.POLL)
"""What a thread does for nobody: waiting for work, asleep or polling."""

WAKING = "wake-up"
"""How stages end in which a thread is about to run, and works for nobody yet."""


class StepSum:
    """The integral of a step function over time, bin by bin, and the greatest value in each.

    Attributes:
        sums: value times ps, by bin; int64 [bin].
        most: the greatest value that lasted, by bin; int64 [bin].
    """

    def __init__(self, edges: Sequence[int], value: int = 0) -> None:
        self.edges = edges
        self.sums = [0] * (len(edges) - 1)
        self.most = [0] * (len(edges) - 1)
        self.value, self.since, self._bin = value, 0, 0

    def change(self, now: int, value: int) -> None:
        """From `now` on the value is another; `now` never goes back."""
        self._up_to(now)
        self.value = value

    def finish(self) -> None:
        """The value stays as it is until the last bin ends."""
        self._up_to(self.edges[-1])

    def _up_to(self, now: int) -> None:
        begin, self.since = max(self.since, self.edges[0]), max(now, self.since)
        end = min(now, self.edges[-1])
        while begin < end:
            upper = self.edges[self._bin + 1]
            if begin >= upper:
                self._bin += 1
                continue
            until = min(upper, end)
            self.sums[self._bin] += self.value * (until - begin)
            self.most[self._bin] = max(self.most[self._bin], self.value)
            begin = until


@dataclass
class OverTime:
    """A tracer (`measure.tracer.Tracer`) that bins what it is told.

    Attributes:
        program: what runs.
        edges: where bins begin, and the last ends, in ps; equal widths are not needed.
        exits: by reason's number and bin; an exit counts where the guest is left.
        waiting: of each queue, how many actors wait for an item.
        items: of each queue, how many items it holds; of a lock or server, how many are free.
        busy: of each actor, how long it works: does not wait, sleep, wake up, poll or idle.
    """

    program: Program
    edges: Sequence[int]
    exits: npt.NDArray[np.int64] = field(init=False)
    waiting: list[StepSum] = field(init=False)
    items: list[StepSum] = field(init=False)
    busy: list[StepSum] = field(init=False)

    def __post_init__(self) -> None:
        program, bins = self.program, len(self.edges) - 1
        self.exits = np.zeros((len(program.reasons), bins), np.int64)
        self.waiting = [StepSum(self.edges) for _ in program.queues]
        self.items = [StepSum(self.edges, queue.tokens) for queue in program.queues]
        self.busy = [StepSum(self.edges) for _ in program.actors]
        self._clocks = [0] * len(program.actors)
        self._is_idle = [
            stage.role in IDLE or stage.name.endswith(WAKING) for stage in program.stages
        ]

    def passed(self, actor: int, access: int, ahead: int, stage: int, clock: int) -> None:
        """See `Tracer`."""
        self._spent(actor, access, stage, clock)

    def waited(self, actor: int, access: int, stage: int, queue: int, clock: int) -> None:
        """See `Tracer`."""
        self._spent(actor, NOBODY, -1, clock)  # who waits does not work

    def marked(self, actor: int, access: int, marks: int, reason: int, clock: int) -> None:
        """See `Tracer`."""
        if marks & EXIT and self.edges[0] <= clock <= self.edges[-1]:
            place = int(np.searchsorted(self.edges, clock, "right")) - 1
            self.exits[reason, min(place, len(self.edges) - 2)] += 1

    def posted(self, actor: int, access: int, clock: int) -> None:
        """See `Tracer`."""

    def done(self, actor: int, access: int, clock: int) -> None:
        """See `Tracer`."""

    def booked(self, actor: int, access: int, stage: int, amount: int, clock: int) -> None:
        """See `Tracer`."""

    def queued(self, queue: int, waiting: int, items: int, now: int) -> None:
        """See `Tracer`."""
        self.waiting[queue].change(now, waiting)
        self.items[queue].change(now, items)

    def finish(self) -> None:
        """The run is over."""
        for own in (*self.waiting, *self.items, *self.busy):
            own.finish()

    def _spent(self, actor: int, access: int, stage: int, clock: int) -> None:
        begin, self._clocks[actor] = self._clocks[actor], clock
        if clock > begin:
            is_idle = self._is_idle[stage] if stage >= 0 else access == NOBODY
            self.busy[actor].change(begin, 0 if is_idle else 1)
            self.busy[actor].change(clock, 0)
