"""Open queues: against recursions and Markov chains solved here, known digits, and limits."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import gammainc, gammaincc

from vmexit_sim import analytic
from vmexit_sim.statistics import mean

Floats = npt.NDArray[np.float64]

LOADS = st.floats(0.01, 0.99)
SERVICES = st.floats(1e-6, 1e6)


def stationary(rates: Floats) -> Floats:
    """The long-run distribution of a Markov chain, from its rates [from, to], the diagonal 0."""
    generator = rates - np.diag(rates.sum(axis=1))
    equations = np.vstack([generator.T[1:], np.ones(len(rates))])  # one balance follows from all
    return np.linalg.solve(equations, np.eye(len(rates))[-1])


def mean_wait(rates: Floats, servers: int, arrivals: float) -> float:
    """Mean wait of an item where state n has n items, by Little's law."""
    waiting = np.maximum(np.arange(len(rates)) - servers, 0)
    return float(stationary(rates) @ waiting) / arrivals


def lindley(gaps: Floats, services: Floats) -> Floats:
    """Waits of customers in turn, by W' = max(0, W + S - A): a walk above its lowest point."""
    walk = np.concatenate([[0.0], np.cumsum(services[:-1] - gaps[1:])])
    return walk - np.minimum.accumulate(walk)


def hyperexponential(rng: np.random.Generator, n: int) -> Floats:
    """Mean 1: of a tenth of the customers 5.5, of the others 0.5."""
    return rng.standard_exponential(n) * np.where(rng.random(n) < 0.1, 5.5, 0.5)


@pytest.mark.parametrize(
    ("service", "second_moment"),
    [
        (lambda rng, n: np.ones(n), 1.0),
        (lambda rng, n: 2 * rng.random(n), 4 / 3),
        (lambda rng, n: rng.standard_gamma(4, n) / 4, 1.25),
        (lambda rng, n: rng.standard_exponential(n), 2.0),
        (hyperexponential, 2 * (0.1 * 5.5**2 + 0.9 * 0.5**2)),
    ],
)
def test_m_g_1_waits_as_lindleys_recursion_does(
    service: Callable[[np.random.Generator, int], Floats], second_moment: float
) -> None:
    n, load = 60_000, 0.6
    means = []
    for replication in range(20):
        rng = np.random.default_rng((11, replication))
        means.append(float(lindley(rng.exponential(1 / load, n), service(rng, n))[1000:].mean()))
    estimate = mean(means, confidence=0.999, unit="1")
    assert estimate.holds(analytic.mg1_wait(load, 1.0, second_moment))
    assert estimate.half_width < 0.06 * estimate.value


@pytest.mark.parametrize("servers", [1, 2, 4, 9])
@pytest.mark.parametrize("load", [0.1, 0.6, 0.9])
def test_m_m_c_waits_as_the_birth_death_chain_does(servers: int, load: float) -> None:
    states = 500
    rates = np.diag(np.full(states - 1, load * servers / 3.0), 1)
    rates += np.diag(np.minimum(np.arange(1, states), servers) / 3.0, -1)
    exact = mean_wait(rates, servers, load * servers / 3.0)
    assert analytic.mmc_wait(load * servers / 3.0, 3.0, servers) == pytest.approx(exact, rel=1e-9)


@settings(max_examples=30)
@given(
    weights=st.lists(st.floats(0.05, 1), min_size=1, max_size=5),
    load=st.floats(0.05, 0.8),
)
def test_bulk_arrivals_wait_as_their_markov_chain_does(weights: list[float], load: float) -> None:
    share = np.array(weights) / sum(weights)
    size = np.arange(1, len(share) + 1)
    batch, second = float(share @ size), float(share @ size**2)
    rate, states = load / batch, 300
    rates = np.diag(np.ones(states - 1), -1)
    for items, part in zip(size, share, strict=True):
        rates += np.diag(np.full(states - items, rate * part), items)
    exact = mean_wait(rates, 1, load)
    assert analytic.bulk_mm1_wait(rate, 1.0, batch, second) == pytest.approx(exact, rel=1e-6)


