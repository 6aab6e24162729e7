"""Check a built site: every link and anchor leads somewhere, and nothing loads from outside.

Zensical checks links between Markdown pages. This looks at what was built, so that links made by
templates, by docstrings and by raw HTML count too::

    page, style sheet, picture ─► what it loads ─► must lie in the site
    page                       ─► where it leads ─► page and anchor must exist

Scripts are the theme's. They name hosts of libraries which they would fetch for features that no
page has; so that no page ever does, each forbids itself to load from anywhere else (a content
security policy), and this checks that every page says so.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

LOADS = {
    "script": ("src",), "img": ("src", "srcset"), "iframe": ("src",), "source": ("src", "srcset"),
    "video": ("src", "poster"), "audio": ("src",), "embed": ("src",), "object": ("data",),
    "image": ("href", "xlink:href"), "use": ("href", "xlink:href"), "track": ("src",),
    "input": ("src",),
}  # fmt: skip
"""Attributes that make a browser fetch something, by element."""

LOADING_RELATIONS = {"stylesheet", "icon", "preload", "prefetch", "modulepreload", "preconnect",
                     "dns-prefetch", "manifest", "apple-touch-icon", "shortcut"}  # fmt: skip

IN_STYLE = re.compile(r"""url\(\s*['"]?([^'")]+)|@import\s+['"]([^'"]+)""")

POLICY = "default-src 'self' file: data: blob: 'unsafe-inline'"
"""What every page must say of what it may load; file: is for a site read without a server."""


@dataclass
class Page(HTMLParser):
    """What a page loads, where it leads, and what can be led to.

    Attributes:
        loads: addresses that a browser fetches to show it.
        links: addresses that it leads to.
        anchors: places in it.
        policies: what it says of where it may load from.
    """

    loads: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    anchors: set[str] = field(default_factory=set)
    policies: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self._in_style = False

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        """Collect what an element says."""
        said = {name: value or "" for name, value in attributes}
        self._in_style = tag == "style"
        self.anchors |= {said[name] for name in ("id", "name") if said.get(name)}
        self.loads += in_style(said.get("style", ""))
        for name in LOADS.get(tag, ()):
            if name in said:
                values = said[name].split(",") if name == "srcset" else [said[name]]
                self.loads += [value.split()[0] for value in values if value.strip()]
        if tag == "link" and LOADING_RELATIONS & set(said.get("rel", "").split()):
            self.loads.append(said.get("href", ""))
        if tag == "a" and "href" in said:
            self.links.append(said["href"])
        if tag == "meta" and said.get("http-equiv", "").lower() == "content-security-policy":
            self.policies.append(said.get("content", ""))

    def handle_endtag(self, tag: str) -> None:
        """Notice where a style sheet in the page ends."""
        if tag == "style":
            self._in_style = False

    def handle_data(self, data: str) -> None:
        """Look into a style sheet in the page."""
        if self._in_style:
            self.loads += in_style(data)


def in_style(text: str) -> list[str]:
    """What a style sheet loads."""
    return [first or second for first, second in IN_STYLE.findall(text)]


def faults(site: Path) -> list[str]:
    """Everything that is wrong, a line each."""
    pages = {path: read(path) for path in sorted(site.rglob("*.html"))}
    found = [] if pages else [f"{site}: no page"]
    for path, page in pages.items():
        where = path.relative_to(site)
        found += [f"{where}: loads {load}" for load in page.loads if outside(load)]
        if POLICY not in page.policies:
            found.append(f"{where}: does not forbid loading from elsewhere")
        for address in page.loads + page.links:
            if not outside(address):
                found += [f"{where}: {fault}" for fault in broken(address, path, site, pages)]
    for path in sorted([*site.rglob("*.css"), *site.rglob("*.svg")]):
        text = path.read_text(encoding="utf-8")
        loads = in_style(text) if path.suffix == ".css" else read(path).loads + in_style(text)
        found += [f"{path.relative_to(site)}: loads {load}" for load in loads if outside(load)]
    return found


def read(path: Path) -> Page:
    """Read a page, or a picture made of elements."""
    page = Page()
    page.feed(path.read_text(encoding="utf-8"))
    return page


def outside(address: str) -> bool:
    """Whether an address leaves the site."""
    parts = urlsplit(address)
    return parts.scheme in ("http", "https", "ftp", "ws", "wss") or bool(parts.netloc)


def broken(address: str, path: Path, site: Path, pages: dict[Path, Page]) -> list[str]:
    """What is wrong with an address within the site: nothing, or one line."""
    parts = urlsplit(address)
    if parts.scheme in ("data", "mailto", "javascript", "blob"):
        return []
    target = path
    if parts.path:
        base = site if parts.path.startswith("/") else path.parent
        target = (base / unquote(parts.path).lstrip("/")).resolve()
    if target.is_dir():
        target /= "index.html"
    if not target.is_file() or not target.is_relative_to(site):
        return [f"leads to {address}, which is not there"]
    anchor = unquote(parts.fragment)
    if anchor and target in pages and anchor not in pages[target].anchors:
        return [f"leads to {address}, but there is no such place on that page"]
    return []


def main(site: Path) -> None:
    """Say what is wrong, and end with status 1 if anything is."""
    found = faults(site.resolve())
    print("\n".join(found))
    if found:
        raise SystemExit(1)
    pages = sum(1 for _ in site.rglob("*.html"))
    size = sum(path.stat().st_size for path in site.rglob("*") if path.is_file())
    print(f"{site}: {pages} pages, {size / 2**20:.1f} MiB; every link and anchor leads somewhere, "
          "nothing loads from elsewhere")  # fmt: skip


if __name__ == "__main__":
    main(Path(sys.argv[1]))
