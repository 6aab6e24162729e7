"""A timeline as a trace file, for the Perfetto UI, chrome://tracing and other viewers.

The form is the Trace Event Format's JSON object form. A process is a guest (another one the real
guest beside it), a thread an actor: a vCPU, an interrupt context, a thread of the host, a timer.
Slices are written as begin and end events (B, E), since these stay nested however a viewer rounds
times; ``ts`` is in us with all six decimals, so in exact picoseconds, and every slice's ``ps`` says
how long it was.

Source: Google, Trace Event Format (2016); perfetto.dev, External trace formats, Chrome JSON.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

from vmexit_sim import __version__
from vmexit_sim.measure.tracer import Posted, Slice
from vmexit_sim.output import write_whole
from vmexit_sim.present.timeline_summary import about
from vmexit_sim.program import Program
from vmexit_sim.steps import Role
from vmexit_sim.study.timeline import AccessFacts, Beside, Timeline
from vmexit_sim.units import MICROSECOND

FORM = {
    "slices": "B and E events; ps: exact duration in picoseconds, also of what a window clips",
    "flows": "from where an access was posted to where its effect happened",
}


def save_timelines(
    timelines: Sequence[Timeline], path: Path, *, beside: Beside | None = None
) -> int:
    """Write timelines into one file, a process each.

    Args:
        timelines: what was recorded.
        path: the file; replaced only when it is complete.
        beside: exits of a real guest, whose first event is put at the timelines' first.

    Returns:
        How many events were written, those that name processes and threads included.

    Raises:
        InputError: it cannot be written.
    """
    written = 0

    def write(partial: Path) -> None:
        nonlocal written
        with partial.open("w", encoding="utf-8") as file:
            written = _write(file, timelines, beside)

    write_whole(path, write)
    return written


def _write(file: TextIO, timelines: Sequence[Timeline], beside: Beside | None) -> int:
    told = {"program": f"vmexit-sim {__version__}", **FORM, "guests": about(timelines)}
    file.write('{"displayTimeUnit":"ns","otherData":' + json.dumps(told) + ',"traceEvents":[')
    count = 0
    for count, event in enumerate(_events(timelines, beside), 1):
        file.write(("\n" if count == 1 else ",\n") + event)
    file.write("\n]}\n")
    return count


def _events(timelines: Sequence[Timeline], beside: Beside | None) -> Iterator[str]:
    pid = 0
    tid = len(timelines) + 2  # a thread with its process's number would be shown as its main one
    for pid, timeline in enumerate(timelines, 1):
        yield from _Process(pid, tid, timeline).events()
        tid += len(timeline.recorder.program.actors)
    if beside is not None:
        begins = (each.begin for timeline in timelines for each in timeline.slices())
        yield from _real_guest(pid + 1, tid, beside, min(begins, default=0))


class _Process:
    """One guest's events."""

    def __init__(self, pid: int, first_tid: int, timeline: Timeline) -> None:
        self.pid, self.first_tid, self.timeline = pid, first_tid, timeline
        self.program = timeline.recorder.program
        # of whole slices: those that are drawn may be clipped
        self.durations = {each.opened: each.end - each.begin for each in timeline.recorder.slices}

    def events(self) -> Iterator[str]:
        timeline = self.timeline
        name = f"{timeline.name}, by {timeline.policy}"
        yield from _named(self.pid, None, name, self.pid)
        for actor, each in enumerate(self.program.actors):
            yield from _named(self.pid, self.first_tid + actor, each.name, actor)
        posts = list(timeline.posts())
        pieces: list[list[Slice]] = [[] for _ in self.program.actors]
        for piece in timeline.slices():
            if not is_gap(timeline, piece):
                pieces[piece.actor].append(piece)
        for actor, own in enumerate(pieces):
            yield from self._thread(actor, own, posts)
        yield from self._posted(posts)
        yield from self._outstanding(posts)
        yield from self._queues()

    def _thread(self, actor: int, pieces: list[Slice], posts: list[Posted]) -> Iterator[str]:
        """Slices of an actor, and the ends of flows, in the order in which they happened."""
        happened: list[tuple[int, int, Slice | Posted]] = []
        for piece in pieces:
            happened += [(piece.opened, 1, piece), (piece.closed, -1, piece)]
        for post in posts:
            if post.by is not None and post.at >= self.timeline.begin:
                happened += [(post.place, 0, post)] * (post.actor == actor)
                happened += [(post.done_place, 0, post)] * (post.by == actor)
        happened.sort(key=lambda each: each[0])
        seen: Counter[int] = Counter()
        depth = 0
        for place, change, what in happened:
            if isinstance(what, Slice):
                depth += change
                if change > 0:
                    seen[what.access] += what.kind == "access"
                    yield self._begin(what, again=seen[what.access] > 1)
                else:
                    yield self._event("E", actor, what.end)
            else:
                yield from self._flow(actor, what, place == what.place, bare=depth == 0)

    def _begin(self, piece: Slice, *, again: bool) -> str:
        args: dict[str, Any] = {"ps": self.durations[piece.opened]}
        facts = self.timeline.facts.get(piece.access)
        if facts is not None:
            args |= {"access": facts.row, "of vCPU": facts.vcpu}
        if piece.kind == "stage":
            stage = self.timeline.recorder.stage(piece.what)
            args["role"] = stage.role.value
            return self._event("B", piece.actor, piece.begin, stage.name, stage.role.value, args)
        if piece.kind == "exit":
            name = self.program.reasons[piece.what]
            return self._event("B", piece.actor, piece.begin, name, "exit", args)
        if facts is not None:
            args |= _arguments(facts)
        if again and self.program.actors[piece.actor].is_vcpu:
            args["stall"] = "a later one of this access"
        return self._event("B", piece.actor, piece.begin, title(facts), "access", args)

    def _flow(self, actor: int, post: Posted, is_start: bool, *, bare: bool) -> Iterator[str]:
        """One end of a flow; a viewer binds it to the slice that is open there."""
        time = post.at if is_start else post.done
        if bare:
            yield self._event("B", actor, time, "posted" if is_start else "done", "flow", {"ps": 0})
        binding = "" if is_start else ',"bp":"e"'
        extra = f',"id":{self._id(post)}{binding}'
        phase = "s" if is_start else "f"
        yield self._event(phase, actor, time, "posted access", "posted", extra=extra)
        if bare:
            yield self._event("E", actor, time)

    def _posted(self, posts: list[Posted]) -> Iterator[str]:
        """From posting to the effect, with what was booked meanwhile."""
        timeline = self.timeline
        booked: dict[int, Counter[str]] = {}
        for _, access, stage, amount in timeline.recorder.bookings:
            booked.setdefault(access, Counter())[timeline.recorder.stage(stage).name] += amount
        for post in posts:
            facts = timeline.facts.get(post.access)
            args: dict[str, Any] = {} if facts is None else {"access": facts.row,
                                                             "of vCPU": facts.vcpu}  # fmt: skip
            args["what"] = title(facts)
            args |= {f"{stage}, ps": time for stage, time in booked.get(post.access, {}).items()}
            if post.by is None:
                args["effect"] = "later than this timeline"
            end = timeline.end if post.by is None else post.done
            extra = f',"id2":{{"local":{self._id(post)}}}'  # of this process
            begin = max(post.at, timeline.begin)
            yield self._event("b", post.actor, begin, "posted access", "posted", args, extra)
            yield self._event("e", post.actor, end, "posted access", "posted", extra=extra)

    def _id(self, post: Posted) -> str:
        """A flow's name, unique in the file; hexadecimal, as viewers want it."""
        return f'"0x{self.pid:x}{post.place:012x}"'

    def _outstanding(self, posts: list[Posted]) -> Iterator[str]:
        changes: Counter[int] = Counter()
        for post in posts:
            changes[max(post.at, self.timeline.begin)] += 1
            if post.by is not None:
                changes[post.done] -= 1
        now = 0
        for time in sorted(changes):
            now += changes[time]
            yield self._counter(time, "posted, not done", "accesses", now)

    def _queues(self) -> Iterator[str]:
        """How many wait for each lock, how many items are in each mailbox."""
        for change in self.timeline.changes():
            what = "waiting" if self.program.queues[change.queue].tokens else "items"
            name = queue_name(self.program, change.queue)
            yield self._counter(change.time, name, what, change.length)

    def _counter(self, time: int, name: str, what: str, value: int) -> str:
        counted = f'"name":{json.dumps(name)},"args":{json.dumps({what: value})}'
        return f'{{"ph":"C","pid":{self.pid},"ts":{_us(time)},{counted}}}'

    def _event(
        self, phase: str, actor: int, time: int, name: str = "", category: str = "",
        args: dict[str, Any] | None = None, extra: str = "",
    ) -> str:  # fmt: skip
        return _event(phase, self.pid, self.first_tid + actor, time, name, category, args, extra)


