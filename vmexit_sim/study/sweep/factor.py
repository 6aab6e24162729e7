"""Factors: what a study varies, and over which values.

As a study file states them::

    [factors]
    platform = ["kvm-2013", "kvm-2017"]                         # a list
    "costs.to_user" = ["200 ns", "5 us", 9, "log"]              # a range: ends, how many, scale

    [factors.spacing]                                           # under a name of its own
    place = "blocks.*.guest.between.mean"
    values = ["1 us", "1 ms", 13, "log"]

A factor is any key of the scenario, by its place (`vmexit_sim.places`). A range's ends are
quantities of one unit, or bare numbers; between whole numbers values are whole, as long as there
are as many.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import Field, model_validator

from vmexit_sim.configuration import Configured, checked, misfit
from vmexit_sim.errors import InputError
from vmexit_sim.places import parts_of
from vmexit_sim.units import parse_frequency, parse_size, parse_time

SCALES = ("linear", "log")
DEFAULT_STEPS = 9
"""Values of a range that a command line states without saying how many."""

MOST_VALUES = 100_000
"""Most values that a range may have."""

_CYCLES = re.compile(r"\s*([0-9.eE+-]+)\s*cycles\s*")


@dataclass(frozen=True)
class Quantity:
    """A value as a number.

    Attributes:
        number: how much.
        unit: "ps", "B", "Hz", "cycles", or "1" for a bare number.
    """

    number: float
    unit: str

    def stated(self) -> int | float | str:
        """The same as a file states it."""
        if self.unit == "1":
            return int(self.number) if self.number == int(self.number) else self.number
        whole = self.unit != "cycles"
        return f"{round(self.number) if whole else self.number} {self.unit}"


def quantity(value: Any) -> Quantity | None:
    """A value as a number with a unit; None: it is none (a name, a table, yes or no)."""
    if isinstance(value, bool):
        return None
    if isinstance(value, (int, float)):
        try:
            return Quantity(float(value), "1") if math.isfinite(value) else None
        except OverflowError:
            return None
    if not isinstance(value, str):
        return None
    if cycles := _CYCLES.fullmatch(value):
        try:
            number = float(cycles[1])
        except ValueError:
            return None
        return Quantity(number, "cycles") if math.isfinite(number) else None
    for parse, unit in ((parse_time, "ps"), (parse_size, "B"), (parse_frequency, "Hz")):
        try:
            return Quantity(float(parse(value)), unit)
        except InputError:
            continue
    return None


@dataclass(frozen=True)
class Range:
    """Values between two ends, evenly spaced on a scale.

    Attributes:
        low: the lower end.
        high: the upper end, of the same unit.
        steps: how many values a grid takes; None: only designs that choose for themselves can
            use it.
        scale: "linear" or "log".
        is_whole: whether all values are whole numbers.
    """

    low: Quantity
    high: Quantity
    steps: int | None
    scale: str
    is_whole: bool

    def at(self, share: float) -> Any:
        """The value at a share (0 … 1) of the way from low to high, as a file states it."""
        low, high = self.low.number, self.high.number
        if share in (0.0, 1.0):
            number = (low, high)[int(share)]
        elif self.scale == "log":
            number = low * (high / low) ** share
        else:
            number = low + (high - low) * share
        return Quantity(round(number) if self.is_whole else number, self.low.unit).stated()

    def values(self) -> list[Any]:
        """A grid's values; two that round to the same whole number are one."""
        steps = self.steps or 1
        return list(dict.fromkeys(self.at(n / max(steps - 1, 1)) for n in range(steps)))


