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

from vmexit_sim.configuration import checked
from vmexit_sim.device import load_devices
from vmexit_sim.errors import VmexitError
from vmexit_sim.guest.generators import Spread
from vmexit_sim.guest.table import make_table
from vmexit_sim.guest.workload import Recorded, Workload
from vmexit_sim.hypervisor.platform import load_platform
from vmexit_sim.measure.records import RunResult
from vmexit_sim.policy import Policy, Rule, load_policy
from vmexit_sim.scenario import Block, Loaded, load_block
from vmexit_sim.study.simulate import simulate
from vmexit_sim.units import SECOND

if TYPE_CHECKING:
    from matplotlib.figure import Figure

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


def recorded_config(trace: str, *, during: Sequence[str] = ()) -> Loaded:
    """The config accesses of a recorded boot.

    Args:
        trace: a shipped trace's name.
        during: phases of the boot; empty: all.
    """
    block = Block.model_validate(
        {"name": trace, "guest": {"trace": trace}, "only": ["pci_config"], "during": list(during)}
    )
    return load_block(block, load_devices())


def run(
    policy: str | Policy,
    platform: str,
    guest: Workload,
    *,
    costs: dict[str, str] | None = None,
    keep_rows: bool = False,
) -> RunResult:
    """Simulate a guest once, policy and platform by their shipped names.

    Args:
        policy: a name, or a policy made in Python.
        platform: a name.
        guest: what accesses there are.
        costs: costs to put in place of the platform's, as files state them.
        keep_rows: keep every access's record in the result.
    """
    chosen = load_policy(policy) if isinstance(policy, str) else policy
    host = load_platform(platform, changes=costs)
    return simulate(chosen, host, guest, keep_rows=keep_rows)


def config_reads(how: str | dict[str, object], platform: str, reads: int) -> RunResult:
    """A loop of config reads of a function that exists, back to back.

    Args:
        how: a shipped policy's name, or a mechanism as policy files state it.
        platform: a shipped platform's name.
        reads: how many.
    """
    stated = {"kind": "spread", "operations": reads, "between": "0 ps", "space": "pci_config",
              "read_share": 1.0}  # fmt: skip
    if isinstance(how, str):
        return run(how, platform, checked(Spread, stated))
    policy = Policy(title="loop", rules=[checked(Rule, {"side": "host", "mechanism": how})])
    return run(policy, platform, checked(Spread, stated))


def loop_cycles(how: object, platform: str, n: int = 1, **columns: object) -> float:
    """What one access costs, in cycles of the platform, in a loop of equal ones.

    Args:
        how: a mechanism as policy files state it.
        platform: a shipped platform's name.
        n: how many accesses.
        columns: what they are, as `make_table` takes it.
    """
    policy = Policy(title="loop", rules=[checked(Rule, {"side": "host", "mechanism": how})])
    ran = run(policy, platform, Recorded(make_table(n, **columns)))  # type: ignore[arg-type]
    return ran.completion / n * load_platform(platform).clock / SECOND


def _shown(cell: object) -> str:
    if isinstance(cell, float):
        return f"{cell:.4g}"
    return f"{cell:,}" if isinstance(cell, int) else str(cell)
