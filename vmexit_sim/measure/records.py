"""What happened to single accesses, and what it adds up to.

Engines hand over finished accesses in blocks (`Records`); a `Summary` reduces each block at once,
so memory does not grow with a run's length, and keeps the rows only if asked to.

Three latencies differ as soon as something is posted:

* *stall*: how long the vCPU could not go on;
* *response*: from when the access was due, backlog included, until the vCPU went on, so that a
  slow system cannot hide its queue;
* *effect*: from when it was due until the device's state had changed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from vmexit_sim.hypervisor.stages import IDLE
from vmexit_sim.measure.sketch import BUCKETS, Sketch, empty_stats
from vmexit_sim.steps import Role, Stage

Times = npt.NDArray[np.int64]

LATENCIES = ("stall", "response", "effect")

ADDED = (Role.HYPERVISOR, Role.WAIT, Role.DELAY)
"""Whose stages are the time that virtualisation adds: exits, waiting, being late."""


@dataclass(frozen=True, kw_only=True)
class Records:
    """A block of finished accesses of one vCPU, in program order; times in ps from the start.

    Attributes:
        vcpu: whose they are.
        first: the place of the first in the vCPU's program order.
        operation: the operation each belongs to (-1: none).
        due: when it was to begin: arrival and compute (open loop), or its start (closed loop).
        start: when the vCPU issued it.
        resume: when the vCPU first went on.
        stall: how long it kept the vCPU altogether.
        posted: when it was left for later; -1: it was not.
        done: when its effect had happened.
        exits: VM exits booked on it.
        stages: time per stage, shape (accesses, stages).
    """

    vcpu: int
    first: int
    operation: Times
    due: Times
    start: Times
    resume: Times
    stall: Times
    posted: Times
    done: Times
    exits: Times
    stages: Times

    def latency(self, which: str) -> Times:
        """Stall, response or effect latency of each access, in ps."""
        if which == "stall":
            return self.stall
        return (self.resume if which == "response" else self.done) - self.due


@dataclass
class ExitTally:
    """VM exits for one reason: from leaving the guest to being in it again, in ps.

    Attributes:
        reason: as ``perf kvm stat`` names it.
        samples: how many exits.
        total: their time altogether.
        least: the shortest.
        greatest: the longest.
        squares: the sum of their squares, in ps², exact: the spread follows from it.
    """

    reason: str
    samples: int = 0
    total: int = 0
    least: int = 0
    greatest: int = 0
    squares: int = 0

    def add(self, durations: Sequence[int]) -> None:
        """Count some exits."""
        if not durations:
            return
        least = min(durations)
        self.least = min(self.least, least) if self.samples else least
        self.greatest = max(self.greatest, max(durations))
        self.samples += len(durations)
        self.total += sum(durations)
        self.squares += sum(duration * duration for duration in durations)

    @property
    def mean(self) -> float:
        """Mean duration, in ps."""
        return self.total / self.samples if self.samples else 0.0

    @property
    def sd(self) -> float:
        """Standard deviation of one duration, in ps; 0 of fewer than two."""
        if self.samples < 2:
            return 0.0
        spread = self.samples * self.squares - self.total * self.total
        return math.sqrt(spread / (self.samples * (self.samples - 1)))


@dataclass(frozen=True, kw_only=True)
class ResourceUse:
    """What one queue saw during a run.

    Attributes:
        name: the queue's name.
        tokens: servers it stands for (0: a mailbox).
        takes: how often an item was taken.
        waits: how often someone had to wait.
        busy: token-time taken, in ps (0 for a mailbox).
        waiting: time waited altogether, in ps.
        span: how long the run was, in ps.
    """

    name: str
    tokens: int
    takes: int
    waits: int
    busy: int
    waiting: int
    span: int

    @property
    def utilisation(self) -> float:
        """Share of its servers' time in use, 0 to 1."""
        return self.busy / (self.tokens * self.span) if self.tokens and self.span else 0.0

    @property
    def mean_queue(self) -> float:
        """How many waited, on average over time."""
        return self.waiting / self.span if self.span else 0.0


