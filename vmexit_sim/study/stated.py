"""Stated: a scenario's data with what a user changes in it, ready to open or to vary further.

::

    name, path or data ──► changed ──► Stated ──► opened: compare, run
                           (Changes)        └───► data, path, elsewhere: crossover, decide, …

The command line and the Python interface both state scenarios so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

from vmexit_sim.configuration import checked
from vmexit_sim.errors import InputError, nearest
from vmexit_sim.opened import Opened, open_scenario
from vmexit_sim.places import parts_of, with_value
from vmexit_sim.scenario import Scenario, checked_scenario, scenario_data
from vmexit_sim.study.sweep.study_file import inlined

Named = str | Path
"""A shipped model's name, or a file's path, which is relative to the working directory."""


class Changes(TypedDict, total=False):
    """What to change in a scenario; what is left out, or None, stays as the scenario has it.

    Attributes:
        platform: whose exit costs to use.
        costs: by name, costs to put in place of the platform's: a time with its unit ("8 us"), or
            a distribution as files state it.
        set: by its place, any key of the scenario, like ``blocks.0.guest.between.mean`` or
            ``parameters.batched-idioms.max_batch``, and its value as files state it.
        cpus: physical CPUs of the host; by default one for every thread.
        time_slice: how long a vCPU computes before others are let onto its CPU ("3 ms").
        only: of a recording, keep these accesses: spaces (``pci_config``, ``mmio``, …), kinds of
            operation (``bar_sizing``, ``interrupt_service``, …), phases, or devices (``*`` stands
            for anything).
        during: of a recording, keep accesses of these phases: ``firmware``, ``early_kernel``,
            ``kernel``, ``user``, ``modules``, ``job``, ``done``.
        timers: keep accesses to timers and interrupt controllers.
        deliveries: of a recording, charge also the interrupt that begins each service, and its end.
        steady_state: the question is of the long run: find the warm-up, and leave it out.
        reps: replications of a random scenario, 1 or more (a deterministic one runs once).
        seed: root of all randomness, 0 or more.
    """

    platform: Named | None
    costs: Mapping[str, Any] | None
    set: Mapping[str, Any] | None
    cpus: int | None
    time_slice: str | None
    only: Sequence[str] | None
    during: Sequence[str] | None
    timers: bool
    deliveries: bool
    steady_state: bool
    reps: int | None
    seed: int | None


@dataclass(frozen=True, kw_only=True)
class Stated:
    """A scenario's data as a user has it.

    Attributes:
        data: changed.
        path: the file that the scenario came from, if any.
        elsewhere: keys that were not stated there, as for `open_scenario`.
        where: what errors name as the place of changes; None: nothing.
    """

    data: dict[str, Any]
    path: Path | None
    elsewhere: Mapping[str, Path | None]
    where: str | None = None

    def opened(self) -> Opened:
        """The scenario, checked, with everything it names opened.

        Raises:
            InputError: it does not fit, or something that it names is not there.
        """
        scenario = checked(Scenario, self.data, file=self.where, context={"file": self.path})
        return open_scenario(scenario, self.path, self.elsewhere)


def stated(
    scenario: Named | Mapping[str, Any],
    policies: Sequence[Named] | None = None,
    *,
    changes: Changes,
    where: str | None = None,
    option: str = "set",
) -> Stated:
    """The scenario a user means, changed.

    Args:
        scenario: its name or path, or what stands for one, as for `scenario_data`; or its data.
        policies: the policies to take instead of its own.
        changes: what else to change.
        where: what errors name as the place of changes.
        option: what they call the changes of single keys.

    Raises:
        InputError: there is none, its file does not fit, a change cannot be made, or there is no
            such change.
    """
    for name in changes:
        if name not in Changes.__annotations__:
            raise InputError("is nothing that can be changed", value=name,
                             mend=nearest(name, Changes.__annotations__))  # fmt: skip
    data, path = _found(scenario)
    checked_scenario(data, path)  # mistakes of the file's own are told as such
    platform, costs = changes.get("platform"), changes.get("costs")
    changed: dict[str, Any] = {
        "policies": None if policies is None else _names(policies),
        "platform": None if platform is None else str(platform),
        "costs": {**data.get("costs", {}), **costs} if costs else None,
        "cpus": changes.get("cpus"), "time_slice": changes.get("time_slice"),
        "study": "steady-state" if changes.get("steady_state") else None,
        "replications": changes.get("reps"), "seed": changes.get("seed"),
    }  # fmt: skip
    changed = {key: value for key, value in changed.items() if value is not None}
    chosen: dict[str, Any] = {
        "only": _names(changes.get("only") or (), "only"),
        "during": _names(changes.get("during") or (), "during"),
        "timers": changes.get("timers"), "deliveries": changes.get("deliveries"),
    }  # fmt: skip
    chosen = {key: value for key, value in chosen.items() if value}
    data = {**data, **changed, "blocks": [{**block, **chosen} for block in data["blocks"]]}
    places = changes.get("set") or {}
    data = inlined(data, list(places), path)
    for place, value in places.items():
        try:
            data = with_value(data, place, value)
        except InputError as error:
            raise error.located(file=where, key=f"{option} {place}") from None
    keys = [*changed, *chosen, *(parts_of(place)[0] for place in places), *places]
    return Stated(data=data, path=path, elsewhere=dict.fromkeys(keys), where=where)


def _found(scenario: Named | Mapping[str, Any]) -> tuple[dict[str, Any], Path | None]:
    if isinstance(scenario, Mapping):
        return {"name": "scenario", **scenario}, None
    return scenario_data(str(scenario))


def _names(given: Sequence[Named], key: str = "policies") -> list[str]:
    """A list of names, which one name on its own is not."""
    if isinstance(given, str | Path):
        raise InputError("is no list", key=key, value=str(given), mend=f'write ["{given}"]')
    return [str(name) for name in given]
