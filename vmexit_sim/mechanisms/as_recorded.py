"""What becomes of an access that a mechanism cannot help: it traps the way it was recorded."""

from __future__ import annotations

from vmexit_sim.guest.table import Space
from vmexit_sim.hypervisor.host import MMIO_EXIT, PORT_EXIT, AccessClass, Host, Via
from vmexit_sim.mechanisms.trap_mmio import TrapMmio
from vmexit_sim.mechanisms.trap_pio import TrapPio
from vmexit_sim.steps import Steps


def by_ports(access: AccessClass) -> bool:
    """Whether the guest's instruction is one of port I/O."""
    config_by_ports = access.space is Space.PCI_CONFIG and not access.ecam
    return access.space is Space.PORT_IO or config_by_ports


def exit_of(access: AccessClass) -> tuple[Via, str]:
    """The way into the kernel that one instruction takes, and its exit reason."""
    return ("port", PORT_EXIT) if by_ports(access) else ("mmio", MMIO_EXIT)


def trap_as_recorded(host: Host, access: AccessClass) -> Steps:
    """Trap by ports or by memory, as the guest did it."""
    mechanism = TrapPio() if by_ports(access) else TrapMmio()
    yield from mechanism.access(host, access)
