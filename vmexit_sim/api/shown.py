"""Shown: what all results have in common, which is how people see them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import RenderableType


class Shown(ABC):
    """A result that a terminal, a notebook and pandas show.

    ``print`` writes the command line's tables, a notebook shows them as HTML, the `repr` is one
    line, and `to_frame` is for everything else.
    """

    @abstractmethod
    def to_frame(self) -> pd.DataFrame:
        """The result as one tidy frame."""

    @abstractmethod
    def _report(self) -> RenderableType:
        """What the command line shows."""

    @abstractmethod
    def _summary(self) -> str:
        """What it is, in a few words."""

    def __str__(self) -> str:
        """What the command line shows, as plain text."""
        from io import StringIO

        from rich.console import Console

        from vmexit_sim.present.terminal import PLAIN_WIDTH

        written = StringIO()
        Console(file=written, width=PLAIN_WIDTH, highlight=False, color_system=None,
                force_terminal=False).print(self._report())  # fmt: skip
        lines = (line.rstrip() for line in written.getvalue().splitlines())
        return "\n".join(lines).rstrip()

    def __repr__(self) -> str:
        """One line."""
        return f"<{type(self).__name__}: {self._summary()}>"

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        from vmexit_sim.api.html import html_of

        return html_of(self._report())
