"""Blocks: what counts, and what is set aside."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmexit_sim.probe import blocks
from vmexit_sim.probe.blocks import ATTEMPTS, FEW, Blocks, undisturbed
from vmexit_sim.probe.kvm import EXIT_IO, EXIT_MMIO
from vmexit_sim.probe.loop import COUNTS
from vmexit_sim.probe.probes import Measured, failed, of_blocks


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "PAUSE_S", 0.0)


def told(taken: list[int]) -> Iterator[tuple[int, int]]:
    yield from enumerate(taken)


def test_quiet_blocks_all_count() -> None:
    calls = told([0] * 5)
    assert undisturbed(lambda: next(calls), 5) == ([0, 1, 2, 3, 4], 0, 0)


def test_a_disturbed_block_is_repeated() -> None:
    calls = told([0, 3, 0, 1, 0])
    assert undisturbed(lambda: next(calls), 3) == ([0, 2, 4], 2, 0)


def test_the_least_disturbed_fill_up_where_there_are_too_few() -> None:
    taken = [5] * (ATTEMPTS * FEW)
    taken[7] = taken[9] = 1
    taken[11] = 0
    calls = told(taken)
    kept, aside, disturbed = undisturbed(lambda: next(calls), FEW)
    assert kept[:3] == [11, 7, 9]
    assert (len(kept), aside, disturbed) == (FEW, ATTEMPTS * FEW - FEW, FEW - 1)


@given(st.lists(st.integers(0, 2), min_size=200, max_size=200), st.integers(1, 40))
def test_no_attempt_is_lost_and_there_are_only_so_many(taken: list[int], wanted: int) -> None:
    calls = told(taken)
    kept, aside, disturbed = undisturbed(lambda: next(calls), wanted)
    attempts = 200 - len(list(calls))
    assert attempts == len(kept) + aside
    assert attempts <= ATTEMPTS * wanted
    assert len(kept) <= wanted
    assert len(kept) >= min(FEW, wanted)
    assert sum(taken[each] > 0 for each in kept) == disturbed
    assert disturbed == 0 or len(kept) == min(FEW, wanted)


def part(times: tuple[float, ...], exits: float) -> Measured:
    return Measured(name="x", verdict="measured", whole=times, control=(0.0,) * len(times),
                    exits={"IO": exits}, items=exits, iterations=10, set_aside=1)  # fmt: skip


def test_two_rounds_are_joined_with_their_weights() -> None:
    both = part((1.0, 2.0, 3.0), 1.0).joined(part((4.0,), 3.0))
    assert both.over == (1.0, 2.0, 3.0, 4.0)
    assert both.exits == {"IO": 1.5}
    assert both.items == 1.5
    assert both.set_aside == 2


def test_a_round_that_failed_takes_nothing_from_one_that_did_not() -> None:
    good, bad = part((1.0,), 1.0), failed("x", "hung", "no answer")
    assert good.joined(bad).over == (1.0,)
    assert good.joined(bad).verdict == "measured"


def counted(**exits: int) -> Blocks:
    """Two blocks of 50 iterations with these exits, and the port write that ends each."""
    counts = np.zeros(COUNTS, np.int64)
    counts[EXIT_IO] = exits.get("io", 0) + 2
    counts[EXIT_MMIO] = exits.get("mmio", 0)
    return Blocks(whole=np.array([5.0, 6.0]), control=np.array([1.0, 1.0]), iterations=50,
                  counts=counts)  # fmt: skip


def test_the_port_writes_that_end_a_run_are_no_exits_of_the_probe() -> None:
    assert of_blocks("x", counted(io=100), 1).exits == {"IO": 1.0}
    assert of_blocks("x", counted(), 0).exits == {}
    assert of_blocks("x", counted(), 0).over == (4.0, 5.0)


@pytest.mark.parametrize(
    ("mmio", "verdict"), [(100, "measured"), (98, "emulated"), (0, "emulated")]
)
def test_other_exits_than_expected_are_reported(mmio: int, verdict: str) -> None:
    found = of_blocks("x", counted(mmio=mmio), 1)
    assert found.verdict == verdict
    assert bool(found.why) == (verdict == "emulated")
