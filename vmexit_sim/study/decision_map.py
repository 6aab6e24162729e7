"""Decision map: which policy is the best, over a grid of two factors.

::

    factor "up"
       │ A A A ~ B B      A, B: that policy is the best here
       │ A A ~ B B B      ~: too close to call
       │ A ~ B B B B
       └──────────────▶ factor "across"

At each point a policy is told to be the best if it alone is left in the set that holds the best
with the stated confidence (`statistics.best_set`); where more than one is left it is too close to
call. The confidence is that of each point for itself, not of the whole map. All points meet the
same draws, so that the border between two policies is as sharp as the difference between them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from vmexit_sim.configuration import checked
from vmexit_sim.engine import EngineName
from vmexit_sim.errors import InputError
from vmexit_sim.statistics import CONFIDENCE, Estimate, best_set
from vmexit_sim.study.compare import compare
from vmexit_sim.study.contest import of_one_guest
from vmexit_sim.study.metrics import is_better_larger, refuse_unknown
from vmexit_sim.study.outcome import BlockOutcome
from vmexit_sim.study.sweep.factor import Factor, column_value
from vmexit_sim.study.sweep.study_file import Plan, Point, Study, plan

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, kw_only=True)
class Axis:
    """One of a map's two factors.

    Attributes:
        name: the factor's name.
        values: as files state them, in the factor's order.
        places: the same as numbers in the factor's unit; text by its number in that order.
        unit: "ps", "1", …; "": the values are text.
        is_log: whether they are evenly spaced on a logarithmic scale.
    """

    name: str
    values: tuple[Any, ...]
    places: tuple[float, ...]
    unit: str
    is_log: bool


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One point of a map.

    Attributes:
        across: its place on the axis across, from 0.
        up: its place on the axis up.
        best: the policies of which none is told to be worse than another, the best mean first;
            empty: none is usable here.
        estimates: the metric of every usable policy, by name.
    """

    across: int
    up: int
    best: tuple[str, ...]
    estimates: dict[str, Estimate]

    @property
    def winner(self) -> str | None:
        """The policy that is the best; None: too close to call, or none is usable."""
        return self.best[0] if len(self.best) == 1 else None


@dataclass(frozen=True, kw_only=True)
class DecisionMap:
    """Which policy is the best, over two factors.

    Attributes:
        scenario: the scenario's name.
        platform: whose costs, if no factor says so.
        block: the guest's name; may be empty.
        metric: what counts.
        policies: all that are usable somewhere, in the scenario's order.
        left_out: those of the scenario that are usable nowhere: bounds, and what the guest lacks.
        across: the axis from left to right.
        up: the axis from bottom to top.
        cells: one for each point, by ``[across, up]``.
        replications: behind each estimate.
        confidence: with which the best is among `Cell.best`, at each point for itself.
        seed: root of all randomness.
    """

    scenario: str
    platform: str
    block: str
    metric: str
    policies: tuple[str, ...]
    left_out: tuple[str, ...]
    across: Axis
    up: Axis
    cells: dict[tuple[int, int], Cell]
    replications: int
    confidence: float
    seed: int

    @property
    def winners(self) -> tuple[str, ...]:
        """The policies that are the best somewhere, in the scenario's order."""
        found = {cell.winner for cell in self.cells.values()}
        return tuple(name for name in self.policies if name in found)

    def share(self, policy: str | None) -> float:
        """The share of the map's points that a policy wins (0 … 1); None: that nobody does."""
        won = sum(cell.winner == policy for cell in self.cells.values())
        return won / len(self.cells)

    def to_frame(self) -> pd.DataFrame:
        """A row for each point and usable policy.

        Columns: the two factors under their names (numbers in their unit, or text), `policy`,
        `metric`, the estimate whole (`value`, `low`, `high`, `n`, `confidence`, `method`, `unit`),
        `may_be_best`, and the point's `winner` (none: too close to call).
        """
        import pandas as pd

        rows = [
            {
                self.across.name: column_value(self.across.values[cell.across])[0],
                self.up.name: column_value(self.up.values[cell.up])[0],
                "policy": name,
                "metric": self.metric,
                "value": e.value, "low": e.low, "high": e.high, "n": e.n,
                "confidence": e.confidence, "method": e.method, "unit": e.unit,
                "may_be_best": name in cell.best,
                "winner": cell.winner,
            }
            for cell in self.cells.values()
            for name, e in cell.estimates.items()
        ]  # fmt: skip
        return pd.DataFrame(rows)


AXES = ("across", "up")
"""What the two factors are called in the study that runs them; their places may be anything."""


