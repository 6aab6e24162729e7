"""Latencies: their empirical distributions with a logarithmic tail.

::

    99.9 %  │      ┌──┘    ┌───      the share of accesses that take longer falls by ten
    99 %    │   ┌──┘   ┌───┘         from tick to tick, so that the tail has as much room
    90 %    │┌──┘  ┌───┘             as everything else
     0 %    ├┴─────┴───────────► latency
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

from vmexit_sim.present.colours import policy_colour
from vmexit_sim.present.figures.drawing import (
    COLUMN,
    legend,
    line_widths,
    log_axis,
    new_figure,
    tidy,
    unit_of,
)
from vmexit_sim.study.latencies import LatencySpread

WIDE = 8
"""From this ratio between the largest and the smallest latency on, their axis is logarithmic."""

DASH = 3.0
"""Length of a dash, in line widths, where curves of several policies coincide."""


def latency_frame(found: LatencySpread) -> pd.DataFrame:
    """One row a point: `policy`, `beyond` (share that takes longer), `value`, `low`, `high` (ps).

    Ends of an interval that is not known are NaN; n, confidence and method are the estimate's.
    """
    rows = [
        (own.policy, share, each.value, each.low if math.isfinite(each.low) else math.nan,
         each.high if math.isfinite(each.high) else math.nan, each.n, each.confidence, each.method)
        for own in found.policies
        for share, each in zip(own.beyond.tolist(), own.quantiles, strict=True)
    ]  # fmt: skip
    columns = ["policy", "beyond", "value", "low", "high", "n", "confidence", "method"]
    return pd.DataFrame(rows, columns=columns)


def latency_figure(found: LatencySpread, *, width: float = COLUMN) -> Figure:
    """How latencies are spread: a curve for each policy, with its interval.

    Curves that coincide are drawn as dashes in turn, and those that nearly do in several widths.
    On a logarithmic axis latencies of 0 stand at its left end.

    Args:
        found: the distributions.
        width: of the figure, in inches.
    """
    frame = latency_frame(found)
    positive = frame["value"][frame["value"] > 0]
    least, most = (float(positive.min()), float(positive.max())) if len(positive) else (1.0, 1.0)
    unit, scale = unit_of(math.sqrt(least * most) if most > WIDE * least else most)
    fewest = 1 / max(own.accesses for own in found.policies)
    with new_figure(width, 2.5, 1) as (figure, axes):
        ax = axes[0]
        if most > WIDE * least:
            ax.set_xlim(least / scale / 1.5, most / scale * 1.5)
            log_axis(ax, "x")
        else:
            ax.set_xlim(0, 1.05 * most / scale)
        _curves(ax, frame, scale, fewest, is_exact=found.is_exact)
        _shares(ax, fewest)
        ax.set(xlabel=f"{found.which.capitalize()} of one access ({unit})",
               ylabel="Accesses as fast, or faster (%)")  # fmt: skip
        tidy(ax, grid="both")
        legend(figure, axes, grow=True)
    return figure


def _curves(
    ax: Axes, frame: pd.DataFrame, scale: float, floor: float, *, is_exact: bool
) -> None:  # fmt: skip
    left = ax.get_xlim()[0]
    own = dict(iter(frame.groupby("policy", sort=False)))
    widths = dict(zip(own, line_widths(len(own)), strict=True))
    alike: dict[tuple[float, ...], list[str]] = {}
    for name, points in own.items():
        drawn = (*points["value"].tolist(), *points["beyond"].tolist())
        alike.setdefault(drawn, []).append(str(name))
    for names in alike.values():
        points = own[names[0]]
        x = np.maximum(points["value"].to_numpy() / scale, left)
        y = np.maximum(points["beyond"].to_numpy(), floor)
        x, y = np.concatenate([x[:1], x]), np.concatenate([[1.0], y])
        low, high = (points[end].to_numpy() / scale for end in ("low", "high"))
        if not is_exact and np.isfinite(low).any():
            ax.fill_betweenx(y[1:], np.maximum(low, left), high, color=policy_colour(names[0]),
                             alpha=0.25, linewidth=0)  # fmt: skip
        for place, name in enumerate(names):
            ax.plot(x, y, color=policy_colour(name), label=name, linewidth=widths[names[0]],
                    drawstyle="steps-post" if is_exact else "default",
                    linestyle=_in_turn(place, len(names)))  # fmt: skip


def _in_turn(place: int, count: int) -> str | tuple[float, Sequence[float]]:
    """Dashes that leave room for those of others."""
    if count == 1:
        return "-"
    return (-place * DASH, (DASH, (count - 1) * DASH))


def _shares(ax: Axes, floor: float) -> None:
    """The axis of shares: 0, 90, 99, 99.9 %, … evenly spaced."""
    decades = max(math.ceil(-math.log10(floor) - 1e-9), 1)
    ax.set_yscale("log")
    ax.set_ylim(1.0, min(floor, 0.1))
    shares = [10.0**-k for k in range(decades + 1)]
    shares = [share for share in shares if share >= min(floor, 0.1) * (1 - 1e-9)]
    labels = [f"{100 - 100 * share:.10g}" for share in shares]
    ax.yaxis.set_major_locator(FixedLocator(shares))
    ax.yaxis.set_major_formatter(FixedFormatter(labels))
    ax.yaxis.set_minor_locator(NullLocator())
