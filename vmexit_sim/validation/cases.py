"""Small cases of every mechanism whose cost a person can add up.

The sums were written down with the mechanisms' pages in ``docs/mechanisms`` and their code both
known, so they are no independent derivation: whoever misread a mechanism would have misread it
twice. What they guard against is a cost charged twice, left out or taken for another. That rests on
the second set of costs in `paths`, all different and none 0, and on a test that breaks a path
(``Host.enter_guest``) and must find the sums failing.

``emulate`` is what the device works on an access, ``compute`` what the guest computes before its
last one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from vmexit_sim.guest.table import Flag, Kind, Space
from vmexit_sim.hypervisor.host import Delivery
from vmexit_sim.hypervisor.idle import FREE, Idle
from vmexit_sim.measure.records import RunResult
from vmexit_sim.units import MICROSECOND
from vmexit_sim.validation.expression import Named, Term, larger, next_multiple

EMULATE, COMPUTE = 2 * MICROSECOND, 100 * MICROSECOND
USER, KERNEL = ("nvme",), ("pit",)
"""A device that QEMU emulates in user space, and one that KVM emulates in the kernel."""

PLATFORM = "kvm-2017"
NESTED = "kvm-nested-2017"


def _completion(result: RunResult) -> int:
    return result.completion


def _effect(result: RunResult) -> int:
    """Of the last access: from when it was issued until the device had changed."""
    columns = result.to_columns()
    return int(columns["done"][-1] - columns["start"][-1])


def _last_stall(result: RunResult) -> int:
    return int(result.to_columns()["stall"][-1])


@dataclass(frozen=True, kw_only=True)
class Case:
    """One guest of a few accesses, and what it must take.

    Attributes:
        mechanism: whose path it is; what the one rule says where `how` is not given.
        what: the case, in words.
        total: the sum, from the costs by name.
        rows: how many accesses.
        columns: what they are, as `make_table` takes it.
        how: the mechanism with parameters.
        measure: which time of the run (ps) the sum is; by default all of it.
        delivery: how interrupts get into the guest.
        idle: how the guest waits.
        platform: whose costs.
    """

    mechanism: str
    what: str
    total: Callable[[Named], Term]
    rows: int = 1
    columns: Mapping[str, Any] = field(default_factory=dict)
    how: Mapping[str, Any] | None = None
    measure: Callable[[RunResult], int] = _completion
    delivery: Delivery = "exit"
    idle: Idle = FREE
    platform: str = PLATFORM


CONFIG = {"space": Space.PCI_CONFIG, "emulate": EMULATE}
ECAM = {**CONFIG, "flags": Flag.ECAM}
PORT = {"space": Space.PORT_IO, "emulate": EMULATE}
MEMORY = {"space": Space.MMIO, "emulate": EMULATE}
DOORBELL = {"space": Space.DOORBELL, "write": 1, "emulate": EMULATE}
IPIS = {"space": Space.MSR, "write": 1, "kind": Kind.IPI, "operation": 0, "targets": 1,
        "devices": KERNEL}  # fmt: skip


def _switch(c: Named) -> Term:
    return c.world_switch_out + c.world_switch_in


def _user(c: Named) -> Term:
    return c.to_user + c.emulate + c.to_kernel


def _mmio(c: Named) -> Term:
    return (
        c.world_switch_out + c.dispatch_mmio + c.decode_mmio + _user(c) + c.complete_mmio
        + c.world_switch_in
    )  # fmt: skip


def _config_by_ports(c: Named) -> Term:
    both = _switch(c) + c.dispatch_port + c.to_user + c.to_kernel
    return 2 * both + c.decode_port_out + c.decode_port_in + c.emulate


def _call(c: Named) -> Term:
    return c.world_switch_out + c.dispatch_hypercall + _user(c) + c.world_switch_in


def _batch(c: Named, items: int) -> Term:
    taken = c.item + c.emulate
    return (
        c.world_switch_out + c.dispatch_hypercall + c.to_user
        + (items * taken if items > 1 else taken) + c.to_kernel + c.world_switch_in
    )  # fmt: skip


def _kick(c: Named) -> Term:
    return c.world_switch_out + c.dispatch_mmio + c.signal


BATCHED = {"name": "batched_hypercall", "needs": "oracle", "flush_at_operation_end": False}
VIRTQUEUE = {"name": "virtqueue", "completions": "none"}

TRAPS = (
    Case(mechanism="native", what="a config read by ports", columns=CONFIG,
         total=lambda c: c.native_port_config),
    Case(mechanism="native", what="a config read by ECAM", columns=ECAM,
         total=lambda c: c.native_mmio),
    Case(mechanism="native", what="a port write", columns={**PORT, "write": 1},
         total=lambda c: c.native_port),
    Case(mechanism="trap_pio", what="a config read: address and data, both to user space",
         columns=CONFIG, total=_config_by_ports),
    Case(mechanism="trap_pio", what="a config write", columns={**CONFIG, "write": 1},
         total=lambda c: 2 * (_switch(c) + c.dispatch_port + c.decode_port_out + c.to_user
                              + c.to_kernel) + c.emulate),
    Case(mechanism="trap_pio", what="a port read that the kernel answers",
         columns={**PORT, "devices": KERNEL},
         total=lambda c: _switch(c) + c.dispatch_port + c.decode_port_in + c.emulate),
    Case(mechanism="trap_pio", what="two vCPUs at the config lock: the second waits for all of the "
         "first", rows=2, columns={**CONFIG, "vcpu": [0, 1]},
         total=lambda c: 2 * _config_by_ports(c)),
    Case(mechanism="as_recorded", what="a port write to user space",
         columns={**PORT, "write": 1},
         total=lambda c: _switch(c) + c.dispatch_port + c.decode_port_out + _user(c)),
    Case(mechanism="trap_mmio", what="a read, to user space", columns=MEMORY, total=_mmio),
    Case(mechanism="trap_mmio", what="a write that the kernel answers",
         columns={**MEMORY, "write": 1, "devices": KERNEL},
         total=lambda c: _switch(c) + c.dispatch_mmio + c.decode_mmio + c.emulate),
    Case(mechanism="trap_mmio", what="two vCPUs at the VMM's lock: the second waits for the "
         "device's work", rows=2, columns={**MEMORY, "vcpu": [0, 1]},
         total=lambda c: _mmio(c) + c.emulate),
    Case(mechanism="trap_msr", what="an interrupt to one vCPU, by the x2APIC", columns=IPIS,
         total=lambda c: _switch(c) + c.dispatch_msr + c.deliver_ipi),
    Case(mechanism="trap_mmio", what="an access in an interrupt's service: an exit begins it, "
         "and an exit ends it", columns={**MEMORY, "flags": Flag.INTERRUPT | Flag.END_OF_INTERRUPT},
         total=lambda c: c.injection + _mmio(c) + c.world_switch_out + c.eoi + c.world_switch_in),
    Case(mechanism="trap_mmio", what="the same with posted interrupts", delivery="posted",
         columns={**MEMORY, "flags": Flag.INTERRUPT | Flag.END_OF_INTERRUPT},
         total=lambda c: c.posted_injection + _mmio(c)),
    Case(mechanism="native", what="a halt without polling, then an access", columns={
         "space": Space.MMIO, "flags": Flag.WAITED, "compute": COMPUTE}, idle=Idle(guest="halt"),
         total=lambda c: c.compute + c.vcpu_wake_up + c.world_switch_in + c.native_mmio),
    Case(mechanism="native", what="a halt whose event comes while it exits", columns={
         "space": Space.MMIO, "flags": Flag.WAITED, "compute": 1}, idle=Idle(guest="halt"),
         total=lambda c: c.world_switch_out + c.dispatch_halt + c.world_switch_in + c.native_mmio),
    Case(mechanism="hypercall", what="a read, to user space", columns=MEMORY, total=_call),
    Case(mechanism="hypercall", what="nested: L0 forwards the exit, and L1 exits once to resume L2",
         columns={**MEMORY, "devices": KERNEL}, platform=NESTED,
         total=lambda c: c.world_switch_out + c.forward + c.l1_exit + c.dispatch_hypercall
         + c.emulate + c.world_switch_in),
    Case(mechanism="hypercall", what="nested, to L1's user space: 23 further exits of L1",
         columns=MEMORY, platform=NESTED,
         total=lambda c: c.world_switch_out + c.forward + 24 * c.l1_exit + c.dispatch_hypercall
         + _user(c) + c.world_switch_in),
    Case(mechanism="passthrough", what="a register read", columns=MEMORY,
         total=lambda c: c.native_mmio),
    Case(mechanism="passthrough", what="a config read, trapped to user space", columns=CONFIG,
         total=_config_by_ports),
)  # fmt: skip

SPARING = (
    Case(mechanism="read_only_page", what="a config read", columns=CONFIG,
         total=lambda c: c.page_load),
    Case(mechanism="read_only_page", what="a config write, which refreshes the page",
         columns={**CONFIG, "write": 1}, total=lambda c: _mmio(c) + c.refresh_page),
    Case(mechanism="read_only_page", what="a read that changes the register",
         columns={**MEMORY, "flags": Flag.SIDE_EFFECT}, total=_mmio),
    Case(mechanism="cached", what="three reads of one register: a miss and two hits", rows=3,
         columns=CONFIG, total=lambda c: _config_by_ports(c) + 2 * c.cache_hit),
    Case(mechanism="operation_hypercall", what="an operation of four accesses: one call", rows=4,
         columns={**CONFIG, "operation": 0}, total=_call),
    Case(mechanism="batched_hypercall", what="four writes: a full batch", rows=4,
         how={**BATCHED, "max_batch": 4}, columns={**MEMORY, "write": 1},
         total=lambda c: 4 * c.gather + _batch(c, 4)),
    Case(mechanism="batched_hypercall", what="two writes far apart: a timer flushes the first, the "
         "guest's end the second", rows=2, how={**BATCHED, "max_wait": "20 us"},
         columns={**MEMORY, "write": 1, "compute": [0, COMPUTE]},
         total=lambda c: 2 * (c.gather + _batch(c, 1)) + c.injection + c.compute),
    Case(mechanism="decode_toggle_batching", what="four toggles, of which batching spares two",
         rows=4, columns={**CONFIG, "write": 1, "address": 4, "flags": [
             Flag.DECODE_TOGGLE, Flag.DECODE_TOGGLE | Flag.SPARE_TOGGLE,
             Flag.DECODE_TOGGLE | Flag.SPARE_TOGGLE, Flag.DECODE_TOGGLE]},
         total=lambda c: 2 * (2 * (_switch(c) + c.dispatch_port + c.decode_port_out + c.to_user
                                   + c.to_kernel) + c.emulate + c.state_change)),
    Case(mechanism="instruction_cluster", what="a config read: two instructions, one world switch",
         columns=CONFIG,
         total=lambda c: _switch(c) + 2 * (c.dispatch_port + c.to_user + c.to_kernel)
         + c.decode_port_out + c.decode_port_in + c.emulate),
    Case(mechanism="instruction_cluster", what="three memory reads, translated in user space",
         rows=3, how={"name": "instruction_cluster", "translated_in": "user"}, columns=MEMORY,
         total=lambda c: _switch(c) + c.to_user + c.to_kernel + c.complete_mmio
         + 3 * (c.dispatch_mmio + c.decode_mmio + c.emulate)),
    Case(mechanism="pv_ipi", what="a multicast to three vCPUs", rows=3, columns=IPIS,
         total=lambda c: _switch(c) + c.dispatch_hypercall + 3 * c.deliver_ipi),
    Case(mechanism="coalesced_mmio", what="three writes, and a read that drains the ring", rows=4,
         columns={**MEMORY, "write": [1, 1, 1, 0]},
         total=lambda c: 3 * (_switch(c) + c.dispatch_mmio + c.decode_mmio + c.ring_entry)
         + _mmio(c) + 3 * (c.item + c.emulate)),
    Case(mechanism="coalesced_mmio", what="a ring of four: the fourth write finds it full", rows=4,
         how={"name": "coalesced_mmio", "entries": 4}, columns={**MEMORY, "write": 1},
         total=lambda c: 3 * (_switch(c) + c.dispatch_mmio + c.decode_mmio + c.ring_entry)
         + _mmio(c) + 3 * (c.item + c.emulate)),
    Case(mechanism="coalesced_mmio", what="a config read by ports: the address stays in the kernel",
         columns=CONFIG,
         total=lambda c: 2 * (_switch(c) + c.dispatch_port) + c.decode_port_out + c.ring_entry
         + c.decode_port_in + _user(c)),
)  # fmt: skip

BACK_ENDS = (
    Case(mechanism="paravirtual_front_end", what="a config read: the back end works while the "
         "guest returns and spins", columns=CONFIG,
         total=lambda c: c.gather + c.world_switch_out + c.dispatch_hypercall
         + larger(c.world_switch_in, c.thread_wake_up + c.emulate) + c.pick_up),
    Case(mechanism="ioeventfd", what="a doorbell, compared by value: what the guest stands still",
         columns=DOORBELL, measure=_last_stall,
         total=lambda c: _switch(c) + c.dispatch_mmio + c.decode_mmio + c.signal),
    Case(mechanism="ioeventfd", what="the same until the device has changed", columns=DOORBELL,
         measure=_effect,
         total=lambda c: c.world_switch_out + c.dispatch_mmio + c.decode_mmio + c.signal
         + c.thread_wake_up + c.emulate),
    Case(mechanism="ioeventfd", what="a doorbell of no length: nothing is decoded",
         how={"name": "ioeventfd", "match": "wildcard", "zero_length": True}, columns=DOORBELL,
         measure=_last_stall, total=lambda c: _switch(c) + c.dispatch_mmio + c.signal),
    Case(mechanism="virtqueue", what="a request to a sleeping back end: what the guest stands "
         "still", how=VIRTQUEUE, columns=DOORBELL, measure=_last_stall,
         total=lambda c: c.gather + _kick(c) + c.world_switch_in),
    Case(mechanism="virtqueue", what="the same until it is done", how=VIRTQUEUE, columns=DOORBELL,
         measure=_effect, total=lambda c: c.gather + _kick(c) + c.thread_wake_up + c.emulate),
    Case(mechanism="virtqueue", what="a second request while the back end is at work: no kick",
         rows=2, how=VIRTQUEUE, columns={**DOORBELL, "emulate": COMPUTE}, measure=_last_stall,
         total=lambda c: c.gather),
    Case(mechanism="virtqueue", what="a request whose answer the guest spins for", how=VIRTQUEUE,
         columns={**DOORBELL, "needed_by": [1]}, measure=_last_stall,
         total=lambda c: c.gather + _kick(c) + larger(c.world_switch_in, c.thread_wake_up
                                                      + c.emulate) + c.pick_up),
    Case(mechanism="side_core", what="a request: what the guest stands still",
         how={"name": "side_core", "completions": "none"}, columns=DOORBELL, measure=_last_stall,
         total=lambda c: c.gather),
    Case(mechanism="side_core", what="the same until it is done: found at the end of a look",
         how={"name": "side_core", "completions": "none"}, columns=DOORBELL, measure=_effect,
         total=lambda c: next_multiple(c.poll_queue, c.gather) + c.emulate),
)  # fmt: skip

CASES = (*TRAPS, *SPARING, *BACK_ENDS)
"""All of them."""
