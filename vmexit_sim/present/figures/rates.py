"""Rates: exits over time, stacked by reason."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from vmexit_sim.present.colours import REASONS, reason_colour
from vmexit_sim.present.figures.drawing import COLUMN, legend, new_figure, tidy, unit_of
from vmexit_sim.study.over_time import RunOverTime
from vmexit_sim.units import MILLISECOND

PANEL = 1.15
"""Height of a policy's panel, in inches."""


def exits_frame(runs: Sequence[RunOverTime]) -> pd.DataFrame:
    """One row for each policy, bin and reason: `begin`, `end` (ps), `exits`, `per_ms`."""
    rows = [
        (run.policy, reason, int(begin), int(end), int(count), count * MILLISECOND / (end - begin))
        for run in runs
        for reason, counts in run.exits.items()
        for begin, end, count in zip(run.edges[:-1], run.edges[1:], counts, strict=True)
    ]
    columns = ["policy", "reason", "begin", "end", "exits", "per_ms"]
    return pd.DataFrame(rows, columns=columns)


def exits_figure(runs: Sequence[RunOverTime], *, width: float = COLUMN) -> Figure:
    """Exits over time by reason: a panel for each policy, all on the same axes.

    Args:
        runs: one for each policy.
        width: of the figure, in inches.
    """
    unit, scale = unit_of(max(float(run.edges[-1]) for run in runs))
    seen = {reason for run in runs for reason in run.exits}
    reasons = [*(each for each in REASONS if each in seen), *sorted(seen - set(REASONS))]
    with new_figure(width, 0.45 + PANEL * len(runs), len(runs), stacked=True, sharex=True,
                    sharey=True) as (figure, axes):  # fmt: skip
        for run, ax in zip(runs, axes, strict=True):
            edges = run.edges / scale
            below = np.zeros(len(edges) - 1)
            for reason in reasons:
                if reason not in run.exits:
                    continue
                above = below + run.exits[reason] * MILLISECOND / run.widths
                ax.stairs(above, edges, baseline=below, fill=True, color=reason_colour(reason),
                          label=reason, linewidth=0)  # fmt: skip
                below = above
            ax.set_xlim(0 if not run.edges[0] else edges[0], None)
            total = sum(int(counts.sum()) for counts in run.exits.values())
            ax.set_title(f"{run.policy}: {total:,} exits", loc="left", fontweight="normal")
            ax.set_ylim(0, None)
            tidy(ax, grid="y")
        axes[-1].set_xlabel(f"Simulated time ({unit})")
        figure.supylabel("VM exits (1/ms)", fontsize=8)
        legend(figure, axes, grow=True)
    return figure
