"""What every experiment script shares: its options, its tables, and where its figure goes.

A script asks one question in its docstring, and has one function that prints tables and returns a
figure::

    def main(options: Options) -> Figure: …

    if __name__ == "__main__":
        run_experiment(main, __doc__, __file__)
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vmexit_sim.errors import VmexitError
from vmexit_sim.study.by_name import config_reads, loop_cycles, recorded_config, run

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "Options", "config_reads", "loop_cycles", "print_table", "recorded_config", "run",
    "run_experiment", "say",
]  # fmt: skip

WIDTH = 110
"""Columns that a table may use where no terminal says how many there are."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """What an experiment was asked for.

    Attributes:
        quick: fewer accesses and replications: seconds instead of minutes.
        out: the folder that the figure goes to.
        suffix: what the figure is saved as, ".svg", ".png" or ".pdf".
    """

    quick: bool = False
    out: Path = Path("results")
    suffix: str = ".svg"


def run_experiment(
    main: Callable[[Options], Figure],
    about: str | None,
    script: str,
    argv: Sequence[str] | None = None,
) -> None:
    """Run an experiment from the command line, and save its figure under the script's name.

    Args:
        main: prints the tables, returns the figure.
        about: the script's docstring; its first line heads the output.
        script: the script's file.
        argv: the arguments; None: the process's.

    Raises:
        SystemExit: status 2 after a mistake in what the user gave, which is printed.
    """
    text = (about or "").strip()
    parser = argparse.ArgumentParser(
        prog=Path(script).name,
        description=text,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true", help="fewer accesses and replications")
    parser.add_argument("--out", type=Path, default=Options.out, metavar="DIR",
                        help="where the figure goes (default: %(default)s/)")  # fmt: skip
    parser.add_argument("--format", choices=["svg", "png", "pdf"], default="svg",
                        help="what the figure is saved as (default: %(default)s)")  # fmt: skip
    given = parser.parse_args(argv)
    options = Options(quick=given.quick, out=given.out, suffix=f".{given.format}")
    try:
        say(text.partition("\n")[0])
        figure = main(options)
        from vmexit_sim.present.figures import save

        saved = save(figure, options.out / (Path(script).stem + options.suffix))
    except VmexitError as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from None
    say(f"Figure: {saved}")


def print_table(
    columns: Sequence[str], rows: Sequence[Sequence[object]], *, title: str = ""
) -> None:
    """Print a table: the first column as text, the others right-aligned, their heads with units.

    A float is shown with four significant digits, a count with its thousands set off; give text
    where something else is wanted.
    """
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(title, "bold") if title else None, title_justify="left",
                  box=SIMPLE_HEAD, pad_edge=False)  # fmt: skip
    for number, column in enumerate(columns):
        table.add_column(Text(column), justify="right" if number else "left",
                         no_wrap=not number, overflow="fold")  # fmt: skip
    for row in rows:
        table.add_row(*(Text(_shown(cell)) for cell in row))
    width = None if sys.stdout.isatty() else WIDTH
    Console(width=width, highlight=False).print(table)


def say(text: str) -> None:
    """Print a paragraph, wrapped."""
    from rich.console import Console

    width = None if sys.stdout.isatty() else WIDTH
    Console(width=width, highlight=False, markup=False).print(text, soft_wrap=False)


def _shown(cell: object) -> str:
    if isinstance(cell, float):
        return f"{cell:.4g}"
    return f"{cell:,}" if isinstance(cell, int) else str(cell)
