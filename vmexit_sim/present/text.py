"""Numbers as text: a time with a unit that suits it, an estimate with its interval."""

from __future__ import annotations

import math

from vmexit_sim.statistics import Estimate
from vmexit_sim.statistics.text import number, time_scale, with_half_width
from vmexit_sim.study.metrics import is_better_larger
from vmexit_sim.units import format_time


def time_text(estimate: Estimate, digits: int = 4) -> str:
    """A time: ``35.39 ms``, or ``13.6 ± 0.2 µs`` where it was sampled."""
    if math.isnan(estimate.value):
        return "-"
    if estimate.low == estimate.high:
        return format_time(estimate.value, digits)
    if not math.isfinite(estimate.half_width):
        return f"{format_time(estimate.value, digits)} ± ?"
    unit, scale = time_scale(max(abs(estimate.value), estimate.half_width))
    return f"{with_half_width(estimate.value, estimate.half_width, scale)} {unit}"


def number_text(estimate: Estimate, digits: int = 4) -> str:
    """A count or a ratio, with its half-width where it was sampled."""
    if math.isnan(estimate.value):
        return "-"
    bare = number(estimate.value, digits)
    if estimate.low == estimate.high:
        return bare
    if not math.isfinite(estimate.half_width):
        return f"{bare} ± ?"
    return with_half_width(estimate.value, estimate.half_width)


def better(metric: str) -> str:
    """Which end of a metric is the good one: "least", or "most"."""
    return "most" if is_better_larger(metric) else "least"


def count_text(count: float) -> str:
    """A whole number with separators: ``19,852``."""
    return f"{round(count):,}"


def share_text(share: float) -> str:
    """A share in percent; never "0 %" of what is not nothing, nor "100 %" of what is not all."""
    if share in (0, 1):
        return f"{share:.0%}".replace("%", " %")
    return f"{min(max(share * 100, 0.1), 99.9):.1f} %"


def share_estimate_text(estimate: Estimate) -> str:
    """A share in percent, with its half-width where it was sampled."""
    if estimate.low == estimate.high:
        return share_text(estimate.value)
    if not math.isfinite(estimate.half_width):
        return f"{share_text(estimate.value)} ± ?"
    return f"{with_half_width(estimate.value, estimate.half_width, 0.01)} %"
