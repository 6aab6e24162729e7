"""More vCPUs than CPUs: one guest that is idle most of the time, under every policy.

Each vCPU reads config space once every 250 us on average, after 50 us of compute, so that four of
them would fit on one CPU if they took turns.
"""

from __future__ import annotations

from collections.abc import Sequence

from vmexit_sim.configuration import checked
from vmexit_sim.opened import open_scenario
from vmexit_sim.scenario import Scenario
from vmexit_sim.study.compare import compare
from vmexit_sim.study.outcome import PolicyOutcome
from vmexit_sim.units import MICROSECOND

EVERY = 250 * MICROSECOND
"""Mean time between two arrivals at a vCPU, in ps."""


def overcommitted(
    policies: Sequence[str],
    vcpus: int,
    cpus: int,
    *,
    time_slice: str = "3 ms",
    operations: int = 5_000,
    replications: int = 10,
    platform: str = "kvm-2013",
) -> list[PolicyOutcome]:
    """What each policy costs so many vCPUs on so many CPUs.

    Args:
        policies: shipped policies, by name.
        vcpus: the guest's vCPUs.
        cpus: the host's CPUs.
        time_slice: how long a vCPU computes before others are let onto its CPU.
        operations: accesses of each vCPU.
        replications: how often it is repeated.
        platform: the host's costs, by name.
    """
    guest = {
        "kind": "spread", "operations": operations, "vcpus": vcpus, "between": "50 us",
        "arrivals": {"kind": "exponential", "mean": f"{EVERY} ps"}, "read_share": 1.0,
        "space": "pci_config",
    }  # fmt: skip
    stated = {
        "platform": platform, "policies": list(policies), "cpus": cpus, "time_slice": time_slice,
        "replications": replications, "blocks": [{"guest": guest}],
    }  # fmt: skip
    return compare(open_scenario(checked(Scenario, stated))).blocks[0].policies


def keeps_up(outcome: PolicyOutcome) -> bool:
    """Whether accesses are through, on average, before the vCPU's next one falls due.

    Where they are not, the backlog grows for as long as the run lasts, and no latency means
    anything.
    """
    return outcome.latency["stall"]["mean"].value < EVERY
