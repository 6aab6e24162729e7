"""Lowering: a policy on a platform becomes a program, and a guest's rows its input.

Accesses fall into classes (`classes`), and each class gets one routine (`routine`), so that which
path an access takes costs an engine nothing: its class is a column.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, pairwise

import numpy as np
import numpy.typing as npt

from vmexit_sim.assembler import Assembler
from vmexit_sim.classes import NONE, Histories, Ruled, classes_of, distinct, rule_of, unpacked
from vmexit_sim.device import DeviceCatalog
from vmexit_sim.errors import InputError, SimulationError
from vmexit_sim.guest.table import NEVER, Flag
from vmexit_sim.guest.workload import Workload
from vmexit_sim.hypervisor.access_class import AccessClass
from vmexit_sim.hypervisor.host import TIME_SLICE, Host
from vmexit_sim.hypervisor.interrupt_context import (
    ARRIVED,
    NO_MORE,
    OVER,
    begin_context,
)
from vmexit_sim.hypervisor.platform import Platform
from vmexit_sim.mechanisms import Mechanism, name_of
from vmexit_sim.policy import AS_RECORDED, Policy
from vmexit_sim.program import Actor, Program
from vmexit_sim.routine import one_access, the_end
from vmexit_sim.steps import (
    FAR,
    Halt,
    NextAccess,
    let,
)
from vmexit_sim.streams import Streams

VCPU_SHIFT = 40
"""An access's number is its vCPU << 40 | its place in that vCPU's program order."""

Columns = dict[str, npt.NDArray[np.int64]]

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
        own = [rule_of(int(code)) < len(self.policy.rules) for code in self.codes]
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
        before = NONE
        histories = Histories(self.policy)
        blocks = (Ruled.by(self.policy, block) for block in workload.blocks(vcpu, streams, rows))
        for block, following in pairwise(chain(blocks, [None])):
            assert block is not None, "only the last is followed by nothing"
            after = NONE if following is None else following.keys
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
            before = distinct(np.concatenate([before, block.keys]))[-REMEMBERED:]


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
    codes = classes_of(policy, catalog, workload)
    classes = [unpacked(int(code), examples.devices) for code in codes]
    decided: dict[object, tuple[AccessClass, ...]] = {}
    for rule, access in classes:
        mechanism = rules[rule].mechanism
        _refuse_foreign(policy, mechanism, access)
        decided[mechanism] = (*decided.get(mechanism, ()), access)
    # What random costs draw goes by their place in a routine: who decides nothing comes last.
    mechanisms.sort(key=lambda mechanism: mechanism not in decided)
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
    end = assembler.routine(the_end(host, mechanisms, with_contexts=bool(workload.contexts)))
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
                one_access(_visited(host, mechanisms, access), mechanism, others, access),
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


def _numbered(rows: npt.NDArray[np.int64], first: int) -> npt.NDArray[np.int64]:
    """Row numbers of a block as access numbers."""
    return np.where(rows == NEVER, FAR, rows + first)
