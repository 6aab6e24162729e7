"""Closed networks: against Markov chains solved here, closed forms, and each other."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmexit_sim import analytic
from vmexit_sim.statistics import mean

TIMES = st.floats(0.01, 100)
DEMANDS = st.lists(TIMES, min_size=1, max_size=4)
CUSTOMERS = st.integers(1, 40)


def tandem(demands: tuple[float, ...], think: float, n: int) -> tuple[float, list[float]]:
    """Throughput and mean numbers at exponential centres in a row, from the Markov chain."""
    places = (think, *demands)
    states = [state for state in product(range(n + 1), repeat=len(places)) if sum(state) == n]
    number = {state: row for row, state in enumerate(states)}
    generator = np.zeros((len(states), len(states)))
    for state, row in number.items():
        for place, time in enumerate(places):
            if state[place]:
                after = list(state)
                after[place] -= 1
                after[(place + 1) % len(places)] += 1
                # All think at the same time, but a centre serves one.
                generator[row, number[tuple(after)]] = (1 if place else state[0]) / time
    generator -= np.diag(generator.sum(axis=1))
    equations = np.vstack([generator.T[1:], np.ones(len(states))])
    share = np.linalg.solve(equations, np.eye(len(states))[-1])
    held = share @ np.array(states)
    return float(held[0] / think), [float(each) for each in held[1:]]


@pytest.mark.parametrize("n", [1, 2, 5, 8])
@pytest.mark.parametrize("demands", [(1.0,), (1.0, 1.0), (3.0, 0.5), (0.7, 2.0, 1.1)])
@pytest.mark.parametrize("think", [0.5, 8.0])
def test_mean_values_are_those_of_the_markov_chain(
    demands: tuple[float, ...], think: float, n: int
) -> None:
    throughput, queues = tandem(demands, think, n)
    result = analytic.mva(demands, think, n)
    assert result.throughput == pytest.approx(throughput, rel=1e-9)
    assert result.queues == pytest.approx(queues, rel=1e-9)
    assert result.utilisations == pytest.approx([throughput * demand for demand in demands])


@given(think=TIMES, service=TIMES, n=CUSTOMERS)
def test_one_centre_is_the_machine_repairman(think: float, service: float, n: int) -> None:
    result = analytic.mva([service], think, n)
    assert result.throughput == pytest.approx(analytic.repairman(n, think, service), rel=1e-9)


@given(demand=TIMES, centres=st.integers(1, 10), n=CUSTOMERS)
def test_equal_centres_without_thinking_share_the_customers_evenly(
    demand: float, centres: int, n: int
) -> None:
    result = analytic.mva([demand] * centres, 0.0, n)
    assert result.throughput == pytest.approx(n / (demand * (n + centres - 1)))
    assert result.queues == pytest.approx([n / centres] * centres)


@given(demands=DEMANDS, think=st.one_of(st.just(0.0), TIMES), n=CUSTOMERS)
def test_littles_law_counts_every_customer_once(demands: list[float], think: float, n: int) -> None:
    result = analytic.mva(demands, think, n)
    assert sum(result.queues) + result.throughput * think == pytest.approx(n)
    assert result.throughput * result.response == pytest.approx(sum(result.queues))
    for demand, queue, busy in zip(demands, result.queues, result.utilisations, strict=True):
        assert busy == pytest.approx(analytic.utilisation(result.throughput, demand))
        assert busy <= queue * (1 + 1e-9)


@given(demands=DEMANDS, think=st.one_of(st.just(0.0), TIMES), n=CUSTOMERS)
def test_bounds_hold_what_mean_value_analysis_finds(
    demands: list[float], think: float, n: int
) -> None:
    result, bounds = analytic.mva(demands, think, n), analytic.asymptotic_bounds(demands, think, n)
    slack = 1 + 1e-9
    assert bounds.throughput_low <= result.throughput * slack
    assert result.throughput <= bounds.throughput_high * slack
    assert bounds.response_low <= result.response * slack
    assert result.response <= bounds.response_high * slack


@given(demands=DEMANDS, think=TIMES)
def test_bounds_meet_where_nobody_waits(demands: list[float], think: float) -> None:
    alone = analytic.asymptotic_bounds(demands, think, 1)
    assert alone.throughput_low == pytest.approx(alone.throughput_high)
    assert alone.response_low == pytest.approx(alone.response_high)


def test_where_everybody_waits_the_busiest_centre_never_rests() -> None:
    many = analytic.mva([3.0, 1.0, 2.0], 10.0, 200)
    bounds = analytic.asymptotic_bounds([3.0, 1.0, 2.0], 10.0, 200)
    assert many.throughput == pytest.approx(bounds.throughput_high, rel=1e-9)
    assert many.response == pytest.approx(bounds.response_low, rel=1e-9)
    assert many.utilisations == pytest.approx([1, 1 / 3, 2 / 3])


def test_a_queue_in_lockstep_reaches_both_bounds() -> None:
    # Constant times, no thinking, equal centres, as many customers as centres: nobody ever waits.
    best = analytic.asymptotic_bounds([2.0, 2.0, 2.0], 0.0, 3)
    assert (best.throughput_high, best.response_low) == (0.5, 6.0)
    # And all of them behind each other at a single centre.
    worst = analytic.asymptotic_bounds([6.0], 0.0, 3)
    assert worst.throughput_low == worst.throughput_high == pytest.approx(1 / 6)
    assert worst.response_low == worst.response_high == 18.0


@given(demands=DEMANDS, think=TIMES, n=CUSTOMERS)
def test_a_customer_more_brings_throughput_and_takes_time(
    demands: list[float], think: float, n: int
) -> None:
    fewer, more = (analytic.mva(demands, think, customers) for customers in (n, n + 1))
    assert more.throughput > fewer.throughput * (1 - 1e-12)
    assert more.response > fewer.response * (1 - 1e-12)


def test_a_centre_that_nobody_visits_changes_nothing() -> None:
    one, two = analytic.mva([1.0], 3.0, 4), analytic.mva([1.0, 0.0], 3.0, 4)
    assert (one.throughput, one.response) == (two.throughput, two.response)
    assert two.queues[1] == two.utilisations[1] == 0


def test_those_who_only_think_do_not_wait() -> None:
    result = analytic.mva([], 4.0, 8)
    assert (result.throughput, result.response) == (2.0, 0.0)
    assert analytic.asymptotic_bounds([], 4.0, 8).throughput_high == 2.0


@pytest.mark.parametrize("function", [analytic.mva, analytic.asymptotic_bounds])
@pytest.mark.parametrize(
    ("demands", "think", "n", "problem"),
    [
        ([1.0], 1.0, 0, "0 customers"),
        ([1.0, -1.0], 1.0, 2, "0 or more"),
        ([1.0], -1.0, 2, "0 or more"),
        ([1.0], float("inf"), 2, "finite"),
        ([0.0], 0.0, 2, "no throughput"),
    ],
)
def test_an_impossible_network_is_refused(
    function: Callable[..., object], demands: list[float], think: float, n: int, problem: str
) -> None:
    with pytest.raises(ValueError, match=problem):
        function(demands, think, n)


def test_no_centre_is_busier_than_always() -> None:
    assert analytic.utilisation(0.5, 3.0, servers=2) == 0.75
    assert analytic.utilisation(1 / 3, 3.0) == 1.0
    with pytest.raises(ValueError, match="not possible"):
        analytic.utilisation(0.5, 3.0)


def test_one_customer_needs_no_repairman_theory() -> None:
    assert analytic.repairman(1, 3.0, 1.0) == pytest.approx(0.25)
    assert analytic.repairman(50, 3.0, 1.0) == pytest.approx(1.0, rel=1e-6)


def test_two_spinners_limits() -> None:
    assert analytic.two_spinners(1e-9, 1.0) == pytest.approx(1.0)  # always one waits
    assert analytic.two_spinners(1e9, 1.0) == pytest.approx(2e-9, rel=1e-3)  # never


@pytest.mark.parametrize("think", [0.5, 3.0])
def test_two_spinners_take_turns_as_their_clocks_say(think: float) -> None:
    rates = []
    for replication in range(10):
        draws = iter(np.random.default_rng((5, replication)).exponential(think, 4002).tolist())
        ready, free = [next(draws), next(draws)], 0.0
        for _ in range(4000):
            first = ready.index(min(ready))
            free = max(free, ready[first]) + 1.0
            ready[first] = free + next(draws)
        rates.append(4000 / free)
    estimate = mean(rates, confidence=0.999, unit="1")
    assert estimate.holds(analytic.two_spinners(think, 1.0))
    assert estimate.half_width < 0.03 * estimate.value