def spitzer(rate: float, k: int) -> float:
    """Mean wait of E_k/D/1, service 1: the sum over n of E[(n - G)+]/n, G gamma of nk phases."""
    n = np.arange(1, 20_000)
    a, c = n * k, n * rate
    return float(np.sum((n * gammainc(a, c) - a / rate * gammainc(a + 1, c)) / n))


@pytest.mark.parametrize("k", [1, 2, 3, 4, 16])
@pytest.mark.parametrize("load", [0.05, 0.5, 0.8, 0.93])
def test_erlang_arrivals_wait_as_spitzers_identity_has_it(k: int, load: float) -> None:
    exact = spitzer(load * k, k)
    assert analytic.erlang_d1_wait(load * k, 1.0, k) == pytest.approx(exact, rel=1e-8, abs=1e-13)


@pytest.mark.parametrize("load", [0.2, 0.63, 0.9, 0.999, 1 - 1e-6])
def test_erlang_arrivals_of_one_phase_are_poisson_up_to_any_load(load: float) -> None:
    exact = analytic.md1_wait(load, 1.0)
    assert analytic.erlang_d1_wait(load, 1.0, 1) == pytest.approx(exact, rel=1e-9)


@pytest.mark.parametrize("k", [2, 4, 16])
def test_erlang_arrivals_in_heavy_traffic_wait_in_proportion_to_their_variance(k: int) -> None:
    # Kingman: the gap's variance, 1/k of Poisson's, times the load by twice what is left of it.
    wait = analytic.erlang_d1_wait((1 - 1e-6) * k, 1.0, k)
    assert wait == pytest.approx(1 / k / 2e-6, rel=1e-4)


def test_more_regular_arrivals_wait_less() -> None:
    waits = [analytic.erlang_d1_wait(0.8 * k, 1.0, k) for k in (1, 2, 4, 8)]
    assert waits == sorted(waits, reverse=True)


@given(load=st.floats(0.05, 0.9), q=st.floats(0.0, 0.999))
def test_m_m_1_quantiles_are_those_of_as_many_services_as_were_found(load: float, q: float) -> None:
    # Who finds n items there leaves after n + 1 services, an Erlang time.
    time = analytic.mm1_quantile(load, 1.0, q)
    found = np.arange(400)
    beyond = float(np.sum((1 - load) * load**found * gammaincc(found + 1, time)))
    assert beyond == pytest.approx(1 - q, abs=1e-9)


def test_m_m_1_quantiles_integrate_to_the_mean() -> None:
    q = (np.arange(20_000) + 0.5) / 20_000
    quantiles = [analytic.mm1_quantile(0.35, 2.0, float(each)) for each in q]
    assert np.mean(quantiles) == pytest.approx(2 + analytic.mm1_wait(0.35, 2.0), rel=1e-3)


@given(load=LOADS, service=SERVICES)
def test_one_server_is_one_server_whatever_it_is_called(load: float, service: float) -> None:
    rate = load / service
    exact = pytest.approx(analytic.mm1_wait(rate, service), rel=1e-9)
    assert analytic.mmc_wait(rate, service, 1) == exact
    assert analytic.mg1_wait(rate, service, 2 * service**2) == exact
    assert analytic.bulk_mm1_wait(rate, service, 1, 1) == exact
    assert 2 * analytic.md1_wait(rate, service) == exact
    assert 2 * analytic.mg1_wait(rate, service, service**2) == exact


