"""The VMM of the probes: a compiled loop around KVM_RUN, so that Python's time is not measured.

::

    KVM_RUN ──► exit ──► [drain ring] ──► port, memory: device handles items ──► KVM_RUN
                  └── the guest's stop port, or an exit that no probe expects: over

The device is one small function for each item, whether the item came alone, in a string access, in
the ring of coalesced writes, or as one of a doorbell's descriptors in guest memory.

Layout of struct kvm_run and of the ring: Linux include/uapi/linux/kvm.h.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import types

from vmexit_sim.engine.jit import compiled
from vmexit_sim.probe.kvm import EXIT_IO, EXIT_MMIO, RUN, Bytes

STOP_PORT = 0x1F4
BATCH_PORT = 0x310
"""Ports that mean something to the loop: the end, and a doorbell whose value is a count."""

DESCRIPTORS = 0x4000
"""Where a doorbell's descriptors lie in guest memory, four bytes each."""

ITEMS, DRAINED = 32, 33
"""Places in `counts` behind the exit reasons: items handled, and how many of them by draining."""
COUNTS = 34

STOPPED, FAILED, LIMIT = 0, 1, 2
"""How a run ends: the guest says so, anything unexpected, or too many exits."""

RING, HOLD, LOCK, MOST, GATE = 0, 1, 2, 3, 4
"""Places in `setting`: the ring's place in the vCPU's mapping (bytes; 0: none); rounds of work for
each item; the lock's address (0: none); most exits; how many threads the gate waits for."""
SETTINGS = 5

BEGIN, END, PREEMPTED, USAGE = 0, 2, 4, 5
"""Places in `stamps`: begin and end (s and ns of the monotonic clock); how often the kernel took
the CPU away in between; room for a struct rusage."""
STAMPS = USAGE + 18
NIVCSW = 17
"""Place of ru_nivcsw in a struct rusage, in words of 8 bytes (getrusage(2), x86-64)."""

RUSAGE_THREAD = 1

MIXED = np.uint64(0x9E3779B97F4A7C15)
CLOCK_MONOTONIC = 1
EINTR, EAGAIN = 4, 11

_ioctl: Any = types.ExternalFunction("ioctl", types.int32(types.int32, types.uint64, types.uint64))
_errno: Any = types.ExternalFunction("__errno_location", types.CPointer(types.int32)())  # type: ignore[no-untyped-call]
_clock: Any = types.ExternalFunction("clock_gettime", types.int32(types.int32, types.uint64))
_usage: Any = types.ExternalFunction("getrusage", types.int32(types.int32, types.uint64))
_lock: Any = types.ExternalFunction("pthread_spin_lock", types.int32(types.uint64))
_unlock: Any = types.ExternalFunction("pthread_spin_unlock", types.int32(types.uint64))


def _begin(stamps: Any, at: Any) -> None:
    """Note what the kernel has taken so far, and the time."""
    _usage(RUSAGE_THREAD, at + np.uint64(8 * USAGE))
    stamps[PREEMPTED] = -stamps[USAGE + NIVCSW]
    _clock(CLOCK_MONOTONIC, at + np.uint64(8 * BEGIN))


begin = compiled(_begin)


def _end(stamps: Any, at: Any) -> None:
    """Note the time, and what the kernel has taken since the begin."""
    _clock(CLOCK_MONOTONIC, at + np.uint64(8 * END))
    _usage(RUSAGE_THREAD, at + np.uint64(8 * USAGE))
    stamps[PREEMPTED] += stamps[USAGE + NIVCSW]


end = compiled(_end)


def _handle(device: Any, value: Any, hold: int) -> None:
    """What the device does for one item: note it, and work for `hold` rounds."""
    device[0] += np.uint64(value)
    device[1] += np.uint64(1)
    mixed = device[2]
    for _ in range(hold):
        mixed ^= mixed << np.uint64(13)
        mixed ^= mixed >> np.uint64(7)
        mixed ^= mixed << np.uint64(17)
    device[2] = mixed


handle = compiled(_handle)


def _walk(memory: Any, first: int, n: int, device: Any, hold: int) -> None:
    """The doorbell's handler: each of `n` descriptors from place `first` on, in order."""
    for item in range(n):
        handle(device, memory[first + item], hold)


walk = compiled(_walk)


def _drain(run8: Any, run32: Any, ring: int, device: Any, hold: int) -> int:
    """Handle what has gathered in the ring of coalesced writes; how many that were.

    The ring: first, last (u32), then entries of 24 bytes: address (u64), length, padding (u32),
    data (8 bytes). The kernel fills at `last`, user space empties at `first`.
    """
    entries = (4096 - 8) // 24
    word = ring // 4
    n = 0
    while run32[word] != run32[word + 1]:
        first = np.int64(run32[word])
        handle(device, run8[ring + 8 + 24 * first + 16], hold)
        run32[word] = np.uint32((first + 1) % entries)
        n += 1
    return n


drain = compiled(_drain)


