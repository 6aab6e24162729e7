"""Policies: which access goes by which mechanism. A policy is data.

A policy is an ordered list of rules; the first that matches an access decides. A rule acts on one
side. A *guest* rule is code in the guest's kernel or driver: it reaches only what goes through
that code, not the firmware, not early code that writes 0xCF8 by hand. A *host* rule is the
hypervisor's doing and reaches everything. What no rule matches goes as it was recorded; the share
that the rules reach is part of every result.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import (
    BeforeValidator,
    Field,
    InstanceOf,
    PlainSerializer,
    SerializationInfo,
    model_validator,
)

from vmexit_sim.catalog import find
from vmexit_sim.configuration import Configured, Size, checked, misfit, read_extending
from vmexit_sim.device import LARGEST_WINDOW, Stretches, refuse_backward
from vmexit_sim.errors import InputError, InputErrors, nearest
from vmexit_sim.guest.table import AccessTable, Agent, Flag, Kind, Phase, Space
from vmexit_sim.hypervisor.host import Delivery
from vmexit_sim.hypervisor.idle import FREE, Idle
from vmexit_sim.mechanisms import Mechanism, make_mechanism, name_of
from vmexit_sim.mechanisms.as_recorded import AsRecorded
from vmexit_sim.mechanisms.native import Native
from vmexit_sim.places import with_value

Mask = npt.NDArray[np.bool_]

SPACES = Literal["pci_config", "port_io", "mmio", "doorbell", "msr"]
PHASES = Literal["firmware", "early_kernel", "kernel", "user", "modules", "job", "done"]
KINDS = Literal[
    "none", "bar_sizing", "absent_run", "interrupt_service", "bit_bang", "burst",
    "function_setup", "ipi",
]  # fmt: skip


class Match(Configured):
    """Which accesses a rule means; what is left out matches anything.

    Attributes:
        space: address spaces.
        write: writes (true) or reads (false).
        absent: config reads that no function answers.
        side_effect: reads that change the device.
        ecam: config accesses that were recorded through ECAM.
        bridge: config accesses to a PCI-to-PCI bridge.
        register_below: config registers below this number.
        register_from: config registers from this number on.
        registers: device registers: stretches of offsets into the register window, in bytes, both
            ends included. An access that begins in one is meant; no config access is.
        window: size of that window, in bytes; a power of two. It is aligned, as a base address
            register has it, so an offset is the address modulo this.
        kind: kinds of operation.
        phase: phases of the guest's life.
        device: device names; ``*`` stands for anything.
    """

    space: list[SPACES] | None = None
    write: bool | None = None
    absent: bool | None = None
    side_effect: bool | None = None
    ecam: bool | None = None
    bridge: bool | None = None
    register_below: Annotated[int, Field(ge=1, le=4096)] | None = None
    register_from: Annotated[int, Field(ge=0, le=4095)] | None = None
    registers: Stretches | None = None
    window: Size | None = None
    kind: list[KINDS] | None = None
    phase: list[PHASES] | None = None
    device: list[str] | None = None

    @model_validator(mode="after")
    def _complete(self) -> Match:
        if (self.registers is None) != (self.window is None):
            raise misfit("has registers without their window, or the other way round",
                         mend='give both registers and window, for instance "4 KiB"')  # fmt: skip
        if self.registers is not None and self.window is not None:
            if self.window & (self.window - 1) or not 0 < self.window <= LARGEST_WINDOW:
                raise misfit("has a window that is no power of two", value=self.window,
                             mend='write for instance "128 KiB"')  # fmt: skip
            refuse_backward(self.registers)
            if (beyond := max(last for _, last in self.registers)) >= self.window:
                raise misfit("has a register beyond its window", value=beyond,
                             mend="offsets count from the window's start")  # fmt: skip
        return self

    def rows(self, table: AccessTable) -> Mask:
        """Which rows of a table match."""
        mask = np.ones(len(table), np.bool_)
        for names, enum, column in (
            (self.space, Space, table.space),
            (self.kind, Kind, table.kind),
            (self.phase, Phase, table.phase),
        ):
            if names is not None:
                mask &= np.isin(column, [enum[name.upper()] for name in names])
        if self.write is not None:
            mask &= table.write == self.write
        for wanted, flag in (
            (self.absent, Flag.ABSENT),
            (self.side_effect, Flag.SIDE_EFFECT),
            (self.ecam, Flag.ECAM),
            (self.bridge, Flag.BRIDGE),
        ):
            if wanted is not None:
                mask &= table.has(flag) == wanted
        register = table.address & 0xFFF
        if self.register_below is not None or self.register_from is not None:
            mask &= table.space == Space.PCI_CONFIG
        if self.register_below is not None:
            mask &= register < self.register_below
        if self.register_from is not None:
            mask &= register >= self.register_from
        if self.registers is not None and self.window is not None:
            offset = table.address & np.int64(self.window - 1)
            mask &= table.space != Space.PCI_CONFIG
            mask &= np.logical_or.reduce(
                [(first <= offset) & (offset <= last) for first, last in self.registers]
            )
        if self.device is not None:
            meant = [any(fnmatchcase(name, pattern) for pattern in self.device)
                     for name in table.devices]  # fmt: skip
            mask &= np.asarray([*meant, False], np.bool_)[table.device]
        return mask


def _mechanism(stated: object) -> object:
    if isinstance(stated, Mechanism):
        return stated
    try:
        return make_mechanism(stated)
    except InputErrors as several:
        parts = "; ".join(f"{part.key or ''} {part.problem}".strip() for part in several.errors)
        raise misfit(
            f"has parameters that do not fit: {parts}", mend=several.errors[0].mend
        ) from None
    except InputError as error:
        raise misfit(error.problem, value=error.value, mend=error.mend) from None


def _stated(mechanism: Mechanism, info: SerializationInfo) -> dict[str, Any]:
    parameters = mechanism.model_dump(mode=info.mode, context=info.context)
    return {"name": name_of(mechanism), **parameters}


class Rule(Configured):
    """Accesses of a kind, and the mechanism they go by.

    Attributes:
        side: "guest" (kernel and driver code) or "host" (everything the guest does).
        match: which accesses.
        mechanism: its name, or a table of its name and parameters.
    """

    side: Literal["guest", "host"]
    match: Match = Match()
    mechanism: Annotated[
        InstanceOf[Mechanism], BeforeValidator(_mechanism), PlainSerializer(_stated)
    ]

    def rows(self, table: AccessTable) -> Mask:
        """Which rows the rule reaches."""
        mask = self.match.rows(table)
        if self.side == "guest":
            mask &= (table.agent >= Agent.KERNEL) & ~table.has(Flag.INDEX_ONLY)
        return mask


class Policy(Configured):
    """A way of reaching devices, as one could ship it.

    Attributes:
        name: the file's name without its ending, or what the file calls itself.
        title: one line for people.
        about: what it is, and what it would take.
        source: where it was proposed or done.
        bound: it marks what could at best (or without virtualisation) be had; no proposal. A policy
            with a `native` rule is one in any case (`is_bound`).
        delivery: how interrupts get into the running guest: by exits, or posted.
        idle: how the guest waits, and the host with it; by default waiting is free.
        rules: in order; the first match decides.
    """

    name: str = ""
    title: str
    about: str = ""
    source: str = ""
    bound: bool = False
    delivery: Delivery = "exit"
    idle: Idle = FREE
    rules: list[Rule] = Field(default_factory=list)

    @property
    def is_bound(self) -> bool:
        """Whether it is a bound, and no proposal."""
        return self.bound or any(isinstance(rule.mechanism, Native) for rule in self.rules)

    def assign(self, table: AccessTable) -> npt.NDArray[np.int64]:
        """For each row the number of the rule that decides; -1: as recorded."""
        decided = np.full(len(table), -1, np.int64)
        for number, rule in reversed(list(enumerate(self.rules))):
            decided[rule.rows(table)] = number
        return decided

    def reach(self, table: AccessTable) -> float:
        """The share of a table's accesses that the rules decide."""
        decided = (self.assign(part) >= 0 for part in table.in_blocks(ASSIGNED_ROWS))
        return sum(int(rows.sum()) for rows in decided) / max(len(table), 1)

    def is_counterfactual(self, table: AccessTable) -> bool:
        """Whether it takes a guest without ECAM to config space by ECAM."""
        if table.has_ecam:
            return False
        by_ecam = np.array([rule.mechanism.by_ecam for rule in self.rules] + [False])
        for part in table.in_blocks(ASSIGNED_ROWS) if by_ecam.any() else ():
            config = (part.space == Space.PCI_CONFIG) & ~part.has(Flag.ECAM)
            if (by_ecam[self.assign(part)] & config).any():
                return True
        return False