class Summary:
    """The reduction of a run's records.

    Its numbers live in a few arrays, into which compiled code may count as well.

    Attributes:
        stages: the stages that `stage_totals` speaks of.
        keep_rows: whether the records themselves are kept, in `rows`.
        counts: the sketches' counts, one row each: `LATENCIES` of accesses, then of operations.
        stats: the sketches' stats, likewise.
        totals: time per stage over all accesses, in ps; last, the number of VM exits.
        latencies: a sketch each of stall, response and effect latency.
        operations: the same of whole operations: stall is the sum over its accesses, response
            and effect run from its first access's due moment to its last access.
    """

    def __init__(self, stages: Sequence[Stage], keep_rows: bool = False) -> None:
        self.stages = stages
        self.keep_rows = keep_rows
        sketches = 2 * len(LATENCIES)
        self.counts = np.zeros((sketches, BUCKETS), np.int64)
        self.stats = np.tile(empty_stats(), (sketches, 1))
        self.totals = np.zeros(len(stages) + 1, np.int64)
        pairs = [Sketch(*pair) for pair in zip(self.counts, self.stats, strict=True)]
        self.latencies = dict(zip(LATENCIES, pairs, strict=False))
        self.operations = dict(zip(LATENCIES, pairs[len(LATENCIES) :], strict=True))
        self.rows: list[Records] = []
        self._open: dict[int, tuple[int, npt.NDArray[np.int64]]] = {}

    @property
    def accesses(self) -> int:
        """How many accesses have been counted."""
        return self.latencies["stall"].n

    @property
    def exits(self) -> int:
        """VM exits, of all reasons."""
        return int(self.totals[-1])

    @property
    def stage_totals(self) -> Times:
        """Time per stage over all accesses, in ps, shape (stages,)."""
        return self.totals[:-1]

    def add(self, records: Records) -> None:
        """Count in a block; blocks of one vCPU must come in order."""
        if not len(records.due):
            return
        self.totals[-1] += records.exits.sum()
        self.totals[:-1] += records.stages.sum(axis=0)
        for which, sketch in self.latencies.items():
            sketch.add(records.latency(which))
        self._add_operations(records)
        self.keep(records)

    def keep(self, records: Records) -> None:
        """Keep a block's rows, if rows are kept at all."""
        if self.keep_rows:
            self.rows.append(records)

    def close_operation(self, stall: int, due: int, resume: int, done: int) -> None:
        """Count in one whole operation."""
        self._close(np.array([[stall, due, resume, done]], np.int64))

    def finish(self) -> None:
        """No more blocks: what is still open is complete."""
        for _, operation in self._open.values():
            self._close(operation[None, :])
        self._open.clear()

    def of_role(self, *roles: Role) -> int:
        """Time in all stages of some roles, in ps."""
        return sum(
            int(total)
            for stage, total in zip(self.stages, self.stage_totals, strict=False)
            if stage.role in roles
        )

    def quantile(self, which: str, q: float) -> float:
        """A latency's lower empirical quantile in ps: exact if rows are kept."""
        if not self.keep_rows:
            return self.latencies[which].quantile(q)
        if not self.rows:
            return float("nan")
        values = np.concatenate([records.latency(which) for records in self.rows])
        rank = min(max(int(np.ceil(q * len(values))), 1), len(values))
        return float(np.partition(values, rank - 1)[rank - 1])

    def _add_operations(self, records: Records) -> None:
        """Reduce runs of rows of one operation; the last run may go on in the next block."""
        rows = np.flatnonzero(records.operation >= 0)
        if not len(rows):
            return
        operation = records.operation[rows]
        begin = np.concatenate([[0], np.flatnonzero(np.diff(operation)) + 1])
        parts = np.column_stack(
            [
                np.add.reduceat(records.stall[rows], begin),
                np.minimum.reduceat(records.due[rows], begin),
                np.maximum.reduceat(records.resume[rows], begin),
                np.maximum.reduceat(records.done[rows], begin),
            ]
        )
        carried = self._open.pop(records.vcpu, None)
        if carried is not None:
            if carried[0] == operation[0]:
                parts[0] = _joined(carried[1], parts[0])
            else:
                self._close(carried[1][None, :])
        self._open[records.vcpu] = (int(operation[-1]), parts[-1])
        self._close(parts[:-1])

    def _close(self, parts: npt.NDArray[np.int64]) -> None:
        stall, due, resume, done = parts.T
        self.operations["stall"].add(stall)
        self.operations["response"].add(resume - due)
        self.operations["effect"].add(done - due)


