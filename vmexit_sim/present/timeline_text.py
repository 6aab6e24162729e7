"""A timeline as text: who does what when, a line a happening, for reading and for ``diff``.

::

        µs  who         what
     0.000  vCPU 0      guest compute 2.000
     2.000  vCPU 0      nvme: mmio write 0xfeb00000 (access 0)
     2.000  vCPU 0        exit EPT_MISCONFIG
     2.000  vCPU 0          world switch out 0.500
     …
     4.500  vCPU 0        entry, 2.500 after the exit
     4.500  vCPU 0      goes on after 2.500

A stage stands where it begins, with how long it takes; a thread that waits for work says nothing.
What happens at the same instant stands in the order in which the engine did it, lengths of queues
last. All times are exact.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from vmexit_sim.measure.tracer import Posted, Slice
from vmexit_sim.present.timeline_file import is_gap, queue_name, title
from vmexit_sim.scenario import Scenario
from vmexit_sim.study.timeline import AccessFacts, Timeline
from vmexit_sim.units import MICROSECOND, format_time

LAST = 2**62
"""A place behind all that was recorded."""

QUEUE = "queue"
"""Who a queue's length is told of."""


class _Line(NamedTuple):
    """One line, in the order of its fields.

    Attributes:
        time: in ps.
        place: among all that was recorded.
        who: an actor's name.
        depth: how far to indent.
        what: what happens, with ``{}`` for each of its times.
        times: durations, in ps.
    """

    time: int
    place: int
    who: str
    depth: int
    what: str
    times: tuple[int, ...] = ()


def listing(timelines: Sequence[Timeline], scenario: Scenario) -> Iterator[str]:
    """Timelines as lines of text, one after the other.

    Args:
        timelines: what was recorded.
        scenario: of what; what it says of itself stands at the head.
    """
    said = [scenario.title, *scenario.question.splitlines()]
    yield from (f"# {line}" for line in said if line not in ("", scenario.name))
    for timeline in timelines:
        yield f"# {timeline.name}, by {timeline.policy}: {_span(timeline)}"
        if timeline.cut:
            yield f"# cut there for want of room: {timeline.omitted:,} later events left out"
        yield from _Guest(timeline).lines()


def _span(timeline: Timeline) -> str:
    return f"{format_time(timeline.begin)} to {format_time(timeline.end)}"


