"""Whatever a file holds, it is loaded or refused: see `formats` and docs/hostile-input.md.

``benchmarks/fuzz_formats.py`` does the same with 10,000 cases of each format.
"""

from __future__ import annotations

from pathlib import Path
from random import Random

import formats
import mutators
import pytest
from formats import FORMATS, Finding, Format, attempt, case

CASES = 80
"""Cases of each format."""

RUN = 10
"""Of so many cases one is run, if it loads."""


@pytest.mark.parametrize("name", FORMATS)
def test_a_damaged_file_is_loaded_or_refused_with_file_and_place(name: str, tmp_path: Path) -> None:
    fates = []
    for number in range(CASES):
        data = case(FORMATS[name], number)
        try:
            fates.append(attempt(FORMATS[name], data, tmp_path, run=number % RUN == 0))
        except Finding as finding:
            pytest.fail(f"case {number} of {name}: {finding}")
    assert set(fates) <= {"loaded", "refused"}
    if name != "stored point":
        assert set(fates) == {"loaded", "refused"}, "mutations are neither idle nor hopeless"


@pytest.mark.parametrize("name", FORMATS)
def test_what_is_mutated_is_sound(name: str, tmp_path: Path) -> None:
    of = FORMATS[name]
    for seed in formats.seeds(name):
        assert attempt(of, seed, tmp_path, run=False) == "loaded"


def test_a_number_makes_the_same_case_each_time() -> None:
    for name in ("scenario", "table", "QEMU log .gz"):
        made = [case(FORMATS[name], number) for number in range(20)]
        assert made == [case(FORMATS[name], number) for number in range(20)]
        assert len(set(made)) > 10


def of_text(load: object) -> Format:
    return Format(name="text", file="case.txt", seeds=lambda: [b"x"],
                  mutate=mutators.of_bytes, load=load)  # type: ignore[arg-type]  # fmt: skip


def loops(path: Path) -> list[object]:
    while True:
        pass


def hoards(path: Path) -> list[object]:
    return [bytearray(3 * 2**30)]


def crashes(path: Path) -> list[object]:
    raise ZeroDivisionError("by zero")


def nameless(path: Path) -> list[object]:
    raise formats.InputError("is wrong", key="x")


def placeless(path: Path) -> list[object]:
    raise formats.InputError("is wrong", file=path)


@pytest.mark.parametrize(
    ("load", "says"),
    [
        (loops, "took more than"), (hoards, "MemoryError"), (crashes, "ZeroDivisionError: by zero"),
        (nameless, "names no file"), (placeless, "names no place"),
    ],
)  # fmt: skip
def test_what_must_not_happen_is_found(
    load: object, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(formats, "SECONDS", 0.2)
    with pytest.raises(Finding, match=says):
        attempt(of_text(load), b"x", tmp_path)


def test_mutations_of_nested_data_change_a_copy() -> None:
    tree = {"a": [1, {"b": "2 us"}], "c": {"d": True}}
    for number in range(200):
        mutators.of_tree(tree, Random(number), ("x",))
    assert tree == {"a": [1, {"b": "2 us"}], "c": {"d": True}}
