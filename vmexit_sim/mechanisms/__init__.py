"""Mechanisms: the ways of reaching an emulated device, one small module each."""

from vmexit_sim.mechanisms import (
    batched_hypercall,
    hypercall,
    native,
    operation_hypercall,
    paravirtual_front_end,
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
    "hypercall",
    "make_mechanism",
    "name_of",
    "native",
    "operation_hypercall",
    "paravirtual_front_end",
    "read_only_page",
    "register",
    "side_core",
    "trap_mmio",
    "trap_pio",
    "virtqueue",
]
