"""A timeline: one policy on one guest, once, with all that its actors did in a window of time.

It runs on the reference engine, to the run's end, with a `Recorder`. The numbers of the run are
those of any other run of that policy and replication.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vmexit_sim.engine.simpy_engine import Simulation
from vmexit_sim.engine.window import Window
from vmexit_sim.errors import InputError
from vmexit_sim.guest.kvm_exits import ClosedExit, ExitReader
from vmexit_sim.guest.kvm_log import KvmLog
from vmexit_sim.guest.table import AccessTable, Kind, Space
from vmexit_sim.guest.workload import Workload
from vmexit_sim.hypervisor.host import Host
from vmexit_sim.lowering import VCPU_SHIFT
from vmexit_sim.measure.recorder import Recorder
from vmexit_sim.measure.records import RunResult
from vmexit_sim.measure.tracer import Posted, QueueChange, Slice
from vmexit_sim.mechanisms import Mechanism
from vmexit_sim.opened import Loaded, Opened
from vmexit_sim.policy import Match, Policy, Rule
from vmexit_sim.steps import ACCESS, NOBODY, Steps, let
from vmexit_sim.streams import Streams
from vmexit_sim.study.replication import lowered_for
from vmexit_sim.units import NANOSECOND, format_time

MOST_EVENTS = 300_000
"""Events of a trace file, unless said otherwise: some 40 MB, which a browser opens in seconds."""


class AccessFacts(NamedTuple):
    """What an access is.

    Attributes:
        vcpu: the stream it stands in: a vCPU, or an interrupt context behind the vCPUs.
        row: its place in that stream's program order.
        space, write, size, address, device, operation, kind: as in the access table.
    """

    vcpu: int
    row: int
    space: str
    write: bool
    size: int
    address: int
    device: str
    operation: int
    kind: str


@dataclass(frozen=True, kw_only=True)
class Timeline:
    """What one guest's actors did.

    Attributes:
        name: the guest's.
        policy: the policy's.
        begin: from when it is told, in ps.
        end: until when, in ps: the window's end, where it was cut, or the run's end.
        cut: whether it ends for want of room.
        omitted: how many trace events were left out for that.
        recorder: what was recorded; its slices may reach beyond begin and end.
        facts: what each access in it is, by number.
        result: the whole run's.
    """

    name: str
    policy: str
    begin: int
    end: int
    cut: bool
    omitted: int
    recorder: Recorder
    facts: Mapping[int, AccessFacts]
    result: RunResult

    def slices(self) -> Iterator[Slice]:
        """Slices in the window, clipped to it."""
        for each in self.recorder.slices:
            begin, end = max(each.begin, self.begin), min(each.end, self.end)
            if begin < end or begin == end == each.begin == each.end:
                yield each._replace(begin=begin, end=end)

    def posts(self) -> Iterator[Posted]:
        """Posted accesses that were outstanding in the window; done beyond it: by nobody."""
        for each in self.recorder.posts:
            if each.at <= self.end:
                late = each.by is None or each.done > self.end
                yield each._replace(by=None) if late else each

    def changes(self) -> Iterator[QueueChange]:
        """Changes of queues' lengths in the window."""
        return (each for each in self.recorder.changes if each.time <= self.end)


class InOrder(Mechanism):
    """Has every constant time of an access laid as a row of its own, and decides no access.

    The assembler adds up constant times of an access's routine as long as nothing has set the
    current access; which stage passed when is then lost. Setting it to itself changes nothing else,
    and random costs keep their draws.
    """

    def before_others(self, host: Host) -> Steps:
        """Set the current access to what it is."""
        yield let(ACCESS, ACCESS)


NOTHING = Match(register_below=1, register_from=4095)


def in_order(policy: Policy) -> Policy:
    """The same policy, lowered so that each stage of an access has its moment."""
    rule = Rule(side="host", match=NOTHING, mechanism=InOrder())
    return policy.model_copy(update={"rules": [rule, *policy.rules]})


