"""What recorded answers say of config registers: bridges, and what no cache may keep."""

from __future__ import annotations

import numpy as np
import pytest

from vmexit_sim import catalog
from vmexit_sim.device import load_devices
from vmexit_sim.guest.config_space import with_config_facts
from vmexit_sim.guest.table import AccessTable, Flag, Space, make_table
from vmexit_sim.opened import cached_trace

F = 3 << 12


def recorded(*reads: tuple[int, int, int]) -> AccessTable:
    """Config reads of one function: (register, size, value)."""
    register, size, value = zip(*reads, strict=True)
    table = make_table(len(reads), space=Space.PCI_CONFIG, address=F | np.array(register),
                       size=size)  # fmt: skip
    return with_config_facts(table, np.array(value, np.uint64))


def volatile(*reads: tuple[int, int, int]) -> list[int]:
    table = recorded(*reads)
    return [reads[row][0] for row in np.flatnonzero(table.has(Flag.VOLATILE))]


LIST = (0x34, 1, 0x40)


def test_a_header_type_of_one_makes_every_access_a_bridges() -> None:
    assert recorded((0, 4, 1), (0xE, 1, 0x81)).has(Flag.BRIDGE).tolist() == [True, True]
    assert recorded((0xC, 4, 0x00010000)).has(Flag.BRIDGE).all()
    assert not recorded((0xE, 1, 0x80)).has(Flag.BRIDGE).any()


def test_what_no_capability_covers_is_volatile() -> None:
    assert volatile(LIST, (0x40, 2, 0x0001), (0x42, 2, 0), (0x90, 4, 0)) == [0x90]
    assert volatile((0x44, 4, 0)) == [0x44]
    assert volatile((0x10, 4, 0), (0x3C, 1, 0)) == []


def test_power_management_keeps_what_it_can_do_and_not_its_state() -> None:
    assert volatile(LIST, (0x40, 2, 0x0001), (0x42, 2, 0), (0x44, 2, 0)) == [0x44]


def test_pci_express_keeps_all_but_its_status() -> None:
    words = [(0x40 + n, 2, 0x0010 if n == 0 else 0) for n in range(0, 60, 2)]
    status = [0x40 + n for n in (0x0A, 0x12, 0x1A, 0x20, 0x22, 0x2A, 0x32, 0x3A)]
    assert volatile(LIST, *words) == status


def test_a_vendors_own_is_volatile_but_for_its_length() -> None:
    assert volatile(LIST, (0x40, 2, 0x0009), (0x42, 1, 16), (0x43, 1, 1), (0x44, 4, 0)) == [
        0x43, 0x44,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("control", "kept", "pending"),
    [(0x0000, [0x44, 0x48], 0x4C), (0x0080, [0x44, 0x48, 0x4C], 0x50),
     (0x0180, [0x44, 0x48, 0x4C, 0x50], 0x54)],
)  # fmt: skip
def test_messages_keep_all_but_pending_bits(control: int, kept: list[int], pending: int) -> None:
    reads = [(place, 2, 0) for place in (*kept, pending)]
    assert volatile(LIST, (0x40, 2, 0x0005), (0x42, 2, control), *reads) == [pending]


def test_an_access_is_volatile_if_any_byte_of_it_is() -> None:
    assert volatile(LIST, (0x40, 4, 0x0001), (0x42, 4, 0)) == [0x42]


def test_a_list_is_followed_link_by_link_and_not_in_circles() -> None:
    links = [(0x40, 2, 0x5011), (0x50, 2, 0x4001)]
    assert volatile(LIST, *links, (0x42, 2, 0), (0x52, 2, 0), (0x54, 2, 0)) == [0x54]


def test_extended_capabilities_begin_at_their_first_head() -> None:
    heads = [(0x100, 4, 0x14010001), (0x140, 4, 0x0001000E)]
    registers = [(0x104, 4, 0), (0x108, 4, 0), (0x10C, 4, 0), (0x144, 4, 0), (0x148, 4, 0)]
    assert volatile(*heads, *registers) == [0x104, 0x148]


def test_the_recordings_bridges_are_root_ports() -> None:
    devices = load_devices()
    q35 = cached_trace(catalog.find("traces", "boot-q35"), devices).table
    bridges = set((q35.address[q35.has(Flag.BRIDGE)] >> 12).tolist())
    assert bridges == {8 * slot for slot in range(1, 9)}
    scan = cached_trace(catalog.find("traces", "pci-scan-q35"), devices).table
    assert not scan.has(Flag.BRIDGE).any()
    assert scan.has(Flag.VOLATILE).sum() == 263
