"""The compiled loop's own parts, without any guest."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vmexit_sim.probe.composites import measure_handler
from vmexit_sim.probe.loop import (
    DESCRIPTORS,
    PREEMPTED,
    Run,
    drain,
    handle,
    new_device,
    walk,
    walk_many,
)

RING = 8192
ENTRIES = (4096 - 8) // 24


def test_an_item_adds_its_value_and_counts_once() -> None:
    device = new_device()
    handle(device, 7, 0)
    handle(device, 5, 0)
    assert device[:2].tolist() == [12, 2]


def test_work_changes_the_device_as_xorshift_has_it() -> None:
    device = new_device()
    mixed = int(device[2])
    handle(device, 0, 2)
    for _ in range(2):
        mixed ^= mixed << 13 & 2**64 - 1
        mixed ^= mixed >> 7
        mixed ^= mixed << 17 & 2**64 - 1
    assert int(device[2]) == mixed


def test_a_doorbell_handles_each_descriptor_once() -> None:
    memory = np.zeros(0x10000, np.uint8).view(np.uint32)
    memory[DESCRIPTORS // 4 : DESCRIPTORS // 4 + 100] = np.arange(1, 101)
    device = new_device()
    walk(memory, DESCRIPTORS // 4, 64, device, 0)
    assert device[:2].tolist() == [64 * 65 // 2, 64]


@settings(max_examples=50)
@given(first=st.integers(0, ENTRIES - 1), held=st.integers(0, ENTRIES - 1))
def test_the_ring_is_drained_in_order_across_its_end(first: int, held: int) -> None:
    run = np.zeros(3 * 4096, np.uint8)
    words = run.view(np.uint32)
    words[RING // 4], words[RING // 4 + 1] = first, (first + held) % ENTRIES
    for place in range(held):
        run[RING + 8 + 24 * ((first + place) % ENTRIES) + 16] = place + 1
    device = new_device()
    assert drain(run, words, RING, device, 0) == held
    assert int(device[1]) == held
    assert int(device[0]) == held * (held + 1) // 2
    assert words[RING // 4] == words[RING // 4 + 1]
    assert drain(run, words, RING, device, 0) == 0


def test_time_runs_forward_and_grows_with_the_work() -> None:
    memory = np.zeros(0x10000, np.uint8).view(np.uint32)

    def took(times: int) -> int:
        run = Run(device=new_device())
        at = np.uint64(run.stamps.ctypes.data)
        walk_many(memory, 64, times, run.device, 100, run.stamps, at)
        assert run.preempted >= 0
        assert run.stamps[PREEMPTED] == run.preempted
        assert int(run.device[1]) == 64 * times
        return run.end - run.begin

    assert 0 < min(took(1) for _ in range(5)) < min(took(50) for _ in range(5))


def test_work_under_the_lock_takes_in_proportion_to_its_rounds() -> None:
    short, long = (np.median(measure_handler("work", hold, blocks=5).over) for hold in (500, 5000))
    assert long / short == pytest.approx(10, rel=0.5)
