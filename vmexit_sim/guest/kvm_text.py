"""KVM's trace events, written as three tools print them: what `kvm_log` reads.

A simulated guest can so be handed to tools that read such logs, and the reader be held against
what it should understand.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

from vmexit_sim.guest.kvm_event import (
    EndOfInterrupt,
    Entry,
    Event,
    Exit,
    FastMemory,
    Hypercall,
    Interrupt,
    Memory,
    Msr,
    Port,
    UserSpace,
    What,
)

Style: TypeAlias = Literal["trace-cmd", "perf", "perf --ns", "ftrace"]
"""Who prints: trace-cmd and ftrace with microseconds, perf with either."""

_NAMES = {
    Exit: "kvm_exit",
    Entry: "kvm_entry",
    Port: "kvm_pio",
    Memory: "kvm_mmio",
    FastMemory: "kvm_fast_mmio",
    Msr: "kvm_msr",
    UserSpace: "kvm_userspace_exit",
    Hypercall: "kvm_hypercall",
    Interrupt: "kvm_inj_virq",
    EndOfInterrupt: "kvm_eoi",
}

_USER_NUMBERS = {"restart": 4, "error": 14, "KVM_EXIT_MMIO": 6, "KVM_EXIT_INTR": 10}
"""What stands behind a reason for user space: EINTR, EFAULT, or the reason's own number."""


def event_line(event: Event, style: Style, *, name: str = "CPU 0/KVM", cpu: int = 0) -> str:
    """An event as a line, without its end; its own line's number plays no part.

    Args:
        event: what happened; times that a style cannot show are cut to whole microseconds.
        style: who prints.
        name: the thread's name.
        cpu: the host's CPU.
    """
    if event.what is None:
        return f"CPU:{cpu} [LOST 1 EVENTS]"
    said, called = _said(event.what, style), _NAMES[type(event.what)]
    seconds, ns = divmod(event.time, 1_000_000_000)
    fraction = f"{ns:09}" if style == "perf --ns" else f"{ns // 1_000:06}"
    if style in ("perf", "perf --ns"):
        where = f"{name:>16} {event.thread:>7} [{cpu:03}]"
        return f"{where} {seconds:>5}.{fraction}: {'kvm:' + called:>32}: {said}"
    thread = f"{name:>16}-{event.thread:<7}"
    if style == "trace-cmd":
        return f"{thread} [{cpu:03}] {seconds:>5}.{fraction}: {called + ':':<20} {said}"
    return f"{thread} [{cpu:03}] d..1. {seconds:>5}.{fraction}: {called}: {said}"


def _said(what: What, style: Style) -> str:
    match what:
        case Exit():
            return _exit(what, style)
        case Entry(vcpu):
            return f"vcpu {vcpu}, rip 0xffffffff81000000"
        case Port(write, port, size, items, value):
            shown = "" if value is None else f" val {value:#x} {'(...)' if items > 1 else ''}"
            kind = "write" if write else "read"
            return f"pio_{kind} at {port:#x} size {size} count {items}{shown}"
        case Memory(write, unsatisfied, address, size, value):
            kind = "write" if write else "unsatisfied-read" if unsatisfied else "read"
            return f"mmio {kind} len {size} gpa {address:#x} val {value:#x}"
        case FastMemory(address):
            return f"fast mmio at gpa {address:#x}"
        case Msr(write, register, value):
            return f"msr_{'write' if write else 'read'} {register:x} = {value:#x}"
        case UserSpace(reason):
            return f"reason {reason} ({_USER_NUMBERS.get(reason, 2)})"
        case Hypercall(number):
            return f"nr {number:#x} a0 0x0 a1 0x0 a2 0x0 a3 0x0"
        case Interrupt(vector):
            return f"IRQ {vector:#x}"
        case EndOfInterrupt(vector):
            return f"apicid 0 vector {vector}"


def _exit(what: Exit, style: Style) -> str:
    vcpu = "" if what.vcpu is None else f"vcpu {what.vcpu} "
    text = f"{vcpu}reason {what.reason} rip 0xffffffff81000000"
    if what.info is None:
        return text
    first, second = what.info
    if style == "trace-cmd":
        return f"{text} info {first:x} {second:x}"
    return (
        f"{text} info1 {first:#018x} info2 {second:#018x} "
        "intr_info 0x00000000 error_code 0x00000000"
    )
