"""Saving: a figure as a file, the same bytes for the same figure."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from vmexit_sim.errors import InputError
from vmexit_sim.output import write_whole
from vmexit_sim.present.figures.drawing import styled

NO_DATE: dict[str, dict[str, Any]] = {
    ".svg": {"Date": None},
    ".pdf": {"CreationDate": None},
    ".png": {},
}
"""By ending, what keeps the time out of a file."""


def save(figure: Figure, path: Path) -> Path:
    """Write a figure as SVG, PNG or PDF, by the path's ending; equal figures give equal bytes.

    Args:
        figure: what was drawn.
        path: the file; its folder is made if it is not there (where a long run comes before,
            `output.check_place` tells beforehand whether it is).

    Returns:
        The path.

    Raises:
        InputError: another ending, or a place that cannot be written to.
    """
    ending = path.suffix.lower()
    if ending not in NO_DATE:
        raise InputError("has no ending of a picture", value=path.name,
                         mend="end it with .svg, .png or .pdf")  # fmt: skip
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror or error}", file=path) from None

    def write(partial: Path) -> None:
        with styled():
            figure.savefig(partial, format=ending[1:], metadata=NO_DATE[ending])

    write_whole(path, write)
    return path
