"""Addresses of a PC that are where they are by convention, and who answers there.

A KVM log has addresses only. The names are those that QEMU gives the same devices, so that a device
catalog speaks of them alike, whichever log a guest came from. All else is named by its window:
``port 0x1234``, ``mmio 0xfe003000`` (a page), ``msr 0x6e0``.

Sources ("[M]": recalled, not looked up again): Intel ICH9 datasheet, fixed I/O ranges [M] (all
ports but the following); PCI Local Bus 3.0, 3.2.2.3.2 (0xCF8, 0xCFC); Linux
arch/x86/include/asm/serial.h (0x3F8, 0x2F8) [M]; QEMU docs/specs/fw_cfg (0x510, 0x514); Intel SDM
vol. 3, local APIC (0xFEE00000 after reset); Intel 82093AA datasheet (I/O APIC) [M]; QEMU hw/i386
(HPET at 0xFED00000) [M]. A guest may move the last three; Linux and its firmwares leave them
there.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import Final

PAGE = 4096

CONFIG_INDEX: Final = "pci-conf-idx"
CONFIG_DATA: Final = "pci-conf-data"
ECAM: Final = "pcie-mmcfg-mmio"

PORTS: tuple[tuple[int, int, str], ...] = (
    (0x20, 0x21, "pic"),
    (0x40, 0x43, "pit"),
    (0x60, 0x60, "i8042-data"),
    (0x61, 0x61, "pcspk"),
    (0x64, 0x64, "i8042-cmd"),
    (0x70, 0x70, "rtc-index"),
    (0x71, 0x71, "rtc"),
    (0x80, 0x80, "ioport80"),
    (0x92, 0x92, "port92"),
    (0xA0, 0xA1, "pic"),
    (0xB2, 0xB3, "apm-io"),
    (0xF0, 0xF0, "ioportF0"),
    (0x170, 0x177, "ide"),
    (0x1F0, 0x1F7, "ide"),
    (0x2F8, 0x2FF, "serial"),
    (0x376, 0x376, "ide"),
    (0x3F6, 0x3F6, "ide"),
    (0x3F8, 0x3FF, "serial"),
    (0x4D0, 0x4D1, "elcr"),
    (0x510, 0x511, "fwcfg"),
    (0x514, 0x51B, "fwcfg.dma"),
    (0xCF8, 0xCFB, CONFIG_INDEX),
    (0xCFC, 0xCFF, CONFIG_DATA),
)
"""First port, last port, name; ascending."""

MEMORY: tuple[tuple[int, int, str], ...] = (
    (0xFEC0_0000, 0xFEC0_0FFF, "ioapic"),
    (0xFED0_0000, 0xFED0_03FF, "hpet"),
    (0xFEE0_0000, 0xFEE0_0FFF, "apic-msi"),
)
"""First byte, last byte, name; ascending."""

_RESET_PORT = 0xCF9
_PORT_STARTS = [first for first, _, _ in PORTS]
_MEMORY_STARTS = [first for first, _, _ in MEMORY]


def port_name(port: int, size: int) -> str | None:
    """Who answers at a port, if that is known.

    A byte at 0xCF9 is the reset control register, not a part of the config index.
    """
    if port == _RESET_PORT and size == 1:
        return None
    return _name(PORTS, _PORT_STARTS, port)


def memory_name(address: int) -> str | None:
    """Who answers at a physical address, if that is known."""
    return _name(MEMORY, _MEMORY_STARTS, address)


def _name(windows: tuple[tuple[int, int, str], ...], starts: list[int], at: int) -> str | None:
    place = bisect_right(starts, at) - 1
    return windows[place][2] if place >= 0 and at <= windows[place][1] else None
