"""Batch means hold the mean of a correlated run, or say that they are correlated."""

from __future__ import annotations

import math

import numpy as np
import pytest

from vmexit_sim.errors import InputError
from vmexit_sim.statistics import batch_means, mean
from vmexit_sim.statistics.batch_means import in_batches, lag_1_correlation


def autoregressive(rng: np.random.Generator, n: int, phi: float) -> np.ndarray:
    """A stationary AR(1) process of mean 0 and variance 1."""
    from scipy.signal import lfilter

    noise = rng.normal(size=n) * math.sqrt(1 - phi * phi)
    noise[0] = rng.normal()
    return np.asarray(lfilter([1.0], [1.0, -phi], noise))


def test_batches_of_one_known_run() -> None:
    # Two batches of 8 values, without correlation, behind a 99 that does not divide.
    first, second = [1.0, 3, 3, 1, 1, 3, 3, 1], [2.0, 4, 4, 2, 2, 4, 4, 2]
    estimate = batch_means([99.0, *first, *second], batches=2)
    plain = mean([2.0, 3.0])
    assert (estimate.value, estimate.low, estimate.high) == (plain.value, plain.low, plain.high)
    assert (estimate.n, estimate.method) == (2, "batch means")


def test_what_does_not_divide_is_left_out_at_the_beginning() -> None:
    assert in_batches(np.arange(8.0), 3).tolist() == [[2, 3], [4, 5], [6, 7]]


def test_the_correlation_is_von_neumanns() -> None:
    # 1, 2, …, 10: nine squared differences of 1; squared deviations sum to 82.5.
    assert lag_1_correlation(np.arange(1.0, 11.0)) == pytest.approx(1 - 9 / 165)
    assert lag_1_correlation(np.array([1.0, -1.0] * 10)) == pytest.approx(1 - 19 * 4 / 40)
    assert lag_1_correlation(np.full(10, 0.3)) == 0


def test_a_correlation_of_one_half_is_found() -> None:
    series = autoregressive(np.random.default_rng(1), 40_000, 0.5)
    assert lag_1_correlation(series) == pytest.approx(0.5, abs=0.02)


def test_batches_shorter_than_the_correlation_have_no_interval() -> None:
    rng = np.random.default_rng(2)
    for _ in range(50):
        estimate = batch_means(autoregressive(rng, 3000, 0.99))
        assert estimate.method == "batch means, correlated"
        assert estimate.half_width == math.inf


def test_batches_far_longer_than_the_correlation_have_one() -> None:
    rng = np.random.default_rng(3)
    found = [batch_means(autoregressive(rng, 6000, 0.8)) for _ in range(300)]
    assert {estimate.method for estimate in found} == {"batch means"}
    assert 0.90 < np.mean([estimate.holds(0.0) for estimate in found]) < 0.99


@pytest.mark.parametrize("n", [1, 5, 159])
def test_a_run_of_less_than_a_value_for_each_part_has_no_interval(n: int) -> None:
    estimate = batch_means(np.arange(float(n)))
    assert estimate.method == "batch means, too short"
    assert estimate.half_width == math.inf
    assert estimate.value == (n - 1) / 2
    assert (estimate.confidence, estimate.unit) == (0.95, "ps")


def test_a_constant_run_has_an_interval_of_no_width() -> None:
    estimate = batch_means([0.3] * 300)
    assert (estimate.value, estimate.half_width) == (pytest.approx(0.3), 0.0)


def test_nothing_to_batch_is_an_input_error() -> None:
    with pytest.raises(InputError):
        batch_means([])
    with pytest.raises(InputError, match="too few batches"):
        batch_means([1.0] * 100, batches=1)


def test_unit_and_origin_move_the_interval() -> None:
    series = autoregressive(np.random.default_rng(4), 6000, 0.5)
    plain, moved = batch_means(series), batch_means(3 * series + 7)
    assert moved.low == pytest.approx(3 * plain.low + 7)
    assert moved.high == pytest.approx(3 * plain.high + 7)
