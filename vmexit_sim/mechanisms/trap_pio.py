"""Port I/O, trapped: a config access is two exits, any other port access one.

The guest writes the address to 0xCF8, then reads or writes the data at 0xCFC. Both instructions
exit, and the guest's config lock is held, interrupts off, across both::

    lock | out 0xCF8: exit … entry | in/out 0xCFC: exit … entry | unlock

Source: Linux arch/x86/pci/direct.c, pci_conf1_read and pci_conf1_write.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from vmexit_sim.guest.table import Space
from vmexit_sim.hypervisor.access_class import AccessClass
from vmexit_sim.hypervisor.host import Host
from vmexit_sim.hypervisor.stages import PORT_EXIT, WAIT_CONFIG_LOCK
from vmexit_sim.mechanisms.base import Mechanism, register
from vmexit_sim.steps import Step, Steps, release


def two_cycles(host: Host, access: AccessClass, note_address: Iterable[Step]) -> Steps:
    """A config access by ports: the address, then the data, the config lock held over both.

    Args:
        host: the host.
        access: what the data cycle is for.
        note_address: what the address cycle's exit does, once it has been dispatched.
    """
    yield from host.spin_on(host.config_lock, WAIT_CONFIG_LOCK)
    yield from host.leave_guest(PORT_EXIT)
    yield from host.dispatch("port", write=True)
    yield from note_address
    yield from host.enter_guest()
    yield from host.trap(access, "port", PORT_EXIT)
    yield release(host.config_lock)


@register("trap_pio")
class TrapPio(Mechanism):
    """Every port instruction exits and is emulated."""

    spaces: ClassVar[frozenset[Space] | None] = frozenset({Space.PCI_CONFIG, Space.PORT_IO})

    def access(self, host: Host, access: AccessClass) -> Steps:
        """The address cycle and the data cycle under the lock; or one lone cycle."""
        if access.space is not Space.PCI_CONFIG or access.index_only:
            yield from host.trap(access, "port", PORT_EXIT)
            return
        yield from two_cycles(host, access, note_address=host.emulate(access, "port", body=[]))
