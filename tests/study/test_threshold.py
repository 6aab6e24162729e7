"""Thresholds: the root of a difference, looked for on both sides of the base."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmexit_sim.statistics import Estimate, exact
from vmexit_sim.study.plausible import Plausible
from vmexit_sim.study.sweep.factor import Quantity, Range
from vmexit_sim.study.threshold import threshold


def varied(base: float, low: float, high: float, *, mark: str = "A") -> Plausible:
    ends = Quantity(low, "ps"), Quantity(high, "ps")
    return Plausible(place="costs.to_user", base=Quantity(base, "ps"), mark=mark,
                     range=Range(*ends, None, "log" if low else "linear", True))  # fmt: skip


def sampled(of: Callable[[float], float], half: float) -> Callable[[float], Estimate]:
    return lambda x: Estimate(of(x), of(x) - half, of(x) + half, 10, "paired t")


@given(root=st.floats(1, 1e9), base=st.floats(1e3, 1e6), slope=st.sampled_from([-3.0, 0.5]))
def test_a_straight_lines_root_is_found_wherever_it_is_searched(
    root: float, base: float, slope: float
) -> None:
    if abs(root / base - 1) < 1e-6:
        return
    found = threshold(varied(base, base / 10, base * 10), lambda x: exact(slope * (x - root)))
    low, high = found.searched
    assert (low, high) == (pytest.approx(base / 100), pytest.approx(base * 100))
    side, other = (found.above, found.below) if root > base else (found.below, found.above)
    assert other is None
    if low * (1 + 1e-6) < root < high * (1 - 1e-6):
        assert side is not None
        assert side.value == pytest.approx(root, abs=1)
        assert side.is_exact
        assert found.is_plausible(side) == (base / 10 <= side.value <= base * 10)
    elif not low * (1 - 1e-6) < root < high * (1 + 1e-6):
        assert side is None


def test_a_difference_may_turn_on_both_sides() -> None:
    found = threshold(varied(1000, 100, 10_000), lambda x: exact((x - 300) * (x - 4000)))
    assert [at.value for at in found.found] == [
        pytest.approx(300, abs=1), pytest.approx(4000, abs=1),
    ]  # fmt: skip


def test_the_interval_holds_all_values_that_cannot_be_told_from_the_threshold() -> None:
    found = threshold(varied(1000, 100, 10_000), sampled(lambda x: x - 3000, 500))
    assert found.above is not None
    assert (found.above.low, found.above.high) == (pytest.approx(2500), pytest.approx(3500))
    assert found.above.unit == "ps"
    down = threshold(varied(5000, 100, 10_000), sampled(lambda x: x - 3000, 500))
    assert down.below is not None
    assert (down.below.low, down.below.high) == (pytest.approx(2500), pytest.approx(3500))


def test_an_end_of_the_interval_that_was_not_reached_is_unbounded() -> None:
    found = threshold(varied(1000, 100, 10_000), sampled(lambda x: min(x, 3200.0) - 3000, 500))
    assert found.above is not None
    assert found.above.low == pytest.approx(2500)
    assert found.above.high == math.inf


def test_a_cost_of_0_is_searched_upwards_only() -> None:
    found = threshold(varied(0, 0, 1000), lambda x: exact(x - 2000))
    assert found.searched == (0, 10_000)
    assert (found.below, found.above) == (None, exact(pytest.approx(2000)))


def test_what_is_no_cost_is_not_searched_beyond_its_range() -> None:
    found = threshold(varied(500, 100, 1000, mark=""), lambda x: exact(x - 2000))
    assert found.searched == (100, 1000)
    assert found.found == []
