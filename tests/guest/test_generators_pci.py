"""`BarSizing` and `Enumeration` make exactly the accesses that Linux makes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmexit_sim.configuration import checked
from vmexit_sim.errors import InputError
from vmexit_sim.guest.generators import BarSizing, Enumeration
from vmexit_sim.guest.table import NEVER, AccessTable, Agent, Flag, Kind, Phase, concatenate
from vmexit_sim.guest.table_file import check_table
from vmexit_sim.guest.workload import whole_table
from vmexit_sim.streams import Streams

COMMAND, ROM = 0x04, 0x30
RANDOM_THINK = {"kind": "exponential", "mean": "1 us"}
VIRTIO = {"count": 2, "caps": 6, "msix": True, "bars32": 2, "bars64": 1, "driver_extra": 10}


def bar_sizing(**keys: Any) -> AccessTable:
    return made_by(checked(BarSizing, {"kind": "bar_sizing", **keys}))


def enumeration(**keys: Any) -> AccessTable:
    return made_by(checked(Enumeration, {"kind": "pci_enumeration", **keys}))


def made_by(workload: BarSizing | Enumeration) -> AccessTable:
    table = whole_table(workload, Streams(1))
    check_table(table)
    return table


def counted(table: AccessTable) -> tuple[int, int, int]:
    """Reads, writes, and the writes among them that toggle decoding."""
    toggles = table.has(Flag.DECODE_TOGGLE)
    assert not (toggles & ~table.write).any()
    return int((~table.write).sum()), int(table.write.sum()), int(toggles.sum())


def spelled(table: AccessTable) -> str:
    """The accesses as text: "R4" reads register 4."""
    return " ".join(
        f"{'W' if write else 'R'}{address & 0xFFF:x}"
        for write, address in zip(table.write, table.address, strict=True)
    )


# By hand, for a type-0 function (6 slots and the ROM: 7 sets of one dword, fewer with 64-bit BARs):
# old: a set reads PCI_COMMAND and twice each dword; it writes each dword twice, PCI_COMMAND twice.
# batched: PCI_COMMAND once, 2 reads of each of 7 dwords, then 7 more; 14 writes and 2 toggles.
@pytest.mark.parametrize(
    ("sequence", "bars64", "decode_on", "expected"),
    [
        ("old", 0, True, (21, 28, 14)),
        ("old", 1, True, (20, 26, 12)),
        ("old", 2, True, (19, 24, 10)),
        ("old", 3, True, (18, 22, 8)),
        ("old", 0, False, (21, 14, 0)),
        ("old", 3, False, (18, 14, 0)),
        ("batched", 0, True, (22, 16, 2)),
        ("batched", 1, True, (22, 16, 2)),
        ("batched", 3, True, (22, 16, 2)),
        ("batched", 0, False, (22, 14, 0)),
        ("bare", 1, True, (14, 14, 0)),
    ],
)
def test_a_functions_bar_pass_has_the_kernels_counts(
    sequence: str, bars64: int, decode_on: bool, expected: tuple[int, int, int]
) -> None:
    table = bar_sizing(
        sequence=sequence, bars32=6 - 2 * bars64, bars64=bars64, rom=True, decode_on=decode_on
    )
    assert counted(table) == expected
    assert len(np.unique(table.operation[table.operation >= 0])) == 7 - bars64


def test_linux_sizes_empty_slots_and_the_bare_sequence_does_not() -> None:
    assert len(bar_sizing(sequence="bare", bars32=1)) == 4
    assert len(bar_sizing(sequence="old", bars32=1)) == 6 * 5
    assert len(bar_sizing(sequence="old", bars64=1)) == 6 * 5 - 1


def test_the_bare_sequence_is_read_ones_read_back() -> None:
    table = bar_sizing(sequence="bare", bars32=1, bars64=1)
    assert spelled(table) == "R10 W10 R10 W10 R14 W14 R14 W14 R18 W18 R18 W18"
    assert table.operation.tolist() == [0] * 8 + [1] * 4
    assert set(table.kind) == {Kind.BAR_SIZING}
    # What was read first is needed where it is written back, a size after its operation.
    reads = table.needed_by[~table.write].tolist()
    assert reads == [3, 8, 7, 8, 11, 12]
    assert (table.needed_by[table.write] == NEVER).all()
    assert np.array_equal(table.needed_idiom, table.needed_by)


def test_before_the_batch_patch_each_bar_toggles_decoding_inside_its_operation() -> None:
    table = bar_sizing(sequence="old", bars64=3, rom=True, decode_on=True)
    pair = table.block(0, 11)
    assert spelled(pair) == "R4 W4 R10 W10 R10 W10 R14 W14 R14 W14 W4"
    assert set(pair.operation) == {0}
    assert pair.needed_by[[0, 2, 4, 6, 8]].tolist() == [1, 5, 11, 9, 11]
    assert spelled(table.block(33, 40)) == "R4 W4 R30 W30 R30 W30 W4"


def test_since_the_batch_patch_toggles_and_address_reads_belong_to_no_bar() -> None:
    table = bar_sizing(sequence="batched", bars64=3, rom=True, decode_on=True)
    outside = table.operation < 0
    assert spelled(table.only(outside)) == "R4 W4 W4 R10 R14 R18 R1c R20 R24 R30"
    assert np.bincount(table.operation[~outside]).tolist() == [8, 8, 8, 4]
    # The first size is looked at behind the first address read, the ROM's behind the last.
    assert table.needed_by[4] == 32
    assert table.needed_by[28] == len(table) == 38


def test_functions_stand_at_addresses_of_their_own() -> None:
    table = bar_sizing(sequence="bare", bars32=1, functions=300, vcpus=2)
    assert len(np.unique(table.address >> 12)) == 600
    assert (table.address >> 20).max() == 599 // 256
    assert len(np.unique(table.operation)) == 600
    assert set(table.agent) == {Agent.KERNEL}
    assert set(table.phase) == {Phase.KERNEL}


def test_an_empty_bus_costs_its_32_vendor_reads() -> None:
    none, all_others = enumeration(), enumeration(buses_empty=255)
    assert len(none) == 32
    assert len(all_others) - len(none) == 8_160
    assert all_others.has(Flag.ABSENT).all()
    assert len(np.unique(all_others.address >> 15)) == 256 * 32


def test_an_absent_run_is_one_operation_that_the_idiom_consumes_at_its_end() -> None:
    table = enumeration(functions=[{"driver_extra": 2}], buses_empty=1)
    absent = np.flatnonzero(table.has(Flag.ABSENT))
    assert absent.tolist() == list(range(50, 50 + 63))
    assert set(table.kind[absent]) == {Kind.ABSENT_RUN}
    assert len(set(table.operation[absent])) == 1
    assert np.array_equal(table.needed_by[absent], absent + 1)
    assert set(table.needed_idiom[absent]) == {113}
    assert len(table) == 115


@pytest.mark.parametrize("present", [28, 29, 32])
def test_fewer_than_four_absent_reads_are_no_run(present: int) -> None:
    table = enumeration(functions=[{"count": present}])
    assert int(table.has(Flag.ABSENT).sum()) == 32 - present
    assert int((table.kind == Kind.ABSENT_RUN).sum()) == (4 if present == 28 else 0)


def present_accesses(**function: Any) -> int:
    """Accesses of one function, without the 31 absent slots beside it."""
    return len(enumeration(functions=[function])) - 31


def test_a_function_without_capabilities_has_the_count_made_by_hand() -> None:
    # vendor, header, PCIe?, class, PCI-X?, MSI?, MSI-X?: 7 (a search without a list is 1 read);
    # interrupt pin and line: 2; 7 register sets of 5 accesses: 35; subsystem: 2;
    # PM, VPD, EA, AF?: 4.
    assert present_accesses() == 7 + 2 + 35 + 2 + 4
    assert present_accesses(decode_on=True) == 50 + 14
    assert present_accesses(interrupt_pin=False) == 49
    assert present_accesses(driver_extra=110) == 160


def test_each_search_walks_the_capability_list_again() -> None:
    # 8 searches, in vain: status, pointer, and each of the 5 capabilities instead of 1 read.
    assert present_accesses(caps=5) - present_accesses() == 8 * (2 + 5 - 1)
    # MSI-X stands first: its search visits 1 of 5, then reads its control word.
    assert present_accesses(caps=5, msix=True) == present_accesses(caps=5) - 4 + 1
    # MSI first, MSI-X second.
    assert present_accesses(caps=5, msi=True, msix=True) == present_accesses(caps=5) - 4 - 3 + 2


def test_pci_express_adds_its_registers_and_an_extended_walk_by_ecam() -> None:
    # Found as the only capability: 3 reads and 2 registers for the 1 status read; 3 reads of the
    # size test for the PCI-X search; the other 6 searches visit 1 capability; 2 extended searches.
    plain = present_accesses()
    assert present_accesses(caps=1, pcie=True) == plain + 4 + 2 + 6 * 2 + 2
    table = enumeration(functions=[{"caps": 1, "pcie": True, "extended_caps": 4}])
    assert len(table) - 31 == plain + 4 + 2 + 6 * 2 + 8
    extended = (table.address & 0xFFF) >= 0x100
    assert int(extended.sum()) == 2 + 8
    assert np.array_equal(extended, table.has(Flag.ECAM))


def test_setup_surrounds_the_bar_pass() -> None:
    table = enumeration(functions=[{"decode_on": True}], sequence="old")
    own = table.block(0, 64)
    kinds = own.kind[np.flatnonzero(np.diff(own.operation, prepend=-1))]
    assert kinds.tolist() == [Kind.FUNCTION_SETUP, *[Kind.BAR_SIZING] * 7, Kind.FUNCTION_SETUP]
    bars = own.kind == Kind.BAR_SIZING
    alone = bar_sizing(sequence="old", rom=True, decode_on=True)
    assert spelled(own.only(bars)) == spelled(alone)
    assert spelled(own.block(0, 9)) == "R0 Re R6 R8 R6 R6 R6 R3d R3c"


def test_the_batch_patch_adds_reads_and_removes_toggles() -> None:
    counts = [
        counted(enumeration(functions=[{"bars64": 3, "decode_on": True}], sequence=sequence))
        for sequence in ("old", "batched")
    ]
    assert np.subtract(counts[1], counts[0]).tolist() == [4, -6, -6]


def test_functions_fill_slots_in_order_over_several_buses() -> None:
    table = enumeration(functions=[{"count": 20}, {"count": 20, "bars32": 1}], buses_empty=1)
    assert np.unique(table.address >> 15).tolist() == list(range(96))
    assert int(table.has(Flag.ABSENT).sum()) == 24 + 32


@given(rows=st.integers(1, 400), sequence=st.sampled_from(["old", "batched"]))
def test_rows_are_the_same_whatever_the_block_size(rows: int, sequence: str) -> None:
    common = {"sequence": sequence, "think": RANDOM_THINK, "emulate": RANDOM_THINK}
    scan = checked(Enumeration, {"kind": "pci_enumeration", "functions": [VIRTIO], **common})
    sizing = checked(BarSizing, {"kind": "bar_sizing", "functions": 9, "bars64": 2, **common})
    for workload in (scan, sizing):
        blocks = list(workload.blocks(0, Streams(4), rows))
        for block in blocks:
            check_table(block)
        joined, whole = concatenate(blocks), whole_table(workload, Streams(4))
        for name, column in whole.columns.items():
            assert np.array_equal(joined.columns[name], column), name


def test_only_the_times_are_left_to_chance() -> None:
    keys = {"kind": "pci_enumeration", "functions": [VIRTIO], "think": RANDOM_THINK}
    workload = checked(Enumeration, keys)
    assert workload.is_random
    assert not checked(Enumeration, {**keys, "think": "1 us"}).is_random
    table, again, other = (whole_table(workload, Streams(4, n)) for n in (0, 0, 1))
    assert np.array_equal(table.compute, again.compute)
    assert not np.array_equal(table.compute, other.compute)
    assert np.array_equal(table.address, other.address)


def test_the_mean_think_time_is_the_one_asked_for() -> None:
    table = enumeration(buses_empty=255, think=RANDOM_THINK)
    assert abs(table.compute.mean() - 1e6) < 5 * 1e6 / np.sqrt(len(table))


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"bars32": 3, "bars64": 2}, "needs 7 BAR slots of 6"),
        ({"bars32": -1}, "bars32"),
        ({"sequence": "new"}, "sequence"),
        ({"sequence": "bare", "bars32": 0}, "nothing to size"),
        ({"bars_64": 1}, "did you mean 'bars64'"),
        ({"functions": 40_000, "vcpus": 2}, "65,536"),
    ],
)
def test_bars_that_cannot_be_are_refused(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        bar_sizing(**{"sequence": "old", "bars32": 1, **keys})


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"functions": [{"caps": 1, "msi": True, "msix": True}]}, "functions.0.*names 2"),
        ({"functions": [{"extended_caps": 1}]}, "pcie = true"),
        ({"functions": [{"bars64": 3, "bars32": 1}]}, "functions.0.*7 BAR slots"),
        ({"functions": [{"count": 33}], "buses_empty": 255}, "257 buses of 256"),
        ({"buses_empty": -1}, "buses_empty"),
        ({"bus_empty": 1}, "did you mean 'buses_empty'"),
        ({"sequence": "bare"}, "sequence"),
    ],
)
def test_a_scan_that_cannot_be_is_refused(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        enumeration(**keys)
