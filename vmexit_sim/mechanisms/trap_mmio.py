"""Memory-mapped I/O, trapped: one exit, whose instruction must be decoded.

The nested page fault tells the hypervisor where the guest went, not what it meant: the
instruction is fetched through the guest's page tables, decoded and emulated. A config access by
ECAM takes no lock in an x86-64 guest (Linux arch/x86/pci/mmconfig_64.c).

The local APIC's page (xAPIC) exits for a reason of its own. Where the processor virtualises the
APIC's registers (as wherever interrupts are posted), reading one makes no exit, and a write is done
before it exits: the hypervisor finds register and value and decodes nothing.

Source: Intel SDM vol. 3, "Virtualizing memory-mapped APIC accesses" and "APIC-write emulation".
"""

from __future__ import annotations

from vmexit_sim.hypervisor.access_class import AccessClass
from vmexit_sim.hypervisor.host import Host
from vmexit_sim.hypervisor.stages import APIC_EXIT, APIC_WRITE_EXIT, MMIO_EXIT, PAGE_LOAD
from vmexit_sim.mechanisms.base import Mechanism, register
from vmexit_sim.steps import Moment, Steps, spend, stamp


@register("trap_mmio")
class TrapMmio(Mechanism):
    """One exit with instruction decode."""

    @property
    def by_ecam(self) -> bool:
        """It does."""
        return True

    def access(self, host: Host, access: AccessClass) -> Steps:
        """Exit, dispatch, decode, emulate, entry."""
        if not access.local_apic:
            yield from host.trap(access, "mmio", MMIO_EXIT)
        elif host.delivery == "exit":
            yield from host.trap(access, "mmio", APIC_EXIT)
        elif access.write:
            yield from host.trap(access, "msr", APIC_WRITE_EXIT)
        else:
            yield spend(PAGE_LOAD, host.cost("page_load"))
            yield stamp(Moment.DONE)
