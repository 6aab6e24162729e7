"""Mechanisms: the ways of reaching an emulated device, one small module each."""

from vmexit_sim.mechanisms import (
    as_recorded,
    batched_hypercall,
    cached,
    hypercall,
    native,
    operation_hypercall,
    paravirtual_front_end,
    read_only_page,
    trap_mmio,
    trap_msr,
    trap_pio,
)
from vmexit_sim.mechanisms.base import (
    MECHANISMS,
    History,
    Mechanism,
    SideActor,
    make_mechanism,
    name_of,
    register,
)

__all__ = [
    "MECHANISMS",
    "History",
    "Mechanism",
    "SideActor",
    "as_recorded",
    "batched_hypercall",
    "cached",
    "hypercall",
    "make_mechanism",
    "name_of",
    "native",
    "operation_hypercall",
    "paravirtual_front_end",
    "read_only_page",
    "register",
    "trap_mmio",
    "trap_msr",
    "trap_pio",
]
