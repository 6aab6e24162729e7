"""Trips to user space of a recorded e1000 job, with its writes trapped and with them coalesced.

The ring is QEMU's, for the registers of an e1000 that the policy ``qemu-kvm`` names.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vmexit_sim.device import load_devices
from vmexit_sim.guest.table import Kind
from vmexit_sim.measure.records import RunResult
from vmexit_sim.opened import load_block
from vmexit_sim.policy import Policy, load_policy
from vmexit_sim.scenario import Block
from vmexit_sim.study.by_name import run

PLATFORM = "kvm-2013"


@dataclass(frozen=True, kw_only=True)
class Trips:
    """The job both ways.

    Attributes:
        trapped: its run with every access trapped.
        coalesced: its run with QEMU's ring.
        services: which accesses belong to an interrupt's service.
    """

    trapped: RunResult
    coalesced: RunResult
    services: npt.NDArray[np.bool_]

    def counts(self, *, services_only: bool = False) -> tuple[int, int]:
        """Accesses that go to user space, trapped and coalesced."""
        mask = self.services if services_only else np.ones_like(self.services)
        both = (
            (each.to_columns()["stage: to user space"][mask] > 0).sum()
            for each in (self.trapped, self.coalesced)
        )
        return int(next(both)), int(next(both))


def e1000_trips() -> Trips:
    """Run the recorded job both ways; exact."""
    job = load_block(
        Block.model_validate(
            {"guest": {"trace": "net-e1000"}, "during": ["job"], "think_scales": [0.0]}
        ),
        load_devices(),
    )
    ring = [rule for rule in load_policy("qemu-kvm").rules if rule.match.registers]
    policies = Policy(title="traps"), Policy(title="e1000", rules=ring)
    trapped, coalesced = (
        run(policy, PLATFORM, job.workloads[0.0], keep_rows=True) for policy in policies
    )
    services = job.table.kind == Kind.INTERRUPT_SERVICE
    return Trips(trapped=trapped, coalesced=coalesced, services=services)
