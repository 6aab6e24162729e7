"""Command lines: how what was done can be done again, and how large what it wrote is."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path

from vmexit_sim.cli.changes import Changes


def command_of(
    command: str, scenario: str, stated: Mapping[str, object], changes: Changes, output: Path
) -> str:
    """The command line that writes the same file, as a shell takes it.

    Args:
        command: its name.
        scenario: what was named.
        stated: options of the command itself, by name without dashes; what is not set is left out.
        changes: what was changed in the scenario.
        output: the file.
    """
    words = ["vmexit-sim", command, scenario]
    for name, value in {**stated, **changed(changes)}.items():
        words += _option(name, value)
    return shlex.join([*words, "--output", str(output)])


def changed(changes: Changes) -> dict[str, object]:
    """Changes by the names of their options, without dashes."""
    return {each.name.strip("_").replace("_", "-"): getattr(changes, each.name)
            for each in fields(changes)}  # fmt: skip


def size_text(size: int) -> str:
    """A file's size for people."""
    return f"{size / 1024:,.0f} KiB"


def is_set(value: object) -> bool:
    """Whether an option was given; only 0 is a number that is set and false."""
    return not (value is None or value is False or value == [])


def _option(name: str, value: object) -> Iterator[str]:
    """An option's words; none if it is not set."""
    if not is_set(value):
        return
    if value is True:
        yield f"--{name}"
        return
    for each in value if isinstance(value, list) else [value]:
        yield f"--{name}={each}"
