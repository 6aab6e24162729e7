"""Waterfalls: one access under several policies, stage by stage, in lanes."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vmexit_sim.present.colours import BLACK, PARTS, part_colour, part_of
from vmexit_sim.present.figures.drawing import COLUMN, legend, new_figure, tidy, unit_of
from vmexit_sim.study.waterfall import PolicyWaterfall, Waterfall

LANE = 0.17
"""Height of a lane, in inches."""

HATCH = "////"
"""Of time that was booked on an access, and not spent on it by anybody."""

LANES = ("vCPU", "device", "thread", "posted")
"""The lanes of a policy, from above; those in which nothing happens are left out."""


def waterfall_frame(found: Waterfall) -> pd.DataFrame:
    """One row for each stretch: `policy`, `lane`, `actor`, `stage`, `part`, `begin`, `end` (ps).

    Times count from the access's start. In the lane "posted" stands what was booked on the access
    without being spent on it by anybody: laid from where it was posted on, waits first, for their
    sum is known and not which was when.
    """
    rows: list[tuple[str, str, str, str, str, int, int]] = []
    for own in found.policies:
        rows += [
            (own.policy, each.lane, each.actor, each.stage, part_of(each.stage), each.begin,
             each.end)
            for each in own.pieces
        ]  # fmt: skip
        at = own.posted or 0
        for stage, time in sorted(own.booked.items(), key=lambda kv: part_of(kv[0]) != "waiting"):
            rows.append((own.policy, "posted", "", stage, part_of(stage), at, at + time))
            at += time
    columns = ["policy", "lane", "actor", "stage", "part", "begin", "end"]
    return pd.DataFrame(rows, columns=columns)


def waterfall_figure(found: Waterfall, *, width: float = COLUMN) -> Figure:
    """An access's stages over time, in lanes, the policies under one another.

    A triangle says when the vCPU went on, a diamond when the effect had happened.

    Args:
        found: the access.
        width: of the figure, in inches.
    """
    frame = waterfall_frame(found)
    longest = max(max(own.resume, own.done) for own in found.policies)
    unit, scale = unit_of(float(longest))
    rows: list[tuple[PolicyWaterfall, list[str]]] = []
    for own in found.policies:
        there = set(frame["lane"][frame["policy"] == own.policy]) | {"vCPU"}
        rows.append((own, [lane for lane in LANES if lane in there]))
    lanes = sum(len(own) for _, own in rows)
    with new_figure(width, 0.55 + LANE * lanes + 0.2 * len(rows), 1) as (figure, axes):
        ax = axes[0]
        _key(ax, frame)
        top, ticks, names = 0.0, [], []
        for own, used in rows:
            top += 1.1
            ax.annotate(own.policy, (0, top - 0.15), xytext=(2, 0), textcoords="offset points",
                        fontsize=7, fontweight="bold", va="bottom")  # fmt: skip
            for place, lane in enumerate(used):
                middle = top + place + 0.5
                ticks.append(middle)
                names.append(lane)
                _lane(ax, frame, own, lane, middle, scale)
            _moments(ax, own, used, top, scale)
            top += len(used)
            ax.axhline(top + 0.05, color="#dddddd", linewidth=0.5)
        ax.set_yticks(ticks, names)
        ax.set_ylim(top + 0.1, 0)
        ax.set_xlim(0, 1.03 * longest / scale)
        ax.set(xlabel=f"Time since the vCPU issued the access ({unit})", ylabel="")
        tidy(ax, grid="x")
        legend(figure, axes, grow=True)
    return figure


def _key(ax: Axes, frame: pd.DataFrame) -> None:
    """What the legend explains: parts in the order of an exit, then marks."""
    seen = set(frame["part"])
    for part in [*(each for each in PARTS if each in seen), *sorted(seen - set(PARTS))]:
        ax.broken_barh([], (0, 0), facecolors=part_colour(part), label=part)
    if (frame["lane"] == "posted").any():
        ax.broken_barh([], (0, 0), facecolors="#bbbbbb", edgecolor="white", hatch=HATCH,
                       label="while it is posted")  # fmt: skip
    ax.plot([], [], marker=">", color=BLACK, markersize=3.5, linestyle="", label="vCPU goes on")
    ax.plot([], [], marker="D", color="white", markeredgecolor=BLACK, markeredgewidth=0.8,
            markersize=3.5, linestyle="", label="effect")  # fmt: skip


def _lane(
    ax: Axes, frame: pd.DataFrame, own: PolicyWaterfall, lane: str, middle: float, scale: float
) -> None:  # fmt: skip
    pieces = frame[(frame["policy"] == own.policy) & (frame["lane"] == lane)]
    if lane == "vCPU":
        ax.hlines(middle, 0, own.resume / scale, color="#bbbbbb", linewidth=0.8, zorder=1)
    order = {part: place for place, part in enumerate(PARTS)}
    for part, same in sorted(pieces.groupby("part"), key=lambda kv: order.get(str(kv[0]), 99)):
        ax.broken_barh(
            [(begin / scale, (end - begin) / scale)
             for begin, end in zip(same["begin"], same["end"], strict=True)],
            (middle - 0.38, 0.76), facecolors=part_colour(str(part)),
            edgecolor="white", linewidth=0.2, zorder=2,
            hatch=HATCH if lane == "posted" else None,
        )  # fmt: skip


def _moments(
    ax: Axes, own: PolicyWaterfall, used: list[str], top: float, scale: float
) -> None:  # fmt: skip
    ax.plot([own.resume / scale], [top + 0.5], marker=">", color=BLACK, markersize=3.5,
            linestyle="", zorder=4)  # fmt: skip
    lane = next((lane for lane in ("device", "posted", "thread") if lane in used), "vCPU")
    ax.plot([own.done / scale], [top + used.index(lane) + 0.5], marker="D", color="white",
            markeredgecolor=BLACK, markeredgewidth=0.8, markersize=3.5, linestyle="",
            zorder=4)  # fmt: skip
