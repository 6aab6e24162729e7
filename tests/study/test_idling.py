"""Idling beside what was published for KVM's halt polling (aca6ff29c406)."""

from __future__ import annotations

import pytest

from vmexit_sim.hypervisor.platform import Platform, load_platform
from vmexit_sim.policy import load_policy
from vmexit_sim.study.idling import (
    ALWAYS,
    DYNAMIC,
    NEVER,
    ROUND_TRIP,
    Beside,
    beside_published,
    idling,
    ping_pong,
    ticks,
    untold,
)

ROUNDS, TICKS = 2_000, 200


@pytest.fixture(scope="module")
def host() -> Platform:
    return load_platform("kvm-2013", changes={"vcpu_wake_up": "7 us"})


@pytest.fixture(scope="module")
def found(host: Platform) -> dict[str, Beside]:
    return beside_published(host, ROUNDS, TICKS)


def test_what_was_set_to_published_numbers_gives_them_back(found: dict[str, Beside]) -> None:
    assert found[ALWAYS].round_trip == pytest.approx(ROUND_TRIP[ALWAYS], abs=1e-6)
    assert found[NEVER].c0 == pytest.approx(0.011, abs=1e-6)
    assert found[NEVER].round_trip == pytest.approx(ROUND_TRIP[NEVER], abs=1e-6)


def test_the_dynamic_window_is_nearly_as_fast_as_polling_always(found: dict[str, Beside]) -> None:
    assert found[DYNAMIC].round_trip == pytest.approx(26.7, rel=0.02)  # published; not an input
    assert found[DYNAMIC].round_trip - found[ALWAYS].round_trip < 0.02 * 7


def test_the_dynamic_window_costs_an_idle_guest_nearly_nothing(found: dict[str, Beside]) -> None:
    assert found[DYNAMIC].c0 == pytest.approx(0.012, abs=0.0015)  # published; not an input
    assert found[DYNAMIC].c0 == found[NEVER].c0


def test_polling_always_costs_its_window_in_every_tick(found: dict[str, Beside]) -> None:
    """Published: 4.6 to 14 % over runs; a window of 500 us in 4 ms is the most that it can be."""
    assert 0.046 <= found[ALWAYS].c0 <= 0.14
    assert found[ALWAYS].c0 - found[NEVER].c0 == pytest.approx(500 / 4_000, abs=1e-4)
    assert found[ALWAYS].c0_shipped - found[NEVER].c0 == pytest.approx(200 / 4_000, abs=1e-4)


def test_polling_in_the_guest_spares_the_halts_exit_too(found: dict[str, Beside]) -> None:
    guest = found["guest-halt-poll"].round_trip
    assert found["idle-poll"].round_trip < guest < found[ALWAYS].round_trip


@pytest.mark.parametrize("us", [1, 5, 10])
def test_polling_gains_what_waking_costs(us: int) -> None:
    host = load_platform("kvm-2013", changes={"vcpu_wake_up": f"{us} us"})
    guest = ping_pong(100, untold(host).wait)
    never, always = (idling(load_policy(name), host, guest).period for name in (NEVER, ALWAYS))
    assert never - always == us * 1e6


def test_the_idle_guest_ticks_at_250_hz(host: Platform) -> None:
    guest = ticks(50, untold(host).work)
    assert idling(load_policy(NEVER), host, guest).period == pytest.approx(4e9, rel=0.001)
