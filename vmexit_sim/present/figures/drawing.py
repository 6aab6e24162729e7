"""Drawing on axes: the house style, and how bars, lines, references and legends look.

`vmexit_sim.present.figures` is what to call; this is what it is made of.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from vmexit_sim.present.colours import BLACK, GREY
from vmexit_sim.units import MICROSECOND, MILLISECOND, NANOSECOND, SECOND

PAGE = 7.0
"""Width of a figure across a paper's two columns, in inches."""

COLUMN = 3.5
"""Width of a figure in one column, in inches."""

BAR = 0.26
"""Height of one row of bars or dots, in inches."""

MARGIN = 0.05
"""Room on either side of a legend, in inches."""

WIDEST = 2.8
"""Width of the widest line, in points."""

_STYLE = {
    **sns.axes_style("ticks"),
    **sns.plotting_context("paper"),
    "font.size": 8,
    "axes.labelsize": 8,
    "axes.titlesize": 8,
    "axes.titleweight": "bold",
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.7,
    "grid.linewidth": 0.5,
    "grid.color": "#dddddd",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # ships with matplotlib: the same on every machine
    "svg.hashsalt": "vmexit-sim",
    "pdf.fonttype": 42,
    "savefig.dpi": 200,
    "figure.dpi": 120,
}


@dataclass(frozen=True, kw_only=True)
class Bars:
    """A panel of horizontal bars.

    Attributes:
        frame: one row a bar: `label`, `value`, and if wanted `low` and `high` (interval),
            `published` (a value to hold it against), `note` (at the bar's end), `colour`.
        xlabel: what `value` is, with its unit.
        title: above the panel.
        log: whether the axis is logarithmic.
    """

    frame: pd.DataFrame
    xlabel: str
    title: str = ""
    log: bool = False


@dataclass(frozen=True, kw_only=True)
class Crossing:
    """A break-even on a line: exact as a vertical, simulated as a dot with its interval.

    Attributes:
        series: the line it belongs to; gives colour and height.
        exact: where theory puts it; NaN: there is no theory of it.
        simulated: where the simulation finds it, if it was asked.
        low: lower end of the simulated interval.
        high: upper end of it.
    """

    series: str
    exact: float
    simulated: float | None = None
    low: float = math.nan
    high: float = math.nan


@dataclass(frozen=True, kw_only=True)
class Reference:
    """A value to read a line against: a thin line across the panel, named in the legend."""

    axis: Literal["x", "y"]
    at: float
    label: str
    dash: str = ":"


@dataclass(frozen=True, kw_only=True)
class Lines:
    """A panel of lines; a band is drawn where its ends are finite.

    Attributes:
        frame: one row a point: `series`, `x`, `y`, and if wanted `low` and `high` (a band).
        xlabel: what `x` is, with its unit.
        ylabel: what `y` is, with its unit.
        colours: each series' colour.
        title: above the panel.
        log: axes that are logarithmic, of "xy".
        crossings: break-evens.
        dots: estimates beside exact lines, with their intervals: as `frame`, with `low` and `high`.
        references: values to read the lines against.
        limits: lower and upper end of the y axis, if not the data's.
    """

    frame: pd.DataFrame
    xlabel: str
    ylabel: str
    colours: Mapping[str, str]
    title: str = ""
    log: str = ""
    crossings: Sequence[Crossing] = ()
    dots: pd.DataFrame | None = None
    references: Sequence[Reference] = ()
    limits: tuple[float, float] | None = None


def styled() -> AbstractContextManager[None]:
    """The house style, while it lasts."""
    return mpl.rc_context(_STYLE)


@contextmanager
def new_figure(
    width: float, height: float, panels: int, *, stacked: bool = False, **subplots: Any
) -> Iterator[tuple[Figure, list[Axes]]]:
    """A styled figure with panels side by side; what is drawn in the block gets the style.

    Args:
        width: in inches.
        height: in inches.
        panels: how many axes.
        stacked: put them under one another instead.
        **subplots: for `Figure.subplots`.
    """
    rows, columns = (panels, 1) if stacked else (1, panels)
    with styled():
        figure = Figure(figsize=(width, height), layout="constrained")
        axes = figure.subplots(rows, columns, squeeze=False, **subplots)
        yield figure, list(axes.flat)
        figure.draw_without_rendering()  # ticks are made when first drawn: make them here
        figure.draw_without_rendering()  # the layout comes nearer with every drawing: it ends here
        figure.set_layout_engine("none")


