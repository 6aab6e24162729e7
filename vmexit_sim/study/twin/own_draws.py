"""Own draws: what a guest's accesses come to when nobody waits, on the very draws a run meets.

The accesses are fed as to an engine, and each is charged the demand of its class. No engine runs,
so whatever agrees with an engine to the picosecond agrees by two ways of counting.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from vmexit_sim.classes import rule_of
from vmexit_sim.demand import Demand, StateDependent, demand_of
from vmexit_sim.guest.table import NEVER
from vmexit_sim.guest.workload import BLOCK_ROWS, Workload
from vmexit_sim.lowering import Columns, Lowered
from vmexit_sim.mechanisms import name_of
from vmexit_sim.policy import AS_RECORDED
from vmexit_sim.steps import Stage
from vmexit_sim.streams import Streams

_TIMES = frozenset({"compute", "arrival", "emulate", "needed_by", "needed_idiom"})
"""Columns of the guest that no routine branches on."""

Key = tuple[int, tuple[tuple[str, int], ...]]
"""A class, and columns known to have one value each."""


class Demands(dict[Key, Demand]):
    """The demands of a program's classes, as far as accesses of them have been seen."""

    def __init__(self, lowered: Lowered) -> None:
        super().__init__()
        self.lowered = lowered
        self._by_class: dict[int, Demand | StateDependent] = {}

    def plain(self, number: int) -> Demand | StateDependent:
        """The demand of a class, whatever its accesses' columns hold."""
        if number not in self._by_class:
            self._by_class[number] = demand_of(self.lowered, number)
        return self._by_class[number]

    def charged(
        self, number: int, columns: Columns
    ) -> list[tuple[Demand, npt.NDArray[np.bool_] | None]]:
        """What so many accesses of a class are charged, and which of them (None: all).

        Raises:
            PathDependsError: a path depends on what was before.
        """
        plain = self.plain(number)
        if isinstance(plain, Demand):
            self[number, ()] = plain
            return [(plain, None)]
        program = self.lowered.program
        names = [n for n in program.columns if n not in program.draws and n not in _TIMES]
        if not names:
            raise PathDependsError(self._said(number, plain))
        told = np.column_stack([columns[name] for name in names])
        charged = []
        for values in np.unique(told, axis=0):
            known = dict(zip(names, map(int, values), strict=True))
            key = number, tuple(known.items())
            if key not in self:
                demand = demand_of(self.lowered, number, known)
                if isinstance(demand, StateDependent):
                    raise PathDependsError(self._said(number, demand))
                self[key] = demand
            charged.append((self[key], (told == values).all(axis=1)))
        return charged

    def _said(self, number: int, depends: StateDependent) -> str:
        rules = (*self.lowered.policy.rules, *AS_RECORDED)
        mechanism = rules[rule_of(int(self.lowered.codes[number]))].mechanism
        return f"by {name_of(mechanism)} the path depends on {depends.reason}"


class PathDependsError(Exception):
    """No sum stands for an access's time: its path depends on what was before."""


@dataclass(kw_only=True)
class OwnDraws:
    """One replication's accesses, nobody waiting; times in ps, summed over all accesses.

    Attributes:
        accesses: how many.
        compute: guest compute before them.
        stall: the vCPUs' time.
        stages: the same by front stage.
        exits: VM exits.
        effect: from each access's start until its effect; None: others bring some about.
        holds: by lock, how long it is held.
        takes: by lock, how often it is taken.
        locked: time in which an access holds any lock, by the first one it took.
        is_open: whether any access waits for an arrival.
    """

    accesses: int = 0
    compute: int = 0
    stall: int = 0
    stages: Counter[Stage] = field(default_factory=Counter)
    exits: int = 0
    effect: int | None = 0
    holds: Counter[str] = field(default_factory=Counter)
    takes: Counter[str] = field(default_factory=Counter)
    locked: Counter[str] = field(default_factory=Counter)
    is_open: bool = False

    def charge(self, demand: Demand, columns: Mapping[str, npt.NDArray[np.int64]], n: int) -> None:
        """Add n accesses of one demand."""
        self.stall += int(demand.stall.of(columns, n).sum())
        self.exits += demand.exits * n
        if demand.effect is None:
            self.effect = None
        elif self.effect is not None:
            self.effect += int(demand.effect.of(columns, n).sum())
        for stage, time in demand.stages.items():
            self.stages[stage] += int(time.of(columns, n).sum())
        for hold in demand.holds:
            self.takes[hold.queue.name] += n
            self.holds[hold.queue.name] += int(hold.time.of(columns, n).sum())
        for name, time in demand.locked.items():
            self.locked[name] += int(time.of(columns, n).sum())


def own_draws(demands: Demands, workload: Workload, streams: Streams, skipped: int = 0) -> OwnDraws:
    """What one replication's accesses come to when nobody waits.

    Args:
        demands: of the program; those seen are added.
        workload: the guest.
        streams: the replication's random streams.
        skipped: accesses of each vCPU's beginning that are left out.

    Raises:
        PathDependsError: some access's path depends on what was before.
    """
    total = OwnDraws()
    for vcpu in range(workload.vcpus):
        begin = 0
        for block in demands.lowered.feed(workload, streams, vcpu, BLOCK_ROWS):
            left_out = max(skipped - begin, 0)
            begin += len(block["class"])
            columns = {name: column[left_out:] for name, column in block.items()}
            classes = columns["class"]
            total.accesses += len(classes)
            total.compute += int(columns["compute"].sum())
            total.is_open |= bool((columns["arrival"] != NEVER).any())
            for number in np.unique(classes):
                rows = classes == number
                own = {name: column[rows] for name, column in columns.items()}
                for demand, some in demands.charged(int(number), own):
                    part = own if some is None else {n: c[some] for n, c in own.items()}
                    total.charge(demand, part, len(part["class"]))
    return total
