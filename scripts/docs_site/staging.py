"""Put together what the site is built from: the pages of docs/, with what is generated into them.

::

    docs/**/*.md ────────┐
    CONTRIBUTING.md, …  ─┼─► links mended, markers filled ─► build/docs ─► Zensical
    notebooks/*.ipynb ───┘

A page says where something generated belongs by a marker on a line of its own, such as
``<!-- generated: cli -->``; on its own the page still reads as a page. Files of the repository that
documents link to, but that lie outside docs/, become pages too, and links to them are mended.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import gallery
import notebook_pages
import reference

ROOT = Path(__file__).resolve().parents[2]

ADOPTED = {
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "README.md": "index.md",
    "benchmarks/RESULTS.md": "benchmarks.md",
    "docs/mechanisms": "mechanisms/index.md",
}
"""Files and folders of the repository, and the pages that links to them lead to."""

MARKER = re.compile(r"^<!-- generated: ([a-z-]+)(?: ([\w-]+))? -->$", re.M)

LINK = re.compile(r"(\]\()(?!https?:|mailto:|#)([^)#\s]+)(#[^)\s]*)?(\))")

FENCE = re.compile(r"(^```.*?^```[^\S\n]*$|`[^`\n]+`)", re.M | re.S)
"""Code, in which no link is one."""

Generators = dict[str, Callable[[Path, str], str]]
"""By marker: takes the page that is generated into, and the marker's argument; returns Markdown."""

GENERATORS: Generators = {
    "cli": lambda page, argument: reference.command_line(),
    "mechanisms": lambda page, argument: reference.mechanisms(),
    "platforms": lambda page, argument: reference.platforms(),
    "policies": lambda page, argument: reference.policies(),
    "gallery": lambda page, argument: gallery.sections(page.parent),
    "figure": lambda page, argument: gallery.figure(page.parent, argument),
    "notebooks": lambda page, argument: notebook_pages.listing(ROOT / "notebooks"),
}


def main(target: Path) -> None:
    """Make the folder anew."""
    shutil.rmtree(target, ignore_errors=True)
    for page in sorted((ROOT / "docs").rglob("*.md")):
        stage(page, target / page.relative_to(ROOT / "docs"), target)
    for beside in (*(ROOT / "docs").glob("*.css"), *(ROOT / "docs").glob("*.js")):
        shutil.copyfile(beside, target / beside.name)
    for origin, name in ADOPTED.items():
        if (ROOT / origin).is_file() and origin != "README.md":
            stage(ROOT / origin, target / name, target)
    for notebook in sorted((ROOT / "notebooks").glob("*.ipynb")):
        text = notebook_pages.page(notebook, target / "notebooks")
        write(target / "notebooks" / f"{notebook.stem}.md", links_mended(text, notebook.parent))


def stage(origin: Path, place: Path, target: Path) -> None:
    """Copy one page, links mended and markers filled."""
    text = links_mended(origin.read_text(encoding="utf-8"), origin.parent)

    def filled(marker: re.Match[str]) -> str:
        try:
            generator = GENERATORS[marker[1]]
        except KeyError:
            raise SystemExit(f"{origin}: nothing generates “{marker[1]}”") from None
        return generator(place, marker[2] or "").strip()

    write(place, MARKER.sub(filled, text))


def links_mended(text: str, folder: Path) -> str:
    """Let links to what lies outside docs/ lead to the pages made of it.

    Args:
        text: a document of the repository.
        folder: where it lies.
    """

    def mended(link: re.Match[str]) -> str:
        path = Path(os.path.normpath(folder / link[2]))
        if not path.is_relative_to(ROOT):
            return link[0]
        origin = str(path.relative_to(ROOT))
        if origin in ADOPTED:
            page = Path(ADOPTED[origin])
        elif path.suffix == ".ipynb":
            page = Path("notebooks") / f"{path.stem}.md"
        elif path.is_relative_to(ROOT / "docs"):
            page = path.relative_to(ROOT / "docs")
        else:
            return link[0]
        here = place_of(folder)
        return f"{link[1]}{os.path.relpath(page, here)}{link[3] or ''}{link[4]}"

    parts = FENCE.split(text)
    return "".join(part if FENCE.fullmatch(part) else LINK.sub(mended, part) for part in parts)


def place_of(folder: Path) -> Path:
    """Where in the site a document of this folder lies."""
    if folder.is_relative_to(ROOT / "docs"):
        return folder.relative_to(ROOT / "docs")
    return Path("notebooks") if folder == ROOT / "notebooks" else Path()


def write(place: Path, text: str) -> None:
    """Write a page, and the folders above it."""
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
