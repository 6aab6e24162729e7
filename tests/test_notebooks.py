"""Every notebook's code runs, cell after cell, on the package alone: no Jupyter needed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from vmexit_sim.mechanisms import MECHANISMS

NOTEBOOKS = sorted((Path(__file__).parent.parent / "notebooks").glob("*.ipynb"))


@pytest.fixture(autouse=True)
def _mechanisms_stay_as_they_are() -> Iterator[None]:
    known = dict(MECHANISMS)
    yield
    MECHANISMS.clear()
    MECHANISMS.update(known)


def code_cells(notebook: Path) -> list[str]:
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


def test_there_are_notebooks() -> None:
    assert NOTEBOOKS


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_cell_of_a_notebook_runs(
    notebook: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "__main__"}
    for number, source in enumerate(code_cells(notebook), 1):
        # A notebook has its own __future__, not this file's: mechanisms need their annotations.
        code = compile(source, f"{notebook.name}, code cell {number}", "exec", dont_inherit=True)
        exec(code, names)


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_thin(notebook: Path) -> None:
    lines = [line for source in code_cells(notebook) for line in source.splitlines()]
    assert len(lines) <= 60
