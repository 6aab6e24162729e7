"""Which accesses are recognised as belonging together."""

from __future__ import annotations

import numpy as np
import pytest

from vmexit_sim import catalog
from vmexit_sim.device import load_devices
from vmexit_sim.guest.operations import bar_sizings, with_operations
from vmexit_sim.guest.table import NEVER, AccessTable, Agent, Flag, Kind, Space, make_table
from vmexit_sim.guest.table_file import check_table
from vmexit_sim.opened import cached_trace

CATALOG = load_devices()
ONES = 0xFFFFFFFF
F = 2 << 15  # bus 0, device 2, function 0


def config(*accesses: tuple[str, int, int], flags: int = 0) -> tuple[AccessTable, np.ndarray]:
    """Config accesses: (r or w, address, value)."""
    table = make_table(
        len(accesses),
        space=np.full(len(accesses), Space.PCI_CONFIG),
        write=np.array([kind == "w" for kind, _, _ in accesses]),
        address=np.array([address for _, address, _ in accesses]),
        flags=np.full(len(accesses), flags),
        devices=("nvme",),
    )
    return table, np.array([value for _, _, value in accesses], np.uint64)


def mmio(*accesses: tuple[str, int]) -> tuple[AccessTable, np.ndarray]:
    """Accesses to e1000's registers: (r or w, offset)."""
    table = make_table(
        len(accesses),
        space=np.full(len(accesses), Space.MMIO),
        write=np.array([kind == "w" for kind, _ in accesses]),
        address=np.array([0xFEBC0000 + offset for _, offset in accesses]),
        devices=("e1000-mmio",),
    )
    return table, np.zeros(len(accesses), np.uint64)


def recognised(made: tuple[AccessTable, np.ndarray]) -> AccessTable:
    table = with_operations(*made, CATALOG)
    check_table(table)
    return table


def sizing(register: int, v: int = 0, mask: int = 0xFFFFF000) -> list[tuple[str, int, int]]:
    at = F | register
    return [("r", at, v), ("w", at, ONES), ("r", at, mask), ("w", at, v)]


def test_a_sizing_waits_for_the_first_value_at_the_write_back() -> None:
    table = recognised(config(*sizing(0x10), ("r", F, 1)))
    assert table.kind.tolist() == [Kind.BAR_SIZING] * 4 + [Kind.NONE]
    assert table.needed_idiom.tolist() == [3, NEVER, 4, NEVER, 5]
    assert table.needed_by.tolist() == [1, NEVER, 3, NEVER, 5]


def test_a_sizing_may_have_command_and_the_neighbour_in_between() -> None:
    low, high = sizing(0x20), sizing(0x24)
    mixed = [low[0], high[0], low[1], ("w", F | 4, 0), high[1], low[2], high[2], low[3], high[3]]
    found = list(bar_sizings(*config(*mixed)))
    assert [item.register for item in found] == [0x20, 0x24]
    assert found[0].commands == (3,)


@pytest.mark.parametrize(
    "between",
    [("r", F | 0x3C, 0), ("r", F | 0x18, 0), ("r", 3 << 15, 0), ("r", F | 0x10, 0)],
)
def test_anything_else_in_between_is_no_sizing(between) -> None:
    four = sizing(0x10)
    assert not list(bar_sizings(*config(*four[:2], between, *four[2:])))


def test_writing_back_another_value_is_no_sizing() -> None:
    four = sizing(0x10, v=8)
    assert not list(bar_sizings(*config(*four[:3], ("w", F | 0x10, 0))))


def test_a_rom_is_sized_with_its_address_bits_alone() -> None:
    at = F | 0x30
    four = [("r", at, 0), ("w", at, 0xFFFFF800), ("r", at, 0), ("w", at, 0)]
    (found,) = bar_sizings(*config(*four))
    assert not found.exists
    assert not list(bar_sizings(*config(*[(k, F | 0x10, v) for k, _, v in four])))


def test_a_bridge_has_two_base_registers_and_its_rom_elsewhere() -> None:
    header = ("r", F | 0xE, 0x81)
    rom = [(kind, address | 0x38, value) for kind, address, value in sizing(0)]
    tried = [header, *sizing(0x14), *sizing(0x18), *rom]
    assert [item.register for item in bar_sizings(*config(*tried))] == [0x14, 0x38]