def timeline_of(
    opened: Opened,
    block: Loaded,
    policy: Policy,
    *,
    replication: int = 0,
    begin: int = 0,
    end: int | None = None,
    most: int = MOST_EVENTS,
) -> Timeline:
    """Run a policy on a guest once, and record a window of it.

    Args:
        opened: the scenario, for platform, devices, CPUs and seed.
        block: the guest, at its main think scale.
        policy: how it reaches its devices.
        replication: which repetition.
        begin: the window's begin, in ps.
        end: its end, in ps; None: the run's end.
        most: most events of a trace file; where they end is told as the timeline's end.

    Raises:
        InputError: the window is empty, or begins after the run's end.
        SimulationError: a deadlock.
    """
    if end is not None and end <= begin:
        raise InputError("is no time after the window's begin", key="--to", value=format_time(end))
    workload = block.workloads[block.main_scale]
    lowered = lowered_for(opened, in_order(policy), block)
    seed = opened.scenario.seed
    window = Window(lowered, workload, Streams(seed, replication))
    recorder = Recorder(lowered.program, begin=begin, end=end, most=most)
    result = Simulation(lowered, window, tracer=recorder).run()
    recorder.finish()
    last = max([result.completion, *(each.end for each in recorder.slices)])
    if begin > last:
        raise InputError(
            f"is after the end of {block.name}",
            key="--from",
            value=format_time(begin),
            mend=f"it ends at {format_time(last)}",
        )
    ends = last if end is None else end
    cut = recorder.cut
    wanted = {each.access for each in recorder.slices} | {each.access for each in recorder.posts}
    return Timeline(
        name=block.name,
        policy=policy.name or policy.title,
        begin=begin,
        end=ends if cut is None else cut,
        cut=cut is not None,
        omitted=recorder.omitted,
        recorder=recorder,
        facts=_facts(workload, Streams(seed, replication), wanted - {NOBODY}),
        result=result,
    )


def _facts(workload: Workload, streams: Streams, wanted: set[int]) -> dict[int, AccessFacts]:
    """What accesses are, by number: from the guest's rows, made once more."""
    facts: dict[int, AccessFacts] = {}
    numbers = np.array(sorted(wanted), np.int64)
    for vcpu in np.unique(numbers >> VCPU_SHIFT).tolist():
        number = vcpu << VCPU_SHIFT
        left = numbers[numbers >> VCPU_SHIFT == vcpu]
        for block in workload.blocks(vcpu, streams):
            here, left = np.split(left, [np.searchsorted(left, number + len(block))])
            facts |= {n: _fact(block, n - number, vcpu, number) for n in here.tolist()}
            number += len(block)
            if not len(left):
                break
    return facts


def _fact(table: AccessTable, at: int, vcpu: int, number: int) -> AccessFacts:
    return AccessFacts(
        vcpu=vcpu,
        row=number + at - (vcpu << VCPU_SHIFT),
        space=Space(table.space[at]).name.lower(),
        write=bool(table.write[at]),
        size=int(table.size[at]),
        address=int(table.address[at]),
        device=table.devices[table.device[at]] if table.devices else "",
        operation=int(table.operation[at]),
        kind=Kind(table.kind[at]).name.lower(),
    )


class RealExit(NamedTuple):
    """An exit of a KVM log; times in ps from the log's first event."""

    begin: int
    end: int
    exit: ClosedExit


@dataclass(frozen=True, kw_only=True)
class Beside:
    """Exits of a real guest.

    Attributes:
        file: the log.
        exits: in the order in which they end.
        omitted: exits after the window's end, for which there was no room, or before the end of
            the exit before (the log's clock went back).
        bad: lines that could not be read.
    """

    file: Path
    exits: list[RealExit]
    omitted: int
    bad: int


def exits_beside(path: Path, *, length: int | None, most: int = MOST_EVENTS) -> Beside:
    """The exits of a log of KVM's trace events, from its first event on.

    Args:
        path: the log.
        length: for how long, in ps; None: all of it.
        most: most events of a trace file.

    Raises:
        InputError: it cannot be read, or holds no complete exit.
    """
    log, reader = KvmLog(path), ExitReader(path)
    exits: list[RealExit] = []
    through: dict[int, int] = {}
    zero: int | None = None
    omitted = 0
    for event in log:
        zero = event.time if zero is None else zero
        closed = reader.take(event)
        if closed is None:
            continue
        end = (event.time - zero) * NANOSECOND
        begin = end - closed.duration * NANOSECOND
        is_late = (length is not None and begin > length) or 2 * len(exits) >= most
        if is_late or begin < through.get(closed.thread, 0):
            omitted += 1
        else:
            exits.append(RealExit(begin, end, closed))
            through[closed.thread] = end
    if not exits:
        raise InputError("holds no exit of which both ends are there", file=path,
                         mend="record kvm_exit and kvm_entry")  # fmt: skip
    return Beside(file=path, exits=exits, omitted=omitted, bad=log.bad)
