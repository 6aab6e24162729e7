"""A waterfall: one access under several policies, each stage at its moment and in its lane.

::

    vCPU      ▒▒▒ exit ███ wait ······················ ▒▒▒ entry
    device            ████ emulation                               one policy
    thread                                                         (a thread of the host, if any)
    ├───────────────────────────────────────────────────► time from START

The same access of the same guest, draw for draw. What a device model does is its lane's, whoever's
thread runs it; what the host's threads do besides for the access is in their lanes. The run is
made on the reference engine with a recorder (`study.timeline`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from vmexit_sim.engine import EngineName
from vmexit_sim.errors import InputError
from vmexit_sim.lowering import VCPU_SHIFT
from vmexit_sim.measure.records import RunResult
from vmexit_sim.measure.tracer import SEVERAL
from vmexit_sim.opened import Loaded, Opened
from vmexit_sim.policy import Policy
from vmexit_sim.steps import Role
from vmexit_sim.study.replication import Progress, lowered_for, run_once
from vmexit_sim.study.timeline import AccessFacts, Timeline, timeline_of

Lane = Literal["vCPU", "device", "thread"]

EMULATION = ("device emulation", "back end emulation", "handler", "state change",
             "back end state change")  # fmt: skip
"""The stages in which a device model works."""

MOST_EVENTS = 10_000_000
"""Room for the events of one access's time, which is all that is recorded."""

MOST_DIGITS = 18
"""Digits of a place in a program at most; longer ones are not looked at."""

_QUANTILE = re.compile(r"p(\d+(?:\.\d+)?)")


@dataclass(frozen=True, kw_only=True)
class Piece:
    """A stretch of an access's time.

    Attributes:
        lane: where it belongs.
        actor: who spends it: a vCPU's or a thread's name.
        stage: the stage's name.
        is_back: whether it is posted work's, while the vCPU may have gone on.
        begin: from the access's start, in ps.
        end: likewise.
    """

    lane: Lane
    actor: str
    stage: str
    is_back: bool
    begin: int
    end: int


@dataclass(frozen=True, kw_only=True)
class PolicyWaterfall:
    """One access under one policy; times in ps from when the vCPU issued it.

    Attributes:
        policy: its name.
        pieces: what was spent on it, in order of begin.
        resume: when the vCPU first went on.
        done: when its effect had happened.
        posted: when it was left for later; None: it was not.
        exits: VM exits booked on it.
        stages: all time booked on it, by stage, as its record has it.
        booked: of these what was booked without being spent: the wait in a batch, and the like.
    """

    policy: str
    pieces: Sequence[Piece]
    resume: int
    done: int
    posted: int | None
    exits: int
    stages: dict[str, int]
    booked: dict[str, int]


@dataclass(frozen=True, kw_only=True)
class Waterfall:
    """One access under several policies.

    Attributes:
        block: the guest's name.
        vcpu: whose access it is.
        row: its place in that vCPU's program order.
        facts: what it is.
        replication: of which repetition.
        policies: in the scenario's order.
    """

    block: str
    vcpu: int
    row: int
    facts: AccessFacts
    replication: int
    policies: Sequence[PolicyWaterfall]

    @property
    def basis(self) -> str:
        """Which access it is, in a sentence."""
        facts = self.facts
        how = "write" if facts.write else "read"
        return (
            f"access {self.row:,} of vCPU {self.vcpu} in {self.block}, replication "
            f"{self.replication}: {facts.space} {how} of {facts.device or 'its device'} at "
            f"{facts.address:#x}; times exact"
        )


def quantile_of(text: str) -> float | None:
    """A quantile as it is written, "p99.9"; None: it is none."""
    found = _QUANTILE.fullmatch(text)
    q = None if found is None else float(found[1]) / 100
    return q if q is not None and q <= 1 else None


def waterfall(
    opened: Opened,
    block: Loaded,
    *,
    access: str = "p50",
    vcpu: int | None = None,
    replication: int = 0,
    engine: EngineName = "auto",
    progress: Progress | None = None,
) -> Waterfall:
    """One access under every policy of a scenario.

    Args:
        opened: the scenario.
        block: one of its guests, at its main think scale.
        access: its place in its vCPU's program order, or a quantile ("p50", "p99", "p100"): the
            access at it of the first policy's times from issue until both the vCPU has gone on
            and the effect has happened; of several, the one in their middle.
        vcpu: whose; None: a place is vCPU 0's, a quantile everybody's.
        replication: which repetition.
        engine: what runs the runs that find the access; those recorded are the reference engine's.
        progress: told what is being run.

    Raises:
        InputError: no such access.
        SimulationError: a deadlock.
    """
    tell: Progress = progress or (lambda _: None)
    policies: list[PolicyWaterfall] = []
    number = -1
    facts: AccessFacts | None = None
    for policy in opened.policies:
        tell(f"{block.name}: {policy.name}")
        result = run_once(opened, lowered_for(opened, policy, block), block, replication,
                          keep_rows=True, engine=engine)  # fmt: skip
        if number < 0:
            number = _number(result, access, vcpu)
        found, facts = _one(opened, block, policy, replication, result, number)
        policies.append(found)
    assert facts is not None, "a scenario has a policy"
    return Waterfall(
        block=block.name, vcpu=number >> VCPU_SHIFT, row=facts.row, facts=facts,
        replication=replication, policies=policies,
    )  # fmt: skip


