"""A page of registers mapped read-only into the guest: reads are loads, writes still trap.

The hypervisor keeps a copy of the registers in a page that the guest may read but not write. A
read is a load and never exits. A write faults, is emulated like any trapped memory access, and
the VMM then refreshes the page. A register whose reading has a side effect must trap. Pages are
mapped whole, so a function that has such a register could not be backed at all; here only that
register's reads trap, which flatters the mechanism (no recorded config read has a side effect).

What is left out: a device that changes a register by itself makes the VMM refresh the page, which
costs the VMM's time, not the vCPU's; recordings do not show these changes.

Source: Kaher, "x86/PCI: Prefer MMIO over PIO on VMware hypervisor", v2, 2022-09-06.
"""

from __future__ import annotations

from vmexit_sim.hypervisor.access_class import AccessClass
from vmexit_sim.hypervisor.host import Host
from vmexit_sim.hypervisor.stages import MMIO_EXIT, PAGE_LOAD, READ_ONLY_EXIT, REFRESH
from vmexit_sim.mechanisms.base import Mechanism, register
from vmexit_sim.steps import Moment, Steps, spend, stamp


@register("read_only_page")
class ReadOnlyPage(Mechanism):
    """Reads without an exit; writes, and reads with side effects, with one."""

    @property
    def by_ecam(self) -> bool:
        """It does."""
        return True

    def access(self, host: Host, access: AccessClass) -> Steps:
        """A load; or a trap, and after a write a refreshed page."""
        if access.write:
            yield from host.leave_guest(READ_ONLY_EXIT)
            yield from host.dispatch("mmio", write=True)
            yield from host.emulate(access, "mmio", body=self._write(host, access))
            yield from host.enter_guest()
        elif access.side_effect:
            yield from host.trap(access, "mmio", MMIO_EXIT)
        else:
            yield spend(PAGE_LOAD, host.cost("page_load"))
            yield stamp(Moment.DONE)

    def _write(self, host: Host, access: AccessClass) -> Steps:
        yield from host.handle(access)
        yield spend(REFRESH, host.cost("refresh_page"))
