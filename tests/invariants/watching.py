"""A run that is watched: all that the reference engine tells a tracer, and what follows from it.

Nothing here is taken from what the engine sums up by itself, so that the two can be compared.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from invariants.drawn import SEED, Drawn

from vmexit_sim.engine.simpy_engine import Simulation
from vmexit_sim.engine.window import Window
from vmexit_sim.measure.records import RunResult
from vmexit_sim.program import MARKS, Program
from vmexit_sim.steps import NOBODY, Moment
from vmexit_sim.streams import Streams

START, EXIT, ENTRY, RESUME = (
    MARKS[each] for each in (Moment.START, Moment.EXIT, Moment.ENTRY, Moment.RESUME)
)


@dataclass(frozen=True, kw_only=True)
class Wait:
    """An actor stood in line at a queue.

    Attributes:
        actor: who.
        access: the access it was for.
        begin: since when, in ps.
        end: until when.
        got: whether it got an item; else its time ran out, or (None) the world ended.
    """

    actor: int
    access: int
    begin: int
    end: int
    got: bool | None


@dataclass
class Seen:
    """One queue: how its lengths changed, and who stood in line.

    Attributes:
        steps: (time, waiting, items) after each change.
        stored: items put where nobody waited.
        taken: items taken without a wait.
        handed: items handed to a waiter.
        joined: how often somebody began to wait.
        waits: all waits, in the order in which they ended.
    """

    steps: list[tuple[int, int, int]]
    stored: int = 0
    taken: int = 0
    handed: int = 0
    joined: int = 0
    waits: list[Wait] = field(default_factory=list)

    def integral(self, until: int, *, items: bool) -> int:
        """Length x time from 0 to `until`, in ps."""
        total = 0
        for (begin, *lengths), (end, *_) in zip(
            self.steps, [*self.steps[1:], (until, 0, 0)], strict=True
        ):
            total += lengths[items] * max(min(end, until) - min(begin, until), 0)
        return total


class Watch:
    """A tracer that checks what must hold at every moment, and keeps the rest.

    Attributes:
        queues: what was seen of each queue, by its number.
        begun: per access, when its first stall began.
        effects: per access, when it had its effect: as often as it had one.
        exits: per exit reason, how long each exit was.
        exits_of: per access, how many exits.
    """

    def __init__(self, program: Program) -> None:
        self.program = program
        self.queues = [Seen([(0, 0, queue.tokens)]) for queue in program.queues]
        self.clock = [0] * len(program.actors)
        self.begun: dict[int, int] = {}
        self.effects: defaultdict[int, list[int]] = defaultdict(list)
        self.exits: defaultdict[str, list[int]] = defaultdict(list)
        self.exits_of: defaultdict[int, int] = defaultdict(int)
        self._left: dict[int, tuple[str, int]] = {}
        self._stalled: set[int] = set()
        self._now = 0
        self._ended: Wait | None = None
        self._ended_at = -1

    def passed(self, actor: int, access: int, ahead: int, stage: int, clock: int) -> None:
        """See `Tracer`."""
        assert ahead >= 0
        assert clock >= self.clock[actor] + ahead, "time goes back"
        self.clock[actor] = clock

    def waited(self, actor: int, access: int, stage: int, queue: int, clock: int) -> None:
        """See `Tracer`."""
        begin = self.clock[actor]
        assert clock >= begin, "time goes back"
        self.clock[actor] = clock
        self._ended = Wait(actor=actor, access=access, begin=begin, end=clock, got=True)
        self._ended_at = queue
        self.queues[queue].waits.append(self._ended)

    def marked(self, actor: int, access: int, marks: int, reason: int, clock: int) -> None:
        """See `Tracer`."""
        self._is_at(actor, clock)
        if marks & START:
            assert actor not in self._stalled, "a stall in a stall"
            self._stalled.add(actor)
            self.begun.setdefault(access, clock)
        if marks & EXIT:
            assert actor not in self._left, "an exit in an exit"
            self._left[actor] = (self.program.reasons[reason], clock)
            self.exits_of[access] += 1
        if marks & ENTRY:
            name, since = self._left.pop(actor)
            self.exits[name].append(clock - since)
        if marks & RESUME:
            assert actor not in self._left, "a vCPU goes on outside the guest"
            self._stalled.remove(actor)

    def posted(self, actor: int, access: int, clock: int) -> None:
        """See `Tracer`."""
        self._is_at(actor, clock)

    def done(self, actor: int, access: int, clock: int) -> None:
        """See `Tracer`."""
        self._is_at(actor, clock)
        self.effects[access].append(clock)

    def booked(self, actor: int, access: int, stage: int, amount: int, clock: int) -> None:
        """See `Tracer`."""
        self._is_at(actor, clock)

    def queued(self, queue: int, waiting: int, items: int, now: int) -> None:
        """See `Tracer`."""
        assert now >= self._now, "the world's time goes back"
        self._now = now
        assert not (waiting and items), "somebody waits where there is something"
        assert 0 <= items <= self.program.queues[queue].capacity
        seen = self.queues[queue]
        _, waited, held = seen.steps[-1]
        match waiting - waited, items - held:
            case 0, 0:  # a refused put, or back from waiting
                pass
            case 0, 1:
                seen.stored += 1
            case 0, -1:
                seen.taken += 1
            case 1, 0:
                seen.joined += 1
            case -1, 0 if self._ended is not None and self._ended_at == queue:
                seen.waits[-1] = Wait(**{**vars(self._ended), "got": False})
            case -1, 0:
                seen.handed += 1
            case change:
                raise AssertionError(f"a queue changes by {change}")
        self._ended = None
        seen.steps.append((now, waiting, items))

    def finish(self) -> None:
        """Nothing happens any more."""
        assert not self._left, "a vCPU stays outside the guest"
        assert not self._stalled, "a vCPU stays stalled"

    def _is_at(self, actor: int, clock: int) -> None:
        assert clock == self.clock[actor], "a clock moves without being told"


@dataclass(frozen=True, kw_only=True)
class Watched:
    """A run, and what was seen of it.

    Attributes:
        drawn: what ran.
        result: what the reference engine sums up.
        watch: what was seen.
        ended: when the last event of all happened, in ps.
        left: per queue, how many items it holds in the end.
        held: per queue, who holds its tokens in the end, as often as they do.
    """

    drawn: Drawn
    result: RunResult
    watch: Watch
    ended: int
    left: list[int]
    held: list[list[str]]

    @property
    def program(self) -> Program:
        """The program that ran."""
        return self.watch.program


def watched(drawn: Drawn) -> Watched:
    """Run a scenario on the reference engine, and watch it."""
    lowered = drawn.lowered()
    window = Window(lowered, drawn.workload, Streams(SEED, 0))
    watch = Watch(lowered.program)
    simulation = Simulation(lowered, window, keep_rows=True, tracer=watch)
    result = simulation.run()
    watch.finish()
    ended = max([int(simulation.env.now), *watch.clock])
    numbers = {actor.name: number for number, actor in enumerate(lowered.program.actors)}
    for seen, line in zip(watch.queues, simulation.lines, strict=True):
        for _, _, _, who, since in line.waiters:
            seen.waits.append(
                Wait(actor=numbers[who], access=NOBODY, begin=since, end=ended, got=None)
            )
    return Watched(
        drawn=drawn, result=result, watch=watch, ended=ended,
        left=[len(line.items) for line in simulation.lines],
        held=[
            [who for who, tokens in line.holders.items() for _ in range(tokens)]
            for line in simulation.lines
        ],
    )  # fmt: skip