class _Guest:
    """One guest's lines."""

    def __init__(self, timeline: Timeline) -> None:
        self.timeline = timeline
        self.program = timeline.recorder.program
        self.whole = {each.opened: each for each in timeline.recorder.slices}
        self.booked: dict[int, Counter[str]] = {}
        for _, access, stage, amount in timeline.recorder.bookings:
            booked = self.booked.setdefault(access, Counter())
            booked[timeline.recorder.stage(stage).name] += amount

    def lines(self) -> Iterator[str]:
        found = sorted([*self._slices(), *self._posts(), *self._queues()])
        decimals = _decimals([time for line in found for time in (line.time, *line.times)])
        width = max((len(line.who) for line in found), default=0)
        wide = max(len(_us(self.timeline.end, decimals)), len("µs"))
        yield f"{'µs':>{wide}}  {'who':<{width}}  what"
        for line in found:
            what = line.what.format(*(_us(time, decimals) for time in line.times))
            indent = "  " * line.depth
            yield f"{_us(line.time, decimals):>{wide}}  {line.who:<{width}}  {indent}{what}"

    def _slices(self) -> Iterator[_Line]:
        """Begins of all there is, and ends of accesses and exits."""
        own: dict[int, list[Slice]] = {}
        for piece in self.timeline.slices():
            if not is_gap(self.timeline, piece):
                own.setdefault(piece.actor, []).append(piece)
        for actor, pieces in own.items():
            around: list[Slice] = []
            stalls: Counter[int] = Counter()
            for piece in sorted(pieces, key=lambda each: each.opened):
                while around and around[-1].closed < piece.opened:
                    around.pop()
                stalls[piece.access] += piece.kind == "access"
                yield from self._slice(actor, piece, len(around), stalls[piece.access] > 1)
                around.append(piece)

    def _slice(self, actor: int, piece: Slice, depth: int, again: bool) -> Iterator[_Line]:
        who, is_vcpu = self.program.actors[actor].name, self.program.actors[actor].is_vcpu
        whole = self.whole[piece.opened]
        lasted = (whole.end - whole.begin,)
        facts = self.timeline.facts.get(piece.access)
        earlier = "… " if whole.begin < piece.begin else ""
        begins = _Line(piece.begin, piece.opened, who, depth, "")
        ends = _Line(piece.end, piece.closed, who, depth, "", lasted)
        is_over = whole.end == piece.end
        if piece.kind == "stage":
            stage = self.timeline.recorder.stage(piece.what).name
            yield begins._replace(what=f"{earlier}{stage} {{}}", times=lasted)
        elif piece.kind == "exit":
            yield begins._replace(what=f"{earlier}exit {self.program.reasons[piece.what]}")
            if is_over:
                yield ends._replace(what="entry, {} after the exit")
        elif is_vcpu:
            once_more = ", once more" if again else ""
            what = f"{earlier}{_braced(title(facts))} ({_number(facts, actor)}{once_more})"
            yield begins._replace(what=what)
            if is_over:
                yield ends._replace(what="goes on after {}")
        else:
            yield begins._replace(what=f"{earlier}for {_number(facts, actor)}: "
                                       f"{_braced(title(facts))}")  # fmt: skip

    def _posts(self) -> Iterator[_Line]:
        for post in self.timeline.posts():
            facts = self.timeline.facts.get(post.access)
            if post.at >= self.timeline.begin:
                who = self.program.actors[post.actor].name
                what = f"posted: {_number(facts, post.actor)}"
                yield _Line(post.at, post.place, who, 1, what)
            if post.by is not None:
                yield self._done(post, facts, post.by)

    def _done(self, post: Posted, facts: AccessFacts | None, by: int) -> _Line:
        booked = {name: time for name, time in self.booked.get(post.access, {}).items() if time}
        parts = ", ".join(f"{_braced(name)} {{}}" for name in booked)
        what = f"done: {_number(facts, by)}, {{}} after it was posted" + f" ({parts})" * bool(parts)
        times = (post.done - post.at, *booked.values())
        return _Line(post.done, post.done_place, self.program.actors[by].name, 1, what, times)

    def _queues(self) -> Iterator[_Line]:
        for number, change in enumerate(self.timeline.changes()):
            is_lock = self.program.queues[change.queue].tokens > 0
            name = _braced(queue_name(self.program, change.queue))
            count = f"{change.length:,}"
            what = f"{name}: {count} {'waiting' if is_lock else 'inside'}"
            yield _Line(change.time, LAST + number, QUEUE, 0, what)


def _number(facts: AccessFacts | None, actor: int) -> str:
    """An access's place in its vCPU's program order, and whose it is if not the actor's own."""
    if facts is None:
        return "an access"
    return f"access {facts.row}" + f" of vCPU {facts.vcpu}" * (facts.vcpu != actor)


def _braced(text: str) -> str:
    """Text in which nothing stands for a time."""
    return text.replace("{", "{{").replace("}", "}}")


def _decimals(times: Sequence[int]) -> int:
    """The fewest decimals of a microsecond that tell all times exactly."""
    return next(
        digits for digits in range(7) if all(time % 10 ** (6 - digits) == 0 for time in times)
    )


def _us(time: int, decimals: int) -> str:
    """A time in µs."""
    whole, rest = divmod(time, MICROSECOND)
    return f"{whole}.{rest:06d}"[: len(str(whole)) + 1 + decimals] if decimals else str(whole)
