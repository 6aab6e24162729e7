"""Picture: what the commands that draw have in common."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import App, Parameter

from vmexit_sim.cli.app import OUTPUT, app, at_least, print_json
from vmexit_sim.errors import InputError
from vmexit_sim.output import check_place

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from vmexit_sim.opened import Loaded, Opened

figure_app = App(
    name="figure",
    help="Draw: latencies, their tail, one access, exits and queues over time, costs, sweeps.",
)
app.command(figure_app)

Latency = Literal["stall", "response", "effect"]
Replication = Annotated[int, Parameter(validator=at_least(0))]
FORMATS = ("svg", "png", "pdf")


@Parameter(name="*", group=OUTPUT)
@dataclass(frozen=True, kw_only=True)
class Picture:
    """Where a figure goes.

    Parameters
    ----------
    output
        The file to write.
    format
        What it is saved as; by default as its name ends.
    width
        For one column of a paper (3.5 in) or for a page (7 in).
    """

    output: Annotated[Path, Parameter(name=["--output", "-o"])]
    format: Literal["svg", "png", "pdf"] | None = None
    width: Literal["column", "page"] = "column"

    @property
    def file(self) -> Path:
        """The file, with its ending; asked before what is long, for its place is checked.

        Raises:
            InputError: its name ends otherwise than the format says, or in no format; or no file
                can be put there.
        """
        path = self._named()
        check_place(path)
        return path

    def _named(self) -> Path:
        ending = self.output.suffix.lower().removeprefix(".")
        if self.format is None:
            if ending not in FORMATS:
                raise InputError(
                    "has no ending of a picture", key="--output", value=str(self.output),
                    mend="end it with .svg, .png or .pdf, or give --format",
                )  # fmt: skip
            return self.output
        if ending == self.format:
            return self.output
        if ending in FORMATS:
            raise InputError(
                f"is no {self.format} file's name", key="--output", value=str(self.output),
                mend=f"end it with .{self.format}",
            )  # fmt: skip
        return self.output.with_name(f"{self.output.name}.{self.format}")

    @property
    def inches(self) -> float:
        """The figure's width."""
        return 3.5 if self.width == "column" else 7.0

    def write(
        self,
        figure: Figure,
        frame: pd.DataFrame,
        basis: str,
        *,
        json: bool,
        further: Mapping[str, pd.DataFrame] = MappingProxyType({}),
    ) -> None:
        """Save a figure, and say where it is and what it rests on.

        Args:
            figure: what was drawn.
            frame: the numbers in it.
            basis: what they rest on, in a sentence.
            json: print one document with the numbers instead of a sentence.
            further: more rows of that document, each under its name.
        """
        from vmexit_sim.present.figures import save

        path = save(figure, self.file)
        if json:
            more = {name: _records(rows) for name, rows in further.items()}
            print_json({"figure": str(path), "basis": basis, "rows": _records(frame), **more})
        else:
            print(f"{path}: {basis}")


def one_guest(opened: Opened, block: str | None) -> tuple[Opened, Loaded]:
    """A scenario with one of its guests; a name may be cut short where only one begins so.

    Raises:
        InputError: no such guest, or one of several to choose.
    """
    from vmexit_sim.study.contest import of_one_guest

    names = [each.name for each in opened.blocks]
    if block is not None and block not in names:
        begun = [name for name in names if name.startswith(block)]
        block = begun[0] if len(begun) == 1 else block
    alone = of_one_guest(opened, block)
    return alone, alone.blocks[0]


def trust(opened: Opened) -> str:
    """What means over a scenario's replications rest on."""
    if not opened.is_random:
        return "exact"
    n = opened.replications
    if n == 1:
        return "1 replication, no intervals"
    return f"means of {n:,} replications with Student's t intervals at 95 %"


def moment(stated: str | None, option: str) -> int | None:
    """A time as an option states it, in ps; None: it is not given.

    Raises:
        InputError: it is no time.
    """
    from vmexit_sim.units import parse_time

    try:
        return None if stated is None else parse_time(stated)
    except InputError as error:
        raise error.located(key=option) from None


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """A frame's rows for JSON; what is no finite number is null."""
    return [
        {str(key): _plain(value) for key, value in row.items()} for row in frame.to_dict("records")
    ]


def _plain(value: Any) -> Any:
    value = value.item() if hasattr(value, "item") else value
    return None if isinstance(value, float) and not math.isfinite(value) else value
