"""Requests in shared memory: what a guest does to make one, and a back end to serve it.

::

    vCPU      [wait for a free descriptor] write it | make it available | tell the back end
    back end  … in the ring … | emulate | done: the descriptor comes back, completion

How the back end learns of a request is what tells mechanisms apart: `virtqueue` kicks a thread,
`side_core` has a core that looks. The posting of one request is one access; its effect is the
device's, later. A guest that needs a result does not go on to the row that consumes it.

Source: virtio 1.1, 2.6 (split virtqueues).
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from vmexit_sim.hypervisor.access_class import AccessClass
from vmexit_sim.hypervisor.host import Host
from vmexit_sim.hypervisor.stages import DISPATCH, GATHER
from vmexit_sim.mechanisms.as_recorded import exit_of
from vmexit_sim.mechanisms.completions import LARGEST_RING, VCPU, Completions
from vmexit_sim.mechanisms.ioeventfd import SIGNAL
from vmexit_sim.mechanisms.paravirtual_front_end import (
    BACK_END,
    BACK_END_CHANGE,
    BACK_END_CPU,
    WAKE_UP,
)
from vmexit_sim.mechanisms.reaping import of_vcpu
from vmexit_sim.steps import (
    ACCESS,
    FAR,
    Cell,
    Clock,
    Column,
    Length,
    Moment,
    PostedAt,
    Queue,
    Register,
    Role,
    Stage,
    Step,
    Steps,
    acquire,
    book,
    leave,
    let,
    loop,
    put,
    release,
    spend,
    stamp,
    take,
    when,
)

REAP = Stage("reap", Role.ACCESS)
WAIT_DESCRIPTOR = Stage("wait: descriptor", Role.WAIT)
RING_WAIT = Stage("wait in ring", Role.BACK)

KICKER = Register("ring: access that kicked")
WOKEN = Register("ring: back end woken at")
RUNS = Register("ring: and running since")
IN_RING = Register("ring: time in it")
WAKING = Register("ring: of which waking up")
NEXT_ROW = Register("ring: next row")


class Rings(Completions):
    """A guest that posts requests into rings, and a back end that serves them in order.

    Attributes:
        queues: one for each "vcpu", or one for the whole "guest".
        depth: descriptors of a queue; while all are in use, the guest waits for one.
        kick: what the doorbell does when it must be rung: an exit to the kernel signals the back
            end ("ioeventfd"), or one to the VMM's user space does ("user").
        datamatch: whether an ioeventfd goes by the value written too, so that the kernel has to
            decode a memory write; by the address alone it need not. Source: Linux 68c3b4d1676d
            (2014).
    """

    queues: Literal["vcpu", "guest"] = "vcpu"
    depth: Annotated[int, Field(ge=1, le=LARGEST_RING)] = 256
    kick: Literal["ioeventfd", "user"] = "ioeventfd"
    datamatch: bool = False

    @property
    def outstanding(self) -> int:
        """A full ring."""
        return self.depth

    @property
    def _per_vcpu(self) -> bool:
        return self.queues == "vcpu"

    def _queue(self, what: str) -> Queue:
        return Queue(f"{self._name}: {what}", per_vcpu=self._per_vcpu)

    @property
    def _in_flight(self) -> Cell:
        return self._cell("in flight", self._per_vcpu)

    @property
    def _own_in_flight(self) -> Cell:
        """In a queue of the whole guest's a vCPU's own are counted apart.

        Others' requests bring it no interrupt, so that they must not hold back its last one.
        """
        return self._in_flight if self._per_vcpu else self._cell("in flight of the vCPU")

    @property
    def _counts_own(self) -> bool:
        return self.interrupt_ratio is not None and not self._per_vcpu

    @property
    def _ring(self) -> Queue:
        return self._queue("available ring")

    @property
    def _starved(self) -> Cell:
        return self._cell("waiting for a descriptor", self._per_vcpu)

    @property
    def _returned(self) -> Queue:
        return self._queue("descriptors returned")

    @property
    def _needed(self) -> Queue:
        return Queue(f"{self._name}: results needed", per_vcpu=True)

    # ---- The guest -------------------------------------------------------------------------------

    def _describe(self, host: Host) -> Steps:
        """Write a request into a free descriptor."""
        if self.completions == "polled":
            yield from self._reap(host, REAP)
        starved, in_flight = self._starved, self._in_flight
        wait: list[Step] = [
            let(starved, starved, "+", 1),
            *host.sleep_on(self._returned, WAIT_DESCRIPTOR),
        ]
        yield when(in_flight, ">=", self.depth, wait, [let(in_flight, in_flight, "+", 1)])
        if self._counts_own:
            yield let(self._own_in_flight, self._own_in_flight, "+", 1)
        yield spend(GATHER, host.cost("gather"))

    def _make_available(self) -> Steps:
        yield stamp(Moment.POSTED)
        yield put(self._ring, ACCESS)

    def _ring_doorbell(self, host: Host, access: AccessClass, kicks: Queue) -> Steps:
        """The doorbell traps; its exit signals the back end."""
        via, reason = exit_of(access)
        signal: list[Step] = [spend(SIGNAL, host.cost("signal")), put(kicks, ACCESS)]
        yield from host.leave_guest(reason)
        if via == "mmio" and self.kick == "ioeventfd" and not self.datamatch:
            yield spend(DISPATCH, host.cost("dispatch_mmio"))
        else:
            yield from host.dispatch(via, write=True)
        yield from host.user_space(via, signal) if self.kick == "user" else signal
        yield from host.enter_guest()

    def _await_needed(self, host: Host) -> Steps:
        """Wait for what the next row needs; remember what a later one does.

        Requests complete in order, so of those needed later only the oldest is looked at. One that
        is needed before another that was posted earlier is waited for at once.
        """
        needed, latest = Column("needed_by"), self._own("latest row that needs a result")
        oldest, due = self._own("oldest request needed"), self._own("row that needs it")
        remember = when(
            due, "==", 0, [let(oldest, ACCESS), let(due, needed)], [put(self._needed, ACCESS)]
        )  # fmt: skip
        noted: list[Step] = [
            when(needed, "<", latest, self._await(host, ACCESS)),
            let(latest, latest, "max", needed),
            remember,
        ]
        yield when(needed, "<", FAR, noted)
        yield when(due, ">", 0, self._settle(host))

    def _settle(self, host: Host) -> Steps:
        oldest, due = self._own("oldest request needed"), self._own("row that needs it")
        following: list[Step] = [
            take(self._needed, RING_WAIT, into=oldest),
            let(due, Column("needed_by", oldest)),
        ]
        yield let(NEXT_ROW, ACCESS, "+", 1)
        yield loop(
            [
                when(due, ">", NEXT_ROW, [leave()]),
                *self._await(host, oldest),
                when(Length(self._needed), ">", 0, following, [let(due, 0), leave()]),
            ]
        )

    def before_others(self, host: Host) -> Steps:
        """The row after another mechanism's access may need a result."""
        yield when(self._own("row that needs it"), ">", 0, self._settle(host))

    # ---- The back end ----------------------------------------------------------------------------

    def _asleep(self, host: Host, kicks: Queue, idle: Stage) -> Steps:
        """Sleep until a kick, unless there has been one already."""
        sleep: list[Step] = [
            *host.sleep_on(kicks, idle, into=KICKER, again=BACK_END_CPU),
            let(WOKEN, Clock()),
            spend(WAKE_UP, host.cost("thread_wake_up"), whose=KICKER),
            let(RUNS, Clock()),
        ]
        yield when(Length(kicks), ">", 0, [take(kicks, idle, into=KICKER)], sleep)

    def _serve(self, host: Host, at_work: Queue) -> Steps:
        """Emulate the current access, hand its descriptor back, and complete it."""
        yield acquire(at_work, RING_WAIT)
        yield let(VCPU, Column("vcpu"))
        yield from self._book_wait()
        yield spend(BACK_END, Column("emulate"))
        change = spend(BACK_END_CHANGE, host.cost("state_change"))
        yield when(Column("decode_toggle"), "==", 1, [change])
        yield stamp(Moment.DONE)
        yield release(at_work)
        starved, returned = of_vcpu(self._starved, VCPU), of_vcpu(self._returned, VCPU)
        in_flight = of_vcpu(self._in_flight, VCPU)
        hand_over: list[Step] = [let(starved, starved, "-", 1), put(returned, 0)]
        yield when(starved, ">", 0, hand_over, [let(in_flight, in_flight, "-", 1)])
        if self._counts_own:
            own = self._own_in_flight.of(VCPU)
            yield let(own, own, "-", 1)
        yield from self._complete(host)

    def _book_wait(self) -> Steps:
        """What the item has waited since it was posted; waking up for it is told apart."""
        yield let(WAKING, RUNS, "-", PostedAt(ACCESS))
        yield let(WOKEN, RUNS, "-", WOKEN)
        yield let(WAKING, WAKING, "min", WOKEN)
        yield let(WAKING, WAKING, "max", 0)
        yield let(WOKEN, RUNS)
        yield let(IN_RING, Clock(), "-", PostedAt(ACCESS))
        yield let(IN_RING, IN_RING, "-", WAKING)
        yield book(WAKE_UP, WAKING, ACCESS)
        yield book(RING_WAIT, IN_RING, ACCESS)