def _joined(a: npt.NDArray[np.int64], b: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    return np.array([a[0] + b[0], min(a[1], b[1]), max(a[2], b[2]), max(a[3], b[3])])


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """Everything a run leaves behind.

    Attributes:
        summary: the reduced records.
        exits: tallies of VM exits by reason; only reasons that occurred.
        resources: use of every lock, server and mailbox.
        finish: per vCPU, when it halted, in ps; interrupt contexts behind the vCPUs.
        who: what these are called.
        vcpus: how many of them are vCPUs.
        reach: the share of accesses that the policy's own rules decided.
    """

    summary: Summary
    exits: list[ExitTally]
    resources: list[ResourceUse]
    finish: list[int]
    who: list[str]
    vcpus: int
    reach: float

    @property
    def completion(self) -> int:
        """When the last vCPU halted, in ps."""
        return max(self.finish)

    @property
    def hypervisor_time(self) -> int:
        """What virtualisation added to the vCPUs' time, in ps: exits, waiting, being late."""
        return self.summary.of_role(*ADDED)

    @property
    def asleep(self) -> int:
        """Time that vCPUs slept because their guest had nothing to do, in ps."""
        return self.stage_times().get(IDLE.name, 0)

    @property
    def idle_burnt(self) -> float:
        """Share of the guest's idle time that kept a CPU busy: polling, and exits to halt."""
        burnt = self.summary.of_role(Role.POLL)
        return burnt / (burnt + self.asleep) if burnt or self.asleep else 0.0

    @property
    def cpu_share(self) -> float:
        """Share of the vCPUs' time in which they did not sleep for want of work."""
        alive = sum(self.finish[: self.vcpus])
        return 1 - self.asleep / max(alive, 1)

    def resource(self, name: str) -> ResourceUse | None:
        """The use of one queue; None: the run had no such queue."""
        return next((use for use in self.resources if use.name == name), None)

    def exits_of(self, reason: str) -> int:
        """VM exits for one reason."""
        return next((tally.samples for tally in self.exits if tally.reason == reason), 0)

    def stage_times(self) -> dict[str, int]:
        """Time per stage over all accesses, in ps; guest compute and idling included."""
        pairs = zip(self.summary.stages, self.summary.stage_totals, strict=False)
        return {stage.name: int(total) for stage, total in pairs if total}

    def to_columns(self) -> dict[str, npt.NDArray[Any]]:
        """The kept rows as columns: one row per access, a column per stage (``stage: …``).

        Empty unless the run kept its rows. Times are in ps.
        """
        rows = sorted(self.summary.rows, key=lambda block: (block.vcpu, block.first))
        if not rows:
            return {}
        columns: dict[str, npt.NDArray[Any]] = {
            "vcpu": np.concatenate([np.full(len(r.due), r.vcpu) for r in rows]),
            "row": np.concatenate([r.first + np.arange(len(r.due)) for r in rows]),
        }
        for name in ("operation", "due", "start", "resume", "stall", "posted", "done", "exits"):
            columns[name] = np.concatenate([getattr(r, name) for r in rows])
        stages = np.concatenate([r.stages for r in rows])
        for number, stage in enumerate(self.summary.stages):
            columns[f"stage: {stage.name}"] = stages[:, number]
        return columns
