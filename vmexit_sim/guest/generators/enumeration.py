"""PCI enumeration: how a kernel finds out at boot what there is.

::

    bus 0     slot: vendor? ─ present ─► set up, capabilities, BARs, capabilities
                            └ absent ──► next slot                              (all ones)
    bus 1 …   32 slots each, all absent                     (firmware said they might exist)
    drivers   their own config accesses, function by function

The order is that of Linux 4.x drivers/pci/probe.c (``pci_scan_slot``, ``pci_setup_device``,
``pci_device_add``) and, for empty buses, of arch/x86/pci/legacy.c
(``pcibios_scan_specific_bus``). A function's capabilities are a linked list that every search
walks from its head, so reads grow with searches × capabilities: read amplification.

Vendor reads of absent slots stand back to back. From `SHORTEST_RUN` on such a run is one operation
``Kind.ABSENT_RUN``: the kernel looks at each answer before it asks again, but nothing that it asks
depends on them, so an author who knows the idiom consumes them after the run.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, model_validator

from vmexit_sim.configuration import Configured, misfit
from vmexit_sim.distributions import Distribution
from vmexit_sim.guest.generators.bar_sizing import (
    Bars32,
    Bars64,
    bar_pass,
    refuse_too_many_bars,
)
from vmexit_sim.guest.generators.pattern import (
    EXTENDED,
    SLOT,
    Pattern,
    PatternWriter,
    pattern_blocks,
)
from vmexit_sim.guest.generators.stream import ZERO, Draws, Generated
from vmexit_sim.guest.table import AccessTable, Flag, Kind, concatenate
from vmexit_sim.guest.workload import BLOCK_ROWS
from vmexit_sim.streams import Streams

SLOTS_PER_BUS = 32
MOST_BUSES = 256

SHORTEST_RUN = 4
"""Absent reads, back to back, that make a run."""

_VENDOR, _STATUS, _CLASS, _HEADER = 0x00, 0x06, 0x08, 0x0E
_SUBSYSTEM_VENDOR, _SUBSYSTEM, _POINTER, _LINE, _PIN = 0x2C, 0x2E, 0x34, 0x3C, 0x3D
_CAPABILITIES = 0x40

_LATE_SEARCHES = ("PM", "VPD", "EA", "AF")
"""Capabilities that ``pci_device_add`` looks for, here always in vain."""

_EXTENDED_SEARCHES = ("SR-IOV", "ACS")
"""Extended capabilities that it looks for in a PCI Express function, here always in vain."""


class Function(Configured):
    """One sort of type-0 function, alone in its slot.

    Attributes:
        count: how many such functions.
        caps: length of the capability list: PCI Express, MSI, MSI-X (those it has, in this
            order), then others that the kernel does not look for (vendor-specific ones, say).
        pcie: whether it has the PCI Express capability, and so extended config space.
        msi: whether it has the MSI capability.
        msix: whether it has the MSI-X capability.
        bars32: 32-bit BARs.
        bars64: 64-bit BARs.
        decode_on: whether firmware left it decoding, so that BAR sizing has to toggle it.
        extended_caps: length of the extended capability list (PCI Express only).
        interrupt_pin: whether it has one, so that its interrupt line is read too.
        driver_extra: config reads that its driver adds when it binds, after the scan.
    """

    count: Annotated[int, Field(ge=1, le=MOST_BUSES * SLOTS_PER_BUS)] = 1
    caps: Annotated[int, Field(ge=0, le=24)] = 0
    pcie: bool = False
    msi: bool = False
    msix: bool = False
    bars32: Bars32 = 0
    bars64: Bars64 = 0
    decode_on: bool = False
    extended_caps: Annotated[int, Field(ge=0, le=256)] = 0
    interrupt_pin: bool = True
    driver_extra: Annotated[int, Field(ge=0, le=100_000)] = 0

    @model_validator(mode="after")
    def _possible(self) -> Function:
        refuse_too_many_bars(self.bars32, self.bars64)
        if self.caps < len(self.known_caps):
            raise misfit(f"has {self.caps} capabilities, but names {len(self.known_caps)}",
                         mend="caps counts PCI Express, MSI and MSI-X too")  # fmt: skip
        if self.extended_caps and not self.pcie:
            raise misfit("has extended capabilities without PCI Express",
                         mend="set pcie = true, or extended_caps = 0")  # fmt: skip
        return self

    @property
    def known_caps(self) -> list[str]:
        """The capabilities that the kernel finds, in the order of the list."""
        has = {"PCIe": self.pcie, "MSI": self.msi, "MSI-X": self.msix}
        return [name for name, present in has.items() if present]


class Enumeration(Generated):
    """One vCPU scans the buses and binds drivers.

    Attributes:
        functions: the functions there are, from bus 0, slot 0 on without gaps.
        buses_empty: further buses that the kernel looks at in vain.
        sequence: how BARs are sized: "old", decoding off and on again for each register set;
            "batched" (since 2025), once for a function, then each address.
        think: guest compute before each access.
        emulate: time that emulating one access takes in the device model.
    """

    kind: Literal["pci_enumeration"]
    functions: Annotated[tuple[Function, ...], Field(strict=False)] = ()
    buses_empty: Annotated[int, Field(ge=0, lt=MOST_BUSES)] = 0
    sequence: Literal["old", "batched"] = "old"
    think: Distribution = ZERO
    emulate: Distribution = ZERO

    @model_validator(mode="after")
    def _possible(self) -> Enumeration:
        buses = self._occupied_buses + self.buses_empty
        if buses > MOST_BUSES:
            raise misfit(f"has {buses} buses of {MOST_BUSES}",
                         mend="lower buses_empty or the functions' counts")  # fmt: skip
        return self

    @property
    def vcpus(self) -> int:
        """One: the boot CPU scans alone."""
        return 1

    @property
    def is_random(self) -> bool:
        """Whether any time is left to chance; the accesses never are."""
        return not (self.think.is_constant and self.emulate.is_constant)

    def examples(self) -> AccessTable:
        """All accesses of one vCPU: they are the same in every replication."""
        return concatenate(list(self.blocks(0, Streams(0))))

    def blocks(self, vcpu: int, streams: Streams, rows: int = BLOCK_ROWS) -> Iterator[AccessTable]:
        """The scan's rows, in blocks of at most `rows`."""
        yield from pattern_blocks(
            self._scan(), vcpu=vcpu, draws=Draws(streams, vcpu), think=self.think,
            emulate=self.emulate, rows=rows, origin="PCI enumeration",
        )  # fmt: skip

    @property
    def _occupied_buses(self) -> int:
        """Buses with functions; bus 0 is always scanned as one of them."""
        present = sum(function.count for function in self.functions)
        return max(-(-present // SLOTS_PER_BUS), 1)

    def _scan(self) -> Pattern:
        found: list[Pattern] = []
        bound: list[Pattern] = []
        slot = 0
        for function in self.functions:
            for parts, one in (
                (found, _found(function, self.sequence)),
                (bound, _bound(function)),
            ):
                parts.append(one.repeated(function.count, SLOT).at(slot * SLOT))
            slot += function.count
        occupied = self._occupied_buses * SLOTS_PER_BUS
        return Pattern.joined(
            [*found, _absent(slot, occupied, self.buses_empty * SLOTS_PER_BUS), *bound]
        )


def _absent(first: int, occupied: int, empty: int) -> Pattern:
    """Vendor reads of the slots left on occupied buses, then of those on empty buses."""
    slots = np.arange(first, occupied + empty)
    n = len(slots)
    is_run = n >= SHORTEST_RUN
    following = np.arange(1, n + 1)
    columns = {
        "address": slots * SLOT + _VENDOR,
        "write": np.zeros(n, np.int64),
        # The scan of a known bus reads vendor and device at once, the search for buses does not.
        "size": np.where(slots < occupied, 4, 2),
        "flags": np.full(n, Flag.ABSENT, np.int64),
        "kind": np.full(n, Kind.ABSENT_RUN if is_run else Kind.NONE, np.int64),
        "operation": np.full(n, 0 if is_run else -1),
        "needed_by": following,
        "needed_idiom": np.full(n, n) if is_run else following,
    }
    return Pattern(columns, int(is_run))


def _found(function: Function, sequence: Literal["old", "batched"]) -> Pattern:
    """What a scan does at a slot that answers."""
    before, after = PatternWriter(), PatternWriter()
    with before.operation(Kind.FUNCTION_SETUP):
        _set_up(before, function)
    with after.operation(Kind.FUNCTION_SETUP):
        _add(after, function)
    bars = bar_pass(
        sequence, bars32=function.bars32, bars64=function.bars64, rom=True,
        decode_on=function.decode_on,
    )  # fmt: skip
    return Pattern.joined([before.done(), bars, after.done()])


def _set_up(writer: PatternWriter, function: Function) -> None:
    """``pci_setup_device`` up to the BARs."""
    writer.read(_VENDOR)
    writer.read(_HEADER, 1)
    if found := _find_capability(writer, function, "PCIe"):
        writer.read(found + 2, 2)  # its flags
        writer.read(found + 4)  # what the device can do
    writer.read(_CLASS)
    if function.pcie:
        # Does the extended space answer, and is it more than the first 256 bytes again?
        for register in (EXTENDED, _VENDOR, EXTENDED):
            writer.read(register)
    else:
        _find_capability(writer, function, "PCI-X")
    for name in ("MSI", "MSI-X"):
        if found := _find_capability(writer, function, name):
            writer.read(found + 2, 2)  # its control word
    writer.read(_PIN, 1)
    if function.interrupt_pin:
        writer.read(_LINE, 1)


def _add(writer: PatternWriter, function: Function) -> None:
    """The rest of ``pci_setup_device``, and ``pci_device_add``."""
    writer.read(_SUBSYSTEM_VENDOR, 2)
    writer.read(_SUBSYSTEM, 2)
    for name in _LATE_SEARCHES:
        _find_capability(writer, function, name)
    if function.pcie:
        for _ in _EXTENDED_SEARCHES:
            # An empty list costs a read too: the one that finds it empty.
            for place in range(max(function.extended_caps, 1)):
                writer.read(EXTENDED + 8 * place)


def _find_capability(writer: PatternWriter, function: Function, name: str) -> int:
    """Walk the capability list in search of `name`; returns its register, 0 if it is not there.

    Source: Linux drivers/pci/pci.c, ``pci_find_capability``: the status word says whether there is
    a list, a byte where it begins, then one word for each capability visited.
    """
    writer.read(_STATUS, 2)
    if not function.caps:
        return 0
    writer.read(_POINTER, 1)
    known = function.known_caps
    visited = known.index(name) + 1 if name in known else function.caps
    for place in range(visited):
        writer.read(_capability(function, place), 2)
    return _capability(function, visited - 1) if name in known else 0


def _capability(function: Function, place: int) -> int:
    """The register of a capability: the list fills the space behind the header evenly."""
    return _CAPABILITIES + (0x100 - _CAPABILITIES) // function.caps // 4 * 4 * place


def _bound(function: Function) -> Pattern:
    """What a driver adds: reads of the function's own registers, in turn."""
    writer = PatternWriter()
    for place in range(function.driver_extra):
        writer.read(_CAPABILITIES + place * 4 % (0x100 - _CAPABILITIES))
    return writer.done()
