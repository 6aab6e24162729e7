"""Coalesced writes: each still exits, but waits in a ring of the kernel's instead of in user space.

::

    write          exit | dispatch | decode | ring entry | entry
    write, full    exit | dispatch | decode | to user space: drain, emulate | back | entry
    read           exit | dispatch | decode | to user space: drain, emulate | back | entry

What is saved is the way to user space and back, never the exit. A VM has one ring, whichever
device and vCPU the writes come from. Reads trap, and so do writes whose effect must not wait (a
decode toggle). A config access by ports is two instructions: its address, a write, goes into the
ring, its data traps.

The VMM drains the ring, in order and under its lock, when a vCPU has come to user space for an
access to a device whose writes coalesce (QEMU marks such regions), or, as early QEMU did, for any
reason. Whoever has come pays for all that waits. A halt does not drain: an interrupt controller
in the kernel handles it there.

Nothing may wait for ever: a vCPU whose oldest write in the ring lies `PATIENCE` of its accesses
back goes to user space to drain it, and so does a vCPU at its end, on its last access's account.

Source: Linux virt/kvm/coalesced_mmio.c; QEMU memory.c, flush_coalesced_mmio.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from vmexit_sim.guest.table import Space
from vmexit_sim.hypervisor.access_class import AccessClass
from vmexit_sim.hypervisor.host import Host
from vmexit_sim.hypervisor.stages import EMULATE, INTERRUPT_EXIT
from vmexit_sim.mechanisms.as_recorded import AsRecorded, exit_of
from vmexit_sim.mechanisms.base import Mechanism, register
from vmexit_sim.mechanisms.trap_pio import two_cycles
from vmexit_sim.steps import (
    ACCESS,
    FAR,
    NOBODY,
    Cell,
    Clock,
    Column,
    Length,
    Moment,
    PostedAt,
    Queue,
    Register,
    Role,
    Stage,
    Step,
    Steps,
    book,
    leave,
    let,
    loop,
    put,
    spend,
    stamp,
    take,
    when,
)

RING_ENTRY = Stage("ring entry", Role.HYPERVISOR)
TAKE_ENTRY = Stage("ring item", Role.HYPERVISOR)
WAIT_IN_RING = Stage("wait in ring", Role.BACK)
DRAINED = Stage("drained with ring", Role.BACK)

PATIENCE = 1024
"""Accesses of a vCPU after which a write of its own has waited in the ring long enough. QEMU drains
now and then for reasons of its own (it redraws a display); the number is assumed."""

CONFIG_PORTS = "config ports"
"""The region of 0xCF8 and 0xCFC, whatever function is meant."""

FULL = Register("ring: full")
ITEM = Register("ring: item")
TAKEN = Register("ring: taken at")
SPENT = Register("ring: time")
AGE = Register("ring: accesses since the oldest")
FILLING = Register("ring: number of this filling")


@register("coalesced_mmio")
class CoalescedMmio(Mechanism):
    """Writes wait in a ring until the VMM has another reason to look at it.

    Rules whose rings have equally many entries share one ring.

    Attributes:
        entries: of the ring; one stays free. KVM's page has room for (4096 - 8) / 24 = 170.
        drained_by: which access that has come to user space drains the ring: one of the same
            "region" as a coalesced write (the same device; for config space the two ports), or
            "any".
        regions: further devices whose accesses drain it; ``*`` stands for anything.
    """

    by_device: ClassVar[bool] = True

    entries: Annotated[int, Field(ge=2, le=65_536)] = 170
    drained_by: Literal["region", "any"] = "region"
    regions: Annotated[tuple[str, ...], Field(strict=False)] = ()

    @property
    def outstanding(self) -> int:
        """What patience allows, and a ring that fills just then."""
        return PATIENCE + self.entries

    @property
    def _ring(self) -> Queue:
        return Queue(f"coalescing ring of {self.entries}", capacity=self.entries - 1)

    @property
    def _drains(self) -> Cell:
        return Cell(f"coalescing ring of {self.entries}: times drained")

    @property
    def _oldest(self) -> Register:
        return Register(f"ring of {self.entries}: oldest of this vCPU")

    @property
    def _filling(self) -> Register:
        return Register(f"ring of {self.entries}: filling of the oldest")

    def access(self, host: Host, access: AccessClass) -> Steps:
        """A write into the ring, or to user space if that is full; anything else traps."""
        via, reason = exit_of(access)
        if _coalesces(access):
            yield from host.leave_guest(reason)
            yield from host.dispatch(via, access.write)
            yield put(self._ring, ACCESS, refused=FULL)
            yield when(FULL, "==", 1, host.emulate(access, via), self._wait(host))
            yield from host.enter_guest()
        elif _has_address(access):
            noted = when(
                FULL, "==", 1,
                host.emulate(access, via, body=[]), [spend(RING_ENTRY, host.cost("ring_entry"))],
            )  # fmt: skip
            yield from two_cycles(
                host, access, note_address=[put(self._ring, NOBODY, refused=FULL), noted]
            )
        else:
            yield from self.before_others(host)
            yield from AsRecorded().access(host, access)

    def before_others(self, host: Host) -> Steps:
        """If a write of this vCPU has waited too long, drain the ring."""
        yield let(AGE, ACCESS, "-", self._oldest)
        late: list[Step] = [
            let(FILLING, self._drains, "+", 1),
            when(FILLING, "==", self._filling, self._visit(host)),
            let(self._oldest, FAR),
        ]
        yield when(AGE, ">=", PATIENCE, late)

    def at_end(self, host: Host) -> Steps:
        """What is left gets its effect; the vCPU's last access pays."""
        visit: list[Step] = [stamp(Moment.START), *self._visit(host), stamp(Moment.RESUME)]
        yield when(Length(self._ring), ">", 0, visit)

    def in_user_space(self, host: Host, access: AccessClass | None) -> Steps:
        """Drain the ring, if the access is to a region that is marked for it."""
        marked = {_region(each) for each in host.decided.get(self, ()) if _writes(each)}
        if self.drained_by == "any" or access is None or _region(access) in marked or any(
            fnmatchcase(access.device, pattern) for pattern in self.regions
        ):  # fmt: skip
            yield from self._drain(host)

    def _wait(self, host: Host) -> Steps:
        """The write has its place in the ring, and is remembered if it is this vCPU's oldest."""
        yield stamp(Moment.POSTED)
        yield let(FILLING, self._drains, "+", 1)
        first: list[Step] = [let(self._filling, FILLING), let(self._oldest, ACCESS)]
        yield when(self._filling, "!=", FILLING, first)
        yield spend(RING_ENTRY, host.cost("ring_entry"))

    def _visit(self, host: Host) -> Steps:
        """To user space and back, for no other purpose than to drain the ring."""
        yield from host.leave_guest(INTERRUPT_EXIT)
        yield from host.user_space("hypercall", self._drain(host))
        yield from host.enter_guest()

    def _drain(self, host: Host) -> Steps:
        """Item by item, in order, until the ring is found empty."""
        carry: list[Step] = [
            let(TAKEN, Clock()),
            spend(TAKE_ENTRY, host.cost("item"), whose=ITEM),
            spend(EMULATE, Column("emulate", ITEM)),
            stamp(Moment.DONE, ITEM),
            let(SPENT, TAKEN, "-", PostedAt(ITEM)),
            book(WAIT_IN_RING, SPENT, ITEM),
            let(SPENT, Clock(), "-", TAKEN),
            book(DRAINED, SPENT, ITEM),
        ]
        yield loop(
            [
                when(Length(self._ring), "==", 0, [leave()]),
                take(self._ring, TAKE_ENTRY, into=ITEM),
                when(ITEM, "!=", NOBODY, carry),  # an address is only noted
            ]
        )
        yield let(self._drains, self._drains, "+", 1)


def _writes(access: AccessClass) -> bool:
    """Whether any instruction of the access goes into the ring."""
    return _coalesces(access) or _has_address(access)


def _has_address(access: AccessClass) -> bool:
    """Whether the access is an address and then its data, in user space."""
    config = access.space is Space.PCI_CONFIG and not access.index_only
    return config and access.recorded_via == "port" and access.location == "user"


def _coalesces(access: AccessClass) -> bool:
    """Whether the access is a write that user space may see later."""
    may_wait = access.write and access.location == "user" and not access.decode_toggle
    return may_wait and access.space is not Space.MSR and not _has_address(access)


def _region(access: AccessClass) -> str:
    """What QEMU would mark: a device's registers, or the two config ports."""
    if access.space is Space.PCI_CONFIG and access.recorded_via == "port":
        return CONFIG_PORTS
    return access.device
