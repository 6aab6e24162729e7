"""Guests that make several accesses, and the parts of them that are no access.

These are what a prediction from single accesses is held against: accesses with compute between
them, the same behind a doorbell, a read-only page that is mostly read, and two vCPUs that want one
lock in user space.
"""

from __future__ import annotations

import os
from dataclasses import replace

import numpy as np

from vmexit_sim.probe.blocks import Blocks, measure, undisturbed
from vmexit_sim.probe.guests import OUT, Guest, batched, read_mostly, spin, spread
from vmexit_sim.probe.kvm import Kvm, refused
from vmexit_sim.probe.loop import COUNTS, Run, new_device, walk_many
from vmexit_sim.probe.machine import Machine, ProbeFailed
from vmexit_sim.probe.probes import Measured, failed, of_blocks

LOOP = "empty loop"
SPIN = "guest compute"
ITEM = "item in user space"
HOLD = "work under the lock"
SPREAD = "spread port writes"
READ_MOSTLY = "read-mostly on a read-only page"
LOCKED = "two vCPUs behind one lock"

DOORBELLS = (4, 16, 64)
"""Accesses that a doorbell carries in the composite guests."""

READS = 9
"""Reads for each write of the read-mostly mix."""

WALKED, WALKS, WORK = 256, 200, 500_000
"""Timing the handler alone: most descriptors; most walks of them; most rounds of work in a block,
which make about a millisecond."""

LOCKED_BLOCK_PS = 800_000_000
"""A block of two vCPUs: shorter, since both must keep their CPUs."""

LOCKED_TIMES = 3
"""So many times the blocks are wanted of it, since most are set aside on a busy host."""

EMPTY = Guest()


def behind_doorbell(items: int) -> str:
    """The name of the batched workload."""
    return f"port writes behind a doorbell of {items}"


def measure_guest(
    kvm: Kvm, name: str, guest: Guest, *, blocks: int, expected: int | None = None
) -> Measured:
    """Time a guest against the empty loop.

    Args:
        kvm: the device.
        name: what the result is called.
        guest: what is timed.
        blocks: how many blocks.
        expected: exits that an iteration should make; None: any.
    """
    try:
        with Machine(kvm, guest) as body, Machine(kvm, EMPTY) as control:
            return of_blocks(name, measure(body, control, blocks), expected)
    except ProbeFailed as ended:
        return failed(name, "unsupported", str(ended))
    except OSError as error:
        return failed(name, "unsupported", refused(error))


def measure_loop(kvm: Kvm, *, blocks: int) -> Measured:
    """Time the empty loop, so long that begin and end of a run don't count."""
    try:
        with Machine(kvm, EMPTY) as body:
            return of_blocks(LOOP, measure(body, None, blocks), 0)
    except ProbeFailed as ended:
        return failed(LOOP, "unsupported", str(ended))


def measure_spin(kvm: Kvm, rounds: int, *, blocks: int) -> Measured:
    """Time so many rounds of guest compute."""
    return measure_guest(kvm, SPIN, Guest(body=spin(rounds)), blocks=blocks, expected=0)


def measure_spread(kvm: Kvm, rounds: int, *, blocks: int) -> Measured:
    """Time port writes with compute between them; an iteration has one."""
    return measure_guest(kvm, SPREAD, spread(rounds), blocks=blocks, expected=1)


def measure_batched(kvm: Kvm, rounds: int, items: int, *, blocks: int) -> Measured:
    """Time the same behind a doorbell; an iteration has `items` of them."""
    guest = batched(rounds, items)
    return measure_guest(kvm, behind_doorbell(items), guest, blocks=blocks, expected=1)


def measure_read_mostly(kvm: Kvm, *, blocks: int) -> Measured:
    """Time `READS` reads and a write of a read-only page; an iteration has them all."""
    return measure_guest(kvm, READ_MOSTLY, read_mostly(READS), blocks=blocks, expected=1)


def measure_handler(name: str, hold: int, *, blocks: int) -> Measured:
    """Time what the device does for one item, without any guest.

    Args:
        name: `ITEM` or `HOLD`.
        hold: rounds of work for each item.
        blocks: how many blocks.
    """
    memory = np.zeros(0x10000, np.uint8).view(np.uint32)
    run = Run(device=new_device())
    most = WORK // max(hold, 1)
    items, times = min(max(most, 1), WALKED), min(max(most // WALKED, 1), WALKS)

    def one() -> tuple[float, int]:
        stamps_at = np.uint64(run.stamps.ctypes.data)
        walk_many(memory, items, times, run.device, hold, run.stamps, stamps_at)
        return (run.end - run.begin) * 1000 / (items * times), run.preempted

    one()
    values, set_aside, disturbed = undisturbed(one, blocks)
    nothing = np.zeros(len(values))
    found = Blocks(whole=np.array(values), control=nothing, iterations=items * times,
                   counts=np.zeros(COUNTS, np.int64), set_aside=set_aside,
                   disturbed=disturbed)  # fmt: skip
    return replace(of_blocks(name, found), exits={}, items=1.0)


def measure_locked(kvm: Kvm, hold: int, *, blocks: int) -> Measured:
    """Time two vCPUs, each of which makes port writes that are handled under one lock.

    The lock spins (pthread_spin_lock), so no wake-up of a sleeper is in it. An iteration is one
    access of each vCPU.
    """
    if len(os.sched_getaffinity(0)) < 2:
        return failed(LOCKED, "unsupported", "two vCPUs at a time take two CPUs of the host")
    guest = Guest(body=(OUT,))
    try:
        with Machine(kvm, guest, vcpus=2, hold=hold) as body:
            wanted = LOCKED_TIMES * blocks
            found = measure(body, None, wanted, block_ps=LOCKED_BLOCK_PS)
    except ProbeFailed as ended:
        return failed(LOCKED, "unsupported", str(ended))
    except OSError as error:
        return failed(LOCKED, "unsupported", refused(error))
    return replace(of_blocks(LOCKED, found), exits={"IO": 2.0})
