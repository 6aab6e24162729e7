"""Quantities with units, exact.

Inside vmexit-sim a time is an integer number of picoseconds, so that sums are exact and both
engines agree to the last bit. In files every quantity carries its unit: ``"85.17 us"``,
``"6209 cycles"`` (on a platform that states its clock), ``"2 MiB"``. A bare number where a unit
belongs is an error: nobody can check it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from fractions import Fraction

from vmexit_sim.errors import InputError, nearest

PICOSECOND = 1
NANOSECOND = 1_000
MICROSECOND = 1_000_000
MILLISECOND = 1_000_000_000
SECOND = 1_000_000_000_000

LONGEST_PS = 2**62
"""Longest time that a file may state (53 days), so that sums of several stay inside int64."""

_TIME = {
    "ps": PICOSECOND,
    "ns": NANOSECOND,
    "us": MICROSECOND,
    "µs": MICROSECOND,
    "μs": MICROSECOND,
    "ms": MILLISECOND,
    "s": SECOND,
    "min": 60 * SECOND,
}
_FREQUENCY = {"Hz": 1, "kHz": 10**3, "MHz": 10**6, "GHz": 10**9}
_SIZE = {
    "B": 1,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
    "TiB": 2**40,
    "kB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
}
_END = r"(?:[eE][+-]?[0-9]{1,2})?"
_NUMBER = r"[0-9](?:_?[0-9]){0,30}(?:\.[0-9]{1,30})?" + _END
_NOTHING = r"0(?:_?0){0,30}(?:\.0{1,30})?" + _END
_QUANTITY = re.compile(rf"\s*([+-]?{_NUMBER})\s*([^\s0-9.]*)\s*")

LONGEST_TEXT = 99
"""Characters of a quantity in a file, at most."""


def _pattern(units: Iterable[str]) -> str:
    return rf"^\s*(?:\+?{_NUMBER}|-{_NOTHING})\s*(?:{'|'.join(units)})\s*$"


TIME_PATTERN = _pattern((*_TIME, "cycles"))
PLAIN_TIME_PATTERN = _pattern(_TIME)
SIZE_PATTERN = _pattern(_SIZE)
FREQUENCY_PATTERN = _pattern(_FREQUENCY)
"""What the texts of quantities look like, as ECMAScript and Python read it: no text that is parsed
below fails its pattern, and one that fits is refused only for its size or its fineness."""


def parse_time(value: object, clock_hz: int | None = None) -> int:
    """A time in picoseconds.

    Args:
        value: text such as ``"2.5 us"`` or ``"1181 cycles"``.
        clock_hz: the clock that ``cycles`` are counted in, in hertz.

    Raises:
        InputError: no unit, an unknown unit, a negative or too long time, cycles without a clock,
            or a time that is not a whole number of picoseconds (cycles are rounded instead: they
            are measurements of a clock whose period need not be one).
    """
    number, unit = _split(value, "2.5 us", {**_TIME, "cycles": 0})
    if unit == "cycles":
        if clock_hz is None:
            raise InputError(
                "is in cycles, but no clock is known here",
                value=value,
                mend="state the platform's clock, or give the time in ns",
            )
        exact = number * SECOND / clock_hz
        time = round(exact)
    else:
        exact = number * _TIME[unit]
        time = int(exact)
        if time != exact:
            raise InputError(
                "is finer than a picosecond", value=value, mend="round it to whole picoseconds"
            )
    if exact < 0:
        raise InputError("is negative", value=value, mend="give a time of 0 or more")
    if time > LONGEST_PS:
        raise InputError("is longer than 53 days", value=value, mend="give a shorter time")
    return time


def parse_frequency(value: object) -> int:
    """A clock in whole hertz, from text such as ``"3.5 GHz"``.

    Raises:
        InputError: no unit, an unknown one, or not a positive whole number of hertz.
    """
    number, unit = _split(value, "3.5 GHz", _FREQUENCY)
    exact = number * _FREQUENCY[unit]
    if exact <= 0 or exact.denominator != 1 or exact > 10**15:
        raise InputError("is not a clock", value=value, mend='write for instance "3.5 GHz"')
    return int(exact)


def parse_size(value: object) -> int:
    """A size in bytes, from text such as ``"2 MiB"``.

    Raises:
        InputError: no unit, an unknown one, or not a whole number of bytes in 0 .. 2**62.
    """
    number, unit = _split(value, "2 MiB", _SIZE)
    exact = number * _SIZE[unit]
    if exact < 0 or exact.denominator != 1 or exact > 2**62:
        raise InputError("is not a whole number of bytes", value=value, mend='e.g. "2 MiB"')
    return int(exact)


def format_time(picoseconds: float, digits: int = 4) -> str:
    """A time for people: the unit that leaves one to three digits before the point."""
    magnitude = abs(picoseconds)
    for unit, scale in (("s", SECOND), ("ms", MILLISECOND), ("µs", MICROSECOND), ("ns", 1_000)):
        if float(f"{magnitude:.{digits}g}") >= scale:
            return f"{_rounded(picoseconds / scale, digits)} {unit}"
    return "0" if magnitude == 0 else f"{_rounded(picoseconds, digits)} ps"


def _rounded(value: float, digits: int) -> str:
    """`value` to `digits` significant digits, never in exponent form, whole digits kept."""
    whole = len(str(int(abs(value))))
    text = f"{value:.{max(digits - whole, 0)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _split(value: object, example: str, known: dict[str, int]) -> tuple[Fraction, str]:
    if isinstance(value, (int, float)):
        raise InputError("has no unit", value=value, mend=f'write it as text, like "{example}"')
    is_text = isinstance(value, str) and len(value) <= LONGEST_TEXT
    match = _QUANTITY.fullmatch(str(value)) if is_text else None
    if match is None:
        raise InputError("is not a quantity", value=value, mend=f'write it like "{example}"')
    number, unit = match.groups()
    if unit not in known:
        problem = "has no unit" if not unit else f"has an unknown unit {unit!r}"
        mend = f'write it like "{example}"' if not unit else nearest(unit, known)
        raise InputError(problem, value=value, mend=mend)
    return Fraction(number), unit
