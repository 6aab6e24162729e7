"""Interrupts held back: what that spares, and what it costs a guest that sleeps meanwhile."""

from __future__ import annotations

import pytest

from vmexit_sim.study.coalescing import WAYS, Coalesced, coalesced

EACH, SHORT, LONG, RATIO = WAYS


def of(way: str, in_flight: int) -> Coalesced:
    return coalesced(way, in_flight, platform="kvm-2017", think="1 us", service="4 us",
                     number=3_000, replications=3)  # fmt: skip


def test_below_four_in_flight_the_ratio_holds_nothing_back() -> None:
    for in_flight in (1, 3):
        assert of(RATIO, in_flight) == of(EACH, in_flight)


def test_a_timer_keeps_a_guest_with_few_requests_in_flight_waiting() -> None:
    rates = [of(way, 2).rate for way in (EACH, SHORT, LONG)]
    assert rates[0].low > 2 * rates[1].high
    assert rates[1].low > 1.5 * rates[2].high


def test_with_many_in_flight_all_ways_spare_interrupts_and_none_costs_throughput() -> None:
    each = of(EACH, 32)
    for way in (SHORT, LONG, RATIO):
        found = of(way, 32)
        assert found.interrupts.high < 0.6 * each.interrupts.low
        assert found.exits.high < each.exits.low
        assert found.rate.value == pytest.approx(each.rate.value, rel=0.01)