def _real_guest(pid: int, first_tid: int, beside: Beside, offset: int) -> Iterator[str]:
    """The exits of a log, a thread for each vCPU's thread."""
    yield from _named(pid, None, f"real guest: {beside.file.name}", pid)
    vcpus = {real.exit.thread: real.exit.vcpu for real in beside.exits}
    tids = {thread: first_tid + place for place, thread in enumerate(vcpus)}
    for thread, vcpu in vcpus.items():
        yield from _named(pid, tids[thread], f"vCPU {vcpu}, thread {thread}", vcpu)
    for begin, end, own in beside.exits:
        args = {"ps": end - begin, "line": own.line, "vCPU": own.vcpu,
                "to user space": own.user, "accesses": len(own.inside)}  # fmt: skip
        tid = tids[own.thread]
        yield _event("B", pid, tid, begin + offset, own.reason, "exit", args)
        yield _event("E", pid, tid, end + offset)


def is_gap(timeline: Timeline, piece: Slice) -> bool:
    """Whether a thread of the host, or a timer, waits for work: a gap in its line."""
    if piece.kind != "stage" or timeline.recorder.program.actors[piece.actor].is_vcpu:
        return False
    return timeline.recorder.stage(piece.what).role is Role.GUEST


def queue_name(program: Program, place: int) -> str:
    """A queue's name; of those that every vCPU has, whose it is."""
    name = program.queues[place].name
    if not program.queues[place].per_vcpu:
        return name
    first = next(number for number, queue in enumerate(program.queues) if queue.name == name)
    return f"{name} of {program.actors[place - first].name}"


