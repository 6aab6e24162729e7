"""Mechanisms: the ways of reaching an emulated device, one small module each."""

from vmexit_sim.mechanisms import (
    batched_hypercall,
    coalesced_mmio,
    hypercall,
    ioeventfd,
    native,
    operation_hypercall,
    paravirtual_front_end,
    passthrough,
    read_only_page,
    side_core,
    trap_mmio,
    trap_pio,
    virtqueue,
)
from vmexit_sim.mechanisms.base import (
    MECHANISMS,
    Mechanism,
    SideActor,
    make_mechanism,
    name_of,
    register,
)

__all__ = [
    "MECHANISMS",
    "Mechanism",
    "SideActor",
    "batched_hypercall",
    "coalesced_mmio",
    "hypercall",
    "ioeventfd",
    "make_mechanism",
    "name_of",
    "native",
    "operation_hypercall",
    "paravirtual_front_end",
    "passthrough",
    "read_only_page",
    "register",
    "side_core",
    "trap_mmio",
    "trap_pio",
    "virtqueue",
]
