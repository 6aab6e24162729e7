"""Estimates: no number without its interval.

What an interval rests on depends on what was simulated:

============================  ============================  =======================================
simulated                     estimated by                  called
============================  ============================  =======================================
a recorded guest, constant    itself: no sampling error     `exact`
costs
independent replications      Student's t over them         `mean`
independent replications'     interpolated order            `median`
quantiles                     statistics
one long run, its mean        t over long batches' means    `batch_means`
one long run, a quantile      order statistics of long      `batch_quantile`
                              batches' quantiles
two policies                  t over paired differences     `compare_pair`, `paired_difference`,
                                                            `paired_ratio`
several policies              the same with Bonferroni's    `against` a baseline; `best_set`: who
                              inequality                    may be the best; `Selection`: find it
============================  ============================  =======================================

Whether a study *terminates* (a boot, from power-on to login) or is a *steady state* (traffic that
could go on for ever) is the user's to say. A terminating one is estimated over replications of the
whole. Of a steady state the beginning, which starts empty and is not typical, is cut: `warm_up`
says how much. `Precision` says when to stop replicating.

Policies are compared replication by replication, since all of them meet the same guest draw for
draw (common random numbers). An interval from the standard error of one run's correlated latencies
covers far less than it claims, so there is none here. How often each interval here holds the truth
is measured by ``benchmarks/interval_coverage.py``.
"""

from vmexit_sim.statistics.batch_means import batch_means
from vmexit_sim.statistics.estimate import CONFIDENCE, Estimate, Values, exact, mean
from vmexit_sim.statistics.paired import Paired, compare_pair, paired_difference, paired_ratio
from vmexit_sim.statistics.quantiles import batch_quantile, median
from vmexit_sim.statistics.selection import Selection
from vmexit_sim.statistics.simultaneous import against, best_set
from vmexit_sim.statistics.stopping import Precision
from vmexit_sim.statistics.warm_up import WarmUp, warm_up

__all__ = [
    "CONFIDENCE",
    "Estimate",
    "Paired",
    "Precision",
    "Selection",
    "Values",
    "WarmUp",
    "against",
    "batch_means",
    "batch_quantile",
    "best_set",
    "compare_pair",
    "exact",
    "mean",
    "median",
    "paired_difference",
    "paired_ratio",
    "warm_up",
]
