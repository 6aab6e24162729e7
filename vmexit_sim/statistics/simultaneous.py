"""Several policies at once: statements that hold together with the stated probability.

Ten intervals of 95 % miss somewhere in up to 40 % of all studies. With Bonferroni's inequality each
of m statements is made at 1 - (1 - confidence) / m, and all hold together at `confidence`, however
they depend on each other. So policies may share their random draws, as here they do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from vmexit_sim.statistics.estimate import CONFIDENCE, Estimate, Values
from vmexit_sim.statistics.paired import PAIRED_T, paired_difference


def against(first: Values, others: Mapping[str, Values], *,
            confidence: float = CONFIDENCE, unit: str = "ps") -> dict[str, Estimate]:  # fmt: skip
    """Differences of several policies to one baseline, with simultaneous intervals.

    Source: Law, Simulation Modeling and Analysis, 5th ed., section 10.3.1 (comparisons with a
    standard; paired t with Bonferroni's inequality).

    Args:
        first: the baseline's results, by replication.
        others: the other policies' results on the same replications, by name.
        confidence: with which all intervals together hold; it stands in each estimate.
        unit: the unit of the results.

    Returns:
        Mean of other - first by name. The method names how many intervals hold at once.

    Raises:
        InputError: no values, or not equally many.
    """
    each = 1 - (1 - confidence) / max(len(others), 1)
    method = PAIRED_T if len(others) < 2 else f"{PAIRED_T}, {len(others)} at once"
    return {
        name: replace(
            paired_difference(first, other, confidence=each, unit=unit, method=method),
            confidence=confidence,
        )
        for name, other in others.items()
    }


def best_set(
    samples: Mapping[str, Values],
    confidence: float = CONFIDENCE,
    *,
    larger_is_better: bool = False,
) -> list[str]:
    """The policies that no other is told to beat; the best is among them with `confidence`.

    A policy is left out if the one-sided paired t test at (1 - confidence) / (k - 1) says that some
    other is better. The best is wrongly left out only if one of k - 1 such tests errs about it, so
    the statement holds whatever the dependence between policies. If a single name remains, it is
    the best. Means are compared, of results that are about normal.

    Source: subset selection; Nelson, Swann, Goldsman and Song, "Simple procedures for selecting the
    best simulated system when the number of alternatives is large", Operations Research 49 (2001);
    under common random numbers: Nelson and Matejcik, Management Science 41 (1995); Hsu,
    Multiple Comparisons (1996), chapter 4, on multiple comparisons with the best.

    Args:
        samples: results by policy, on the same replications.
        confidence: with which the best is in the set.
        larger_is_better: for a throughput, say; otherwise the smallest mean is the best.

    Returns:
        Names, the best mean first; at least one if there is any.

    Raises:
        InputError: no values, or not equally many.
    """
    sign = -1 if larger_is_better else 1
    # Two-sided at twice the error: each end is one-sided at the error itself.
    each = 1 - 2 * (1 - confidence) / max(len(samples) - 1, 1)
    remaining = [
        name for name, own in samples.items()
        if not any(
            sign * difference.value > max(difference.half_width, 0.0)
            for other, theirs in samples.items() if other != name
            for difference in [paired_difference(theirs, own, confidence=each)]
        )
    ]  # fmt: skip
    return sorted(remaining, key=lambda name: sign * float(np.mean(samples[name])))
