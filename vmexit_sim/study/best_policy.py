"""The best policy: run replications until one is left, found with a stated probability.

Every replication runs each policy that may still be the best on the same draws; a policy that is
told to be worse is dropped and costs nothing any more (`statistics.Selection`, KN++)::

    replication   1 2 3 … 10 11 12 …
    hypercall     ● ● ● … ●  ●  ●      left: the best, with the stated probability, if it is better
    mmio-first    ● ● ● … ●  ●         than all others by the indifference or more
    linux-default ● ● ● … ●

If the budget ends first, that is said, and who may still be the best. Where nothing is left to
chance one replication decides.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vmexit_sim.engine import EngineName
from vmexit_sim.errors import InputError
from vmexit_sim.opened import Opened
from vmexit_sim.policy import Policy
from vmexit_sim.statistics import CONFIDENCE, Estimate, Precision, Selection, mean
from vmexit_sim.statistics.selection import FIRST
from vmexit_sim.study.compare import LARGEST_BUDGET
from vmexit_sim.study.metrics import estimated, is_better_larger, unit_of
from vmexit_sim.study.replicator import Replicator
from vmexit_sim.study.template import NO_VALUES, stated_names, template, workers


@dataclass(frozen=True, kw_only=True)
class Standing:
    """What became of a policy.

    Attributes:
        policy: its name.
        metric: over the replications that it was run in. The interval is that of so many
            replications; that their number depends on the results is not in it.
        is_left: whether it may still be the best.
    """

    policy: str
    metric: Estimate
    is_left: bool


@dataclass(frozen=True, kw_only=True)
class BestPolicy:
    """The answer to which policy is best.

    Attributes:
        scenario: its name.
        platform: its name.
        block: the guest's name.
        metric: what is compared.
        best: the best policy; if not `decided`, the one with the best mean so far.
        decided: whether the stated probability was reached within the budget.
        equals: policies whose results were the best's to the last bit, in every replication.
        standings: of all policies that took part, the best first.
        left_out: those that did not take part, and why.
        indifference: differences below this were not worth telling, in the metric's unit; 0 where
            nothing is random.
        confidence: the probability of having chosen the best.
        replications: how many were run of the policy that was run most.
        runs: simulations of all policies together.
        budget: most replications that were allowed.
        is_random: whether replications can differ.
        seed: root of all randomness.
    """

    scenario: str
    platform: str
    block: str
    metric: str
    best: str
    decided: bool
    equals: tuple[str, ...]
    standings: tuple[Standing, ...]
    left_out: Mapping[str, str]
    indifference: float
    confidence: float
    replications: int
    runs: int
    budget: int
    is_random: bool
    seed: int

    @property
    def left(self) -> list[str]:
        """The policies that may be the best."""
        return [each.policy for each in self.standings if each.is_left]


def choose_best(
    scenario: str | Mapping[str, Any],
    *,
    policies: Sequence[str] = (),
    metric: str = "added",
    larger_is_better: bool | None = None,
    indifference: str | float = "1%",
    confidence: float = CONFIDENCE,
    first: int = FIRST,
    budget: int = LARGEST_BUDGET,
    block: str | int | None = None,
    changes: Mapping[str, Any] = NO_VALUES,
    path: Path | None = None,
    elsewhere: Mapping[str, Path | None] = NO_VALUES,
    engine: EngineName = "auto",
    jobs: int = 1,
    executor: Executor | None = None,
    progress: Callable[[str], None] | None = None,
) -> BestPolicy:
    """Find the best of a scenario's usable policies.

    Args:
        scenario: a name or path, as for `find_scenario`, or a scenario's data.
        policies: the policies; none: the scenario's own.
        metric: what is compared (`vmexit_sim.study.metrics`), by its mean over replications.
        larger_is_better: whether more of it is better; None: as the metric has it.
        indifference: the smallest difference worth telling: a time, a number in the metric's unit,
            or a part of the best mean of the first replications (``"1%"``).
        confidence: the probability of choosing the best.
        first: replications before any policy is dropped, at least 2.
        budget: most replications.
        block: the guest, by name or number; None: the only one.
        changes: keys of the scenario to set for good, by their places.
        path: the file that a scenario's data came from, if any.
        elsewhere: keys of such data that do not stand in that file, as for `open_scenario`.
        engine: what runs it; the numbers are the same.
        jobs: how many policies are run at a time, on threads.
        executor: threads to run them on instead; it stays open.
        progress: told after each tenth replication.

    Raises:
        InputError: fewer than two policies can be the best, or anything stated does not fit.
        SimulationError: a deadlock.
    """
    made = template(
        scenario,
        policies=policies,
        changes=changes,
        block=block,
        metrics=[metric],
        path=path,
        elsewhere=elsewhere,
    )
    opened = made.opened()
    if budget < first:
        raise InputError("is less than the first replications", key="budget", value=budget,
                         mend=f"give {first} or more")  # fmt: skip
    if larger_is_better is None:
        larger_is_better = is_better_larger(metric)
    usable, left_out = _usable(opened)
    with workers(executor, jobs) as pool:
        runner = Replicator(opened, usable, metric, engine, pool)
        if opened.is_random:
            selection = _selected(runner, indifference, confidence, first, budget,
                                  larger_is_better, progress or (lambda _: None))  # fmt: skip
            alive, delta = selection[0].alive, selection[1]
            best = selection[0].best
        else:
            runner.once(0, list(runner.policies))
            sign = -1 if larger_is_better else 1
            totals = {name: sign * values[0] for name, values in runner.results.items()}
            alive, delta = [n for n in totals if totals[n] == min(totals.values())], 0.0
            best = alive[0]
    is_random = opened.is_random
    sign = -1 if larger_is_better else 1
    standings = [
        Standing(policy=name, is_left=name in alive,
                 metric=estimated_mean(metric, values, is_random=is_random))
        for name, values in runner.results.items()
    ]  # fmt: skip
    standings.sort(key=lambda each: (each.policy != best, not each.is_left,
                                     sign * each.metric.value))  # fmt: skip
    return BestPolicy(
        scenario=opened.scenario.name, platform=opened.platform.name, block=opened.blocks[0].name,
        metric=metric, best=best, decided=len(alive) == 1 or not is_random,
        equals=tuple(sorted(
            name for name, values in runner.results.items()
            if name != best and values == runner.results[best][: len(values)]
        )),
        standings=tuple(standings), left_out=left_out, indifference=delta, confidence=confidence,
        replications=max(len(values) for values in runner.results.values()),
        runs=sum(len(values) for values in runner.results.values()), budget=budget,
        is_random=is_random, seed=opened.scenario.seed,
    )  # fmt: skip


def estimated_mean(metric: str, values: Sequence[float], *, is_random: bool) -> Estimate:
    """A metric's mean over replications, of a quantile too: means are what is selected by."""
    if not is_random:
        return estimated(metric, values, is_random=False)
    return mean(values, unit=unit_of(metric))


