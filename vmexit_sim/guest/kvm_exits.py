"""The exits of a KVM log: from each ``kvm_exit`` to the ``kvm_entry`` of the same thread.

::

    kvm_entry ── guest ──► kvm_exit ── kvm_pio, kvm_userspace_exit, … ──► kvm_entry ── guest ──►
                 `guest`            `duration`, `inside`, `user`

An exit is taken only if both its ends are there and nothing was lost in between. After a gap in the
log (events lost) every exit that was open is dropped, and the guest's time before the next one is
not known; the same if an event has no partner, or if the clock goes back.

A thread also goes to user space because a signal called it there (KVM_RUN ended with EINTR), on
its way back into the guest. That is no access that user space handles, though its time is in the
exit's: such an exit is `interrupted`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from vmexit_sim.errors import InputError
from vmexit_sim.guest.kvm_event import (
    Entry,
    Event,
    Exit,
    FastMemory,
    Hypercall,
    Memory,
    Msr,
    Port,
    UserSpace,
    What,
)
from vmexit_sim.guest.kvm_reasons import HALT, canonical
from vmexit_sim.guest.kvm_reasons import reason as reason_of
from vmexit_sim.units import LONGEST_PS, NANOSECOND

MOST_THREADS = 65_536
"""Most threads that a log may name: no guest has more vCPUs."""

MOST_INSIDE = 4_096
"""Most accesses in one exit; one with more has lost its end."""

LONGEST_NS = LONGEST_PS // NANOSECOND
"""Longest exit, and longest stay in the guest, in ns (53 days)."""

_PORTS_VMX = frozenset({"IO_INSTRUCTION"})
_PORTS_SVM = frozenset({"io", "EXIT_IOIO"})
_ACCESSES = (Port, Memory, FastMemory, Msr, Hypercall)


class PortExit(NamedTuple):
    """What the processor says of an exit by port I/O."""

    port: int
    size: int
    write: bool
    is_string: bool


class ClosedExit(NamedTuple):
    """One exit, complete.

    Attributes:
        line: the line of its entry.
        thread: the vCPU's thread.
        vcpu: the vCPU's number.
        reason: why, as the log prints it.
        info: the processor's two words about why, if printed.
        guest: time in the guest before it, in ns; None: not known.
        duration: from exit to entry, in ns.
        user: how many times it went to user space for the guest.
        inside: accesses in it, in their order, each after its line's number; of a read that user
            space satisfied only the answer.
        open_reads: reads in it that the log says are unsatisfied, and nobody answered.
        interrupted: how many times a signal or an error called it to user space meanwhile.
    """

    line: int
    thread: int
    vcpu: int
    reason: str
    info: tuple[int, int] | None
    guest: int | None
    duration: int
    user: int
    inside: tuple[tuple[int, What], ...]
    open_reads: int
    interrupted: int = 0

    @property
    def name(self) -> str:
        """Its reason by one name, whichever processor and tool printed it (`kvm_reasons`)."""
        return reason_of(self.reason, self.info, (what for _, what in self.inside))

    @property
    def is_halt(self) -> bool:
        """Whether its time was waiting for an interrupt."""
        return canonical(self.reason) == HALT

    @property
    def port(self) -> PortExit | None:
        """What the processor's word says, if it was port I/O.

        Source: Intel SDM vol. 3, exit qualification for I/O instructions; AMD APM vol. 2, 15.10.2,
        EXITINFO1 for IOIO intercepts.
        """
        if self.info is None:
            return None
        word = self.info[0]
        if self.reason in _PORTS_VMX:
            return PortExit(word >> 16 & 0xFFFF, (word & 7) + 1, not word & 8, bool(word & 16))
        if self.reason in _PORTS_SVM:
            return PortExit(word >> 16 & 0xFFFF, word >> 4 & 7, not word & 1, bool(word & 4))
        return None


@dataclass
class _Thread:
    """What is carried from one event of a vCPU's thread to its next."""

    entered: int | None = None  # when it last entered the guest, ns
    left: int = 0  # when its open exit began, ns
    exit: Exit | None = None
    guest: int | None = None
    user: int = 0
    interrupted: int = 0
    inside: list[tuple[int, What]] = field(default_factory=list)
    open_reads: int = 0

    def forget(self) -> bool:
        """Drop what is open; whether there was an exit."""
        was_open = self.exit is not None
        self.exit = self.entered = None
        return was_open


