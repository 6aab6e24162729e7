"""A tracer that keeps a window of simulated time, up to a number of events, as plain data.

::

    access   |---------------- a stall: START … RESUME ----------------|
    exit          |------------- EXIT … ENTRY -------------|
    stage    |-a--|--b--|----------c---------|------d------|----e------|

An actor does one thing at a time, so its stages follow each other without overlap. A vCPU's access
opens with each stall (an access may have several); a thread's with the first work for it.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field
from itertools import accumulate

from vmexit_sim.measure.tracer import (
    EVENTS,
    SEVERAL,
    Booking,
    Kind,
    Posted,
    QueueChange,
    Slice,
)
from vmexit_sim.program import MARKS, Program
from vmexit_sim.steps import NOBODY, Moment, Role, Stage

START, EXIT, ENTRY, RESUME = (
    MARKS[each] for each in (Moment.START, Moment.EXIT, Moment.ENTRY, Moment.RESUME)
)


@dataclass
class _Open:
    kind: Kind
    access: int
    what: int
    begin: int
    opened: int


@dataclass
class _Actor:
    number: int
    is_vcpu: bool
    clock: int = 0
    open: list[_Open] = field(default_factory=list)


class Recorder:
    """Keeps what overlaps a window of time, as long as there is room.

    Attributes:
        program: what runs; its numbers are those recorded.
        begin: the window's begin, in ps.
        end: its end, in ps; None: the run's.
        slices: what actors did, in the order in which it ended.
        posts: accesses left for later.
        bookings: time booked on accesses in the window, without being spent.
        changes: how lengths of queues changed; those at the window's begin first.
        cut: until when there was room, in ps: whatever began before is there; None: for all.
        omitted: how many trace events were left out for that.
    """

    def __init__(
        self, program: Program, *, begin: int = 0, end: int | None = None, most: int
    ) -> None:
        self.program = program
        self.begin, self.end = begin, end
        self.slices: list[Slice] = []
        self.posts: list[Posted] = []
        self.bookings: list[Booking] = []
        self.changes: list[QueueChange] = []
        self.cut: int | None = None
        self.omitted = 0
        self._most, self._events = most, 0
        self._last = 0
        self._actors = [_Actor(n, each.is_vcpu) for n, each in enumerate(program.actors)]
        self._outstanding: dict[int, Posted] = {}
        self._lengths = [0] * len(program.queues)
        self._before: dict[int, int] = {}
        constant = {stage for fixed in program.fixed for stage in fixed}
        self._ahead = constant.pop() if len(constant) == 1 else SEVERAL
        idle = (Role.GUEST, Role.POLL)
        self._is_idle = [stage.role in idle for stage in program.stages]

    def stage(self, number: int) -> Stage:
        """A stage by its number."""
        if number == SEVERAL:
            return Stage("several stages", Role.HYPERVISOR)
        return self.program.stages[number]

    def passed(self, actor: int, access: int, ahead: int, stage: int, clock: int) -> None:
        """See `Tracer`."""
        own = self._actors[actor]
        if ahead:
            self._stage(own, access, self._ahead, own.clock + ahead)
        self._stage(own, access, stage, clock)

    def waited(self, actor: int, access: int, stage: int, queue: int, clock: int) -> None:
        """See `Tracer`."""
        self._stage(self._actors[actor], access, stage, clock)

    def marked(self, actor: int, access: int, marks: int, reason: int, clock: int) -> None:
        """See `Tracer`."""
        own = self._actors[actor]
        if marks & START:
            self._open(own, "access", access, 0)
        if marks & EXIT:
            self._open(own, "exit", access, reason)
        if marks & ENTRY:
            self._close(own, "exit")
        if marks & RESUME:
            self._close(own, "access")

    def posted(self, actor: int, access: int, clock: int) -> None:
        """See `Tracer`."""
        if access != NOBODY:
            self._outstanding[access] = Posted(access, actor, clock, self._next())

    def done(self, actor: int, access: int, clock: int) -> None:
        """See `Tracer`."""
        post = self._outstanding.pop(access, None)
        if post is not None:
            self._keep_post(post._replace(by=actor, done=clock, done_place=self._next()))

    def booked(self, actor: int, access: int, stage: int, amount: int, clock: int) -> None:
        """See `Tracer`."""
        if amount and access != NOBODY and self._overlaps(clock, clock):
            self.bookings.append(Booking(clock, access, stage, amount))

    def queued(self, queue: int, waiting: int, items: int, now: int) -> None:
        """See `Tracer`."""
        length = waiting if self.program.queues[queue].tokens else items
        if length == self._lengths[queue]:
            return
        self._lengths[queue] = length
        if now <= self.begin:
            self._before[queue] = length
        elif self._overlaps(now, now):
            self.changes.append(QueueChange(now, queue, length))
            self._count("change")
        else:
            self._leave_out("change", now)

    def finish(self) -> None:
        """The run is over: what is open ends with its actor's clock."""
        for own in self._actors:
            while own.open:
                self._pop(own, own.clock)
        for post in self._outstanding.values():
            self._keep_post(post._replace(done=post.at))
        if self._events > self._most:
            self._shrink()
        at_begin = [QueueChange(self.begin, *each) for each in self._before.items()]
        self.changes = at_begin + self.changes

    def _stage(self, own: _Actor, access: int, stage: int, end: int) -> None:
        """An actor spent the time until `end`."""
        begin, own.clock = own.clock, end
        if end == begin:
            return
        if not own.is_vcpu:
            is_idle = access == NOBODY or (stage != SEVERAL and self._is_idle[stage])
            if own.open and (is_idle or own.open[-1].access != access):
                self._pop(own, begin)
            if not own.open and not is_idle:
                own.open.append(_Open("access", access, 0, begin, self._next()))
        opened = self._next()
        self._keep(Slice(own.number, "stage", access, stage, begin, end, opened, self._next()))

    def _open(self, own: _Actor, kind: Kind, access: int, what: int) -> None:
        own.open.append(_Open(kind, access, what, own.clock, self._next()))

    def _close(self, own: _Actor, kind: Kind) -> None:
        """Close the innermost slice of a kind; what it still holds ends with it."""
        if any(each.kind == kind for each in own.open):
            while self._pop(own, own.clock) != kind:
                continue

    def _pop(self, own: _Actor, end: int) -> Kind:
        each = own.open.pop()
        self._keep(Slice(own.number, each.kind, each.access, each.what, each.begin, end,
                         each.opened, self._next()))  # fmt: skip
        return each.kind

    def _keep(self, piece: Slice) -> None:
        if self._overlaps(piece.begin, piece.end):
            self.slices.append(piece)
            self._count("slice")
        else:
            self._leave_out("slice", piece.begin)

    def _keep_post(self, post: Posted) -> None:
        if self._overlaps(post.at, post.done):
            self.posts.append(post)
            self._count("posted")
        else:
            self._leave_out("posted", post.at)

    def _overlaps(self, begin: int, end: int) -> bool:
        if end < self.begin or (self.end is not None and begin > self.end):
            return False
        return self.cut is None or begin < self.cut

    def _count(self, what: str) -> None:
        """Count in what is kept; twice as much as there is room for is too much."""
        self._events += EVENTS[what]
        if self._events > 2 * self._most:
            self._shrink()

    def _leave_out(self, what: str, begin: int) -> None:
        """Count what comes too late for the cut, though not for the window."""
        if self.cut is not None and begin >= self.cut and (self.end is None or begin <= self.end):
            self.omitted += EVENTS[what]

    def _shrink(self) -> None:
        """Keep what began first, as much as there is room for.

        Actors' clocks run ahead of each other, so that only a moment makes a cut.
        """
        begins = [(each.begin, EVENTS["slice"]) for each in self.slices]
        begins += [(each.at, EVENTS["posted"]) for each in self.posts]
        begins += [(each.time, EVENTS["change"]) for each in self.changes]
        begins.sort()
        used = list(accumulate(events for _, events in begins))
        self.cut = cut = begins[bisect_right(used, self._most)][0]
        self.slices = [each for each in self.slices if each.begin < cut]
        self.posts = [each for each in self.posts if each.at < cut]
        self.changes = [each for each in self.changes if each.time < cut]
        self.bookings = [each for each in self.bookings if each.time < cut]
        kept = sum(events for begin, events in begins if begin < cut)
        self.omitted += self._events - kept
        self._events = kept

    def _next(self) -> int:
        self._last += 1
        return self._last
