"""No hypervisor in the way: what the access costs on bare metal."""

from __future__ import annotations

from typing import Literal

from vmexit_sim.guest.table import Space
from vmexit_sim.hypervisor.access_class import AccessClass
from vmexit_sim.hypervisor.host import Host
from vmexit_sim.hypervisor.stages import NATIVE
from vmexit_sim.mechanisms.base import Mechanism, register
from vmexit_sim.steps import Moment, Steps, spend, stamp


@register("native")
class Native(Mechanism):
    """The guest's own instruction reaches the device; there is no exit.

    Attributes:
        config: how config space is reached: as it was recorded, by ports, or by ECAM.
    """

    config: Literal["recorded", "port", "mmio"] = "recorded"

    def access(self, host: Host, access: AccessClass) -> Steps:
        """One cost, by the way the access takes."""
        yield spend(NATIVE, host.cost(self._way(access)))
        yield stamp(Moment.DONE)

    def _way(self, access: AccessClass) -> str:
        if access.space is Space.PORT_IO or access.index_only:
            return "native_port"
        if access.space is not Space.PCI_CONFIG:
            return "native_mmio"
        by_ports = self.config == "port" or (self.config == "recorded" and not access.ecam)
        return "native_port_config" if by_ports else "native_mmio"
