"""Latencies: how those of single accesses are spread, to their far tail, under several policies.

::

    each replication ──► quantiles at shares beyond, 1 - 1/2n … 1/n ─► median over replications,
                                                                       with its interval

A run on constant costs is its whole distribution, exact. Otherwise each replication gives its own
quantile at each share, and the curve is their median with the interval between order statistics
that tables have for p50 and p99 (`statistics.median`): pointwise, for each share alone, at 95 %.
With fewer than 6 replications there is no such interval. A run that kept no rows gives quantiles
from its sketch, within 0.05 %.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from vmexit_sim.engine import EngineName
from vmexit_sim.errors import InputError, nearest
from vmexit_sim.measure.records import LATENCIES, RunResult
from vmexit_sim.measure.spread import Distribution, distribution
from vmexit_sim.opened import Loaded, Opened
from vmexit_sim.statistics import Estimate, exact, median
from vmexit_sim.study.each_run import each_run
from vmexit_sim.study.replication import Progress

PER_DECADE = 30
"""Shares at which quantiles are estimated, for each factor of ten."""


@dataclass(frozen=True, kw_only=True)
class PolicyLatency:
    """One policy's latencies.

    Attributes:
        policy: its name.
        beyond: shares of accesses that take longer, descending; float64 [share].
        quantiles: the latency that this share exceeds, in ps; one for each share.
        accesses: of one replication, the fewest.
    """

    policy: str
    beyond: npt.NDArray[np.float64]
    quantiles: Sequence[Estimate]
    accesses: int


@dataclass(frozen=True, kw_only=True)
class LatencySpread:
    """Latencies of one guest's accesses.

    Attributes:
        block: the guest's name.
        which: "stall", "response" or "effect".
        policies: in the scenario's order.
        replications: behind each quantile.
        is_exact: whether nothing is left to chance.
        from_sketch: whether values are known to within 0.05 % only.
    """

    block: str
    which: str
    policies: Sequence[PolicyLatency]
    replications: int
    is_exact: bool
    from_sketch: bool

    @property
    def basis(self) -> str:
        """What the curves and their bands rest on, in a sentence."""
        n = min(each.accesses for each in self.policies)
        where = "sketches, within 0.05 %" if self.from_sketch else "every access's record"
        if self.is_exact:
            return f"{self.which} latency of {n:,} accesses; exact, from {where}"
        interval = [each for policy in self.policies for each in policy.quantiles]
        bands = (
            f"bands: {interval[0].confidence * 100:.4g} % intervals between order statistics, "
            "at each share alone"
            if any(math.isfinite(each.half_width) for each in interval)
            else "no bands: intervals need 6 replications or more"
        )
        own = self.replications
        whose = "1 replication's" if own == 1 else f"{own:,} replications'"
        return (
            f"{self.which} latency; at each share the median of {whose} quantiles, each of {n:,} "
            f"accesses or more, from {where}; {bands}"
        )


def latency_spread(
    opened: Opened,
    block: Loaded,
    which: str = "stall",
    *,
    engine: EngineName = "auto",
    jobs: int = 1,
    progress: Progress | None = None,
) -> LatencySpread:
    """How latencies are spread under every policy of a scenario.

    Args:
        opened: the scenario.
        block: one of its guests.
        which: "stall", "response" or "effect".
        engine: what runs it; the numbers are the same.
        jobs: replications that run at a time, on threads.
        progress: told what is being run.

    Raises:
        InputError: no such latency.
        SimulationError: a deadlock.
    """
    refuse_other(which)
    found = each_run(opened, block, partial(_distribution, which), engine=engine, jobs=jobs,
                     progress=progress)  # fmt: skip
    everything = [each for _, own in found for each in own]
    return LatencySpread(
        block=block.name,
        which=which,
        policies=[_policy(name, own, opened.is_random) for name, own in found],
        replications=opened.replications,
        is_exact=not opened.is_random,
        from_sketch=not all(each.is_exact for each in everything),
    )


def refuse_other(which: str) -> None:
    """Refuse what is no latency.

    Raises:
        InputError: it is not.
    """
    if which not in LATENCIES:
        raise InputError("is no latency", key="latency", value=which,
                         mend=nearest(which, LATENCIES))  # fmt: skip


def _distribution(which: str, result: RunResult) -> Distribution:
    return distribution(result.summary, which)


def _policy(name: str, own: Sequence[Distribution], is_random: bool) -> PolicyLatency:
    fewest = min(each.n for each in own)
    if not is_random:
        (whole,) = own
        return PolicyLatency(
            policy=name, beyond=whole.beyond, accesses=fewest,
            quantiles=[exact(value) for value in whole.values.tolist()],
        )  # fmt: skip
    beyond = _shares(max(fewest, 1))
    samples = np.array([each.quantiles(1 - beyond) for each in own])  # [replication, share]
    return PolicyLatency(
        policy=name, beyond=beyond, accesses=fewest,
        quantiles=[median(values) for values in samples.T.tolist()],
    )  # fmt: skip


def _shares(n: int) -> npt.NDArray[np.float64]:
    """Shares of accesses that take longer, `PER_DECADE` for each factor of ten at both ends.

    Args:
        n: accesses.

    Returns:
        Descending, from 1 - 1 / 2n, which is the fastest, to 1 / n; float64 [share].
    """
    falling = 10.0 ** (-np.arange(1, math.floor(PER_DECADE * math.log10(n)) + 1) / PER_DECADE)
    below = falling[(falling < 1 - falling[:1]) & (falling > (1 + 1e-9) / n)]
    fastest = [1 / (2 * n)] if (1 / (2 * n) < 1 - falling[:1]).all() else []
    return np.concatenate([1 - np.array([*fastest, *below[::-1]]), falling])
