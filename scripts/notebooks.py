"""Run every notebook in a kernel of its own, as Jupyter does.

::

    python scripts/notebooks.py            run each, and keep what it shows as its outputs
    python scripts/notebooks.py --check    run each, and compare with the outputs that are kept

Each runs in an empty folder. Pictures are not compared, since their bytes depend on fonts.
"""

from __future__ import annotations

import difflib
import os
import re
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"

_PASSING = re.compile(r' at 0x[0-9a-f]+|id="T_\w+"|<style scoped>.*?</style>', re.S)
"""What differs from run to run and tells nothing."""


def executed(path: Path) -> Any:
    """A notebook with the outputs of a fresh run.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell failed.
    """
    notebook = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        client = NotebookClient(
            notebook, timeout=180, kernel_name="python3", resources={"metadata": {"path": folder}},
            extra_arguments=["--IPKernelApp.log_level=40"],  # it warns of loopback's plain text
        )  # fmt: skip
        client.execute()
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # the hour at which it ran
        if cell.cell_type == "code":
            cell.outputs = [kept(each) for each in cell.outputs if not is_passing(each)]
    notebook.metadata.pop("widgets", None)
    notebook.metadata["language_info"] = {"name": "python"}
    return notebook


def is_passing(output: Any) -> bool:
    """Whether an output is what progress left behind, or is said on a first run only."""
    if output.output_type == "stream":
        return output.name == "stderr" and "getting the engine ready" in output.text
    return output.output_type == "display_data" and not output.data


def kept(output: Any) -> Any:
    """An output without what differs from run to run."""
    if "data" in output:
        for kind in ("text/html", "text/plain"):
            if kind in output.data:
                output.data[kind] = re.sub(r" at 0x[0-9a-f]+", "", output.data[kind])
    return output


def texts(notebook: Any) -> Iterator[str]:
    """The lines that a notebook shows."""
    for number, cell in enumerate(notebook.cells):
        for output in cell.get("outputs", []):
            yield f"--- cell {number}: {output.output_type}"
            shown = output.get("text") or output.get("data", {}).get("text/html")
            shown = shown or output.get("data", {}).get("text/plain", "")
            yield from _PASSING.sub("", shown).splitlines()


def main(arguments: list[str]) -> int:
    """Run all, and say how long each took; 1 if one shows something else than it keeps."""
    differs = 0
    os.environ.setdefault("PYDEVD_DISABLE_FILE_VALIDATION", "1")
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        begin = time.monotonic()
        notebook = executed(path)
        print(f"{path.name}: {time.monotonic() - begin:.1f} s", flush=True)
        if "--check" not in arguments:
            path.write_text(nbformat.writes(notebook) + "\n", encoding="utf-8")
            continue
        was, now = (list(texts(each)) for each in (nbformat.read(path, as_version=4), notebook))
        if was != now:
            differs = 1
            print("\n".join(difflib.unified_diff(was, now, "kept", "shown now", lineterm="")))
    return differs


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