WAITS: dict[str, Callable[[float, float], float]] = {
    "M/M/1": analytic.mm1_wait,
    "M/M/1, nine in ten": lambda rate, service: analytic.mm1_quantile(rate, service, 0.9),
    "M/D/1": analytic.md1_wait,
    "M/G/1": lambda rate, service: analytic.mg1_wait(rate, service, 7 * service**2),
    "M/M/4": lambda rate, service: analytic.mmc_wait(4 * rate, service, 4),
    "M^[3]/M/1": lambda rate, service: analytic.bulk_mm1_wait(rate / 3, service, 3, 9),
    "E_2/D/1": lambda rate, service: analytic.erlang_d1_wait(2 * rate, service, 2),
    "polling": lambda rate, service: analytic.polling_wait(2, rate / 2, service, 0.1 * service),
    "a round of polling": lambda rate, service: analytic.polling_cycle(2, rate / 2, service, 1),
}


@pytest.mark.parametrize("name", WAITS)
@given(loads=st.lists(LOADS, min_size=2, max_size=2, unique=True))
def test_a_wait_grows_with_the_load(name: str, loads: list[float]) -> None:
    less, more = (WAITS[name](load, 1.0) for load in sorted(loads))
    assert 0 < less <= more * (1 + 1e-9)


@pytest.mark.parametrize("name", [name for name in WAITS if name != "a round of polling"])
@given(load=LOADS, unit=SERVICES)
def test_a_wait_scales_with_the_unit_of_time(name: str, load: float, unit: float) -> None:
    scaled = WAITS[name](load / unit, unit)
    assert scaled == pytest.approx(unit * WAITS[name](load, 1.0), rel=1e-6)


@pytest.mark.parametrize("name", WAITS)
@pytest.mark.parametrize("load", [-0.5, 0.0, 1.0, 1.5, math.nan])
def test_an_unstable_queue_is_refused(name: str, load: float) -> None:
    with pytest.raises(ValueError, match="not stable"):
        WAITS[name](load, 1.0)


@given(load=LOADS, servers=st.integers(1, 40))
def test_a_server_more_at_the_same_load_waits_less(load: float, servers: int) -> None:
    fewer, more = (analytic.mmc_wait(load * c, 1.0, c) for c in (servers, servers + 1))
    assert more < fewer


@given(load=LOADS, size=st.integers(1, 50))
def test_items_that_come_together_wait_for_each_other_at_least(load: float, size: int) -> None:
    together = analytic.bulk_mm1_wait(load / size, 1.0, size, size**2)
    assert together >= analytic.mm1_wait(load, 1.0) + (size - 1) / 2


@pytest.mark.parametrize(
    ("call", "problem"),
    [
        (lambda: analytic.mmc_wait(0.5, 1.0, 0), "0 servers"),
        (lambda: analytic.mg1_wait(0.5, 1.0, 0.9), "below the mean's square"),
        (lambda: analytic.mg1_wait(0.5, 1.0, math.nan), "below the mean's square"),
        (lambda: analytic.bulk_mm1_wait(0.5, 1.0, 1.5, 2.0), "below the mean's square"),
        (lambda: analytic.bulk_mm1_wait(0.5, 1.0, 0.5, 2.0), "an item at least"),
        (lambda: analytic.erlang_d1_wait(0.5, 1.0, 0), "an arrival at least"),
        (lambda: analytic.mm1_quantile(0.5, 1.0, 1.0), "no 1-quantile"),
        (lambda: analytic.mm1_quantile(0.5, 1.0, -0.1), "no -0.1-quantile"),
    ],
)
def test_what_cannot_be_is_refused(call: Callable[[], float], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        call()


def test_one_polled_queue_waits_as_in_md1_with_vacations() -> None:
    assert analytic.polling_wait(1, 0.3, 2.0, 0.5) == pytest.approx(
        analytic.md1_wait(0.3, 2.0) + 0.25
    )


def test_a_polling_core_takes_longer_around_the_more_it_works() -> None:
    assert analytic.polling_cycle(4, 1e-9, 1.0, 2.0) == pytest.approx(8)
    assert analytic.polling_cycle(4, 0.2, 1.0, 2.0) == pytest.approx(40)
