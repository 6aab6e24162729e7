"""KVM's trace events as data: what happened, to which thread, when.

`kvm_log` reads them from text, `kvm_text` writes them as text, `kvm_exits` joins them to exits.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias


class Exit(NamedTuple):
    """A vCPU has left the guest; `info` are the processor's two words about why."""

    vcpu: int | None
    reason: str
    info: tuple[int, int] | None


class Entry(NamedTuple):
    """A vCPU is about to enter the guest."""

    vcpu: int


class Port(NamedTuple):
    """Port I/O: of a read when it is complete, of a write when it begins."""

    write: bool
    port: int
    size: int
    items: int
    value: int | None


class Memory(NamedTuple):
    """An access to memory that is none; `unsatisfied`: a read that nobody has answered yet."""

    write: bool
    unsatisfied: bool
    address: int
    size: int
    value: int


class FastMemory(NamedTuple):
    """A write to memory that is none, at an address whose writes only signal."""

    address: int


class Msr(NamedTuple):
    """A model-specific register, read or written."""

    write: bool
    register: int
    value: int


class UserSpace(NamedTuple):
    """A vCPU's thread goes back to user space.

    Attributes:
        reason: what for: the name of a KVM_EXIT constant; or "restart" or "error", as the kernel
            prints a negative result of KVM_RUN (include/trace/events/kvm.h).
    """

    reason: str

    @property
    def is_interruption(self) -> bool:
        """Whether the guest wants nothing of user space: a signal, or an error, called it there."""
        return self.reason in ("restart", "error", "KVM_EXIT_INTR")


class Hypercall(NamedTuple):
    """A guest's hypercall, by its number."""

    number: int


class Interrupt(NamedTuple):
    """An interrupt is injected into a vCPU."""

    vector: int


class EndOfInterrupt(NamedTuple):
    """A vCPU has said that the service of an interrupt is over."""

    vector: int


What: TypeAlias = (
    Exit | Entry | Port | Memory | FastMemory | Msr | UserSpace | Hypercall | Interrupt
    | EndOfInterrupt
)  # fmt: skip


class Event(NamedTuple):
    """One event.

    Attributes:
        line: its line's number.
        time: when, in ns of the log's clock.
        thread: the vCPU's thread on the host.
        what: what happened; None: events were lost here, nobody knows of which thread.
    """

    line: int
    time: int
    thread: int
    what: What | None
