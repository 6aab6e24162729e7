"""Sweeps: a metric along one factor of a study, other factors and guests as panels."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd
from matplotlib.figure import Figure

from vmexit_sim.errors import InputError, nearest
from vmexit_sim.present.colours import policy_colour
from vmexit_sim.present.figures.drawing import PAGE, Lines, axis_of, bracketed
from vmexit_sim.present.figures.lines import line_panels
from vmexit_sim.study.sweep import Results
from vmexit_sim.units import format_time

MOST_PANELS = 6
"""Most panels that a figure has; of more, choose."""

WIDE = 10
"""From this ratio between the largest and the smallest value on, an axis is logarithmic."""


def sweep_figure(
    results: Results,
    metric: str = "added",
    *,
    along: str | None = None,
    panels: str | None = None,
    block: str | None = None,
    width: float | None = None,
) -> Figure:
    """A metric of a sweep along one factor: a line with its interval for each policy.

    Args:
        results: the sweep's.
        metric: what is drawn, of the table's.
        along: the factor; None: the only one that is a number.
        panels: another factor, a panel for each of its values; None: the other factor, if there
            is one.
        block: the guest's name; None: a panel for each guest.
        width: of the figure, in inches; panels stand under one another up to a column's width.

    Raises:
        InputError: no such metric, guest or factor, a factor that is no number, more factors than
            two, or more panels than can be read.
    """
    frame, factors = _rows(results, metric, block), results.factors
    along = along or _the_one({name: unit for name, unit in factors.items() if unit}, "along")
    if not factors.get(along):
        numbers = [name for name, unit in factors.items() if unit]
        raise InputError("is no factor that an axis could show", key="along", value=along,
                         mend=nearest(along, numbers))  # fmt: skip
    others = {name: unit for name, unit in factors.items() if name != along}
    if panels is None and others:
        panels = _the_one(others, "panels")
    if panels is not None and panels not in others:
        raise InputError("is no other factor of this study", key="panels", value=panels,
                         mend=nearest(panels, others))  # fmt: skip
    keys = ["block", *([panels] if panels else [])]
    if frame.duplicated([*keys, "policy", along]).any():
        raise InputError("has several results at one place", key="along", value=along,
                         mend="choose among the other factors in the table")  # fmt: skip
    shown, names, log = _scaled(frame, along, metric, factors[along])
    groups = list(shown.groupby(keys, sort=False, observed=True))
    if len(groups) > MOST_PANELS:
        raise InputError(f"has {len(groups)} panels", key="panels", value=panels or "block",
                         mend=f"choose a guest, or at most {MOST_PANELS} values")  # fmt: skip
    blocks = frame["block"].nunique()
    drawn = [
        Lines(
            frame=own.sort_values("x"), title=_title(key, panels, others, blocks),
            xlabel=names[0], ylabel=names[1], log=log,
            colours={policy: policy_colour(policy) for policy in own["series"].unique()},
        )
        for key, own in groups
    ]  # fmt: skip
    narrow = width is not None and width < PAGE
    return line_panels(drawn, width=width, height=2.3 if narrow else 2.6, stacked=narrow,
                       alike=True, grow=narrow)  # fmt: skip


def _rows(results: Results, metric: str, block: str | None) -> pd.DataFrame:
    known = [str(name) for name in results.frame["block"].unique()]
    if block is not None and block not in known:
        raise InputError("is no guest of this study", key="block", value=block,
                         mend=nearest(block, known))  # fmt: skip
    return results.of(metric, block)


def _scaled(
    frame: pd.DataFrame, along: str, metric: str, unit: str
) -> tuple[pd.DataFrame, tuple[str, str], str]:
    """Columns x, y, low, high in axes' units; their names with units; which are logarithmic."""
    least, most = float(frame[along].min()), float(frame[along].max())
    wide = 0 < WIDE * least < most
    xunit, xscale = axis_of(unit, math.sqrt(least * most) if wide else most)
    low, high = float(frame["value"].min()), float(frame["value"].max())
    high_up = 0 < WIDE * low < high
    yunit, yscale = axis_of(
        str(frame["unit"].iloc[0]), math.sqrt(low * high) if high_up else max(abs(low), abs(high))
    )
    ends = {end: (frame[end] / yscale).replace([math.inf, -math.inf], math.nan)
            for end in ("low", "high")}  # fmt: skip
    shown = frame.assign(series=frame["policy"].astype(str), x=frame[along] / xscale,
                         y=frame["value"] / yscale, **ends)  # fmt: skip
    return shown, (along + bracketed(xunit), metric + bracketed(yunit)), "x" * wide + "y" * high_up


def _title(
    key: Sequence[object], panels: str | None, units: dict[str, str], blocks: int
) -> str:  # fmt: skip
    """What a panel is of: its guest where there are several, and the value of its factor."""
    parts = [str(key[0])] if blocks > 1 else []
    if panels is not None:
        value = key[1]
        if units[panels] == "ps":
            told = format_time(float(str(value)))
        else:
            told = f"{value:g}" if isinstance(value, float) else str(value)
        parts.append(f"{panels} = {told}")
    return ", ".join(parts)


def _the_one(factors: dict[str, str], key: str) -> str:
    if len(factors) != 1:
        raise InputError("has several factors" if factors else "has no factor that is a number",
                         key=key, value=list(factors), mend="choose one")  # fmt: skip
    return next(iter(factors))
