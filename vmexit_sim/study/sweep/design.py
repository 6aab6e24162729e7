"""Designs: which points of the factors' space a study visits.

* *grid*: every combination of levels, the last factor fastest; factors in *lockstep* move
  together and count as one;
* *latin-hypercube*: every factor's range is cut into as many slices as there are points, and each
  slice is visited once;
* *sobol*: a scrambled low-discrepancy sequence; balanced if the number of points is a power of 2.

Source: McKay, Beckman & Conover 1979; Sobol' 1967, Owen 1995 (`scipy.stats.qmc`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from math import prod
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from vmexit_sim.configuration import Configured, misfit
from vmexit_sim.errors import InputError, nearest
from vmexit_sim.study.sweep.constraint import Constraint
from vmexit_sim.study.sweep.factor import Factor

MOST_POINTS = 1_000_000
"""Most points that a study may have before constraints: beyond that its size is surely a slip."""

Values = dict[str, Any]
"""A point: a value for each factor, as files state it."""


class Design(Configured):
    """How points are chosen.

    Attributes:
        kind: "grid", "latin-hypercube" or "sobol".
        points: how many; of a grid the levels decide.
        seed: what the design's own randomness starts from.
    """

    kind: Literal["grid", "latin-hypercube", "sobol"] = "grid"
    points: Annotated[int, Field(ge=1, le=MOST_POINTS)] | None = None
    seed: Annotated[int, Field(ge=0, le=2**63)] = 1

    @model_validator(mode="after")
    def _counted(self) -> Design:
        if self.kind == "grid" and self.points is not None:
            raise misfit("states how many points a grid has, which its factors decide",
                         value=self.points, mend="leave it out, or sample")  # fmt: skip
        return self


def points(
    factors: Mapping[str, Factor],
    design: Design,
    lockstep: Sequence[Sequence[str]] = (),
    constraints: Sequence[Constraint] = (),
) -> list[Values]:
    """The points of a design that pass every constraint, in the design's order.

    Raises:
        InputError: a lockstep group of different lengths, a design that lacks its number of points,
            too many points, or none left.
    """
    groups = _groups(factors, lockstep)
    made = _grid(factors, groups) if design.kind == "grid" else _sampled(factors, groups, design)
    kept = [values for values in made if all(rule.holds(values) for rule in constraints)]
    if not kept:
        raise InputError("leave no point", key="constraints",
                         value=[rule.text for rule in constraints])  # fmt: skip
    return kept


def _groups(factors: Mapping[str, Factor], lockstep: Sequence[Sequence[str]]) -> list[list[str]]:
    """Factors that move together, each group where its first factor stands."""
    group_of = {}
    for group in lockstep:
        for name in group:
            if name not in factors:
                raise InputError("is no factor", key="lockstep", value=name,
                                 mend=nearest(name, factors))  # fmt: skip
            if name in group_of:
                raise InputError("is in two groups", key="lockstep", value=name)
            group_of[name] = list(group)
    groups: list[list[str]] = []
    for name in factors:
        group = group_of.get(name, [name])
        if group not in groups:
            groups.append(group)
    return groups


def _grid(factors: Mapping[str, Factor], groups: Sequence[Sequence[str]]) -> Iterator[Values]:
    levels = []
    for group in groups:
        columns = [_levels(factors, name) for name in group]
        if len({len(column) for column in columns}) > 1:
            sizes = ", ".join(f"{n} has {len(c)}" for n, c in zip(group, columns, strict=True))
            raise InputError(f"has factors of different numbers of values: {sizes}",
                             key="lockstep", value=list(group))  # fmt: skip
        levels.append([dict(zip(group, row, strict=True)) for row in zip(*columns, strict=True)])
    count = prod(len(rows) for rows in levels)
    if count > MOST_POINTS:
        raise InputError(f"make {count:,} points, and {MOST_POINTS:,} is the most",
                         key="factors", mend="take fewer values, or a sampled design")  # fmt: skip
    for row in product(*levels):
        merged = {name: value for part in row for name, value in part.items()}
        yield {name: merged[name] for name in factors}


def _levels(factors: Mapping[str, Factor], name: str) -> list[Any]:
    try:
        return factors[name].levels()
    except InputError as error:
        raise error.located(key=f"factors.{name}") from None


def _sampled(
    factors: Mapping[str, Factor], groups: Sequence[Sequence[str]], design: Design
) -> Iterator[Values]:
    from scipy.stats import qmc

    if design.points is None:
        raise InputError("does not say how many points", key="design.points",
                         mend="add for instance points = 128")  # fmt: skip
    if design.kind == "sobol":
        if design.points & (design.points - 1):
            raise InputError("is no power of 2, so a Sobol design would not be balanced",
                             key="design.points", value=design.points,
                             mend=f"take {2 ** design.points.bit_length()}")  # fmt: skip
        shares = qmc.Sobol(len(groups), rng=design.seed).random(design.points)
    else:
        shares = qmc.LatinHypercube(len(groups), rng=design.seed).random(design.points)
    for row in shares:
        share_of = {name: float(u) for group, u in zip(groups, row, strict=True) for name in group}
        yield {name: factor.at(share_of[name]) for name, factor in factors.items()}
