"""A model-specific register, trapped: one exit, and nothing to decode.

RDMSR and WRMSR say in registers what they mean, so the hypervisor goes from the exit right to the
register's handler: in the kernel as a rule; a register that it leaves to the VMM goes on to user
space. In x2APIC mode the interrupt controller is such registers, and an IPI is one write.

Source: Linux arch/x86/kvm/x86.c, kvm_emulate_wrmsr; Intel SDM vol. 3, 25.1.3 and "x2APIC mode".
"""

from __future__ import annotations

from typing import ClassVar

from vmexit_sim.guest.table import Space
from vmexit_sim.hypervisor.access_class import AccessClass
from vmexit_sim.hypervisor.host import Host
from vmexit_sim.hypervisor.stages import MSR_READ_EXIT, MSR_WRITE_EXIT
from vmexit_sim.mechanisms.base import Mechanism, register
from vmexit_sim.steps import Steps


@register("trap_msr")
class TrapMsr(Mechanism):
    """One exit without instruction decode."""

    spaces: ClassVar[frozenset[Space] | None] = frozenset({Space.MSR})

    def access(self, host: Host, access: AccessClass) -> Steps:
        """Exit, dispatch, emulate, entry."""
        reason = MSR_WRITE_EXIT if access.write else MSR_READ_EXIT
        yield from host.trap(access, "msr", reason)
