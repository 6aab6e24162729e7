"""A sampled number and its half-width as text, to as many digits as the half-width bears."""

from __future__ import annotations

import math

from vmexit_sim.units import MICROSECOND, MILLISECOND, NANOSECOND, SECOND

SCALES = (("s", SECOND), ("ms", MILLISECOND), ("µs", MICROSECOND), ("ns", NANOSECOND), ("ps", 1))


def time_scale(magnitude: float) -> tuple[str, int]:
    """The largest unit that a time of `magnitude` (ps) fills, and its picoseconds."""
    return next((scale for scale in SCALES if magnitude >= scale[1]), SCALES[-1])


def with_half_width(value: float, half_width: float, scale: float = 1) -> str:
    """``13.6 ± 0.2``: both divided by `scale`, the half-width to two digits, the value as far."""
    half = half_width / scale
    if half == 0:
        return f"{value / scale:.4g} ± 0"
    decimals = max(0, 1 - math.floor(math.log10(half)))
    return f"{value / scale:,.{decimals}f} ± {half:.{decimals}f}"


def number(value: float, digits: int = 4) -> str:
    """``19,852`` if it is whole, else to so many significant digits."""
    return f"{value:,.0f}" if value == round(value) else f"{value:.{digits}g}"
