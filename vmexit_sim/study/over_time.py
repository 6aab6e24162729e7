"""Over time: when a guest exits and why, and how its locks, servers and threads are used.

One policy on one guest, once, on the reference engine, with a tracer that bins what happens
(`measure.over_time`). The numbers of the run are those of any other run of that policy and
replication; over the whole run the bins sum to its tallies exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from vmexit_sim.engine import EngineName
from vmexit_sim.engine.simpy_engine import Simulation
from vmexit_sim.engine.window import Window
from vmexit_sim.errors import InputError
from vmexit_sim.measure.over_time import OverTime, StepSum
from vmexit_sim.measure.records import RunResult
from vmexit_sim.opened import Loaded, Opened
from vmexit_sim.policy import Policy
from vmexit_sim.program import Program
from vmexit_sim.streams import Streams
from vmexit_sim.study.replication import lowered_for, run_once
from vmexit_sim.study.timeline import in_order
from vmexit_sim.units import format_time

BINS = 100
"""Bins of time, unless said otherwise."""

Sums = npt.NDArray[np.int64]
Kind = Literal["server", "thread", "mailbox"]


@dataclass(frozen=True, kw_only=True)
class Use:
    """How something that actors share is used, bin by bin.

    Attributes:
        name: the queue's or the thread's; queues of which every vCPU has one are told together.
        kind: a lock or server (servers), a thread of the host, or a mailbox or ring.
        servers: how many may be in use at a time; of a mailbox 0.
        busy: time in use, summed over servers, in ps; of a thread the time that it works,
            which waking up is not; int64 [bin].
        queued: how many wait for a server, or are in a mailbox, times how long, in ps; int64 [bin].
        most: the greatest such number that lasted; int64 [bin].
    """

    name: str
    kind: Kind
    servers: int
    busy: Sums
    queued: Sums
    most: Sums


@dataclass(frozen=True, kw_only=True)
class RunOverTime:
    """One policy on one guest, over time.

    Attributes:
        block: the guest's name.
        policy: the policy's.
        edges: where bins begin, and where the last ends, in ps; int64 [bin + 1].
        exits: by reason, how many in each bin; only reasons that occurred; int64 [bin].
        uses: locks and servers, threads, mailboxes.
        asked: where the last bin was to end, in ps; later than it does where the run ends first.
        result: the whole run's.
    """

    block: str
    policy: str
    edges: Sums
    exits: dict[str, Sums]
    uses: Sequence[Use]
    asked: int
    result: RunResult

    @property
    def basis(self) -> str:
        """What the bins are of, in a sentence."""
        count = len(self.widths)
        told = (
            f"one run of {self.block} in {count} bin{'s' * (count != 1)} of "
            f"{format_time(self.span / count)}; exact for it"
        )
        if self.asked <= self.edges[-1]:
            return told
        return f"{told}; it ends at {format_time(int(self.edges[-1]))}, and so do the bins"

    @property
    def widths(self) -> Sums:
        """How long each bin is, in ps; int64 [bin]."""
        widths: Sums = self.edges[1:] - self.edges[:-1]
        return widths

    @property
    def contended(self) -> list[Use]:
        """Threads that worked, and whatever anybody waited for; if there is none, what was used."""
        threads = [use for use in self.uses if use.kind == "thread" and use.busy.any()]
        waited = [use for use in self.uses if use.kind != "thread" and use.queued.any()]
        used = [use for use in self.uses if use.kind == "server" and use.busy.any()]
        return [*threads, *waited] or used

    def utilisation(self, use: Use) -> float:
        """Share of its servers' time in use over all bins (0 … 1): time-weighted."""
        return float(use.busy.sum()) / (max(use.servers, 1) * self.span)

    def mean_queue(self, use: Use) -> float:
        """How many wait, or are in it, over all bins: time-weighted."""
        return float(use.queued.sum()) / self.span

    @property
    def span(self) -> int:
        """How long all bins are, in ps."""
        return max(int(self.edges[-1] - self.edges[0]), 1)


