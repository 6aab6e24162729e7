"""The tornado: which costs move the difference of two policies, and how far.

::

    cost   mu* with its interval      the difference, the cost at the ends of its range
    a      ████████████┤              ░░░░░░░░░░░░░│▓▓▓▓▓▓▓▓▓▓▓▓▓
    b      █████┤                           ░░░░░░░│▓▓▓▓                  ┊ 0: equal
    c      ██┤                                   ░░│▓▓

This module loads seaborn, matplotlib and pandas; import it only where a figure is wanted.
"""

from __future__ import annotations

import math

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vmexit_sim.present.colours import BLACK, GREY
from vmexit_sim.present.figures.drawing import (
    BAR,
    PAGE,
    Bars,
    draw_bars,
    legend,
    new_figure,
    tidy,
    unit_of,
)
from vmexit_sim.statistics import Estimate
from vmexit_sim.study.influence import Influence
from vmexit_sim.study.screening import Screening

MOST = 12
"""Most costs that are drawn."""

ENDS = {"low": "#56B4E9", "high": "#D55E00"}
"""Colours of the ends of a cost's range."""

OWN = {"R": "#0072B2", "R2": "#0072B2", "D": "#009E73", "M": "#CC79A7", "A": "#E69F00", "": GREY}
"""Colours by how much a cost's number is worth."""

WORTH = {"R": "read", "R2": "read", "D": "derived", "M": "recalled", "A": "assumed", "": "no cost"}


def tornado(found: Screening) -> Figure:
    """Influence of each cost, and the difference at the ends of its range.

    Costs without influence are left out, and of the others those behind the first `MOST`.

    Args:
        found: a screening.
    """
    shown = [each for each in found.influences if each.mu_star.value][:MOST]
    reach = max(
        (abs(end.value) for each in shown for end in (each.at_low, each.at_high)), default=1
    )
    with new_figure(PAGE, 1.35 + BAR * max(len(shown), 1), 2) as (figure, axes):
        _influences(axes[0], shown)
        _ranges(axes[1], shown, found, reach)
        legend(figure, axes)
    return figure


def _influences(ax: Axes, shown: list[Influence]) -> None:
    name, scale = _unit(max((each.mu_star.value for each in shown), default=1.0), shown)
    frame = pd.DataFrame({
        "label": [each.name for each in shown],
        "value": [each.mu_star.value / scale for each in shown],
        "low": [each.mu_star.low / scale for each in shown],
        "high": [each.mu_star.high / scale for each in shown],
        "colour": [OWN[each.mark] for each in shown],
    })  # fmt: skip
    if shown:
        draw_bars(ax, Bars(frame=frame, xlabel=f"Influence mu* ({name})", title="(a) influence"))
    for mark in dict.fromkeys(each.mark for each in shown):
        ax.plot([], [], "s", color=OWN[mark], label=WORTH[mark])
    ax.set_ylim(max(len(shown), 1) - 0.5, -0.5)


def _ranges(ax: Axes, shown: list[Influence], found: Screening, reach: float) -> None:
    name, scale = _unit(reach, shown)
    base = found.difference.value / scale
    for place, each in enumerate(shown):
        for end, at in (("low", each.at_low), ("high", each.at_high)):
            value = at.value / scale
            ax.barh(place, value - base, left=base, height=0.72, color=ENDS[end],
                    label=f"{end} end of range")  # fmt: skip
            _whisker(ax, at, place, scale)
    ax.axvline(base, color=BLACK, linewidth=0.9, label="all at base")
    ax.axvline(0, color=BLACK, linewidth=0.9, linestyle=":", label="equally good")
    ax.set_yticks(range(len(shown)), [""] * len(shown))
    ax.set_ylim(max(len(shown), 1) - 0.5, -0.5)
    ax.margins(x=0.06)
    ax.set(xlabel=f"{found.second} less {found.first}: {found.metric} ({name})", ylabel="",
           title="(b) difference")  # fmt: skip
    tidy(ax, grid="x")


def _whisker(ax: Axes, at: Estimate, place: int, scale: float) -> None:
    if at.high > at.low and math.isfinite(at.half_width):
        ax.errorbar([at.value / scale], [place], xerr=[[at.half_width / scale]], fmt="none",
                    ecolor=BLACK, elinewidth=0.8, capsize=2)  # fmt: skip


def _unit(largest: float, shown: list[Influence]) -> tuple[str, float]:
    """The unit of an axis that reaches so far: its name, and its length in the metric's."""
    own = shown[0].mu_star.unit if shown else "ps"
    return unit_of(largest) if own == "ps" else (own, 1)