def decision_map(
    data: dict[str, Any],
    path: Path | None = None,
    *,
    across: Factor,
    up: Factor,
    names: tuple[str, str] | None = None,
    metric: str = "added",
    block: str | None = None,
    policies: list[str] | None = None,
    replications: int | None = None,
    confidence: float = CONFIDENCE,
    engine: EngineName = "auto",
    executor: Executor | None = None,
    progress: Callable[[int, int], None] | None = None,
    elsewhere: Mapping[str, Path | None] = MappingProxyType({}),
) -> DecisionMap:
    """Find the best policy at each point of a grid.

    Args:
        data: a scenario's, as `scenario_data` gives it.
        path: the file it stands in, if any.
        across: the factor from left to right: a list, or a range that says how many values.
        up: the factor from bottom to top.
        names: what the two are called; None: by the keys that they set.
        metric: what counts, of `metrics`.
        block: the guest's name, where the scenario has several.
        policies: names or paths; None: the scenario's.
        replications: of a random scenario, at least 2; None: as it states.
        confidence: with which the best is among those left, at each point for itself.
        engine: what runs it; the numbers are the same.
        executor: where points are run, such as `sweep.Processes`' `executor()`; None: here.
        progress: told how many points are through, of how many.
        elsewhere: as for `open_scenario`.

    Raises:
        InputError: something named is not there, a point does not fit, or one replication of what
            is left to chance.
    """
    one, other = names or (across.places[0], up.places[0])
    if one == other:
        raise InputError("is both factors of a map", key="across", value=one)
    for name, axis in ((one, across), (other, up)):
        levels = axis.levels()
        if len({json.dumps(level) for level in levels}) < len(levels):
            raise InputError("states a value twice", key=name, value=levels,
                             mend="state each once")  # fmt: skip
    changes: dict[str, Any] = {"policies": policies, "replications": replications}
    study = checked(Study, {
        "name": str(data.get("name", "")),
        "scenario": data,
        "set": {key: value for key, value in changes.items() if value is not None},
        "factors": dict(zip(AXES, (across.model_dump(), up.model_dump()), strict=True)),
    })  # fmt: skip
    planned = plan(study, path)
    planned = replace(planned, elsewhere={**planned.elsewhere, **elsewhere})
    work = partial(_cell, planned, (across.levels(), up.levels()), metric, block,
                   confidence, engine)  # fmt: skip
    run = map if executor is None else executor.map
    cells: dict[tuple[int, int], Cell] = {}
    for cell in run(work, planned.points):
        cells[cell.across, cell.up] = cell
        if progress is not None:
            progress(len(cells), len(planned.points))
    opened = of_one_guest(planned.opened(planned.points[0]), block)
    usable = {name for cell in cells.values() for name in cell.estimates}
    known = [policy.name for policy in opened.policies]
    return DecisionMap(
        scenario=opened.scenario.name,
        platform=opened.platform.name,
        block=opened.blocks[0].name,
        metric=metric,
        policies=tuple(name for name in known if name in usable),
        left_out=tuple(name for name in known if name not in usable),
        across=_axis(one, across),
        up=_axis(other, up),
        cells=cells,
        replications=opened.replications,
        confidence=confidence,
        seed=opened.scenario.seed,
    )


def _axis(name: str, factor: Factor) -> Axis:
    values = factor.levels()
    columns = [column_value(value) for value in values]
    units = {unit for _, unit in columns}
    unit = units.pop() if len(units) == 1 else ""
    numbers = [number if unit else n for n, (number, _) in enumerate(columns)]
    found = factor.range
    return Axis(name=name, values=tuple(values), places=tuple(float(n) for n in numbers), unit=unit,
                is_log=found is not None and found.scale == "log")  # fmt: skip


def _cell(
    planned: Plan,
    levels: tuple[list[Any], list[Any]],
    metric: str,
    block: str | None,
    confidence: float,
    engine: EngineName,
    point: Point,
) -> Cell:
    """One point, wherever it is run."""
    opened = of_one_guest(planned.opened(point), block)
    if opened.is_random and opened.replications < 2:
        raise InputError("says nothing of what is left to chance", key="replications", value=1,
                         mend="run 2 or more")  # fmt: skip
    outcome = compare(opened, engine=engine).blocks[0]
    refuse_unknown(metric, {name for each in outcome.policies for name in each.samples})
    place, height = (
        found.index(point.values[name]) for found, name in zip(levels, AXES, strict=True)
    )
    return Cell(
        across=place,
        up=height,
        best=tuple(_best(outcome, metric, confidence)),
        estimates={o.policy.name: o.estimate(metric) for o in outcome.usable},
    )


def _best(outcome: BlockOutcome, metric: str, confidence: float) -> Iterator[str]:
    """The usable policies of which none is told to be worse, the best first."""
    samples = {o.policy.name: o.values(metric) for o in outcome.usable}
    if not samples:
        return
    if not np.isfinite(list(samples.values())).all():
        raise InputError("has no value", key=metric, value=outcome.name)
    larger = is_better_larger(metric)
    if outcome.usable[0].is_random:
        yield from best_set(samples, confidence, larger_is_better=larger)
        return
    values = {name: own[0] for name, own in samples.items()}
    extreme = (max if larger else min)(values.values())
    yield from (name for name, value in values.items() if value == extreme)
