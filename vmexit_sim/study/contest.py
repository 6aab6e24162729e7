"""A contest: two policies on one guest, at any value of one factor, on the same draws.

The scenario's seed is the same at every value, so that a replication meets the same draws wherever
the factor stands, and the difference between the policies is a smooth function of it as far as the
model is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from vmexit_sim.configuration import checked
from vmexit_sim.engine import EngineName
from vmexit_sim.errors import InputError, nearest
from vmexit_sim.opened import Opened, open_scenario
from vmexit_sim.places import with_value
from vmexit_sim.scenario import checked_scenario
from vmexit_sim.statistics import CONFIDENCE, Estimate, exact, mean, paired_difference
from vmexit_sim.study.compare import compare
from vmexit_sim.study.metrics import is_better_larger, refuse_unknown, unit_of
from vmexit_sim.study.sweep.factor import Factor, Quantity, Range, default_steps, plain
from vmexit_sim.study.sweep.study_file import inlined
from vmexit_sim.units import format_time

SCAN = 11
"""Values of the factor that are looked at first, if the user does not say how many."""


def stretch(
    place: str, low: str, high: str, *, scale: str = "", points: int | None = None
) -> Factor:
    """A factor from the words of a command line.

    Args:
        place: the key of the scenario that it sets.
        low: the lower end: "100ns", "0.2", "2".
        high: the upper end, of the same unit.
        scale: "linear" or "log"; "": logarithmic where the ends lie further apart than a factor of
            10, both above 0.
        points: how many values are looked at first; None: `SCAN`.

    Raises:
        InputError: the ends are no quantities of one unit, or not in order.
    """
    ends = [plain(text) for text in (low, high)]
    if not scale:
        found = _factor(place, [*ends, "linear"]).range
        wide = found is not None and 0 < 10 * found.low.number < found.high.number
        scale = "log" if wide else "linear"
    return _factor(place, [*ends, points or default_steps(ends[0], ends[1], SCAN), scale])


def _factor(place: str, values: list[Any]) -> Factor:
    return checked(Factor, {"place": place, "values": values})


def range_of(along: Factor) -> Range:
    """The range that a factor's values state.

    Raises:
        InputError: they are a list.
    """
    if along.range is None:
        raise InputError("is no range", key=along.places[0], value=along.values,
                         mend='give its ends and a scale: ["1 us", "1 ms", 11, "log"]')  # fmt: skip
    return along.range


def of_one_guest(opened: Opened, block: str | None) -> Opened:
    """A scenario with one of its guests alone.

    Args:
        opened: the scenario.
        block: the guest's name; None: the only one.

    Raises:
        InputError: no such guest, or one of several to choose.
    """
    names = [each.name for each in opened.blocks]
    if block is None and len(names) > 1:
        raise InputError("has several guests", key="block", value=names, mend="choose one")
    if block is not None and block not in names:
        raise InputError("is no guest of this scenario", key="block", value=block,
                         mend=nearest(block, names))  # fmt: skip
    number = 0 if block is None else names.index(block)
    return replace(opened, blocks=[opened.blocks[number]])


@dataclass(frozen=True, kw_only=True)
class Meeting:
    """What two policies come to at one value of the factor.

    Attributes:
        value: of the factor, in its unit.
        first: the first policy's metric, mean over replications.
        second: the second policy's.
        difference: second less first, replication by replication.
    """

    value: float
    first: Estimate
    second: Estimate
    difference: Estimate


@dataclass(kw_only=True)
class Contest:
    """Two policies on one guest of a scenario.

    Attributes:
        data: the scenario's, as `scenario_data` gives it.
        path: the file it stands in, if any.
        first: a policy's name or path.
        second: another's.
        along: the factor.
        metric: what counts.
        block: the guest's name; None: the only one.
        replications: of a random scenario; None: as it states.
        confidence: of every interval.
        engine: what runs it; the numbers are the same.
        jobs: how many replications run at a time.
        progress: told what is being run.
        elsewhere: as for `open_scenario`.
        meetings: by value as a file states it, what was asked so far.
    """

    data: dict[str, Any]
    path: Path | None
    first: str
    second: str
    along: Factor
    metric: str
    block: str | None = None
    replications: int | None = None
    confidence: float = CONFIDENCE
    engine: EngineName = "auto"
    jobs: int = 1
    progress: Callable[[str], None] | None = None
    elsewhere: Mapping[str, Path | None] = field(default_factory=dict)
    meetings: dict[Any, Meeting] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.first == self.second:
            raise InputError("is one policy, and a contest needs two", value=self.first)
        self.range = range_of(self.along)
        named = self.data.get("policies") or ()
        if not {self.first, self.second} <= set(named):  # then the user names them, not the file
            self.elsewhere = {"policies": None, **self.elsewhere}
        pair = [self.first, self.second]
        data = {**inlined(self.data, self.along.places, self.path), "policies": pair}
        if isinstance(data.get("parameters"), dict):
            data["parameters"] = {k: v for k, v in data["parameters"].items() if k in pair}
        if self.replications is not None:
            data["replications"] = self.replications
        self.data = data
        self.start = self.opened(self.range.low.number)
        if self.start.is_random and self.start.replications < 2:
            raise InputError("says nothing of what is left to chance", key="replications", value=1,
                             mend="run 2 or more")  # fmt: skip

    @property
    def prefers_large(self) -> bool:
        """Whether more of the metric is better."""
        return is_better_larger(self.metric)

    def stated(self, value: float) -> Any:
        """A value of the factor as a file states it."""
        return Quantity(
            round(value) if self.range.is_whole else value, self.range.low.unit
        ).stated()

    def opened(self, value: float) -> Opened:
        """The scenario with the factor at a value.

        Raises:
            InputError: it does not fit.
        """
        data = self.data
        for place in self.along.places:
            data = with_value(data, place, self.stated(value))
        opened = open_scenario(checked_scenario(data, self.path), self.path, self.elsewhere)
        return of_one_guest(opened, self.block)

    def meet(self, value: float) -> Meeting:
        """Both policies at a value of the factor; asked again, the same.

        Raises:
            InputError: the metric is not known there.
        """
        key = self.stated(value)  # two values that round to one are one
        if key not in self.meetings:
            self.meetings[key] = self._met(value)
        return self.meetings[key]

    def difference(self, value: float) -> Estimate:
        """Second less first at a value of the factor."""
        return self.meet(value).difference

    def _met(self, value: float) -> Meeting:
        if self.progress is not None:
            at = format_time(value) if self.range.low.unit == "ps" else self.stated(value)
            self.progress(f"{self.second} against {self.first} at {at}")
        opened = self.opened(value)
        block = compare(opened, engine=self.engine, jobs=self.jobs).blocks[0]
        refuse_unknown(self.metric, {name for each in block.policies for name in each.samples})
        one, other = (outcome.values(self.metric) for outcome in block.policies)
        if not np.isfinite([one, other]).all():
            raise InputError("has no value", key=self.metric, value=self.stated(value))
        unit = unit_of(self.metric)
        if not opened.is_random:
            return Meeting(value=value, first=exact(one[0], unit), second=exact(other[0], unit),
                           difference=exact(other[0] - one[0], unit))  # fmt: skip
        sure = self.confidence
        return Meeting(
            value=value,
            first=mean(one, confidence=sure, unit=unit),
            second=mean(other, confidence=sure, unit=unit),
            difference=paired_difference(one, other, confidence=sure, unit=unit),
        )
