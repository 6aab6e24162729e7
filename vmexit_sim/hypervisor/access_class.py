"""What a mechanism may know of the accesses it is lowered for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from vmexit_sim.guest.table import Space


@dataclass(frozen=True)
class AccessClass:
    """What a mechanism may know of the accesses it is lowered for.

    Attributes:
        space: where they go.
        write: whether they are writes.
        location: where the device is emulated: "kernel", "user" or "hardware".
        absent: no function answers.
        side_effect: reading changes the device.
        decode_toggle: writing turns address decoding on or off.
        ecam: recorded through ECAM.
        index_only: a lone access to the config address port.
        open_loop: they have an arrival.
        waited: the guest idles before them, rather than computing.
        first: the first of its operation.
        last: the last of its operation.
        device: which device it is, if a mechanism of the policy asks (`by_device`); else "".
        interrupt: an interrupt brings the vCPU here.
        end_of_interrupt: its service ends with this access.
        spare_toggle: an access to COMMAND between two sizings, which whoever sizes all BARs of a
            function at once spares.
        in_context: it is made in a vCPU's interrupt context, see `interrupt_context`.
        local_apic: they go to the local APIC's page in memory.
        ipi: they send interrupts to vCPUs, `targets` says to how many.
        hit: their mechanism's memory of the accesses before says yes (`Mechanism.new_history`).
    """

    space: Space
    write: bool
    location: str
    absent: bool = False
    side_effect: bool = False
    decode_toggle: bool = False
    ecam: bool = False
    index_only: bool = False
    open_loop: bool = False
    waited: bool = False
    first: bool = False
    last: bool = False
    device: str = ""
    interrupt: bool = False
    end_of_interrupt: bool = False
    spare_toggle: bool = False
    in_context: bool = False
    local_apic: bool = False
    ipi: bool = False
    hit: bool = False

    @property
    def recorded_via(self) -> Literal["port", "mmio", "msr"]:
        """The sort of instruction that was recorded."""
        if self.space is Space.MSR:
            return "msr"
        is_config_by_ports = self.space is Space.PCI_CONFIG and not self.ecam
        return "port" if self.space is Space.PORT_IO or is_config_by_ports else "mmio"
