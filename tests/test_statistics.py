"""Estimates agree with SciPy, and their intervals cover what they claim."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from vmexit_sim.errors import InputError
from vmexit_sim.statistics import (
    Estimate,
    exact,
    mean,
    median,
    paired_difference,
    paired_ratio,
)

NUMBERS = st.floats(-1e6, 1e6)
SAMPLES = st.lists(NUMBERS, min_size=2, max_size=30)


@given(SAMPLES, st.sampled_from([0.8, 0.95, 0.99]))
def test_a_mean_has_students_interval(values: list[float], confidence: float) -> None:
    estimate = mean(values, confidence=confidence)
    assert estimate.value == pytest.approx(np.mean(values), abs=1e-6)
    assert (estimate.n, estimate.method, estimate.confidence) == (len(values), "t", confidence)
    error = stats.sem(values)
    if error > 1e-6:
        low, high = stats.t.interval(confidence, len(values) - 1, np.mean(values), error)
        assert estimate.low == pytest.approx(low, rel=1e-6, abs=1e-6)
        assert estimate.high == pytest.approx(high, rel=1e-6, abs=1e-6)


def test_a_known_interval() -> None:
    # By hand: mean 3, s = sqrt(2.5), t(4, 97.5 %) = 2.7764.
    estimate = mean([1, 2, 3, 4, 5])
    assert estimate.half_width == pytest.approx(2.776445 * math.sqrt(2.5 / 5), rel=1e-6)
    assert estimate.holds(3)
    assert not estimate.holds(5)


def test_one_replication_has_no_bounded_interval() -> None:
    for estimate in (mean([5.0]), median([5.0]), paired_difference([1.0], [6.0])):
        assert (estimate.value, estimate.n, estimate.method) == (5.0, 1, "one replication")
        assert (estimate.low, estimate.high) == (-math.inf, math.inf)


def test_replications_that_agree_give_an_interval_of_no_width() -> None:
    assert mean([7.0] * 5).half_width == 0.0
    assert paired_ratio([2.0, 4.0], [6.0, 12.0]).half_width == pytest.approx(0.0, abs=1e-12)


def test_what_is_exact_says_so() -> None:
    estimate = exact(5, "1")
    assert estimate.is_exact
    assert estimate.holds(5)
    assert estimate.half_width == 0
    assert not mean([5.0, 5.0]).is_exact


@pytest.mark.parametrize("n", [6, 9, 20, 50])
def test_a_median_lies_between_order_statistics_that_cover(n: int) -> None:
    values = np.arange(n, dtype=float)
    estimate = median(values.tolist())
    below = values.tolist().index(estimate.low)
    above = n - 1 - values.tolist().index(estimate.high)
    # It misses if the true median lies outside: two binomial tails.
    assert stats.binom.cdf(below, n, 0.5) <= 0.05
    assert stats.binom.cdf(above, n, 0.5) <= 0.05
    covered = 1 - stats.binom.cdf(below, n, 0.5) - stats.binom.cdf(above, n, 0.5)
    assert covered >= 0.9
    assert estimate.value == np.median(values)


@pytest.mark.parametrize("n", [2, 5])
def test_too_few_for_a_median_are_unbounded(n: int) -> None:
    estimate = median(list(range(n)))
    assert not math.isfinite(estimate.low)
    assert not math.isfinite(estimate.high)


def test_a_medians_interval_covers_what_it_claims() -> None:
    rng = np.random.default_rng(5)
    hits = sum(median(rng.exponential(size=15).tolist()).holds(math.log(2)) for _ in range(400))
    assert hits / 400 >= 0.93


@given(st.lists(st.tuples(NUMBERS, NUMBERS), min_size=2, max_size=20))
def test_a_paired_difference_is_the_mean_of_differences(pairs: list[tuple[float, float]]) -> None:
    first, second = zip(*pairs, strict=True)
    estimate = paired_difference(first, second)
    assert estimate.method == "paired t"
    plain = mean([b - a for a, b in pairs])
    assert (estimate.value, estimate.low, estimate.high) == (plain.value, plain.low, plain.high)


def test_pairing_takes_out_what_both_have_in_common() -> None:
    rng = np.random.default_rng(3)
    common = rng.normal(100, 30, 20)
    first, second = common + rng.normal(0, 1, 20), common + 5 + rng.normal(0, 1, 20)
    paired = paired_difference(first.tolist(), second.tolist())
    assert paired.holds(5)
    assert paired.half_width < 0.1 * mean(first.tolist()).half_width


def test_a_ratio_is_that_of_the_means() -> None:
    assert paired_ratio([1.0, 3.0], [4.0, 4.0]).value == 2.0
    assert paired_ratio([1.0, 3.0], [1.0, 3.0]).value == 1.0
    assert math.isnan(paired_ratio([0.0, 0.0], [1.0, 2.0]).value)
    assert paired_ratio([2.0], [3.0]).method == "one replication"


def test_a_ratios_interval_covers_what_it_claims() -> None:
    rng = np.random.default_rng(8)
    hits = 0
    for _ in range(400):
        first = rng.gamma(20, 1, 20)
        second = 0.5 * first + rng.gamma(4, 1, 20)  # means 20 and 14
        hits += paired_ratio(first.tolist(), second.tolist()).holds(0.7)
    assert 0.90 < hits / 400 < 0.99


def test_nothing_to_estimate_from_is_an_input_error() -> None:
    for call in (
        lambda: mean([]), lambda: median([]), lambda: paired_difference([1.0], [1.0, 2.0]),
        lambda: paired_ratio([1.0], []),
    ):  # fmt: skip
        with pytest.raises(InputError):
            call()


def test_json_has_no_number_that_json_has_not() -> None:
    unbounded = Estimate(math.nan, -math.inf, math.inf, 1, "one replication")
    assert unbounded.as_json() == {
        "value": None, "low": None, "high": None, "n": 1, "confidence": 0.95,
        "method": "one replication", "unit": "ps",
    }  # fmt: skip
