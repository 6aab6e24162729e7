"""What the explorer offers: guests, and the sliders that act on each.

A *guest* is a shipped trace or workload with what makes it small enough to be answered at once. A
*slider* has a range and says which places of the scenario it sets, so that what a person moves and
what the exported scenario states are one thing.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from vmexit_sim.configuration import Configured, checked, misfit, read_toml
from vmexit_sim.errors import InputError
from vmexit_sim.explorer.values import Unit, Value, read_value, stops
from vmexit_sim.policy import PHASES

FILE = Path(__file__).with_name("guests.toml")

THINK = "think"
"""The slider that all recorded guests have."""


class Slider(Configured):
    """Something that can be moved.

    Attributes:
        label: its name on the page.
        about: what it is, in a clause.
        unit: what its values are (`values.Unit`).
        least, most: ends of its range, as files state values of that unit; a share's are 0 and 1.
        sets: places of the scenario. ``guest`` at the beginning is the first block's guest, and
            ``parameters.*`` are those of every chosen policy that has the parameter. A factor
            multiplies what the platform states; anything else replaces what stands there.
        stages: names of stages without which it does not act; empty: it always does.
    """

    label: str
    about: str
    unit: Unit
    least: str | int | float = 0.0
    most: str | int | float = 1.0
    sets: Annotated[list[str], Field(min_length=1)]
    stages: list[str] = Field(default_factory=list)

    @model_validator(mode="after")
    def _ordered(self) -> Slider:
        try:
            low, high = self.low, self.high
        except InputError as error:
            raise misfit(error.problem, value=error.value, mend=error.mend) from None
        if not low < high:
            raise misfit("has an empty range", mend="keep least < most")
        return self

    @property
    def low(self) -> Value:
        """The range's low end: ps, or a number."""
        return read_value(self.unit, str(self.least))

    @property
    def high(self) -> Value:
        """Its high end."""
        return read_value(self.unit, str(self.most))

    @property
    def stops(self) -> list[Value]:
        """The values that the slider stops at, both ends included."""
        return stops(self.unit, self.low, self.high)

    def read(self, text: str) -> Value:
        """A value in the slider's range.

        Raises:
            InputError: it is none of its unit, or outside.
        """
        value = read_value(self.unit, text)
        if not self.low <= value <= self.high:
            raise InputError("is outside the slider's range", value=text,
                             mend=f"keep to {self.least} … {self.most}")  # fmt: skip
        return value


class Total(Configured):
    """How many accesses a synthetic guest makes, whatever is moved.

    Attributes:
        accesses: about so many, all vCPUs together.
        place: the guest's key that holds the number of operations of a vCPU.
        each: the key that holds the accesses of an operation; none: one.
    """

    accesses: Annotated[int, Field(ge=1, le=100_000)]
    place: str
    each: str | None = None


class Guest(Configured):
    """A guest that a person can pick.

    Attributes:
        title: its name on the page.
        trace: a shipped recording; or
        workload: a shipped synthetic guest.
        only, during: what of a recording is kept, as a scenario's block states it.
        set: places of the scenario and what stands there here.
        total: of a synthetic guest whose number of accesses is to stay the same.
        policies: what is compared until a person chooses; the first is what others are compared
            with.
        sliders: of this guest alone, by their names in addresses.
    """

    title: str
    trace: str | None = None
    workload: str | None = None
    only: list[str] = Field(default_factory=list)
    during: list[PHASES] = Field(default_factory=list)
    set: dict[str, Any] = Field(default_factory=dict)
    total: Total | None = None
    policies: Annotated[list[str], Field(min_length=1)]
    sliders: dict[str, Slider] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _one(self) -> Guest:
        if (self.trace is None) == (self.workload is None):
            raise misfit("is neither or both", mend="state either trace or workload")
        return self

    @property
    def sort(self) -> Literal["recorded", "synthetic"]:
        """Whether it was recorded."""
        return "synthetic" if self.trace is None else "recorded"


class Offer(Configured):
    """All that is offered.

    Attributes:
        guests: by the names that they have in addresses.
        sliders: those that every guest has.
    """

    guests: dict[str, Guest]
    sliders: dict[str, Slider]

    def sliders_of(self, guest: str) -> Mapping[str, Slider]:
        """A guest's own sliders, and then those that all have; recordings have think times.

        Args:
            guest: its name.
        """
        own = self.guests[guest]
        if own.trace is not None:
            return {THINK: _THINK, **self.sliders}
        return {**own.sliders, **self.sliders}


_THINK = Slider(
    label="Think times", about="× the recording's, which are emulation's; acts on when things "
    "happen", unit="factor", least=0.01, most=10.0, sets=["blocks.0.think_scales.0"],
)  # fmt: skip


@cache
def offer() -> Offer:
    """What ``guests.toml`` offers."""
    return checked(Offer, read_toml(FILE), file=FILE)
