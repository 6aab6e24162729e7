"""Plausible ranges: between which values a cost may well lie, by how much its number is worth.

====  =====================  =======================================================================
mark  range                  why
====  =====================  =======================================================================
H     its 95 % interval      measured here; ÷ 1.1 … × 1.1 where no interval is stated
R     ÷ 1.25 … × 1.25        measured on such a host; a kernel or a microcode update later it is
                             another number, yet of the same size
R2    ÷ 1.5 … × 1.5          the same, and the text that was read may have rounded or mixed up rows
D     ÷ 2 … × 2              a difference of measured numbers, or half of one: a split that was
                             assumed even is at worst the whole instead of a half
M     ÷ 5 … × 5              recalled: the order of magnitude is right
A     ÷ 10 … × 10            nobody published it
====  =====================  =======================================================================

All of these are ranges on a log scale. A cost of 0 has no such range:

====================  ====================  ========================================================
a cost of 0           range, linear         why
====================  ====================  ========================================================
``state_change``      0 … 100 µs            remapping a small BAR in a VMM; a large one takes longer
                                            by far (128 GB: 1.8 s, Cui 2022-04), and is a scenario
                                            of its own
``refill``            0 … 10 world          for some calls it was an order of magnitude beyond the
                      switches              direct cost (SplitX, HotPar'11)
other, M or A         0 … 1 world switch    a part of an exit, and hardly more than leaving the
                                            guest and entering it together
other, R, R2 or D     0 … 1/10 world        contained in another number that was measured, which
                      switch                leaves it little room
====================  ====================  ========================================================

A cost that a scenario sets itself counts as assumed. A range of one's own takes the place of any.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vmexit_sim.distributions import Duration
from vmexit_sim.errors import InputError, nearest
from vmexit_sim.hypervisor.platform import Cost, Costs, Platform
from vmexit_sim.study.sweep.factor import SCALES, Quantity, Range, quantity
from vmexit_sim.study.template import NESTING, Template
from vmexit_sim.units import LONGEST_PS, MICROSECOND, parse_time

FACTORS = {"H": 1.1, "R": 1.25, "R2": 1.5, "D": 2.0, "M": 5.0, "A": 10.0}
"""By mark: how many times smaller or larger a cost may well be."""

STATE_CHANGE = 100 * MICROSECOND
REFILL_SWITCHES = 10.0
UNKNOWN_SWITCHES = 1.0
CONTAINED_SWITCHES = 0.1
"""Upper ends for costs of 0, the last three in world switches (out and in)."""


@dataclass(frozen=True, kw_only=True)
class Plausible:
    """Something that is varied.

    Attributes:
        place: the scenario's key.
        base: what it is now; of a distribution the mean.
        range: what it may well be.
        mark: of a cost, how much its number is worth; "": it is no cost.
        is_own: whether the range was asked for, and not taken from the table.
        shape: of a cost that is a distribution: it keeps its shape, and is stretched.
    """

    place: str
    base: Quantity
    range: Range
    mark: str = ""
    is_own: bool = False
    shape: Duration | None = None

    @property
    def name(self) -> str:
        """The place, of a cost the cost alone."""
        return self.place.removeprefix("costs.")

    @property
    def is_cost(self) -> bool:
        """Whether it is a cost of the platform."""
        return bool(self.mark)

    def at(self, share: float) -> Any:
        """The value at a share (0 … 1) of the range, as a file states it."""
        found = quantity(self.range.at(share))
        assert found is not None, "ranges are of quantities"
        return self.stated(found.number)

    def stated(self, number: float) -> Any:
        """A number, in the base's unit, as a file states it."""
        if self.shape is not None:
            return _stretched(self.shape, number / self.base.number)
        whole = self.range.is_whole
        return Quantity(round(number) if whole else number, self.base.unit).stated()


def plausible(template: Template, ranges: Mapping[str, Sequence[Any]]) -> list[Plausible]:
    """All costs of a template's platform, and whatever else a range is given for.

    Args:
        template: the scenario.
        ranges: by cost or by place, ``(low, high)`` or ``(low, high, "linear" | "log")``; without
            a scale times above 0 are on a log scale, all else on a linear one.

    Raises:
        InputError: a range that is none, or of a place that holds no number of its unit.
    """
    opened = template.opened()
    platform = opened.platform
    own = {_place(name): values for name, values in ranges.items()}
    costs = [(f"costs.{name}", cost) for name, cost in platform.costs.items()]
    if platform.nesting is not None:
        costs += [(place, getattr(platform.nesting, place.split(".")[1])) for place in NESTING]
    found = [_of_cost(place, cost, platform, own.pop(place, None)) for place, cost in costs]
    for place, values in own.items():
        made = _range(place, values, None)
        base = template.value(place, made.low.unit)
        if base is None:
            raise InputError("holds no number to vary", key=place, mend="state one there")
        if made.low.unit != base.unit:
            raise InputError(f"is a range of another unit than {base.stated()!r}", key=place,
                             value=list(values))  # fmt: skip
        found.append(Plausible(place=place, base=base, range=made, is_own=True))
    return found


