"""A distribution for what was measured: shifted lognormal, shifted gamma, or the samples.

Mean and standard deviation of the distribution are the measured ones, and its smallest value is the
shortest that was measured, so that what is simulated adds up to what was measured; which family is
taken is a question of shape. Samples decide it by their likelihood. Where only moments are known,
the longest of the n samples decides: the family whose (1 - 1/n) quantile lies nearer to it (in
ratio), which is where the two differ most. Without that the lognormal is taken, the usual shape of
times that are products of many small factors.

Lognormal and gamma above a shift, by moments: A. M. Law, Simulation Modeling and Analysis, sections
on useful continuous distributions and on shifted and truncated ones.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from vmexit_sim.calibration.measurement import Measurement
from vmexit_sim.calibration.platform_file import stated_time
from vmexit_sim.errors import InputError
from vmexit_sim.output import write_whole
from vmexit_sim.units import format_time

Kind = Literal["constant", "lognormal", "gamma", "empirical"]
Family = Literal["lognormal", "gamma"]

ENOUGH_SAMPLES = 1000
"""So many samples stand for themselves where neither family fits."""

REJECTED = 0.01
"""A family whose Kolmogorov-Smirnov p value is below does not fit the samples."""

POINTS = 1000
"""Quantiles that samples are written down as: equally likely, each the middle of its share."""

MOST_SPREAD = 100.0
"""Largest standard deviation over mean that a distribution in a file may have."""


@dataclass(frozen=True, kw_only=True)
class Fit:
    """A distribution that stands for a measurement.

    Attributes:
        measurement: what was measured.
        kind: its family; "empirical": the samples themselves.
        table: how a file states it: text, or a table of `vmexit_sim.distributions`. Of an
            empirical one, the better family, for who cannot keep a file of samples.
        mean: the table's mean, in ps.
        sd: the table's standard deviation, in ps.
        least: the table's smallest value, in ps.
        distance: the Kolmogorov-Smirnov distance between table and samples; None: no samples.
        p_value: how likely a larger one is; small: the table does not fit. None: no samples.
        log_likelihood: of each family that was tried, per sample; empty: no samples.
        chosen_by: why this family.
    """

    measurement: Measurement
    kind: Kind
    table: str | dict[str, Any]
    mean: float
    sd: float
    least: float
    distance: float | None = None
    p_value: float | None = None
    log_likelihood: dict[Family, float]
    chosen_by: str


def fit(measurement: Measurement) -> Fit | None:
    """The distribution of one measurement; None: its spread is not known."""
    sd = measurement.sd
    least = min(measurement.least or 0.0, measurement.mean)
    if sd is None or measurement.n == 1:
        return None
    excess = measurement.mean - least
    if round(sd) == 0 or round(excess) == 0 or sd / measurement.mean > MOST_SPREAD:
        why = (
            "the standard deviation is beyond 100 times the mean" if excess and sd else "no spread"
        )
        return Fit(measurement=measurement, kind="constant", table=stated_time(measurement.mean),
                   mean=measurement.mean, sd=0.0, least=measurement.mean, log_likelihood={},
                   chosen_by=why)  # fmt: skip
    samples = measurement.samples
    if samples is not None and len(samples) > 1:
        return _of_samples(measurement, sd, least, samples)
    family, why = family_of(measurement.mean, sd, least, measurement.greatest, measurement.n)
    return Fit(measurement=measurement, kind=family, log_likelihood={}, chosen_by=why,
               table=shifted(family, measurement.mean, sd, least),
               mean=measurement.mean, sd=sd, least=least)  # fmt: skip


def family_of(
    mean: float, sd: float, least: float, greatest: float | None, n: int | None
) -> tuple[Family, str]:
    """The family that moments and extremes speak for, and why.

    Args:
        mean: in ps.
        sd: standard deviation, in ps.
        least: the shortest, in ps, below the mean.
        greatest: the longest, in ps; None: not known.
        n: the number of samples; None: not known.
    """
    if greatest is None or n is None or n < 2 or greatest <= mean:
        return "lognormal", "rule: the longest is not known, so the usual shape"
    reach = {
        family: max(1.0, float(_above(family, mean - least, sd).ppf(1 - 1 / n)) + least)
        for family in FAMILIES
    }
    gaps = {family: abs(math.log(greatest / reach[family])) for family in FAMILIES}
    best: Family = min(FAMILIES, key=lambda family: gaps[family])
    other = next(family for family in FAMILIES if family != best)
    return best, (
        f"the longest of {n:,}, {format_time(greatest)}: a {best} reaches about "
        f"{format_time(reach[best])}, a {other} {format_time(reach[other])}"
    )


FAMILIES: tuple[Family, ...] = ("lognormal", "gamma")


def shifted(family: Family, mean: float, sd: float, least: float) -> dict[str, Any]:
    """A family's table as files state it, times rounded to whole ps.

    Args:
        family: lognormal or gamma.
        mean: of the whole, in ps, above `least` by half a ps at least.
        sd: standard deviation, in ps.
        least: the smallest value, in ps.
    """
    stated = {"kind": family, "mean": stated_time(mean), "cv": sd / mean}
    return stated | ({"shift": stated_time(math.floor(least))} if least >= 1 else {})


def quantiles(samples: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """`POINTS` equally likely values that stand for the samples, in ps, int64 [`POINTS`]."""
    shares = (np.arange(POINTS) + 0.5) / POINTS
    return np.rint(np.quantile(samples, shares)).astype(np.int64)


def write_samples(path: Path, fits: Sequence[Fit]) -> list[str]:
    """Write the samples of empirical fits as a CSV file, one column each, in ps.

    A distribution names it as ``{ kind = "empirical", file = …, column = … }``.

    Returns:
        The columns' names; nothing is written if there are none.

    Raises:
        InputError: the file cannot be written, or two columns have one name.
    """
    columns = [(fit.measurement.name, fit.measurement.samples) for fit in fits
               if fit.kind == "empirical" and fit.measurement.samples is not None]  # fmt: skip
    names = [name for name, _ in columns]
    if len(set(names)) < len(names):
        raise InputError("would have two columns of one name", file=path)
    if not columns:
        return []
    import pandas as pd

    frame = pd.DataFrame({name: quantiles(samples) for name, samples in columns})
    write_whole(path, lambda partial: frame.to_csv(partial, index=False))
    return names


def _above(family: Family, excess: float, sd: float) -> Any:
    """SciPy's frozen distribution of what lies above the shift, in ps."""
    from scipy import stats

    spread = sd / excess
    if family == "gamma":
        return stats.gamma(spread**-2, scale=excess * spread**2)
    variance = math.log1p(spread**2)
    return stats.lognorm(math.sqrt(variance), scale=excess * math.exp(-variance / 2))


