"""Lowering: a policy on a platform becomes a program, and a guest's rows its input.

Accesses fall into classes: all that a mechanism may know of them is the same. Each class gets one
routine, the guest's part around its mechanism::

    [flush before a halt] [idle until arrival] compute
        | START | what others do first | mechanism | RESUME | next access

so that which path an access takes costs an engine nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import chain, pairwise

import numpy as np
import numpy.typing as npt

from vmexit_sim.assembler import Assembler
from vmexit_sim.device import DeviceCatalog
from vmexit_sim.errors import InputError, SimulationError
from vmexit_sim.guest.table import NEVER, AccessTable, Flag, Space
from vmexit_sim.guest.workload import Workload
from vmexit_sim.hypervisor.host import COMPUTE, IDLE, TIME_SLICE, AccessClass, Host
from vmexit_sim.hypervisor.interrupt_context import (
    ARRIVED,
    CAUSE,
    IS_CONTEXT,
    NO_MORE,
    OVER,
    at_the_end,
    begin_context,
    between_services,
    borrow_vcpu,
    give_vcpu_back,
)
from vmexit_sim.hypervisor.platform import Platform
from vmexit_sim.mechanisms import History, Mechanism, name_of
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
IDLE_UNTIL = Register("guest idles until")
SINCE = Register("guest time since")

_NONE = np.zeros(0, np.int64)

Columns = dict[str, npt.NDArray[np.int64]]

_LOCATIONS = ("user", "kernel", "hardware")
_FACTS = np.int16(~(Flag.TIMER | Flag.IRQCHIP | Flag.BRIDGE | Flag.VOLATILE))
_FLAGS = 2 * max(Flag)
"""One more than the largest sum of flags."""

_DEVICES = 1 << 15
"""One more than the most devices that a table can name."""

ALWAYS = ("class", "compute", "arrival", "operation")
"""The columns that every engine wants; a program's own come on top."""

REMEMBERED = 4096
"""How many of a stream's latest operations are known to have begun: one that pauses for more than
so many others counts as begun anew."""


