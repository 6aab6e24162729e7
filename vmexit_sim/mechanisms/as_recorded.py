"""As it was recorded: whatever way an access took, it traps on that way.

This is what happens to accesses that a policy does not speak of, and what is left of a mechanism
that answers only some of its accesses (a cache's misses, say) has it as one choice of several::

    via = "recorded" | "trap_pio" | "trap_mmio" | "hypercall"
"""

from __future__ import annotations

from typing import Literal, TypeAlias

from vmexit_sim.hypervisor.access_class import AccessClass
from vmexit_sim.hypervisor.host import Host, Via
from vmexit_sim.hypervisor.stages import MMIO_EXIT, PORT_EXIT
from vmexit_sim.mechanisms.base import Mechanism, register
from vmexit_sim.mechanisms.hypercall import Hypercall
from vmexit_sim.mechanisms.trap_mmio import TrapMmio
from vmexit_sim.mechanisms.trap_msr import TrapMsr
from vmexit_sim.mechanisms.trap_pio import TrapPio
from vmexit_sim.steps import Steps

Underlying: TypeAlias = Literal["recorded", "trap_pio", "trap_mmio", "hypercall"]
"""The way of accesses that a mechanism does not answer itself."""


@register("as_recorded")
class AsRecorded(Mechanism):
    """Every access traps, by the instruction that was recorded."""

    def access(self, host: Host, access: AccessClass) -> Steps:
        """As config space by ECAM, ports, model-specific registers and memory do."""
        ways = {"port": TrapPio, "mmio": TrapMmio, "msr": TrapMsr}
        yield from ways[access.recorded_via]().access(host, access)


def exit_of(access: AccessClass) -> tuple[Via, str]:
    """The way into the kernel that one port or memory instruction takes, and its exit reason."""
    via = access.recorded_via
    return via, PORT_EXIT if via == "port" else MMIO_EXIT


def underlying(via: Underlying) -> Mechanism:
    """The mechanism that a choice of way means."""
    ways = {
        "recorded": AsRecorded,
        "trap_pio": TrapPio,
        "trap_mmio": TrapMmio,
        "hypercall": Hypercall,
    }
    return ways[via]()
