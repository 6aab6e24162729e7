"""Bars: what each policy costs, with its interval and the ratio to the first policy."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd
from matplotlib.figure import Figure

from vmexit_sim.present.colours import policy_colour
from vmexit_sim.present.figures.drawing import (
    BAR,
    COLUMN,
    PAGE,
    Bars,
    draw_bars,
    legend,
    new_figure,
    unit_of,
)
from vmexit_sim.study.outcome import BlockOutcome


def policy_frame(outcome: BlockOutcome) -> pd.DataFrame:
    """Each policy's hypervisor time: `policy`, `time`, `low`, `high` (ps), `ratio` to the first."""
    rows = [
        (o.policy.name, o.hypervisor_time.value, o.hypervisor_time.low, o.hypervisor_time.high,
         o.ratio.value)
        for o in outcome.policies
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=["policy", "time", "low", "high", "ratio"])


def policy_bars(
    data: BlockOutcome | pd.DataFrame, *, log: bool = False, width: float | None = None
) -> Figure:
    """What each policy costs: bars, labelled with the ratio to the first policy.

    Args:
        data: a compared guest, or a frame as `policy_frame` makes it.
        log: whether the time axis is logarithmic.
        width: of the figure, in inches; None: what suits the panels.
    """
    return bar_panels([policy_panel(data, log=log)], width=width)


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


def bar_panels(panels: Sequence[Bars], *, width: float | None = None) -> Figure:
    """Panels of horizontal bars side by side, each with its own axes.

    Args:
        panels: what is drawn.
        width: of the figure, in inches; None: a page's for several panels.
    """
    rows = max(len(panel.frame) for panel in panels)
    width = width or (PAGE if len(panels) > 1 else 1.4 * COLUMN)
    with new_figure(width, 0.75 + BAR * rows, len(panels)) as (figure, axes):
        for panel, ax in zip(panels, axes, strict=True):
            draw_bars(ax, panel)
        legend(figure, axes)
    return figure
