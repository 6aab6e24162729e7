"""Input uncertainty: how sure a verdict is, given how sure the platform's costs are.

A calibrated platform says what its costs were derived from and how well that was measured. Its
measurements are drawn anew, each around its mean with its standard error, and all costs follow::

    measurements ─► costs ─► the same guest, the same draws ─► what changes, by policy

Costs that were derived from one measurement move together, so what cancels in a difference of
policies cancels here. A cost without a measurement but with an interval is drawn by itself; one
with neither stays as it is, and is named: this is the uncertainty of the calibration, and not of
what was assumed.

An interval holds both kinds of chance: the replications are drawn anew as well (a bootstrap), and
the change that the costs make, on one replication's draws, is added.

Source: Cheng and Holland, "Sensitivity of computer simulation experiments to errors in input data",
J. Stat. Comput. Simul. 57 (1997); Song, Nelson and Pegden, "Advanced tutorial: input uncertainty
quantification", WSC 2014.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from vmexit_sim.distributions import Constant, Duration
from vmexit_sim.engine import EngineName
from vmexit_sim.errors import InputError
from vmexit_sim.hypervisor.platform import Cost, Platform
from vmexit_sim.scenario import Loaded, Opened
from vmexit_sim.statistics import CONFIDENCE, Estimate
from vmexit_sim.streams import Streams
from vmexit_sim.study.outcome import BlockOutcome, Comparison
from vmexit_sim.study.replication import lowered_for, run_once

DRAWS = 200
"""How often the calibration is drawn; the ends of a 95 % interval then rest on 5 draws each."""

METHOD = "bootstrap, calibration drawn"

Values = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Uncertain:
    """One policy's answer, with the calibration's uncertainty in it.

    Attributes:
        policy: its name.
        added: time added, in ps.
        difference: time added less the first policy's, in ps.
        sampling: the same difference's interval without the calibration's part.
        best: the share of draws in which it adds least of all usable policies (0 … 1).
    """

    policy: str
    added: Estimate
    difference: Estimate
    sampling: Estimate
    best: float


@dataclass(frozen=True, kw_only=True)
class UncertainBlock:
    """One guest's answers.

    Attributes:
        name: the block's name.
        policies: in the scenario's order.
    """

    name: str
    policies: list[Uncertain]


@dataclass(frozen=True, kw_only=True)
class InputUncertainty:
    """A comparison with the calibration's uncertainty in its intervals.

    Attributes:
        blocks: by guest.
        drawn: the costs that were drawn.
        fixed: those about whose error nothing is known.
        draws: how often.
    """

    blocks: list[UncertainBlock]
    drawn: list[str]
    fixed: list[str]
    draws: int


def input_uncertainty(
    comparison: Comparison,
    *,
    draws: int = DRAWS,
    engine: EngineName = "auto",
    jobs: int = 1,
    progress: Callable[[str], None] | None = None,
) -> InputUncertainty:
    """Put the calibration's uncertainty into a comparison's intervals.

    Args:
        comparison: what was compared, on a calibrated platform.
        draws: how often the calibration is drawn, at least 40.
        engine: what runs it; the numbers are the same.
        jobs: how many draws run at a time, on threads.
        progress: told what is being run.

    Raises:
        InputError: the platform says nothing of its costs' errors, or the draws are too few.
    """
    opened = comparison.opened
    if draws < 40:
        raise InputError("are too few to see the ends of an interval", key="draws", value=draws,
                         mend="give 40 or more")  # fmt: skip
    drawn = [name for name, cost in opened.platform.costs.items() if _is_uncertain(opened, cost)]
    if not drawn:
        raise InputError(
            "says nothing of its costs' errors", key="platform", value=opened.platform.name,
            mend="calibrate one (vmexit-sim calibrate, vmexit-sim probe)",
        )  # fmt: skip
    rng = Streams(opened.scenario.seed).named("input uncertainty")
    platforms = [_drawn(opened.platform, rng) for _ in range(draws)]
    blocks = []
    with ThreadPoolExecutor(jobs) as pool:
        for block, outcome in zip(opened.blocks, comparison.blocks, strict=True):
            if progress is not None:
                progress(f"{block.name}: {draws} draws of the calibration")

            def shifts(number: int, block: Loaded = block, outcome: BlockOutcome = outcome
                       ) -> list[float]:  # fmt: skip
                return list(_shifts(opened, platforms[number], block, outcome, number, engine))

            changes = np.array(list(pool.map(shifts, range(draws))))
            blocks.append(_uncertain(outcome, changes, rng))
    known = [name for name, _ in opened.platform.costs.items()]
    return InputUncertainty(
        blocks=blocks, drawn=drawn, fixed=[name for name in known if name not in drawn],
        draws=draws,
    )  # fmt: skip


def _shifts(
    opened: Opened, platform: Platform, block: Loaded, outcome: BlockOutcome, number: int,
    engine: EngineName,
) -> Iterator[float]:  # fmt: skip
    """By policy: how much a drawn calibration changes one replication's time added."""
    changed = replace(opened, platform=platform)
    for policy in outcome.policies:
        replication = number % policy.replications
        lowered = lowered_for(changed, policy.policy, block)
        result = run_once(changed, lowered, block, replication, engine=engine)
        yield result.hypervisor_time - policy.times[replication]


