"""Accesses that belong together, recognised by what they do; time plays no part.

===================  ============================================================================
BAR sizing           of one base address register: read v, write all ones, read, write v. In
                     between, among the vCPU's config accesses, only COMMAND or the neighbour BAR.
                     The COMMAND accesses right before and after that turn decoding off and on
                     again belong to it, and the read that asks if it is on. Each dword of a 64-bit
                     register is a sizing of its own
absent run           reads of register 0 or 8 that no function answers, of one size, each 1 to 8
                     functions further than the one before; at least 4
bit-bang             longest stretch of a device's accesses at its data and order registers, with
                     at least so many at the former
interrupt service    of a device whose registers are known: from the last read of the cause before
                     the write that allows the next interrupt, to the read that flushes that write
===================  ============================================================================

Accesses of others in between (a timer tick, another device) belong to no operation and end none.
A row belongs to one operation at most; a bit-bang run goes before an interrupt service.

An interrupt service is what the registers show: a driver that reads the cause while it resets its
device, and later allows interrupts for the first time, looks like one (with e1000 one of 72).

What a driver author who knew the idiom would wait for (`needed_idiom`): a sizing's first read
before the write-back, its second after the operation; a run of absent reads after the run;
a read that only orders or flushes writes never.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from vmexit_sim.device import BitBang, Device, DeviceCatalog, Service
from vmexit_sim.guest.config_space import bridges
from vmexit_sim.guest.table import NEVER, AccessTable, Flag, Kind, Space

_BARS = (0x10, 0x14, 0x18, 0x1C, 0x20, 0x24, 0x30)
_BRIDGE_BARS = (0x10, 0x14, 0x38)
_ROM = {False: 0x30, True: 0x38}
_COMMAND = 0x4
_ALL_ONES = 0xFFFF_FFFF
_SHORTEST_RUN, _LONGEST_STEP = 4, 8

Values = npt.NDArray[np.uint64]
Rows = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class BarSizing:
    """One base address register, sized.

    Attributes:
        rows: the read of v, the write of ones, the read of the mask, the write of v.
        commands: rows of the COMMAND accesses that belong to it: in between, and those that turn
            decoding off before it and on again after it.
        function: bus, device and function, as in a table's address.
        register: the register's offset.
        exists: whether any bit of it could be written.
        toggled: whether decoding was turned off directly before and on directly after.
    """

    rows: tuple[int, int, int, int]
    commands: tuple[int, ...]
    function: int
    register: int
    exists: bool
    toggled: bool


def with_operations(table: AccessTable, values: Values, catalog: DeviceCatalog) -> AccessTable:
    """The table with `operation`, `kind` and `needed_idiom` filled where an idiom is recognised.

    `Flag.SPARE_TOGGLE` is set too: see `spare_toggles`.

    Args:
        table: rows in program order, grouped by vCPU.
        values: what each row read or wrote.
        catalog: the register facts of devices.
    """
    marks = _Marks(table)
    sizings = list(bar_sizings(table, values))
    for sizing in sizings:
        first, ones, mask, last = sizing.rows
        marks.add(Kind.BAR_SIZING, [first, ones, *sizing.commands, mask, last])
        marks.needed[first] = last
        marks.needed[mask] = max(last, *sizing.commands) + 1 if sizing.commands else last + 1
    for run in absent_runs(table):
        marks.add(Kind.ABSENT_RUN, run)
        marks.needed[run] = run[-1] + 1
    for device, rows in _by_device(table, catalog):
        offset = device.offset(table.address[rows])
        if device.bit_bang is not None:
            for run in _bit_bang_runs(rows, offset, device.bit_bang):
                marks.add(Kind.BIT_BANG, run)
                orders = device.offset(table.address[run]) == device.bit_bang.order
                marks.needed[run[orders & ~table.write[run]]] = NEVER
    for device, rows in _by_device(table, catalog):
        if device.service is not None:
            offset, write = device.offset(table.address[rows]), table.write[rows]
            flushes = ~write & (offset == device.service.flush) & _after_write(write)
            for begin, end in _services(offset, write, device.service):
                own = marks.free(rows[begin:end])
                marks.add(Kind.INTERRUPT_SERVICE, own)
                flushed = rows[begin:end][flushes[begin:end]]
                marks.needed[marks.of_kind(flushed, Kind.INTERRUPT_SERVICE)] = NEVER
    flags = table.flags.copy()
    flags[spare_toggles(table, sizings)] |= Flag.SPARE_TOGGLE
    return replace(
        table, operation=_in_order(marks.operation), kind=marks.kind, needed_idiom=marks.needed,
        flags=flags,
    )  # fmt: skip


def _in_order(operation: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The same operations, numbered in the order in which they begin."""
    known, first, which = np.unique(operation, return_index=True, return_inverse=True)
    number = np.full(len(known), -1, np.int64)
    number[np.argsort(first[known >= 0]) + np.count_nonzero(known < 0)] = np.arange(
        np.count_nonzero(known >= 0)
    )
    ordered: npt.NDArray[np.int64] = number[which]
    return ordered


