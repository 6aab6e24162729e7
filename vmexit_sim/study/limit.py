"""Limits: what a metric must keep to."""

from __future__ import annotations

import re
from dataclasses import dataclass

from vmexit_sim.errors import InputError
from vmexit_sim.statistics import Estimate
from vmexit_sim.study.metrics import unit_of
from vmexit_sim.study.sweep.factor import quantity
from vmexit_sim.units import format_time

_LIMIT = re.compile(r"\s*(\S.*?)\s*(<=|>=)\s*(\S.*?)\s*")


@dataclass(frozen=True)
class Limit:
    """What a value must keep to.

    Attributes:
        metric: what is limited.
        at_most: whether the bound is an upper one.
        bound: in the metric's unit.
    """

    metric: str
    at_most: bool
    bound: float

    @classmethod
    def parse(cls, text: str) -> Limit:
        """A limit from text such as ``"effect.p99 <= 100 us"``.

        Raises:
            InputError: it is none.
        """
        match = _LIMIT.fullmatch(text)
        bound = quantity(match[3]) or quantity(_bare(match[3])) if match else None
        if match is None or bound is None or bound.unit != unit_of(match[1]):
            raise InputError("is no limit", key="limits", value=text,
                             mend='write it like "effect.p99 <= 100 us"')  # fmt: skip
        return cls(match[1], match[2] == "<=", bound.number)

    def is_kept(self, estimate: Estimate) -> bool:
        """Whether the estimate's value keeps to it."""
        return estimate.value <= self.bound if self.at_most else estimate.value >= self.bound

    def is_told(self, estimate: Estimate) -> bool:
        """Whether all of the estimate's interval is on one side of it."""
        return not estimate.low < self.bound < estimate.high

    def __str__(self) -> str:
        """As `parse` reads it."""
        is_time = unit_of(self.metric) == "ps"
        bound = format_time(self.bound, 15) if is_time else f"{self.bound:.15g}"
        return f"{self.metric} {'<=' if self.at_most else '>='} {bound}"


def _bare(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
