"""Choosing a part of a guest by name: a space, a kind of operation, a phase, a device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fnmatch import fnmatchcase

import numpy as np
import numpy.typing as npt

from vmexit_sim.errors import InputError, nearest
from vmexit_sim.guest.table import AccessTable, Flag, Kind, Phase, Space


def select(
    table: AccessTable,
    only: Sequence[str] = (),
    *,
    during: Sequence[str] = (),
    timers: bool = False,
) -> AccessTable:
    """The accesses that any of some names means.

    Args:
        table: where from.
        only: spaces, kinds of operation, phases or devices (with ``*``); empty means all. What is
            left out stays in the guest as compute.
        during: phases; empty means all.
        timers: whether to keep accesses to timers and interrupt controllers.

    Raises:
        InputError: a name means nothing in this table.
    """
    if during:  # what the guest did in other phases is no part of these
        phases = _during(table, during)
        if not phases.any():
            known = ", ".join(Phase(phase).name.lower() for phase in np.unique(table.phase))
            raise InputError("leaves no access", key="during", value=list(during),
                             mend=f"this guest's phases: {known}")  # fmt: skip
        table = table.only(phases, with_compute=False)
    keep: npt.NDArray[np.bool_] = np.full(len(table), not only, np.bool_)
    for name in only:
        keep |= _meant(table, name)
    if not timers:
        keep &= ~table.has(Flag.TIMER | Flag.IRQCHIP)
    return table.only(keep)


def count_during(table: AccessTable, during: Sequence[str]) -> int:
    """How many accesses fall into some phases, timers and all; no names: into any phase."""
    return int(_during(table, during).sum()) if during else len(table)


def with_deliveries(table: AccessTable) -> AccessTable:
    """The table with an interrupt's delivery at the begin of each service, and its end behind it.

    A recording shows what a driver did when it was interrupted; this charges the interrupt too.
    """
    rows = np.flatnonzero(table.kind == Kind.INTERRUPT_SERVICE)
    operation = table.operation[rows]
    _, first = np.unique(operation, return_index=True)
    _, last = np.unique(operation[::-1], return_index=True)
    flags = table.flags.copy()
    flags[rows[first]] |= Flag.INTERRUPT
    flags[rows[::-1][last]] |= Flag.END_OF_INTERRUPT
    return replace(table, flags=flags)


def _during(table: AccessTable, phases: Sequence[str]) -> npt.NDArray[np.bool_]:
    return np.isin(table.phase, [Phase[name.upper()] for name in phases])


def _meant(table: AccessTable, name: str) -> npt.NDArray[np.bool_]:
    for enum, column in ((Space, table.space), (Kind, table.kind), (Phase, table.phase)):
        member = enum.__members__.get(name.upper())
        if member is not None and name.islower():
            return np.equal(column, member)
    devices = np.array([fnmatchcase(device, name) for device in table.devices] or [False])
    if not devices.any():
        raise InputError("means no access of this guest", key="only", value=name,
                         mend=nearest(name, selectable(table)))  # fmt: skip
    return np.asarray(devices[table.device], np.bool_)


def selectable(table: AccessTable) -> list[str]:
    """Every name that `select` knows for a table, but for patterns of devices."""
    names = [member.name.lower() for enum in (Space, Kind, Phase) for member in enum]
    return [*names, *table.devices]
