"""A study stops when its interval is as short as asked, and forecasts when."""

from __future__ import annotations

import math
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from vmexit_sim.errors import InputError
from vmexit_sim.statistics import Estimate, Precision, exact, mean, median
from vmexit_sim.statistics.stopping import replications_for


def found(value: float, half_width: float, n: int = 10, unit: str = "ps") -> Estimate:
    return Estimate(value, value - half_width, value + half_width, n, "t", unit=unit)


@pytest.mark.parametrize(
    ("text", "relative", "absolute"),
    [("2%", 0.02, None), (" 0.5 % ", 0.005, None), ("0.2 us", None, 200_000), ("3 ps", None, 3)],
)
def test_a_precision_reads_from_text(
    text: str, relative: float | None, absolute: int | None
) -> None:
    assert Precision.parse(text) == Precision(relative=relative, absolute=absolute)


def test_a_precision_is_written_shortly() -> None:
    assert str(Precision(relative=0.07)) == "7%"
    assert str(Precision(absolute=1_500_000)) == "1500 ns"


@given(st.integers(1, 2**62), st.decimals("0.000001", "99.999999", places=6))
def test_a_precision_is_written_as_it_is_read(picoseconds: int, percent: Decimal) -> None:
    for precision in (Precision(absolute=picoseconds), Precision.parse(f"{percent}%")):
        assert Precision.parse(str(precision)) == precision


@pytest.mark.parametrize(
    "text",
    ["", "2", "%", "0%", "100%", "-1%", "0 us", "-2 us", "2 cycles", "2 apples", "1e9 s", 2, None],
)
def test_what_is_no_precision_says_how_to_write_one(text: str) -> None:
    with pytest.raises(InputError, match=r'is no precision .*; write for instance "2%"') as refused:
        Precision.parse(text)
    assert refused.value.value == text


@pytest.mark.parametrize(
    ("given_", "mend"),
    [({}, "a relative or"), ({"relative": 0.1, "absolute": 5}, "a relative or"),
     ({"relative": 1.0}, "less than 1"), ({"relative": 0.0}, "more than 0"),
     ({"absolute": 0}, ""), ({"relative": math.nan}, "more than 0")],
)  # fmt: skip
def test_exactly_one_positive_precision_is_given(given_: dict[str, float], mend: str) -> None:
    with pytest.raises(InputError, match=f"precision.*; give .*{mend}"):
        Precision(**given_)  # type: ignore[arg-type]


def test_a_relative_precision_is_stricter_than_it_sounds() -> None:
    # γ = 25 %: the half-width may be a fifth of the value, a quarter of the smallest true mean.
    precision = Precision(relative=0.25)
    assert precision.is_met(found(100, 20))
    assert not precision.is_met(found(100, 20.001))


def test_an_absolute_precision_is_a_half_width() -> None:
    precision = Precision(absolute=20)
    assert precision.is_met(found(-3, 20))
    assert not precision.is_met(found(1e9, 20.001))


def test_fewer_than_ten_replications_stop_nothing() -> None:
    assert not Precision(relative=0.5).is_met(found(100, 0.1, n=9))
    assert Precision(relative=0.5).more(found(100, 0.1, n=9)) == 1
    assert Precision(relative=0.5).more(mean([7.0])) == 9
    assert Precision(relative=0.5).more(mean([7.0] * 4)) == 6


def test_what_is_exact_is_precise() -> None:
    for precision in (Precision(relative=0.01), Precision(absolute=1)):
        assert precision.is_met(exact(5))
        assert precision.is_met(exact(0))
        assert precision.more(exact(5)) == 0


@pytest.mark.parametrize("value", [0.0, -100.0])
def test_no_signed_quantity_meets_a_relative_precision(value: float) -> None:
    precision = Precision(relative=0.5)
    assert not precision.is_met(found(value, 1e-6))
    with pytest.raises(InputError, match="give an absolute one"):
        precision.more(found(value, 1e-6))


def test_replications_that_all_agree_are_precise_even_at_zero() -> None:
    assert Precision(relative=0.01).is_met(mean([0.0] * 10))
    assert Precision(absolute=1).is_met(mean([0.0] * 10))


def test_a_time_is_no_precision_of_a_ratio() -> None:
    for call in (Precision(absolute=5).is_met, Precision(absolute=5).more):
        with pytest.raises(InputError, match=r"precision.*is a time, but the estimate is none"):
            call(found(1.5, 0.1, unit="1"))


def test_a_median_of_few_asks_for_ten_and_then_for_one_more() -> None:
    assert Precision(absolute=5).more(median([1.0, 2.0, 3.0])) == 7
    unbounded = Estimate(1, -math.inf, math.inf, 12, "order statistics")
    assert Precision(absolute=5).more(unbounded) == 1


@given(st.floats(0.01, 100), st.floats(0.01, 100), st.sampled_from([0.9, 0.95, 0.99]))
def test_the_forecast_is_the_smallest_number_that_would_do(
    spread: float, target: float, confidence: float
) -> None:
    n = replications_for(spread, target, confidence)

    def half(k: int) -> float:
        return float(stats.t.ppf(0.5 + confidence / 2, k - 1)) * spread / math.sqrt(k)

    assert n >= 2
    assert half(n) < target * (1 + 1e-9)
    assert n == 2 or half(n - 1) >= target * (1 - 1e-9)


@given(st.integers(10, 60), st.floats(0.001, 0.2), st.integers(0, 2**32))
def test_what_is_met_needs_no_more_and_what_is_not_needs_some(
    n: int, relative: float, seed: int
) -> None:
    estimate = mean(np.random.default_rng(seed).normal(100, 20, n).tolist())
    precision = Precision(relative=relative)
    assert (precision.more(estimate) == 0) == precision.is_met(estimate)


def test_following_the_forecast_ends_where_it_said() -> None:
    rng = np.random.default_rng(9)
    values = rng.normal(100, 20, 10).tolist()
    precision, rounds = Precision(relative=0.02), 0
    while not precision.is_met(estimate := mean(values)):
        values += rng.normal(100, 20, precision.more(estimate)).tolist()
        rounds += 1
    assert rounds <= 6
    assert estimate.half_width <= 0.02 / 1.02 * estimate.value
    # (1.96 · 20 / (100 · 0.02 / 1.02))² = 400
    assert 300 < len(values) < 520
