"""Pairs are told apart by their differences, and the verdict says what is missing."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from vmexit_sim.errors import InputError
from vmexit_sim.statistics import compare_pair, mean, paired_difference, paired_ratio

NUMBERS = st.integers(-1_000_000, 1_000_000)
PAIRS = st.lists(st.tuples(NUMBERS, NUMBERS), min_size=2, max_size=20)


@given(PAIRS)
def test_a_paired_difference_is_the_mean_of_differences(pairs: list[tuple[int, int]]) -> None:
    first, second = zip(*pairs, strict=True)
    estimate = paired_difference(first, second)
    assert estimate.method == "paired t"
    plain = mean([b - a for a, b in pairs])
    assert (estimate.value, estimate.low, estimate.high) == (plain.value, plain.low, plain.high)


@given(PAIRS)
def test_turning_a_pair_round_turns_its_difference_round(pairs: list[tuple[int, int]]) -> None:
    first, second = zip(*pairs, strict=True)
    one, other = compare_pair(first, second), compare_pair(second, first)
    assert (one.difference.low, one.difference.high) == (
        pytest.approx(-other.difference.high), pytest.approx(-other.difference.low)
    )  # fmt: skip
    assert one.reduction == pytest.approx(other.reduction, nan_ok=True)
    assert one.is_told == other.is_told


def test_pairing_takes_out_what_both_have_in_common() -> None:
    rng = np.random.default_rng(3)
    common = rng.normal(100, 30, 20)
    first, second = common + rng.normal(0, 1, 20), common + 5 + rng.normal(0, 1, 20)
    paired = compare_pair(first.tolist(), second.tolist(), names=("trap", "call"))
    assert (paired.first, paired.second) == ("trap", "call")
    assert paired.difference.holds(5)
    assert paired.is_told
    assert paired.reduction > 100


def test_the_reduction_by_hand() -> None:
    # Variances 1, 1 and (of 0, 1, 1 less their mean) 1/3: (1 + 1) / (1/3) = 6 … with 2 behind.
    assert compare_pair([1.0, 2.0, 3.0], [1.0, 3.0, 4.0]).reduction == pytest.approx(
        (1 + 7 / 3) / (1 / 3)
    )
    # Opposite draws: the difference varies twice as much as independent ones would.
    assert compare_pair([1.0, 2.0, 3.0], [3.0, 2.0, 1.0]).reduction == pytest.approx(0.5)


def test_a_difference_that_never_varies_is_exact() -> None:
    paired = compare_pair([1.0, 2.0, 5.0], [3.0, 4.0, 7.0])
    assert paired.difference.is_exact
    assert (paired.difference.value, paired.difference.n) == (2.0, 3)
    assert paired.reduction == math.inf
    assert paired.is_told
    assert paired.more_replications is None


def test_a_difference_that_varies_by_rounding_alone_is_exact() -> None:
    first = [0.1 * i for i in range(1, 10)]
    paired = compare_pair(first, [value + 0.2 for value in first])
    assert paired.difference.is_exact
    assert paired.reduction == math.inf


def test_where_nothing_varies_there_is_nothing_to_reduce() -> None:
    same = compare_pair([4.0, 4.0], [4.0, 4.0])
    assert (same.difference.value, same.is_told, same.more_replications) == (0.0, False, None)
    assert same.difference.is_exact
    assert math.isnan(same.reduction)


def test_one_replication_tells_nothing() -> None:
    paired = compare_pair([1.0], [6.0])
    assert paired.difference.method == "one replication"
    assert not paired.is_told
    assert paired.more_replications is None
    assert math.isnan(paired.reduction)


@given(
    st.lists(st.integers(-50, 50), min_size=3, max_size=15).filter(lambda d: len(set(d)) > 1)
)  # fmt: skip
def test_so_many_more_replications_are_the_fewest_that_tell(differences: list[int]) -> None:
    paired = compare_pair([0.0] * len(differences), [float(d) for d in differences])
    more, n = paired.more_replications, len(differences)
    spread, size = np.std(differences, ddof=1), abs(np.mean(differences))
    if paired.is_told or not size:
        assert more is None
        return
    assert more is not None
    half = [stats.t.ppf(0.975, k - 1) * spread / math.sqrt(k) for k in (n + more, n + more - 1)]
    assert half[0] < size * (1 + 1e-9)
    assert half[1] >= size * (1 - 1e-9)


def test_a_tiny_difference_takes_very_many_more() -> None:
    paired = compare_pair([0.0] * 4, [-1.0, 1.0, -1.0, 1.00004])
    assert paired.more_replications == pytest.approx(
        (1.96 * math.sqrt(4 / 3) / 1e-5) ** 2, rel=1e-3
    )


def test_a_difference_far_below_its_spread_has_no_forecast() -> None:
    assert compare_pair([0.0] * 3, [-1.0, 1.0, 1e-310]).more_replications is None


def test_a_ratio_is_that_of_the_means() -> None:
    assert paired_ratio([1.0, 3.0], [4.0, 4.0]).value == 2.0
    assert paired_ratio([1.0, 3.0], [1.0, 3.0]).value == 1.0
    assert math.isnan(paired_ratio([0.0, 0.0], [1.0, 2.0]).value)
    assert paired_ratio([2.0], [3.0]).method == "one replication"
    assert paired_ratio([2.0, 4.0], [6.0, 12.0]).half_width == pytest.approx(0.0, abs=1e-12)


@given(st.lists(st.tuples(st.integers(1, 999), st.integers(1, 999)), min_size=2, max_size=20),
       st.integers(1, 1000))  # fmt: skip
def test_a_ratio_has_no_unit(pairs: list[tuple[int, int]], scale: int) -> None:
    first, second = zip(*pairs, strict=True)
    plain = paired_ratio(first, second)
    other = paired_ratio([scale * a for a in first], [scale * b for b in second])
    assert (other.low, other.high) == (pytest.approx(plain.low), pytest.approx(plain.high))


def test_a_pair_says_with_which_confidence_and_in_which_unit() -> None:
    first, second = [1.0, 2.0, 4.0], [2.0, 5.0, 4.0]
    compared = compare_pair(first, second, confidence=0.8, unit="")
    assert compared.difference == paired_difference(first, second, confidence=0.8, unit="")
    assert (compared.difference.confidence, compared.difference.unit) == (0.8, "")
    assert (compared.first, compared.second) == ("", "")
    assert compare_pair(first, second).difference.unit == "ps"
    for own, other in (([1.0], [2.0]), (first, second), ([0.0, 0.0], first[:2])):
        ratio = paired_ratio(own, other, confidence=0.8)
        assert (ratio.n, ratio.confidence, ratio.unit) == (len(own), 0.8, "1")


@pytest.mark.parametrize("call", [paired_difference, paired_ratio, compare_pair])
def test_what_cannot_be_paired_is_an_input_error(call: object) -> None:
    for first, second in (([1.0], [1.0, 2.0]), ([1.0], []), ([], [])):
        with pytest.raises(InputError):
            call(first, second)  # type: ignore[operator]