def title(facts: AccessFacts | None) -> str:
    """What an access is, in a few words: who is accessed, how, and where."""
    if facts is None:
        return "access"
    how = "write" if facts.write else "read"
    return f"{facts.device or 'device'}: {facts.space} {how} {_place(facts)}".strip()


def _place(facts: AccessFacts) -> str:
    """An address; in config space bus:device.function and the register."""
    if facts.space != "pci_config":
        return f"{facts.address:#x}"
    at = facts.address
    return f"{at >> 20:02x}:{at >> 15 & 31:02x}.{at >> 12 & 7:x}+{at & 0xFFF:#x}"


def _arguments(facts: AccessFacts) -> dict[str, Any]:
    return {
        "operation": facts.operation, "kind": facts.kind, "device": facts.device,
        "space": facts.space, "write": facts.write, "size": facts.size, "address": _place(facts),
    }  # fmt: skip


def _event(
    phase: str, pid: int, tid: int, time: int, name: str = "", category: str = "",
    args: dict[str, Any] | None = None, extra: str = "",
) -> str:  # fmt: skip
    text = f'{{"ph":"{phase}","pid":{pid},"tid":{tid},"ts":{_us(time)}'
    if name:
        text += f',"name":{json.dumps(name)},"cat":"{category}"'
    if args:
        text += f',"args":{json.dumps(args)}'
    return f"{text}{extra}}}"


def _named(pid: int, tid: int | None, name: str, place: int) -> Iterator[str]:
    """What a process or a thread is called, and where it stands."""
    what, where = ("process", "") if tid is None else ("thread", f'"tid":{tid},')
    for key, value in (("name", name), ("sort_index", place)):
        args = json.dumps({key: value})
        yield f'{{"ph":"M","pid":{pid},{where}"ts":0,"name":"{what}_{key}","args":{args}}}'


def _us(time: int) -> str:
    """A time in us, to the last picosecond."""
    return f"{time // MICROSECOND}.{time % MICROSECOND:06d}"
