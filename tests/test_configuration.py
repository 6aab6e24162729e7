"""A file is read whole, and every mistake in it is named with key, value and mend."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, ValidationError

from vmexit_sim.configuration import (
    LARGEST_FILE,
    Configured,
    Frequency,
    Size,
    Time,
    checked,
    misfit,
    read_toml,
)
from vmexit_sim.errors import InputError, InputErrors, nearest


class Inner(Configured):
    wait: Time = 0


class Outer(Configured):
    wait: Time
    room: Size = 0
    clock: Frequency = 1
    count: int = 1
    inner: Inner = Inner()
    many: list[Inner] = Field(default_factory=list)


def errors_of(data: Any, **keys: Any) -> list[InputError]:
    with pytest.raises(InputErrors) as caught:
        checked(Outer, data, **keys)
    return caught.value.errors


def test_quantities_become_numbers() -> None:
    made = checked(Outer, {"wait": "2 us", "room": "4 KiB", "clock": "3 GHz"})
    assert (made.wait, made.room, made.clock) == (2_000_000, 4096, 3_000_000_000)


def test_cycles_need_the_clock_of_the_context() -> None:
    assert checked(Inner, {"wait": "5 cycles"}, context={"clock_hz": 10**9}).wait == 5000
    with pytest.raises(InputError, match="no clock"):
        checked(Inner, {"wait": "5 cycles"})


def test_several_mistakes_are_told_at_once() -> None:
    errors = errors_of({"wait": 5, "room": "3 parsec", "inner": {"wait": "-1 us"}})
    assert [error.key for error in errors] == ["wait", "room", "inner.wait"]
    assert [error.value for error in errors] == [5, "3 parsec", "-1 us"]
    assert all(error.mend for error in errors)


def test_an_error_names_file_key_value_and_mend() -> None:
    (error,) = errors_of({"wait": 5}, file="host.toml", key="costs")
    assert str(error) == ('host.toml: costs.wait: 5 has no unit; write it as text, like "2.5 us"')


def test_an_unknown_key_suggests_the_nearest() -> None:
    (error,) = errors_of({"wait": "1 us", "cuont": 2})
    assert (error.key, error.mend) == ("cuont", "did you mean 'count'?")


def test_an_unknown_key_of_a_table_suggests_the_nearest() -> None:
    (error,) = errors_of({"wait": "1 us", "inner": {"wiat": "1 us"}})
    assert (error.key, error.mend) == ("inner.wiat", "did you mean 'wait'?")


def test_an_unknown_key_in_a_list_suggests_the_nearest() -> None:
    (error,) = errors_of({"wait": "1 us", "many": [{"wiat": "1 us"}]})
    assert (error.key, error.mend) == ("many.0.wiat", "did you mean 'wait'?")


def test_a_missing_key_is_named() -> None:
    (error,) = errors_of({})
    assert str(error) == "wait: is missing"


@pytest.mark.parametrize("value", ["3", 3.0, True, None])
def test_no_type_is_guessed(value: object) -> None:
    (error,) = errors_of({"wait": "1 us", "count": value})
    assert error.key == "count"


@pytest.mark.parametrize("data", [None, [], "text", 3])
def test_what_is_no_table_is_refused(data: object) -> None:
    assert errors_of(data)


def test_what_was_read_does_not_change() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        checked(Inner, {"wait": "1 us"}).wait = 2  # type: ignore[misc]


def test_a_misfit_keeps_its_mend() -> None:
    error = misfit("is odd", value=3, mend="add one")
    assert str(error) == "3 is odd; add one"


@given(st.integers(0, 2**62), st.integers(0, 2**62), st.integers(1, 10**15))
def test_quantities_written_in_their_smallest_unit_come_back(wait: int, room: int, hz: int) -> None:
    made = checked(Outer, {"wait": f"{wait} ps", "room": f"{room} B", "clock": f"{hz} Hz"})
    assert (made.wait, made.room, made.clock) == (wait, room, hz)


@given(
    st.dictionaries(
        st.sampled_from(["wait", "room", "clock", "count", "inner", "many", "else"]),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(st.text(max_size=4), inner, max_size=3)
            ),
            max_leaves=5,
        ),
    )
)
def test_any_data_fits_or_is_an_input_error(data: dict[str, Any]) -> None:
    with suppress(InputErrors):
        checked(Outer, data)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone\.toml: cannot be read: No such file"):
        read_toml(tmp_path / "gone.toml")
    with pytest.raises(InputError, match="directory"):
        read_toml(tmp_path)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"a = 1\nb = ?\n", "line 2"),
        (b"\xff\xfe", "is not TOML"),
        (b"a = " + b"[" * 3000, "is not TOML"),
        (b"a = 1\na = 2", "is not TOML"),
    ],
)
def test_what_is_not_toml_is_refused(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "bad.toml"
    path.write_bytes(content)
    with pytest.raises(InputError, match=says) as caught:
        read_toml(path)
    assert caught.value.file == path


def test_a_file_that_is_surely_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "big.toml"
    with path.open("wb") as file:
        file.truncate(LARGEST_FILE + 1)
    with pytest.raises(InputError, match="larger than 16 MiB; is it the right file"):
        read_toml(path)


def test_the_nearest_name_or_all_names() -> None:
    assert nearest("hypercal", ["hypercall", "native"]) == "did you mean 'hypercall'?"
    assert nearest("x", ["b", "a"]) == "known: a, b"
    assert nearest("x", []) == "known: none"


def test_a_long_value_is_shortened_in_an_error() -> None:
    assert len(str(InputError("is wrong", value="x" * 10_000))) < 200
