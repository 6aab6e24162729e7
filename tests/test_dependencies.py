"""What an installation brings along is listed, and free to use."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8")


def script() -> ModuleType:
    spec = spec_from_file_location("dependencies", ROOT / "scripts" / "dependencies.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


listed = script()
PARTS = listed.direct()


@pytest.mark.parametrize("part", PARTS)
def test_every_dependency_is_listed_with_its_licence_which_is_free_to_use(part: str) -> None:
    try:
        needed = listed.required(PARTS[part])
    except PackageNotFoundError as missing:
        pytest.skip(f"not installed: {missing}")
    rows = dict(re.findall(r"^\| (\S+) \| ([^|]+) \| \w+ \|$", PAGE, re.M))
    for name, package in needed.items():
        assert rows.get(name) == listed.licence(package), name
        assert listed.is_free_to_use(rows[name])


@pytest.mark.parametrize("requirement", [each for part in PARTS.values() for each in part])
def test_every_direct_dependency_says_why_it_is_there(requirement: str) -> None:
    name = Requirement(requirement).name
    reasons = "\n".join(re.findall(r"^\|.*\|.*\|.*\|$", PAGE.split("## Licences")[0], re.M))
    assert re.search(rf"\b{name}\b", reasons)


def test_every_dependency_has_a_constraint() -> None:
    text = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    constrained = {
        canonicalize_name(Requirement(line).name)
        for line in text.splitlines()
        if line and not line.startswith("#")
    }
    for part, requirements in PARTS.items():
        try:
            needed = set(listed.required(requirements))
        except PackageNotFoundError:
            continue
        assert needed <= constrained, part


@pytest.mark.parametrize(
    ("expression", "free"),
    [
        ("MIT", True),
        ("BSD-3-Clause AND 0BSD AND MIT AND Zlib AND CC0-1.0", True),
        ("GPL-3.0-only", False),
        ("MIT AND GPL-2.0-or-later", False),
        ("GPL-2.0-only OR MIT", True),
        ("unknown", False),
    ],
)
def test_a_licence_expression_is_free_if_all_its_parts_are(expression: str, free: bool) -> None:
    assert listed.is_free_to_use(expression) is free
