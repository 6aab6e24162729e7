"""A doorbell that the kernel answers with an eventfd, on which a thread of the VMM waits.

::

    vCPU      exit | dispatch | decode | signal | entry | goes on
    thread                              wake up | read the eventfd | handler

The kernel finds the address on its own bus and signals; the vCPU never goes to user space. The
handler runs on another thread, and later. An eventfd counts, and reading it takes the whole count:
signals raised before the thread reads are one, and the handler runs once for all of them. Such a
run takes as long as the longest of them would alone (their `emulate`): a handler that is called
once does what one call does. Where every doorbell brings work of its own, say ``merge = false``:
then each has its run.

If the thread slept, it must be woken first; if it is busy, it finds the signal when it is done. A
guest with `depth` signals unanswered waits, as a driver whose queue is full does.

Reads, config space, decode toggles and devices in the kernel trap as recorded.

Source: Linux virt/kvm/eventfd.c, ioeventfd_write; 68c3b4d1676d (fast MMIO).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from vmexit_sim.configuration import misfit
from vmexit_sim.guest.table import Space
from vmexit_sim.hypervisor.access_class import AccessClass
from vmexit_sim.hypervisor.host import Host
from vmexit_sim.hypervisor.stages import DISPATCH
from vmexit_sim.mechanisms.as_recorded import AsRecorded, exit_of
from vmexit_sim.mechanisms.base import Mechanism, SideActor, register
from vmexit_sim.steps import (
    ACCESS,
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

SIGNAL = Stage("eventfd signal", Role.HYPERVISOR)
WAIT_ROOM = Stage("wait: room for a signal", Role.WAIT)
WAIT_FOR_THREAD = Stage("wait for thread", Role.BACK)
HANDLER = Stage("handler", Role.BACK)

# What the thread does is booked on the signals that it answers, as the two stages above; these
# are its own account.
ASLEEP = Stage("thread asleep", Role.BACK)
WAKE_UP = Stage("thread wake-up", Role.BACK)
WAIT_LOCK = Stage("thread waits: VMM lock", Role.BACK)
WAIT_CPU = Stage("thread waits: CPU", Role.BACK)
RUNNING = Stage("thread runs handler", Role.BACK)

ITEM = Register("eventfd: signal")
READ_AT = Register("eventfd: read at")
LONGEST = Register("eventfd: longest")
SPENT = Register("eventfd: time")

FEWEST_ROWS = 1024
"""So many accesses, at least, may pass while a handler is at work."""


@register("ioeventfd")
class Ioeventfd(Mechanism):
    """A write signals a thread, and the vCPU goes on.

    Attributes:
        match: what the kernel compares: the written "value", or nothing ("wildcard").
        zero_length: whether it compares no length either: a memory write is then recognised by its
            address, and its instruction not decoded (on VMX). Needs ``match = "wildcard"``.
        thread: who waits for the signals: one "iothread" for each device, or the VMM's
            "main_loop", which serves all devices and holds the VMM's lock while it does.
        merge: whether signals that the thread finds together have one run of the handler.
        depth: most signals that wait for one thread, before the guest waits.
    """

    by_device: ClassVar[bool] = True

    match: Literal["value", "wildcard"] = "value"
    zero_length: bool = False
    thread: Literal["iothread", "main_loop"] = "iothread"
    merge: bool = True
    depth: Annotated[int, Field(ge=1, le=65_536)] = 256

    @model_validator(mode="after")
    def _comparable(self) -> Ioeventfd:
        if self.zero_length and self.match == "value":
            raise misfit("compares a value of no length", value="zero_length = true",
                         mend='set match = "wildcard", or leave zero_length out')  # fmt: skip
        return self

    @property
    def outstanding(self) -> int:
        """What waits for a thread, and what passes meanwhile."""
        return max(self.depth, FEWEST_ROWS)

    def access(self, host: Host, access: AccessClass) -> Steps:
        """Exit, dispatch, signal, entry; what does not ring traps."""
        if not _rings(access):
            yield from AsRecorded().access(host, access)
            return
        thread = self._thread_of(access)
        via, reason = exit_of(access)
        yield from host.sleep_on(self._room(thread), WAIT_ROOM)
        yield from host.leave_guest(reason)
        if via == "mmio" and self.zero_length:
            yield spend(DISPATCH, host.cost("dispatch_mmio"))
        else:
            yield from host.dispatch(via, write=True)
        yield spend(SIGNAL, host.cost("signal"))
        yield stamp(Moment.POSTED)
        yield put(self._signals(thread), ACCESS)
        yield from host.enter_guest()

    def actors(self, host: Host) -> Iterable[SideActor]:
        """A thread for each device that is rung, or one for all."""
        decided = host.decided.get(self, ())
        threads = dict.fromkeys(self._thread_of(access) for access in decided if _rings(access))
        return [
            SideActor(thread, False, host.thread(self._life(host, thread))) for thread in threads
        ]

    def _thread_of(self, access: AccessClass) -> str:
        return "main loop" if self.thread == "main_loop" else f"iothread of {access.device}"

    def _own(self, what: str, thread: str) -> str:
        """A queue's name; two rules with parameters of their own have threads of their own."""
        kind = f"{self.match}{', no length' * self.zero_length}{', unmerged' * (not self.merge)}"
        return f"{what} of {thread} ({kind}, {self.depth})"

    def _signals(self, thread: str) -> Queue:
        return Queue(self._own("signals", thread))

    def _room(self, thread: str) -> Queue:
        return Queue(self._own("room for signals", thread), tokens=self.depth)

    def _found(self, thread: str) -> Queue:
        return Queue(self._own("signals found", thread))

    def _life(self, host: Host, thread: str) -> Steps:
        """Wait for a signal, read the eventfd, run the handler, again and again."""
        signals, found = self._signals(thread), self._found(thread)
        asleep = [
            *host.sleep_on(signals, ASLEEP, into=ITEM, again=WAIT_CPU),
            spend(WAKE_UP, host.cost("thread_wake_up"), whose=ITEM),
        ]
        body: list[Step] = [
            let(READ_AT, Clock()),
            let(LONGEST, Column("emulate", ITEM)),
            put(found, ITEM),
            *(self._read(signals, found) if self.merge else ()),
            spend(RUNNING, LONGEST),
            *self._answer(found, self._room(thread)),
        ]
        if self.thread == "main_loop":
            lock = host.sleep_on(host.vmm_lock, WAIT_LOCK, again=WAIT_CPU)
            body = [*lock, *body, release(host.vmm_lock)]
        busy = [take(signals, ASLEEP, into=ITEM)]
        yield loop([when(Length(signals), "==", 0, asleep, busy), *body])

    def _read(self, signals: Queue, found: Queue) -> Steps:
        """All that has been signalled by now."""
        yield loop(
            [
                when(Length(signals), "==", 0, [leave()]),
                take(signals, ASLEEP, into=ITEM),
                let(LONGEST, LONGEST, "max", Column("emulate", ITEM)),
                put(found, ITEM),
            ]
        )

    def _answer(self, found: Queue, room: Queue) -> Steps:
        """The handler has run: so has every signal's effect."""
        yield loop(
            [
                when(Length(found), "==", 0, [leave()]),
                take(found, ASLEEP, into=ITEM),
                stamp(Moment.DONE, ITEM),
                let(SPENT, READ_AT, "-", PostedAt(ITEM)),
                book(WAIT_FOR_THREAD, SPENT, ITEM),
                let(SPENT, Clock(), "-", READ_AT),
                book(HANDLER, SPENT, ITEM),
                release(room),
            ]
        )


def _rings(access: AccessClass) -> bool:
    """Whether the access is one that an eventfd can stand for."""
    in_reach = access.space in (Space.PORT_IO, Space.MMIO, Space.DOORBELL)
    return in_reach and access.write and access.location == "user" and not access.decode_toggle