def _usable(opened: Opened) -> tuple[dict[str, Policy], dict[str, str]]:
    """The policies that can be the best, as the scenario names them, and why others cannot."""
    block, first = opened.blocks[0], opened.policies[0]
    usable: dict[str, Policy] = {}
    reasons: dict[str, str] = {}
    for name, policy in zip(stated_names(opened), opened.policies, strict=True):
        if policy.is_bound:
            reasons[name] = "a bound, and no proposal"
        elif policy.is_counterfactual(block.table):
            reasons[name] = "needs ECAM, which this guest does not have"
        elif policy.idle.is_free != first.idle.is_free:
            reasons[name] = f"waits otherwise than {first.name}"
        else:
            usable[name] = policy
    if len(usable) < 2:
        why = "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
        raise InputError("leave fewer than two to choose of", key="policies",
                         value=stated_names(opened), mend=why or "give more")  # fmt: skip
    # In an order of their own, so that ties do not go by the order in which they are listed.
    return dict(sorted(usable.items())), reasons


def _selected(
    runner: Replicator, indifference: str | float, confidence: float, first: int, budget: int,
    larger_is_better: bool, tell: Callable[[str], None],
) -> tuple[Selection, float]:  # fmt: skip
    """The selection as far as the budget went, and the indifference in the metric's unit."""
    names = list(runner.policies)
    for replication in range(first):
        runner.once(replication, names)
    delta = _indifference(indifference, runner, larger_is_better)
    selection = Selection(names, delta, confidence, first, larger_is_better=larger_is_better)
    for replication in range(first):
        selection.add({name: runner.results[name][replication] for name in names})
    while not selection.decided and selection.replications < budget:
        replication = selection.replications
        selection.add(runner.once(replication, selection.alive))
        if not selection.replications % 10:
            tell(f"{selection.replications} replications, {len(selection.alive)} policies left")
    return selection, delta


def _indifference(stated: str | float, runner: Replicator, larger_is_better: bool) -> float:
    try:
        return float(stated)  # what is not positive is refused by the selection
    except ValueError:
        assert isinstance(stated, str), "a number is one"
    try:
        parsed = Precision.parse(stated)
    except InputError:
        mend = 'give a time, a number, or a part such as "1%"'
        raise InputError(
            "is no indifference", key="indifference", value=stated, mend=mend
        ) from None
    if parsed.absolute is not None:
        if unit_of(runner.metric) != "ps":
            raise InputError(f"is a time, and {runner.metric} is none",
                             key="indifference", value=stated,
                             mend='give a part such as "1%", or a number')  # fmt: skip
        return float(parsed.absolute)
    means = [sum(values) / len(values) for values in runner.results.values()]
    best = abs(max(means) if larger_is_better else min(means))
    if not best or parsed.relative is None:
        raise InputError("is a part of nothing: the best mean is 0", key="indifference",
                         value=stated, mend="give a time or a number")  # fmt: skip
    return parsed.relative * best
