"""MSER-5 cuts what is not typical, and says when it could not tell."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmexit_sim.statistics import WarmUp, warm_up

SERIES = st.lists(st.integers(-50, 50), min_size=20, max_size=200)


def by_definition(series: list[float]) -> int:
    """The cut, straight from the definition: batches of 5, the first half."""
    means = [sum(series[i : i + 5]) / 5 for i in range(0, len(series) // 5 * 5, 5)]
    errors = [
        sum((z - sum(rest) / len(rest)) ** 2 for z in rest) / len(rest) ** 2
        for d in range(len(means) // 2 + 1)
        for rest in [means[d:]]
    ]
    return 5 * errors.index(min(errors))


def test_a_step_is_cut_where_it_ends() -> None:
    series = [0.0] * 40 + [9.0, 11.0, 10.0, 8.0, 12.0, 10.0, 11.0, 9.0] * 40
    assert warm_up(series) == WarmUp(cut=40, too_short=False, values=360)
    assert warm_up(series).kept == 320


def test_a_steady_series_is_not_cut() -> None:
    assert warm_up([5.0] * 100) == WarmUp(cut=0, too_short=False, values=100)
    assert warm_up([0.1] * 100).cut == 0


def test_a_series_that_becomes_constant_is_cut_there() -> None:
    assert warm_up([3.0] * 25 + [0.7] * 100).cut == 25


@given(SERIES)
def test_sums_from_the_end_find_what_the_definition_finds(series: list[int]) -> None:
    found = by_definition([float(value) for value in series])
    errors_agree = warm_up(series).cut == found
    # Two cuts may be equally good but for rounding.
    assert errors_agree or _error(series, warm_up(series).cut) == pytest.approx(
        _error(series, found), abs=1e-9
    )


def _error(series: list[int], cut: int) -> float:
    means = np.array(series[: len(series) // 5 * 5], float).reshape(-1, 5).mean(axis=1)[cut // 5 :]
    return float(means.var() / len(means))


@given(SERIES, st.integers(-100, 100), st.sampled_from([1, 2, 64]))
def test_unit_and_origin_do_not_matter(series: list[int], shift: int, scale: int) -> None:
    one, other = warm_up(series).cut, warm_up([scale * value + shift for value in series]).cut
    assert _error(series, one) == pytest.approx(_error(series, other), abs=1e-9)


def test_a_series_that_keeps_rising_is_too_short() -> None:
    assert warm_up(np.arange(400.0)).too_short


@pytest.mark.parametrize("n", [0, 1, 4, 19])
def test_what_is_too_little_to_search_says_so(n: int) -> None:
    assert warm_up([1.0] * n) == WarmUp(cut=0, too_short=True, values=n)


def test_values_that_make_no_batch_are_kept() -> None:
    assert warm_up([1.0] * 23).kept == 23


def test_a_queues_start_is_found_in_the_mean_over_replications() -> None:
    # Exponential approach to 10 with time constant 50, over 40 replications of unit noise.
    rng = np.random.default_rng(2)
    transient = 10 * (1 - np.exp(-np.arange(2000) / 50))
    series = transient + rng.normal(size=(40, 2000)).mean(axis=0)
    found = warm_up(series)
    assert 100 <= found.cut <= 400
    assert not found.too_short
    assert abs(transient[found.cut :].mean() - 10) < 0.1 < 10 - transient.mean()