class _Marks:
    """The columns that recognising fills."""

    def __init__(self, table: AccessTable) -> None:
        self.operation = np.full(len(table), -1, np.int64)
        self.kind = np.full(len(table), Kind.NONE, np.int8)
        self.needed = table.needed_by.copy()
        self._operations = 0

    def add(self, kind: Kind, rows: Rows | list[int]) -> None:
        self.operation[rows] = self._operations
        self.kind[rows] = kind
        self._operations += 1

    def free(self, rows: Rows) -> Rows:
        free: Rows = rows[self.operation[rows] < 0]
        return free

    def of_kind(self, rows: Rows, kind: Kind) -> Rows:
        found: Rows = rows[self.kind[rows] == kind]
        return found


def bar_sizings(table: AccessTable, values: Values) -> Iterator[BarSizing]:
    """Every base address register that was sized, in the order of its last access."""
    answered = _config(table) & ~table.has(Flag.ABSENT)
    known = bridges(table, values, answered)
    for rows in _by_vcpu(table, _config(table)):
        yield from _sizings_of(table, values, rows, known)


def _sizings_of(
    table: AccessTable, values: Values, rows: Rows, bridges: frozenset[int]
) -> Iterator[BarSizing]:
    """The sizings among one vCPU's config rows."""
    address, write, size = table.address[rows], table.write[rows], table.size[rows]
    toggle = table.has(Flag.DECODE_TOGGLE)[rows].tolist()
    value = values[rows].tolist()
    steps: dict[int, list[int]] = {}  # register: positions of the steps taken so far
    current = beyond = -1  # the function that is being sized; the end of the sizing before
    for at, (place, is_write, width) in enumerate(
        zip(address.tolist(), write.tolist(), size.tolist(), strict=True)
    ):
        function, register = place >> 12, place & 0xFFF
        is_bridge = function in bridges
        if function != current:
            current = function
            steps.clear()
        if register & ~3 == _COMMAND:
            continue
        if register not in (_BRIDGE_BARS if is_bridge else _BARS) or width != 4:
            steps.clear()
            continue
        for other in [known for known in steps if abs(known - register) > 4]:
            del steps[other]
        taken = steps.setdefault(register, [])
        if not is_write:
            taken[:] = [*taken, at] if len(taken) == 2 else [at]
        elif len(taken) == 1 and _is_ones(value[at], is_rom=register == _ROM[is_bridge]):
            taken.append(at)
        elif len(taken) == 3 and value[at] == value[taken[0]]:
            first, last = taken[0], at
            begin, end = _with_commands(address, write, toggle, (first, last), beyond)
            between = [n for n in range(begin, end + 1) if address[n] & 0xFFC == _COMMAND]
            beyond = end
            yield BarSizing(
                rows=(int(rows[first]), int(rows[taken[1]]), int(rows[taken[2]]), int(rows[at])),
                commands=tuple(int(rows[n]) for n in between),
                function=function,
                register=register,
                exists=value[taken[2]] != 0,
                toggled=first > 0 and toggle[first - 1] and last + 1 < len(toggle)
                and toggle[last + 1],
            )  # fmt: skip
            taken.clear()
        else:
            taken.clear()


def _with_commands(
    address: Rows,
    write: npt.NDArray[np.bool_],
    toggle: list[bool],
    sizing: tuple[int, int],
    beyond: int,
) -> tuple[int, int]:
    """A sizing with what turns decoding off right before it and on right after it.

    Linux reads COMMAND, turns decoding off if it is on, and restores it after the last write
    (drivers/pci/probe.c, __pci_read_base).

    Args:
        address: of one vCPU's config rows.
        write: which of them write.
        toggle: which of them turn decoding off or on.
        sizing: the first and the last of the sizing's own accesses.
        beyond: the end of the sizing before, whose rows are taken.
    """
    begin, end = sizing
    function = address[begin] >> 12

    def is_command(at: int) -> bool:
        return bool(address[at] >> 12 == function and address[at] & 0xFFC == _COMMAND)

    if begin - 1 > beyond and toggle[begin - 1] and is_command(begin - 1):
        begin -= 1
    if begin - 1 > beyond and not write[begin - 1] and is_command(begin - 1):
        begin -= 1
    if end + 1 < len(address) and toggle[end + 1] and is_command(end + 1):
        end += 1
    return begin, end


