"""A paravirtual call for each access: one exit, and nothing to decode.

The guest passes the access in registers, so the hypervisor neither fetches nor decodes an
instruction. It still exits; and where the device model lives in user space, the call still goes
there.
"""

from __future__ import annotations

from vmexit_sim.hypervisor.access_class import AccessClass
from vmexit_sim.hypervisor.host import Host
from vmexit_sim.hypervisor.stages import HYPERCALL_EXIT
from vmexit_sim.mechanisms.base import Mechanism, register
from vmexit_sim.steps import Steps


@register("hypercall")
class Hypercall(Mechanism):
    """One exit an access, without instruction decode."""

    def access(self, host: Host, access: AccessClass) -> Steps:
        """Exit, dispatch, emulate, entry."""
        yield from host.trap(access, "hypercall", HYPERCALL_EXIT)
