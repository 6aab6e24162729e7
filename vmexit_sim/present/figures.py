"""Figures: plain functions that take results, or tidy frames, and return a matplotlib figure.

::

    results ──► frame (one row a bar, a part of a bar, a dot, or a point) ──► figure ──► file

Every axis has its unit, every policy its own colour in every figure (`vmexit_sim.present.colours`),
and every estimate that is not exact its interval. Legends stand outside the axes, so they cover no
data. Figures are made without pyplot: they hold no global state and need no display.

This module loads seaborn, matplotlib and pandas; import it only where a figure is wanted.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from vmexit_sim.errors import InputError, nearest
from vmexit_sim.present.colours import BLACK, PARTS, part_colour, part_of, policy_colour
from vmexit_sim.present.drawing import (
    BAR,
    COLUMN,
    PAGE,
    Bars,
    Crossing,
    Lines,
    Reference,
    draw_bars,
    draw_lines,
    legend,
    log_axis,
    new_figure,
    styled,
    tidy,
)
from vmexit_sim.study.outcome import BlockOutcome
from vmexit_sim.units import MICROSECOND, MILLISECOND, NANOSECOND, SECOND

__all__ = [
    "Bars", "Crossing", "Lines", "Reference", "bar_panels", "dots", "line_panels", "policy_bars",
    "policy_frame", "policy_panel", "save", "stacked_bars", "stage_breakdown", "stage_frame",
    "unit_of",
]  # fmt: skip


def policy_frame(outcome: BlockOutcome) -> pd.DataFrame:
    """Each policy's hypervisor time: `policy`, `time`, `low`, `high` (ps), `ratio` to the first."""
    rows = [
        (o.policy.name, o.hypervisor_time.value, o.hypervisor_time.low, o.hypervisor_time.high,
         o.ratio.value)
        for o in outcome.policies
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=["policy", "time", "low", "high", "ratio"])


def stage_frame(outcome: BlockOutcome) -> pd.DataFrame:
    """Time of each stage in which the vCPU stands still: `policy`, `stage`, `time` (ps)."""
    rows = [
        (o.policy.name, stage.name, time.value)
        for o in outcome.policies
        for stage, time in o.stage_times.items()
        if stage.is_front
    ]
    return pd.DataFrame(rows, columns=["policy", "stage", "time"])


def stage_breakdown(data: BlockOutcome | pd.DataFrame) -> Figure:
    """Where the vCPU's time goes under each policy: stacked horizontal bars.

    Args:
        data: a compared guest, or a frame as `stage_frame` makes it.
    """
    frame = stage_frame(data) if isinstance(data, BlockOutcome) else data
    parts = frame.assign(part=frame["stage"].map(part_of))
    order = [*PARTS, *(part for part in parts["part"].unique() if part not in PARTS)]
    unit, scale = unit_of(float(frame.groupby("policy")["time"].sum().max()))
    return stacked_bars(
        parts.assign(value=parts["time"] / scale), row="policy", part="part", order=order,
        colours={part: part_colour(part) for part in order},
        xlabel=f"Time the vCPU stands still ({unit})",
    )  # fmt: skip


def policy_bars(data: BlockOutcome | pd.DataFrame, *, log: bool = False) -> Figure:
    """What each policy costs: bars, labelled with the ratio to the first policy.

    Args:
        data: a compared guest, or a frame as `policy_frame` makes it.
        log: whether the time axis is logarithmic.
    """
    return bar_panels([policy_panel(data, log=log)])


def policy_panel(data: BlockOutcome | pd.DataFrame, *, log: bool = False, title: str = "") -> Bars:
    """The panel of `policy_bars`, for `bar_panels` to stand beside other guests'."""
    frame = policy_frame(data) if isinstance(data, BlockOutcome) else data
    unit, scale = unit_of(float(frame["time"].max()))
    bars = pd.DataFrame({
        "label": frame["policy"], "value": frame["time"] / scale,
        "low": frame["low"] / scale, "high": frame["high"] / scale,
        "note": [f"× {ratio:.3g}" if math.isfinite(ratio) else "" for ratio in frame["ratio"]],
        "colour": [policy_colour(name) for name in frame["policy"]],
    })  # fmt: skip
    return Bars(frame=bars, xlabel=f"Hypervisor time ({unit})", log=log, title=title)


def bar_panels(panels: Sequence[Bars]) -> Figure:
    """Panels of horizontal bars side by side, each with its own axes."""
    rows = max(len(panel.frame) for panel in panels)
    width = PAGE if len(panels) > 1 else 1.4 * COLUMN
    with new_figure(width, 0.75 + BAR * rows, len(panels)) as (figure, axes):
        for panel, ax in zip(panels, axes, strict=True):
            draw_bars(ax, panel)
        legend(figure, axes)
    return figure


