"""Lowering: a policy on a platform becomes a program, and a guest's rows its input.

Accesses fall into classes: all that a mechanism may know of them is the same. Each class gets one
routine, the guest's part around its mechanism::

    [flush before a halt] [idle until arrival] compute
        | START | what others do first | mechanism | RESUME | next access

so that which path an access takes costs an engine nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, pairwise

import numpy as np
import numpy.typing as npt

from vmexit_sim.assembler import Assembler
from vmexit_sim.device import DeviceCatalog
from vmexit_sim.errors import SimulationError
from vmexit_sim.guest.table import NEVER, AccessTable, Flag, Space
from vmexit_sim.guest.workload import Workload
from vmexit_sim.hypervisor.host import COMPUTE, IDLE, AccessClass, Host
from vmexit_sim.hypervisor.platform import Platform
from vmexit_sim.mechanisms import Mechanism
from vmexit_sim.policy import AS_RECORDED, Policy, Rule
from vmexit_sim.program import Actor, Program
from vmexit_sim.steps import (
    FAR,
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

REMAINING = Register("guest time remaining")
SINCE = Register("guest time since")
CAUSE = Register("interrupt cause")

_NONE = np.zeros(0, np.int64)

Columns = dict[str, npt.NDArray[np.int64]]

_LOCATIONS = ("user", "kernel", "hardware")
_FACTS = np.int16(
    Flag.ABSENT | Flag.SIDE_EFFECT | Flag.DECODE_TOGGLE | Flag.ECAM | Flag.INDEX_ONLY | Flag.WAITED
)
_FLAGS = 2 * max(Flag)
"""One more than the largest sum of flags."""

ALWAYS = ("class", "compute", "arrival", "operation")
"""The columns that every engine wants; a program's own come on top."""

REMEMBERED = 4096
"""How many of a stream's latest operations are known to have begun: one that pauses for more than
so many others counts as begun anew."""


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
        own = [_unpacked(int(code))[0] < len(self.policy.rules) for code in self.codes]
        return float(accesses[np.array(own, np.bool_)].sum() / max(accesses.sum(), 1))

    def feed(self, workload: Workload, streams: Streams, vcpu: int, rows: int) -> Iterator[Columns]:
        """One vCPU's accesses as an engine wants them: the program's columns, block by block.

        Besides the program's own columns there are always `ALWAYS`.
        """
        draws = {
            name: (streams.named(draw.purpose, vcpu), draw.duration)
            for name, draw in self.program.draws.items()
        }
        number = vcpu << VCPU_SHIFT
        before = _NONE
        blocks = (Ruled.by(self.policy, block) for block in workload.blocks(vcpu, streams, rows))
        for block, following in pairwise(chain(blocks, [None])):
            assert block is not None, "only the last is followed by nothing"
            after = _NONE if following is None else following.keys
            codes = block.codes(self.catalog, before, after)
            place = np.minimum(np.searchsorted(self.codes, codes), len(self.codes) - 1)
            if (self.codes[place] != codes).any():
                raise SimulationError("the workload makes accesses that its examples do not show")
            table = block.table
            columns: Columns = {"class": place}
            for name in (*ALWAYS[1:], *self.program.columns):
                if name in draws:
                    rng, duration = draws[name]
                    columns[name] = duration.draw(rng, len(table))
                elif name in ("needed_by", "needed_idiom"):
                    columns[name] = _numbered(getattr(table, name), number)
                elif name == "decode_toggle":
                    columns[name] = table.has(Flag.DECODE_TOGGLE).astype(np.int64)
                else:
                    columns[name] = getattr(table, name)
            yield columns
            number += len(table)
            known = np.union1d(before, block.keys)
            before = known[-REMEMBERED:]


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
    codes = np.unique(Ruled.by(policy, examples).codes(catalog))
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


