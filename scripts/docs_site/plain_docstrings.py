"""A Griffe extension: what docstrings say in reStructuredText's way becomes Markdown.

Docstrings here are plain text with code in backticks. Two things they take from reStructuredText:
a double colon before an indented diagram, and tables between rows of equal signs.
"""

from __future__ import annotations

import ast
import re
from typing import Any

from griffe import Extension, Object

LITERAL = re.compile(r"^([^\S\n]*)(.*?)::[^\S\n]*\n\n((?:\1    .*\n|[^\S\n]*\n)+)", re.M)
RULE = re.compile(r"=+(?: +=+)+")


class PlainDocstrings(Extension):
    """Rewrites docstrings as they are collected."""

    def on_object(self, *, obj: Object, **_: Any) -> None:
        """Rewrite one docstring."""
        if obj.docstring is not None:
            obj.docstring.value = as_markdown(obj.docstring.value)


def as_markdown(text: str) -> str:
    """A docstring as Markdown."""
    return LITERAL.sub(_fenced, "\n".join(_tables(text.split("\n"))) + "\n").rstrip("\n")


def _fenced(block: re.Match[str]) -> str:
    indent, said, literal = block.groups()
    lines = [line[len(indent) + 4 :] for line in literal.rstrip().split("\n")]
    language = "python" if _is_python("\n".join(lines)) else "text"
    body = "\n".join(indent + line for line in [f"```{language}", *lines, "```"])
    return f"{indent}{said}:\n\n{body}\n\n" if said else f"{body}\n\n"


def _is_python(text: str) -> bool:
    """Whether a block is code: it parses, and is more than one name."""
    try:
        tree = ast.parse(text)
    except SyntaxError:
        return False
    return any(not isinstance(one, ast.Expr) for one in tree.body)


def _tables(lines: list[str]) -> list[str]:
    """Tables between rules of equal signs, as Markdown has them."""
    made: list[str] = []
    rows: list[list[str]] | None = None
    spans: list[tuple[int, int | None]] = []
    rules = 0
    for line in lines:
        if RULE.fullmatch(line.strip()):
            rules += 1
            if rules == 1:
                starts = [part.start() for part in re.finditer("=+", line)]
                spans = list(zip(starts, [*starts[1:], None], strict=True))
                rows = []
            elif rules == 2:
                rows = [*(rows or []), ["---"] * len(spans)]
            else:
                made += [f"| {' | '.join(row)} |" for row in rows or []]
                rows, rules = None, 0
        elif rows is not None:
            cells = [line[start:end].strip() for start, end in spans]
            if rows and not all(cells) and rows[-1][0] != "---":  # goes on with the row above
                rows[-1] = [
                    f"{old} {new}".strip() for old, new in zip(rows[-1], cells, strict=True)
                ]
            else:
                rows.append(cells)
        else:
            made.append(line)
    if rows is not None:  # no table after all: a row of equal signs without its end
        return lines
    return made
