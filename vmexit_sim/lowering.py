"""Lowering: a policy on a platform becomes a program, and a guest's rows its input.

Accesses fall into classes: all that a mechanism may know of them is the same. Each class gets one
routine, the guest's part around its mechanism::

    [idle until arrival] compute | START | mechanism | RESUME | next access

so that which path an access takes costs an engine nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from vmexit_sim.device import DeviceCatalog
from vmexit_sim.errors import SimulationError
from vmexit_sim.guest.table import NEVER, AccessTable, Flag, Space
from vmexit_sim.guest.workload import Workload
from vmexit_sim.hypervisor.host import COMPUTE, IDLE, AccessClass, Host
from vmexit_sim.hypervisor.platform import Platform
from vmexit_sim.mechanisms import Mechanism
from vmexit_sim.policy import AS_RECORDED, Policy
from vmexit_sim.program import Actor, Assembler, Program
from vmexit_sim.steps import (
    ACCESS,
    TIMED_OUT,
    Clock,
    Column,
    Halt,
    Moment,
    NextAccess,
    Operand,
    Register,
    Stage,
    Step,
    Steps,
    aside,
    leave,
    let,
    loop,
    spend,
    stamp,
    take,
    when,
)
from vmexit_sim.streams import Streams

VCPU_SHIFT = 40
"""An access's number is its vCPU << 40 | its place in that vCPU's program order."""

FAR = 2**62
"""The number of an access beyond all others."""

REMAINING = Register("guest time remaining")
SINCE = Register("guest time since")
CAUSE = Register("interrupt cause")

_NO_OPERATIONS = np.zeros(0, np.int64)

Columns = dict[str, npt.NDArray[np.int64]]

_LOCATIONS = ("user", "kernel", "hardware")
_FACTS = (
    Flag.ABSENT, Flag.SIDE_EFFECT, Flag.DECODE_TOGGLE, Flag.ECAM, Flag.INDEX_ONLY, Flag.WAITED,
)  # fmt: skip


@dataclass(frozen=True)
class Lowered:
    """A program and what it takes to feed it.

    Attributes:
        program: what the engines run.
        policy: what it was lowered from.
        codes: the facts of each class of `program.entries`, packed into a number, ascending.
        catalog: where devices are emulated.
    """

    program: Program
    policy: Policy
    codes: npt.NDArray[np.int64]
    catalog: DeviceCatalog

    @property
    def outstanding(self) -> int:
        """The most accesses of a vCPU that can wait for their effect at a time."""
        return max((rule.mechanism.outstanding for rule in self.policy.rules), default=1)

    def reach(self, accesses: npt.NDArray[np.int64]) -> float:
        """The share that the policy's own rules decide of so many accesses of each class."""
        own = np.array([_unpacked(int(code))[0] < len(self.policy.rules) for code in self.codes])
        return float(accesses[own].sum() / max(accesses.sum(), 1))

    def feed(self, workload: Workload, streams: Streams, vcpu: int, rows: int) -> Iterator[Columns]:
        """One vCPU's accesses as an engine wants them: the program's columns, block by block.

        Besides the program's own columns there are always ``class``, ``compute``, ``arrival``
        and ``operation``.
        """
        draws = {
            name: (streams.named(draw.purpose, vcpu), draw.duration)
            for name, draw in self.program.draws.items()
        }
        number = vcpu << VCPU_SHIFT
        before = -1
        for block, after in _with_next(workload.blocks(vcpu, streams, rows)):
            codes = _codes(self.policy, self.catalog, block, before, after)
            place = np.minimum(np.searchsorted(self.codes, codes), len(self.codes) - 1)
            if (self.codes[place] != codes).any():
                raise SimulationError("the workload makes accesses that its examples do not show")
            columns: Columns = {
                "class": place,
                "compute": block.compute,
                "arrival": block.arrival,
                "operation": block.operation,
                "emulate": block.emulate,
                "vcpu": block.vcpu.astype(np.int64),
                "decode_toggle": block.has(Flag.DECODE_TOGGLE).astype(np.int64),
                "needed_by": _numbered(block.needed_by, number),
                "needed_idiom": _numbered(block.needed_idiom, number),
            }
            for name, (rng, duration) in draws.items():
                columns[name] = duration.draw(rng, len(block))
            yield columns
            number += len(block)
            before = max(before, int(block.operation.max(initial=-1)))


def lower(
    policy: Policy, platform: Platform, catalog: DeviceCatalog, workload: Workload
) -> Lowered:
    """Lower a policy for the classes of access that a workload can make.

    Raises:
        SimulationError: a mechanism yields steps that make no program.
    """
    host = Host(platform)
    rules = [*policy.rules, *AS_RECORDED]
    mechanisms = list(dict.fromkeys(rule.mechanism for rule in rules))
    interrupting = [mechanism for mechanism in mechanisms if mechanism.interrupts]
    assembler = Assembler(workload.vcpus)
    start = assembler.routine([NextAccess()])
    end = assembler.routine(
        [*(step for mechanism in mechanisms for step in mechanism.before_halt(host)), Halt()]
    )
    actors = [Actor(f"vCPU {vcpu}", start, vcpu, True) for vcpu in range(workload.vcpus)]
    used = dict.fromkeys(rule.mechanism for rule in policy.rules)
    for mechanism in used:
        for name, per_vcpu, steps in mechanism.actors(host):
            entry = assembler.routine([*steps, Halt()])
            for vcpu in range(workload.vcpus if per_vcpu else 1):
                label = f"{name} of vCPU {vcpu}" if per_vcpu else name
                actors.append(Actor(label, entry, vcpu, False))
    examples = workload.examples()
    codes = np.unique(_codes(policy, catalog, examples))
    entries = []
    for code in codes:
        rule, access = _unpacked(int(code))
        mechanism = rules[rule].mechanism
        others = [other for other in mechanisms if other != mechanism]
        entries.append(
            assembler.routine(
                _one_access(host, mechanism, others, interrupting, access), of_class=True
            )
        )
    program = assembler.program(entries, end, actors)
    return Lowered(program, policy, codes, catalog)


