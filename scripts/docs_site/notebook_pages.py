"""Notebooks as pages: text as it stands, code as code, outputs as they were saved."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any


def listing(folder: Path) -> str:
    """A list of all notebooks, by title."""
    entries = []
    for path in sorted(folder.glob("*.ipynb")):
        title = _text(_cells(path)[0]).partition("\n")[0].removeprefix("# ").strip()
        entries.append(f"* [{title}](notebooks/{path.stem}.md)")
    return "\n".join(entries)


def page(path: Path, pictures: Path) -> str:
    """One notebook as Markdown.

    Args:
        path: the notebook.
        pictures: the folder that its pictures go to.
    """
    parts = []
    for number, cell in enumerate(_cells(path)):
        if cell["cell_type"] == "markdown":
            parts.append(_text(cell))
        elif cell["cell_type"] == "code":
            parts.append(f"```python\n{_text(cell)}\n```")
            for place, output in enumerate(cell["outputs"]):
                name = f"{path.stem}-{number}-{place}.png"
                parts.append(_output(output, pictures / name))
    parts.append(f"*This is `notebooks/{path.name}`; open it in Jupyter to change it.*")
    return "\n\n".join(part for part in parts if part) + "\n"


def _cells(path: Path) -> list[dict[str, Any]]:
    cells: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return cells


def _text(cell: dict[str, Any]) -> str:
    return "".join(cell["source"]).strip()


def _output(output: dict[str, Any], picture: Path) -> str:
    """The richest form of an output that a page can show."""
    if output.get("name") == "stderr":  # progress, and what is said once
        return ""
    if output["output_type"] == "stream":
        return f"```text\n{''.join(output['text']).rstrip()}\n```"
    data = output.get("data", {})
    if "image/png" in data:
        picture.parent.mkdir(parents=True, exist_ok=True)
        picture.write_bytes(base64.b64decode("".join(data["image/png"])))
        return f"![What the cell above draws]({picture.name}){{ .figure loading=lazy }}"
    if "text/html" in data:
        lines = "".join(data["text/html"]).splitlines()
        inner = "\n".join(line for line in lines if line.strip())  # a blank line ends raw HTML
        return f'<div class="notebook-output">\n{inner}\n</div>'
    plain = "".join(data.get("text/plain", ())).rstrip()
    return f"```text\n{plain}\n```" if plain else ""
