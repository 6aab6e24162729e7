"""Templates: a scenario's one guest under some policies, with places to set before each run.

::

    Template ── values by place ──► Opened ──► compare ──► Sampled (metrics by policy)
                {"costs.to_user": "1 us"}

All runs of a template have the scenario's seed, unless another is asked for, so that runs with
different values meet the same draws. What is run is plain data, so any executor can run it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from vmexit_sim.configuration import Configured, checked
from vmexit_sim.engine import EngineName
from vmexit_sim.errors import InputError, nearest
from vmexit_sim.hypervisor.platform import Cost
from vmexit_sim.opened import Opened, open_scenario
from vmexit_sim.places import parts_of, with_value
from vmexit_sim.scenario import DEFAULT_SEED, checked_scenario, scenario_data
from vmexit_sim.study.compare import compare
from vmexit_sim.study.metrics import refuse_unknown
from vmexit_sim.study.outcome import Samples
from vmexit_sim.study.sweep.factor import Quantity, quantity
from vmexit_sim.study.sweep.study_file import inlined
from vmexit_sim.study.threads import threads

NESTING = ("nesting.forward", "nesting.l1_exit")
"""Costs of a nested platform that no scenario can state; a template can set them all the same."""

NO_VALUES: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, kw_only=True)
class Template:
    """A scenario of one guest, in which values can be set.

    Attributes:
        data: what the scenario states.
        path: the file it came from, if any.
        elsewhere: keys that do not stand in that file, as for `open_scenario`.
        block: the number of the guest.
    """

    data: dict[str, Any]
    path: Path | None
    elsewhere: dict[str, Path | None]
    block: int

    def opened(self, values: Mapping[str, Any] = NO_VALUES) -> Opened:
        """The scenario with values set, opened; it has the one guest only.

        Raises:
            InputError: a place leads nowhere, or a value does not fit.
        """
        data = self.data
        for place, value in values.items():
            if place not in NESTING:
                data = with_value(data, _canonical(place), value)
        data = {**data, "blocks": [data["blocks"][self.block]]}
        set_ones = {parts_of(place)[0]: None for place in values}
        opened = open_scenario(
            checked_scenario(data, self.path), self.path, {**self.elsewhere, **set_ones}
        )
        for place in NESTING:
            if place in values:
                opened = with_cost(opened, place, values[place])
        return opened

    def value(self, place: str, unit: str = "1") -> Quantity | None:
        """What stands at a place now; None: no number does.

        A cost that is a distribution counts by its mean.

        Args:
            place: the scenario's key.
            unit: what a bare number is counted in; checked data holds times so, in ps.
        """
        opened = self.opened()
        parts = parts_of(place)
        holder: Any = opened.scenario
        if parts[0] in ("costs", "nesting"):
            holder = opened.platform
        elif parts[0] == "parameters":
            named = dict(zip(stated_names(opened), opened.policies, strict=True))
            holder = named.get(parts[1])
            parts = ".".join(parts[2:]).split(".")
            if len(parts) == 1 and holder is not None:  # a mechanism's
                having = (r.mechanism for r in holder.rules if hasattr(r.mechanism, parts[0]))
                holder = next(having, None)
        elif parts[0] == "blocks":
            parts = ["blocks", "0", *parts[2:]]
        return _number(_walked(holder, parts), unit)

    def with_seed(self, seed: int) -> Template:
        """The same with another seed."""
        return replace(self, data={**self.data, "seed": seed})

    @property
    def seed(self) -> int:
        """The root of all randomness."""
        return int(self.data.get("seed", DEFAULT_SEED))


def template(
    scenario: str | Mapping[str, Any],
    *,
    places: Sequence[str] = (),
    policies: Sequence[str] = (),
    changes: Mapping[str, Any] = NO_VALUES,
    block: str | int | None = None,
    metrics: Sequence[str] = ("added",),
    path: Path | None = None,
    elsewhere: Mapping[str, Path | None] = NO_VALUES,
) -> Template:
    """A template of a scenario.

    Args:
        scenario: a name or path, as for `scenario_data`, or a scenario's data.
        places: that will be set; guests that they lead into are stated, not named.
        policies: run only these; none: the scenario's own.
        changes: keys to set for good, by their places.
        block: the guest, by its name, a part of it, or its number from 0; None: the only one.
        metrics: what will be asked for. If no completion at a think scale is among them, only the
            scale is run that all else is told for.
        path: the file that a scenario's data came from, if any.
        elsewhere: keys of such data that do not stand in that file, as for `open_scenario`.

    Raises:
        InputError: no such scenario or guest, several guests and none chosen, or a place that leads
            nowhere.
    """
    if isinstance(scenario, str):
        data, path = scenario_data(scenario)
    else:
        data = {"name": "scenario", **scenario}
    data = inlined(data, [*places, *changes], path)
    for place, value in changes.items():
        data = with_value(data, _canonical(place), value)
    elsewhere = {**elsewhere, **{parts_of(place)[0]: None for place in changes}}
    known = checked_scenario(data, path)
    if policies:
        if not set(policies) <= set(known.policies):
            elsewhere["policies"] = None
        kept = {name: given for name, given in known.parameters.items() if name in policies}
        data = {**data, "policies": list(dict.fromkeys(policies)), "parameters": kept}
    number = _block(block, [each.name for each in known.blocks])
    if not any(metric.startswith("completion@") for metric in metrics):
        scales = known.blocks[number].think_scales or [1.0]
        data = with_value(data, f"blocks.{number}.think_scales", scales[-1:])
    return Template(data=data, path=path, elsewhere=elsewhere, block=number)


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run of a template, as it is sent to a worker.

    Attributes:
        template: what is run.
        values: what is set, by place.
        metrics: what is wanted.
        engine: what runs it; the numbers are the same.
    """

    template: Template
    values: Mapping[str, Any]
    metrics: tuple[str, ...]
    engine: EngineName = "auto"