def _of_samples(
    measurement: Measurement, sd: float, least: float, samples: npt.NDArray[np.int64]
) -> Fit:
    from scipy import stats

    # The shortest sample lies above the smallest possible value, by about what one in n would.
    least = max(least - (measurement.mean - least) / len(samples), 0.0)
    excess = measurement.mean - least
    above = samples.astype(np.float64) - least
    tried = {family: _above(family, excess, sd) for family in FAMILIES}
    likelihood: dict[Family, float] = {
        family: float(np.mean(found.logpdf(np.maximum(above, 0.5))))
        for family, found in tried.items()
    }
    best: Family = max(FAMILIES, key=lambda family: likelihood[family])
    cdf: Callable[..., Any] = tried[best].cdf
    test = stats.kstest(above, cdf, method="asymp")
    distance, p_value = float(test.statistic), float(test.pvalue)
    kind: Kind = best
    why = "the likelihood of the samples"
    if p_value < REJECTED and len(samples) >= ENOUGH_SAMPLES:
        kind = "empirical"
        why = f"neither family fits (p = {p_value:.2g}), and there are {len(samples):,} samples"
    return Fit(measurement=measurement, kind=kind, table=shifted(best, measurement.mean, sd, least),
               mean=measurement.mean, sd=sd, least=least, distance=distance, p_value=p_value,
               log_likelihood=likelihood, chosen_by=why)  # fmt: skip
