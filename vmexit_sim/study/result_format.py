"""What a result file holds: a comparison as checked, frozen data.

::

    Saved ─┬─ made_with, command             versions; how it was made
           ├─ scenario, platform, policies   as they were effective, checked as files are
           ├─ guests ── outcomes ── samples  what each replication came to, by metric
           └─ uncertainty                    the calibration's part, if it was asked for

Estimates follow from the samples, and are made anew when a result is read: only those from within
one long run are kept as such. Quantities carry their units, as in all files; samples are in their
metric's unit (`vmexit_sim.study.metrics`).
"""

from __future__ import annotations

import math
from typing import Annotated

from pydantic import Field, PlainSerializer, model_validator

from vmexit_sim.configuration import Configured, misfit
from vmexit_sim.hypervisor.platform import Platform
from vmexit_sim.policy import Policy
from vmexit_sim.scenario import Scenario, ThinkScale
from vmexit_sim.statistics import Estimate
from vmexit_sim.steps import Role
from vmexit_sim.study.versions import OWN

ALWAYS = ("added", "accesses")
"""Metrics that every replication has, and that are numbers."""

LARGEST = 1e30
"""Largest number that a result may hold: beyond, sums of squares and axes have no end."""

Finite = Annotated[float, Field(ge=-LARGEST, le=LARGEST, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0)]


def _plain(values: list[float | None]) -> list[float | None]:
    """Whole numbers without a point: most are, and a file of samples is mostly these."""
    return [int(v) if v and v.is_integer() and abs(v) < 2**53 else v for v in values]


Samples = Annotated[list[Finite | None], Field(min_length=1), PlainSerializer(_plain)]
"""One value for each replication; null: the guest or the host has no such thing."""


class SavedEstimate(Configured):
    """A number with its interval.

    Attributes:
        value: the number; null: there is none.
        low: the interval's low end; null: it has none.
        high: its high end; null: it has none.
        n: replications or batches it rests on.
        confidence: nominal coverage.
        method: how the interval was made.
        unit: of all three numbers.
    """

    value: Finite | None
    low: Finite | None
    high: Finite | None
    n: Count
    confidence: Annotated[float, Field(gt=0, lt=1)]
    method: str
    unit: str

    @classmethod
    def of(cls, estimate: Estimate) -> SavedEstimate:
        """An estimate as a file holds it."""
        return cls(
            value=finite(estimate.value), low=finite(estimate.low), high=finite(estimate.high),
            n=estimate.n, confidence=estimate.confidence, method=estimate.method,
            unit=estimate.unit,
        )  # fmt: skip

    def estimate(self) -> Estimate:
        """The estimate."""
        return Estimate(
            value=math.nan if self.value is None else self.value,
            low=-math.inf if self.low is None else self.low,
            high=math.inf if self.high is None else self.high,
            n=self.n, method=self.method, confidence=self.confidence, unit=self.unit,
        )  # fmt: skip


class SavedStage(Configured):
    """A part of an access's time.

    Attributes:
        name: as tables show it.
        role: whose time it is.
    """

    name: str
    role: Role


class SavedOutcome(Configured):
    """What one policy cost one guest.

    Attributes:
        reach: share of the accesses that the policy's rules decided.
        counterfactual: whether it needs ECAM, which the guest does not have.
        stages: the stages that took any time.
        samples: by metric, a value for each replication.
        single: estimates from within one long run, where a steady-state study has no more.
    """

    reach: Share
    counterfactual: bool
    stages: list[SavedStage]
    samples: dict[str, Samples]
    single: dict[str, SavedEstimate] = Field(default_factory=dict)

    @property
    def replications(self) -> int:
        """How many replications the samples are of."""
        return len(self.samples["added"])

    @model_validator(mode="after")
    def _whole(self) -> SavedOutcome:
        for metric in ALWAYS:
            if None in self.samples.get(metric, [None]):
                raise misfit("lacks a metric that every replication has", value=metric)
        for metric, values in self.samples.items():
            if len(values) != self.replications:
                raise misfit(f"has a metric with {len(values)} values, and there are "
                             f"{self.replications} replications", value=metric)  # fmt: skip
        if min(count for count in self.samples["accesses"] if count is not None) < 0:
            raise misfit("has less than no accesses", value="accesses")
        return self


