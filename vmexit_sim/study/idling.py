"""Two guests that mostly wait, and what each way of idling makes of them.

*Ping-pong*: the guest answers, and the next request comes a fixed time later: what a request-
response benchmark sees of idling is how late the guest goes on. *Tick*: the guest wakes every 4 ms,
does a little, and idles again: what an idle guest costs its host is the share of time in which its
vCPU's thread is awake (c0, where each vCPU has a CPU of its own).

Published for KVM, with a longest window of 500 us: TCP_RR latency 34 us without polling, 27 us with
polling always, 26.7 us with a dynamic window; c0 of an idle guest at 250 Hz 1.1 %, 4.6 to 14 %, and
1.2 %. Source: Linux aca6ff29c406 (2015) [R]. What else is in such a round trip (the wire, the peer,
both network stacks) and in such a tick is not told; one number of each line sets it, and the others
can then be held against what is published.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vmexit_sim.guest.table import AccessTable, Flag, Phase, Space, make_table
from vmexit_sim.guest.workload import Recorded
from vmexit_sim.hypervisor.platform import Platform
from vmexit_sim.policy import Policy, load_policy
from vmexit_sim.study.simulate import simulate
from vmexit_sim.units import MICROSECOND, MILLISECOND

NEVER, ALWAYS, DYNAMIC = "halt-poll-never", "halt-poll-always", "halt-poll-dynamic"
IDLERS = (NEVER, ALWAYS, DYNAMIC, "guest-halt-poll", "idle-poll")
"""The shipped ways of idling."""

ROUND_TRIP = {NEVER: 34.0, ALWAYS: 27.0, DYNAMIC: 26.7}
"""TCP_RR latency, in us."""

C0 = {NEVER: "1.1 %", ALWAYS: "4.6 to 14 %", DYNAMIC: "1.2 %"}
"""Share of time that an idle 250 Hz vCPU's CPU is in c0."""

PUBLISHED_WINDOW = 500 * MICROSECOND
"""The longest window where these were measured."""

TICK = 4 * MILLISECOND
SET_TO_ROUND_TRIP, SET_TO_C0 = ROUND_TRIP[ALWAYS], 0.011
"""What is set to come out: the round trip with polling always (us), and c0 without polling."""


def ping_pong(rounds: int, wait: int) -> AccessTable:
    """A guest that waits `wait` ps for each of its requests, and answers with an EOI."""
    return make_table(
        rounds, origin="ping-pong", phase=Phase.JOB, space=Space.MMIO, write=True, address=0xB0,
        devices=("apic-msi",), flags=Flag.WAITED, compute=wait,
    )  # fmt: skip


def ticks(count: int, work: int) -> AccessTable:
    """A guest that every 4 ms computes `work` ps, sets its next tick, and idles."""
    return make_table(
        count, origin="tick", phase=Phase.JOB, space=Space.MMIO, write=True, address=0x380,
        devices=("apic-msi",), compute=work, arrival=np.arange(1, count + 1) * TICK,
    )  # fmt: skip


def with_window(name: str, longest: int) -> Policy:
    """A shipped policy whose host polls up to `longest` ps, if it polls at all."""
    policy = load_policy(name)
    polling = policy.idle.host_poll.model_copy(update={"longest": longest})
    idle = policy.idle.model_copy(update={"host_poll": polling})
    return policy.model_copy(update={"idle": idle})


@dataclass(frozen=True, kw_only=True)
class Idling:
    """What a policy makes of a guest that waits; exact, for nothing is left to chance.

    Attributes:
        period: time from one wait to the next, in ps.
        awake: share of that time in which the vCPU's thread is awake.
    """

    period: float
    awake: float


def idling(policy: Policy, platform: Platform, guest: AccessTable) -> Idling:
    """Run one of the two guests."""
    result = simulate(policy, platform, Recorded(guest))
    return Idling(period=result.completion / len(guest), awake=result.cpu_share)


@dataclass(frozen=True, kw_only=True)
class Untold:
    """What the published measurement does not tell; ps.

    Attributes:
        wait: from the guest's answer to the next request.
        work: the guest's work in a tick.
    """

    wait: int
    work: int


def untold(platform: Platform) -> Untold:
    """Set both so that one published number of each line comes out.

    The round trip with polling always, and the c0 without polling: there the time that is not told
    is simply what is left when exits and waking up are taken off.
    """
    polls, sleeps = (with_window(name, PUBLISHED_WINDOW) for name in (ALWAYS, NEVER))
    trial = 20 * MICROSECOND
    beside = idling(polls, platform, ping_pong(1, trial)).period - trial
    overhead = idling(sleeps, platform, ticks(1, 0))
    awake = overhead.awake * overhead.period
    return Untold(
        wait=round(SET_TO_ROUND_TRIP * MICROSECOND - beside),
        work=round(SET_TO_C0 * TICK - awake),
    )


@dataclass(frozen=True, kw_only=True)
class Beside:
    """One policy's numbers to put beside the published ones; exact.

    Attributes:
        round_trip: of the ping-pong, in us.
        c0: of the ticking guest, as a share, with the window of the published measurement.
        c0_shipped: the same with the policy's own window.
    """

    round_trip: float
    c0: float
    c0_shipped: float


def beside_published(platform: Platform, rounds: int, count: int) -> dict[str, Beside]:
    """Every way of idling on the two published guests: so many rounds, and so many ticks."""
    guest = untold(platform)
    tick = ticks(count, guest.work)
    return {
        name: Beside(
            round_trip=round_trip(name, platform, rounds, guest.wait),
            c0=idling(with_window(name, PUBLISHED_WINDOW), platform, tick).awake,
            c0_shipped=idling(load_policy(name), platform, tick).awake,
        )
        for name in IDLERS
    }


def round_trip(name: str, platform: Platform, rounds: int, wait: int) -> float:
    """A ping-pong's round trip in us, with the window of the published measurement."""
    policy = with_window(name, PUBLISHED_WINDOW)
    return idling(policy, platform, ping_pong(rounds, wait)).period / MICROSECOND
