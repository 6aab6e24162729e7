"""When batching pays: known digits, hand arithmetic, and the simulator's own answer."""

from __future__ import annotations

import math

import pytest

from vmexit_sim import analytic
from vmexit_sim.configuration import checked
from vmexit_sim.guest.generators import Spread
from vmexit_sim.study.break_even import EFFECT, cost


def test_the_first_of_a_batch_waits_longest_and_the_last_not() -> None:
    # Of four, at one arrival every 2: 6, 4, 2 and 0.
    assert analytic.fill_wait(0.5, 4) == 3.0
    assert analytic.fill_wait(0.5, 1) == 0.0


def test_latency_breaks_even_at_the_known_loads() -> None:
    assert analytic.latency_break_even(2) == pytest.approx(0.63, abs=0.005)
    assert analytic.latency_break_even(4) == pytest.approx(0.79, abs=0.005)


def test_at_the_break_even_both_wait_alike() -> None:
    for k in (2, 3, 8):
        load = analytic.latency_break_even(k)
        batched = analytic.erlang_d1_wait(load, 1.0, k) + analytic.fill_wait(load, k)
        assert batched == pytest.approx(analytic.md1_wait(load, 1.0), rel=1e-9)


def test_larger_batches_break_even_at_higher_rates() -> None:
    loads = [analytic.latency_break_even(k) for k in (2, 4, 8, 16)]
    assert loads == sorted(loads)
    assert loads[-1] < 1


def test_batching_pays_from_k_accesses_in_two_exits_on() -> None:
    assert analytic.batching_pays_from(1.8e-6, 4) == pytest.approx(1.1e6, rel=0.02)
    rate, k = analytic.batching_pays_from(1.0, 8), 8
    assert 1 / k + analytic.fill_wait(rate, k) == pytest.approx(1.0)


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
