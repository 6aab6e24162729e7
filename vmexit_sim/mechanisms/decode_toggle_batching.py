"""Decode toggles batched: a function's decoding goes off once and on once for all its BARs.

::

    before 2025   off size on | off size on | off size on …
    batched       off size      size          size … on

While all ones stand in a BAR the function must not decode addresses, so sizing turns decoding off
and on again in PCI_COMMAND. The hypervisor then unmaps and maps the function's BARs, which may be
dear. Whoever sizes all BARs of a function between one "off" and one "on" spares what stands between
two sizings: the "on", the look whether decoding is on, and the next "off" (`Flag.SPARE_TOGGLE`).
These accesses are not made. All others go by an underlying way.

What the kernel's own batched sequence adds is left out: it reads each register once more
(`vmexit_sim.guest.generators.bar_sizing` has the whole sequence).

Source: A. Williamson, "PCI: Batch BAR sizing operations", commit 4453f360862e (2025).
"""

from __future__ import annotations

from vmexit_sim.hypervisor.access_class import AccessClass
from vmexit_sim.hypervisor.host import Host
from vmexit_sim.mechanisms.as_recorded import Underlying, underlying
from vmexit_sim.mechanisms.base import Mechanism, register
from vmexit_sim.steps import Moment, Steps, stamp


@register("decode_toggle_batching")
class DecodeToggleBatching(Mechanism):
    """Accesses between two sizings of a function are not made.

    Attributes:
        via: the way of all other accesses.
    """

    via: Underlying = "recorded"

    @property
    def by_ecam(self) -> bool:
        """As its underlying way."""
        return underlying(self.via).by_ecam

    def access(self, host: Host, access: AccessClass) -> Steps:
        """Nothing, or the way to the device."""
        if access.spare_toggle:
            yield stamp(Moment.DONE)
        else:
            yield from underlying(self.via).access(host, access)
