"""Quantiles: intervals between order statistics, for any distribution."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from vmexit_sim.errors import InputError
from vmexit_sim.statistics.batch_means import in_batches
from vmexit_sim.statistics.estimate import (
    CONFIDENCE,
    ONE_REPLICATION,
    Estimate,
    Values,
    sampled,
    unbounded,
)

ORDER_STATISTICS = "order statistics"
BATCH_QUANTILES = "batch quantiles"

QUANTILE_BATCHES = 8

EVENTS = 10
"""How often a batch has to go beyond a quantile for its own quantile to be worth anything."""


def median(values: Values, *, confidence: float = CONFIDENCE,
           unit: str = "ps") -> Estimate:  # fmt: skip
    """The median of independent replications' results, between interpolated order statistics.

    Used for quantiles of latency: each replication gives one, and quantiles must not be averaged.
    The estimated quantity is the median over replications of the result.

    The interval between the d-th smallest and the d-th largest value covers with a probability
    that depends on n and d alone, and jumps from one d to the next: at n = 8 from 93 % to 99.2 %.
    So the interval lies between the two, interpolated so that its coverage is close to nominal for
    any continuous distribution that is about symmetric or smooth near its median. With fewer than
    6 replications not even the extremes cover 95 %, and the interval is unbounded.

    Source: Hettmansperger and Sheather, "Confidence intervals based on interpolated order
    statistics", Statistics & Probability Letters 4 (1986), who show that the weight hardly depends
    on the distribution; Nyblom, "Note on interpolated order statistics", ibid. 14 (1992), has it
    for any quantile.

    Raises:
        InputError: no values.
    """
    sample = np.sort(sampled(values))
    n = len(sample)
    value = float(np.median(sample))
    if n == 1:
        return unbounded(value, 1, ONE_REPLICATION, confidence, unit)
    depth = median_depth(n, confidence)
    if depth is None:
        return unbounded(value, n, ORDER_STATISTICS, confidence, unit)
    d, weight = depth
    low = float(sample[d - 1] + weight * (sample[d] - sample[d - 1]))
    high = float(sample[n - d] + weight * (sample[n - d - 1] - sample[n - d]))
    return Estimate(value, low, high, n, ORDER_STATISTICS, confidence, unit)


def median_depth(n: int, confidence: float) -> tuple[int, float] | None:
    """Where the median's interval ends: at the d-th value from either side, and `weight` further.

    Returns:
        (d, weight), the weight in 0 .. 1 on the (d + 1)-th value; None: even the smallest and the
        largest value cover less than `confidence`.
    """
    from scipy.special import bdtr

    covered = 1 - 2 * bdtr(np.arange(n // 2 + 1), n, 0.5)  # of d = 1, 2, …
    if covered[0] < confidence:
        return None
    d = int(np.flatnonzero(covered >= confidence)[-1]) + 1
    part = float((covered[d - 1] - confidence) / (covered[d - 1] - covered[d]))
    return d, (n - d) * part / (d + (n - 2 * d) * part)


def batch_quantile(series: Values, q: float, *,
                   batches: int = QUANTILE_BATCHES, confidence: float = CONFIDENCE,
                   unit: str = "ps") -> Estimate:  # fmt: skip
    """A quantile of one long run, after its warm-up: the median of its batches' quantiles.

    A short batch's quantile is biased, however many batches there are, while the interval gains
    little from more than a few: so batches are few and long. What a batch's quantile rests on are
    the values beyond it, and in a queue those come in bursts: one long queue gives many long waits,
    and says as much as one. If a batch has fewer than `EVENTS` independent ones on average, the
    method says "too short" and the interval is unbounded; that takes 10 / (1 - q) values a batch if
    they are independent, and many times that in a busy queue.

    Args:
        series: values in the order of time.
        q: which quantile, between 0 and 1.
        batches: how many. What does not divide is left out at the beginning.
        confidence: nominal coverage.
        unit: the unit of the values.

    Returns:
        The estimate; its `n` is the number of batches.

    Raises:
        InputError: no values, or not a quantile.
    """
    if not 0 < q < 1:
        raise InputError("is not a quantile", key="q", value=q, mend="give 0.99 or the like")
    values = sampled(series)
    level = float(np.quantile(values, q, method="median_unbiased"))
    beyond = values > level if q >= 0.5 else values < level
    if independent_events(beyond) < EVENTS * batches:
        return unbounded(level, batches, f"{BATCH_QUANTILES}, too short", confidence, unit)
    parts = in_batches(values, batches)
    quantiles = np.quantile(parts, q, axis=1, method="median_unbiased")
    found = median(quantiles, confidence=confidence, unit=unit)
    return replace(found, method=BATCH_QUANTILES)


def independent_events(beyond: npt.NDArray[np.bool_]) -> float:
    """How many independent events the marked values of a series amount to, at most their number.

    Marked values of an independent series have about exponential distances. Those of a correlated
    one come in clusters, with short distances inside and long ones between; the ratio of the
    distances' squared mean to their mean square says how many values a cluster has.

    Source: Ferro and Segers, "Inference for clusters of extreme values", Journal of the Royal
    Statistical Society B 65 (2003): the intervals estimator of the extremal index.

    Args:
        beyond: which values are marked, bool [value].
    """
    marked = np.flatnonzero(beyond)
    distance = np.diff(marked).astype(np.float64)
    if len(distance) == 0:
        return float(len(marked))
    if distance.max() <= 2:
        index = 2 * distance.sum() ** 2 / (len(distance) * (distance**2).sum())
    else:
        more = distance - 1
        index = 2 * more.sum() ** 2 / (len(distance) * (more * (distance - 2)).sum())
    return len(marked) * min(float(index), 1.0)
