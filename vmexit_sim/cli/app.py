"""The application that commands register with, and what their parameters have in common."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Group, Parameter

from vmexit_sim import __version__
from vmexit_sim.errors import InputError

OUTPUT = Group("Output", sort_key=10)
CHANGES = Group("Changes to the scenario", sort_key=5)

app = App(
    name="vmexit-sim",
    version=__version__,
    suppress_keyboard_interrupt=False,  # `main` says that it was
    help="""What VM exits cost a guest, under any policy for reaching its devices.

    Start with `vmexit-sim compare`: two recorded Linux guests, a dozen policies, side by side.
    """,
    help_epilogue="""Scenarios, traces, workloads, platforms, policies and studies go by name
    (`vmexit-sim models` lists them) or by path.""",
)
app.register_install_completion_command()


def at_least(least: int) -> Callable[[object, int | None], None]:
    """A check of a whole number on the command line."""

    def check(_: object, value: int | None) -> None:
        if value is not None and value < least:
            raise ValueError(f"must be {least} or more")

    return check


Json = Annotated[bool, Parameter(name="--json", negative=(), group=OUTPUT)]
Engine = Literal["auto", "compiled", "simpy"]
Names = Annotated[list[str] | None, Parameter(consume_multiple=True, negative=())]
Flag = Annotated[bool, Parameter(negative=())]
Count = Annotated[int, Parameter(validator=at_least(1))]
OptionalCount = Annotated[int | None, Parameter(validator=at_least(1))]


def check_parquet(path: Path, option: str) -> None:
    """Refuse a file's name that is no Parquet file's."""
    if path.suffix != ".parquet":
        raise InputError("is no Parquet file's name", key=option, value=str(path),
                         mend="end it with .parquet")  # fmt: skip


def cores(jobs: int | None) -> int:
    """How many run at a time; as many as there are cores, if the user does not say."""
    return jobs or os.cpu_count() or 1


@contextmanager
def status() -> Iterator[Callable[[str], None]]:
    """A line on standard error that says what is being done, while it is."""
    from vmexit_sim.present import terminal

    with terminal.console(stderr=True).status("starting") as shown:
        yield shown.update


def print_json(document: object) -> None:
    """Print a document, and nothing else."""
    print(json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False))
