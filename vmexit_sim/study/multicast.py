"""Multicast IPIs by the APIC and by a paravirtual call: exits and time, counted and in closed form.

With n targets among V - 1 others, in clusters of 16, and a call for up to 128 targets::

    writes    physical n    xAPIC 3n (a read among them)    cluster sum over clusters of
                                                            1 - C(V-1-s, n)/C(V-1, n)
    time      writes·(switch + dispatch) + n·deliver
    call      ceil(n/128)·(switch + dispatch) + n·deliver

s is how many of the others are in a cluster, which has no target if all targets are elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import comb

from vmexit_sim.configuration import checked
from vmexit_sim.guest.generators import Ipi
from vmexit_sim.guest.generators.ipi import CLUSTER
from vmexit_sim.hypervisor.platform import Platform
from vmexit_sim.hypervisor.stages import HYPERCALL_EXIT
from vmexit_sim.policy import load_policy
from vmexit_sim.statistics import Estimate, mean
from vmexit_sim.study.simulate import simulate

BEFORE, AFTER = "linux-default", "pv-ipi"


@dataclass(frozen=True, kw_only=True)
class Multicasts:
    """What a multicast costs one way; all of it for one multicast and the exits beside it.

    Attributes:
        sends: accesses to the interrupt command register that exit.
        apic_exits: exits by accesses to the APIC and its timer, calls left out.
        exits: all exits.
        time: vCPU time (ps).
    """

    sends: Estimate
    apic_exits: Estimate
    exits: Estimate
    time: Estimate


def multicasts(
    mode: str,
    targets: int,
    platform: Platform,
    *,
    vcpus: int = 64,
    timers: int = 1,
    ends_exit: bool = False,
    each: int = 20,
    replications: int = 5,
) -> tuple[Multicasts, Multicasts]:
    """Simulate a guest whose vCPUs send multicasts, by the APIC and by a call.

    Args:
        mode: how the APIC is used, see `Ipi`.
        targets: targets of each multicast.
        platform: the host.
        vcpus: the guest's vCPUs.
        timers: timer writes for each multicast.
        ends_exit: whether ends of interrupts exit.
        each: multicasts of each vCPU.
        replications: how often.
    """
    guest = checked(Ipi, {"kind": "ipi", "mode": mode, "vcpus": vcpus, "targets": targets,
                          "multicasts": each, "timers": timers, "ends_exit": ends_exit,
                          "between": "1 ms"})  # fmt: skip
    n, others = vcpus * each, timers + targets * ends_exit
    found = []
    for policy in (BEFORE, AFTER):
        runs = [
            simulate(load_policy(policy), platform, guest, replication=number)
            for number in range(replications)
        ]
        apic = [(r.summary.exits - r.exits_of(HYPERCALL_EXIT)) / n for r in runs]
        found.append(
            Multicasts(
                sends=mean([exits - others for exits in apic], unit="1"),
                apic_exits=mean(apic, unit="1"),
                exits=mean([r.summary.exits / n for r in runs], unit="1"),
                time=mean([r.hypervisor_time / n for r in runs]),
            )
        )
    return found[0], found[1]


def expected_sends(mode: str, targets: int, vcpus: int) -> float:
    """Accesses to the interrupt command register for a multicast, on average over targets.

    In cluster mode the senders' own place matters: this is the mean over all of them.
    """
    if mode != "cluster":
        return targets * (3 if mode == "xapic" else 1)
    sizes = [min(CLUSTER, vcpus - begin) for begin in range(0, vcpus, CLUSTER)]
    total = 0.0
    for own, senders in enumerate(sizes):
        for number, size in enumerate(sizes):
            others = size - (number == own)
            missed = comb(vcpus - 1 - others, targets) / comb(vcpus - 1, targets)
            total += senders / vcpus * (1 - missed)
    return total
