"""Exact results: known digits, limits, and what they must refuse."""

from __future__ import annotations

import math

import pytest

from vmexit_sim import analytic
from vmexit_sim.configuration import checked
from vmexit_sim.guest.generators import Spread
from vmexit_sim.study.break_even import EFFECT, cost


def test_md1_waits_half_as_long_as_mm1() -> None:
    for load in (0.1, 0.5, 0.9):
        assert analytic.md1_wait(load, 1.0) == pytest.approx(analytic.mm1_wait(load, 1.0) / 2)


def test_waits_scale_with_the_unit_of_time() -> None:
    assert analytic.md1_wait(0.5e-6, 1e6) == pytest.approx(1e6 * analytic.md1_wait(0.5, 1.0))
    assert analytic.erlang_d1_wait(1.2e-6, 1e6, 2) == pytest.approx(
        1e6 * analytic.erlang_d1_wait(1.2, 1.0, 2)
    )


def test_erlang_arrivals_of_one_phase_are_poisson() -> None:
    for load in (0.2, 0.63, 0.9):
        assert analytic.erlang_d1_wait(load, 1.0, 1) == pytest.approx(
            analytic.md1_wait(load, 1.0), rel=1e-9
        )


def test_more_regular_arrivals_wait_less() -> None:
    waits = [analytic.erlang_d1_wait(0.8 * k, 1.0, k) for k in (1, 2, 4, 8)]
    assert waits == sorted(waits, reverse=True)


@pytest.mark.parametrize("load", [0.0, 1.0, 1.5])
def test_an_unstable_queue_is_refused(load: float) -> None:
    for wait in (analytic.md1_wait, analytic.mm1_wait):
        with pytest.raises(ValueError, match="stable"):
            wait(load, 1.0)


def test_latency_breaks_even_at_the_known_loads() -> None:
    assert analytic.latency_break_even(2) == pytest.approx(0.63, abs=0.005)
    assert analytic.latency_break_even(4) == pytest.approx(0.79, abs=0.005)


def test_larger_batches_break_even_at_higher_rates() -> None:
    loads = [analytic.latency_break_even(k) for k in (2, 4, 8, 16)]
    assert loads == sorted(loads)
    assert loads[-1] < 1


def test_batching_pays_from_k_accesses_in_two_exits_on() -> None:
    assert analytic.batching_pays_from(1.8e-6, 4) == pytest.approx(1.1e6, rel=0.02)
    rate, k = analytic.batching_pays_from(1.0, 8), 8
    assert 1 / k + analytic.fill_wait(rate, k) == pytest.approx(1 / 1 + 0)


def test_two_spinners_limits() -> None:
    assert analytic.two_spinners(1e-9, 1.0) == pytest.approx(1.0)  # always one waits
    assert analytic.two_spinners(1e9, 1.0) == pytest.approx(2e-9, rel=1e-3)  # never


def test_one_customer_needs_no_repairman_theory() -> None:
    assert analytic.repairman(1, 3.0, 1.0) == pytest.approx(0.25)
    assert analytic.repairman(50, 3.0, 1.0) == pytest.approx(1.0, rel=1e-6)


@pytest.mark.parametrize(("batch", "load"), [(1, 0.5), (2, 0.8), (4, 0.79)])
def test_simulated_effect_latency_is_theory_s(batch: int, load: float) -> None:
    fill = analytic.fill_wait(load, batch)
    exact = analytic.erlang_d1_wait(load, 1.0, batch) + fill + 1
    simulated = cost(EFFECT, batch, load, accesses=20_000, seed=7) / 1e6
    assert simulated == pytest.approx(exact, rel=0.03)


def test_mean_gap_of_a_generator_is_what_theory_is_given() -> None:
    stated = {"kind": "exponential", "mean": "1585411 ps"}
    guest = checked(Spread, {"kind": "spread", "operations": 1, "between": stated,
                             "space": "mmio", "read_share": 0.0})  # fmt: skip
    assert math.isclose(guest.between.mean_ps, 1e6 / analytic.latency_break_even(2), rel_tol=1e-5)


def test_one_polled_queue_waits_as_in_md1_with_vacations() -> None:
    assert analytic.polling_wait(1, 0.3, 2.0, 0.5) == pytest.approx(
        analytic.md1_wait(0.3, 2.0) + 0.25
    )


def test_a_polling_core_takes_longer_around_the_more_it_works() -> None:
    assert analytic.polling_cycle(4, 1e-9, 1.0, 2.0) == pytest.approx(8)
    assert analytic.polling_cycle(4, 0.2, 1.0, 2.0) == pytest.approx(40)
    with pytest.raises(ValueError, match="not stable"):
        analytic.polling_cycle(4, 0.25, 1.0, 2.0)


def test_a_producer_kicks_a_consumer_that_keeps_up_and_only_that() -> None:
    def pair(consume: float, wake_up: float = 0) -> analytic.Notified:
        return analytic.producer_consumer(2, consume, kick=1, signalled=0.5, wake_up=wake_up)

    assert pair(1) == (1 / 3, 1)
    assert pair(2.5) == (1 / 3, 1)  # slower than the guest alone, but not than guest and kick
    assert pair(2.6) == (1 / 2.6, None)
    assert pair(1.5, wake_up=2) == (3 / 7, 3)
    assert pair(2, wake_up=2) == (1 / 2, None)
