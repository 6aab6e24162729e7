"""Panels of lines with bands, break-evens and references."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from vmexit_sim.present.figures.drawing import (
    COLUMN,
    PAGE,
    Lines,
    draw_lines,
    legend,
    new_figure,
)


def line_panels(
    panels: Sequence[Lines], *, height: float = 2.6, width: float | None = None,
    stacked: bool = False, alike: bool = False, grow: bool = False,
) -> Figure:  # fmt: skip
    """Panels of lines; break-evens and references are explained in the legend.

    Args:
        panels: what is drawn.
        height: of the figure, in inches; of panels under one another, of each.
        width: likewise; None: a page's for several panels.
        stacked: put panels under one another.
        alike: their axes are the same, and get the same limits.
        grow: make the figure higher by its legend's height.
    """
    width = width or (PAGE if len(panels) > 1 else 1.4 * COLUMN)
    whole = height * len(panels) if stacked else height
    with new_figure(width, whole, len(panels), stacked=stacked, sharex=alike, sharey=alike) as (
        figure,
        axes,
    ):
        for panel, ax in zip(panels, axes, strict=True):
            draw_lines(ax, panel)
        if stacked and alike:
            for ax in axes[:-1]:
                ax.set_xlabel("")
        if alike and not stacked:
            for ax in axes[1:]:
                ax.set_ylabel("")
        legend(figure, axes, grow=grow)
    return figure
