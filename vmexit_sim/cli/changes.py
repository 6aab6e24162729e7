"""Changes: what the command line changes in a scenario."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from vmexit_sim.cli.app import CHANGES, Flag, Names, OptionalCount, at_least
from vmexit_sim.errors import InputError

if TYPE_CHECKING:
    from vmexit_sim.scenario import Opened

COMMAND_LINE = "command line"


@dataclass(frozen=True, kw_only=True)
class Stated:
    """A scenario's data as the command line has it.

    Attributes:
        data: changed.
        path: the file that the scenario came from, if any.
        elsewhere: keys that were not stated there, as for `open_scenario`.
    """

    data: dict[str, Any]
    path: Path | None
    elsewhere: Mapping[str, Path | None]

    def opened(self) -> Opened:
        """The scenario, checked, with everything it names opened."""
        from vmexit_sim.configuration import checked
        from vmexit_sim.scenario import Scenario, open_scenario

        scenario = checked(Scenario, self.data, file=COMMAND_LINE, context={"file": self.path})
        return open_scenario(scenario, self.path, self.elsewhere)


@Parameter(name="*", group=CHANGES)
@dataclass(frozen=True, kw_only=True)
class Changes:
    """What to change in the scenario.

    Parameters
    ----------
    platform
        Whose exit costs to use.
    cost
        Costs to put in place of the platform's, like thread_wake_up=8us.
    set_
        Any key of the scenario by its place, like blocks.0.guest.between.mean=5us or
        parameters.batched-idioms.max_batch=16.
    cpus
        Physical CPUs of the host; by default one for every thread, so that nobody waits for one.
    time_slice
        How long a vCPU computes before others are let onto its CPU ("3 ms").
    only
        Of a recording, keep these accesses: spaces (pci_config, mmio, …), kinds of operation
        (bar_sizing, interrupt_service, …), phases, or devices (* stands for anything).
    during
        Of a recording, keep accesses of these phases: firmware, early_kernel, kernel, user,
        modules, job, done.
    timers
        Keep accesses to timers and interrupt controllers.
    deliveries
        Of a recording, charge also the interrupt that begins each service, and its end.
    steady_state
        The question is of the long run: find the warm-up, and leave it out.
    reps
        Replications of a random scenario (a deterministic one runs once).
    seed
        Root of all randomness.
    """

    platform: str | None = None
    cost: Names = None
    set_: Annotated[Names, Parameter(name="--set")] = None
    cpus: OptionalCount = None
    time_slice: str | None = None
    only: Names = None
    during: Names = None
    timers: Flag = False
    deliveries: Flag = False
    steady_state: Flag = False
    reps: OptionalCount = None
    seed: Annotated[int | None, Parameter(validator=at_least(0))] = None

    def stated(self, name: str, policies: list[str] | None = None) -> Stated:
        """The scenario a user means, changed.

        Args:
            name: the scenario, or what stands for one.
            policies: the policies to take instead of its own.

        Raises:
            InputError: there is none, its file does not fit, or a change cannot be made.
        """
        from vmexit_sim.places import parts_of, with_value
        from vmexit_sim.scenario import checked_scenario, scenario_data
        from vmexit_sim.study.sweep.study_file import inlined

        data, path = scenario_data(name)
        checked_scenario(data, path)  # mistakes of the file's own are told as such
        changes: dict[str, Any] = {
            "policies": policies, "platform": self.platform, "replications": self.reps,
            "seed": self.seed, "cpus": self.cpus, "time_slice": self.time_slice,
            "costs": _pairs(self.cost, "--cost", "thread_wake_up=8us"),
            "study": "steady-state" if self.steady_state else None,
        }  # fmt: skip
        changes = {key: value for key, value in changes.items() if value}
        changes |= {} if self.seed is None else {"seed": self.seed}
        if "costs" in changes:
            changes["costs"] = {**data.get("costs", {}), **changes["costs"]}
        chosen = {"only": self.only, "during": self.during, "timers": self.timers,
                  "deliveries": self.deliveries}  # fmt: skip
        chosen = {key: value for key, value in chosen.items() if value}
        data = {**data, **changes, "blocks": [{**block, **chosen} for block in data["blocks"]]}
        places = _pairs(self.set_, "--set", "costs.to_user=1us")
        data = inlined(data, list(places), path)
        for place, text in places.items():
            try:
                data = with_value(data, place, _value(text))
            except InputError as error:
                raise error.located(file=COMMAND_LINE, key=f"--set {place}") from None
        keys = [*changes, *chosen, *(parts_of(place)[0] for place in places)]
        return Stated(data=data, path=path, elsewhere=dict.fromkeys(keys))

    def opened(self, name: str, policies: list[str] | None = None) -> Opened:
        """The same, opened."""
        return self.stated(name, policies).opened()


def _pairs(given: list[str] | None, option: str, example: str) -> dict[str, str]:
    """What an option states, ``name=value`` each."""
    pairs = [each.partition("=") for each in given or ()]
    for name, sign, value in pairs:
        if not (name.strip() and sign and value.strip()):
            raise InputError("states no value", key=option, value=name + sign + value,
                             mend=f"write it like {example}")  # fmt: skip
    return {name.strip(): value.strip() for name, _, value in pairs}


def _value(text: str) -> Any:
    """A value as a file would have it; what is no TOML is text."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (tomllib.TOMLDecodeError, RecursionError):
        return text
