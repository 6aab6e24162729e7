"""Changes: what the command line changes in a scenario."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from vmexit_sim.cli.app import CHANGES, Flag, Names, OptionalCount, at_least
from vmexit_sim.errors import InputError

if TYPE_CHECKING:
    from vmexit_sim.opened import Opened
    from vmexit_sim.study.stated import Stated

COMMAND_LINE = "command line"


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
        from vmexit_sim.study.stated import stated

        return stated(
            name, policies, where=COMMAND_LINE, option="--set",
            changes={
                "platform": self.platform,
                "costs": _pairs(self.cost, "--cost", "thread_wake_up=8us"),
                "set": {place: _value(text) for place, text
                        in _pairs(self.set_, "--set", "costs.to_user=1us").items()},
                "cpus": self.cpus, "time_slice": self.time_slice,
                "only": self.only, "during": self.during, "timers": self.timers,
                "deliveries": self.deliveries, "steady_state": self.steady_state,
                "reps": self.reps, "seed": self.seed,
            },
        )  # fmt: skip

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
