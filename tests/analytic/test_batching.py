"""When batching pays: known digits, hand arithmetic, and the simulator's own answer."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

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


def test_the_break_even_falls_to_the_known_forms_where_a_batch_costs_one_exit() -> None:
    for k in (2, 4, 8):
        assert analytic.waiting_break_even(1.8, 1.8 / k, k) == pytest.approx(k / 3.6)
        assert analytic.effect_break_even(1.8, 1.8, k) == pytest.approx(
            analytic.latency_break_even(k) / 1.8
        )


@given(st.floats(0.1, 10), st.floats(0, 0.99), st.integers(2, 64))
def test_at_the_waiting_break_even_both_cost_alike(single: float, share: float, k: int) -> None:
    rate = analytic.waiting_break_even(single, single * share, k)
    assert rate is not None
    assert analytic.batched_burden(1 / rate, k, single * share) == pytest.approx(single)


@given(st.floats(0.1, 10), st.floats(0.02, 0.9), st.floats(0, 1), st.integers(2, 12))
def test_at_the_effect_break_even_both_take_effect_alike(
    single: float, share: float, done: float, k: int
) -> None:
    batch = share * k * single
    dones = single * done, batch * done
    rate = analytic.effect_break_even(single, batch, k, single_done=dones[0], batch_done=dones[1])
    assert rate is not None
    assert 0 < rate * single < 1
    one = analytic.single_effect(rate, single, dones[0])
    assert analytic.batched_effect(rate, k, batch, dones[1]) == pytest.approx(one, rel=1e-4)


def test_batches_that_save_nothing_never_pay() -> None:
    assert analytic.waiting_break_even(1.0, 1.0, 4) is None
    assert analytic.effect_break_even(1.0, 4.0, 4) is None
    with pytest.raises(ValueError, match="nothing"):
        analytic.batching_pays_from(0.0, 4)


def test_what_saturates_has_no_mean_effect() -> None:
    assert analytic.single_effect(1.0, 1.0, 1.0) == math.inf
    assert analytic.batched_effect(4.0, 4, 1.0, 1.0) == math.inf
    assert analytic.batched_effect(3.9, 4, 1.0, 1.0) < math.inf


@pytest.mark.parametrize("k", [1, 0, -3])
def test_fewer_than_two_are_no_batch(k: int) -> None:
    with pytest.raises(ValueError, match="gathers nothing"):
        analytic.waiting_break_even(1.0, 0.5, k)
    with pytest.raises(ValueError, match="gathers nothing"):
        analytic.effect_break_even(1.0, 0.5, k)
