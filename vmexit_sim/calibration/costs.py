"""A calibrated cost: one number of a platform, derived from measurements.

A cost is a weighted sum of measured means (``to_user`` is half of ``inl_from_qemu`` less
``inl_from_kernel``), so its interval follows from theirs by the propagation of independent errors.
A cost that was not measured has no weights: it was taken over, and its source says from where.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from vmexit_sim.calibration.measurement import Measurement, quantile
from vmexit_sim.errors import InputError
from vmexit_sim.statistics.estimate import CONFIDENCE


@dataclass(frozen=True, kw_only=True)
class Calibrated:
    """One cost of a platform, from measurements.

    Attributes:
        name: a field of `vmexit_sim.hypervisor.platform.Costs`.
        value: how long it takes, as a TOML file states it: text with a unit, or a table.
        combination: weights of the measurements' means that sum to the cost's; empty: the cost
            was taken over from elsewhere.
        low: lower end of the interval of its mean, in ps; None: not known.
        high: upper end, in ps; None: not known.
        mark: a key of `vmexit_sim.hypervisor.platform.MARKS`.
        source: how it was derived, from which file and row, with n and interval.
    """

    name: str
    value: str | Mapping[str, Any]
    combination: Mapping[str, float] = field(default_factory=dict)
    low: float | None = None
    high: float | None = None
    mark: str = "H"
    source: str


def combined(
    measurements: Sequence[Measurement],
    combination: Mapping[str, float],
    confidence: float = CONFIDENCE,
) -> tuple[float, float | None, float | None]:
    """Mean and interval of a weighted sum of measured means, in ps.

    The errors of different measurements are taken as independent, and the sum's error as their
    root sum of squares. Student's t has the fewest degrees of freedom among them, which is
    wider than Welch and Satterthwaite's approximation, never narrower.

    Args:
        measurements: what was measured, of which the combination names some.
        combination: a weight for each measurement by name.
        confidence: nominal coverage of the interval.

    Returns:
        The mean, and the ends of its interval; these are None where a spread was not measured.

    Raises:
        InputError: the combination names no measurement of that name.
    """
    named = {measurement.name: measurement for measurement in measurements}
    mean, variance, known = 0.0, 0.0, True
    freedom: list[int | None] = []
    for name, weight in combination.items():
        if name not in named:
            raise InputError("is no measurement", key="from", value=name)
        measured = named[name]
        mean += weight * measured.mean
        freedom.append(measured.freedom)
        if measured.error is None or measured.n == 1:
            known = False
        else:
            variance += (weight * measured.error) ** 2
    if not known or not combination:
        return mean, None, None
    stated = [degrees for degrees in freedom if degrees is not None]
    half = quantile(min(stated) if stated else None, confidence) * math.sqrt(variance)
    return mean, mean - half, mean + half