def _number(result: RunResult, access: str, vcpu: int | None) -> int:
    """The access's number, as programs have it."""
    rows = [own for own in result.summary.rows if vcpu is None or own.vcpu == vcpu]
    if not rows:
        raise InputError("has no accesses", key="vcpu", value=vcpu,
                         mend=f"give 0 to {len(result.who) - 1}")  # fmt: skip
    q = quantile_of(access)
    if q is None:
        own = 0 if vcpu is None else vcpu
        most = sum(len(each.due) for each in rows if each.vcpu == own)
        is_place = access.isdecimal() and len(access) <= MOST_DIGITS and int(access) < most
        if not is_place:
            raise InputError(
                f"is no access of {result.who[own]}, and no quantile", key="access",
                value=access if len(access) <= MOST_DIGITS else f"{access[:MOST_DIGITS]}…",
                mend=f"give 0 to {most - 1}, or p50, p99, …",
            )  # fmt: skip
        return own << VCPU_SHIFT | int(access)
    rows.sort(key=lambda each: (each.vcpu, each.first))
    times = np.concatenate([np.maximum(each.resume, each.done) - each.start for each in rows])
    numbers = np.concatenate([
        (each.vcpu << VCPU_SHIFT) + each.first + np.arange(len(each.due)) for each in rows
    ])  # fmt: skip
    rank = min(max(int(np.ceil(q * len(times))), 1), len(times))
    at = np.partition(times, rank - 1)[rank - 1]
    hits = np.flatnonzero(times == at)
    return int(numbers[hits[len(hits) // 2]])


def _one(
    opened: Opened, block: Loaded, policy: Policy, replication: int, result: RunResult, number: int
) -> tuple[PolicyWaterfall, AccessFacts]:
    vcpu, row = number >> VCPU_SHIFT, number & (1 << VCPU_SHIFT) - 1
    own = next(each for each in result.summary.rows
               if each.vcpu == vcpu and each.first <= row < each.first + len(each.due))  # fmt: skip
    at = row - own.first
    start, resume, done, posted = (
        int(getattr(own, name)[at]) for name in ("start", "resume", "done", "posted")
    )
    stages = {
        stage.name: int(time)
        for stage, time in zip(result.summary.stages, own.stages[at], strict=False)
        if time and stage.role not in (Role.GUEST, Role.POLL, Role.DELAY)
    }
    end = max(resume, done, start + 1)
    timeline = timeline_of(opened, block, policy, replication=replication, begin=start, end=end,
                           most=MOST_EVENTS)  # fmt: skip
    booked: dict[str, int] = {}
    for each in timeline.recorder.bookings:
        if each.access == number:
            name = timeline.recorder.stage(each.stage).name
            booked[name] = booked.get(name, 0) + each.amount
    found = PolicyWaterfall(
        policy=policy.name or policy.title,
        pieces=_pieces(timeline, number, start),
        resume=resume - start,
        done=done - start,
        posted=None if posted < 0 else posted - start,
        exits=int(own.exits[at]),
        stages=stages,
        booked=booked,
    )
    return found, timeline.facts[number]


def _pieces(timeline: Timeline, number: int, start: int) -> list[Piece]:
    """An access's stages; compute before its start, and idling, are none of its."""
    program, recorder = timeline.recorder.program, timeline.recorder
    pieces = []
    for each in recorder.slices:
        if each.kind != "stage" or each.access != number or each.begin < start:
            continue
        stage = recorder.stage(each.what)
        if each.what != SEVERAL and stage.role in (Role.GUEST, Role.POLL, Role.DELAY):
            continue
        actor = program.actors[each.actor]
        is_thread = each.actor >= program.vcpus
        lane: Lane = "thread" if is_thread else "vCPU"
        if stage.name in EMULATION:
            lane = "device"
        pieces.append(
            Piece(
                lane=lane, actor=actor.name, stage=stage.name, is_back=stage.role is Role.BACK,
                begin=each.begin - start, end=each.end - start,
            )
        )  # fmt: skip
    return sorted(pieces, key=lambda piece: (piece.begin, piece.end))
