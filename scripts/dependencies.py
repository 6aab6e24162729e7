"""What the package brings along: every dependency, direct or not, with its licence.

::

    python scripts/dependencies.py            print the list as Markdown
    python scripts/dependencies.py --write    renew it in docs/dependencies.md

Ends with status 1 where a licence is unknown, or asks more of a user than to keep its notice.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterable
from importlib.metadata import Distribution, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "dependencies.md"
START, END = "<!-- dependencies -->", "<!-- end -->"
EXTRAS = ("cluster", "screen", "xarray", "explore")

PERMISSIVE = {
    "MIT", "MIT-CMU", "BSD", "BSD-2-Clause", "BSD-3-Clause", "0BSD", "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception", "PSF", "PSF-2.0", "Zlib", "CC0-1.0", "ISC",
}  # fmt: skip
"""SPDX names, and two families that older packages name without a version."""

FILE_COPYLEFT = {"MPL-2.0"}
"""Asks only that changes to its own files be published; nothing here changes them."""

_CLASSIFIED = {
    "MIT License": "MIT", "BSD License": "BSD", "Apache Software License": "Apache-2.0",
    "Python Software Foundation License": "PSF", "ISC License (ISCL)": "ISC",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
}  # fmt: skip


def required(requirements: Iterable[str]) -> dict[str, Distribution]:
    """Everything that these requirements need on this Python, by its normalised name.

    Raises:
        importlib.metadata.PackageNotFoundError: one of them is not installed.
    """
    found: dict[str, Distribution] = {}
    waiting = [Requirement(each) for each in requirements]
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        if not _applies(requirement) or name in found:
            continue
        found[name] = distribution(name)
        waiting += [
            each
            for text in found[name].requires or []
            if _applies(each := Requirement(text), requirement.extras)
        ]
    return dict(sorted(found.items()))


def _applies(requirement: Requirement, extras: Iterable[str] = ()) -> bool:
    marker = requirement.marker
    return marker is None or any(marker.evaluate({"extra": extra}) for extra in ["", *extras])


def licence(package: Distribution) -> str:
    """A package's licence as it states it: SPDX expression, classifier, or first words."""
    metadata = package.metadata
    if expression := metadata.get("License-Expression"):
        return str(expression)
    for classifier in metadata.get_all("Classifier") or []:
        named = _CLASSIFIED.get(str(classifier).rpartition(" :: ")[2])
        if named:
            return named
    return " ".join(str(metadata.get("License") or "unknown").split())[:40]


def is_free_to_use(expression: str) -> bool:
    """Whether all parts of a licence expression, or one of its alternatives, are permissive."""
    known = PERMISSIVE | FILE_COPYLEFT
    return any(
        all(part.strip(" ()") in known for part in re.split(r"\s+AND\s+", alternative))
        for alternative in re.split(r"\s+OR\s+", expression)
    )


def direct() -> dict[str, list[str]]:
    """The requirements that pyproject.toml states: the core's, then each extra's for users."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = {name: project["optional-dependencies"][name] for name in EXTRAS}
    return {"core": project["dependencies"], **extras}


def table() -> tuple[list[str], list[str]]:
    """The list's rows as Markdown, and what is wrong with it."""
    seen: dict[str, str] = {}
    rows, wrong = ["| package | licence | comes with |", "|---|---|---|"], []
    for part, requirements in direct().items():
        for name, package in required(requirements).items():
            if name in seen:
                continue
            seen[name] = licence(package)
            rows.append(f"| {name} | {seen[name]} | {part} |")
            if not is_free_to_use(seen[name]):
                wrong.append(f"{name}: {seen[name]!r} is not among the licences that are accepted")
    return rows, wrong


def main(arguments: list[str]) -> int:
    """Print the list, or write it into the page."""
    rows, wrong = table()
    if "--write" in arguments:
        before, _, rest = PAGE.read_text(encoding="utf-8").partition(START)
        after = rest.partition(END)[2]
        PAGE.write_text(
            f"{before}{START}\n" + "\n".join(rows) + f"\n{END}{after}", encoding="utf-8"
        )
    else:
        print("\n".join(rows))
    for line in wrong:
        print(line, file=sys.stderr)
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
