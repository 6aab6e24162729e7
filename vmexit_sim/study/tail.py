"""The tail: what the slowest accesses spend their time on, beside what all of them do.

::

    due ── late start ── START ── front stages: the stall ── RESUME
                                 │ posted: back stages ── DONE

*Slowest* are the accesses whose latency reaches its quantile, so where many take equally long it
may be more of them than the quantile says; how many is told. The parts sum to the latency, to the
picosecond:

* of a *stall*, its front stages;
* of a *response*, the late start and the front stages. Of an access that stalls its vCPU once
  more after that went on, the record does not say which stage was in which stall: its time until
  then is one part (`FIRST`);
* of an *effect*, the late start, the time from the access's start until its work was posted or
  done, and the back stages. The vCPU's way back into the guest comes after that and is no time of
  the effect, and the record does not say what of a front stage came before: it is one part
  (`BEFORE`).

Shares are of sums: over all chosen accesses of a replication. Over replications their mean is
estimated, with Student's t interval.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from vmexit_sim.engine import EngineName
from vmexit_sim.errors import InputError
from vmexit_sim.measure.records import Records, RunResult
from vmexit_sim.opened import Loaded, Opened
from vmexit_sim.statistics import Estimate, exact, mean
from vmexit_sim.steps import Role, Stage
from vmexit_sim.study.each_run import each_run
from vmexit_sim.study.latencies import refuse_other
from vmexit_sim.study.replication import Progress

LATE = "wait: late start"
"""How long an access that was due had to wait for its vCPU (open loop)."""

FIRST = "until it first goes on"
"""From an access's start until its vCPU goes on, where stages do not tell it apart."""

BEFORE = "until its posting or effect"
"""From an access's start until its work is left for later, or, if it is not, until its effect."""

Times = dict[str, int]
"""Time by stage, in ps."""

Matrix = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """What some accesses of a run spent their time on.

    Attributes:
        accesses: how many.
        times: by stage, in ps, summed over them, which is their latency; only stages that took any.
    """

    accesses: int
    times: Times

    @property
    def total(self) -> int:
        """All their time, in ps."""
        return sum(self.times.values())

    def share(self, stage: str) -> float:
        """A stage's share of it (0 … 1)."""
        return self.times.get(stage, 0) / self.total if self.total else 0.0


@dataclass(frozen=True, kw_only=True)
class PolicyTail:
    """One policy's accesses, all of them and the slowest.

    Attributes:
        policy: its name.
        stages: those that took any time, in the order of the program; first `LATE`, `FIRST` and
            `BEFORE`.
        all: shares by stage of all accesses' time, 1 altogether.
        slowest: the same of the slowest.
        mean_all: latency of one access, in ps.
        mean_slowest: the same of the slowest.
        part: which part of the accesses these are (0 … 1).
    """

    policy: str
    stages: Sequence[str]
    all: Mapping[str, Estimate]
    slowest: Mapping[str, Estimate]
    mean_all: Estimate
    mean_slowest: Estimate
    part: Estimate


@dataclass(frozen=True, kw_only=True)
class Tail:
    """What the slowest accesses of a guest spend their time on.

    Attributes:
        block: the guest's name.
        which: "stall", "response" or "effect".
        q: the quantile from which on an access is one of the slowest.
        policies: in the scenario's order.
        replications: behind each estimate.
        is_exact: whether nothing is left to chance.
    """

    block: str
    which: str
    q: float
    policies: Sequence[PolicyTail]
    replications: int
    is_exact: bool

    @property
    def basis(self) -> str:
        """What the shares rest on, in a sentence."""
        told = f"accesses from the p{self.q * 100:g} of {self.which} on, beside all accesses"
        if self.is_exact:
            return f"{told}; exact"
        if self.replications == 1:
            return f"{told}; 1 replication, no intervals"
        return (
            f"{told}; means of {self.replications:,} replications' shares and times, with "
            "Student's t intervals at 95 %"
        )