def parse_range(text: str) -> tuple[str, tuple[Any, ...]]:
    """A range from the words of a command line: ``to_user=200ns..5us``, ``…=0..5us,linear``.

    Returns:
        The cost or place, and the range as `plausible` takes it.

    Raises:
        InputError: it is none.
    """
    name, _, ends = text.rpartition("=")
    ends, _, scale = ends.partition(",")
    low, dots, high = ends.partition("..")
    if not name or not dots or (scale and scale.strip() not in SCALES):
        raise InputError("is no range", key="ranges", value=text,
                         mend="write it like to_user=200ns..5us")  # fmt: skip
    found = (_as_stated(low.strip()), _as_stated(high.strip()))
    return name.strip(), (*found, scale.strip()) if scale else found


def _as_stated(text: str) -> int | float | str:
    """A bare number as such, anything else as text."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _place(name: str) -> str:
    """A cost's name stands for its place."""
    if name in Costs.model_fields:
        return f"costs.{name}"
    if "." not in name or (name.startswith("costs.") and name[6:] not in Costs.model_fields):
        raise InputError("is no cost, and no place", key="ranges", value=name,
                         mend=nearest(name.removeprefix("costs."), Costs.model_fields))  # fmt: skip
    return name


def _of_cost(place: str, cost: Cost, platform: Platform, own: Sequence[Any] | None) -> Plausible:
    base = cost.value.mean_ps
    if own is not None:
        made = _range(place, own, platform.clock)
    elif cost.mark == "H" and cost.interval and cost.interval[0] < cost.interval[1]:
        made = _times(*cost.interval, "linear")
    elif base:
        factor = FACTORS[cost.mark]
        made = _times(base / factor, min(base * factor, LONGEST_PS), "log")
    else:
        made = _times(0.0, _upper_end(place, cost, platform), "linear")
    return Plausible(
        place=place, base=Quantity(base, "ps"), range=made, mark=cost.mark, is_own=own is not None,
        shape=None if cost.value.is_constant else cost.value,
    )  # fmt: skip


def _upper_end(place: str, cost: Cost, platform: Platform) -> float:
    costs = platform.costs
    switch = costs.world_switch_out.value.mean_ps + costs.world_switch_in.value.mean_ps
    if place == "costs.state_change":
        return STATE_CHANGE
    if place == "costs.refill":
        return REFILL_SWITCHES * switch
    return (UNKNOWN_SWITCHES if cost.mark in "MA" else CONTAINED_SWITCHES) * switch


def _times(low: float, high: float, scale: str) -> Range:
    ends = (
        Quantity(float(round(low)), "ps"),
        Quantity(float(max(round(high), round(low) + 1)), "ps"),
    )
    return Range(*ends, None, scale if ends[0].number else "linear", True)


def _range(place: str, values: Sequence[Any], clock: int | None) -> Range:
    """A range as it was asked for; `clock` of a cost, which may be stated in cycles."""
    if len(values) not in (2, 3) or (len(values) == 3 and values[2] not in SCALES):
        raise InputError("is no range", key=place, value=list(values),
                         mend='write it like ("200 ns", "5 us", "log")')  # fmt: skip
    if clock is None:
        ends = [quantity(end) for end in values[:2]]
    else:
        try:
            ends = [Quantity(float(parse_time(end, clock)), "ps") for end in values[:2]]
        except InputError as error:
            raise error.located(key=place) from None
    low, high = ends
    if low is None or high is None or low.unit != high.unit or not low.number < high.number:
        raise InputError("has no two ends of one unit, the lower one first", key=place,
                         value=list(values[:2]))  # fmt: skip
    scale = values[2] if len(values) == 3 else "log" if low.unit == "ps" else "linear"
    if scale == "log" and low.number <= 0:
        if len(values) == 3:
            raise InputError("is a logarithmic range that begins at 0 or below",
                             key=place, value=list(values),
                             mend='begin above 0, or take "linear"')  # fmt: skip
        scale = "linear"
    whole = all(type(end) is int for end in values[:2]) or low.unit in ("ps", "B", "Hz")
    return Range(low, high, None, str(scale), whole)


def _stretched(shape: Duration, factor: float) -> dict[str, Any]:
    """A distribution with all its times multiplied, as a file states it."""
    stated = dict(vars(shape))
    for key in ("mean", "shift", "low", "high"):
        if key in stated:
            stated[key] = f"{round(stated[key] * factor)} ps"
    if "samples" in stated:
        stated["samples"] = tuple(round(value * factor) for value in stated["samples"])
    return stated
