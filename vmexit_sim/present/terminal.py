"""The terminal: a console, and tables in the house's style."""

from __future__ import annotations

import os
from collections.abc import Iterable

from rich.console import Console
from rich.table import Table

PLAIN_WIDTH = 118
"""Columns of a table where the terminal's width is not known (a pipe, a file)."""


def console(*, stderr: bool = False) -> Console:
    """A console that does not squeeze tables where nobody looks through a window."""
    made = Console(stderr=stderr, highlight=False)
    if made.is_terminal or "COLUMNS" in os.environ:
        return made
    return Console(stderr=stderr, highlight=False, width=PLAIN_WIDTH)


def table(title: str, *headings: str) -> Table:
    """An empty table: the first column to the left and unbroken, the others to the right."""
    made = Table(title=title, title_justify="left", title_style="italic", box=None,
                  pad_edge=False, padding=(0, 2, 0, 0))  # fmt: skip
    for place, heading in enumerate(headings):
        made.add_column(heading, justify="left" if place == 0 else "right", no_wrap=place == 0,
                        overflow="fold")  # fmt: skip
    return made


def rows(title: str, headings: Iterable[str], body: Iterable[Iterable[str]]) -> Table:
    """Any table, in the house's style: the first column to the left, the others to the right."""
    made = table(title, *headings)
    for row in body:
        made.add_row(*row)
    return made
