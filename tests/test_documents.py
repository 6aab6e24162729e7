"""What the documents show as code runs as it stands there."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted(ROOT.glob("docs/**/*.md"))
DOCUMENTS = ["README.md", "CONTRIBUTING.md", *(str(page.relative_to(ROOT)) for page in PAGES)]


def blocks(language: str) -> list[tuple[str, str]]:
    """Every code block of a language: (document and number, text)."""
    found = []
    for document in DOCUMENTS:
        text = (ROOT / document).read_text(encoding="utf-8")
        code = re.findall(rf"```{language}\n(.*?)```", text, re.S)
        found += [(f"{document}:{number}", block) for number, block in enumerate(code, 1)]
    return found


@pytest.mark.parametrize(("where", "code"), blocks("python"))
def test_python_in_a_document_runs(where: str, code: str, tmp_path: Path) -> None:
    script = tmp_path / "shown.py"
    script.write_text(code, encoding="utf-8")
    ended = subprocess.run(
        [sys.executable, script], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert ended.returncode == 0, f"{where}: {ended.stderr}"


@pytest.mark.parametrize(("where", "text"), blocks("toml"))
def test_toml_in_a_document_is_toml(where: str, text: str) -> None:
    assert tomllib.loads(text), where


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_between_documents_lead_somewhere(document: str) -> None:
    text = (ROOT / document).read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)#:]+?)(?:#[^)]*)?\)", text)
    missing = [link for link in links if not ((ROOT / document).parent / link).exists()]
    assert missing == []


def commands() -> list[str]:
    """Every command that is shown somewhere and needs no file of the reader's, once."""
    shown = [line for _, block in blocks("sh") for line in block.splitlines()]
    return list(dict.fromkeys(
        line.split("#")[0].split("--json")[0].strip() for line in shown
        if line.startswith("vmexit-sim") and not re.search(r"parquet|my-|\./", line)
    ))  # fmt: skip


@pytest.mark.parametrize("command", commands())
def test_a_command_in_a_document_is_understood(
    command: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    from vmexit_sim.cli import main

    monkeypatch.chdir(tmp_path)  # where what it writes may stay
    with pytest.raises(SystemExit) as ended:
        main(shlex.split(command)[1:])
    assert ended.value.code in (0, None), capsys.readouterr().err
