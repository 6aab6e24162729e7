"""What a recording shows of config space: which functions are bridges, what registers are for.

A function's capability lists say what lies where. They are read off the recorded answers: from the
pointer at 0x34 from link to link, and from 0x100 on for extended capabilities (PCI Express). A
register whose value can only change by a write may be kept by a cache; all others are *volatile*:
status registers, what no known capability covers, and a vendor's own.

Source: the registers that the AWS config-space cache keeps (E. Petrongonas, RFC PATCH 03/13 and
04/13, "pci: pcsc: infer cacheability", linux-pci 2025-10-03), from the PCI and PCI Express
specifications. It leaves COMMAND and STATUS out too; who reads a table says so itself, since that
needs no recording.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from vmexit_sim.guest.table import AccessTable, Flag, Space

HEADER_TYPE, CACHE_LINE, POINTER = 0xE, 0xC, 0x34
FIRST_CAPABILITY, EXTENDED, REGISTERS = 0x40, 0x100, 0x1000

MSI, MSIX = 0x05, 0x11
KEPT: dict[int, tuple[tuple[int, int], ...]] = {
    0x01: ((2, 2),),  # power management: what it can do
    0x03: ((2, 2),),  # vital product data: the address
    0x09: ((2, 1),),  # vendor-specific: its length; what it holds is the vendor's business
    0x10: ((2, 8), (12, 6), (20, 6), (28, 4), (36, 6), (44, 6), (52, 6)),  # PCIe but its status
    MSIX: ((2, 10),),
    0x13: ((2, 2),),  # advanced features
    0x14: ((2, 2),),  # enhanced allocation
}
"""By capability: (offset, length) of the registers that may be kept, besides its two-byte head."""

KEPT_EXTENDED: dict[int, tuple[tuple[int, int], ...]] = {
    0x01: ((8, 8), (20, 4), (44, 4)),  # error reporting: masks and severity
    0x0D: ((4, 4),),  # access control services
    0x0E: ((4, 4),),  # alternative routing
    0x0F: ((4, 4),),  # address translation
    0x10: ((4, 6), (12, 7), (20, 4), (26, 10), (36, 24), (60, 4)),  # virtual functions
    0x13: ((4, 2), (8, 8)),  # page requests
    0x1B: ((4, 4),),  # process address spaces
    0x1D: ((4, 4),),  # port containment
    0x1F: ((4, 8),),  # time measurement
}
"""By extended capability, besides its four-byte head."""

Mask = npt.NDArray[np.bool_]
Values = npt.NDArray[np.uint64]


def with_config_facts(table: AccessTable, values: Values) -> AccessTable:
    """The table with `Flag.BRIDGE` and `Flag.VOLATILE` set on config accesses.

    Args:
        table: a recording.
        values: what each row read or wrote.
    """
    answered = (table.space == Space.PCI_CONFIG) & ~table.has(Flag.ABSENT | Flag.INDEX_ONLY)
    function, register = table.address >> 12, table.address & 0xFFF
    flags = table.flags.copy()
    flags[answered & np.isin(function, sorted(bridges(table, values, answered)))] |= Flag.BRIDGE
    seen = _bytes_read(table, values, answered & ~table.write)
    beyond = np.flatnonzero(answered & (register >= FIRST_CAPABILITY))
    for number in np.unique(function[beyond]).tolist():
        kept = _kept(seen.get(number, {}))
        own = beyond[function[beyond] == number]
        last = np.minimum(register[own] + table.size[own], REGISTERS)
        whole = np.concatenate([[0], np.cumsum(kept)])
        flags[own[whole[last] - whole[register[own]] < last - register[own]]] |= Flag.VOLATILE
    return replace(table, flags=flags)


def bridges(table: AccessTable, values: Values, answered: Mask) -> frozenset[int]:
    """Functions that were read to be PCI bridges (header type 1), as bus, device, function."""
    register = table.address & 0xFFF
    header = np.where(register == CACHE_LINE, values >> np.uint64(16), values) & np.uint64(0x7F)
    told = (register == HEADER_TYPE) | ((register == CACHE_LINE) & (table.size == 4))
    rows = answered & ~table.write & told & (header == 1)
    return frozenset((table.address[rows] >> 12).tolist())


def _bytes_read(table: AccessTable, values: Values, reads: Mask) -> dict[int, dict[int, int]]:
    """By function and register: the byte that was read there first."""
    seen: dict[int, dict[int, int]] = {}
    rows = np.flatnonzero(reads)
    for address, size, value in zip(
        table.address[rows].tolist(), table.size[rows].tolist(), values[rows].tolist(), strict=True
    ):
        of_function = seen.setdefault(address >> 12, {})
        for place in range(size):
            of_function.setdefault((address & 0xFFF) + place, value >> 8 * place & 0xFF)
    return seen


def _kept(seen: dict[int, int]) -> Mask:
    """Which bytes of a function's config space a cache may keep."""
    kept = np.zeros(REGISTERS, np.bool_)
    kept[:FIRST_CAPABILITY] = True  # what is not to be kept here needs no recording
    for place, stretches in (*_capabilities(seen), *_extended_capabilities(seen)):
        for offset, length in stretches:
            kept[place + offset : place + offset + length] = True
    return kept


def _capabilities(seen: dict[int, int]) -> Iterator[tuple[int, tuple[tuple[int, int], ...]]]:
    place, visited = seen.get(POINTER, 0) & ~3, set[int]()
    while FIRST_CAPABILITY <= place < EXTENDED and place not in visited:
        visited.add(place)
        capability = seen.get(place, 0)
        stretches = _message_stretches(seen, place) if capability == MSI else KEPT.get(capability)
        yield place, ((0, 2), *(stretches or ()))
        place = seen.get(place + 1, 0) & ~3


def _message_stretches(seen: dict[int, int], place: int) -> tuple[tuple[int, int], ...]:
    """MSI: control, address, data, mask; not the pending bits. Its control word says the shape."""
    control = seen.get(place + 2, 0) | seen.get(place + 3, 0) << 8
    data = 12 if control & 0x80 else 8  # a 64-bit address comes before it
    return ((2, data), (data, 2), *(((data + 4, 4),) if control & 0x100 else ()))


def _extended_capabilities(
    seen: dict[int, int],
) -> Iterator[tuple[int, tuple[tuple[int, int], ...]]]:
    place, visited = EXTENDED, set[int]()
    while EXTENDED <= place < REGISTERS and place not in visited:
        visited.add(place)
        head = sum(seen.get(place + n, 0) << 8 * n for n in range(4))
        yield place, ((0, 4), *KEPT_EXTENDED.get(head & 0xFFFF, ()))
        place = head >> 20 & ~3