class SavedCut(Configured):
    """What a steady-state study left out.

    Attributes:
        accesses: of each vCPU, from its start.
        too_short: whether the run gave no sign that its warm-up was over.
    """

    accesses: Count
    too_short: bool


class SavedGuest(Configured):
    """What the policies cost one guest.

    Attributes:
        name: the block's name.
        origin: where its accesses came from.
        accesses: how many there were (of a synthetic guest: one replication's mean).
        left_out: accesses to timers and interrupt controllers that were not asked for.
        scales: think scales; the last is the one that all but completion is told for.
        cut: the warm-up that was left out; null: the study is a terminating one.
        reached: whether a precision that was asked for was reached; null: none was.
        outcomes: one for each policy, in their order.
    """

    name: str
    origin: str
    accesses: Annotated[Finite, Field(ge=0)]
    left_out: Count
    scales: Annotated[list[ThinkScale], Field(min_length=1)]
    cut: SavedCut | None
    reached: bool | None
    outcomes: Annotated[list[SavedOutcome], Field(min_length=1)]

    @model_validator(mode="after")
    def _paired(self) -> SavedGuest:
        counts = {outcome.replications for outcome in self.outcomes}
        if len(counts) > 1:
            raise misfit("has policies of different numbers of replications, which cannot be "
                         "paired", value=sorted(counts))  # fmt: skip
        return self


class SavedUncertain(Configured):
    """One policy's answer with the calibration's uncertainty in its intervals.

    Attributes:
        added: time added.
        difference: the same less the first policy's.
        sampling: that difference without the calibration's part.
        best: share of draws in which the policy adds least; null: it is none that could.
    """

    added: SavedEstimate
    difference: SavedEstimate
    sampling: SavedEstimate
    best: Share | None


class SavedUncertainty(Configured):
    """What the calibration's uncertainty does to the answers.

    Attributes:
        drawn: the costs that were drawn.
        fixed: those about whose error nothing is known.
        draws: how often.
        guests: for each guest one answer for each policy, in their order.
    """

    drawn: list[str]
    fixed: list[str]
    draws: Annotated[int, Field(ge=1)]
    guests: list[list[SavedUncertain]]


class Saved(Configured):
    """A comparison, with all that a report of it needs.

    Attributes:
        made_with: versions of vmexit-sim, Python, and of the packages that numbers come from.
        command: the command line that made it; empty: it was made from Python.
        scenario: as it was effective.
        platform: every cost, with what the scenario changed in place, and its source.
        policies: with all their rules, in the scenario's order.
        is_random: whether replications could differ.
        guests: one for each block of the scenario.
        uncertainty: the same with the calibration's uncertainty; null: it was not asked for.
    """

    made_with: dict[str, str]
    command: str
    scenario: Scenario
    platform: Platform
    policies: Annotated[list[Policy], Field(min_length=1)]
    is_random: bool
    guests: Annotated[list[SavedGuest], Field(min_length=1)]
    uncertainty: SavedUncertainty | None

    @model_validator(mode="after")
    def _fits(self) -> Saved:
        if OWN not in self.made_with:
            raise misfit("does not say which version it was made with", value=OWN)
        lengths = [len(guest.outcomes) for guest in self.guests]
        if self.uncertainty is not None:
            if len(self.uncertainty.guests) != len(self.guests):
                raise misfit("has answers with uncertainty for another number of guests",
                             value=len(self.uncertainty.guests))  # fmt: skip
            lengths += [len(answers) for answers in self.uncertainty.guests]
        if any(length != len(self.policies) for length in lengths):
            raise misfit(f"has {len(self.policies)} policies, and a guest with outcomes of another "
                         "number of them", value=lengths)  # fmt: skip
        if not self.is_random and any(g.outcomes[0].replications > 1 for g in self.guests):
            raise misfit("leaves nothing to chance, and has several replications")
        return self


def finite(value: float) -> float | None:
    """A number, or None where it is none or has no end."""
    return value if math.isfinite(value) else None
