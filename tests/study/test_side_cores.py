"""What a side core saves, and how long requests wait for it: simulated beside theory."""

from __future__ import annotations

import pytest

from vmexit_sim.study.side_cores import exit_rates, polled, requests
from vmexit_sim.units import MICROSECOND as US

GUEST = requests(vcpus=1, rate=45_000, service=2 * US, number=6_000)


def test_kicks_vanish_with_a_side_core_while_injections_and_their_ends_remain() -> None:
    kicked = exit_rates("kicks", "kvm-2017", GUEST, replications=3)
    assert all(rate.value > 10_000 for rate in kicked.rates)
    assert kicked.total.low > 100_000
    assert kicked.busy.value == 0
    polling = exit_rates("side core", "kvm-2017", GUEST, replications=3)
    assert polling.kicks.value == 0
    assert polling.ends.value > 10_000
    assert polling.injections.value == pytest.approx(kicked.injections.value, rel=0.02)


def test_with_posted_interrupts_too_no_exit_is_left_and_the_core_is_fully_busy() -> None:
    posted = exit_rates("side core, posted", "kvm-2017", GUEST, replications=3)
    assert all(rate.value == 0 for rate in posted.rates)
    assert posted.busy.value == 1
    assert posted.at_work.value == pytest.approx(45_000 * 2e-6, rel=0.05)


@pytest.mark.parametrize(("queues", "look"), [(1, US), (4, US), (8, US // 10), (12, US)])
def test_the_wait_for_a_polling_core_and_its_cycle_are_those_of_the_polling_model(
    queues: int, look: int
) -> None:
    found = polled(queues, 30_000, 2 * US, look, number=40_000, replications=4)
    for estimate, exact in (
        (found.wait, found.exact_wait), (found.cycle, found.exact_cycle),
    ):  # fmt: skip
        # Four replications: three times the half-width is far beyond 99.9 %.
        assert abs(estimate.value - exact) <= 3 * estimate.half_width
        assert estimate.value == pytest.approx(exact, rel=0.06)
