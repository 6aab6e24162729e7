"""Sketches: small values exact, large ones within the bound, parts adding up to the whole."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmexit_sim.measure.sketch import BUCKETS, RELATIVE_ERROR, STEPS, Sketch, bucket_of, middle_of

LARGE = 2**62
VALUES = st.integers(0, 4000) | st.integers(0, LARGE)
SAMPLES = st.lists(st.integers(0, 4000) | st.integers(0, 2**55), min_size=1, max_size=60)
SHARES = st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0])


def sketch_of(values: list[int]) -> Sketch:
    sketch = Sketch()
    sketch.add(np.array(values, np.int64))
    return sketch


def bucket(value: int) -> int:
    return int(bucket_of(np.array([value], np.int64))[0])


@given(VALUES)
def test_a_value_stands_within_the_bound_of_its_buckets_middle(value: int) -> None:
    assert 0 <= bucket(value) < BUCKETS
    assert abs(middle_of(bucket(value)) - value) <= RELATIVE_ERROR * value


@given(st.integers(0, 62), st.integers(-2, 2))
def test_powers_of_two_and_their_neighbours(exponent: int, offset: int) -> None:
    value = max(2**exponent + offset, 0)
    assert abs(middle_of(bucket(value)) - value) <= RELATIVE_ERROR * value


@given(VALUES, VALUES)
def test_buckets_keep_the_order(one: int, other: int) -> None:
    if one <= other:
        assert bucket(one) <= bucket(other)


@given(st.integers(0, 2 * STEPS - 1))
def test_small_values_are_exact(value: int) -> None:
    assert middle_of(bucket(value)) == value
    assert sketch_of([value] * 3).quantile(0.5) == value


def test_the_last_bucket_is_the_largest_values() -> None:
    assert bucket(2**63 - 1) == BUCKETS - 1


def test_the_bound_is_reached_and_no_larger() -> None:
    assert abs(middle_of(bucket(2**62)) - 2**62) == pytest.approx(RELATIVE_ERROR * 2**62)


def test_the_first_bucket_of_two_values_stands_for_their_mean() -> None:
    assert bucket(2 * STEPS) == bucket(2 * STEPS + 1) == 2 * STEPS
    assert middle_of(2 * STEPS) == 2 * STEPS + 0.5


def test_counts_are_the_integers_that_compiled_code_counts_into() -> None:
    assert Sketch().counts.dtype == Sketch().stats.dtype == np.int64


@pytest.mark.parametrize("value", [0, 1, STEPS, 2**53, 2**53 + 1, 2**62 - 1, 2**62, 2**63 - 1])
def test_extreme_values_are_counted(value: int) -> None:
    sketch = sketch_of([value])
    assert (sketch.n, sketch.total, sketch.least, sketch.greatest) == (1, value, value, value)
    assert sketch.quantile(0.99) == float(value)


@given(SAMPLES, SHARES)
def test_a_quantile_is_the_lower_empirical_one_within_the_bound(
    values: list[int], q: float
) -> None:
    rank = min(max(math.ceil(q * len(values)), 1), len(values))
    exact = sorted(values)[rank - 1]
    assert abs(sketch_of(values).quantile(q) - exact) <= RELATIVE_ERROR * exact


@given(st.lists(SAMPLES, min_size=1, max_size=5))
def test_parts_add_up_to_the_whole(parts: list[list[int]]) -> None:
    merged, added = Sketch(), Sketch()
    for part in parts:
        merged.merge(sketch_of(part))
        added.add(np.array(part, np.int64))
    whole = sketch_of([value for part in parts for value in part])
    for other in (merged, added):
        assert np.array_equal(other.counts, whole.counts)
        assert (other.n, other.total) == (whole.n, whole.total)
        assert (other.least, other.greatest) == (whole.least, whole.greatest)


@given(SAMPLES)
def test_count_sum_least_and_greatest_are_exact(values: list[int]) -> None:
    sketch = sketch_of(values)
    assert (sketch.n, sketch.total) == (len(values), sum(values))
    assert sketch.mean == sum(values) / len(values)
    assert (sketch.least, sketch.greatest) == (min(values), max(values))
    assert int(sketch.counts.sum()) == len(values)


def test_the_sum_is_exact_however_large_the_values() -> None:
    assert sketch_of([LARGE] * 4).total == 4 * LARGE


def test_of_nothing_there_is_no_quantile() -> None:
    sketch = Sketch()
    sketch.add(np.zeros(0, np.int64))
    assert math.isnan(sketch.mean)
    assert math.isnan(sketch.quantile(0.5))
    sketch.merge(Sketch())
    assert sketch.n == 0
