"""The documentation site: what it is made of fits together, and its pages show what commands print.

`scripts/docs` builds it, with Zensical, and checks what was built; here is what needs no build.
"""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
SITE = tomllib.loads((ROOT / "zensical.toml").read_text(encoding="utf-8"))["project"]
SHOWN = ["index.md", "tutorial.md", *(str(p.relative_to(DOCS)) for p in DOCS.glob("how-to/*.md"))]


@pytest.fixture
def made_by(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A module of scripts/docs_site by its name."""

    def module(name: str) -> ModuleType:
        monkeypatch.syspath_prepend(ROOT / "scripts" / "docs_site")
        return import_module(name)

    return module


def pages(nav: list[Any]) -> Iterator[str]:
    for entry in nav:
        if isinstance(entry, str):
            yield entry
        else:
            for below in entry.values():
                yield from pages(below if isinstance(below, list) else [below])


def test_every_page_is_in_the_navigation_once() -> None:
    named = sorted(pages(SITE["nav"]))
    there = {str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md")}
    assert named == sorted(there | {"benchmarks.md", "changelog.md", "contributing.md"})


def test_pages_are_staged_with_markers_filled_and_links_out_of_the_folder_mended(
    made_by: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    staging = made_by("staging")
    monkeypatch.setitem(staging.GENERATORS, "gallery", lambda page, argument: "no experiment run")
    monkeypatch.setitem(staging.GENERATORS, "figure", lambda page, argument: f"of {argument}")
    staging.main(tmp_path)
    staged = {page: page.read_text(encoding="utf-8") for page in tmp_path.rglob("*.md")}
    assert "of start_up_and_job" in staged[tmp_path / "index.md"]
    for page, text in staged.items():
        assert "<!-- generated:" not in text, page
        for link in re.findall(r"\]\((?!https?:)([^)#\s]+\.md)(?:#[^)]*)?\)", text):
            assert (page.parent / link).exists(), f"{page}: {link}"


def test_a_marker_that_nothing_fills_is_an_error(made_by: Any, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("<!-- generated: nonsense -->\n", encoding="utf-8")
    with pytest.raises(SystemExit, match="nonsense"):
        made_by("staging").stage(page, tmp_path / "made.md", tmp_path)


def test_command_line_reference_names_every_command_and_option(made_by: Any) -> None:
    from vmexit_sim.cli.running import app

    text = made_by("reference").command_line()
    assert {"compare", "sweep", "trace import", "models show"} <= set(_commands(app))
    for command in _commands(app):
        section = re.search(rf"^#+ `{command}` .*?(?=^##|\Z)", text, re.M | re.S)
        assert section, command
    for option in ("--precision", "--input-uncertainty", "--scheduler", "--platform", "--seed"):
        assert f"`{option}" in text


def _commands(app: Any, above: str = "") -> Iterator[str]:
    for name in app:
        if not name.startswith("-"):
            yield f"{above}{name}"
            yield from _commands(app[name], f"{above}{name} ")


def test_reference_shows_every_platform_policy_and_mechanism(made_by: Any) -> None:
    from vmexit_sim import catalog
    from vmexit_sim.mechanisms import MECHANISMS

    reference = made_by("reference")
    platforms, policies = reference.platforms(), reference.policies()
    assert all(f"## {name}\n" in platforms for name in catalog.names("platforms"))
    assert all(f"## {name}\n" in policies for name in catalog.names("policies"))
    assert all(f"[{name}]({name}.md)" in reference.mechanisms() or name == "as_recorded"
               for name in MECHANISMS)  # fmt: skip
    assert "commit b7ffc44d5b2e" in platforms  # a source


def test_built_pages_are_held_to_links_anchors_and_loads(made_by: Any, tmp_path: Path) -> None:
    built = made_by("built_site")
    says = f'<meta http-equiv="Content-Security-Policy" content="{built.POLICY}">'
    (tmp_path / "a.html").write_text(f'{says}<h1 id="top"></h1><a href="b.html#there">b</a>')
    (tmp_path / "b.html").write_text(f'{says}<p id="there"></p><a href="a.html#top">a</a>')
    assert built.faults(tmp_path) == []

    (tmp_path / "b.html").write_text(f'{says}<a href="a.html#nowhere">a</a><a href="c.html">c</a>')
    (tmp_path / "c.css").write_text("p { background: url(//cdn.example/x.png) }")
    (tmp_path / "d.html").write_text('<script src="https://cdn.example/x.js"></script>')
    assert [fault.partition(":")[0] for fault in built.faults(tmp_path)] == [
        "a.html", "b.html", "b.html", "d.html", "d.html", "c.css",
    ]  # fmt: skip


def test_what_docstrings_take_from_restructuredtext_becomes_markdown(made_by: Any) -> None:
    pytest.importorskip("griffe", reason="comes with the extra [docs]")
    plain = made_by("plain_docstrings")
    table = "====  ====\nname  what\n====  ====\na     one\n      more\nb     two\n====  ====\n"
    assert plain.as_markdown(table) == (
        "| name | what |\n| --- | --- |\n| a | one more |\n| b | two |"
    )
    assert plain.as_markdown("Said::\n\n    a ─► b\n\nMore.") == (
        "Said:\n\n```text\na ─► b\n```\n\nMore."
    )


@pytest.mark.parametrize("page", SHOWN)
def test_a_page_shows_what_its_commands_print(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Files it shows are written, commands run; between … the output must come word for word."""
    from vmexit_sim.cli import main

    monkeypatch.chdir(tmp_path)
    text = (DOCS / page).read_text(encoding="utf-8")
    printed = ""
    for language, title, block in re.findall(
        r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```', text, re.M | re.S
    ):
        if title:
            (tmp_path / title).write_text(block, encoding="utf-8")
        elif language == "sh":
            for line in block.splitlines():
                with pytest.raises(SystemExit) as ended:
                    main(shlex.split(line, comments=True)[1:])
                printed, errors = capsys.readouterr()
                assert ended.value.code in (0, None), f"{line}: {errors}"
        elif language == "text" and printed:
            came = " ".join(printed.split())
            for shown in filter(None, (" ".join(part.split()) for part in block.split("…\n"))):
                _, found, came = came.partition(shown)
                assert found, f"{page}: not printed, or not here: {shown}"
            printed = ""