ASSIGNED_ROWS = 1 << 20
"""Rows of a long table that rules are asked about at a time: what they answer takes memory, too."""


AS_RECORDED: Sequence[Rule] = (Rule(side="host", mechanism=AsRecorded()),)
"""What happens to an access that a policy does not speak of: every one of them traps."""


def load_policy(
    name: str,
    beside: Path | None = None,
    parameters: Mapping[str, Any] | None = None,
    stated_in: Path | None = None,
) -> Policy:
    """The policy of that name or file.

    A file may say ``extends = "NAME"``: its own rules come before those of the policy that it
    names, and what it does not state of `delivery` and `idle` is as there.

    Args:
        name: a shipped policy, or a TOML file.
        beside: the file that names it, if any.
        parameters: what to put in place of what the file states: a parameter of its mechanisms, of
            every rule that has it, or anything by its place (``idle.host_poll.longest``).
        stated_in: the file that states the parameters, if any.

    Raises:
        InputError: no such policy, its file does not fit, policies extend each other in a circle,
            or it has no such parameter.
    """
    path = find("policies", name, beside)
    data = read_extending(path, "policies", _merged)
    data.setdefault("name", path.name.removesuffix(".toml"))
    policy = checked(Policy, data, file=path)
    if not parameters:
        return policy
    changed = f"policy {policy.name} with other parameters"
    if stated_in is not None:
        changed = f"{stated_in}: {changed}"
    for key, value in _by_place(parameters):
        data = _with_parameter(data, policy, key, value)
    return checked(Policy, data, file=changed)