def spare_toggles(table: AccessTable, sizings: Iterable[BarSizing]) -> list[int]:
    """Accesses to COMMAND that sizing all BARs of a function at once would spare.

    They stand between two sizings of one function that follow on each other: a vCPU's config
    accesses between the last of one and the first of the next are all to that function's COMMAND,
    and leave decoding as it was before them (an even number of toggles).

    Args:
        table: the accesses.
        sizings: its sizings, in order.
    """
    toggle, config = table.has(Flag.DECODE_TOGGLE), np.flatnonzero(_config(table))
    spare: list[int] = []
    for one, following in pairwise(sorted(sizings, key=lambda sizing: sizing.rows[-1])):
        begin, end = np.searchsorted(config, (one.rows[-1] + 1, following.rows[0]))
        between = config[begin:end]
        is_command = table.address[between] & ~3 == one.function << 12 | _COMMAND
        if (
            one.function == following.function
            and table.vcpu[one.rows[-1]] == table.vcpu[following.rows[0]]
            and is_command.all()
            and toggle[between].sum() % 2 == 0
        ):
            spare += between.tolist()
    return spare


def absent_runs(table: AccessTable) -> Iterator[Rows]:
    """Runs of reads that found nobody, each as its rows."""
    register = table.address & 0xFFF
    function = table.address >> 12
    found = table.has(Flag.ABSENT) & ~table.write & ((register == 0) | (register == 8))
    for rows in _by_vcpu(table, _config(table)):
        step = np.diff(function[rows])
        joins = found[rows][1:] & found[rows][:-1]
        joins &= (np.diff(register[rows]) == 0) & (np.diff(table.size[rows]) == 0)
        joins &= (step >= 1) & (step <= _LONGEST_STEP)
        for begin, end in _stretches(joins):
            if end - begin + 1 >= _SHORTEST_RUN:
                yield rows[begin : end + 1]


def _bit_bang_runs(rows: Rows, offset: Rows, rule: BitBang) -> Iterator[Rows]:
    for begin, end in _stretches((offset == rule.data) | (offset == rule.order)):
        if np.count_nonzero(offset[begin:end] == rule.data) >= rule.at_least:
            yield rows[begin:end]


def _services(
    offset: Rows, write: npt.NDArray[np.bool_], rule: Service
) -> Iterator[tuple[int, int]]:
    """Closed services among one device's rows: (first, one past the last)."""
    begin = None
    for at in np.flatnonzero((offset == rule.begin) | (offset == rule.end)).tolist():
        if offset[at] == rule.begin and not write[at]:
            begin = at
        elif offset[at] == rule.end and write[at] and begin is not None:
            flush = at + 1
            if flush < len(offset) and offset[flush] == rule.flush and not write[flush]:
                yield begin, flush + 1
            begin = None


def _config(table: AccessTable) -> npt.NDArray[np.bool_]:
    chosen: npt.NDArray[np.bool_] = (table.space == Space.PCI_CONFIG) & ~table.has(Flag.INDEX_ONLY)
    return chosen


def _is_ones(value: int, *, is_rom: bool) -> bool:
    """All bits of a base address register; of a ROM's, those above its enable and reserved bits."""
    return (value | 0x7FF if is_rom else value) == _ALL_ONES


def _after_write(write: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    return np.concatenate([[False], write[:-1]])


def _by_vcpu(table: AccessTable, chosen: npt.NDArray[np.bool_]) -> Iterator[Rows]:
    rows = np.flatnonzero(chosen)
    cuts = np.flatnonzero(np.diff(table.vcpu[rows])) + 1
    yield from (part for part in np.split(rows, cuts) if len(part))


def _by_device(table: AccessTable, catalog: DeviceCatalog) -> Iterator[tuple[Device, Rows]]:
    """Each vCPU's rows of each device of which idioms are known, config accesses left out."""
    for number, name in enumerate(table.devices):
        device = catalog.of(name)
        if device.service is not None or device.bit_bang is not None:
            chosen = (table.device == number) & (table.space != Space.PCI_CONFIG)
            for rows in _by_vcpu(table, chosen):
                yield device, rows


def _stretches(holds: npt.NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
    """Longest stretches in which something holds: (first, one past the last)."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], holds, [False]])))
    yield from zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)