def draw_bars(ax: Axes, panel: Bars) -> None:
    """Bars from top to bottom, with interval, published value and note where the frame has them."""
    frame = panel.frame.reset_index(drop=True)
    colours = frame["colour"] if "colour" in frame else pd.Series(GREY, index=frame.index)
    sns.barplot(x=frame["value"], y=frame["label"], hue=frame.index, palette=list(colours),
                saturation=1, width=0.72, legend=False, orient="h", errorbar=None,
                ax=ax)  # fmt: skip
    ends = frame["value"].copy()
    if "low" in frame:
        known = frame[np.isfinite(frame["low"]) & (frame["high"] > frame["low"])]
        wings = [known["value"] - known["low"], known["high"] - known["value"]]
        ax.errorbar(known["value"], known.index, xerr=wings, fmt="none", ecolor=BLACK,
                    elinewidth=0.8, capsize=2)  # fmt: skip
        ends = ends.combine(known["high"], max, fill_value=-math.inf)
    if "published" in frame:
        ax.scatter(frame["published"], frame.index, marker="D", s=24, facecolor="white",
                   edgecolor=BLACK, linewidth=0.9, zorder=4, label="published")  # fmt: skip
        ends = ends.combine(frame["published"].fillna(-math.inf), max)
    if panel.log:
        ax.set_xscale("log")
        positive = frame["value"][frame["value"] > 0]
        ax.set_xlim(10 ** math.floor(math.log10(positive.min()) - 0.3), ends.max() * 6)
        log_axis(ax, "x")
    else:
        ax.set_xlim(0, ends.max() * (1.35 if "note" in frame else 1.05))
    if "note" in frame:
        for place, (end, note) in enumerate(zip(ends, frame["note"], strict=True)):
            at = max(end, ax.get_xlim()[0])
            ax.annotate(note, (at, place), xytext=(7, 0), textcoords="offset points",
                        va="center", fontsize=7)  # fmt: skip
    ax.set(xlabel=panel.xlabel, ylabel="", title=panel.title)
    tidy(ax, grid="x")


def draw_lines(ax: Axes, panel: Lines) -> None:
    """Lines with bands, break-evens and references."""
    frame, colours = panel.frame, dict(panel.colours)
    for reference in panel.references:
        across = ax.axvline if reference.axis == "x" else ax.axhline
        across(reference.at, color="#555555", linestyle=reference.dash, linewidth=0.9,
               label=reference.label, zorder=1)  # fmt: skip
    names = list(frame["series"].unique())
    for name, width in zip(names, line_widths(len(names)), strict=True):
        points = frame[frame["series"] == name].sort_values("x", kind="stable")
        ax.plot(points["x"], points["y"], color=colours[str(name)], linewidth=width, label=name)
        if "low" in points and np.isfinite(points["low"]).any():
            ax.fill_between(points["x"], points["low"], points["high"], color=colours[str(name)],
                            alpha=0.25, linewidth=0)  # fmt: skip
    if "x" in panel.log:
        log_axis(ax, "x")
    if "y" in panel.log:
        log_axis(ax, "y")
    for crossing in panel.crossings:
        _draw_crossing(ax, crossing, frame[frame["series"] == crossing.series],
                       colours[crossing.series])  # fmt: skip
    if panel.dots is not None:
        for name, points in panel.dots.groupby("series", sort=False):
            wings = [points["y"] - points["low"], points["high"] - points["y"]]
            ax.errorbar(points["x"], points["y"], yerr=wings, fmt="o", color=colours[str(name)],
                        markersize=3.5, capsize=2, elinewidth=1, zorder=5)  # fmt: skip
    if panel.limits is not None:
        ax.set_ylim(*panel.limits)
    ax.set(xlabel=panel.xlabel, ylabel=panel.ylabel, title=panel.title)
    tidy(ax, grid="both")