def parameters_of(policy: Policy) -> dict[str, Any]:
    """The parameters of a policy's mechanisms, by name, as they stand; the first rule's first."""
    found: dict[str, Any] = {}
    for rule in policy.rules:
        for name in type(rule.mechanism).model_fields:
            found.setdefault(name, getattr(rule.mechanism, name))
    return found


def _by_place(parameters: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Parameters by name or place; tables of what is a policy's own are taken apart."""
    for key, value in parameters.items():
        if isinstance(value, dict) and key.partition(".")[0] in Policy.model_fields:
            yield from _by_place({f"{key}.{inner}": part for inner, part in value.items()})
        else:
            yield key, value


def _with_parameter(data: dict[str, Any], policy: Policy, key: str, value: Any) -> dict[str, Any]:
    """A policy's data with another parameter; `policy` is what it was before."""
    if "." in key or key in INHERITED:
        return with_value(data, key, value)
    known = parameters_of(policy)
    if key not in known:
        raise InputError(f"is no parameter of policy {policy.name}", key="parameters", value=key,
                         mend=nearest(key, known))  # fmt: skip
    rules = []
    for stated, rule in zip(data["rules"], policy.rules, strict=True):
        if key in type(rule.mechanism).model_fields:
            table = stated["mechanism"]
            table = {"name": table} if isinstance(table, str) else table
            stated = {**stated, "mechanism": {**table, key: value}}
        rules.append(stated)
    return {**data, "rules": rules}


INHERITED = ("delivery", "idle")
"""Keys that a policy takes, if it does not state them, from the one it extends."""


def _merged(own: dict[str, Any], extended: dict[str, Any], origin: Path) -> dict[str, Any]:
    """What a policy states, and what it takes from the one that it extends.

    The latter is checked on its own, so that a mistake is reported where it was made.
    """
    checked(Policy, extended, file=origin)
    taken = {key: extended[key] for key in INHERITED if key in extended}
    rules = own.get("rules", [])
    if isinstance(rules, list):
        own["rules"] = [*rules, *extended.get("rules", [])]
    return {**taken, **own}
