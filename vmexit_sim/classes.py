"""Classes of access: all that a mechanism may know of accesses of one class is the same.

Each row's facts, and the rule that decides it, are packed into one integer; equal integers are one
class. Some facts depend on the rows before: which is the first of its operation that a rule
decides, and whether a mechanism's memory (`History`) says that it hits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from vmexit_sim.device import DeviceCatalog
from vmexit_sim.guest.table import NEVER, AccessTable, Flag, Space
from vmexit_sim.guest.workload import Workload, rows_made
from vmexit_sim.hypervisor.access_class import AccessClass
from vmexit_sim.mechanisms import History
from vmexit_sim.policy import AS_RECORDED, ASSIGNED_ROWS, Policy, Rule

NONE = np.zeros(0, np.int64)
"""No keys of operations."""

_LOCATIONS = ("user", "kernel", "hardware")
_FACTS = np.int16(~(Flag.TIMER | Flag.IRQCHIP | Flag.BRIDGE | Flag.VOLATILE))
_FLAGS = 2 * max(Flag)
"""One more than the largest sum of flags."""

_DEVICES = 1 << 15
"""One more than the most devices that a table can name."""

_LAST, _FIRST = 2**2, 2**3
"""Places of these facts in a class."""

_WITHOUT_RULE = len(Space) * len(_LOCATIONS) * _DEVICES * _FLAGS * 2**6


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
            return NONE
        rows = self.by_operation & (self.table.operation >= 0)
        return distinct(self.table.operation[rows] * len(self.rules) + self.rule[rows])

    def codes(
        self,
        catalog: DeviceCatalog,
        before: npt.NDArray[np.int64] = NONE,
        after: npt.NDArray[np.int64] = NONE,
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


def distinct(keys: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Each key once, ascending.

    Keys come almost in order, which a stable sort makes use of; `numpy.unique` hashes them first.
    """
    ordered: npt.NDArray[np.int64] = np.sort(keys, kind="stable")
    is_new = np.ones(len(ordered), np.bool_)
    is_new[1:] = ordered[1:] != ordered[:-1]
    return ordered[is_new]


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


def rule_of(code: int) -> int:
    """The rule of a class."""
    return code // _WITHOUT_RULE


def unpacked(code: int, devices: Sequence[str]) -> tuple[int, AccessClass]:
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


def classes_of(policy: Policy, catalog: DeviceCatalog, workload: Workload) -> npt.NDArray[np.int64]:
    """Every class of access that a workload can make under a policy, ascending."""
    rules = [*policy.rules, *AS_RECORDED]
    table = workload.examples()
    parts = (Ruled.by(policy, part) for part in table.in_blocks(ASSIGNED_ROWS))
    met = [np.unique(part.codes(catalog)) for part in parts]
    codes = 2 * np.unique(np.concatenate([NONE, *met]))
    is_one_block = workload.is_whole and workload.vcpus == 1 and len(table) <= rows_made(1)
    if not is_one_block:
        # A run takes each vCPU's accesses by themselves, and in blocks, so what begins or ends an
        # operation there need not do so in the table: each access that its rule decides may.
        by_ends = [number for number, rule in enumerate(rules) if rule.mechanism.by_operation]
        asking = codes[np.isin(codes // _WITHOUT_RULE, by_ends)] & ~(_FIRST | _LAST)
        ends = np.array([0, _FIRST, _LAST, _FIRST | _LAST])
        codes = np.union1d(codes, (asking[:, None] | ends).ravel())
    # Examples say which accesses there are, not in which order: each may hit or not.
    remembering = [
        number for number, rule in enumerate(rules) if rule.mechanism.new_history() is not None
    ]
    return np.union1d(codes, codes[np.isin(codes // _WITHOUT_RULE, remembering)] + 1)
