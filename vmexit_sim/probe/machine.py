"""A machine for a guest: memory, a read-only page, a page of nothing, and a vCPU or two.

::

    0x00000 ┌────────────┐ memory: code, descriptors, buffers, stack
    0x10000 └────────────┘
    0xD0000   read-only page   a read is a load, a write exits
    0xE0000   nothing          reads and writes exit as MMIO
"""

from __future__ import annotations

import ctypes
import os
import threading
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from vmexit_sim.errors import VmexitError
from vmexit_sim.probe.guests import (
    CODE,
    KERNEL_PORT,
    MEMORY_BYTES,
    MMIO_PAGE,
    READ_ONLY_PAGE,
    STACK,
    USER_PORT,
    Guest,
)
from vmexit_sim.probe.kvm import EXIT_NAMES, Kvm, Vcpu, coalesced_ring
from vmexit_sim.probe.loop import (
    COUNTS,
    GATE,
    HOLD,
    ITEMS,
    LOCK,
    MOST,
    RING,
    STOPPED,
    Run,
    new_device,
)

PAGE = 4096

MOST_EXITS = 1000
"""Exits of one iteration beyond which a run is given up."""

TOGETHER = 0.02
"""Part of a run by which one vCPU may begin after another; more means that it was kept waiting."""


class ProbeFailed(VmexitError):
    """A guest did not do what it should have done; the message says what happened instead."""


@dataclass(frozen=True, kw_only=True)
class Board:
    """What the kernel is asked to do for the guest itself.

    Attributes:
        port_eventfd: writes to `USER_PORT` signal an eventfd.
        memory_eventfd: so do writes to the page of nothing.
        coalesced: writes to the page of nothing gather in a ring.
        irqchip: interrupt controllers in the kernel.
    """

    port_eventfd: bool = False
    memory_eventfd: bool = False
    coalesced: bool = False
    irqchip: bool = False

    @property
    def needs(self) -> tuple[str, ...]:
        """The capabilities that it takes."""
        wanted = (
            ("KVM_CAP_IOEVENTFD", self.port_eventfd or self.memory_eventfd),
            ("KVM_CAP_COALESCED_MMIO", self.coalesced),
            ("KVM_CAP_IRQCHIP", self.irqchip),
        )
        return tuple(name for name, is_wanted in wanted if is_wanted)


PLAIN = Board()


class Ran(NamedTuple):
    """What a run gave.

    Attributes:
        took: from the first vCPU's begin to the last one's end, in ps.
        counts: exits by reason, then items, of all vCPUs together, int64 [COUNTS].
        preempted: how often the kernel took the CPU away from a vCPU's thread, before its first
            entry or afterwards.
    """

    took: int
    counts: npt.NDArray[np.int64]
    preempted: int


class Machine:
    """A virtual machine with a guest in it, which can be run again and again.

    Args:
        kvm: the device.
        guest: what it runs.
        board: what the kernel does for it.
        vcpus: how many vCPUs run the guest, each on its own.
        hold: rounds of work that the device does for each item.

    Raises:
        NoKvm: KVM makes no machine.
        OSError: it refuses something that the machine needs.
    """

    def __init__(
        self, kvm: Kvm, guest: Guest, board: Board = PLAIN, *, vcpus: int = 1, hold: int = 0
    ) -> None:
        self.guest, self._hold = guest, hold
        self._vm = kvm.create_vm()
        try:
            self._build(kvm, board, vcpus)
        except BaseException:
            self.close()
            raise

    def _build(self, kvm: Kvm, board: Board, vcpus: int) -> None:
        vm = self._vm
        self._memory = vm.add_memory(0, MEMORY_BYTES)
        self._page = vm.add_memory(READ_ONLY_PAGE, PAGE, read_only=True)
        code = np.frombuffer(self.guest.code, np.uint8)
        self._memory[CODE : CODE + len(code)] = code
        if board.irqchip:
            vm.create_irqchip()
        self._events = []
        if board.port_eventfd:
            self._events.append(vm.ioeventfd(USER_PORT, 1, port=True))
        if board.memory_eventfd:
            self._events.append(vm.ioeventfd(MMIO_PAGE, 1, port=False))
        if board.coalesced:
            vm.coalesce(MMIO_PAGE, PAGE)
        self._ring = coalesced_ring(kvm) if board.coalesced else 0
        self._vcpus: list[Vcpu] = [vm.create_vcpu(number) for number in range(vcpus)]
        for vcpu in self._vcpus:
            vcpu.real_mode(fs=READ_ONLY_PAGE, gs=MMIO_PAGE)
        self._lock = np.zeros(64, np.uint8)
        ctypes.CDLL(None).pthread_spin_init(ctypes.c_void_p(self._lock.ctypes.data), 0)
        self._device = new_device()

    def __enter__(self) -> Machine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Take the machine down."""
        self._vm.close()

    def run(self, iterations: int) -> Ran:
        """Run the guest on every vCPU, `iterations` times its body; each has a CPU of the host.

        Raises:
            ProbeFailed: it did not come to its end.
        """
        gate = np.zeros(1, np.int64)
        runs = [Run(device=self._device) for _ in self._vcpus]
        for run, vcpu in zip(runs, self._vcpus, strict=True):
            guest = self.guest
            vcpu.set_registers(rax=guest.value, rcx=iterations, rdx=guest.port, rsp=STACK, rip=CODE)
            run.setting[RING], run.setting[HOLD] = self._ring, self._hold
            run.setting[MOST] = MOST_EXITS * iterations
            if len(runs) > 1:
                run.setting[LOCK], run.setting[GATE] = self._lock.ctypes.data, len(runs)
        ends = [0] * len(runs)

        cpus = sorted(os.sched_getaffinity(0))

        def go(number: int) -> None:
            if len(runs) > 1:
                os.sched_setaffinity(0, {cpus[number % len(cpus)]})
            vcpu = self._vcpus[number]
            ends[number] = runs[number].go(vcpu.fd, vcpu.run, self._memory, self._page, gate)

        others = [threading.Thread(target=go, args=(n,)) for n in range(1, len(runs))]
        for other in others:
            other.start()
        go(0)
        for other in others:
            other.join()
        if others:
            os.sched_setaffinity(0, cpus)
        counts = np.sum([run.counts for run in runs], axis=0)
        for end, vcpu in zip(ends, self._vcpus, strict=True):
            if end != STOPPED:
                raise ProbeFailed(_ended(end, vcpu, counts))
        begins = [run.begin for run in runs]
        begin, until = min(begins), max(run.end for run in runs)
        preempted = sum(run.preempted for run in runs)
        if max(begins) - begin > TOGETHER * (until - begin):
            preempted += 1
        return Ran((until - begin) * 1000, counts, preempted)


def exits_of(counts: Any) -> dict[str, int]:
    """Exits by reason, without those that ended the runs; `counts` is as `Machine.run` has it."""
    return {EXIT_NAMES.get(reason, str(reason)): int(counts[reason])
            for reason in range(min(ITEMS, COUNTS)) if counts[reason]}  # fmt: skip


def _ended(end: int, vcpu: Vcpu, counts: Any) -> str:
    """What came instead of the end."""
    if end < 0:
        return f"KVM_RUN fails: {os.strerror(-end)}"
    reason = int(vcpu.run.view(np.uint32)[2])
    name = EXIT_NAMES.get(reason, str(reason))
    if end != STOPPED and counts[:ITEMS].sum() > MOST_EXITS:
        return f"too many exits, the last {name}"
    return f"ends with exit {name}"


__all__ = ["KERNEL_PORT", "PLAIN", "Board", "Machine", "ProbeFailed", "exits_of"]