def stacked_bars(
    frame: pd.DataFrame, *, row: str, part: str, order: Sequence[str],
    colours: Mapping[str, str], xlabel: str,
) -> Figure:  # fmt: skip
    """Stacked horizontal bars.

    Args:
        frame: tidy: the columns `row`, `part`, and ``value``.
        row: the column that names the bars, drawn in order of appearance from the top.
        part: the column that names their parts.
        order: parts from left to right; those without any value are left out.
        colours: each part's colour.
        xlabel: what ``value`` is, with its unit.
    """
    wide = frame.pivot_table(index=row, columns=part, values="value", aggfunc="sum", fill_value=0)
    wide = wide.reindex(index=list(frame[row].unique()))
    with new_figure(PAGE, 1.0 + BAR * len(wide), 1) as (figure, axes):
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
        legend(figure, axes)
    return figure


def dots(
    frame: pd.DataFrame, *, row: str, series: str, xlabel: str,
    colours: Mapping[str, str], log: bool = False,
) -> Figure:  # fmt: skip
    """One line of dots for each row, joined: how far a row's values lie apart.

    Args:
        frame: tidy: the columns `row`, `series`, ``value``, and if wanted ``published``, which is
            drawn as an open diamond.
        row: the column that names the rows, drawn in order of appearance from the top.
        series: the column that names the dots.
        xlabel: what ``value`` is, with its unit.
        colours: each series' colour.
        log: whether the axis is logarithmic.
    """
    rows = list(frame[row].unique())
    names = list(frame[series].unique())
    place = frame[row].map(rows.index)
    with new_figure(PAGE, 1.0 + BAR * len(rows), 1) as (figure, axes):
        ax = axes[0]
        ends = frame.groupby(place)["value"].agg(["min", "max"])
        ax.hlines(ends.index, ends["min"], ends["max"], color="#cccccc", linewidth=1, zorder=1)
        sns.scatterplot(x=frame["value"], y=place, hue=frame[series], style=frame[series],
                        hue_order=names, style_order=names, palette=dict(colours), ax=ax, s=36,
                        zorder=3, edgecolor="white", linewidth=0.5)  # fmt: skip
        if ax.legend_ is not None:
            ax.legend_.remove()
        if "published" in frame:
            ax.scatter(frame["published"], place, marker="D", s=70, facecolor="none",
                       edgecolor=BLACK, linewidth=0.8, zorder=4, label="published")  # fmt: skip
        ax.set_yticks(range(len(rows)), rows)
        ax.set_ylim(len(rows) - 0.5, -0.5)
        ax.set(xlabel=xlabel, ylabel="")
        if log:
            log_axis(ax, "x")
        tidy(ax, grid="x")
        legend(figure, axes)
    return figure


def line_panels(panels: Sequence[Lines], *, height: float = 2.6) -> Figure:
    """Panels of lines side by side; break-evens and references are explained in the legend.

    Args:
        panels: one to three of them.
        height: of the figure, in inches.
    """
    width = PAGE if len(panels) > 1 else 1.4 * COLUMN
    with new_figure(width, height, len(panels)) as (figure, axes):
        for panel, ax in zip(panels, axes, strict=True):
            draw_lines(ax, panel)
        legend(figure, axes)
    return figure


def save(figure: Figure, path: Path) -> Path:
    """Write a figure as SVG, PNG or PDF, by the path's ending; equal figures give equal bytes.

    Raises:
        InputError: another ending, or a place that cannot be written to.
    """
    dates: dict[str, dict[str, Any]] = {
        ".svg": {"Date": None},
        ".pdf": {"CreationDate": None},
        ".png": {},
    }
    if path.suffix not in dates:
        raise InputError("has no ending of a picture", value=path.name,
                         mend=nearest(path.suffix, dates))  # fmt: skip
    partial = path.with_name(f"{path.stem}.partial{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with styled():
            figure.savefig(partial, metadata=dates[path.suffix])
        partial.replace(path)
    except OSError as error:
        with suppress(OSError):  # the folder itself may be what is wrong
            partial.unlink(missing_ok=True)
        raise InputError(f"cannot be written: {error.strerror or error}", file=path) from None
    return path


def unit_of(time: float) -> tuple[str, int]:
    """The unit that suits an axis up to `time` (ps): its name, and its length in ps."""
    for name, scale in (("s", SECOND), ("ms", MILLISECOND), ("µs", MICROSECOND)):
        if time >= scale:
            return name, scale
    return "ns", NANOSECOND
