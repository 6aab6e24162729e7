"""A cache of config registers in the guest: a read that repeats one is answered from memory.

::

    read   kept?  ── yes ─► cache hit: no exit
             └───── no ──► underlying way (a miss is kept from now on)
    write  ──────────────► underlying way, and what was kept of it is forgotten

The kernel's config routines keep what they read of each function until it is written
(write-invalidate). Reads with side effects and registers that change by themselves always go to
the device. Which reads hit follows from the vCPU's program order; each vCPU has a cache of its own
here, which a kernel's would not be.

Source: E. Petrongonas (AWS), "Introduce PCI Configuration Space Cache (PCSC)", RFC, linux-pci
2025-10-03, and LPC 2025.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from vmexit_sim.guest.register_cache import RegisterCache
from vmexit_sim.hypervisor.access_class import AccessClass
from vmexit_sim.hypervisor.host import Host
from vmexit_sim.mechanisms.as_recorded import Underlying, underlying
from vmexit_sim.mechanisms.base import History, Mechanism, register
from vmexit_sim.steps import Moment, Role, Stage, Steps, spend, stamp

CACHE_HIT = Stage("cache hit", Role.ACCESS)

Register = Annotated[int, Field(ge=0, le=4095)]
Registers = Annotated[tuple[Register, Register], Field(strict=False)]

COMMAND_AND_STATUS = (0x04, 0x07)
"""Status bits set themselves. The source keeps neither: its patch 03/13 says so."""


@register("cached")
class Cached(Mechanism):
    """Config reads from a cache; everything else by an underlying way.

    Attributes:
        via: the way of misses, writes, and what is not kept.
        invalidate: what a write makes the cache forget: "register" (what it touches) or
            "function" (all that is kept of its function).
        line: bytes that are kept and forgotten together: a "dword", of which a miss reads all, or
            a "byte", so that a miss brings in only what was asked for, as in the source.
        exclude: registers that are never kept, as (first, last).
        volatile: whether to keep registers all the same that may change without a write
            (`Flag.VOLATILE`): how far a cache could get that need not be right.
    """

    via: Underlying = "recorded"
    invalidate: Literal["register", "function"] = "register"
    line: Literal["dword", "byte"] = "dword"
    exclude: Annotated[tuple[Registers, ...], Field(strict=False)] = (COMMAND_AND_STATUS,)
    volatile: bool = False

    @property
    def by_ecam(self) -> bool:
        """As its underlying way."""
        return underlying(self.via).by_ecam

    def new_history(self) -> History:
        """An empty cache."""
        return RegisterCache(
            line={"dword": 4, "byte": 1}[self.line],
            invalidate=self.invalidate,
            exclude=self.exclude,
            volatile=self.volatile,
        )

    def access(self, host: Host, access: AccessClass) -> Steps:
        """A look-up in memory, or the way to the device."""
        if access.hit:
            yield spend(CACHE_HIT, host.cost("cache_hit"))
            yield stamp(Moment.DONE)
        else:
            yield from underlying(self.via).access(host, access)
