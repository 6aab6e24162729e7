"""Places: a path of keys leads to one part of nested data, and nowhere else."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmexit_sim.errors import InputError
from vmexit_sim.places import LONGEST, parts_of, with_value

DATA: dict[str, Any] = {
    "costs": {"to_user": "5 us"},
    "blocks": [{"guest": {"mean": "1 us"}}, {"guest": {"mean": "2 us"}}],
    "platform": "ideal",
}
KEYS = st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1, max_size=8)


@pytest.mark.parametrize(
    ("place", "parts"),
    [
        ("platform", ["platform"]),
        ("blocks.0.guest.mean", ["blocks", "0", "guest", "mean"]),
        ('parameters."./mine.toml".max_batch', ["parameters", "./mine.toml", "max_batch"]),
        ('"a.b"', ["a.b"]),
        ("costs . to_user", ["costs", "to_user"]),
    ],
)
def test_a_place_is_keys_joined_by_dots(place: str, parts: list[str]) -> None:
    assert parts_of(place) == parts


@pytest.mark.parametrize(
    "place",
    ["", ".", "a.", ".a", "a..b", 'a."', '"a"b', 'a"b"', '"a" .b', "a. .b", '""', 'a."b', " "],
)
def test_what_is_no_place_is_refused(place: str) -> None:
    with pytest.raises(InputError, match="is no place; write keys joined by dots"):
        parts_of(place)


def test_a_place_has_a_longest_length() -> None:
    assert parts_of("a" * LONGEST) == ["a" * LONGEST]
    for longer in ("a" * (LONGEST + 1), "a" * (LONGEST - 1) + ".b"):
        with pytest.raises(InputError, match="is no place"):
            parts_of(longer)


@given(st.lists(KEYS, min_size=1, max_size=6))
def test_quoted_and_bare_keys_are_the_same(keys: list[str]) -> None:
    assert parts_of(".".join(keys)) == parts_of(".".join(f'"{key}"' for key in keys)) == keys


@given(st.lists(KEYS, min_size=1, max_size=6), st.integers())
def test_a_value_that_was_put_stands_where_its_place_leads(keys: list[str], value: int) -> None:
    found: Any = with_value({}, ".".join(keys), value)
    for key in keys:
        assert list(found) == [key]
        found = found[key]
    assert found == value


def test_only_the_place_changes_and_only_in_the_copy() -> None:
    before = deepcopy(DATA)
    changed = with_value(DATA, "blocks.1.guest.mean", "9 us")
    assert before == DATA
    assert changed == {
        **DATA, "blocks": [{"guest": {"mean": "1 us"}}, {"guest": {"mean": "9 us"}}],
    }  # fmt: skip


def test_a_star_means_all_of_a_list() -> None:
    changed = with_value(DATA, "blocks.*.guest.mean", "7 us")
    assert [block["guest"] for block in changed["blocks"]] == [{"mean": "7 us"}] * 2
    assert with_value({"a": [1, 2]}, "a.*", 0) == {"a": [0, 0]}
    assert with_value({"a": [1, 2]}, "a.1", 0) == {"a": [1, 0]}


def test_what_is_put_in_several_places_is_not_shared() -> None:
    value = {"kind": "constant"}
    changed = with_value(DATA, "blocks.*.guest.mean", value)
    first, second = (block["guest"]["mean"] for block in changed["blocks"])
    assert first == second == value
    assert len({id(first), id(second), id(value)}) == 3


def test_tables_on_the_way_are_made() -> None:
    assert with_value({}, "parameters.vhost.max_batch", 4) == {
        "parameters": {"vhost": {"max_batch": 4}}
    }


@pytest.mark.parametrize(
    ("place", "says"),
    [
        ("platform.name", "platform is 'ideal', which has no parts; write it as a table"),
        ("costs.to_user.mean", "costs.to_user is '5 us', which has no parts"),
        ("costs.to_user.mean.x", "costs.to_user is '5 us', which has no parts"),
        ("blocks.2.guest", "blocks is a list of 2; known: \\*, 0, 1"),
        ("blocks.-1.guest", "blocks is a list of 2"),
        ("blocks.one", "blocks is a list of 2"),
        ("blocks.²", "blocks is a list of 2"),
        ("blocks.1000000", "blocks is a list of 2"),
    ],
)
def test_a_place_that_leads_nowhere_is_refused(place: str, says: str) -> None:
    with pytest.raises(InputError, match=says) as error:
        with_value(DATA, place, 1)
    assert error.value.key == place


@pytest.mark.parametrize("place", ["only.*", "only.*.x", "only.0"])
def test_all_of_nothing_leads_nowhere(place: str) -> None:
    """A factor that is set nowhere would be a study of nothing."""
    with pytest.raises(InputError, match="only is a list of 0"):
        with_value({"only": []}, place, 1)