@dataclass(frozen=True)
class Ruled:
    """A table, and which rule decides each of its rows.

    Attributes:
        table: the accesses.
        rule: for each row the number among the policy's rules and then `AS_RECORDED`.
        rules: all of these.
    """

    table: AccessTable
    rule: npt.NDArray[np.int64]
    rules: tuple[Rule, ...]

    @classmethod
    def by(cls, policy: Policy, table: AccessTable) -> Ruled:
        """Let a policy decide."""
        rule = policy.assign(table)
        left = rule < 0
        if left.any():
            for number, default in reversed(list(enumerate(AS_RECORDED, len(policy.rules)))):
                rule[left & default.rows(table)] = number
        return cls(table, rule, (*policy.rules, *AS_RECORDED))

    @cached_property
    def by_operation(self) -> npt.NDArray[np.bool_]:
        """Which rows go by a mechanism that asks for the ends of operations."""
        asks = np.array([rule.mechanism.by_operation for rule in self.rules])
        return asks[self.rule] if asks.any() else np.zeros(len(self.rule), np.bool_)

    @cached_property
    def keys(self) -> npt.NDArray[np.int64]:
        """The (operation, rule) pairs of rows that ask for ends, as numbers, ascending."""
        if not self.by_operation.any():
            return _NONE
        rows = self.by_operation & (self.table.operation >= 0)
        return np.unique(self.table.operation[rows] * len(self.rules) + self.rule[rows])

    def codes(
        self,
        catalog: DeviceCatalog,
        before: npt.NDArray[np.int64] = _NONE,
        after: npt.NDArray[np.int64] = _NONE,
    ) -> npt.NDArray[np.int64]:
        """Everything that makes a class, packed into one number for each row.

        Args:
            catalog: where devices are emulated.
            before: keys of the blocks before; what is among them is not first any more.
            after: keys of the next block; what is among them is not last yet.
        """
        table = self.table
        places = [_LOCATIONS.index(catalog.of(name).location) for name in table.devices] or [0]
        location = np.array(places)[table.device]
        code: npt.NDArray[np.int64]
        code = (self.rule * len(Space) + table.space) * len(_LOCATIONS) + location
        code = code * _FLAGS + (table.flags & _FACTS)
        for fact in (table.write, table.arrival != NEVER, *self._ends(before, after)):
            code = code * 2 + fact
        return code

    def _ends(
        self, before: npt.NDArray[np.int64], after: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
        """Which rows are the first and the last of their operation that their rule decides.

        A row that belongs to no operation is a first of its own, and the last of none.
        """
        operation = self.table.operation
        if not self.by_operation.any():
            return self.by_operation, self.by_operation
        first = self.by_operation & (operation < 0)
        last = np.zeros(len(operation), np.bool_)
        rows = np.flatnonzero(self.by_operation & (operation >= 0))
        keys = operation[rows] * len(self.rules) + self.rule[rows]
        begun, place = np.unique(keys, return_index=True)
        first[rows[place[~np.isin(begun, before)]]] = True
        ended, place = np.unique(keys[::-1], return_index=True)
        last[rows[::-1][place[~np.isin(ended, after)]]] = True
        return first, last


def _unpacked(code: int) -> tuple[int, AccessClass]:
    """The rule and the class that `Ruled.codes` packed."""
    code, last = divmod(code, 2)
    code, first = divmod(code, 2)
    code, open_loop = divmod(code, 2)
    code, write = divmod(code, 2)
    code, flags = divmod(code, _FLAGS)
    code, location = divmod(code, len(_LOCATIONS))
    rule, space = divmod(code, len(Space))
    return rule, AccessClass(
        space=Space(space),
        write=bool(write),
        location=_LOCATIONS[location],
        absent=bool(flags & Flag.ABSENT),
        side_effect=bool(flags & Flag.SIDE_EFFECT),
        decode_toggle=bool(flags & Flag.DECODE_TOGGLE),
        ecam=bool(flags & Flag.ECAM),
        index_only=bool(flags & Flag.INDEX_ONLY),
        open_loop=bool(open_loop),
        waited=bool(flags & Flag.WAITED),
        first=bool(first),
        last=bool(last),
    )
