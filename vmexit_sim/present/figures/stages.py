"""Stage breakdown: where the vCPU's time goes, as stacked bars."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd
from matplotlib.figure import Figure

from vmexit_sim.present.colours import PARTS, part_colour, part_of
from vmexit_sim.present.figures.drawing import BAR, PAGE, legend, new_figure, tidy, unit_of
from vmexit_sim.study.outcome import BlockOutcome


def stage_frame(outcome: BlockOutcome) -> pd.DataFrame:
    """Time of each stage in which the vCPU stands still: `policy`, `stage`, `time` (ps)."""
    rows = [
        (o.policy.name, stage.name, time.value)
        for o in outcome.policies
        for stage, time in o.stage_times.items()
        if stage.is_front
    ]
    return pd.DataFrame(rows, columns=["policy", "stage", "time"])


def stage_breakdown(data: BlockOutcome | pd.DataFrame, *, width: float = PAGE) -> Figure:
    """Where the vCPU's time goes under each policy: stacked horizontal bars.

    Args:
        data: a compared guest, or a frame as `stage_frame` makes it.
        width: of the figure, in inches.
    """
    frame = stage_frame(data) if isinstance(data, BlockOutcome) else data
    parts = frame.assign(part=frame["stage"].map(part_of))
    order = [*PARTS, *(part for part in parts["part"].unique() if part not in PARTS)]
    unit, scale = unit_of(float(frame.groupby("policy")["time"].sum().max()))
    return stacked_bars(
        parts.assign(value=parts["time"] / scale), row="policy", part="part", order=order,
        colours={part: part_colour(part) for part in order},
        xlabel=f"Time the vCPU stands still ({unit})", width=width,
    )  # fmt: skip


def stacked_bars(
    frame: pd.DataFrame, *, row: str, part: str, order: Sequence[str],
    colours: Mapping[str, str], xlabel: str, width: float = PAGE,
) -> Figure:  # fmt: skip
    """Stacked horizontal bars.

    Args:
        frame: tidy: the columns `row`, `part`, and ``value``.
        row: the column that names the bars, drawn in order of appearance from the top.
        part: the column that names their parts.
        order: parts from left to right; those without any value are left out.
        colours: each part's colour.
        xlabel: what ``value`` is, with its unit.
        width: of the figure, in inches.
    """
    wide = frame.pivot_table(index=row, columns=part, values="value", aggfunc="sum", fill_value=0)
    wide = wide.reindex(index=list(frame[row].unique()))
    with new_figure(width, 1.0 + BAR * len(wide), 1) as (figure, axes):
        ax = axes[0]
        left = pd.Series(0.0, index=wide.index)
        for name in [name for name in order if name in wide and wide[name].any()]:
            ax.barh(list(wide.index), wide[name], left=left, height=0.72, color=colours[name],
                    label=name, edgecolor="white", linewidth=0.4)  # fmt: skip
            left += wide[name]
        ax.invert_yaxis()
        ax.set_xlabel(xlabel)
        ax.margins(x=0.02)
        tidy(ax, grid="x")
        legend(figure, axes, grow=width < PAGE)
    return figure
