"""Values of sliders: their units, how they stand in an address, and where a slider stops.

=========  ==========================  =============================
unit       inside                      in an address
=========  ==========================  =============================
time       whole ps                    ``12.5us``
count      whole number                ``16``
share      0 … 1                       ``0.35``
factor     positive number             ``2.5``
=========  ==========================  =============================
"""

from __future__ import annotations

import math
import re
from decimal import Decimal
from fractions import Fraction
from typing import Literal

from vmexit_sim.errors import InputError
from vmexit_sim.units import MICROSECOND, MILLISECOND, NANOSECOND, SECOND, format_time, parse_time

Unit = Literal["time", "count", "share", "factor"]
Value = int | float

DECADE = (1, 1.25, 1.6, 2, 2.5, 3.2, 4, 5, 6.4, 8)
"""Where a logarithmic slider stops, in each decade: steps of about 1.26."""

SHARES = 20
"""Steps of a share's slider."""

MOST_COUNTS = 24
"""Up to so many whole numbers a slider stops at each of them; of more, at some."""

LONGEST = 24
"""Most characters of a value in an address."""

_UNITS = (("s", SECOND), ("ms", MILLISECOND), ("us", MICROSECOND), ("ns", NANOSECOND))
_NUMBER = re.compile(r"[0-9]{1,15}(\.[0-9]{1,17})?(e(-[0-9]{1,3}|[0-9]{1,2}))?")


def read_value(unit: Unit, text: str) -> Value:
    """A value as addresses and ``guests.toml`` have it.

    Raises:
        InputError: it is none of that unit.
    """
    if len(text) > LONGEST:
        raise InputError("is too long for a value", value=text)
    if unit == "time":
        return parse_time(text)
    if not _NUMBER.fullmatch(text):
        raise InputError("is no number", value=text, mend="write it like 16 or 0.5")
    if unit == "count":
        if not text.isdigit():
            raise InputError("is no whole number", value=text, mend="write it like 16")
        return int(text)
    number = float(text)
    if unit == "factor" and number == 0:
        raise InputError("is no factor", value=text, mend="give a number above 0")
    return number


def written(unit: Unit, value: Value) -> str:
    """A value as an address has it; reading that gives the same value."""
    return repr(value) if unit != "time" else stated_time(int(value)).replace(" ", "")


def stated(unit: Unit, value: Value) -> Value | str:
    """A value as a scenario file states it."""
    return stated_time(int(value)) if unit == "time" else value


def stated_time(time: int) -> str:
    """A time as a scenario file states it, to the last ps."""
    name, scale = next(((name, scale) for name, scale in _UNITS if time >= scale), ("ps", 1))
    return f"{Decimal(time) / scale:f} {name}"


def shown(unit: Unit, value: Value) -> str:
    """A value for people."""
    if unit == "time":
        return format_time(value)
    if unit == "share":
        return f"{value * 100:.4g} %"
    return f"× {value:.4g}" if unit == "factor" else f"{value:,}"


def stops(unit: Unit, low: Value, high: Value) -> list[Value]:
    """Where a slider of that range stops: evenly, or, of times, factors and large counts, evenly
    on a logarithmic scale.
    """  # noqa: D205
    if unit == "share":
        return [low + (high - low) * step / SHARES for step in range(SHARES + 1)]
    if unit == "count" and high - low < MOST_COUNTS:
        return list(range(int(low), int(high) + 1))
    found = {low, high}
    first = math.floor(math.log10(max(low, 1 if unit == "count" else low)))
    for decade in range(first, math.ceil(math.log10(high)) + 1):
        for step in DECADE:
            exact = Fraction(step).limit_denominator(100) * Fraction(10) ** decade
            value: Value = float(exact) if unit == "factor" else round(exact)
            if low <= value <= high:
                found.add(value)
    return sorted(found)
