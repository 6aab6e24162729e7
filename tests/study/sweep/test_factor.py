"""Factors: values as files state them, evenly spaced, in one unit."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmexit_sim.configuration import checked
from vmexit_sim.errors import InputError
from vmexit_sim.study.sweep.factor import (
    MOST_VALUES,
    Factor,
    Quantity,
    column_value,
    quantity,
)
from vmexit_sim.units import parse_time


def factor(values: list[Any], place: Any = "costs.to_user") -> Factor:
    return checked(Factor, {"place": place, "values": values})


@pytest.mark.parametrize(
    ("stated", "number", "unit"),
    [
        ("1.5 us", 1_500_000, "ps"),
        ("2 KiB", 2048, "B"),
        ("3 GHz", 3e9, "Hz"),
        ("783 cycles", 783, "cycles"),
        (7, 7, "1"),
        (0.25, 0.25, "1"),
        ("-4e-3 cycles", -0.004, "cycles"),
    ],
)
def test_a_quantity_is_a_number_and_its_unit(stated: Any, number: float, unit: str) -> None:
    assert quantity(stated) == Quantity(number, unit)


@pytest.mark.parametrize(
    "stated",
    ["kvm-2013", True, None, {"kind": "constant"}, [], "7", "", "1e9999 cycles", "+ cycles",
     math.inf, math.nan, 10**400, "1 parsec"],
)  # fmt: skip
def test_what_is_no_quantity_is_none(stated: Any) -> None:
    assert quantity(stated) is None


def test_a_list_is_taken_as_it_is() -> None:
    values = ["kvm-2013", {"kind": "constant", "value": "1 us"}, True, 3]
    assert factor(values).range is None
    assert factor(values).levels() == values


def test_a_linear_range_is_evenly_spaced() -> None:
    assert factor([0, 10, 6, "linear"]).levels() == [0, 2, 4, 6, 8, 10]
    assert factor([0.0, 1, 5, "linear"]).levels() == [0, 0.25, 0.5, 0.75, 1]


def test_a_logarithmic_range_has_equal_ratios() -> None:
    assert factor(["1 us", "1 ms", 4, "log"]).levels() == [
        "1000000 ps", "10000000 ps", "100000000 ps", "1000000000 ps",
    ]  # fmt: skip
    assert factor(["1 kB", "1 MB", 2, "log"]).levels() == ["1000 B", "1000000 B"]


def test_whole_numbers_stay_whole_and_are_taken_once() -> None:
    assert factor([1, 9, 5, "linear"]).levels() == [1, 3, 5, 7, 9]
    assert factor([1, 4, 4, "log"]).levels() == [1, 2, 3, 4]  # 1.6 and 2.5
    assert factor([1, 8, 5, "log"]).levels() == [1, 2, 3, 5, 8]
    assert all(type(level) is int for level in factor([1, 64, 20, "log"]).levels())
    assert factor(["0 ps", "3 ps", 4, "linear"]).levels() == ["0 ps", "1 ps", "2 ps", "3 ps"]


def test_where_whole_numbers_are_too_few_values_are_parts_of_them() -> None:
    assert factor([0, 1, 5, "linear"]).levels() == [0, 0.25, 0.5, 0.75, 1]


def test_cycles_need_not_be_whole() -> None:
    assert factor(["1 cycles", "2 cycles", 3, "linear"]).levels() == [
        "1.0 cycles", "1.5 cycles", "2.0 cycles",
    ]  # fmt: skip


@given(st.integers(1, 10**9), st.integers(1, 10**9), st.integers(2, 50),
       st.sampled_from(["linear", "log"]))  # fmt: skip
def test_a_range_goes_from_end_to_end_and_upward(
    low: int, width: int, steps: int, scale: str
) -> None:
    stated = factor([f"{low} ns", f"{low + width} ns", steps, scale]).levels()
    times = [parse_time(level) for level in stated]
    assert (times[0], times[-1]) == (low * 1000, (low + width) * 1000)
    assert times == sorted(set(times))
    assert len(times) <= steps


@given(st.floats(0, 1), st.integers(1, 5))
def test_a_sampled_value_lies_in_the_range_or_is_of_the_list(share: float, length: int) -> None:
    time = parse_time(factor(["1 us", "1 ms", "log"]).at(share))
    assert 10**6 <= time <= 10**9
    names = [f"n{number}" for number in range(length)]
    assert factor(names).at(share) in names


def test_half_way_is_half_way_on_the_scale() -> None:
    assert factor(["1 us", "100 us", "log"]).at(0.5) == "10000000 ps"
    assert factor([1, 101, "linear"]).at(0.5) == 51
    assert [factor(["a", "b"]).at(share) for share in (0, 0.49, 0.5, 1)] == ["a", "a", "b", "b"]


def test_a_range_without_a_number_of_values_makes_no_grid() -> None:
    with pytest.raises(InputError, match="does not say how many values a grid takes"):
        factor(["1 us", "1 ms", "log"]).levels()


@pytest.mark.parametrize(
    ("values", "says"),
    [
        (["1 us", "1 KiB", 3, "log"], "ends are no quantities of one unit"),
        (["1 us", 5, 3, "log"], "ends are no quantities of one unit"),
        (["a", "b", 3, "log"], "ends are no quantities of one unit"),
        (["2 us", "1 us", 3, "log"], "high end is not above its low end"),
        (["1 us", "1000 ns", 3, "log"], "high end is not above its low end"),
        (["0 us", "1 us", 3, "log"], "begins at 0 or below"),
        ([-1, 1, "log"], "begins at 0 or below"),
        ([1, 2, 1, "linear"], "no usable number of values"),
        ([1, 2, MOST_VALUES + 1, "linear"], "no usable number of values"),
        ([1, 2, 3.0, "linear"], "no usable number of values"),
        ([1, 2, True, "linear"], "no usable number of values"),
        ([], "values"),
    ],
)
def test_a_range_that_is_none_is_refused(values: list[Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        factor(values)


def test_a_factor_may_set_several_keys() -> None:
    assert factor([1], ["cpus", "blocks.0.guest.vcpus"]).places == ["cpus", "blocks.0.guest.vcpus"]
    with pytest.raises(InputError, match="is no place"):
        factor([1], ["cpus", "blocks..guest"])


@pytest.mark.parametrize(
    ("value", "held", "unit"),
    [
        ("1 us", 1e6, "ps"), (3, 3.0, "1"), ("kvm-2013", "kvm-2013", ""), (True, "true", ""),
        ({"b": 1, "a": "ü"}, '{"a": "ü", "b": 1}', ""), ([1], "[1]", ""),
    ],
)  # fmt: skip
def test_a_column_holds_numbers_in_one_unit_and_all_else_as_text(
    value: Any, held: Any, unit: str
) -> None:
    assert column_value(value) == (held, unit)
