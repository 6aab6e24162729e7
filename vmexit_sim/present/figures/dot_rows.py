"""Dots: how far the values of a row lie apart."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from vmexit_sim.present.colours import BLACK
from vmexit_sim.present.figures.drawing import BAR, PAGE, legend, log_axis, new_figure, tidy


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
