"""Quantities are exact, and one that is not a quantity is refused with its mend."""

from __future__ import annotations

from contextlib import suppress
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmexit_sim.errors import InputError
from vmexit_sim.units import (
    LONGEST_PS,
    MICROSECOND,
    SECOND,
    format_time,
    parse_frequency,
    parse_size,
    parse_time,
)

TIME_UNITS = {
    "ps": 1, "ns": 10**3, "us": 10**6, "µs": 10**6, "μs": 10**6, "ms": 10**9, "s": 10**12,
    "min": 60 * 10**12,
}  # fmt: skip


@pytest.mark.parametrize(
    ("text", "picoseconds"),
    [
        ("0 ns", 0),
        ("1 ps", 1),
        ("85.17 us", 85_170_000),
        ("85.17us", 85_170_000),
        (" 2.5  µs ", 2_500_000),
        ("216.577 ns", 216_577),
        ("1e3 ns", MICROSECOND),
        ("1_000 ns", MICROSECOND),
        ("0.000001 us", 1),
        ("1.5 min", 90 * SECOND),
    ],
)
def test_a_time_is_a_whole_number_of_picoseconds(text: str, picoseconds: int) -> None:
    assert parse_time(text) == picoseconds


@given(st.integers(0, 70_000), st.sampled_from(sorted(TIME_UNITS)))
def test_every_unit_scales_exactly(number: int, unit: str) -> None:
    assert parse_time(f"{number} {unit}") == number * TIME_UNITS[unit]


@given(st.integers(0, 10**12))
def test_a_decimal_fraction_of_a_microsecond_loses_nothing(picoseconds: int) -> None:
    whole, part = divmod(picoseconds, MICROSECOND)
    assert parse_time(f"{whole}.{part:06d} us") == picoseconds


@given(st.integers(0, 10**6), st.integers(1, 10**10))
def test_cycles_are_rounded_to_the_nearest_picosecond(cycles: int, hertz: int) -> None:
    exact = Fraction(cycles * SECOND, hertz)
    if exact <= LONGEST_PS:
        assert abs(parse_time(f"{cycles} cycles", hertz) - exact) <= Fraction(1, 2)


def test_cycles_of_the_platforms_clock() -> None:
    assert parse_time("1181 cycles", 1_000_000_000) == 1_181_000
    assert parse_time("1 cycles", 3_000_000_000) == 333


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (5, "5 has no unit; .*2.5 us"),
        (2.5, "has no unit"),
        (True, "has no unit"),
        ("5", "'5' has no unit"),
        ("5 parsec", "unknown unit 'parsec'"),
        ("5 uss", "did you mean 'us'"),
        ("5 cycle", "did you mean 'cycles'"),
        ("5 cycles", "no clock is known.*state the platform's clock"),
        ("-1 us", "is negative"),
        ("0.5 ps", "finer than a picosecond"),
        ("1e-9 us", "finer than a picosecond"),
        ("100000 min", "longer than 53 days"),
        ("1e99 s", "longer than 53 days"),
        ("nan us", "is not a quantity"),
        ("inf us", "is not a quantity"),
        ("", "is not a quantity"),
        ("us", "is not a quantity"),
        ("1 2 us", "is not a quantity"),
        ("٣ us", "is not a quantity"),
        ("9" * 200 + " us", "is not a quantity"),
        (None, "is not a quantity"),
        (["1 us"], "is not a quantity"),
    ],
)
def test_what_is_no_time_is_refused_with_its_mend(value: object, says: str) -> None:
    with pytest.raises(InputError, match=says) as caught:
        parse_time(value)
    assert caught.value.mend
    assert caught.value.value == value


@pytest.mark.parametrize("number", ["1_", "1__0", "1_.5", "_1"])
def test_a_stray_underscore_is_refused_like_any_other_slip(number: str) -> None:
    for parse, unit in ((parse_time, "us"), (parse_frequency, "GHz"), (parse_size, "MiB")):
        with pytest.raises(InputError, match="is not a quantity"):
            parse(f"{number} {unit}")


@given(st.text(max_size=30))
def test_any_text_is_a_time_or_an_input_error(text: str) -> None:
    with suppress(InputError):
        assert 0 <= parse_time(text, 10**9) <= LONGEST_PS


def test_the_longest_time_is_accepted_and_no_longer_one() -> None:
    assert parse_time(f"{LONGEST_PS} ps") == LONGEST_PS
    with pytest.raises(InputError):
        parse_time(f"{LONGEST_PS + 1} ps")


@pytest.mark.parametrize(
    ("text", "hertz"),
    [("3.5 GHz", 3_500_000_000), ("1 Hz", 1), ("2.4 MHz", 2_400_000), ("1.5kHz", 1500)],
)
def test_a_clock_is_a_whole_number_of_hertz(text: str, hertz: int) -> None:
    assert parse_frequency(text) == hertz


@pytest.mark.parametrize("value", ["0 Hz", "-1 GHz", "0.5 Hz", "1e9 GHz", "3", 3, "3 ghz", "3 us"])
def test_what_is_no_clock_is_refused(value: object) -> None:
    with pytest.raises(InputError):
        parse_frequency(value)


@pytest.mark.parametrize(
    ("text", "size"), [("2 MiB", 2**21), ("4 KiB", 4096), ("0 B", 0), ("1.5 kB", 1500)]
)
def test_a_size_is_a_whole_number_of_bytes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("value", ["0.5 B", "-1 B", "1e20 TiB", 4096, "4096", "4 KB"])
def test_what_is_no_size_is_refused(value: object) -> None:
    with pytest.raises(InputError):
        parse_size(value)


@pytest.mark.parametrize(
    ("picoseconds", "text"),
    [
        (0, "0"),
        (1, "1 ps"),
        (85_170_000, "85.17 µs"),
        (1_000, "1 ns"),
        (-2_500_000, "-2.5 µs"),
        (123_456_789, "123.5 µs"),
        (1_500 * SECOND, "1500 s"),
    ],
)
def test_people_read_times_in_a_fitting_unit(picoseconds: int, text: str) -> None:
    assert format_time(picoseconds) == text


def test_rounding_up_moves_on_to_the_next_unit() -> None:
    assert format_time(999_999) == "1 µs"


@given(st.integers(1, 10**15))
def test_a_shown_time_can_be_read_back_to_four_digits(picoseconds: int) -> None:
    shown = parse_time(format_time(picoseconds))
    assert abs(shown - picoseconds) <= picoseconds / 2_000
