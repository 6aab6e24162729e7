"""A call that means a whole operation: "size this BAR", and the answer comes back at once.

The first access of an operation makes the call; the others find their answer in it and cost
nothing. The hypervisor does not flip bits to find a size that it knows, so a decode toggle within
the operation does not happen either.

Source: Wilcox in the 2022 thread: one hypercall instead of 4 MMIO or 8 port accesses.
"""

from __future__ import annotations

from typing import ClassVar

from vmexit_sim.hypervisor.access_class import AccessClass
from vmexit_sim.hypervisor.host import Host
from vmexit_sim.hypervisor.stages import EMULATE, HYPERCALL_EXIT
from vmexit_sim.mechanisms.base import Mechanism, register
from vmexit_sim.steps import Column, Moment, Steps, spend, stamp


@register("operation_hypercall")
class OperationHypercall(Mechanism):
    """One exit an operation."""

    by_operation: ClassVar[bool] = True

    def access(self, host: Host, access: AccessClass) -> Steps:
        """The call, if this access is its operation's first; nothing otherwise."""
        if access.first:
            yield from host.leave_guest(HYPERCALL_EXIT)
            yield from host.dispatch("hypercall", access.write)
            yield from host.emulate(access, "hypercall",
                                    body=[spend(EMULATE, Column("emulate"))])  # fmt: skip
            yield from host.enter_guest()
        yield stamp(Moment.DONE)
