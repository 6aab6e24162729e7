"""A producer and a consumer of constant speed: against their clocks, item by item."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmexit_sim import analytic

ITEMS = 400


def test_a_producer_kicks_a_consumer_that_keeps_up_and_only_that() -> None:
    def pair(consume: float, wake_up: float = 0) -> analytic.Notified:
        return analytic.producer_consumer(2, consume, kick=1, signalled=0.5, wake_up=wake_up)

    assert pair(1) == (1 / 3, 1)
    assert pair(2.5) == (1 / 3, 1)  # slower than the guest alone, but not than guest and kick
    assert pair(2.6) == (1 / 2.6, None)
    assert pair(1.5, wake_up=2) == (3 / 7, 3)
    assert pair(2, wake_up=2) == (1 / 2, None)


def kicks(produce: int, consume: int, kick: int, late: int) -> list[tuple[int, int]]:
    """Which items kick, and when they are there, if item 0 does at 0."""
    now, through, found = 0, 0, []
    for item in range(ITEMS):
        asleep = through <= now
        if asleep:
            found.append((item, now))
            through = now + late
        through += consume
        now += produce + (kick if asleep else 0)
    return found


@given(
    produce=st.integers(1, 12),
    consume=st.integers(0, 12),
    kick=st.integers(0, 8),
    signalled=st.floats(0, 1),
    wake_up=st.integers(0, 20),
)
def test_clocks_tell_the_same(
    produce: int, consume: int, kick: int, signalled: float, wake_up: int
) -> None:
    within = round(signalled * kick)
    found = kicks(produce, consume, kick, within + wake_up)
    exact = analytic.producer_consumer(
        produce, consume, kick=kick, signalled=within, wake_up=wake_up
    )
    if exact.items_per_kick is None:
        assert len(found) == 1
        assert exact.throughput == 1 / consume
        return
    gaps = {(after[0] - before[0], after[1] - before[1]) for before, after in pairwise(found)}
    ((items, time),) = gaps
    assert items == exact.items_per_kick
    assert exact.throughput == pytest.approx(items / time)
