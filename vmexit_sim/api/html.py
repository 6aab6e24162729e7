"""HTML: what a terminal shows, as a notebook shows it.

Reports are rich's texts and tables. rich's own export draws a picture of a terminal; a notebook is
better served with real tables, which scroll, copy and take on the notebook's style.
"""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text


def html_of(report: RenderableType) -> str:
    """A report as HTML: paragraphs, and tables with captions.

    Raises:
        TypeError: the report holds something that is neither text, table, group nor padding.
    """
    return "\n".join(_parts(report))


def _parts(report: RenderableType) -> Iterator[str]:
    match report:
        case Group():
            for part in report.renderables:
                yield from _parts(part)
        case Padding():
            yield from _parts(report.renderable)
        case Table():
            yield from _table(report)
        case Text() | str():
            if _plain(report):
                bold = isinstance(report, Text) and "bold" in str(report.style)
                text = f"<b>{_plain(report)}</b>" if bold else _plain(report)
                yield f'<p style="margin: 0.2em 0">{text}</p>'
        case _:
            raise TypeError(f"no HTML for {type(report).__name__}")


def _table(table: Table) -> Iterator[str]:
    align = [f'style="text-align: {column.justify}"' for column in table.columns]
    yield "<table>"
    if table.title:
        yield f'<caption style="text-align: left">{_plain(table.title)}</caption>'
    if table.show_header:
        cells = (f"<th {how}>{_plain(column.header)}</th>"
                 for how, column in zip(align, table.columns, strict=True))  # fmt: skip
        yield f"<thead><tr>{''.join(cells)}</tr></thead>"
    yield "<tbody>"
    for row in zip(*(column.cells for column in table.columns), strict=True):
        cells = (f"<td {how}>{_plain(cell)}</td>" for how, cell in zip(align, row, strict=True))
        yield f"<tr>{''.join(cells)}</tr>"
    yield "</tbody></table>"
    if table.caption:
        yield f'<p style="margin: 0.2em 0">{_plain(table.caption)}</p>'


def _plain(cell: RenderableType) -> str:
    """A cell's text, without its colours."""
    if not isinstance(cell, str | Text):
        raise TypeError(f"no HTML for {type(cell).__name__} in a table")
    return escape(str(cell))
