"""The experiments as a gallery: question, figure, what was printed, and the command.

Every script in ``experiments/`` is run with ``--quick``, two at a time, unless ``results/quick``
holds what it made and nothing that takes part has changed since: then that is shown.
"""

from __future__ import annotations

import ast
import html
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "results" / "quick"


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """One script.

    Attributes:
        name: the script's, without its suffix.
        question: the first line of its docstring.
        about: the rest of it, a paragraph each.
    """

    name: str
    question: str
    about: tuple[str, ...]

    @property
    def figure(self) -> Path:
        """Where its figure lies."""
        return RESULTS / f"{self.name}.svg"

    @property
    def printed(self) -> Path:
        """Where what it printed lies."""
        return RESULTS / f"{self.name}.txt"


def experiments() -> list[Experiment]:
    """All of them, by name."""
    found = []
    for script in sorted((ROOT / "experiments").glob("*.py")):
        text = ast.get_docstring(ast.parse(script.read_text(encoding="utf-8"))) or ""
        question, *about = text.split("\n\n")
        found.append(Experiment(name=script.stem, question=question, about=tuple(about)))
    return found


def figure(folder: Path, name: str) -> str:
    """An experiment's figure as an image, copied into a page's folder."""
    made()
    experiment = next(one for one in experiments() if one.name == name)
    return _image(folder, experiment)


def sections(folder: Path) -> str:
    """Every experiment, a section each."""
    made()
    text = []
    for one in experiments():
        command = f".venv/bin/python experiments/{one.name}.py --quick"
        text += [f"## {one.question} {{ #{one.name} }}", *one.about, _image(folder, one)]
        text += [f"```text\n{command}\n```", f"```text\n{_numbers(one)}\n```"]
    return "\n\n".join(text)


def _image(folder: Path, experiment: Experiment) -> str:
    """Markdown for the figure; the file goes below the folder."""
    (folder / "figures").mkdir(parents=True, exist_ok=True)
    shutil.copyfile(experiment.figure, folder / "figures" / experiment.figure.name)
    described = html.escape(experiment.question.replace("[", "(").replace("]", ")"))
    path = f"figures/{experiment.figure.name}"
    return f"![Figure: {described}]({path}){{ .figure loading=lazy }}"


def _numbers(experiment: Experiment) -> str:
    """What was printed below the question, but for where the figure went."""
    lines = [line.rstrip() for line in experiment.printed.read_text(encoding="utf-8").splitlines()]
    words, asked = 0, len(experiment.question.split())
    while lines and words < asked:  # it may take two lines
        words += len(lines.pop(0).split())
    return "\n".join(line for line in lines if not line.startswith("Figure: ")).strip("\n")


@cache
def made() -> None:
    """Run what has to be run, once."""
    changed = _last_change(ROOT / "vmexit_sim", ROOT / "models")
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(lambda one: _make(one, changed), experiments()))


def _make(experiment: Experiment, changed: float) -> None:
    script = ROOT / "experiments" / f"{experiment.name}.py"
    needed = max(changed, script.stat().st_mtime)
    files = (experiment.figure, experiment.printed)
    if all(file.is_file() and file.stat().st_mtime > needed for file in files):
        return
    ran = subprocess.run(
        [sys.executable, script, "--quick", "--out", RESULTS],
        cwd=ROOT, env={**os.environ, "MPLBACKEND": "agg"}, capture_output=True, text=True,
    )  # fmt: skip
    if ran.returncode:
        raise SystemExit(f"{script.relative_to(ROOT)} failed:\n{ran.stderr}")
    whole = experiment.printed.with_suffix(".partial")
    whole.write_text(ran.stdout, encoding="utf-8")
    whole.replace(experiment.printed)


def _last_change(*folders: Path) -> float:
    """When something in these folders was last written."""
    files = (file for folder in folders for file in folder.rglob("*") if file.is_file())
    return max(file.stat().st_mtime for file in files if file.suffix in (".py", ".toml", ".xz"))
