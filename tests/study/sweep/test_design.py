"""Designs: which points a study visits."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmexit_sim.configuration import checked
from vmexit_sim.errors import InputError
from vmexit_sim.study.sweep.constraint import parse_constraint
from vmexit_sim.study.sweep.design import Design, points
from vmexit_sim.study.sweep.factor import Factor
from vmexit_sim.units import parse_time


def factors(**values: list[Any]) -> dict[str, Factor]:
    return {name: checked(Factor, {"place": name, "values": v}) for name, v in values.items()}


def design(**keys: Any) -> Design:
    return checked(Design, keys)


def test_a_grid_is_every_combination_the_last_factor_fastest() -> None:
    made = points(factors(a=[1, 2], b=["x", "y", "z"]), design())
    assert [(p["a"], p["b"]) for p in made] == list(product([1, 2], "xyz"))
    assert all(list(p) == ["a", "b"] for p in made)


@given(st.lists(st.integers(1, 4), min_size=1, max_size=4))
def test_a_grid_has_as_many_points_as_levels_multiply_to(sizes: list[int]) -> None:
    made = points(factors(**{f"f{n}": list(range(size)) for n, size in enumerate(sizes)}), design())
    expected = 1
    for size in sizes:
        expected *= size
    assert len(made) == len({tuple(p.items()) for p in made}) == expected


def test_factors_in_lockstep_move_together() -> None:
    made = points(factors(a=[1, 2], b=["x", "y"], c=[10, 20]), design(), [["a", "c"]])
    assert [tuple(p.values()) for p in made] == [
        (1, "x", 10), (1, "y", 10), (2, "x", 20), (2, "y", 20),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("lockstep", "says"),
    [
        ([["a", "b"]], "different numbers of values: a has 2, b has 3"),
        ([["a", "d"]], "'d' is no factor"),
        ([["a", "c"], ["c", "b"]], "'c' is in two groups"),
        ([["a", "a"]], "'a' is in two groups"),
    ],
)
def test_a_lockstep_that_does_not_fit_is_refused(lockstep: list[list[str]], says: str) -> None:
    with pytest.raises(InputError, match=says):
        points(factors(a=[1, 2], b=[1, 2, 3], c=[1, 2]), design(), lockstep)


def test_constraints_leave_points_out_and_keep_the_order() -> None:
    varied = factors(cpus=[1, 2, 4], vcpus=[1, 2, 4])
    rule = parse_constraint("cpus <= vcpus", varied)
    assert [tuple(p.values()) for p in points(varied, design(), (), [rule])] == [
        (1, 1), (1, 2), (1, 4), (2, 2), (2, 4), (4, 4),
    ]  # fmt: skip
    with pytest.raises(InputError, match=r"constraints: \['cpus > 9'\] leave no point"):
        points(varied, design(), (), [parse_constraint("cpus > 9", varied)])


def test_a_grid_that_is_surely_a_slip_is_refused() -> None:
    many = {name: [0, 1000, 101, "linear"] for name in "abc"}
    with pytest.raises(InputError, match="make 1,030,301 points, and 1,000,000 is the most"):
        points(factors(**many), design())


def test_a_grid_needs_to_know_how_many() -> None:
    with pytest.raises(InputError, match=r"factors\.a: .*does not say how many"):
        points(factors(a=["1 us", "1 ms", "log"]), design())


@pytest.mark.parametrize(("kind", "n"), [("latin-hypercube", 10), ("sobol", 16)])
def test_each_slice_of_each_range_is_visited_once(kind: str, n: int) -> None:
    varied = factors(a=["0 ps", "1 s", "linear"], b=[1, 2**20, "log"])
    made = points(varied, design(kind=kind, points=n))
    assert sorted(int(parse_time(p["a"]) / 1e12 * n) for p in made) == list(range(n))
    names = factors(c=[f"n{number}" for number in range(n)])
    assert {p["c"] for p in points(names, design(kind=kind, points=n))} == set(names["c"].values)


@pytest.mark.parametrize("kind", ["latin-hypercube", "sobol"])
def test_a_sampled_design_repeats_itself_and_another_seed_does_not(kind: str) -> None:
    varied = factors(a=[0.0, 1.0, "linear"], b=[0.0, 1.0, "linear"])
    one, same, other = (
        points(varied, design(kind=kind, points=8, seed=seed)) for seed in (1, 1, 2)
    )
    assert one == same != other


def test_lockstep_holds_in_a_sampled_design() -> None:
    varied = factors(a=[0.0, 1.0, "linear"], b=[10.0, 20.0, "linear"], c=[0.0, 1.0, "linear"])
    made = points(varied, design(kind="latin-hypercube", points=6), [["a", "b"]])
    assert all(p["b"] == pytest.approx(10 + 10 * p["a"]) for p in made)
    assert any(p["c"] != p["a"] for p in made)


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"kind": "sobol"}, "design.points: does not say how many points"),
        ({"kind": "latin-hypercube"}, "design.points: does not say how many points"),
        ({"kind": "sobol", "points": 100}, "100 is no power of 2.*take 128"),
    ],
)
def test_a_sampled_design_that_does_not_fit_is_refused(keys: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        points(factors(a=[1, 2, "linear"]), design(**keys))
