"""An assigned device: the guest's instruction reaches the hardware, but for config space.

::

    all other spaces    the guest's own instruction, no exit
    config space        exit | dispatch | decode | to user space | emulate | back | entry

The VMM keeps config space to itself (it must know where the BARs are), so each config access traps
to user space, wherever the device is. A write that turns decoding on or off makes it map or unmap
the BARs for the guest and the IOMMU, which costs the platform's `state_change`.

How the device's interrupts arrive, by exits or posted, is the policy's `delivery`.

Source: QEMU hw/vfio/pci.c, vfio_pci_write_config; Linux drivers/vfio/vfio_iommu_type1.c.
"""

from __future__ import annotations

from dataclasses import replace

from vmexit_sim.guest.table import Space
from vmexit_sim.hypervisor.access_class import AccessClass
from vmexit_sim.hypervisor.host import Host
from vmexit_sim.mechanisms.as_recorded import AsRecorded
from vmexit_sim.mechanisms.base import Mechanism, register
from vmexit_sim.mechanisms.native import Native
from vmexit_sim.steps import Steps


@register("passthrough")
class Passthrough(Mechanism):
    """The data path native, config space trapped."""

    def access(self, host: Host, access: AccessClass) -> Steps:
        """The instruction alone; or, in config space, a trap to user space."""
        if access.space is Space.PCI_CONFIG:
            yield from AsRecorded().access(host, replace(access, location="user"))
        else:
            yield from Native().access(host, access)
