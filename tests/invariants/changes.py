"""Changes of a scenario that must change nothing, or all times alike."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from invariants.drawn import Drawn

from vmexit_sim.device import Device
from vmexit_sim.distributions import Constant, Duration
from vmexit_sim.guest.table import NEVER, AccessTable
from vmexit_sim.guest.workload import BLOCK_ROWS, Workload
from vmexit_sim.hypervisor.idle import Idle
from vmexit_sim.hypervisor.platform import Cost, Platform
from vmexit_sim.lowering import HostCpus
from vmexit_sim.mechanisms import Mechanism
from vmexit_sim.policy import Match, Policy, Rule
from vmexit_sim.streams import Streams


@dataclass(frozen=True)
class Changed:
    """A workload whose tables are changed."""

    workload: Workload
    change: Callable[[AccessTable], AccessTable]

    @property
    def vcpus(self) -> int:
        """As the workload's."""
        return self.workload.vcpus

    @property
    def contexts(self) -> Mapping[int, int]:
        """As the workload's."""
        return self.workload.contexts

    @property
    def is_random(self) -> bool:
        """As the workload's."""
        return self.workload.is_random

    @property
    def is_whole(self) -> bool:
        """As the workload's."""
        return self.workload.is_whole

    def examples(self) -> AccessTable:
        """The workload's, changed."""
        return self.change(self.workload.examples())

    def blocks(self, vcpu: int, streams: Streams, rows: int = BLOCK_ROWS) -> Iterator[AccessTable]:
        """The workload's, changed."""
        yield from map(self.change, self.workload.blocks(vcpu, streams, rows))


@dataclass(frozen=True)
class WithIdleVcpu(Changed):
    """A workload with one vCPU more, which never accesses anything."""

    @property
    def vcpus(self) -> int:
        """One more."""
        return self.workload.vcpus + 1

    def blocks(self, vcpu: int, streams: Streams, rows: int = BLOCK_ROWS) -> Iterator[AccessTable]:
        """Nothing for the last."""
        if vcpu < self.workload.vcpus:
            yield from self.workload.blocks(vcpu, streams, rows)


def with_idle_vcpu(drawn: Drawn) -> Drawn:
    """One vCPU more, that does nothing."""
    return replace(drawn, workload=WithIdleVcpu(drawn.workload, lambda table: table))


def with_unused_device(drawn: Drawn) -> Drawn:
    """A device more, in the catalog and in the guest's tables, that nobody accesses."""

    def named(table: AccessTable) -> AccessTable:
        return replace(table, devices=(*table.devices, "unused"))

    device = Device(name="unused", location="kernel", source="made up for a test")
    catalog = drawn.catalog.model_copy(update={"devices": (device, *drawn.catalog.devices)})
    return replace(drawn, workload=Changed(drawn.workload, named), catalog=catalog)


def with_unused_rule(drawn: Drawn, rule: Rule) -> Drawn:
    """A rule more, in front, that no access meets."""
    nothing = Match(register_below=1, register_from=4095)
    rules = [rule.model_copy(update={"match": nothing}), *drawn.policy.rules]
    return replace(drawn, policy=drawn.policy.model_copy(update={"rules": rules}))


@dataclass(frozen=True)
class Times:
    """A duration, so many times as long, draw for draw."""

    base: Duration
    factor: int
    is_constant = False

    @property
    def mean_ps(self) -> float:
        """So many times the base's."""
        return self.factor * self.base.mean_ps

    def draw(self, rng: np.random.Generator, n: int) -> npt.NDArray[np.int64]:
        """So many times what the base draws."""
        return self.factor * self.base.draw(rng, n)


def slowed(drawn: Drawn, factor: int) -> Drawn:
    """The same scenario in which everything takes `factor` times as long: costs, gaps, arrivals,
    emulation, timers, windows of polling, time slices."""

    def table(old: AccessTable) -> AccessTable:
        arrival = np.where(old.arrival == NEVER, NEVER, old.arrival * factor)
        return replace(
            old, compute=old.compute * factor, emulate=old.emulate * factor, arrival=arrival
        )

    cpus = drawn.cpus
    return replace(
        drawn,
        workload=Changed(drawn.workload, table),
        platform=_platform(drawn.platform, factor),
        policy=_policy(drawn.policy, factor),
        cpus=None if cpus is None else HostCpus(cpus.count, cpus.time_slice * factor),
    )


def _platform(platform: Platform, factor: int) -> Platform:
    costs = {name: _cost(cost, factor) for name, cost in platform.costs.items()}
    changed: dict[str, Any] = {"costs": platform.costs.model_copy(update=costs)}
    if platform.nesting is not None:
        parts = {name: _cost(getattr(platform.nesting, name), factor)
                 for name in ("forward", "l1_exit")}  # fmt: skip
        changed["nesting"] = platform.nesting.model_copy(update=parts)
    return platform.model_copy(update=changed)


def _cost(cost: Cost, factor: int) -> Cost:
    value: Any = cost.value
    if isinstance(value, Constant):
        value = value.model_copy(update={"value": value.value * factor})
    else:
        value = Times(value, factor)
    return cost.model_copy(update={"value": value})


TIMES = ("max_wait", "within", "interrupt_timer", "idle_off")
"""Parameters of mechanisms that are times."""


def _policy(policy: Policy, factor: int) -> Policy:
    rules = [
        rule.model_copy(update={"mechanism": _mechanism(rule.mechanism, factor)})
        for rule in policy.rules
    ]
    return policy.model_copy(update={"rules": rules, "idle": _idle(policy.idle, factor)})


def _mechanism(mechanism: Mechanism, factor: int) -> Mechanism:
    changed = {
        name: getattr(mechanism, name) * factor
        for name in TIMES
        if getattr(mechanism, name, None) is not None
    }
    if getattr(mechanism, "on_above", None) is not None:
        changed["on_above"] = mechanism.on_above // factor  # type: ignore[attr-defined]
    return mechanism.model_copy(update=changed)


def _idle(idle: Idle, factor: int) -> Idle:
    sides = {
        name: polling.model_copy(
            update={part: getattr(polling, part) * factor for part in ("longest", "grow_start")}
        )
        for name, polling in (("guest_poll", idle.guest_poll), ("host_poll", idle.host_poll))
    }
    return idle.model_copy(update=sides)
