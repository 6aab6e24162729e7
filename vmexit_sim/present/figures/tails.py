"""Tails: what the slowest accesses spend their time on, beside what all of them do."""

from __future__ import annotations

import math

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vmexit_sim.present.colours import BLACK, PARTS, part_colour, part_of
from vmexit_sim.present.figures.drawing import COLUMN, legend, new_figure, tidy, unit_of
from vmexit_sim.statistics import Estimate, exact
from vmexit_sim.statistics.text import with_half_width
from vmexit_sim.study.tail import PolicyTail, Tail

ROW = 0.42
"""Height of a policy's two bars, in inches."""

SHOWN = 0.06
"""The least share whose interval is drawn; the frame has them all."""

FAR = 0.5
"""From this part of the quantile's own share on, another share of accesses is told."""

ALL, SLOWEST = "all accesses", "slowest"


def tail_frame(found: Tail) -> pd.DataFrame:
    """One row for each policy, group and stage: `share` (0 … 1) with `low`, `high`.

    Further columns: `group` ("all accesses" or "slowest"), `stage`, its `part` of an exit, and
    n, confidence and method; and of the group, in each of its rows, `mean` (the latency of one
    access, in ps) and `of_accesses` (which share of all accesses it is), each with ``_low`` and
    ``_high``. The shares of a policy and group sum to 1.
    """
    every = exact(1.0, "1")
    rows = [
        (own.policy, group, stage, part_of(stage), each.value, each.low, each.high, each.n,
         each.confidence, each.method, mean.value, mean.low, mean.high, part.value, part.low,
         part.high)
        for own in found.policies
        for group, shares, mean, part in (
            (ALL, own.all, own.mean_all, every),
            (SLOWEST, own.slowest, own.mean_slowest, own.part),
        )
        for stage, each in shares.items()
    ]  # fmt: skip
    columns = ["policy", "group", "stage", "part", "share", "low", "high", "n", "confidence",
               "method", "mean", "mean_low", "mean_high", "of_accesses", "of_accesses_low",
               "of_accesses_high"]  # fmt: skip
    return pd.DataFrame(rows, columns=columns)


def tail_figure(found: Tail, *, width: float = COLUMN) -> Figure:
    """Two bars a policy: the upper of all accesses, the lower of the slowest.

    At a bar's end stands the mean latency of one access, with the half-width of its interval; and,
    where the slowest are not about as many as the quantile says, which share of the accesses they
    are. A whisker at a part's right end is the interval of its share, where one stage is all the
    part.

    Args:
        found: the shares.
        width: of the figure, in inches.
    """
    frame = tail_frame(found)
    order = [*PARTS, *(part for part in frame["part"].unique() if part not in PARTS)]
    with new_figure(width, 0.75 + ROW * len(found.policies), 1) as (figure, axes):
        ax = axes[0]
        for place, own in enumerate(found.policies):
            for offset, group in ((-0.21, ALL), (0.21, SLOWEST)):
                _bar(ax, place + offset, frame, own, group, order)
                words = _time(own.mean_all if group == ALL else own.mean_slowest)
                if group == SLOWEST:
                    words += _how_many(own.part.value, 1 - found.q)
                ax.annotate(words, (100, place + offset), xytext=(4, 0), va="center",
                            textcoords="offset points", fontsize=6.5,
                            annotation_clip=False)  # fmt: skip
        ax.set_yticks(range(len(found.policies)), [own.policy for own in found.policies])
        ax.set_ylim(len(found.policies) - 0.5, -0.5)
        ax.set_xlim(0, 100)
        ax.set(xlabel=f"Share of time (%); above: all accesses, below: ≥ p{found.q * 100:g}",
               ylabel="")  # fmt: skip
        tidy(ax, grid="x")
        legend(figure, axes, grow=True)
    return figure


def _bar(
    ax: Axes, place: float, frame: pd.DataFrame, own: PolicyTail, group: str, order: list[str]
) -> None:  # fmt: skip
    rows = frame[(frame["policy"] == own.policy) & (frame["group"] == group)]
    left = 0.0
    for part in order:
        stages = rows[rows["part"] == part]
        share = float(stages["share"].sum())
        if not share:
            continue
        ax.barh(place, 100 * share, left=100 * left, height=0.36, color=part_colour(part),
                label=part, edgecolor="white", linewidth=0.3)  # fmt: skip
        left += share
        half = float((stages["high"] - stages["low"]).sum()) / 2
        if len(stages) == 1 and share >= SHOWN and 0 < half < math.inf:
            ax.errorbar([100 * left], [place], xerr=[100 * half], fmt="none", ecolor=BLACK,
                        elinewidth=0.8, capsize=1.5)  # fmt: skip


def _time(mean: Estimate) -> str:
    unit, scale = unit_of(mean.value)
    if not 0 < mean.half_width < math.inf:
        return f"{mean.value / scale:.3g} {unit}"
    return f"{with_half_width(mean.value, mean.half_width, scale)} {unit}"


def _how_many(part: float, expected: float) -> str:
    """Which share of the accesses the slowest are, where it is not about the quantile's."""
    if part > 1 - 1e-12:
        return "; all"
    if abs(part - expected) < FAR * expected:
        return ""
    return f"; {100 * part:.3g} %"
