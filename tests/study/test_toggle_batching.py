"""Batched BAR sizing: counts as the kernel's sequences have them, and savings in closed form."""

from __future__ import annotations

import pytest

from vmexit_sim.study.toggle_batching import break_even, counted, gain


@pytest.mark.parametrize(
    ("bars64", "old", "batched"),
    [(0, (21, 28, 14), (22, 16, 2)), (1, (20, 26, 12), (22, 16, 2)), (3, (18, 22, 8), (22, 16, 2))],
)
def test_a_function_that_decodes_makes_the_accesses_that_the_source_says(
    bars64: int, old: tuple[int, int, int], batched: tuple[int, int, int]
) -> None:
    for sequence, expected in (("old", old), ("batched", batched)):
        found = counted(sequence, bars64, decodes=True)
        assert (found.reads, found.writes, found.toggles) == expected


@pytest.mark.parametrize("bars64", [0, 1, 3])
@pytest.mark.parametrize("toggle", [0.0, 1e-6, 0.3, 1.0])
@pytest.mark.parametrize("decodes", [True, False])
def test_what_is_saved_is_the_closed_form(bars64: int, toggle: float, decodes: bool) -> None:
    simulated, exact = gain(bars64, toggle, decodes=decodes)
    assert simulated == pytest.approx(exact, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize(("bars64", "toggles"), [(0, 14), (1, 12), (3, 8)])
def test_where_a_toggle_is_dear_nearly_the_toggles_spared_are_saved(
    bars64: int, toggles: int
) -> None:
    assert gain(bars64, 1.0, decodes=True)[0] == pytest.approx(toggles - 2, rel=1e-4)


def test_a_function_that_does_not_decode_only_loses_the_reads() -> None:
    assert [gain(bars, 1.0, decodes=False)[0] < 0 for bars in (0, 1, 3)] == [True] * 3
    assert gain(3, 0.0, decodes=False) == gain(3, 1.0, decodes=False)


def test_the_break_even_is_where_neither_wins() -> None:
    simulated, exact = break_even(3, 0.5)
    assert simulated == pytest.approx(exact, rel=1e-6)
    saved = gain(3, exact, decodes=True)[1] + gain(3, exact, decodes=False)[1]
    assert saved == pytest.approx(0, abs=1e-12)
    assert break_even(3, 1.0)[1] < 0 < break_even(3, 0.25)[1]
