"""Quantiles lie between order statistics, and short runs get no interval."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from vmexit_sim.errors import InputError
from vmexit_sim.statistics import batch_quantile, median
from vmexit_sim.statistics.quantiles import independent_events, median_depth

VALUES = st.lists(st.integers(-1000, 1000), min_size=6, max_size=40)


def covered(n: int, d: int) -> float:
    """How often the d-th values from both sides hold the median: the sign test's binomial."""
    return float(1 - 2 * stats.binom.cdf(d - 1, n, 0.5))


def test_six_are_the_fewest_whose_extremes_cover_95_percent() -> None:
    assert covered(5, 1) == pytest.approx(1 - 2 / 32)
    assert covered(6, 1) == pytest.approx(1 - 2 / 64)
    assert median_depth(5, 0.95) is None
    assert median_depth(6, 0.95) is not None
    assert median_depth(5, 0.9) is not None


@pytest.mark.parametrize("n", [2, 5])
def test_too_few_for_a_median_are_unbounded(n: int) -> None:
    estimate = median(list(range(n)), confidence=0.99, unit="1")
    assert (estimate.low, estimate.high) == (-math.inf, math.inf)
    assert (estimate.n, estimate.method) == (n, "order statistics")
    assert (estimate.confidence, estimate.unit) == (0.99, "1")


def test_a_medians_ends_by_hand() -> None:
    # n = 6: the extremes cover 62/64, the second values 50/64. 95 % lie a part 0.1 = (62 - 60.8)/12
    # of the way, so by the weight (6 - 1) 0.1 / (1 + 4 · 0.1) = 0.357 further in.
    estimate = median([10.0, 20.0, 30.0, 40.0, 50.0, 60.0])
    assert estimate.value == 35
    assert estimate.low == pytest.approx(10 + 10 * 0.5 / 1.4)
    assert estimate.high == pytest.approx(60 - 10 * 0.5 / 1.4)


@pytest.mark.parametrize("n", [6, 7, 8, 9, 20, 50])
def test_the_ends_lie_between_order_statistics_that_cover_more_and_less(n: int) -> None:
    depth = median_depth(n, 0.95)
    assert depth is not None
    d, weight = depth
    assert covered(n, d) >= 0.95 > covered(n, d + 1)
    assert 0 <= weight <= 1


@given(VALUES, st.integers(-1000, 1000), st.integers(1, 50), st.randoms())
def test_a_medians_interval_moves_with_its_values_and_not_with_their_order(
    values: list[int], shift: int, scale: int, random: object
) -> None:
    plain = median(values)
    moved = [scale * value + shift for value in values]
    random.shuffle(moved)  # type: ignore[attr-defined]
    other = median(moved)
    assert other.low == pytest.approx(scale * plain.low + shift, abs=1e-6)
    assert other.high == pytest.approx(scale * plain.high + shift, abs=1e-6)
    assert min(moved) <= other.low <= other.value <= other.high <= max(moved)


@given(VALUES)
def test_a_medians_interval_is_the_mirror_image_of_its_mirrored_values(values: list[int]) -> None:
    plain, mirrored = median(values), median([-value for value in values])
    assert (mirrored.low, mirrored.high) == pytest.approx((-plain.high, -plain.low))


@pytest.mark.parametrize("n", [6, 8, 11, 17])
@pytest.mark.parametrize("shape", ["normal", "exponential", "cauchy"])
def test_a_medians_interval_covers_about_what_it_claims(n: int, shape: str) -> None:
    law = {"normal": stats.norm(), "exponential": stats.expon(), "cauchy": stats.cauchy()}[shape]
    samples = np.sort(law.rvs((20_000, n), random_state=5), axis=1)
    depth = median_depth(n, 0.95)
    assert depth is not None
    d, weight = depth
    low = samples[:, d - 1] + weight * (samples[:, d] - samples[:, d - 1])
    high = samples[:, n - d] + weight * (samples[:, n - d - 1] - samples[:, n - d])
    share = float(np.mean((low <= law.median()) & (law.median() <= high)))
    assert 0.94 < share < 0.965  # sampling error of the share: 0.0015


def test_equal_replications_give_a_median_without_width() -> None:
    assert median([7.0] * 8).half_width == 0


def test_a_batch_quantile_of_independent_values_holds_the_quantile() -> None:
    rng = np.random.default_rng(3)
    hits = 0
    for _ in range(200):
        estimate = batch_quantile(rng.exponential(size=30_000), 0.99)
        assert (estimate.method, estimate.n) == ("batch quantiles", 8)
        hits += estimate.holds(math.log(100))
    assert 0.90 < hits / 200 < 0.99


def test_too_few_values_for_a_quantile_are_refused() -> None:
    values = np.random.default_rng(4).exponential(size=5000)
    assert math.isfinite(batch_quantile(values, 0.9).half_width)
    for q in (0.999, 0.001):
        estimate = batch_quantile(values, q)
        assert estimate.method == "batch quantiles, too short"
        assert (estimate.n, estimate.confidence, estimate.unit) == (8, 0.95, "ps")
        assert (estimate.low, estimate.high) == (-math.inf, math.inf)
        assert estimate.value == pytest.approx(np.quantile(values, q), rel=0.1)


def test_one_burst_is_one_event_however_many_values_it_has() -> None:
    # Each value a thousand times over: as many values, a thousandth of what they tell.
    values = np.random.default_rng(4).exponential(size=50)
    assert batch_quantile(np.repeat(values, 1000), 0.9).method == "batch quantiles, too short"


def test_events_are_counted_by_the_distances_between_them() -> None:
    rng = np.random.default_rng(8)
    alone = rng.random(200_000) < 0.01
    assert independent_events(alone) == pytest.approx(alone.sum(), rel=0.1)
    # Each event over again in the four values behind it: five values, one event.
    bursts = np.convolve(alone, np.ones(5))[: len(alone)] > 0
    assert independent_events(bursts) == pytest.approx(alone.sum(), rel=0.1)
    assert independent_events(np.ones(50, bool)) == 50
    assert independent_events(np.zeros(50, bool)) == 0
    assert independent_events(np.arange(50) == 7) == 1


def test_a_lower_quantile_is_the_mirror_image_of_an_upper_one() -> None:
    values = np.random.default_rng(6).normal(size=20_000)
    upper, lower = batch_quantile(values, 0.95), batch_quantile(-values, 0.05)
    assert (lower.low, lower.high) == pytest.approx((-upper.high, -upper.low))


@pytest.mark.parametrize("q", [0.0, 1.0, -0.5, 99.0])
def test_what_is_no_quantile_is_an_input_error(q: float) -> None:
    with pytest.raises(InputError, match=r"q: .*is not a quantile; give 0\.99"):
        batch_quantile([1.0, 2.0], q)
