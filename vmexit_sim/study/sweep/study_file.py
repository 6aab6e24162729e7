"""Study files: a scenario, what is varied in it, and how.

::

    question = "From which spacing on does batching stop paying?"
    scenario = "spread"                         # a name, a path, or a table like a scenario's file

    [set]                                       # the same at every point
    policies = ["hypercall", "batched-oracle"]
    "blocks.0.guest.operations" = 5000

    [factors]
    "blocks.0.guest.between.mean" = ["1 us", "1 ms", 13, "log"]
    platform = ["kvm-2013", "kvm-2017"]

Names of files are relative to the file that states them. Every point has the scenario's seed, so
that all points meet the same draws, and differences between points are as sharp as those between
policies; ``seeds = "own"`` gives each a seed of its own instead.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from vmexit_sim import catalog
from vmexit_sim.configuration import Configured, checked, misfit, read_toml
from vmexit_sim.errors import InputError, InputErrors
from vmexit_sim.opened import Opened, open_scenario
from vmexit_sim.places import parts_of, with_value
from vmexit_sim.scenario import DEFAULT_SEED, Scenario, checked_scenario, scenario_data
from vmexit_sim.study.sweep.constraint import parse_constraint
from vmexit_sim.study.sweep.design import Design, Values, points
from vmexit_sim.study.sweep.factor import Factor

COLUMNS = (
    "point", "block", "policy", "metric", "value", "low", "high", "n", "confidence", "method",
    "unit", "seed", "version", "numpy", "configuration",
)  # fmt: skip
"""The columns of every result; no factor may be called so."""


class Study(Configured):
    """What a study file says.

    Attributes:
        name: the file's name without its ending, or what the file calls itself.
        title: one line for people.
        question: what the study asks.
        scenario: a scenario's name or path, or a scenario itself.
        changes: (``set``) keys of the scenario to set at every point, by their places.
        factors: what is varied, by name; a bare list stands for a factor whose name is its place.
        lockstep: groups of factors that move together.
        constraints: comparisons of factors that every point must pass ("cpus <= vcpus").
        design: how points are chosen; by default a grid.
        metric: what the study is about ("added", "effect.p99", …); all are stored.
        seeds: "common": every point meets the same draws; "own": each has a seed of its own.
    """

    name: str = ""
    title: str = ""
    question: str = ""
    scenario: str | dict[str, Any]
    changes: dict[str, Any] = Field(default_factory=dict, alias="set")
    factors: dict[str, Factor] = Field(min_length=1)
    lockstep: list[list[str]] = Field(default_factory=list)
    constraints: list[str] = Field(default_factory=list)
    design: Design = Design()
    metric: str = "added"
    seeds: Literal["common", "own"] = "common"

    @field_validator("factors", mode="before")
    @classmethod
    def _named(cls, stated: Any) -> Any:
        if not isinstance(stated, dict):
            return stated
        return {
            name: {"place": name, "values": values} if isinstance(values, list) else values
            for name, values in stated.items()
        }

    @model_validator(mode="after")
    def _distinct(self) -> Study:
        for name in self.factors:
            if name in COLUMNS:
                raise misfit(f"has a factor {name!r}, and every result has a column of that name",
                             key=f"factors.{name}",
                             mend="give the factor another name, and its place")  # fmt: skip
        places = [place for factor in self.factors.values() for place in factor.places]
        twice = next((place for place in places if places.count(place) > 1), None)
        if twice is not None:
            raise misfit("has two factors that set one key", key="factors", value=twice)
        return self


@dataclass(frozen=True, kw_only=True)
class Point:
    """One point of a study.

    Attributes:
        number: its place in the design, from 0.
        values: of each factor, as files state them.
        scenario: the scenario's data there; points share what does not differ between them, so
            it is to be read only.
    """

    number: int
    values: Values
    scenario: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A study with its points worked out.

    Attributes:
        study: what was asked.
        points: in the design's order.
        path: the file that the scenario came from, if any.
        elsewhere: keys of the scenario that the study states, and the file it stands in.
        file: the study's own, if any.
    """

    study: Study
    points: list[Point]
    path: Path | None
    elsewhere: Mapping[str, Path | None]
    file: Path | None = None

    def checked(self, point: Point) -> Scenario:
        """A point's scenario, checked.

        Raises:
            InputError: it does not fit; what the study states is named with the study's file.
        """
        try:
            return checked_scenario(point.scenario, self.path)
        except InputError as failure:
            errors = failure.errors if isinstance(failure, InputErrors) else [failure]
            raise InputErrors(map(self._placed, errors)) from None

    def _placed(self, error: InputError) -> InputError:
        """A mistake with the file that it stands in."""
        parts = (error.key or "").split(".")
        keys = [".".join(parts[:n]) for n in range(len(parts), 0, -1)]
        stated = next((key for key in keys if key in self.elsewhere), None)
        file = error.file if stated is None else self.elsewhere[stated]
        file = file or self.file
        return InputError(error.problem, file=file, key=error.key, value=error.value,
                          mend=error.mend)  # fmt: skip

    def opened(self, point: Point) -> Opened:
        """A point's scenario with everything it names opened.

        Raises:
            InputError: it does not fit.
        """
        with _at(self.file, None):
            return open_scenario(self.checked(point), self.path, self.elsewhere)


