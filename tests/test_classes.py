"""Classes of access: those that are worked out beforehand are all that a run meets."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmexit_sim import classes, lowering
from vmexit_sim.device import load_devices
from vmexit_sim.engine import run
from vmexit_sim.guest.table import AccessTable, Kind, Space, make_table
from vmexit_sim.guest.workload import BLOCK_ROWS, MADE_AT_A_TIME, Recorded, rows_made
from vmexit_sim.hypervisor.platform import load_platform
from vmexit_sim.lowering import lower
from vmexit_sim.policy import load_policy
from vmexit_sim.streams import Streams

BY_ENDS = ("batched-recorded", "batched-full", "size-bar-hypercall")


@st.composite
def tables(draw: st.DrawFn) -> AccessTable:
    """One vCPU's accesses, of operations that come and go as they like."""
    operation: list[int] = []
    for _ in range(draw(st.integers(1, 60))):
        begun = max(operation, default=-1) + 1
        operation.append(draw(st.integers(max(-1, begun - 8), begun)))
    n = len(operation)
    write = draw(st.lists(st.booleans(), min_size=n, max_size=n))
    kind = Kind.BAR_SIZING
    return make_table(n, space=Space.PCI_CONFIG, write=write, operation=operation, kind=kind)


@pytest.mark.parametrize("name", BY_ENDS)
@given(table=tables(), made=st.sampled_from([1, 2, 4]), times=st.sampled_from([1, 2, 4, 16]))
def test_however_long_a_run_s_blocks_are_its_classes_are_known(
    name: str, table: AccessTable, made: int, times: int
) -> None:
    guest, devices = Recorded(table), load_devices()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(classes, "rows_made", lambda _: made)
        patched.setattr(lowering, "REMEMBERED", 3)
        lowered = lower(load_policy(name), load_platform("ideal"), devices, guest)
        blocks = list(lowered.feed(guest, Streams(1), 0, made * times))
    assert sum(len(block["class"]) for block in blocks) == len(table)


def test_an_operation_that_pauses_for_a_whole_block_begins_anew() -> None:
    n = 2 * BLOCK_ROWS + 4
    operation = np.full(n, -1)
    operation[[0, 1, -2, -1]] = 0
    write = np.ones(n, np.bool_)
    write[[1, -2]] = False
    guest = Recorded(make_table(n, space=Space.MMIO, operation=operation, write=write))
    lowered = lower(load_policy("batched-full"), load_platform("ideal"), load_devices(), guest)
    result = run(lowered, guest, Streams(1))
    assert result.summary.accesses == n


@pytest.mark.parametrize("name", BY_ENDS)
def test_vcpus_may_call_their_operations_alike(name: str) -> None:
    guest = Recorded(make_table(5, space=Space.PCI_CONFIG, vcpu=[0, 0, 1, 1, 1], write=True,
                                operation=[0, 1, 0, 0, 1], kind=Kind.BAR_SIZING))  # fmt: skip
    lowered = lower(load_policy(name), load_platform("ideal"), load_devices(), guest)
    assert run(lowered, guest, Streams(1)).summary.accesses == 5


@given(st.lists(st.integers(-(2**62), 2**62) | st.integers(0, 9)))
def test_of_keys_each_stays_once_in_order(keys: list[int]) -> None:
    assert classes.distinct(np.array(keys, np.int64)).tolist() == sorted(set(keys))


def test_so_many_rows_are_made_that_all_vcpus_together_have_not_too_many() -> None:
    assert rows_made(1) == rows_made(256) == BLOCK_ROWS
    assert [rows_made(vcpus) for vcpus in (257, 512, 65_536)] == [8_192, 8_192, 64]
    assert all(rows_made(vcpus) * vcpus <= MADE_AT_A_TIME for vcpus in range(1, 70_000, 97))
