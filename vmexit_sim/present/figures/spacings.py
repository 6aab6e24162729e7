"""Spacings: a metric of several policies along one factor, with break-evens."""

from __future__ import annotations

import math

import pandas as pd
from matplotlib.figure import Figure

from vmexit_sim.present.colours import policy_colour
from vmexit_sim.present.figures.drawing import COLUMN, Crossing, Lines, axis_of, bracketed
from vmexit_sim.present.figures.lines import line_panels
from vmexit_sim.study.spacing import Spacing

WIDE = 20
"""From this ratio between the largest and the smallest value on, their axis is logarithmic."""


def spacing_frame(found: Spacing) -> pd.DataFrame:
    """One row a point: `policy`, `x` (in the factor's unit), `value`, `low`, `high`, n, …."""
    rows = [
        (policy, x, each.value, each.low, each.high, each.n, each.confidence, each.method,
         each.unit)
        for policy in found.policies
        for x, each in found.of(policy).items()
    ]  # fmt: skip
    columns = ["policy", "x", "value", "low", "high", "n", "confidence", "method", "unit"]
    return pd.DataFrame(rows, columns=columns)


def break_even_frame(found: Spacing) -> pd.DataFrame:
    """One row for each place where another policy meets the first, ascending for each pair.

    Columns: `first`, `second`; `value` with `low` and `high`, and `exact`, where theory puts it
    (NaN: there is no theory of it), in the factor's unit, which `unit` names; `better_below` and
    `better_above`; `open_low` and `open_high`: the interval goes on beyond the range; n, confidence
    and method.
    """
    rows = [
        (each.first, each.second, flip.at.value, flip.at.low, flip.at.high,
         math.nan if exact is None else exact, each.factor_unit, *each.sides(flip),
         flip.is_open_low, flip.is_open_high, flip.at.n, flip.at.confidence, flip.at.method)
        for each in found.crossovers
        for flip in each.flips
        for exact in [each.exact_of(flip)]
    ]  # fmt: skip
    columns = ["first", "second", "value", "low", "high", "exact", "unit", "better_below",
               "better_above", "open_low", "open_high", "n", "confidence", "method"]  # fmt: skip
    return pd.DataFrame(rows, columns=columns)


def spacing_figure(found: Spacing, *, width: float = COLUMN) -> Figure:
    """A line with its interval for each policy, and where another meets the first.

    A dot with its interval is a simulated break-even, a dashed line the same from theory, where
    there is one.

    Args:
        found: what was simulated.
        width: of the figure, in inches.
    """
    frame = spacing_frame(found)
    span = found.crossovers[0].range
    is_log = span.scale == "log"
    typical = math.sqrt(span.low.number * span.high.number) if is_log else span.high.number
    xunit, xscale = axis_of(span.low.unit, typical)
    positive = frame["value"][frame["value"] > 0]
    wide = len(positive) == len(frame) and positive.max() > WIDE * positive.min()
    most = float(frame["value"].abs().max())
    middle = math.sqrt(float(positive.min()) * most) if wide else most
    yunit, yscale = axis_of(found.unit, middle)
    ends = {end: (frame[end] / yscale).replace([math.inf, -math.inf], math.nan)
            for end in ("low", "high")}  # fmt: skip
    shown = frame.assign(series=frame["policy"], x=frame["x"] / xscale, y=frame["value"] / yscale,
                         **ends)  # fmt: skip
    crossings = [
        Crossing(series=each.second, exact=exact / xscale if exact else math.nan,
                 simulated=flip.at.value / xscale, low=flip.at.low / xscale,
                 high=flip.at.high / xscale)
        for each in found.crossovers
        for flip in each.flips
        for exact in [each.exact_of(flip)]
    ]  # fmt: skip
    panel = Lines(
        frame=shown, xlabel=f"{found.place}{bracketed(xunit)}",
        ylabel=f"{found.metric}{bracketed(yunit)}", log="x" * is_log + "y" * bool(wide),
        colours={policy: policy_colour(policy) for policy in found.policies}, crossings=crossings,
    )  # fmt: skip
    return line_panels([panel], height=2.3, width=width, grow=True)
