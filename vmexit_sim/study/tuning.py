"""Tuning: the best value of one parameter, and how good it is on draws that did not choose it.

::

    range ──► coarse grid ──► finer around the best ──► chosen ──► the same value, those beside it
              one seed: every value meets the same draws           and the default, on fresh draws

The value that looked best on some draws looks better there than it is, since the draws chose it.
So what is told of it comes from replications with another seed, which the search never saw; there
the neighbours and the default are compared with it, replication by replication. Which values the
search cannot tell from the best is said as well (`statistics.best_set`): on a flat optimum there
are many, and none of them is wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

from vmexit_sim.engine import EngineName
from vmexit_sim.places import parts_of
from vmexit_sim.statistics import Estimate, against, exact
from vmexit_sim.study.limit import Limit
from vmexit_sim.study.metrics import is_better_larger, unit_of
from vmexit_sim.study.sweep.factor import Factor, quantity
from vmexit_sim.study.template import (
    NO_VALUES,
    Template,
    template,
    workers,
)
from vmexit_sim.study.tuning_search import ROUNDS, Candidate, Search


@dataclass(frozen=True, kw_only=True)
class Rival:
    """Another value, on the fresh draws.

    Attributes:
        value: as files state it; of the default None, if the files do not state it as a number.
        role: "default", "next below" or "next above".
        objective: the metric.
        difference: rival - chosen, replication by replication; all rivals' intervals hold at once.
        is_worse: whether the rival is told to be worse (True) or better (False); None: neither.
        keeps: whether it keeps all limits there, by the estimates' values.
    """

    value: Any
    role: str
    objective: Estimate
    difference: Estimate
    is_worse: bool | None
    keeps: bool


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """The best value of a parameter.

    Attributes:
        scenario: its name.
        platform: its name.
        block: the guest's name.
        policy: whose objective it is.
        place: the scenario's key that was set.
        metric: the objective.
        larger_is_better: whether more of it is better.
        limits: what had to be kept to.
        candidates: every value that was tried, in order.
        chosen: the best of those that keep the limits; None: none does.
        objective: of the chosen value, on fresh draws; None: there is none.
        limited: what is limited, of the chosen value on fresh draws.
        rivals: the default, and the values next to the chosen one that keep the limits, on fresh
            draws.
        at_end: whether the chosen value is the first or the last of the range, so that a better
            one may lie outside.
        replications: of each value, in the search and afresh.
        seed: of the search.
        fresh_seed: of the fresh draws; the same as `seed` where nothing is left to chance.
    """

    scenario: str
    platform: str
    block: str
    policy: str
    place: str
    metric: str
    larger_is_better: bool
    limits: tuple[Limit, ...]
    candidates: tuple[Candidate, ...]
    chosen: Any
    objective: Estimate | None
    limited: tuple[Estimate, ...]
    rivals: tuple[Rival, ...]
    at_end: bool
    replications: int
    seed: int
    fresh_seed: int

    @property
    def best(self) -> list[Any]:
        """The values that cannot be told from the best, in order."""
        return [each.value for each in self.candidates if each.among_best]


def tune(
    scenario: str | Mapping[str, Any],
    place: str,
    values: Sequence[Any],
    *,
    policy: str | None = None,
    metric: str = "added",
    larger_is_better: bool | None = None,
    limits: Sequence[str] = (),
    block: str | int | None = None,
    changes: Mapping[str, Any] = NO_VALUES,
    path: Path | None = None,
    elsewhere: Mapping[str, Path | None] = NO_VALUES,
    rounds: int = ROUNDS,
    replications: int | None = None,
    engine: EngineName = "auto",
    jobs: int = 1,
    executor: Executor | None = None,
    progress: Callable[[str], None] | None = None,
) -> Tuning:
    """Find the best value of a parameter.

    Args:
        scenario: a name or path, as for `find_scenario`, or a scenario's data.
        place: the key to set: ``parameters.POLICY.PARAMETER``, or any other.
        values: a list, or a range ``[low, high, how many, "linear" | "log"]``, as in a study file;
            how many may be left out.
        policy: whose objective counts; None: the one that the place names, or the first.
        metric: the objective (`vmexit_sim.study.metrics`).
        larger_is_better: whether more of it is better; None: as the metric has it.
        limits: what the value must keep to, such as ``"effect.p99 <= 100 us"``.
        block: the guest, by name or number; None: the only one.
        changes: keys of the scenario to set for good, by their places.
        path: the file that a scenario's data came from, if any.
        elsewhere: keys of such data that do not stand in that file, as for `open_scenario`.
        rounds: how often to look closer around the best; of a list never.
        replications: of each value; None: as the scenario has it.
        engine: what runs it; the numbers are the same.
        jobs: how many values are run at a time, on threads.
        executor: where to run them instead; it stays open.
        progress: told what is being done.

    Raises:
        InputError: anything stated does not fit.
    """
    if replications is not None:
        changes = {**changes, "replications": replications}
    parsed = tuple(Limit.parse(text) for text in limits)
    metrics = tuple(dict.fromkeys([metric, *(limit.metric for limit in parsed)]))
    parts = parts_of(place)
    if policy is None and parts[0] == "parameters" and len(parts) > 2:
        policy = parts[1]
    made = partial(template, scenario, places=[place], changes=changes, block=block,
                   metrics=metrics, path=path, elsewhere=elsewhere)  # fmt: skip
    if policy is None:
        policy = made().opened().scenario.policies[0]
    base = made(policies=[policy])
    opened = base.opened()
    if larger_is_better is None:
        larger_is_better = is_better_larger(metric)
    tell = progress or (lambda _: None)
    with workers(executor, jobs) as pool:
        search = Search(base, place, metrics, parsed, larger_is_better, engine, pool)
        factor = Factor(place=place, values=list(values))
        search.grid(factor, tell)
        for _ in range(rounds if factor.range is not None else 0):
            if not search.refine(factor, tell):
                break
        candidates = search.candidates()
        chosen = search.chosen()
        name = opened.policies[0].name
        fresh = base
        found: tuple[Estimate | None, tuple[Estimate, ...], tuple[Rival, ...]] = (None, (), ())
        if chosen is not None:
            if search.is_random:
                fresh = base.with_seed(_fresh(base.seed, place))
            tell("fresh draws")
            found = _confirmed(search, fresh, chosen)
    return Tuning(
        scenario=opened.scenario.name, platform=opened.platform.name, block=opened.blocks[0].name,
        policy=name, place=place, metric=metric, larger_is_better=larger_is_better, limits=parsed,
        candidates=candidates, chosen=chosen, objective=found[0], limited=found[1],
        rivals=found[2], at_end=chosen in (candidates[0].value, candidates[-1].value),
        replications=search.replications, seed=base.seed, fresh_seed=fresh.seed,
    )  # fmt: skip


def _confirmed(
    search: Search, fresh: Template, chosen: Any
) -> tuple[Estimate, tuple[Estimate, ...], tuple[Rival, ...]]:
    """The chosen value on fresh draws, and its rivals there: neighbours that kept the limits."""
    ordered = [value for value in search.ordered() if search.keeps(search.found[value])]
    at = ordered.index(chosen)
    rivals = {"default": None}
    if at:
        rivals["next below"] = ordered[at - 1]
    if at + 1 < len(ordered):
        rivals["next above"] = ordered[at + 1]
    runs = search.run(fresh, [chosen, *rivals.values()])
    found = dict(zip(["chosen", *rivals], runs, strict=True))
    samples = search.padded(found)
    unit = unit_of(search.metrics[0])
    own = samples.pop("chosen")
    if any(each.is_random for each in runs):
        differences = against(own, samples, unit=unit)
    else:
        differences = {role: exact(values[0] - own[0], unit) for role, values in samples.items()}
    size = quantity(chosen)
    default = fresh.value(search.place, "1" if size is None else size.unit)
    told = []
    for role, value in rivals.items():
        worse = differences[role].low > 0, differences[role].high < 0
        stated = default.stated() if role == "default" and default is not None else value
        told.append(Rival(
            value=stated, role=role, objective=search.estimate(found[role], search.metrics[0]),
            difference=differences[role],
            is_worse=None if worse == (False, False) else worse[search.larger_is_better],
            keeps=search.keeps(found[role]),
        ))  # fmt: skip
    limited = tuple(search.estimate(found["chosen"], limit.metric) for limit in search.limits)
    return search.estimate(found["chosen"], search.metrics[0]), limited, tuple(told)


def _fresh(seed: int, place: str) -> int:
    """A seed that the search did not use, the same each time."""
    return int.from_bytes(sha256(f"fresh draws/{seed}/{place}".encode()).digest()[:7], "big")
