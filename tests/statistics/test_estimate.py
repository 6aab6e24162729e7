"""An estimate of a mean is Student's, and says in one line what it rests on."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from vmexit_sim.errors import InputError
from vmexit_sim.statistics import Estimate, exact, mean, median, paired_difference
from vmexit_sim.units import MICROSECOND, MILLISECOND

NUMBERS = st.floats(-1e6, 1e6)
SAMPLES = st.lists(NUMBERS, min_size=2, max_size=30)
GRID = st.lists(st.integers(-1000, 1000), min_size=2, max_size=30)


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


@given(GRID, st.integers(-1000, 1000), st.integers(1, 50), st.randoms())
def test_a_means_interval_moves_with_its_values_and_not_with_their_order(
    values: list[int], shift: int, scale: int, random: object
) -> None:
    plain = mean(values)
    moved = [scale * value + shift for value in values]
    random.shuffle(moved)  # type: ignore[attr-defined]
    other = mean(moved)
    for own, expected in ((other.value, plain.value), (other.low, plain.low),
                          (other.high, plain.high)):  # fmt: skip
        assert own == pytest.approx(scale * expected + shift, rel=1e-9, abs=1e-6)


@given(SAMPLES)
def test_the_opposite_quantity_has_the_mirrored_interval(values: list[float]) -> None:
    plain, opposite = mean(values), mean([-value for value in values])
    other = -plain
    for own, expected in ((other.value, opposite.value), (other.low, opposite.low),
                          (other.high, opposite.high)):  # fmt: skip
        assert own == pytest.approx(expected, rel=1e-9, abs=1e-6)
    assert -other == plain


@given(SAMPLES)
def test_more_confidence_takes_a_wider_interval(values: list[float]) -> None:
    narrow, wide = mean(values, confidence=0.9), mean(values, confidence=0.99)
    assert wide.low <= narrow.low <= narrow.value <= narrow.high <= wide.high


def test_one_replication_has_no_bounded_interval() -> None:
    for estimate in (mean([5.0]), median([5.0]), paired_difference([1.0], [6.0])):
        assert (estimate.value, estimate.n, estimate.method) == (5.0, 1, "one replication")
        assert (estimate.low, estimate.high) == (-math.inf, math.inf)


def test_replications_that_agree_give_an_interval_of_no_width() -> None:
    assert mean([7.0] * 5).half_width == 0.0
    assert mean([0.1 + 0.2, 0.3, 0.3]).half_width == 0.0


def test_what_is_exact_says_so() -> None:
    estimate = exact(5, "1")
    assert estimate.is_exact
    assert estimate.holds(5)
    assert estimate.half_width == 0
    assert not mean([5.0, 5.0]).is_exact


def test_nothing_to_estimate_from_is_an_input_error() -> None:
    for call in (lambda: mean([]), lambda: median([])):
        with pytest.raises(InputError):
            call()


def test_json_has_no_number_that_json_has_not() -> None:
    unbounded = Estimate(math.nan, -math.inf, math.inf, 1, "one replication")
    assert unbounded.as_json() == {
        "value": None, "low": None, "high": None, "n": 1, "confidence": 0.95,
        "method": "one replication", "unit": "ps",
    }  # fmt: skip


def test_json_has_every_number_that_there_is() -> None:
    assert mean([1, 2, 3, 4, 5], confidence=0.9).as_json() == {
        "value": 3.0, "low": pytest.approx(1.4926, abs=1e-4),
        "high": pytest.approx(4.5074, abs=1e-4), "n": 5,
        "confidence": 0.9, "method": "t", "unit": "ps",
    }  # fmt: skip
    assert (exact(5.0).unit, exact(5.0, "1").unit) == ("ps", "1")


@pytest.mark.parametrize(
    ("estimate", "text"),
    [
        (exact(35.39 * MILLISECOND), "35.39 ms (exact)"),
        (exact(19852, "1"), "19,852 (exact)"),
        (mean([19852, 19852], unit="1"), "19,852 ± 0 (95 %, 2 reps)"),
        (exact(3.5, "accesses/s"), "3.5 accesses/s (exact)"),
        (exact(0.25, "1"), "0.25 (exact)"),
        (exact(1.0 * MICROSECOND), "1 µs (exact)"),
        (Estimate(13.6 * MICROSECOND, 13.36e6, 13.84e6, 30, "t"),
         "13.60 ± 0.24 µs (95 %, 30 reps)"),
        (Estimate(1.5, 1.25, 1.75, 8, "paired t", 0.99, "1"), "1.50 ± 0.25 (99 %, 8 reps)"),
        (Estimate(2e6, 2e6, 2e6, 5, "t"), "2 µs ± 0 (95 %, 5 reps)"),
        (Estimate(2e6, 1.9e6, 2.1e6, 30, "batch means"), "2.00 ± 0.10 µs (95 %, 30 batches)"),
        # A difference near 0 is told in the unit of its error.
        (Estimate(300.0, -1.9997e6, 2.0003e6, 10, "paired t"), "0.0 ± 2.0 µs (95 %, 10 reps)"),
        (mean([14e6]), "14 µs ± ? (1 rep)"),
        (median([1.0, 2.0, 3.0], unit="1"), "2 ± ? (3 reps)"),
        (Estimate(math.nan, -math.inf, math.inf, 3, "paired t", unit="1"), "-"),
    ],
)  # fmt: skip
def test_an_estimate_reads_as_a_number_its_error_and_its_basis(
    estimate: Estimate, text: str
) -> None:
    assert str(estimate) == text
