"""Uses: utilisation and queues over time, of whatever is contended."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vmexit_sim.present.colours import SERIES
from vmexit_sim.present.figures.drawing import COLUMN, legend, new_figure, tidy, unit_of
from vmexit_sim.study.over_time import RunOverTime, Use

MOST = len(SERIES)
"""Most locks, threads and mailboxes that are drawn: the most used and waited for."""

LONGEST = 34
"""Characters of a name in the legend."""


def use_frame(run: RunOverTime) -> pd.DataFrame:
    """One row for each resource and bin.

    Columns: `resource`, `kind`, `begin`, `end` (ps), `utilisation` (0 … 1), `queue` (mean over the
    bin), `most` (the longest queue that lasted).
    """
    rows = [
        (use.name, use.kind, int(begin), int(end),
         int(busy) / (max(use.servers, 1) * int(end - begin)), int(queued) / int(end - begin),
         int(most))
        for use in run.uses
        for begin, end, busy, queued, most in zip(
            run.edges[:-1], run.edges[1:], use.busy, use.queued, use.most, strict=True)
    ]  # fmt: skip
    columns = ["resource", "kind", "begin", "end", "utilisation", "queue", "most"]
    return pd.DataFrame(rows, columns=columns)


def use_figure(run: RunOverTime, *, width: float = COLUMN) -> Figure:
    """Utilisation of threads and servers, and how many wait, over time; dashed: over all of it.

    A line is the time-weighted mean of each bin, and a dashed one that of all bins. What nobody
    waited for is left out where something else was (`RunOverTime.contended`).

    Args:
        run: one policy's.
        width: of the figure, in inches.
    """
    shown = sorted(run.contended, key=lambda use: -run.mean_queue(use) - run.utilisation(use))
    shown = shown[:MOST]
    unit, scale = unit_of(float(run.edges[-1]))
    with new_figure(width, 2.9, 2, stacked=True, sharex=True) as (figure, axes):
        for use, colour in zip(shown, SERIES, strict=False):
            edges, widths = run.edges / scale, run.widths
            if use.servers:
                values = 100 * use.busy / (use.servers * widths)
                _line(axes[0], values, edges, 100 * run.utilisation(use), colour)
            if use.kind != "thread":
                _line(axes[1], use.queued / widths, edges, run.mean_queue(use), colour)
            axes[0].plot([], [], color=colour, linewidth=1.3, label=_named(run, use))
        axes[0].plot([], [], color="#555555", linestyle="--", linewidth=0.9,
                     label="mean over time")  # fmt: skip
        axes[0].set(ylim=(0, 105), ylabel="In use (%)")
        axes[0].set_yticks([0, 25, 50, 75, 100])
        axes[1].set(ylabel="Waiting, or held (1)", xlabel=f"Simulated time ({unit})")
        axes[1].set_ylim(0, None)
        axes[1].set_xlim(run.edges[0] / scale, run.edges[-1] / scale)
        for ax in axes:
            tidy(ax, grid="both")
        legend(figure, axes, grow=True)
    return figure


def _line(ax: Axes, values: object, edges: object, mean: float, colour: str) -> None:
    ax.stairs(values, edges, baseline=None, color=colour, linewidth=1.0)  # type: ignore[arg-type]
    ax.axhline(mean, color=colour, linestyle="--", linewidth=0.9)


def _named(run: RunOverTime, use: Use) -> str:
    """A resource's name with its means."""
    name = use.name if len(use.name) <= LONGEST else use.name[: LONGEST - 1] + "…"
    told = []
    if use.servers:
        told.append(f"{100 * run.utilisation(use):.3g} %")
    if use.kind != "thread":
        told.append(f"{run.mean_queue(use):.2g} {'waiting' if use.servers else 'held'}")
    return f"{name}: {', '.join(told)}"
