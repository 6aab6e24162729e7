"""What an engine tells of a run, moment by moment, to whom, and what can be kept of it.

An engine tells a `Tracer` whatever moves an actor's clock and whatever it marks. A run without one
has None in its place, so that nothing is asked of a mechanism and nothing is recorded.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, Protocol

SEVERAL = -1
"""The number that stands for constant times of more than one stage, which a program has added."""

Kind = Literal["access", "exit", "stage"]


class Tracer(Protocol):
    """Whom an engine tells what happens; actors, stages, queues, reasons are a program's numbers.

    An actor's clock moves only as `passed` and `waited` say; times are in ps from the start.
    """

    def passed(self, actor: int, access: int, ahead: int, stage: int, clock: int) -> None:
        """Time passed: first `ahead`, of constant costs, then `stage` (-1: none) until `clock`."""

    def waited(self, actor: int, access: int, stage: int, queue: int, clock: int) -> None:
        """Until `clock` an actor waited for a queue's item, or for its time-out."""

    def marked(self, actor: int, access: int, marks: int, reason: int, clock: int) -> None:
        """Moments of an access, a sum of `MARKS`; `reason` is that of an exit."""

    def posted(self, actor: int, access: int, clock: int) -> None:
        """An access was left for later."""

    def done(self, actor: int, access: int, clock: int) -> None:
        """An access has had its effect."""

    def booked(self, actor: int, access: int, stage: int, amount: int, clock: int) -> None:
        """Time was booked on an access without being spent."""

    def queued(self, queue: int, waiting: int, items: int, now: int) -> None:
        """How many wait at a queue now, and how many items it holds; `now` never goes back."""


class Slice(NamedTuple):
    """A stretch of an actor's time.

    Attributes:
        actor: whose.
        kind: an access, an exit, or a stage.
        access: the access's number; `NOBODY`: none's.
        what: the number of the stage (or `SEVERAL`) or exit reason; of an access 0.
        begin: in ps.
        end: in ps.
        opened: place among all that was recorded, of its begin.
        closed: the same of its end; slices of an actor nest by these.
    """

    actor: int
    kind: Kind
    access: int
    what: int
    begin: int
    end: int
    opened: int
    closed: int


class Posted(NamedTuple):
    """An access that was left for later.

    Attributes:
        access: its number.
        actor: who left it.
        at: when, in ps.
        place: place among all that was recorded.
        by: who did the work; None: nobody within what was recorded.
        done: when its effect had happened, in ps.
        done_place: place among all that was recorded.
    """

    access: int
    actor: int
    at: int
    place: int
    by: int | None = None
    done: int = 0
    done_place: int = 0


class Booking(NamedTuple):
    """Time booked on an access at a moment without being spent, in ps."""

    time: int
    access: int
    stage: int
    amount: int


class QueueChange(NamedTuple):
    """From `time` (ps) on, so many wait at a lock, or so many items are in a mailbox."""

    time: int
    queue: int
    length: int


EVENTS = {"slice": 2, "posted": 6, "change": 1}
"""How many events of a trace file one of these can become."""
