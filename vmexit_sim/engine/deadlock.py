"""A deadlock, in words: who waits for what, and who has it. Both engines say it alike."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from vmexit_sim.errors import SimulationError
from vmexit_sim.units import format_time


class Waiting(NamedTuple):
    """One actor that waits in vain.

    Attributes:
        who: the actor.
        queue: what it waits for.
        holders: who holds it, if it is a lock.
        since: since when, in ps.
    """

    who: str
    queue: str
    holders: tuple[str, ...]
    since: int


def deadlock_error(waiting: Iterable[Waiting]) -> SimulationError:
    """The error of a run in which nobody can go on, at the time at which the last one stopped."""
    found = list(waiting)
    waits = [
        f"{w.who} waits for {w.queue!r}"
        + (f", held by {', '.join(sorted(w.holders))}" if w.holders else "")
        for w in found
    ]
    at = max((w.since for w in found), default=0)
    return SimulationError(f"deadlock at {format_time(at)}: {'; '.join(waits)}")
