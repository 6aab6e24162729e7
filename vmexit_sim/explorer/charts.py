"""Bars and dots of the page: where their ends lie, in percent of the axis.

Percentages, because the page is as wide as its window: the template draws each row as an SVG
without a view box, so nothing is stretched and no text changes its size.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from vmexit_sim.present.text import time_text
from vmexit_sim.statistics import Estimate, exact
from vmexit_sim.units import format_time

LANES = {"p50": 6, "mean": 12, "p99": 18}
"""What is drawn of a latency, and at which height (pixels) of its row."""

WIDE = 20
"""From this ratio between the largest and the smallest value on, an axis is logarithmic."""

TICKS = 4
"""About so many on a linear axis; at most one more than that on a logarithmic one."""

ROOM = 96.0
"""Percent of the axis that the largest value lies at."""

NICE = (1, 2, 2.5, 5, 10)


@dataclass(frozen=True, kw_only=True)
class Tick:
    """A mark on an axis: where (percent), and what it says."""

    at: float
    text: str


@dataclass(frozen=True, kw_only=True)
class Part:
    """A part of a bar: its name and colour, where it begins and how wide it is (percent)."""

    name: str
    colour: str
    at: float
    width: float
    text: str


@dataclass(frozen=True, kw_only=True)
class Bar:
    """One policy's bar: its parts from left to right, and the whole as text."""

    name: str
    parts: tuple[Part, ...]
    text: str


@dataclass(frozen=True, kw_only=True)
class Bars:
    """Stacked bars, their axis, and the parts that any of them has, with colours."""

    bars: tuple[Bar, ...]
    ticks: tuple[Tick, ...]
    legend: tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True)
class Dot:
    """One estimate: which, where it and its interval's ends lie (percent), and as text.

    Each has a lane of its own (height in the row, in pixels), so that equal ones are all seen.
    """

    which: str
    lane: int
    at: float
    low: float
    high: float
    text: str


@dataclass(frozen=True, kw_only=True)
class Row:
    """One policy's dots, and its mean as text."""

    name: str
    mean: str
    dots: tuple[Dot, ...]


@dataclass(frozen=True, kw_only=True)
class Dots:
    """Rows of dots under a title, and their axis."""

    title: str
    which: str
    rows: tuple[Row, ...]
    ticks: tuple[Tick, ...]
    is_log: bool


class Axis:
    """An axis of times from 0, or a logarithmic one.

    Args:
        values: what has to lie on it, in ps.
        log: whether it is logarithmic where values lie far apart.
    """

    def __init__(self, values: Sequence[float], *, log: bool = False) -> None:
        seen = [value for value in values if value > 0 and math.isfinite(value)] or [1.0]
        self.least, self.most = min(seen), max(seen)
        self.is_log = log and self.most > WIDE * self.least
        if self.is_log:  # whole decades read best
            self.least = 10.0 ** math.floor(math.log10(self.least))
            self.most = 10.0 ** math.ceil(math.log10(self.most))

    def at(self, value: float) -> float:
        """Where a value lies, in percent; what is off the axis lies at its end."""
        if not self.is_log:
            return round(min(max(value, 0.0) / self.most, 1.0) * ROOM, 3)
        part = math.log(max(value, self.least) / self.least) / math.log(self.most / self.least)
        return round(4 + min(part, 1.0) * (ROOM - 4), 3)

    @property
    def ticks(self) -> tuple[Tick, ...]:
        """Marks at round times."""
        if self.is_log:
            first, last = round(math.log10(self.least)), round(math.log10(self.most))
            step = math.ceil((last - first) / (TICKS + 1))
            times = [10.0**power for power in range(first, last + 1, step)]
        else:
            rough = self.most / TICKS
            scale = 10.0 ** math.floor(math.log10(rough))
            gap = next(nice * scale for nice in NICE if nice * scale >= rough * (1 - 1e-9))
            times = [gap * place for place in range(math.floor(self.most / gap + 1e-9) + 1)]
        return tuple(Tick(at=self.at(time), text=format_time(time, 3)) for time in times)


def stacked(
    names: Sequence[str],
    sums: Sequence[Mapping[str, float]],
    order: Sequence[str],
    colour: Callable[[str], str],
) -> Bars:
    """Stacked bars.

    Args:
        names: of the bars.
        sums: each bar's parts: time (ps) by name.
        order: the parts, from left to right.
        colour: a part's.
    """
    axis = Axis([sum(own.values()) for own in sums])
    bars = []
    for name, own in zip(names, sums, strict=True):
        left, parts = 0.0, []
        for part in order:
            if own.get(part):
                begin, end = axis.at(left), axis.at(left + own[part])
                width = round(end - begin, 3)
                parts.append(Part(name=part, colour=colour(part), at=begin, width=width,
                                  text=format_time(own[part])))  # fmt: skip
                left += own[part]
        bars.append(Bar(name=name, parts=tuple(parts), text=time_text(exact(left), 3)))
    legend = tuple((part, colour(part)) for part in order if any(own.get(part) for own in sums))
    return Bars(bars=tuple(bars), ticks=axis.ticks, legend=legend)


def dots(
    title: str, which: str, estimates: Sequence[tuple[str, Mapping[str, Estimate]]]
) -> Dots:  # fmt: skip
    """Dots of latencies.

    Args:
        title: what they show.
        which: the latency's name.
        estimates: by policy, those of `LANES`; what is no number is left out, and what is 0 on a
            logarithmic axis.
    """
    ends = [end for _, own in estimates for name in LANES
            for end in (own[name].low, own[name].value, own[name].high)]  # fmt: skip
    axis = Axis(ends, log=True)
    rows = []
    for policy, own in estimates:
        shown = [(name, own[name]) for name in LANES if math.isfinite(own[name].value)]
        rows.append(Row(name=policy, mean=time_text(own["mean"], 3), dots=tuple(
            _dot(axis, name, estimate) for name, estimate in shown
            if estimate.value > 0 or not axis.is_log
        )))  # fmt: skip
    return Dots(title=title, which=which, rows=tuple(rows), ticks=axis.ticks, is_log=axis.is_log)


def _dot(axis: Axis, which: str, estimate: Estimate) -> Dot:
    known = math.isfinite(estimate.half_width)
    low, high = (estimate.low, estimate.high) if known else (estimate.value, estimate.value)
    return Dot(
        which=which, lane=LANES[which], text=time_text(estimate, 3),
        at=axis.at(estimate.value), low=axis.at(low), high=axis.at(high),
    )  # fmt: skip