def _run_vcpu(
    fd: int, run8: Any, run32: Any, run64: Any, memory: Any, page: Any, device: Any, gate: Any,
    counts: Any, setting: Any, stamps: Any, stamps_at: Any,
) -> int:  # fmt: skip
    """Run a vCPU until its guest stops.

    Args:
        fd: the vCPU.
        run8: its mapping, as bytes.
        run32: the same as words of 4 bytes.
        run64: the same as words of 8 bytes.
        memory: guest memory from address 0, as words of 4 bytes.
        page: the page that a write to read-only memory refreshes, as bytes.
        device: the device's state, uint64 [3].
        gate: int64 [1]: who has come; all begin when all are there.
        counts: exits by reason, then items (`ITEMS`, `DRAINED`).
        setting: see `RING`.
        stamps: int64 [STAMPS]; see `BEGIN`.
        stamps_at: where `stamps` lies.

    Returns:
        `STOPPED`, `FAILED`, `LIMIT`, or the negative error of KVM_RUN.
    """
    ring, hold, lock = setting[RING], setting[HOLD], np.uint64(setting[LOCK])
    exits = 0
    how = FAILED
    if setting[GATE] > 0:
        if lock:
            _lock(lock)
        gate[0] += 1
        if lock:
            _unlock(lock)
        while gate[0] < setting[GATE]:
            _errno()  # opaque, so the gate is read again; yielding would give the CPU away
    begin(stamps, stamps_at)
    while True:
        if _ioctl(fd, RUN, 0) < 0:
            error = _errno()[0]
            if error in (EINTR, EAGAIN):
                continue
            how = -error
            break
        reason = run32[2]
        counts[min(reason, 31)] += 1
        exits += 1
        if exits > setting[MOST]:
            how = LIMIT
            break
        if reason == EXIT_IO and (run32[8] >> 16) == STOP_PORT:
            if ring:
                n = drain(run8, run32, ring, device, hold)
                counts[ITEMS] += n
                counts[DRAINED] += n
            how = STOPPED
            break
        if reason not in (EXIT_IO, EXIT_MMIO):
            break
        if lock:
            _lock(lock)
        if ring:
            n = drain(run8, run32, ring, device, hold)
            counts[ITEMS] += n
            counts[DRAINED] += n
        if reason == EXIT_MMIO:
            if run8[52]:  # is_write
                handle(device, run8[40], hold)
                page[0] = run8[40]
            else:
                handle(device, 0, hold)
                run64[5] = device[1]
            counts[ITEMS] += 1
        else:
            is_write, size, n = run8[32], run8[33], np.int64(run32[9])
            port, at = run32[8] >> 16, np.int64(run64[5])
            if port == BATCH_PORT:
                n = np.int64(run8[at])
                walk(memory, DESCRIPTORS // 4, n, device, hold)
            elif is_write:
                for item in range(n):
                    handle(device, run8[at + item * size], hold)
            else:
                for item in range(n):
                    handle(device, 0, hold)
                    run8[at + item * size] = np.uint8(device[1])
            counts[ITEMS] += n
        if lock:
            _unlock(lock)
    end(stamps, stamps_at)
    return how


run_vcpu = compiled(_run_vcpu)


def _walk_many(
    memory: Any, n: int, times: int, device: Any, hold: int, stamps: Any, stamps_at: Any
) -> None:
    """The doorbell's handler alone, `times` over `n` descriptors, timed."""
    begin(stamps, stamps_at)
    for _ in range(times):
        walk(memory, DESCRIPTORS // 4, n, device, hold)
    end(stamps, stamps_at)


walk_many = compiled(_walk_many)


@dataclass(kw_only=True)
class Run:
    """What one vCPU's run needs, and what it leaves.

    Attributes:
        device: the device's state, uint64 [3].
        counts: exits by reason, then items, int64 [COUNTS].
        setting: int64 [SETTINGS]; see `RING`.
        stamps: int64 [STAMPS]; see `BEGIN`.
    """

    device: npt.NDArray[np.uint64]
    counts: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(COUNTS, np.int64))
    setting: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(SETTINGS, np.int64))
    stamps: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(STAMPS, np.int64))

    @property
    def begin(self) -> int:
        """When it began, in ns of the monotonic clock."""
        return int(self.stamps[0]) * 10**9 + int(self.stamps[1])

    @property
    def end(self) -> int:
        """When it ended, likewise."""
        return int(self.stamps[2]) * 10**9 + int(self.stamps[3])

    @property
    def preempted(self) -> int:
        """How often the kernel took the CPU away in between."""
        return int(self.stamps[PREEMPTED])

    def go(self, fd: int, run: Bytes, memory: Bytes, page: Bytes,
           gate: npt.NDArray[np.int64]) -> int:  # fmt: skip
        """Run the vCPU; see `run_vcpu` for what is returned."""
        return int(run_vcpu(
            fd, run, run.view(np.uint32), run.view(np.uint64), memory.view(np.uint32), page,
            self.device, gate, self.counts, self.setting, self.stamps,
            np.uint64(self.stamps.ctypes.data),
        ))  # fmt: skip


def new_device() -> npt.NDArray[np.uint64]:
    """A device's state: sum of values, items, and what its work mixes (never 0)."""
    return np.array([0, 0, MIXED], np.uint64)
