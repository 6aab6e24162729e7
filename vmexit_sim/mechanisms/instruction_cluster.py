"""Instruction clusters: exits that follow on each other share one world switch.

::

    one by one   exit handle entry | compute | exit handle entry | compute | exit handle entry
    clustered    exit handle         compute        handle         compute        handle entry

The hypervisor translates the code around an exiting instruction once. When that instruction exits
again, it runs the translation: the instructions in between and those that would exit next are
emulated without going back into the guest. Only the world switch is shared: each access still pays
its dispatch, its instruction's emulation and its device. A config access by ports is two
instructions back to back, a cluster by itself, with the guest's config lock held across both.

The cluster's first access pays both halves of the switch, since which access is the last shows
only afterwards. Exits are counted once for each cluster, for the reason of its first access.

Source: Agesen, Mattson, Rugina and Sheldon, "Software Techniques for Avoiding Hardware
Virtualization Exits", USENIX ATC 2012; Zhang et al., NPC 2010, merge successive I/O instructions
in KVM.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import Field

from vmexit_sim.configuration import Time
from vmexit_sim.guest.clusters import Clusters
from vmexit_sim.guest.table import Space
from vmexit_sim.hypervisor.access_class import AccessClass
from vmexit_sim.hypervisor.host import Host, Via
from vmexit_sim.hypervisor.stages import (
    APIC_EXIT,
    MMIO_EXIT,
    MSR_READ_EXIT,
    MSR_WRITE_EXIT,
    PORT_EXIT,
    WAIT_CONFIG_LOCK,
)
from vmexit_sim.mechanisms.base import History, Mechanism, register
from vmexit_sim.steps import Step, Steps, release
from vmexit_sim.units import MICROSECOND


@register("instruction_cluster")
class InstructionCluster(Mechanism):
    """One world switch for each cluster of accesses, as they were recorded.

    Attributes:
        within: the longest guest compute (ps) between two accesses of a cluster: how much code a
            translation covers. It takes as long translated as in the guest.
        max_cluster: the most accesses of a cluster; with 1 only the two instructions of a config
            access by ports share a switch.
        translated_in: where translations run. "kernel": each access whose device is in user space
            still makes its round trip there. "user": the cluster makes one, with its first
            instruction, and all of it runs there.
    """

    within: Time = MICROSECOND
    max_cluster: Annotated[int, Field(ge=1, le=65_536)] = 16
    translated_in: Literal["kernel", "user"] = "kernel"

    def new_history(self) -> History:
        """No cluster is open."""
        return Clusters(within=self.within, longest=self.max_cluster)

    def access(self, host: Host, access: AccessClass) -> Steps:
        """The switch if it is a cluster's first, and in any case the handling."""
        via = access.recorded_via
        is_pair = via == "port" and access.space is Space.PCI_CONFIG and not access.index_only
        if is_pair:
            yield from host.spin_on(host.config_lock, WAIT_CONFIG_LOCK)
        if not access.hit:
            yield from host.leave_guest(_reason(access))
        if is_pair:
            yield from self._instruction(host, access, via, write=True, opens=not access.hit)
        opens = not (access.hit or is_pair)
        yield from self._instruction(
            host, access, via, write=access.write, opens=opens, work=host.handle(access)
        )
        if not access.hit:
            yield from host.enter_guest()
        if is_pair:
            yield release(host.config_lock)

    def _instruction(
        self,
        host: Host,
        access: AccessClass,
        via: Via,
        *,
        write: bool,
        opens: bool,
        work: Iterable[Step] = (),
    ) -> Steps:
        """Dispatch, and the device's part where the translation runs.

        Args:
            host: the host.
            access: what the instruction is for.
            via: its sort.
            write: whether it writes.
            opens: whether it is its cluster's first instruction.
            work: what the device does; nothing for an address cycle, which is only noted.
        """
        yield from host.dispatch(via, write)
        if self.translated_in == "kernel":
            yield from host.emulate(access, via, body=work)
        elif opens:
            yield from host.user_space(via, work)
        elif access.location == "user":
            yield from host.under_vmm_lock(work)
        else:
            yield from work


def _reason(access: AccessClass) -> str:
    match access.recorded_via:
        case "port":
            return PORT_EXIT
        case "msr":
            return MSR_WRITE_EXIT if access.write else MSR_READ_EXIT
        case "mmio":
            return APIC_EXIT if access.local_apic else MMIO_EXIT
