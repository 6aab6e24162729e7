"""Batches: a mean and its interval from one long run of correlated values.

::

    value  ▁▂▂▃▂▁▁▂▃▅▇▅▃▂▁▁ ▁▂▃▃▂▂▁▁▂▃▂▁▁▂▂▃ ▂▁▁▂▄▅▄▃▂▂▁▁▁▂▁▁   one run
           └───────┬──────┘ └───────┬──────┘ └───────┬──────┘
           mean of batch 1   mean of batch 2   mean of batch 3    nearly independent, if long

The values themselves are correlated over some distance. Means of batches that are much longer than
that are nearly independent and nearly normal, and Student's t applies to them.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from vmexit_sim.errors import InputError
from vmexit_sim.statistics.estimate import (
    CONFIDENCE,
    ROUNDING,
    Estimate,
    Values,
    mean,
    sampled,
    unbounded,
)

BATCHES = 20

PARTS = 8
"""Of a batch: whether batches are long enough shows in what is shorter."""

CORRELATION = 0.3
"""Lag-1 correlation of the parts beyond which batches are too correlated for an interval.

If it decays geometrically, the batches' own is then at most 0.05, and the interval too short by
about as much. Looking at the batches' own correlation tells little: with 20 of them its standard
error is 0.22, so that a test at 5 % passes most runs that are far too short.
"""

BATCH_MEANS = "batch means"


def batch_means(series: Values, *, batches: int = BATCHES, confidence: float = CONFIDENCE,
                unit: str = "ps") -> Estimate:  # fmt: skip
    """The mean of one long run, after its warm-up, from non-overlapping batches.

    If an eighth of a batch is still correlated with the next, by more than `CORRELATION`, the
    method is "batch means, correlated" and the interval unbounded: it would be too short, and by
    how much nobody knows. Then run longer.

    Source: Schmeiser, "Batch size effects in the analysis of simulation output", Operations
    Research 30 (1982), for 10 to 30 batches; Law and Carson, "A sequential procedure for
    determining the length of a steady-state simulation", Operations Research 27 (1979), for judging
    batches by the correlation of shorter ones.

    Args:
        series: values in the order of time.
        batches: how many, at least 2; 20 to 30 are usual. What does not divide is left out at the
            beginning.
        confidence: nominal coverage.
        unit: the unit of the values.

    Returns:
        The estimate; its `n` is the number of batches. "batch means, too short": there are not
        enough values to judge, and the interval is unbounded.

    Raises:
        InputError: no values, or fewer than 2 batches.
    """
    if batches < 2:
        raise InputError("are too few batches", key="batches", value=batches, mend="give 20 to 30")
    values = sampled(series)
    if len(values) < batches * PARTS:
        value, method = float(values.mean()), f"{BATCH_MEANS}, too short"
        return unbounded(value, batches, method, confidence, unit)
    parts = in_batches(values, batches * PARTS).mean(axis=1)
    means = in_batches(parts, batches).mean(axis=1)
    if lag_1_correlation(parts) > CORRELATION:
        method = f"{BATCH_MEANS}, correlated"
        return unbounded(float(means.mean()), batches, method, confidence, unit)
    return mean(means, confidence=confidence, unit=unit, method=BATCH_MEANS)


def in_batches(values: npt.NDArray[np.float64], batches: int) -> npt.NDArray[np.float64]:
    """The values as [batch, value]; what does not divide is left out at the beginning."""
    return values[len(values) % batches :].reshape(batches, -1)


def lag_1_correlation(values: npt.NDArray[np.float64]) -> float:
    """How much successive values are correlated, by von Neumann's ratio; 0 if none varies.

    The mean squared successive difference is twice the variance, less twice the covariance of
    successive values. So half their ratio, less 1, is the negative correlation; without any, it has
    mean 0 whatever the number of values, which the plain estimate of a correlation has not.

    Source: von Neumann, "Distribution of the ratio of the mean square successive difference to the
    variance", Annals of Mathematical Statistics 12 (1941).
    """
    if np.ptp(values) <= ROUNDING * np.abs(values).max():
        return 0.0
    spread = values - values.mean()
    return 1 - float(np.square(np.diff(values)).sum() / (2 * (spread @ spread)))
