"""Progress: what a long call is at, in a notebook, below the cell, while it lasts.

IPython's own display does it: no widget need be installed. A script or a shell shows nothing; a
call that is over soon shows nothing either.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape
from typing import Any

PATIENCE = 1.0
"""Seconds that a call may take before it says what it is at."""

INTERVAL = 0.2
"""Least seconds between two updates: a browser is to keep up."""


class Progress:
    """What is told of a call, and where it shows."""

    def __init__(self, display: Any) -> None:
        """Begin to wait.

        Args:
            display: IPython's `display`; None: nothing shows.
        """
        self._display = display
        self._handle: Any = None
        self._next = time.monotonic() + PATIENCE

    def doing(self, what: str) -> None:
        """Say what is being run."""
        self._show(f"<progress></progress> {escape(what)}")

    def through(self, done: int, of: int) -> None:
        """Say how many parts are through."""
        self._show(f'<progress value="{done}" max="{of}"></progress> {done:,} of {of:,}')

    def over(self) -> None:
        """Take away what shows."""
        if self._handle is not None:
            self._handle.update({}, raw=True)

    def _show(self, html: str) -> None:
        now = time.monotonic()
        if self._display is None or now < self._next:
            return
        self._next = now + INTERVAL
        shown = {"text/html": html, "text/plain": "…"}
        if self._handle is None:
            self._handle = self._display(shown, raw=True, display_id=True)
        else:
            self._handle.update(shown, raw=True)


@contextmanager
def progress() -> Iterator[Progress]:
    """What a call tells its progress to, until it is over."""
    told = Progress(_notebook_display())
    try:
        yield told
    finally:
        told.over()


def _notebook_display() -> Any:
    """IPython's `display`, if a notebook's kernel runs this: a shell has no place to update."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    if shell is None or not hasattr(shell, "kernel"):
        return None
    from importlib import import_module

    return import_module("IPython.display").display
