"""Spacing: a metric along the distance between accesses, and from where on which policy is better.

The first policy meets each of the others in a crossover (`study.crossover`), all on the same draws,
so that every curve is smooth and every break-even has its interval. Which time says how far apart
accesses are depends on the guest: arrivals of an open loop, compute between operations, time
between interrupts or requests.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from vmexit_sim.engine import EngineName
from vmexit_sim.errors import InputError, nearest
from vmexit_sim.places import parts_of
from vmexit_sim.statistics import Estimate
from vmexit_sim.study.contest import stretch
from vmexit_sim.study.crossover import Crossover, crossover
from vmexit_sim.study.metrics import unit_of
from vmexit_sim.study.stated import Stated
from vmexit_sim.study.sweep.factor import Factor, Quantity, quantity
from vmexit_sim.study.sweep.study_file import inlined

TIMES = ("arrivals", "interarrival", "between", "think")
"""Keys of a synthetic guest that say how far apart its accesses are, the one that counts first."""

REACH = 10
"""By which factor the range lies below and above the guest's own spacing, if not stated."""


@dataclass(frozen=True, kw_only=True)
class Spacing:
    """A metric of several policies along one factor.

    Attributes:
        crossovers: the first policy and each of the others, in the policies' order.
    """

    crossovers: Sequence[Crossover]

    @property
    def policies(self) -> list[str]:
        """The policies, the first first."""
        return [self.crossovers[0].first, *(each.second for each in self.crossovers)]

    @property
    def place(self) -> str:
        """The key of the scenario that is varied."""
        return self.crossovers[0].place

    @property
    def metric(self) -> str:
        """What counts."""
        return self.crossovers[0].metric

    @property
    def unit(self) -> str:
        """The metric's unit."""
        return unit_of(self.metric)

    def of(self, policy: str) -> dict[float, Estimate]:
        """A policy's metric by the factor's value, ascending.

        Args:
            policy: one of the policies.
        """
        found: dict[float, Estimate] = {}
        for each in self.crossovers:
            if policy in (each.first, each.second):
                found |= {m.value: m.first if policy == each.first else m.second
                          for m in each.meetings}  # fmt: skip
        return dict(sorted(found.items()))

    @property
    def basis(self) -> str:
        """What curves and break-evens rest on, in a sentence."""
        one = self.crossovers[0]
        if not one.is_random:
            return f"{self.metric} along {self.place}, {one.block}; exact"
        return (
            f"{self.metric} along {self.place}, {one.block}; means of {one.replications:,} "
            f"replications with Student's t intervals at {one.confidence * 100:.4g} %, all on the "
            "same draws; break-evens with the interval of the paired difference's root"
        )


def spacing(
    stated: Stated,
    *,
    along: Factor | None = None,
    metric: str = "effect.mean",
    block: str | None = None,
    tolerance: float = 1e-3,
    engine: EngineName = "auto",
    jobs: int = 1,
    progress: Callable[[str], None] | None = None,
) -> Spacing:
    """A metric of a scenario's policies along the spacing of its guest.

    Args:
        stated: the scenario; it names two policies or more.
        along: the factor; None: the guest's own spacing, from a tenth of it to ten times as much.
        metric: what counts, of `study.metrics`.
        block: the guest's name, where the scenario has several.
        tolerance: to which part of its value a break-even is found.
        engine: what runs it; the numbers are the same.
        jobs: replications that run at a time.
        progress: told what is being run.

    Raises:
        InputError: fewer than two policies, no spacing in the guest, or as for `crossover`.
    """
    opened = stated.opened()
    names = stated.data.get("policies") or [policy.name for policy in opened.policies]
    if len(names) < 2:
        raise InputError("is one policy, and a break-even is of two", key="policy",
                         value=names[0], mend="name two or more")  # fmt: skip
    factor = along or own_spacing(stated, block)
    first, *others = names
    return Spacing(crossovers=[
        crossover(
            stated.data, stated.path, first=first, second=other, along=factor, metric=metric,
            block=block, tolerance=tolerance, engine=engine, jobs=jobs, progress=progress,
            elsewhere=stated.elsewhere,
        )
        for other in others
    ])  # fmt: skip


def own_spacing(stated: Stated, block: str | None = None) -> Factor:
    """The factor that says how far apart a guest's accesses are, around what it is.

    Args:
        stated: the scenario.
        block: the guest's name; None: the first.

    Raises:
        InputError: no such guest, or it has no such time, or one without a mean.
    """
    number, guest = _guest(stated, block)
    key = next((key for key in TIMES if key in guest), None)
    if key is None:
        raise InputError(
            "has no time that says how far apart its accesses are", key=f"blocks.{number}.guest",
            mend="say which key to vary (--along, --from, --to)",
        )  # fmt: skip
    place = f"blocks.{number}.guest.{key}" + (".mean" if isinstance(guest[key], dict) else "")
    return ranged(stated, block, place)


def ranged(
    stated: Stated, block: str | None, place: str, low: str | None = None, high: str | None = None,
    points: int | None = None,
) -> Factor:  # fmt: skip
    """A factor with its range; an end that is not given lies a factor of `REACH` from what is.

    Args:
        stated: the scenario.
        block: the guest's name; None: the first.
        place: the key that is varied.
        low: the lower end.
        high: the upper end.
        points: how many values are looked at first.

    Raises:
        InputError: an end is not given, and the key has no time that it could lie around.
    """
    if low is None or high is None:
        held: Any = inlined(stated.data, [place], stated.path)
        for part in parts_of(place):
            held = _part(held, part)
        found = None if held is None else quantity(held)
        if found is None or not found.number > 0:
            raise InputError("has no value that a range could lie around", key=place,
                             mend="say where the range begins and ends (--from, --to)")  # fmt: skip
        low = low or _text(Quantity(found.number / REACH, found.unit))
        high = high or _text(Quantity(found.number * REACH, found.unit))
    return stretch(place, low, high, points=points)


def _guest(stated: Stated, block: str | None) -> tuple[int, dict[str, Any]]:
    """A guest's place in the scenario, and what is stated of it."""
    data = inlined(stated.data, ["blocks.0.guest.kind"], stated.path)
    blocks = data["blocks"]
    opened = [each.name for each in stated.opened().blocks]
    if block is not None and block not in opened:
        raise InputError("is no guest of this scenario", key="block", value=block,
                         mend=nearest(block, opened))  # fmt: skip
    number = 0 if block is None else opened.index(block)
    guest = blocks[number]["guest"]
    return number, guest if isinstance(guest, dict) else {}


def _part(held: Any, key: str) -> Any:
    if isinstance(held, list):
        return held[int(key)] if key.isdecimal() and int(key) < len(held) else None
    return held.get(key) if isinstance(held, dict) else None


def _text(value: Quantity) -> str:
    stated = value.stated()
    return stated if isinstance(stated, str) else f"{stated!r}"