def _draw_crossing(ax: Axes, crossing: Crossing, points: pd.DataFrame, colour: str) -> None:
    if math.isfinite(crossing.exact):
        ax.axvline(crossing.exact, color=colour, linestyle="--", linewidth=0.9, zorder=1)
        ax.plot([], [], color="#555555", linestyle="--", linewidth=0.9, label="exact break-even")
    if crossing.simulated is None:
        return
    height = np.interp(crossing.simulated, points["x"], points["y"])
    wings = [[crossing.simulated - crossing.low], [crossing.high - crossing.simulated]]
    ax.errorbar([crossing.simulated], [height], xerr=wings if np.isfinite(wings).all() else None,
                fmt="o", color=colour, markeredgecolor=BLACK, markersize=4.5, capsize=2,
                elinewidth=1, zorder=5)  # fmt: skip
    ax.plot([], [], "o", color="#bbbbbb", markeredgecolor=BLACK, markersize=4.5,
            label="simulated break-even")  # fmt: skip


def legend(figure: Figure, axes: Sequence[Axes], *, grow: bool = False) -> None:
    """One legend for all axes, below them; every name once, in as many columns as fit.

    Args:
        figure: what to put it in.
        axes: whose entries it has.
        grow: make the figure higher by the legend's height, so that the axes keep their room.
    """
    entries: dict[str, Any] = {}
    for ax in axes:
        for handle, label in zip(*ax.get_legend_handles_labels(), strict=True):
            entries.setdefault(label, handle)
    if not entries:
        return
    room = figure.bbox.width - 2 * MARGIN * figure.dpi
    rows = math.ceil(len(entries) / (6 if figure.get_figwidth() > COLUMN * 1.5 else 3))
    while True:
        columns = math.ceil(len(entries) / rows)
        made = figure.legend(entries.values(), entries.keys(), loc="outside lower center",
                             ncols=columns, columnspacing=1.2, handlelength=1.6,
                             handletextpad=0.5)  # fmt: skip
        box = made.get_window_extent()
        if box.width <= room or columns == 1:
            break
        made.remove()
        rows = math.ceil(len(entries) / (columns - 1))
    if grow:
        figure.set_figheight(figure.get_figheight() + box.height / figure.dpi)


def line_widths(count: int) -> list[float]:
    """Of lines drawn over one another, later ones narrower, so that none hides another; in pt."""
    widest = min(1.2 + 0.15 * (count - 1), WIDEST)
    return [widest - (widest - 1.0) * place / max(count - 1, 1) for place in range(count)]


def log_axis(ax: Axes, which: Literal["x", "y"]) -> None:
    """A logarithmic axis whose ticks are plain numbers."""
    axis = ax.xaxis if which == "x" else ax.yaxis
    (ax.set_xscale if which == "x" else ax.set_yscale)("log")
    low, high = ax.get_xlim() if which == "x" else ax.get_ylim()
    narrow = high / low < 200
    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if narrow else (1,), numticks=15))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.6g}"))
    axis.set_minor_formatter(NullFormatter())


def tidy(ax: Axes, *, grid: Literal["x", "y", "both"]) -> None:
    """A faint grid behind the data, and no ticks where names stand."""
    ax.set_axisbelow(True)
    ax.grid(visible=True, axis=grid)
    if grid == "x":
        ax.tick_params(axis="y", length=0)


def unit_of(time: float) -> tuple[str, int]:
    """The unit that suits an axis up to `time` (ps): its name, and its length in ps."""
    for name, scale in (("s", SECOND), ("ms", MILLISECOND), ("µs", MICROSECOND)):
        if time >= scale:
            return name, scale
    return "ns", NANOSECOND


def axis_of(unit: str, largest: float) -> tuple[str, float]:
    """The unit that an axis up to `largest` shows, and what its values are divided by.

    Args:
        unit: of the values: "ps", or any other, which stays; "" and "1" are none.
        largest: in that unit.
    """
    if unit == "ps":
        return unit_of(largest)
    return ("" if unit == "1" else unit), 1.0


def bracketed(unit: str) -> str:
    """A unit as it stands behind what an axis shows; a number without a unit has "(1)"."""
    return f" ({unit or '1'})"
