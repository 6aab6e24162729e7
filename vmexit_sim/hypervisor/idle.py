"""Idle: what a vCPU does while its guest waits, and what that costs.

::

    guest   poll |                                              | goes on
    exit         | out, dispatch |                        in    |
    host                         | poll | sleep … | wake-up  |
                 '-- window --'  '-- window --'   ^ the event

A guest that has nothing to do polls for a while, then halts; the host polls for a while too, then
puts the vCPU to sleep. An event (a moment that is known, or an item in a queue) ends whichever of
the phases it finds. The later the phase, the cheaper the waiting and the later the guest.

Both windows can adapt: a halt that was longer than the window but still short makes it grow, a long
one makes it shrink.

Source: Linux virt/kvm/kvm_main.c (kvm_vcpu_halt), Documentation/virt/kvm/halt-polling.rst;
drivers/cpuidle/governors/haltpoll.c, Documentation/virt/guest-halt-polling.rst.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from vmexit_sim.configuration import Configured, Time, misfit
from vmexit_sim.steps import (
    ACCESS,
    TIMED_OUT,
    Cell,
    Clock,
    Operand,
    Queue,
    Register,
    Role,
    Stage,
    Step,
    Steps,
    book,
    leave,
    let,
    loop,
    spend,
    take,
    when,
)
from vmexit_sim.units import MICROSECOND

if TYPE_CHECKING:
    from vmexit_sim.hypervisor.host import Host

GUEST_POLL = Stage("guest poll", Role.POLL)
HALT = Stage("halt exit", Role.POLL)
HOST_POLL = Stage("host poll", Role.POLL)
HALT_LATE = Stage("halt exit, after the event", Role.DELAY)
WAKE_UP = Stage("vCPU wake-up", Role.DELAY)
HALT_ENTRY = Stage("halt entry", Role.DELAY)

HALT_EXIT = "HLT"
"""The exit reason; its time, as ``perf kvm stat`` tells it, holds the sleep."""

CPUS_WANTED = Cell("threads that wait for a CPU")

HALT_ENDED = Register("idle: a halt has just ended")
"""What ended it is let into the guest with the entry, and needs no exit of its own."""

LIMIT = Register("idle: phase at most")
POLL_UNTIL = Register("idle: guest polls until")
HALTED_AT = Register("idle: halted at")
BLOCKED_AT = Register("idle: blocked at")
LASTED = Register("idle: lasted")
LATE = Register("idle: late by")


class Polling(Configured):
    """How long one side polls before it goes a step deeper.

    Attributes:
        window: "never", "always" (`longest` each time), or "dynamic": a window for each vCPU, 0 at
            first, that adapts.
        longest: the longest window (ps); a halt longer than this makes the window shrink.
        grow: what a growing window is multiplied by.
        grow_start: the least that a growing window becomes (ps).
        shrink: what a shrinking window is divided by; 0: it becomes 0; 1: it never shrinks.
    """

    register: ClassVar[Register]

    window: Literal["never", "always", "dynamic"] = "never"
    longest: Time = 200 * MICROSECOND
    grow: Annotated[int, Field(ge=1, le=1000)] = 2
    grow_start: Time
    shrink: Annotated[int, Field(ge=0, le=1000)]

    @property
    def now(self) -> Operand:
        """How long it polls this time."""
        if self.window == "dynamic":
            return self.register
        return self.longest if self.window == "always" else 0

    def adapted(self, lasted: Register) -> Steps:
        """After a halt that lasted so long, the next window."""
        if self.window != "dynamic":
            return
        yield when(
            lasted, ">", self.register,
            [when(lasted, ">", self.longest, self._shrunk(), self._grown(lasted))],
        )  # fmt: skip

    def _grown(self, lasted: Register) -> Iterable[Step]:
        yield let(self.register, self.register, "*", self.grow)
        yield let(self.register, self.register, "max", self.grow_start)
        yield let(self.register, self.register, "min", self.longest)

    def _shrunk(self) -> Iterable[Step]:
        if self.shrink:
            yield let(self.register, self.register, "//", self.shrink)
        else:
            yield let(self.register, 0)


class HostPolling(Polling):
    """The host's: KVM's halt_poll_ns and its kin.

    A halt of exactly `longest` changes nothing, and a window that shrinks below `grow_start`
    becomes 0 (ae232ea46088). `shrink` is 0, and 2 in newer kernels (aeb1b22a3ac8).
    """

    register: ClassVar[Register] = Register("idle: host's window")

    grow_start: Time = 10 * MICROSECOND
    shrink: Annotated[int, Field(ge=0, le=1000)] = 0

    def _grown(self, lasted: Register) -> Iterable[Step]:
        yield when(lasted, "<", self.longest, super()._grown(lasted))

    def _shrunk(self) -> Iterable[Step]:
        yield from super()._shrunk()
        yield when(self.register, "<", self.grow_start, [let(self.register, 0)])


class GuestPolling(Polling):
    """The guest's: the haltpoll governor's guest_halt_poll_ns and its kin.

    Only time in the halt counts, polling before it does not. `guest_halt_poll_allow_shrink = N` is
    a `shrink` of 1.
    """

    register: ClassVar[Register] = Register("idle: guest's window")

    grow_start: Time = 50 * MICROSECOND
    shrink: Annotated[int, Field(ge=0, le=1000)] = 2


class Idle(Configured):
    """How a vCPU waits, as part of a policy.

    Attributes:
        guest: what the guest's idle loop does: "halt" (HLT, which exits), "poll" (idle=poll: never
            leaves the guest), or "free": waiting costs nothing and ends at once.
        guest_poll: polling in the guest before it halts.
        host_poll: polling in the host before it puts a halted vCPU to sleep.
    """

    guest: Literal["halt", "poll", "free"] = "free"
    guest_poll: GuestPolling = GuestPolling()
    host_poll: HostPolling = HostPolling()

    @model_validator(mode="after")
    def _halts_if_it_polls(self) -> Idle:
        polls = {self.guest_poll.window, self.host_poll.window} != {"never"}
        if polls and self.guest != "halt":
            raise misfit(f'polls before a halt, but its guest is "{self.guest}"',
                         mend='set guest = "halt"')  # fmt: skip
        return self

    @property
    def is_free(self) -> bool:
        """Whether waiting costs nothing."""
        return self.guest == "free"

    def wait(
        self, host: Host, queue: Queue, *, into: Register, until: Register | None = None
    ) -> Steps:
        """Wait between accesses, for an item or a moment.

        Args:
            host: the host.
            queue: whose first item ends the waiting (interrupts, completions).
            into: gets the item, or `TIMED_OUT` if the moment came first.
            until: the register that holds the moment, not yet over; None: only an item ends it.
        """
        if self.guest == "free":
            yield from _at_most(None, until)
            yield from host.sleep(queue, into=into, timeout=None if until is None else LIMIT)
        elif self.guest == "poll":
            yield from host.spin_on(queue, GUEST_POLL, into=into, until=until)
        else:
            poll = self._poll_in_guest(host, queue, into, until)
            yield loop([*poll, *self._halt(host, queue, into, until), leave()])

    def _poll_in_guest(
        self, host: Host, queue: Queue, into: Register, until: Register | None
    ) -> Steps:
        """Look once, at least: a guest with work pending does not halt."""
        if self.guest_poll.window == "never":
            yield take(queue, GUEST_POLL, into=into, timeout=0)
            yield when(into, "!=", TIMED_OUT, [leave()])
            return
        yield let(POLL_UNTIL, Clock(), "+", self.guest_poll.now)
        if until is not None:
            yield let(POLL_UNTIL, POLL_UNTIL, "min", until)
        yield from host.spin_on(queue, GUEST_POLL, into=into, until=POLL_UNTIL)
        yield from _leave_if_over(into, until)

    def _halt(self, host: Host, queue: Queue, into: Register, until: Register | None) -> Steps:
        """HLT: out, the host's part, and in again."""
        yield let(HALTED_AT, Clock())
        yield from host.leave_guest(HALT_EXIT, all_as=HALT)
        yield spend(HALT, host.cost("dispatch_halt"))
        if until is not None:
            yield from _rebook_what_is_late(until)
        yield let(BLOCKED_AT, Clock())
        yield loop([*self._block(host, queue, into, until), leave()])
        yield let(LASTED, Clock(), "-", BLOCKED_AT)
        yield from self.host_poll.adapted(LASTED)
        yield from host.enter_guest(all_as=HALT_ENTRY)
        yield let(HALT_ENDED, 1)
        yield let(LASTED, Clock(), "-", HALTED_AT)
        yield from self.guest_poll.adapted(LASTED)

    def _block(self, host: Host, queue: Queue, into: Register, until: Register | None) -> Steps:
        """Poll in the host, then sleep; where an event has come, leave."""
        yield from _at_most(self.host_poll.now, until)
        if host.cpus is not None and self.host_poll.window != "never":
            # kvm_vcpu_can_poll: not while another task could run
            yield when(CPUS_WANTED, ">", 0, [let(LIMIT, 0)])
        yield take(queue, HOST_POLL, into=into, timeout=LIMIT)
        yield from _leave_if_over(into, until)
        yield from _at_most(None, until)
        yield from host.sleep(queue, into=into, timeout=None if until is None else LIMIT)
        yield spend(WAKE_UP, host.cost("vcpu_wake_up"))


FREE = Idle()
"""Waiting that costs nothing."""


def _at_most(window: Operand | None, until: Register | None) -> Steps:
    """Into `LIMIT`, how long a phase may last: its window, but not beyond the moment."""
    if until is None:
        if window is not None:
            yield let(LIMIT, window)
        return
    yield let(LIMIT, until, "-", Clock())
    if window is not None:
        yield let(LIMIT, LIMIT, "min", window)


def _leave_if_over(into: Register, until: Register | None) -> Steps:
    """Leave the loop if the event has come."""
    yield when(into, "!=", TIMED_OUT, [leave()])
    if until is not None:
        yield when(Clock(), ">=", until, [leave()])


def _rebook_what_is_late(until: Register) -> Steps:
    """What of the exit's handling lies after the moment keeps the guest waiting."""
    yield let(LATE, Clock(), "-", until)
    moved: list[Step] = [
        book(HALT_LATE, LATE, ACCESS),
        let(LATE, 0, "-", LATE),
        book(HALT, LATE, ACCESS),
    ]
    yield when(LATE, ">", 0, moved)