def test_a_toggled_sizing_has_decoding_off_before_and_on_after() -> None:
    table, values = config(("w", F | 4, 0), *sizing(0x10), ("w", F | 4, 3))
    table.flags[[0, 5]] = Flag.DECODE_TOGGLE
    assert [item.toggled for item in bar_sizings(table, values)] == [True]
    table.flags[5] = 0
    assert [item.toggled for item in bar_sizings(table, values)] == [False]


def test_a_run_of_absent_reads_is_waited_for_once_at_its_end() -> None:
    reads = [("r", device << 15, ONES) for device in range(5, 9)]
    table = recognised(config(*reads, flags=Flag.ABSENT))
    assert table.kind.tolist() == [Kind.ABSENT_RUN] * 4
    assert table.needed_idiom.tolist() == [4] * 4


@pytest.mark.parametrize(
    "reads",
    [
        [device << 15 for device in (5, 6, 7)],
        [device << 15 for device in (5, 6, 8, 9)],
        [device << 15 for device in (5, 6, 6, 7)],
        [device << 15 | 4 for device in (5, 6, 7, 8)],
        [5 << 15, 6 << 15, 7 << 15 | 8, 8 << 15 | 8],
    ],
)
def test_too_short_jumping_standing_or_mixed_reads_are_no_run(reads) -> None:
    table = recognised(config(*[("r", at, ONES) for at in reads], flags=Flag.ABSENT))
    assert (table.kind == Kind.NONE).all()


def test_bit_banging_never_waits_for_the_reads_that_order_it() -> None:
    table = recognised(mmio(*[("w", 0x10), ("r", 0x8), ("r", 0x10)] * 4))
    assert (table.kind == Kind.BIT_BANG).all()
    assert len(set(table.operation)) == 1
    assert table.needed_idiom.tolist()[:6] == [NEVER, NEVER, 3, NEVER, NEVER, 6]


def test_seven_accesses_are_no_bit_bang_run() -> None:
    assert (recognised(mmio(*[("w", 0x10), ("r", 0x8)] * 7)).kind == Kind.NONE).all()


def test_an_interrupt_service_runs_from_the_cause_to_the_flushed_mask() -> None:
    accesses = [("w", 0x3818), ("r", 0xC0), ("w", 0xD8), ("r", 0x8), ("w", 0xD0), ("r", 0x8)]
    table = recognised(mmio(*accesses, ("w", 0x3818)))
    assert table.kind.tolist() == [0, *[Kind.INTERRUPT_SERVICE] * 5, 0]
    assert table.needed_idiom.tolist() == [NEVER, 2, NEVER, NEVER, NEVER, NEVER, NEVER]


def test_a_service_that_is_not_closed_is_none() -> None:
    assert (recognised(mmio(("r", 0xC0), ("w", 0xD0), ("w", 0x8))).kind == Kind.NONE).all()
    assert (recognised(mmio(("r", 0xC0), ("w", 0xD0))).kind == Kind.NONE).all()
    assert (recognised(mmio(("w", 0xD0), ("r", 0x8))).kind == Kind.NONE).all()


def test_operations_of_two_vcpus_are_apart() -> None:
    table, values = config(*sizing(0x10), *sizing(0x10))
    table.vcpu[4:] = 1
    found = with_operations(table, values, CATALOG)
    assert found.operation.tolist() == [0] * 4 + [1] * 4


def test_a_recorded_sizing_holds_what_turns_decoding_off_and_on() -> None:
    """41 kernel sizings read COMMAND, turn decoding off, size, and turn it on again.

    With the four registers of 64 bits, whose upper dword is a sizing of its own between the two
    toggles, that makes 45 pairs of toggles.
    """
    trace = cached_trace(catalog.find("traces", "pci-scan-q35"), load_devices())
    table = trace.table
    kernel = (table.kind == Kind.BAR_SIZING) & (table.agent == Agent.KERNEL)
    operation, length = np.unique(table.operation[kernel], return_counts=True)
    assert len(operation) == 56
    assert np.count_nonzero(length == 7) == 41
    assert table.has(Flag.DECODE_TOGGLE)[kernel].sum() == 2 * 45
