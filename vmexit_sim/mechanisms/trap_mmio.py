"""Memory-mapped I/O, trapped: one exit, whose instruction must be decoded.

The nested page fault tells the hypervisor where the guest went, not what it meant: the
instruction is fetched through the guest's page tables, decoded and emulated. A config access by
ECAM takes no lock in an x86-64 guest (Linux arch/x86/pci/mmconfig_64.c).
"""

from __future__ import annotations

from typing import ClassVar

from vmexit_sim.hypervisor.host import MMIO_EXIT, AccessClass, Host
from vmexit_sim.mechanisms.base import Mechanism, register
from vmexit_sim.steps import Steps


@register("trap_mmio")
class TrapMmio(Mechanism):
    """One exit with instruction decode."""

    by_ecam: ClassVar[bool] = True

    def access(self, host: Host, access: AccessClass) -> Steps:
        """Exit, dispatch, decode, emulate, entry."""
        yield from host.trap(access, "mmio", MMIO_EXIT)
