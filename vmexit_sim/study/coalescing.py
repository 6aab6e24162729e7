"""Interrupt coalescing: how many interrupts a way of holding them back spares, and what it costs.

The guest is a closed loop that sleeps until the response it needs, so that an interrupt that is
held back too long leaves it without work.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from vmexit_sim import statistics
from vmexit_sim.configuration import checked
from vmexit_sim.guest.generators import RequestResponse
from vmexit_sim.hypervisor.platform import load_platform
from vmexit_sim.hypervisor.stages import EOI_EXIT
from vmexit_sim.policy import Policy, Rule
from vmexit_sim.statistics import Estimate
from vmexit_sim.study.simulate import simulate
from vmexit_sim.units import SECOND

WAYS: dict[str, dict[str, Any]] = {
    "each interrupts": {},
    "8, or 20 µs": {"interrupt_count": 8, "interrupt_timer": "20 us"},
    "8, or 50 µs": {"interrupt_count": 8, "interrupt_timer": "50 us"},
    "by commands in flight": {"interrupt_ratio": "commands_in_flight"},
}
"""Ways of holding interrupts back, as parameters of a virtqueue; the numbers are assumed."""


@dataclass(frozen=True, kw_only=True)
class Coalesced:
    """What a closed loop of requests comes to.

    Attributes:
        interrupts: interrupts served, a request.
        exits: all exits, a request.
        rate: requests per second.
    """

    interrupts: Estimate
    exits: Estimate
    rate: Estimate


def coalesced(
    way: str, in_flight: int, *, platform: str, think: str, service: str, number: int,
    replications: int,
) -> Coalesced:  # fmt: skip
    """Run a closed loop on a virtqueue.

    Args:
        way: one of `WAYS`.
        in_flight: requests under way.
        platform: a shipped platform's name.
        think: mean of the guest's exponential compute before a request, as files state it.
        service: mean of a request's exponential service, likewise.
        number: requests of one replication.
        replications: how many.
    """
    guest = checked(RequestResponse, {
        "kind": "request_response", "requests": number, "in_flight": in_flight,
        "think": {"kind": "exponential", "mean": think},
        "service": {"kind": "exponential", "mean": service},
    })  # fmt: skip
    mechanism: Any = {"name": "virtqueue", "waiting": "sleep", **WAYS[way]}
    policy = Policy(title=way, rules=[Rule(side="host", mechanism=mechanism)])
    host = load_platform(platform)
    runs = [simulate(policy, host, guest, replication=each) for each in range(replications)]
    ends = [run.exits_of(EOI_EXIT) / number for run in runs]
    return Coalesced(
        interrupts=statistics.mean(ends, unit="1"),
        exits=statistics.mean([run.summary.exits / number for run in runs], unit="1"),
        rate=statistics.mean([number * SECOND / run.completion for run in runs], unit="1"),
    )
