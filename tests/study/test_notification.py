"""What a virtqueue's notifications cost: simulated beside the exact deterministic result."""

from __future__ import annotations

import pytest

from vmexit_sim import statistics
from vmexit_sim.configuration import checked
from vmexit_sim.guest.generators import Spread
from vmexit_sim.hypervisor.platform import load_platform
from vmexit_sim.mechanisms.virtqueue import Virtqueue
from vmexit_sim.policy import Policy, Rule
from vmexit_sim.study.notification import Pair, by_speed
from vmexit_sim.study.simulate import simulate
from vmexit_sim.units import MICROSECOND as US


@pytest.mark.parametrize("wake_up", [0, 1 * US, 5 * US])
def test_simulated_rates_and_kicks_are_exact(wake_up: int) -> None:
    shares = [0.1, 0.3, 0.55, 0.8, 0.95, 0.999, 1.0, 1.02, 1.3]
    for platform in ("kvm-2017", "kvm-nested-2019"):
        for point in by_speed(platform, produce=3 * US, wake_up=wake_up, shares=shares):
            assert point.kicks[0] == point.kicks[1]
            assert point.rate[1] == pytest.approx(point.rate[0], rel=1e-9)


def test_a_back_end_faster_than_the_guest_gets_less_done_the_faster_it_is() -> None:
    shares = [1.0, 0.9, 0.8, 0.6, 0.4, 0.2]
    points = by_speed("kvm-2017", produce=2 * US, wake_up=5 * US, shares=shares)
    rates = [point.rate[1] for point in points]
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] < rates[0]
    kicks = [point.kicks[1] for point in points]
    assert kicks == sorted(kicks)
    assert kicks[0] == 0


def test_a_slower_back_end_is_never_kicked_again() -> None:
    pair = Pair.on("kvm-2017", produce=2 * US, consume=3 * US, wake_up=5 * US)
    assert pair.simulated() == (pytest.approx(1e6 / 3), 0)


@pytest.mark.parametrize(("load", "wake_up"), [(0.2, 0), (0.6, 0), (0.9, 0), (0.6, 4)])
def test_random_requests_kick_as_often_as_they_find_the_back_end_asleep(
    load: float, wake_up: int
) -> None:
    # Where kicks cost nothing arrivals are Poisson, and a cycle from one kick to the next serves
    # (1 + rate x wake-up)/(1 - load) requests: M/G/1 with set-up.
    service = 2
    gap = round(service * US / load)
    guest = checked(Spread, {
        "kind": "spread", "operations": 40_000, "between": "0 s", "read_share": 0,
        "arrivals": {"kind": "exponential", "mean": f"{gap} ps"}, "space": "doorbell",
        "emulate": {"kind": "exponential", "mean": f"{service} us"},
    })  # fmt: skip
    rule = Rule(side="host", mechanism=Virtqueue(completions="none", depth=4096))
    platform = load_platform(
        "ideal", changes={"world_switch_out": "0 s", "thread_wake_up": f"{wake_up} us"}
    )
    policy = Policy(title="random", rules=[rule])
    found = statistics.mean(
        [simulate(policy, platform, guest, replication=n).summary.exits / 40_000 for n in range(5)],
        confidence=0.999,
    )
    assert found.holds((1 - load) / (1 + load / service * wake_up))
    assert found.half_width < 0.03