def _uncertain(outcome: BlockOutcome, changes: Values, rng: np.random.Generator) -> UncertainBlock:
    """Intervals over draws of the calibration and of the replications."""
    draws = len(changes)
    times = np.array([policy.times for policy in outcome.policies])  # [policy, replication]
    n = times.shape[1]
    chosen = rng.integers(0, n, (draws, n))
    sampled = times[:, chosen].mean(axis=2).T  # [draw, policy]
    # Means of n values drawn with replacement vary by (n - 1)/n of what they should.
    centre = times.mean(axis=1)
    sampled = centre + (sampled - centre) * np.sqrt(n / max(n - 1, 1))
    whole = sampled + changes
    usable = [number for number, o in enumerate(outcome.policies) if o in outcome.usable]
    winners = np.array(usable)[whole[:, usable].argmin(axis=1)] if usable else np.empty(0)
    return UncertainBlock(
        name=outcome.name,
        policies=[
            Uncertain(
                policy=policy.policy.name,
                added=_between(float(centre[k]), whole[:, k], n),
                difference=_between(float(centre[k] - centre[0]), whole[:, k] - whole[:, 0], n),
                sampling=policy.difference,
                best=float((winners == k).mean()) if usable else 0.0,
            )
            for k, policy in enumerate(outcome.policies)
        ],
    )


def _between(value: float, draws: Values, n: int) -> Estimate:
    """An estimate whose interval lies between two quantiles of the draws."""
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(draws, [tail, 1 - tail])
    return Estimate(value, min(float(low), value), max(float(high), value), n, METHOD)


def _is_uncertain(opened: Opened, cost: Cost) -> bool:
    measured = opened.platform.measurements
    by_measurement = any(measured[name].error for name in cost.combination)
    return by_measurement or (cost.interval is not None and cost.interval[1] > cost.interval[0])


def _drawn(platform: Platform, rng: np.random.Generator) -> Platform:
    """A platform as another calibration of the same host might have it."""
    means = {
        name: measured.mean + (measured.error or 0) * rng.standard_normal()
        for name, measured in platform.measurements.items()
    }
    changed = {}
    for name, cost in platform.costs.items():
        alone = rng.standard_normal()  # drawn for every cost, so that none moves another's draw
        if any(platform.measurements[part].error for part in cost.combination):
            centre = sum(w * platform.measurements[m].mean for m, w in cost.combination.items())
            drawn = sum(weight * means[part] for part, weight in cost.combination.items())
            mean = cost.value.mean_ps + drawn - centre
        elif cost.interval is not None:
            low, high = cost.interval
            mean = cost.value.mean_ps + alone * (high - low) / (2 * _Z)
        else:
            continue
        value = _with_mean(cost.value, max(mean, 0.0))
        changed[name] = cost.model_copy(update={"value": value})
    return platform.model_copy(update={"costs": platform.costs.model_copy(update=changed)})


_Z = float(ndtri(0.5 + CONFIDENCE / 2))


def _with_mean(value: Duration, mean: float) -> Duration:
    """A duration of the same shape with another mean, to a ps."""
    if value.is_constant or not value.mean_ps:
        return Constant.model_construct(value=round(mean))
    factor = mean / value.mean_ps
    scaled = {
        key: tuple(round(part * factor) for part in stated)
        if isinstance(stated, tuple)
        else max(round(stated * factor), 0)
        for key, stated in vars(value).items()
        if key in ("mean", "shift", "low", "high", "samples")
    }
    return value.model_copy(update=scaled)  # type: ignore[attr-defined,no-any-return]
