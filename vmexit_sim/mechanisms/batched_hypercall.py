"""Batched paravirtual calls: accesses gather, and one exit carries them all.

The guest writes each access's descriptor into memory and goes on. The batch is carried by one
hypercall, its items in program order, when

* it holds `max_batch` items;
* the next row needs a result that is inside (dependences are respected: no row is in one batch
  with an access whose result it consumes);
* an operation ends;
* the vCPU makes an access by another mechanism, or goes idle;
* its first item has waited `max_wait`: a timer then interrupts the guest's compute (in hypervisor
  code the interrupt stays pending), which costs an injection.

Arming and cancelling the timer costs nothing here, as with a timer that the hypervisor shares with
the guest; on x86 a guest that programs its own makes an exit for each batch, to be added to what is
reported.

Which results are needed is answered three ways. *recorded*: what the table says; a recording
knows that every read blocked. *idioms*: as a driver author who knew the idiom would have it.
*oracle*: nobody needs anything: the upper bound.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from vmexit_sim.configuration import Time
from vmexit_sim.hypervisor.access_class import AccessClass
from vmexit_sim.hypervisor.host import Host
from vmexit_sim.hypervisor.stages import EMULATE, GATHER, HYPERCALL_EXIT, STATE_CHANGE
from vmexit_sim.mechanisms.base import Mechanism, SideActor, register
from vmexit_sim.steps import (
    ACCESS,
    FAR,
    Cell,
    Clock,
    Column,
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
    spend,
    stamp,
    take,
    when,
)
from vmexit_sim.units import format_time

TAKE_ITEM = Stage("batch item", Role.HYPERVISOR)
WAIT_IN_BATCH = Stage("wait in batch", Role.BACK)
CARRIED = Stage("carried with batch", Role.BACK)
TIMER_IDLE = Stage("timer idle", Role.GUEST)

ITEM = Register("batch: item")
BEYOND = Register("batch: beyond its last item")
SPENT = Register("batch: time")
BEGIN = Register("batch: flush began")
CURRENT = Register("batch: access interrupted")
NEXT_ROW = Register("batch: next row")
DEADLINE = Register("batch timer: deadline")


@register("batched_hypercall")
class BatchedHypercall(Mechanism):
    """Gather accesses, and carry a batch with one exit.

    Attributes:
        max_batch: most items a batch holds.
        max_wait: longest that the first item waits (ps), or None: no timer.
        needs: which results count as needed: "recorded", "idioms" or "oracle".
        flush_at_operation_end: whether the end of an operation flushes.
    """

    by_operation: ClassVar[bool] = True

    max_batch: Annotated[int, Field(ge=1, le=65_536)] = 32
    max_wait: Time | None = None
    needs: Literal["recorded", "idioms", "oracle"] = "recorded"
    flush_at_operation_end: bool = True

    @property
    def outstanding(self) -> int:
        """A full batch."""
        return self.max_batch

    def _own(self, what: str) -> Register:
        """A register of this batch; a policy may have several, with parameters of their own."""
        return Register(f"batch ({self}): {what}")

    @property
    def _first(self) -> Register:
        return self._own("first item")

    @property
    def _count(self) -> Register:
        return self._own("items")

    @property
    def _last(self) -> Register:
        return self._own("item gathered last")

    @property
    def _needed(self) -> Register:
        return self._own("first row that needs a result")

    @property
    def _user(self) -> Register:
        return self._own("must go to user space")

    @property
    def _open_until(self) -> Cell:
        return Cell(f"batch ({self}): open until", per_vcpu=True)

    @property
    def _armed(self) -> Queue:
        own = f"{self.max_batch} items, {self.needs}" + ", whole" * self.flush_at_operation_end
        return Queue(f"batch timer ({format_time(self.max_wait or 0)}, {own})", per_vcpu=True)

    @property
    def interrupts(self) -> bool:
        """Its timer does."""
        return self.max_wait is not None

    def access(self, host: Host, access: AccessClass) -> Steps:
        """Write a descriptor; flush if the batch is full, needed, or its operation over."""
        yield when(self._count, "==", 0, self._open())
        yield spend(GATHER, host.cost("gather"))
        yield let(self._count, self._count, "+", 1)
        yield let(self._last, ACCESS)
        yield stamp(Moment.POSTED)
        if access.location == "user":
            yield let(self._user, 1)
        if access.last and self.flush_at_operation_end:
            yield from self._flush(host)
            return
        flush = list(self._flush(host))
        if self.needs == "oracle":
            yield when(self._count, "==", self.max_batch, flush)
            return
        column = "needed_by" if self.needs == "recorded" else "needed_idiom"
        yield let(self._needed, self._needed, "min", Column(column))
        yield let(NEXT_ROW, ACCESS, "+", 1)
        yield when(
            self._needed, "<=", NEXT_ROW, flush, [when(self._count, "==", self.max_batch, flush)]
        )  # fmt: skip

    def before_others(self, host: Host) -> Steps:
        """Another mechanism's access may depend on what is gathered: flush first."""
        yield when(self._count, ">", 0, self._flush(host))

    def before_halt(self, host: Host) -> Steps:
        """Nothing stays behind when the vCPU goes idle or ends; the last item pays."""
        yield when(self._count, ">", 0, self._stall_of_last_item(list(self._flush(host))))

    def serve_interrupt(self, host: Host) -> Steps:
        """The timer: an injection, and the flush, unless another flush came first."""
        flush = when(self._count, ">", 0, self._flush(host))
        yield from self._stall_of_last_item([*host.deliver_interrupt(), flush])

    def actors(self, host: Host) -> Iterable[SideActor]:
        """The batch timer of each vCPU, if there is a `max_wait`."""
        if self.max_wait is None:
            return []
        return [SideActor("batch timer", True, self._timer(host), is_thread=False)]

    def _open(self) -> Steps:
        """The first item: from here on the timer runs."""
        yield let(self._first, ACCESS)
        yield let(self._needed, FAR)
        yield let(self._user, 0)
        if self.max_wait is not None:
            yield let(self._open_until, Clock(), "+", self.max_wait)
            yield put(self._armed, self._open_until)

    def _timer(self, host: Host) -> Steps:
        """Wait for a batch to open, then for its deadline; interrupt if it is still open then.

        Deadlines come in order, since every batch may wait equally long.
        """
        yield loop(
            [
                take(self._armed, TIMER_IDLE, into=DEADLINE),
                let(SPENT, DEADLINE, "-", Clock()),
                spend(TIMER_IDLE, SPENT),
                when(self._open_until, "==", DEADLINE, [host.interrupt(self)]),
            ]
        )

    def _stall_of_last_item(self, body: list[Step]) -> Steps:
        """What happens between two accesses is a stall of the item gathered last."""
        yield let(CURRENT, ACCESS)
        yield let(ACCESS, self._last)
        yield stamp(Moment.START)
        yield from body
        yield stamp(Moment.RESUME)
        yield let(ACCESS, CURRENT)

    def _flush(self, host: Host) -> Steps:
        """One exit carries every item, in program order."""
        if self.max_wait is not None:
            yield let(self._open_until, 0)
        yield let(BEGIN, Clock())
        yield from host.leave_guest(HYPERCALL_EXIT)
        yield from host.dispatch("hypercall", write=True)
        carry = list(self._carry(host))
        yield when(self._user, "==", 1, host.user_space("hypercall", carry), carry)
        yield from host.enter_guest()
        yield let(self._count, 0)

    def _carry(self, host: Host) -> Steps:
        yield let(ITEM, self._first)
        yield let(BEYOND, self._first, "+", self._count)
        yield loop(
            [
                when(ITEM, "==", BEYOND, [leave()]),
                spend(TAKE_ITEM, host.cost("item"), whose=ITEM),
                spend(EMULATE, Column("emulate", ITEM)),
                when(
                    Column("decode_toggle", ITEM), "==", 1,
                    [spend(STATE_CHANGE, host.cost("state_change"), whose=ITEM)],
                ),
                *host.deliver_ipis(ITEM),
                stamp(Moment.DONE, ITEM),
                let(SPENT, BEGIN, "-", PostedAt(ITEM)),
                book(WAIT_IN_BATCH, SPENT, ITEM),
                let(SPENT, Clock(), "-", BEGIN),
                book(CARRIED, SPENT, ITEM),
                let(ITEM, ITEM, "+", 1),
            ]
        )  # fmt: skip