class ExitReader:
    """Joins events to exits; afterwards its attributes hold what could not be joined.

    Attributes:
        unpaired: exits without an entry, entries without an exit, accesses outside an exit.
        dropped: exits that were open when events were lost.
        backward: exits, or stays in the guest, that would end before they begin, or last more than
            53 days.
        returns: whether any thread was seen going to user space; if not, nobody recorded that.
        threads: the threads of vCPUs, by vCPU number, in the order in which they were met.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self.unpaired = self.dropped = self.backward = 0
        self.returns = False
        self.threads: dict[int, list[int]] = {}
        self._open: dict[int, _Thread] = {}
        self._known: set[tuple[int, int]] = set()

    def exits(self, events: Iterable[Event]) -> Iterator[ClosedExit]:
        """The exits of a log, each when its entry comes.

        Raises:
            InputError: more than `MOST_THREADS` threads; whatever reading the log raises.
        """
        for event in events:
            closed = self.take(event)
            if closed is not None:
                yield closed
        self.unpaired += sum(own.exit is not None for own in self._open.values())

    def take(self, event: Event) -> ClosedExit | None:
        """Take an event; the exit that it completes, if any."""
        what = event.what
        if what is None:
            self.dropped += sum(own.forget() for own in self._open.values())
            return None
        own = self._open.get(event.thread)
        if own is None:
            if not isinstance(what, (Exit, Entry)):
                if isinstance(what, _ACCESSES):
                    self.unpaired += 1
                return None
            own = self._open[event.thread] = _Thread()
            if len(self._open) > MOST_THREADS:
                raise InputError(f"names more than {MOST_THREADS:,} threads", file=self._file)
        if isinstance(what, Entry):
            return self._entry(event, own, what)
        if isinstance(what, Exit):
            self._exit(event, own, what)
        elif isinstance(what, UserSpace):
            self.returns = True
            if what.is_interruption:
                own.interrupted += 1
            else:
                own.user += 1
        elif isinstance(what, _ACCESSES):
            self._inside(own, event.line, what)
        return None

    def _exit(self, event: Event, own: _Thread, what: Exit) -> None:
        if own.exit is not None:
            self.unpaired += 1
        own.guest = None if own.entered is None else event.time - own.entered
        if own.guest is not None and not 0 <= own.guest <= LONGEST_NS:
            self.backward += 1
            own.guest = None
        own.exit, own.left, own.entered = what, event.time, None
        own.user = own.open_reads = own.interrupted = 0
        own.inside.clear()

    def _inside(self, own: _Thread, line: int, what: What) -> None:
        if own.exit is None:
            self.unpaired += 1
        elif len(own.inside) + own.open_reads >= MOST_INSIDE:
            own.forget()
            self.unpaired += 1
        elif isinstance(what, Memory) and what.unsatisfied:
            own.open_reads += 1
        else:
            if isinstance(what, Memory) and not what.write and own.open_reads:
                own.open_reads -= 1
                own.user = max(own.user, 1)
            own.inside.append((line, what))

    def _entry(self, event: Event, own: _Thread, what: Entry) -> ClosedExit | None:
        self._met(what.vcpu, event.thread)
        left, before = own.exit, own.entered
        own.exit, own.entered = None, event.time
        if left is None or left.vcpu not in (None, what.vcpu):
            self.unpaired += left is not None or before is not None
            return None
        duration = event.time - own.left
        if not 0 <= duration <= LONGEST_NS:
            self.backward += 1
            return None
        return ClosedExit(
            event.line, event.thread, what.vcpu, left.reason, left.info, own.guest, duration,
            own.user, tuple(own.inside), own.open_reads, own.interrupted,
        )  # fmt: skip

    def _met(self, vcpu: int, thread: int) -> None:
        if (vcpu, thread) not in self._known:
            self._known.add((vcpu, thread))
            self.threads.setdefault(vcpu, []).append(thread)
            if len(self._known) > MOST_THREADS:
                raise InputError(f"names more than {MOST_THREADS:,} vCPUs", file=self._file)
