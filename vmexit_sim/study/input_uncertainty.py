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
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri, stdtrit

from vmexit_sim.distributions import Constant, Duration
from vmexit_sim.engine import EngineName
from vmexit_sim.errors import InputError
from vmexit_sim.hypervisor.platform import Cost, Measured, Platform
from vmexit_sim.opened import Loaded, Opened
from vmexit_sim.statistics import CONFIDENCE, Estimate
from vmexit_sim.streams import Streams
from vmexit_sim.study.outcome import BlockOutcome, Comparison
from vmexit_sim.study.replication import lowered_for, run_once
from vmexit_sim.study.steady_state import trimmed
from vmexit_sim.study.threads import threads
from vmexit_sim.units import LONGEST_PS

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
        best: the share of draws in which it adds least of all usable policies (0 … 1); None: it is
            none of these.
    """

    policy: str
    added: Estimate
    difference: Estimate
    sampling: Estimate
    best: float | None


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
        InputError: the platform says nothing of its costs' errors, the draws are too few, or the
            comparison was read from a file, so that its guests are not there to run.
    """
    opened = comparison.opened
    if not isinstance(opened, Opened):
        raise InputError("was read from a file, and cannot be run on", key="comparison",
                         value=opened.scenario.name,
                         mend="compare with --input-uncertainty, and save that")  # fmt: skip
    if draws < 40:
        raise InputError("are too few to see the ends of an interval", key="draws", value=draws,
                         mend="give 40 or more")  # fmt: skip
    if opened.is_random and comparison.replications < 2:
        raise InputError("says nothing of what is left to chance", key="replications", value=1,
                         mend="run 2 or more")  # fmt: skip
    costs = _costs_of(opened.platform)
    drawn = [name for name, cost in costs if _is_uncertain(opened.platform, cost)]
    if not drawn:
        raise InputError(
            "says nothing of its costs' errors", key="platform", value=opened.platform.name,
            mend="calibrate one (vmexit-sim calibrate, vmexit-sim probe)",
        )  # fmt: skip
    rng = Streams(opened.scenario.seed).named("input uncertainty")
    platforms = [_drawn(opened.platform, rng) for _ in range(draws)]
    blocks = []
    with threads(jobs) as pool:
        for block, outcome in zip(opened.blocks, comparison.blocks, strict=True):
            if progress is not None:
                progress(f"{block.name}: {draws} draws of the calibration")

            def shifts(number: int, block: Loaded = block, outcome: BlockOutcome = outcome
                       ) -> list[float]:  # fmt: skip
                return list(_shifts(opened, platforms[number], block, outcome, number, engine))

            changes = np.array(list(pool.map(shifts, range(draws))))
            blocks.append(_uncertain(outcome, changes, rng))
    return InputUncertainty(
        blocks=blocks, drawn=drawn, fixed=[name for name, _ in costs if name not in drawn],
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
        cut = outcome.cut
        result = run_once(changed, lowered, block, replication, engine=engine,
                          keep_rows=None if cut is None else True)  # fmt: skip
        if cut is not None:
            result = trimmed(result, cut)
        yield result.hypervisor_time - policy.times[replication]


def _uncertain(outcome: BlockOutcome, changes: Values, rng: np.random.Generator) -> UncertainBlock:
    """Intervals over draws of the calibration and of the replications."""
    draws = len(changes)
    times = np.array([policy.times for policy in outcome.policies])  # [policy, replication]
    n = times.shape[1]
    chosen = rng.integers(0, n, (draws, n))
    sampled = times[:, chosen].mean(axis=2).T  # [draw, policy]
    # Means of n values drawn with replacement vary by (n - 1)/n of what they should, and normally
    # where Student's t is due.
    centre = times.mean(axis=1)
    wider = np.sqrt(n / (n - 1)) * stdtrit(n - 1, 0.5 + CONFIDENCE / 2) / _Z if n > 1 else 1.0
    sampled = centre + (sampled - centre) * wider
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
                best=float((winners == k).mean()) if k in usable else None,
            )
            for k, policy in enumerate(outcome.policies)
        ],
    )


def _between(value: float, draws: Values, n: int) -> Estimate:
    """An estimate whose interval lies between two quantiles of the draws."""
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(draws, [tail, 1 - tail])
    return Estimate(value, min(float(low), value), max(float(high), value), n, METHOD)


def _is_uncertain(platform: Platform, cost: Cost) -> bool:
    """Whether something is known of a cost's error, and it is not that there is none."""
    if cost.combination:
        errors = [_error(platform.measurements[name]) for name in cost.combination]
        return None not in errors and any(errors)
    return cost.interval is not None and cost.interval[1] > cost.interval[0]


def _error(measured: Measured) -> float | None:
    """A measurement's standard error; None: nobody knows it, as of a single sample."""
    return None if measured.n == 1 else measured.error


def _costs_of(platform: Platform) -> list[tuple[str, Cost]]:
    """Every cost, those of nesting too, by the place that a file states it at."""
    nesting = platform.nesting
    own = [] if nesting is None else [("nesting.forward", nesting.forward),
                                      ("nesting.l1_exit", nesting.l1_exit)]  # fmt: skip
    return [*platform.costs.items(), *own]


def _drawn(platform: Platform, rng: np.random.Generator) -> Platform:
    """A platform as another calibration of the same host might have it."""
    means = {}
    for name, measured in platform.measurements.items():
        # Student's t for an error that was estimated from few samples; both are drawn, so that a
        # measurement's n moves no other draw.
        normal, t = rng.standard_normal(), rng.standard_t(max((measured.n or 2) - 1, 1))
        deviate = normal if measured.n is None else t
        means[name] = measured.mean + (_error(measured) or 0) * deviate
    changed: dict[str, Cost] = {}
    for name, cost in _costs_of(platform):
        alone = rng.standard_normal()  # drawn for every cost, so that none moves another's draw
        if not _is_uncertain(platform, cost):
            continue
        if cost.combination:
            centre = sum(w * platform.measurements[m].mean for m, w in cost.combination.items())
            drawn = sum(weight * means[part] for part, weight in cost.combination.items())
            mean = cost.value.mean_ps + drawn - centre
        else:
            assert cost.interval is not None, "it is uncertain, and not by a measurement"
            low, high = cost.interval
            mean = cost.value.mean_ps + alone * (high - low) / (2 * _Z)
        if not mean <= LONGEST_PS / 1000:
            raise InputError(
                "is so uncertain that draws of it exceed an hour", file=platform.name,
                key=name if "." in name else f"costs.{name}",
                mend="look at its measurements' errors",
            )  # fmt: skip
        value = _with_mean(cost.value, max(mean, 0.0))
        changed[name] = cost.model_copy(update={"value": value})
    costs = {name: cost for name, cost in changed.items() if "." not in name}
    update: dict[str, object] = {"costs": platform.costs.model_copy(update=costs)}
    if platform.nesting is not None:
        own = {name.partition(".")[2]: cost for name, cost in changed.items() if "." in name}
        update["nesting"] = platform.nesting.model_copy(update=own)
    return platform.model_copy(update=update)


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
