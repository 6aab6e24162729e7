"""A paravirtual call for a multicast: one exit interrupts many vCPUs.

::

    by the APIC    exit deliver entry | exit deliver entry | exit deliver entry | …
    by a call      exit deliver deliver deliver … entry

The guest gathers the targets in a bitmap and makes one call for it. The host passes the interrupt
on to each of them, which costs what it costs either way: only exits are saved, and no more than
one for each write of the interrupt command register that the guest would have made.

The first access of the operation makes the call. The others are not made; what delivering to
their targets takes is booked on them, right behind it. A bitmap spans 128 APIC ids that follow on
each other; here a call takes that many targets, wherever they are, which is the same as long as
the guest has no more vCPUs.

Source: Linux Documentation/virt/kvm/x86/hypercalls.rst, KVM_HC_SEND_IPI; arch/x86/kernel/kvm.c,
__send_ipi_mask; commits 4180bf1b655a and aaffcfd1e82d (Wanpeng Li, 2018).
"""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from vmexit_sim.guest.table import Space
from vmexit_sim.hypervisor.access_class import AccessClass
from vmexit_sim.hypervisor.host import Host
from vmexit_sim.hypervisor.stages import HYPERCALL_EXIT
from vmexit_sim.mechanisms.base import Mechanism, register
from vmexit_sim.steps import Column, Register, Steps, let, when

SENT = Register("IPI call: targets")


@register("pv_ipi")
class PvIpi(Mechanism):
    """One exit for each multicast, and for each further so many targets.

    Meant for the accesses of operations that send IPIs (``kind = ["ipi"]``).

    Attributes:
        targets: the most targets of a call: 128, for a guest of 32 bits 64.
    """

    by_operation: ClassVar[bool] = True
    spaces: ClassVar[frozenset[Space] | None] = frozenset({Space.MSR, Space.MMIO})

    targets: Annotated[int, Field(ge=1, le=65_535)] = 128

    def access(self, host: Host, access: AccessClass) -> Steps:
        """The call, if this access is its operation's first or the call is full."""
        call = [
            let(SENT, Column("targets")),
            *host.leave_guest(HYPERCALL_EXIT),
            *host.dispatch("hypercall", write=True),
            *host.handle(access),
            *host.enter_guest(),
        ]
        if access.first:
            yield from call
            return
        yield let(SENT, SENT, "+", Column("targets"))
        yield when(SENT, ">", self.targets, call, host.handle(access))