class Factor(Configured):
    """One thing that a study varies.

    Attributes:
        place: the key of the scenario, or several that take the same value.
        values: a list, or a range ``[low, high, how many, "linear" | "log"]``; for designs that
            choose values themselves also ``[low, high, "linear" | "log"]``.
    """

    place: str | list[str]
    values: list[Any] = Field(min_length=1)

    @model_validator(mode="after")
    def _readable(self) -> Factor:
        for place in self.places:
            try:
                parts_of(place)
            except InputError as error:
                raise misfit(error.problem, value=error.value, mend=error.mend) from None
        _ = self.range
        return self

    @property
    def places(self) -> list[str]:
        """The keys that the factor sets."""
        return [self.place] if isinstance(self.place, str) else self.place

    @property
    def range(self) -> Range | None:
        """The range that the values state; None: they are a list."""
        return _range(self.values)

    def levels(self) -> list[Any]:
        """A grid's values.

        Raises:
            InputError: it is a range that does not say how many.
        """
        found = self.range
        if found is None:
            return self.values
        if found.steps is None:
            raise InputError("does not say how many values a grid takes", value=self.values,
                             mend='write [low, high, how many, "log"]')  # fmt: skip
        return found.values()

    def at(self, share: float) -> Any:
        """The value at a share (0 … 1) of the range, or of the list."""
        found = self.range
        if found is not None:
            return found.at(share)
        return self.values[min(int(share * len(self.values)), len(self.values) - 1)]


def _range(values: Sequence[Any]) -> Range | None:
    if len(values) not in (3, 4) or values[-1] not in SCALES:
        return None
    steps = values[2] if len(values) == 4 else None
    low, high = (quantity(end) for end in values[:2])
    if low is None or high is None or low.unit != high.unit:
        raise misfit("is no range: its ends are no quantities of one unit", value=list(values),
                     mend='write it like ["1 us", "1 ms", 13, "log"]')  # fmt: skip
    if not low.number < high.number:
        raise misfit("is a range whose high end is not above its low end", value=list(values),
                     mend="swap the ends")  # fmt: skip
    if values[-1] == "log" and low.number <= 0:
        raise misfit("is a logarithmic range that begins at 0 or below", value=list(values),
                     mend='begin above 0, or take "linear"')  # fmt: skip
    if steps is not None and not (type(steps) is int and 2 <= steps <= MOST_VALUES):
        raise misfit("is a range of no usable number of values", value=steps,
                     mend=f"give 2 to {MOST_VALUES:,}")  # fmt: skip
    counts = all(type(end) is int for end in values[:2])
    counts &= steps is None or high.number - low.number >= steps - 1  # 0, 0.25, … 1 are no counts
    whole = counts or low.unit in ("ps", "B", "Hz")
    return Range(low, high, steps, str(values[-1]), whole)


def parse_factor(text: str) -> Factor:
    """A factor from the words of a command line.

    ::

        costs.to_user=200ns..5us          a range; a logarithmic one if its ends lie far apart
        costs.to_user=200ns..5us:9,log    the same with 9 values, and the scale stated
        platform=kvm-2013,kvm-2017        a list

    Raises:
        InputError: it is none.
    """
    place, sign, rest = text.partition("=")
    low, dots, high = rest.partition("..")
    if not (place.strip() and sign and rest.strip()):
        raise InputError("is no factor", value=text,
                         mend="write it like costs.to_user=200ns..5us")  # fmt: skip
    if not dots:
        return checked(Factor, {"place": place.strip(),
                                "values": [plain(part) for part in rest.split(",")]})  # fmt: skip
    high, _, scale = high.partition(",")
    high, _, steps = high.partition(":")
    ends = [plain(low), plain(high)]
    count = plain(steps) if steps else default_steps(ends[0], ends[1], DEFAULT_STEPS)
    scale = scale.strip()
    if not scale:
        numbers = [quantity(end) for end in ends]
        wide = all(n is not None and n.number > 0 for n in numbers) and (
            numbers[1].number > 10 * numbers[0].number  # type: ignore[union-attr]
        )
        scale = "log" if wide else "linear"
    return checked(Factor, {"place": place.strip(), "values": [*ends, count, scale]})


def default_steps(low: object, high: object, usual: int) -> int:
    """How many values a range has that does not say so: no more than whole numbers lie in it.

    Between 0 and 1, though, lie shares.
    """
    if type(low) is int and type(high) is int and high - low > 1:
        return min(usual, high - low + 1)
    return usual


def plain(text: str) -> int | float | str:
    """A bare number as such, anything else as text."""
    text = text.strip()
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def column_value(value: Any) -> tuple[float | str, str]:
    """A value as a result's column holds it, and its unit ("" for text)."""
    if isinstance(value, bool):
        return str(value).lower(), ""
    found = quantity(value)
    if found is not None:
        return found.number, found.unit
    if isinstance(value, str):
        return value, ""
    return json.dumps(value, sort_keys=True, ensure_ascii=False), ""