def over_time(
    opened: Opened,
    block: Loaded,
    policy: Policy,
    *,
    replication: int = 0,
    begin: int = 0,
    end: int | None = None,
    bins: int = BINS,
    engine: EngineName = "auto",
) -> RunOverTime:
    """Run a policy on a guest once, and bin what happens.

    Args:
        opened: the scenario.
        block: one of its guests, at its main think scale.
        policy: how it reaches its devices.
        replication: which repetition.
        begin: where the first bin begins, in ps.
        end: where the last ends; None, or later than the run's end: when the run is through, which
            a run beforehand tells.
        bins: how many; fewer where the time has fewer picoseconds.
        engine: what runs the run beforehand; the other is the reference engine's.

    Raises:
        InputError: no bins, no time, or a time that begins after the run's end.
        SimulationError: a deadlock.
    """
    if bins < 1:
        raise InputError("is too few", key="bins", value=bins, mend="give 1 or more")
    if end is not None and end <= begin:
        raise InputError("is no time after the begin", key="--to", value=format_time(end))
    first = run_once(opened, lowered_for(opened, policy, block), block, replication,
                     keep_rows=False, engine=engine)  # fmt: skip
    through = first.completion
    if begin >= through:
        raise InputError(
            f"is after the end of {block.name}", key="--from", value=format_time(begin),
            mend=f"begin before it ends at {format_time(through)}",
        )  # fmt: skip
    asked = through if end is None else end
    end = min(asked, through)
    lowered = lowered_for(opened, in_order(policy), block)
    window = Window(
        lowered, block.workloads[block.main_scale], Streams(opened.scenario.seed, replication)
    )
    edges = np.unique(np.linspace(begin, end, bins + 1).round().astype(np.int64))
    tracer = OverTime(lowered.program, edges.tolist())
    result = Simulation(lowered, window, tracer=tracer).run()
    tracer.finish()
    program = lowered.program
    return RunOverTime(
        block=block.name,
        policy=policy.name or policy.title,
        edges=edges,
        exits={
            reason: own
            for reason, own in zip(program.reasons, tracer.exits, strict=True)
            if own.any()
        },
        uses=[*_queues(program, tracer), *_threads(program, tracer)],
        asked=asked,
        result=result,
    )


def basis_of(runs: Sequence[RunOverTime]) -> str:
    """What the bins of several policies' runs are of, in a sentence."""
    if len(runs) == 1:
        return runs[0].basis
    return " | ".join(f"{run.policy}: {run.basis}" for run in runs)


def _queues(program: Program, tracer: OverTime) -> list[Use]:
    """Queues, those of one name (of which every vCPU has one) together."""
    places: dict[str, list[int]] = {}
    for place, queue in enumerate(program.queues):
        places.setdefault(queue.name, []).append(place)
    uses = []
    for name, own in places.items():
        tokens = program.queues[own[0]].tokens
        servers = tokens * len(own)
        free = _summed([tracer.items[place].sums for place in own])
        edges = np.array(tracer.edges, np.int64)
        widths: Sums = edges[1:] - edges[:-1]
        queued = [tracer.waiting[place] if tokens else tracer.items[place] for place in own]
        uses.append(
            Use(
                name=name, kind="server" if tokens else "mailbox", servers=servers,
                busy=servers * widths - free if tokens else np.zeros(len(widths), np.int64),
                queued=_summed([each.sums for each in queued]), most=_most(queued),
            )
        )  # fmt: skip
    return uses


def _threads(program: Program, tracer: OverTime) -> list[Use]:
    """Actors of the host."""
    return [
        Use(
            name=actor.name, kind="thread", servers=1, busy=_summed([own.sums]),
            queued=np.zeros(len(own.sums), np.int64), most=np.zeros(len(own.sums), np.int64),
        )
        for number, (actor, own) in enumerate(zip(program.actors, tracer.busy, strict=True))
        if number >= program.vcpus
    ]  # fmt: skip


def _summed(parts: Sequence[Sequence[int]]) -> Sums:
    total: Sums = np.sum(np.array(parts, np.int64), axis=0)
    return total


def _most(parts: Sequence[StepSum]) -> Sums:
    """Of several queues the longest one's length."""
    most: Sums = np.max(np.array([each.most for each in parts], np.int64), axis=0)
    return most
