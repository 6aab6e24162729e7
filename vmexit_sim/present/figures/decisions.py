"""Figures of decisions: a crossover's difference along its factor, and a map of winners.

This module loads seaborn, matplotlib and pandas; import it only where a figure is wanted.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from vmexit_sim.present.colours import BLACK, policy_colour
from vmexit_sim.present.crossover_tables import value_text
from vmexit_sim.present.figures.drawing import (
    COLUMN,
    PAGE,
    axis_of,
    bracketed,
    legend,
    log_axis,
    new_figure,
    tidy,
)
from vmexit_sim.present.text import better
from vmexit_sim.study.crossover import Crossover
from vmexit_sim.study.decision_map import DecisionMap

PALE = 0.16
"""How much of its colour a policy's side of a difference has."""

CLOSE = 0.35
"""How much of the leader's colour a point has that is too close to call."""

HATCH = "////"

MOST_TICKS = 9
"""Most values that stand at an axis of a map."""


def crossover_figure(result: Crossover) -> Figure:
    """The difference of two policies along a factor, and where it changes its sign.

    Args:
        result: all that was simulated is drawn; where one side of 0 reaches much further than the
            other, the y axis leaves its end out, so that the crossing is not flattened.
    """
    xunit, xscale = axis_of(result.factor_unit, result.range.high.number)
    found = [meeting.difference for meeting in result.meetings]
    x = np.array([meeting.value for meeting in result.meetings]) / xscale
    yunit, yscale = axis_of(result.unit, _height([e.value for e in found]))
    with new_figure(1.4 * COLUMN, 3.2, 1) as (figure, axes):
        ax = axes[0]
        y, low, high = (np.array([getattr(e, end) for e in found]) / yscale
                        for end in ("value", "low", "high"))  # fmt: skip
        ax.fill_between(x, low, high, color="#999999", alpha=0.4, linewidth=0,
                        label=f"interval, {result.confidence * 100:.4g} %")  # fmt: skip
        ax.plot(x, y, color=BLACK, linewidth=1.2, marker=".", markersize=3.5,
                label=f"{result.second} less {result.first}")  # fmt: skip
        ax.axhline(0, color="#555555", linewidth=0.9, linestyle=":")
        reach = 1.25 * _height(list(y))
        ax.set_ylim(-reach, reach)
        ax.set_xlim(x[0], x[-1])
        if result.range.scale == "log":
            log_axis(ax, "x")
        _sides(ax, result, reach)
        _crossings(ax, result, xscale)
        ax.set(xlabel=f"{result.place}{bracketed(xunit)}",
               ylabel=f"Difference in {result.metric}{bracketed(yunit)}")  # fmt: skip
        tidy(ax, grid="both")
        legend(figure, axes)
    return figure


def map_figure(result: DecisionMap) -> Figure:
    """Which policy is the best at each point: colours, hatched where it is too close to call.

    Points stand evenly spaced in the factors' order, with their values at the axes.
    """
    with new_figure(0.8 * PAGE, 3.4, 1) as (figure, axes):
        ax = axes[0]
        for (column, row), cell in result.cells.items():
            told = cell.winner is not None
            colour = policy_colour(cell.best[0]) if cell.best else "#ffffff"
            ax.add_patch(
                Rectangle((column - 0.5, row - 0.5), 1, 1, edgecolor="white", linewidth=0.6,
                          facecolor=to_rgba(colour, 1.0 if told else CLOSE),
                          hatch=None if told else HATCH)
            )  # fmt: skip
        for axis, set_ticks, turned in (
            (result.across, ax.set_xticks, 30), (result.up, ax.set_yticks, 0)
        ):  # fmt: skip
            step = math.ceil(len(axis.values) / MOST_TICKS)
            places = range(0, len(axis.values), step)
            set_ticks(places, [value_text(axis, place) for place in places], rotation=turned)
        ax.set(xlim=(-0.5, len(result.across.values) - 0.5), xlabel=result.across.name,
               ylim=(-0.5, len(result.up.values) - 0.5), ylabel=result.up.name)  # fmt: skip
        shown = [name for name in result.policies if name in result.winners]
        patches = [Patch(facecolor=policy_colour(name), label=name) for name in shown]
        if result.share(None):
            patches.append(Patch(facecolor="#bbbbbb", edgecolor="white", hatch=HATCH,
                                 label="too close to call"))  # fmt: skip
        figure.legend(handles=patches, loc="outside lower center", ncols=min(len(patches), 4))
        ax.set_title(f"{better(result.metric).capitalize()} {result.metric}", loc="left")
    return figure


def _sides(ax: Axes, result: Crossover, reach: float) -> None:
    """Each side of 0 in the colour of the policy that is better there."""
    for sign in (-1, 1):
        name = result.winner(sign)
        assert name is not None
        ax.axhspan(min(0, 2 * sign * reach), max(0, 2 * sign * reach), linewidth=0, zorder=0,
                   color=policy_colour(name), alpha=PALE, label=f"{name} is better")  # fmt: skip


def _crossings(ax: Axes, result: Crossover, scale: float) -> None:
    for flip in result.flips:
        at = flip.at
        wings = [[(at.value - at.low) / scale], [(at.high - at.value) / scale]]
        ax.errorbar([at.value / scale], [0], xerr=wings, fmt="o", color=BLACK, markersize=4.5,
                    capsize=3, elinewidth=1.2, zorder=5, label="crossover, simulated")  # fmt: skip
    for root in result.closed_form.roots if result.closed_form else ():
        ax.axvline(root / scale, color=BLACK, linestyle="--", linewidth=0.9,
                   label="closed form")  # fmt: skip


def _height(values: Sequence[float]) -> float:
    """How far differences reach on both sides of 0, a far steeper side cut off."""
    below, above = (max((abs(v) for v in values if (v < 0) == side), default=0.0)
                    for side in (True, False))  # fmt: skip
    smaller, larger = sorted((below, above))
    return min(larger, 4 * smaller) if smaller else larger or 1.0