@dataclass(frozen=True, kw_only=True)
class Sampled:
    """What a run came to.

    Attributes:
        policies: every wanted metric by policy (as the scenario names it), one value for each
            replication.
        is_random: whether replications could differ; if not, there is one.
    """

    policies: dict[str, Samples]
    is_random: bool


def sample(run: Run) -> Sampled:
    """Carry out a run.

    Raises:
        InputError: a value does not fit, or there is no such metric.
        SimulationError: a deadlock.
    """
    opened = run.template.opened(run.values)
    (block,) = compare(opened, engine=run.engine).blocks
    found: dict[str, Samples] = {}
    for name, outcome in zip(stated_names(opened), block.policies, strict=True):
        found[name] = {}
        for metric in run.metrics:
            values = outcome.samples.get(metric)
            if values is None:
                known = {name for each in block.policies for name in each.samples}
                refuse_unknown(metric, known)
                values = [0.0] * outcome.replications
            found[name][metric] = values
    return Sampled(policies=found, is_random=opened.is_random)


def with_cost(opened: Opened, place: str, value: Any) -> Opened:
    """An opened scenario with another cost of its platform, or of its nesting.

    Args:
        opened: the scenario.
        place: ``costs.NAME``, or one of `NESTING`.
        value: as files state it.

    Raises:
        InputError: the value does not fit, or the platform is not nested.
    """
    platform = opened.platform
    part, name = place.split(".")
    owner: Configured | None = getattr(platform, part)
    if owner is None:
        raise InputError(f"is for nested platforms, and {platform.name} is none", key=place)
    stated = {"value": value, "mark": "A", "source": "set by the study"}
    model = type(getattr(owner, name))
    cost = checked(model, stated, key=place, context={"clock_hz": platform.clock})
    changed = owner.model_copy(update={name: cost})
    return replace(opened, platform=platform.model_copy(update={part: changed}))


def stated_names(opened: Opened) -> list[str]:
    """What the scenario calls its policies: names or paths, each once, in order."""
    return list(dict.fromkeys(opened.scenario.policies))


def sample_all(runs: Iterable[Run], executor: Executor) -> list[Sampled]:
    """Carry out runs, in order, wherever the executor does it."""
    listed = list(runs)
    return list(executor.map(sample, listed, chunksize=max(1, len(listed) // 64)))


def workers(executor: Executor | None, jobs: int) -> AbstractContextManager[Executor]:
    """An executor to use: the caller's, which stays open, or so many threads."""
    return nullcontext(executor) if executor is not None else threads(jobs)


def _canonical(place: str) -> str:
    """A place as `with_value` has it: what of a policy is set is one key, dots and all."""
    parts = parts_of(place)
    if parts[0] != "parameters" or len(parts) < 4:
        return place
    return f'parameters."{parts[1]}"."{".".join(parts[2:])}"'


def _block(wanted: str | int | None, names: Sequence[str]) -> int:
    if wanted is None:
        if len(names) == 1:
            return 0
        raise InputError("has several guests, and this is for one", key="block",
                         mend=f"choose of: {', '.join(names)}")  # fmt: skip
    if isinstance(wanted, int) or (wanted.isascii() and wanted.isdigit() and wanted not in names):
        if 0 <= int(wanted) < len(names):
            return int(wanted)
        raise InputError(f"is no guest: there are {len(names)}", key="block", value=wanted)
    if wanted in names:
        return names.index(wanted)
    found = [number for number, name in enumerate(names) if wanted and wanted in name]
    if len(found) != 1:
        raise InputError("is no guest of this scenario, or of several a part", key="block",
                         value=wanted, mend=nearest(wanted, names))  # fmt: skip
    return found[0]


def _walked(holder: Any, parts: Sequence[str]) -> Any:
    """What stands at a place of checked data, or None."""
    for part in parts:
        if isinstance(holder, (list, tuple)):
            number = 0 if part == "*" else int(part) if part.isdigit() else len(holder)
            holder = holder[number] if number < len(holder) else None
        elif isinstance(holder, Mapping):
            holder = holder.get(part)
        else:
            holder = getattr(holder, part, None)
    return holder


def _number(found: Any, unit: str) -> Quantity | None:
    value = getattr(found, "value", found) if isinstance(found, Cost) else found
    mean = getattr(value, "mean_ps", None)
    if mean is not None:
        return Quantity(mean, "ps")
    stated = quantity(value)
    return Quantity(stated.number, unit) if stated is not None and stated.unit == "1" else stated
