"""The thread's central claim: simulated break-evens stand where theory puts them."""

from __future__ import annotations

import math

import pytest

from vmexit_sim.errors import InputError
from vmexit_sim.study.break_even import (
    EFFECT,
    EXIT,
    NOBODY_WAITS,
    WAITING,
    break_even,
    cost,
    crossover,
    curves,
)

SEED = 2022


@pytest.mark.parametrize("k", [2, 4, 8])
def test_batching_pays_from_k_over_twice_the_exit_cost(k: int) -> None:
    found = break_even(WAITING, k, accesses=6_000, replications=3, seed=SEED)
    assert found.exact == k / 2
    assert abs(found.error) < 0.03


@pytest.mark.parametrize(("k", "load"), [(2, 0.63), (4, 0.79)])
def test_effect_latency_breaks_even_only_near_saturation(k: int, load: float) -> None:
    found = break_even(EFFECT, k, accesses=8_000, replications=3, seed=SEED)
    assert found.exact == pytest.approx(load, abs=0.005)
    assert abs(found.error) < 0.03


def test_no_break_even_where_nobody_waits() -> None:
    found = break_even(NOBODY_WAITS, 4, accesses=400, replications=1)
    assert found.exact is None
    assert found.simulated is None
    assert math.isnan(found.error)


def test_what_nobody_waits_for_costs_a_kth_of_an_exit_at_every_rate() -> None:
    for load in (0.1, 1.0, 10.0):
        assert cost(NOBODY_WAITS, 1, load, accesses=400) == EXIT
        assert cost(NOBODY_WAITS, 8, load, accesses=400) == EXIT / 8


def test_a_single_call_costs_its_exit_whatever_the_rate() -> None:
    assert cost(WAITING, 1, 0.5, accesses=100) == cost(WAITING, 1, 5.0, accesses=100) == EXIT


def test_spread_accesses_lose_by_batching_and_dense_ones_win() -> None:
    below, above = (cost(WAITING, 4, load, accesses=2_000) for load in (0.5, 8.0))
    assert below > EXIT > above


def test_equal_seeds_find_the_same_crossover() -> None:
    one, again = (crossover(WAITING, 2, accesses=500, seed=3) for _ in range(2))
    other = crossover(WAITING, 2, accesses=500, seed=4)
    assert one == again
    assert one != other


def test_curves_give_every_batch_at_every_load() -> None:
    points = list(curves(WAITING, (1, 4), (0.5, 2.0), accesses=200, replications=2))
    assert [(p.batch, p.load) for p in points] == [(1, 0.5), (1, 2.0), (4, 0.5), (4, 2.0)]
    assert all(p.cost.n == 2 for p in points)


def test_a_batch_of_one_is_refused() -> None:
    with pytest.raises(InputError, match="no batch"):
        break_even(WAITING, 1, accesses=100, replications=1)