def load_study(name: str) -> tuple[Study, Path]:
    """A study file: a shipped one's name, or a path.

    Raises:
        InputError: no such study, or it does not fit; every mistake is named.
    """
    path = Path(name)
    if not path.is_file():
        path = catalog.find("studies", name)
    data = {"name": path.name.removesuffix(".toml"), **read_toml(path)}
    return checked(Study, data, file=path, context={"file": path}), path


def plan(study: Study, path: Path | None = None) -> Plan:
    """Work out a study's points.

    Args:
        study: what is asked.
        path: the file it stands in, if any.

    Raises:
        InputError: the scenario is not there, a place leads nowhere, or no point is left.
    """
    if isinstance(study.scenario, str):
        with _at(path, "scenario"):
            data, origin = scenario_data(study.scenario, path)
    else:
        data, origin = {"name": study.name, **study.scenario}, path
    places = [*study.changes, *(place for f in study.factors.values() for place in f.places)]
    for place in places:
        with _at(path, "set" if place in study.changes else "factors"):
            parts_of(place)
    data = inlined(data, places, origin)
    for place, value in study.changes.items():
        with _at(path, f"set.{place}"):
            data = with_value(data, place, _found(place, value, path))
    rules = []
    for text in study.constraints:
        with _at(path, None):
            rules.append(parse_constraint(text, study.factors))
    with _at(path, None):
        chosen = points(study.factors, study.design, study.lockstep, rules)
    made = []
    for number, values in enumerate(chosen):
        scenario = data
        for name, value in values.items():
            for place in study.factors[name].places:
                with _at(path, f"factors.{name}"):
                    scenario = with_value(scenario, place, _found(place, value, path))
        if study.seeds == "own":
            scenario = {**scenario, "seed": _own_seed(scenario.get("seed", DEFAULT_SEED), number)}
        made.append(Point(number=number, values=values, scenario=scenario))
    stated = dict.fromkeys([*(parts_of(place)[0] for place in places), *places], path)
    return Plan(study=study, points=made, path=origin, elsewhere=stated, file=path)


def _own_seed(root: object, number: int) -> int:
    digest = sha256(f"{root}/{number}".encode()).digest()
    return int.from_bytes(digest[:7], "big")


def inlined(data: dict[str, Any], places: list[str], beside: Path | None) -> dict[str, Any]:
    """A scenario's data in which guests that places lead into are stated, not named.

    A guest that is a workload's name becomes what that workload's file says, so that its
    parameters can be set.
    """
    if not any(_leads_into_a_guest(parts_of(place)) for place in places):
        return data
    blocks = []
    for block in data.get("blocks", ()):
        guest = block.get("guest") if isinstance(block, dict) else None
        if isinstance(guest, dict) and isinstance(guest.get("workload"), str):
            file = catalog.find("workloads", guest["workload"], beside)
            stated = {k: v for k, v in read_toml(file).items() if k not in ("title", "about")}
            block = {"name": file.stem, **block, "guest": stated}
        blocks.append(block)
    return {**data, "blocks": blocks}


NAMES = ("trace", "table", "workload")
"""A guest's keys that name a file."""


def _leads_into_a_guest(parts: list[str]) -> bool:
    return parts[0] == "blocks" and "guest" in parts[:-1] and parts[-1] not in NAMES


def _found(place: str, value: Any, path: Path | None) -> Any:
    """A value in which a guest's file that lies beside the study is named so that it is found."""
    parts = parts_of(place)
    if path is None or parts[0] != "blocks":
        return value
    if isinstance(value, dict):
        return {key: _found(f"{place}.{key}" if key in NAMES else place, part, path)
                for key, part in value.items()}  # fmt: skip
    if parts[-1] in NAMES and isinstance(value, str) and (path.parent / value).is_file():
        return str((path.parent / value).absolute())
    return value


@contextmanager
def _at(file: Path | None, key: str | None) -> Iterator[None]:
    """Say where in a study something stands that does not fit."""
    try:
        yield
    except InputError as error:
        raise error.located(file=file, key=key) from None
