"""docs/formats.md tells of every key what the schemas tell; run this file to write it anew."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from vmexit_sim.present.schema_tables import described, key_tables
from vmexit_sim.present.schemas import SCHEMAS, schema

PAGE = Path(__file__).parents[1] / "docs/formats.md"
ORDER = ("workload", "scenario", "policy", "platform", "devices", "study", "result",
         "comparison", "run")  # fmt: skip
"""Kinds of files as the page has them; a table that several have is explained with the first."""

TOLD = {"scenario": "Scenario", "policy": "Policy", "platform": "Platform"}
"""Files that are part of others, by the name that they have there."""

_BLOCK = re.compile(r"<!-- keys of (\w+) -->\n(.*?)<!-- end of keys -->\n", re.S)


def tables() -> Iterator[tuple[str, str]]:
    """Each kind, and what the page says of its keys."""
    known: set[str] = set()
    for kind in ORDER:
        made = schema(kind)
        yield kind, f"\n{key_tables(made, known)}\n"
        known |= {name for name, _ in described(made)} | {TOLD.get(kind, "")}
        known.discard("")


@pytest.fixture(scope="module")
def wanted() -> dict[str, str]:
    return dict(tables())


@pytest.mark.parametrize("kind", ORDER)
def test_the_page_says_of_keys_what_the_schema_says(kind: str, wanted: dict[str, str]) -> None:
    found = dict(_BLOCK.findall(PAGE.read_text(encoding="utf-8")))
    assert found.get(kind) == wanted[kind], f"write it anew: python tests/{Path(__file__).name}"


def test_every_kind_of_file_is_on_the_page() -> None:
    assert sorted(ORDER) == sorted(SCHEMAS)


if __name__ == "__main__":
    now = dict(tables())
    page = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(
        _BLOCK.sub(lambda m: f"<!-- keys of {m[1]} -->\n{now[m[1]]}<!-- end of keys -->\n", page),
        encoding="utf-8",
    )
