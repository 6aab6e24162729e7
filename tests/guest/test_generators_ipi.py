"""Multicast IPIs: how many writes each APIC mode makes of one, and to whom."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from vmexit_sim.configuration import checked
from vmexit_sim.errors import InputError
from vmexit_sim.guest.generators import Ipi
from vmexit_sim.guest.table import Flag, Kind, Space, concatenate
from vmexit_sim.guest.table_file import check_table
from vmexit_sim.guest.workload import whole_table
from vmexit_sim.streams import Streams

US = 1_000_000


def ipi(**keys: Any) -> Ipi:
    plain = {"mode": "physical", "multicasts": 5, "vcpus": 4, "targets": 2, "between": "10 us"}
    return checked(Ipi, {"kind": "ipi", **plain, **keys})


def test_physical_mode_writes_the_command_once_a_target() -> None:
    table = whole_table(ipi(), Streams(1))
    check_table(table)
    assert len(table) == 4 * 5 * 2
    assert set(table.targets) == {1}
    assert set(table.address) == {0x830}
    assert table.of_vcpu(0).operation.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert table.of_vcpu(1).compute.tolist() == [10 * US, 0] * 5
    assert (table.kind == Kind.IPI).all()


def test_cluster_mode_writes_it_once_a_cluster_that_has_a_target() -> None:
    table = ipi(mode="cluster", vcpus=64, targets=63, multicasts=3)
    rows = next(table.blocks(20, Streams(1)))
    assert rows.targets.tolist() == [16, 15, 16, 16] * 3  # not to itself


def test_the_mean_number_of_clusters_is_what_counting_says() -> None:
    # Of 8 others of 63, the three clusters of 16 and that of 15 are missed with C(47, 8)/C(63, 8)
    # and C(48, 8)/C(63, 8).
    guest = ipi(mode="cluster", vcpus=64, targets=8, multicasts=4000)
    rows = concatenate(list(guest.blocks(0, Streams(3))))
    writes = np.bincount(rows.operation)
    missed = [
        np.prod((63 - size - np.arange(8)) / (63 - np.arange(8))) for size in (15, 16, 16, 16)
    ]
    expected = 4 - sum(missed)
    spread = writes.std() / np.sqrt(len(writes))
    assert abs(writes.mean() - expected) < 4 * spread
    first = np.flatnonzero(np.diff(rows.operation, prepend=-1))
    assert set(np.add.reduceat(rows.targets, first)) == {8}


def test_xapic_looks_writes_the_destination_and_then_the_command() -> None:
    rows = next(ipi(mode="xapic", targets=2, multicasts=1).blocks(0, Streams(1)))
    assert (rows.address & 0xFFF).tolist() == [0x300, 0x310, 0x300] * 2
    assert rows.write.tolist() == [False, True, True] * 2
    assert rows.targets.tolist() == [0, 0, 1] * 2
    assert (rows.space == Space.MMIO).all()
    assert rows.has(Flag.LOCAL_APIC).all()
    assert rows.needed_by.tolist()[0] == 1


def test_timers_and_ends_stand_before_a_multicast() -> None:
    stated = {"timers": 1, "ends_exit": True, "targets": 2, "multicasts": 2}
    rows = next(ipi(**stated).blocks(0, Streams(1)))
    assert rows.address.tolist() == [0x6E0, 0x80B, 0x80B, 0x830, 0x830] * 2
    assert rows.operation.tolist() == [-1, -1, -1, 0, 0, -1, -1, -1, 1, 1]
    assert rows.compute.tolist() == [10 * US, 10 * US, 10 * US, 10 * US, 0] * 2
    assert rows.kind.tolist() == [0, 0, 0, Kind.IPI, Kind.IPI] * 2
    paged = next(ipi(mode="xapic", **stated).blocks(0, Streams(1)))
    assert paged.space.tolist()[:2] == [Space.MSR, Space.MMIO]
    assert paged.address[1] & 0xFFF == 0xB0


@pytest.mark.parametrize("mode", ["physical", "cluster", "xapic"])
def test_blocks_of_any_size_are_the_same_rows(mode: str) -> None:
    guest = ipi(mode=mode, vcpus=40, targets=(1, 39), multicasts=50, timers=1, ends_exit=True,
                between={"kind": "exponential", "mean": "3 us"})  # fmt: skip
    whole = concatenate(list(guest.blocks(7, Streams(5))))
    small = list(guest.blocks(7, Streams(5), 64))
    assert {len(block) for block in small[:-1]} == {64}
    joined = concatenate(small)
    for name, column in whole.columns.items():
        assert np.array_equal(column, joined.columns[name]), name
    counts = np.bincount(whole.operation[whole.operation >= 0])
    assert len(counts) == 50


@pytest.mark.parametrize("mode", ["physical", "cluster", "xapic"])
def test_examples_are_possible_and_show_every_sort(mode: str) -> None:
    shown = ipi(mode=mode, timers=1, ends_exit=True).examples()
    check_table(shown)
    assert {Kind.NONE, Kind.IPI} == set(shown.kind)
    assert (shown.targets > 0).any()


def test_only_what_chance_can_change_is_random() -> None:
    assert not ipi().is_random
    assert ipi(targets=(1, 2)).is_random
    assert ipi(mode="cluster").is_random
    assert not ipi(mode="cluster", targets=3).is_random
    assert ipi(between={"kind": "exponential", "mean": "1 us"}).is_random


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"targets": 4}, "sends to 4 to 4 of 3 others"),
        ({"targets": (3, 2)}, "least ≤ most"),
        ({"mode": "xapic", "vcpus": 256}, "by xAPIC"),
        ({"vcpus": 1}, "vcpus"),
        ({"mode": "flat"}, "mode"),
    ],
)
def test_what_cannot_be_is_refused(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        ipi(**wrong)
