"""A claim: a number that is known beside the one that the simulator comes to.

What agreeing means depends on where the known number comes from (its *role*):

* ``theory``: an exact result about the very system that is simulated;
* ``path``: a sum of costs, or a count, that follows from the model's rules and that a person can
  work out;
* ``accounting``: a published number that went into a model, and must come out again;
* ``fit``: something that was not published was set so that this number comes out;
* ``prediction``: a published number that went in nowhere.

All but the last must hold, and a simulator that misses one is wrong. A prediction may miss, since
hosts and guests differ; it is shown either way, and a miss is explained. A prediction is worth
something only if it could miss: where an effect is smaller than the tolerance, the effect itself
(a difference) is the row, not the sum in which it would be lost. Where a choice that no source
settles makes a number come out, the row is a fit, and says which choice.

A sampled number is judged by its interval. Of so many intervals some miss by chance, so each is
made at `ROW_CONFIDENCE`, and all of up to `MOST_SAMPLED` rows hold together with `FAMILY`
(Bonferroni's inequality, whatever their dependence). A number without chance in it is compared
itself: an integer exactly, a published one to the digits it was published with, a range by its
ends. What may be further off than that has a tolerance, which every table shows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from vmexit_sim.statistics import Estimate

Kind: TypeAlias = Literal["queueing", "published", "paths"]
Role: TypeAlias = Literal["theory", "path", "accounting", "fit", "prediction"]

KINDS: tuple[Kind, ...] = ("queueing", "published", "paths")

FAMILY = 0.999
MOST_SAMPLED = 100
ROW_CONFIDENCE = 1 - (1 - FAMILY) / MOST_SAMPLED

SCATTER = 0.10
"""How far a prediction may lie from what was published, as a part of it.

A convention, chosen with the published figures at hand; it is no estimate. Published figures of
one thing on like hosts lie about that far apart: one patch (Linux b7ffc44d5b2e) moved inl_from_qemu
from 6,856 to 6,209 cycles, and exits to user space cost 2.84 and 2.65 times those to the kernel on
two x86 hosts (kvm-unit-tests 2012 and 2017; both went into models, and no row is a prediction of
them). ATC'17 has 2.62 for a third, which is therefore no row. Nested it is 3.3, left out because
another level of virtualisation is no like host: with it the figures lie a quarter apart."""

FLOATING = 1e-9
"""How far floating-point theory may lie from sums of integers, as a part of it."""


@dataclass(frozen=True, kw_only=True)
class Expected:
    """What is known: a number, or the ends between which it lies.

    Attributes:
        low: the least it can be; -inf: nothing is said.
        high: the most it can be; inf: nothing is said.
        text: as tables show it, without its unit.
    """

    low: float
    high: float
    text: str

    @classmethod
    def exactly(cls, value: float, text: str) -> Expected:
        """A number that is known exactly."""
        return cls(low=value, high=value, text=text)

    @classmethod
    def published(cls, text: str) -> Expected:
        """A measured number as it was printed: half a unit of its last digit to either side."""
        bare = text.replace(",", "")
        half = 0.5 * 10.0 ** -len(bare.partition(".")[2])
        return cls(low=float(bare) - half, high=float(bare) + half, text=text)

    @classmethod
    def count(cls, text: str) -> Expected:
        """A whole number of things ("16,320"), which is meant as it stands."""
        return cls.exactly(float(text.replace(",", "")), text)

    @classmethod
    def between(cls, low: float, high: float, text: str) -> Expected:
        """A number of which only the ends are known."""
        return cls(low=low, high=high, text=text)


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One known answer, and the simulator's.

    Attributes:
        kind: which of the three sorts of known answers.
        group: what it is about; claims of a group stand together.
        claim: what is claimed, in words.
        source: where the known number stands: paper and section, mail, commit, or formula.
        role: how the known number stands to the model.
        expected: the known number.
        simulated: the simulator's, in the same unit.
        tolerance: how far off it may be, as a part of the known number.
        why: where they disagree, why; else what one must know of the row.
    """

    kind: Kind
    group: str
    claim: str
    source: str
    role: Role
    expected: Expected
    simulated: Estimate
    tolerance: float = 0.0
    why: str = ""

    @property
    def must_hold(self) -> bool:
        """Whether a simulator that misses it is wrong."""
        return self.role != "prediction"

    @property
    def is_sampled(self) -> bool:
        """Whether chance is in the simulated number."""
        return not self.simulated.is_exact

    @property
    def agrees(self) -> bool:
        """Whether the simulated interval reaches what is expected, widened by the tolerance."""
        low, high = self.expected.low, self.expected.high
        slack_low, slack_high = (
            self.tolerance * abs(end) if math.isfinite(end) else 0.0 for end in (low, high)
        )
        return self.simulated.low <= high + slack_high and self.simulated.high >= low - slack_low

    @property
    def fails(self) -> bool:
        """Whether it had to hold, and does not."""
        return self.must_hold and not self.agrees

    @property
    def off_by(self) -> float:
        """How far the simulated value lies from what is expected, as a part of it; 0 within it."""
        value = self.simulated.value
        nearest = min(max(value, self.expected.low), self.expected.high)
        gap = value - nearest
        return gap / abs(nearest) if nearest else (math.copysign(math.inf, gap) if gap else 0.0)


@dataclass(frozen=True, kw_only=True)
class Uncovered:
    """Something published that the model says nothing about.

    Attributes:
        what: the published number or finding.
        source: where it stands.
        why: what the model lacks, or what was not told.
    """

    what: str
    source: str
    why: str


def in_row(estimate: Estimate) -> Estimate:
    """An estimate by Student's t, with the confidence that a row is judged at.

    Raises:
        ValueError: its interval is of another sort, so that it cannot be widened.
    """
    if estimate.is_exact:
        return estimate
    if estimate.method != "t":
        raise ValueError(f"an interval by {estimate.method!r} cannot be had at another confidence")
    from scipy.special import stdtrit

    now, then = (
        float(stdtrit(estimate.n - 1, 0.5 + confidence / 2))
        for confidence in (estimate.confidence, ROW_CONFIDENCE)
    )
    half = estimate.half_width * then / now
    return replace(
        estimate,
        low=estimate.value - half,
        high=estimate.value + half,
        confidence=ROW_CONFIDENCE,
    )