def _one_access(
    host: Host,
    mechanism: Mechanism,
    others: Sequence[Mechanism],
    interrupting: Sequence[Mechanism],
    access: AccessClass,
) -> Steps:
    """The guest's part around one access."""
    if access.waited:
        for each in (mechanism, *others):
            yield from aside(each.before_halt(host), "halt")
    if access.open_loop:
        yield let(REMAINING, Column("arrival"), "-", Clock())
        yield when(
            REMAINING, ">", 0, _guest_time(host, interrupting, IDLE, REMAINING)
        )  # fmt: skip
    stage = IDLE if access.waited else COMPUTE
    yield from _guest_time(host, interrupting, stage, Column("compute"))
    yield stamp(Moment.START)
    for other in others:
        yield from aside(other.before_others(host), "before")
    yield from mechanism.access(host, access)
    yield stamp(Moment.RESUME)
    yield NextAccess()


def _guest_time(
    host: Host, interrupting: Sequence[Mechanism], stage: Stage, amount: Operand
) -> Steps:
    """Time in the guest; an interrupt is served in the middle of it, and the rest goes on."""
    if not interrupting:
        yield spend(stage, amount)
        return
    serve: list[Step] = []
    for mechanism in interrupting:
        serve.extend(aside(mechanism.serve_interrupt(host), "interrupt"))
    yield let(REMAINING, amount)
    yield loop(
        [
            let(SINCE, Clock()),
            take(host.interrupts, stage, into=CAUSE, timeout=REMAINING),
            when(CAUSE, "==", TIMED_OUT, [leave()]),
            let(SINCE, Clock(), "-", SINCE),
            let(REMAINING, REMAINING, "-", SINCE),
            *serve,
        ]
    )


def _numbered(rows: npt.NDArray[np.int64], first: int) -> npt.NDArray[np.int64]:
    """Row numbers of a block as access numbers."""
    return np.where(rows == NEVER, FAR, rows + first)


def _with_next(
    blocks: Iterator[AccessTable],
) -> Iterator[tuple[AccessTable, npt.NDArray[np.int64]]]:
    """Each block with the operations of the next one."""
    previous: AccessTable | None = None
    for block in blocks:
        if previous is not None:
            yield previous, block.operation
        previous = block
    if previous is not None:
        yield previous, _NO_OPERATIONS


def _codes(
    policy: Policy,
    catalog: DeviceCatalog,
    table: AccessTable,
    before: int = -1,
    after: npt.NDArray[np.int64] = _NO_OPERATIONS,
) -> npt.NDArray[np.int64]:
    """Everything that makes a class, packed into one number for each row.

    `before` is the highest operation of the blocks before, `after` are those of the next block.
    """
    rule = policy.assign(table)
    open_rows = rule < 0
    for number, default in reversed(list(enumerate(AS_RECORDED))):
        rule[open_rows & default.rows(table)] = len(policy.rules) + number
    location = np.array([_LOCATIONS.index(catalog.of(name).location) for name in table.devices]
                        or [0])[table.device]  # fmt: skip
    by_operation = np.array([r.mechanism.by_operation for r in (*policy.rules, *AS_RECORDED)])[rule]
    first, last = (ends & by_operation for ends in _ends(table, rule, before, after))
    facts: list[npt.NDArray[Any]] = [
        table.write, *(table.has(flag) for flag in _FACTS), table.arrival != NEVER, first, last,
    ]  # fmt: skip
    code: npt.NDArray[np.int64] = (rule * len(Space) + table.space) * len(_LOCATIONS) + location
    for fact in facts:
        code = code * 2 + fact
    return code


def _unpacked(code: int) -> tuple[int, AccessClass]:
    """The rule and the class that `_codes` packed."""
    facts = []
    for _ in range(len(_FACTS) + 4):
        code, fact = divmod(code, 2)
        facts.append(bool(fact))
    (write, absent, side_effect, decode_toggle, ecam, index_only, waited, open_loop, first,
     last) = reversed(facts)  # fmt: skip
    code, location = divmod(code, len(_LOCATIONS))
    rule, space = divmod(code, len(Space))
    return rule, AccessClass(
        space=Space(space),
        write=write,
        location=_LOCATIONS[location],
        absent=absent,
        side_effect=side_effect,
        decode_toggle=decode_toggle,
        ecam=ecam,
        index_only=index_only,
        open_loop=open_loop,
        waited=waited,
        first=first,
        last=last,
    )


def _ends(
    table: AccessTable,
    rule: npt.NDArray[np.int64],
    before: int,
    after: npt.NDArray[np.int64],
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Which rows are the first and the last of their operation that their rule decides.

    A row that belongs to no operation is a first of its own, and the last of none.
    """
    first = table.operation < 0
    last = np.zeros(len(table), np.bool_)
    rows = np.flatnonzero(table.operation >= 0)
    rules = int(rule.max(initial=0)) + 1
    operation = table.operation[rows] * rules + rule[rows]
    begun, place = np.unique(operation, return_index=True)
    first[rows[place[begun // rules > before]]] = True
    ended, place = np.unique(operation[::-1], return_index=True)
    last[rows[::-1][place[~np.isin(ended // rules, after)]]] = True
    return first, last


__all__ = ["ACCESS", "FAR", "VCPU_SHIFT", "Lowered", "lower"]