def tail(
    opened: Opened,
    block: Loaded,
    which: str = "stall",
    q: float = 0.99,
    *,
    engine: EngineName = "auto",
    jobs: int = 1,
    progress: Progress | None = None,
) -> Tail:
    """What the slowest accesses spend their time on, under every policy of a scenario.

    Args:
        opened: the scenario.
        block: one of its guests.
        which: by what they are slow: "stall", "response" or "effect".
        q: the quantile from which on an access is slow, between 0 and 1.
        engine: what runs it; the numbers are the same.
        jobs: replications that run at a time, on threads; the rows of so many are in memory.
        progress: told what is being run.

    Raises:
        InputError: no such latency, or no quantile.
        SimulationError: a deadlock.
    """
    refuse_other(which)
    if not 0 < q < 1:
        raise InputError("is no quantile", key="beyond", value=q, mend="give 0.99 or the like")
    found = each_run(opened, block, partial(chosen_of, which=which, q=q), keep_rows=True,
                     engine=engine, jobs=jobs, progress=progress)  # fmt: skip
    return Tail(
        block=block.name,
        which=which,
        q=q,
        policies=[_policy(name, own, opened.is_random) for name, own in found],
        replications=opened.replications,
        is_exact=not opened.is_random,
    )


def chosen_of(result: RunResult, which: str, q: float) -> tuple[Chosen, Chosen]:
    """All accesses of a run, and the slowest of them.

    Args:
        result: a run that kept its rows.
        which: the latency by which they are slow.
        q: the quantile from which on they are.
    """
    rows = result.summary.rows
    least = result.summary.quantile(which, q)
    names = [LATE, FIRST, BEFORE, *(stage.name for stage in result.summary.stages)]
    pairs = []
    for is_slow in (False, True):
        sums = np.zeros(len(names), np.int64)
        number = 0
        for block in rows:
            latency = block.latency(which)
            mask = latency >= least if is_slow else np.ones(len(latency), bool)
            sums += _parts(block, result.summary.stages, which)[mask].sum(axis=0)
            number += int(mask.sum())
        times = {name: int(time) for name, time in zip(names, sums, strict=True) if time}
        pairs.append(Chosen(accesses=number, times=times))
    return pairs[0], pairs[1]


def _parts(block: Records, stages: Sequence[Stage], which: str) -> Matrix:
    """Each access's latency in parts: late, first, before, then its stages; [access, part]."""
    counted = np.array([stage.role is Role.BACK if which == "effect" else stage.is_front
                        for stage in stages], bool)  # fmt: skip
    own = np.where(counted, block.stages[:, : len(stages)], 0)
    late, first, before = np.zeros((3, len(block.due)), np.int64)
    if which != "stall":
        late = block.start - block.due
    if which == "response":
        again = own.sum(axis=1) != block.resume - block.start
        first = np.where(again, block.resume - block.start, 0)
        own[again] = 0
    if which == "effect":
        before = block.done - block.start - own.sum(axis=1)
    return np.column_stack([late, first, before, own])


def _policy(name: str, own: Sequence[tuple[Chosen, Chosen]], is_random: bool) -> PolicyTail:
    stages = dict.fromkeys(stage for pair in own for stage in pair[0].times)

    def estimated(values: Sequence[float], unit: str) -> Estimate:
        return mean(values, unit=unit) if is_random else exact(values[0], unit)

    def shares(which: int) -> dict[str, Estimate]:
        return {stage: estimated([pair[which].share(stage) for pair in own], "1")
                for stage in stages}  # fmt: skip

    def means(which: int) -> Estimate:
        values = [pair[which].total / max(pair[which].accesses, 1) for pair in own]
        return estimated(values, "ps")

    return PolicyTail(
        policy=name,
        stages=list(stages),
        all=shares(0),
        slowest=shares(1),
        mean_all=means(0),
        mean_slowest=means(1),
        part=estimated([slow.accesses / max(whole.accesses, 1) for whole, slow in own], "1"),
    )