@dataclass(frozen=True)
class HostCpus:
    """The host's physical CPUs.

    Attributes:
        count: how many.
        time_slice: how long a vCPU computes before others are let onto its CPU, in ps.

    Raises:
        InputError: no CPU, or no time.
    """

    count: int
    time_slice: int = TIME_SLICE

    def __post_init__(self) -> None:
        if self.count < 1:
            raise InputError("must be 1 or more", key="cpus", value=self.count)
        if self.time_slice < 1:
            raise InputError("must be longer than 0", key="time_slice", value=self.time_slice)


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
        own = [_rule_of(int(code)) < len(self.policy.rules) for code in self.codes]
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
        histories = Histories(self.policy)
        blocks = (Ruled.by(self.policy, block) for block in workload.blocks(vcpu, streams, rows))
        for block, following in pairwise(chain(blocks, [None])):
            assert block is not None, "only the last is followed by nothing"
            after = _NONE if following is None else following.keys
            codes = 2 * block.codes(self.catalog, before, after) + histories.hits(block)
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
    policy: Policy,
    platform: Platform,
    catalog: DeviceCatalog,
    workload: Workload,
    cpus: HostCpus | None = None,
) -> Lowered:
    """Lower a policy for the classes of access that a workload can make.

    Args:
        policy: which access goes by which mechanism.
        platform: what the host charges.
        catalog: where devices are emulated.
        workload: the guest.
        cpus: the host's physical CPUs; None, or at least as many as there are threads: nobody ever
            waits for one, and nothing is said of them.

    Raises:
        InputError: a rule sends accesses by a mechanism that is not for their space, or polling
            cores leave no CPU.
        SimulationError: a mechanism yields steps that make no program.
    """
    rules = [*policy.rules, *AS_RECORDED]
    mechanisms = list(dict.fromkeys(rule.mechanism for rule in rules))
    examples = workload.examples()
    codes = 2 * np.unique(Ruled.by(policy, examples).codes(catalog))
    remembering = [
        number for number, rule in enumerate(rules) if rule.mechanism.new_history() is not None
    ]
    if not workload.is_whole:  # each access may begin or end what its rule decides of an operation
        by_ends = [number for number, rule in enumerate(rules) if rule.mechanism.by_operation]
        asking = codes[np.isin(codes // _WITHOUT_RULE, by_ends)] & ~(_FIRST | _LAST)
        ends = np.array([0, _FIRST, _LAST, _FIRST | _LAST])
        codes = np.union1d(codes, (asking[:, None] | ends).ravel())
    # Examples say which accesses there are, not in which order: each may hit or not.
    codes = np.union1d(codes, codes[np.isin(codes // _WITHOUT_RULE, remembering)] + 1)
    classes = [_unpacked(int(code), examples.devices) for code in codes]
    decided: dict[object, tuple[AccessClass, ...]] = {}
    for rule, access in classes:
        mechanism = rules[rule].mechanism
        _refuse_foreign(policy, mechanism, access)
        decided[mechanism] = (*decided.get(mechanism, ()), access)
    host = Host(
        platform,
        vcpus=workload.vcpus,
        delivery=policy.delivery,
        idle=policy.idle,
        causes=(
            *(mechanism for mechanism in mechanisms if mechanism.interrupts),
            *((ARRIVED, NO_MORE) if workload.contexts else ()),
        ),
        decided=decided,
    )
    host = _visited(host, mechanisms, None)
    used = [mechanism for mechanism in mechanisms if mechanism in decided]
    polling = sum(mechanism.cores_spent for mechanism in used)
    if cpus is not None and cpus.count <= polling:
        raise InputError(
            f"leaves no CPU for vCPUs: policy {policy.name or policy.title} has cores that do "
            "nothing but poll", key="cpus", value=cpus.count, mend=f"give {polling + 1} or more",
        )  # fmt: skip
    vcpu_threads = workload.vcpus - len(workload.contexts)
    if cpus is not None and cpus.count < vcpu_threads + _threads(used, host, workload.vcpus):
        host = replace(host, cpus=cpus.count, time_slice=cpus.time_slice)
    assembler = Assembler(workload.vcpus, len(workload.contexts))
    start = assembler.routine([NextAccess()])
    end = assembler.routine(_the_end(host, mechanisms, with_contexts=bool(workload.contexts)))
    actors = [_vcpu(assembler, workload.contexts, vcpu, start) for vcpu in range(workload.vcpus)]
    for mechanism in used:
        for side in mechanism.actors(host):
            entry = assembler.routine([*side.steps, Halt()])
            for vcpu in range(workload.vcpus if side.per_vcpu else 1):
                label = f"{side.name} of vCPU {vcpu}" if side.per_vcpu else side.name
                actors.append(Actor(label, entry, vcpu, False))
    entries = []
    for rule, access in classes:
        mechanism = rules[rule].mechanism
        others = [other for other in mechanisms if other != mechanism]
        entries.append(
            assembler.routine(
                _one_access(_visited(host, mechanisms, access), mechanism, others, access),
                of_class=True,
            )
        )
    program = assembler.program(entries, start, end, actors)
    return Lowered(program, policy, codes, catalog)


def _refuse_foreign(policy: Policy, mechanism: Mechanism, access: AccessClass) -> None:
    if mechanism.spaces is not None and access.space not in mechanism.spaces:
        own = " and ".join(sorted(space.name.lower() for space in mechanism.spaces))
        raise InputError(
            f"is for {own}, and policy {policy.name or policy.title} sends accesses to "
            f"{access.space.name.lower()} by it",
            key="mechanism", value=name_of(mechanism), mend="match other accesses by the rule",
        )  # fmt: skip


def _vcpu(assembler: Assembler, contexts: Mapping[int, int], stream: int, start: int) -> Actor:
    """Who makes a stream's accesses: a vCPU, or its interrupt context, which is no thread."""
    if stream in contexts:
        vcpu = contexts[stream]
        entry = assembler.routine([*begin_context(vcpu), NextAccess()])
        return Actor(f"interrupt context of vCPU {vcpu}", entry, stream, True)
    if contexts and stream not in contexts.values():
        start = assembler.routine([let(OVER, 1), NextAccess()])
    return Actor(f"vCPU {stream}", start, stream, True)


def _the_end(host: Host, mechanisms: Sequence[Mechanism], *, with_contexts: bool) -> Steps:
    """What an actor does after its last access."""
    rest = [step for mechanism in mechanisms for step in mechanism.at_end(host)]
    if with_contexts and rest:
        yield when(IS_CONTEXT, "==", 1, [*borrow_vcpu(host), *rest, *give_vcpu_back()], rest)
    else:
        yield from rest
    if with_contexts:
        yield from at_the_end(host, list(_served(host)))
    yield from host.end()
    yield Halt()


def _threads(mechanisms: Iterable[Mechanism], host: Host, vcpus: int) -> int:
    """How many threads of the host work beside the vCPUs'."""
    return sum(
        vcpus if side.per_vcpu else 1
        for mechanism in mechanisms
        for side in mechanism.actors(host)
        if side.is_thread
    )


def _visited(host: Host, mechanisms: Sequence[Mechanism], access: AccessClass | None) -> Host:
    """The host, with what mechanisms do in user space when this access gets there."""
    return replace(
        host, visitors=tuple(partial(each.in_user_space, host, access) for each in mechanisms)
    )


def _one_access(
    host: Host, mechanism: Mechanism, others: Sequence[Mechanism], access: AccessClass
) -> Steps:
    """The guest's part around one access."""
    if not access.in_context:
        yield from host.begin()
    if access.waited:
        for each in (mechanism, *others):
            yield from aside(each.before_halt(host), "halt")
    if access.open_loop:
        yield let(REMAINING, Column("arrival"), "-", Clock())
        arrives = _idle_time(host, REMAINING, in_context=access.in_context)
        yield when(REMAINING, ">", 0, arrives)
    if access.in_context and access.interrupt:
        yield from borrow_vcpu(host)
    if access.waited:
        yield from _idle_time(host, Column("compute"))
    else:
        yield from host.refill_caches()
        yield from _guest_time(host, COMPUTE, Column("compute"))
        if not access.in_context:
            yield from host.end_of_compute()
    yield stamp(Moment.START)
    if access.interrupt:
        yield from host.deliver_interrupt()
    for other in others:
        yield from aside(other.before_others(host), "before")
    yield from mechanism.access(host, access)
    if access.end_of_interrupt:
        yield from host.end_interrupt()
    yield stamp(Moment.RESUME)
    if access.in_context and access.end_of_interrupt:
        yield from give_vcpu_back()
    yield NextAccess()


def _guest_time(host: Host, stage: Stage, amount: Operand) -> Steps:
    """Time in the guest; an interrupt is served in the middle of it, and the rest goes on."""
    if not host.causes:
        yield spend(stage, amount)
        return
    yield let(REMAINING, amount)
    yield loop(
        [
            let(SINCE, Clock()),
            take(host.interrupts, stage, into=CAUSE, timeout=REMAINING),
            when(CAUSE, "==", TIMED_OUT, [leave()]),
            let(SINCE, Clock(), "-", SINCE),
            let(REMAINING, REMAINING, "-", SINCE),
            *_served(host),
        ]
    )


def _idle_time(host: Host, amount: Operand, *, in_context: bool = False) -> Steps:
    """Time with nothing to do, spent as the policy has it; a vCPU's interrupt context just waits.

    What is waited for comes at its moment, whether or not interrupts were served meanwhile.
    """
    if host.idle.is_free and host.cpus is None and not host.causes:
        yield spend(IDLE, amount)
        return
    yield let(IDLE_UNTIL, Clock(), "+", amount)
    served = list(_served(host))
    if in_context:
        wait = between_services(host, IDLE_UNTIL)
        served = [*borrow_vcpu(host), *served, *give_vcpu_back()]
    else:
        wait = host.idle.wait(host, host.interrupts, into=CAUSE, until=IDLE_UNTIL)
    yield loop(
        [
            when(Clock(), ">=", IDLE_UNTIL, [leave()]),
            *wait,
            when(CAUSE, "==", TIMED_OUT, [leave()]),
            *served,
        ]
    )


def _served(host: Host) -> Steps:
    """Whoever raised the interrupt says how it is served."""
    for number, cause in enumerate(host.causes):
        serve = aside(cause.serve_interrupt(host), "interrupt")
        if len(host.causes) == 1:
            yield from serve
        else:
            yield when(CAUSE, "==", number, serve)


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
    def by_device(self) -> npt.NDArray[np.bool_]:
        """Which rows are told apart by their device: all, if any of the mechanisms asks."""
        asks = any(rule.mechanism.by_device for rule in self.rules)
        return np.full(len(self.rule), asks)

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
        """Everything that makes a class but whether it hits, as one number for each row.

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
        code = code * _DEVICES + np.where(self.by_device, table.device + 1, 0)
        code = code * _FLAGS + (table.flags & _FACTS)
        ends = self._ends(before, after)
        for fact in (table.write, table.arrival != NEVER, *ends, table.targets > 0):
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


class Histories:
    """What a policy's mechanisms remember of one vCPU."""

    def __init__(self, policy: Policy) -> None:
        rules = (*policy.rules, *AS_RECORDED)
        self._kept: list[tuple[list[int], History]] = []
        for mechanism in dict.fromkeys(rule.mechanism for rule in rules):
            history = mechanism.new_history()
            if history is not None:
                own = [n for n, rule in enumerate(rules) if rule.mechanism == mechanism]
                self._kept.append((own, history))

    def hits(self, block: Ruled) -> npt.NDArray[np.bool_]:
        """Which rows of the vCPU's next block hit, each in its own mechanism's memory."""
        hits = np.zeros(len(block.rule), np.bool_)
        for rules, history in self._kept:
            own = np.isin(block.rule, rules)
            hits |= history.hits(block.table, own) & own
        return hits


_WITHOUT_RULE = len(Space) * len(_LOCATIONS) * _DEVICES * _FLAGS * 2**6


_LAST, _FIRST = 2**2, 2**3
"""Places of these facts in a class."""


def _rule_of(code: int) -> int:
    """The rule of a class."""
    return code // _WITHOUT_RULE


def _unpacked(code: int, devices: Sequence[str]) -> tuple[int, AccessClass]:
    """The rule and the facts of a class; `devices` names the table's devices."""
    code, hit = divmod(code, 2)
    code, ipi = divmod(code, 2)
    code, last = divmod(code, 2)
    code, first = divmod(code, 2)
    code, open_loop = divmod(code, 2)
    code, write = divmod(code, 2)
    code, flags = divmod(code, _FLAGS)
    code, device = divmod(code, _DEVICES)
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
        device=devices[device - 1] if device else "",
        interrupt=bool(flags & Flag.INTERRUPT),
        end_of_interrupt=bool(flags & Flag.END_OF_INTERRUPT),
        spare_toggle=bool(flags & Flag.SPARE_TOGGLE),
        in_context=bool(flags & Flag.IN_CONTEXT),
        local_apic=bool(flags & Flag.LOCAL_APIC),
        ipi=bool(ipi),
        hit=bool(hit),
    )
