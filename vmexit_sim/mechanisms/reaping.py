"""How a guest learns that its requests are done: interrupts, reaping, waiting for a result.

::

    vCPU   interrupted: delivery | reap all used elements there are, ask again | EOI
    vCPU   needs a result: spin until it is there          | reap
    vCPU   needs a result: halt … woken by the interrupt   | reap | EOI

Each vCPU has a used ring, into which a device puts an element for each request that is done. What
is shared with the device is told in `vmexit_sim.mechanisms.completions`, its other side.

Source: virtio 1.1, 2.6.7 and 2.6.8.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, TypeVar

from pydantic import Field

from vmexit_sim.hypervisor.host import Host
from vmexit_sim.hypervisor.idle import (
    BLOCKED_AT,
    CPUS_WANTED,
    HALT_EXIT,
    HALTED_AT,
    LASTED,
    LIMIT,
    POLL_UNTIL,
)
from vmexit_sim.hypervisor.stages import DISPATCH, END_INTERRUPT, INJECT, INTERRUPTED
from vmexit_sim.mechanisms.base import Mechanism
from vmexit_sim.mechanisms.paravirtual_front_end import PICK_UP
from vmexit_sim.steps import (
    TIMED_OUT,
    Cell,
    Clock,
    Length,
    Queue,
    Register,
    Role,
    Stage,
    Step,
    Steps,
    leave,
    let,
    loop,
    spend,
    take,
    when,
)
from vmexit_sim.units import format_time

INDICES = 2**16
"""Ring indices count modulo this."""

WAIT_COMPLETION = Stage("wait: completion", Role.WAIT)
VCPU_WAKE_UP = Stage("wait: vCPU wake-up", Role.WAIT)

ITEM = Register("ring: used element")
ANSWER = Register("ring: answer, or none in time")

Shared = TypeVar("Shared", Queue, Cell)


def of_vcpu(shared: Shared, vcpu: Register | None) -> Shared:
    """A queue or cell of the vCPU that a register names, or (None) of the actor's own.

    What there is only once is everybody's.
    """
    return shared.of(vcpu) if shared.per_vcpu and vcpu is not None else shared


class Reaping(Mechanism):
    """The guest's side of completions.

    Attributes:
        label: rules with different labels have rings and back ends of their own, one a device say.
        notify: how either side tells the other to stay quiet: "always" (it can't), by a "flag", or
            by the index of the event that is waited for, "event_idx".
        completions: "interrupt"; "polled": the guest reaps when it makes its next request; "none":
            nobody looks, descriptors come back by themselves.
        waiting: what a guest does until a result that it needs is there: it looks again and again
            ("spin"), or halts until the interrupt ("sleep"), polling before as the policy's `idle`
            has it.
        title: what its queues begin their names with.
    """

    title: ClassVar[str]

    label: Annotated[str, Field(max_length=40)] = ""
    notify: Literal["always", "flag", "event_idx"] = "event_idx"
    completions: Literal["interrupt", "polled", "none"] = "interrupt"
    waiting: Literal["spin", "sleep"] = "spin"

    @property
    def interrupts(self) -> bool:
        """If completions do."""
        return self.completions == "interrupt"

    @property
    def _name(self) -> str:
        """What its queues, cells and registers are called: what tells it from others like it."""
        stated = self.model_dump(exclude_defaults=True)
        for time in {"interrupt_timer", "idle_off"} & set(stated):
            stated[time] = format_time(stated[time])
        own = ", ".join(f"{key} {value}" for key, value in sorted(stated.items()))
        return f"{self.title} ({own})" if own else self.title

    def _own(self, what: str) -> Register:
        return Register(f"{self._name}: {what}")

    def _cell(self, what: str, per_vcpu: bool = True) -> Cell:
        return Cell(f"{self._name}: {what}", per_vcpu=per_vcpu)

    @property
    def _used(self) -> Queue:
        return Queue(f"{self._name}: used ring", per_vcpu=True)

    @property
    def _answers(self) -> Queue:
        return Queue(f"{self._name}: guest waiting", per_vcpu=True)

    @property
    def _reaped(self) -> Register:
        return self._own("elements reaped")

    @property
    def _reaped_beyond(self) -> Register:
        return self._own("number beyond the request reaped last")

    @property
    def _silent(self) -> Cell:
        return self._cell("no interrupt wanted")

    @property
    def _used_event(self) -> Cell:
        return self._cell("used event index")

    @property
    def _pending(self) -> Cell:
        return self._cell("interrupt pending")

    @property
    def _spun_for(self) -> Cell:
        """One more than the number of the request that the vCPU spins for; 0: it does not."""
        return self._cell("request spun for")

    @property
    def _done_beyond(self) -> Cell:
        """One more than the number of the request that was done last."""
        return self._cell("number beyond the request done last")

    @property
    def _waits(self) -> Cell:
        """Whether the vCPU waits for the interrupt."""
        return self._cell("guest waits for the interrupt")

    def serve_interrupt(self, host: Host) -> Steps:
        """Delivery, reaping all there is, end of interrupt; nothing if that was done already."""
        service: list[Step] = [
            *host.deliver_interrupt(INTERRUPTED),
            let(self._pending, 0),
            *self._quieten(),
            *self._reap(host, INTERRUPTED),
            *host.end_interrupt(INTERRUPTED),
        ]
        yield when(self._pending, "==", 1, service)

    def _reap(self, host: Host, stage: Stage) -> Steps:
        """Take used elements until there is none, then ask for an interrupt again."""
        yield loop(
            [
                when(Length(self._used), "==", 0, [*self._ask(), leave()]),
                take(self._used, stage, into=ITEM),
                spend(stage, host.cost("pick_up"), whose=ITEM),
                let(self._reaped, self._reaped, "+", 1),
                let(self._reaped_beyond, ITEM, "+", 1),
            ]
        )

    def _ask(self) -> Steps:
        """From the next element on, an interrupt is wanted; setting that and looking are one."""
        if self.interrupts and self.notify == "flag":
            yield let(self._silent, 0)
        elif self.interrupts and self.notify == "event_idx":
            yield let(self._used_event, self._reaped)

    def _quieten(self) -> Steps:
        """No interrupt is wanted; an event index half the circle away is never met."""
        if self.interrupts and self.notify == "flag":
            yield let(self._silent, 1)
        elif self.interrupts and self.notify == "event_idx":
            yield let(self._used_event, self._reaped, "+", INDICES // 2)

    def _await(self, host: Host, request: Register) -> Steps:
        """The guest goes no further before a request's result is there."""
        if self.waiting == "sleep":
            yield loop(
                [when(self._reaped_beyond, ">", request, [leave()]), *self._sleep(host)]
            )  # fmt: skip
        elif self.completions == "none":
            yield from self._spin(host, request)
            yield spend(PICK_UP, host.cost("pick_up"))
        else:
            spin: list[Step] = [
                *self._quieten(),
                *self._spin(host, request),
                *self._reap(host, PICK_UP),
            ]
            yield when(self._reaped_beyond, "<=", request, spin)

    def _spin(self, host: Host, request: Register) -> Steps:
        """Look until it is done."""
        wait: list[Step] = [
            let(self._spun_for, request, "+", 1),
            *host.spin_on(self._answers, WAIT_COMPLETION),
        ]
        yield when(self._done_beyond, "<=", request, wait)

    def _sleep(self, host: Host) -> Steps:
        """Poll and halt, as the guest idles, until the interrupt; its service is part of the stall.

        One that is pending already, or comes while the guest polls, is let in by an exit; one that
        ends the halt comes with the entry.
        """
        halt: list[Step] = [
            let(HALTED_AT, Clock()),
            *host.leave_guest(HALT_EXIT),
            spend(DISPATCH, host.cost("dispatch_halt")),
            when(self._pending, "==", 0, self._block(host)),
            *host.enter_guest(),
            let(LASTED, Clock(), "-", HALTED_AT),
            *host.idle.guest_poll.adapted(LASTED),
        ]
        if poll := list(self._poll_before_halt(host)):
            yield when(self._pending, "==", 0, poll)
        yield when(self._pending, "==", 0, halt, host.deliver_interrupt(INJECT))
        yield let(self._pending, 0)
        yield from self._quieten()
        yield from self._reap(host, PICK_UP)
        yield from host.end_interrupt(END_INTERRUPT)

    def _poll_before_halt(self, host: Host) -> Steps:
        """The guest's polling: for its window, or (idle=poll) until the interrupt is pending."""
        polls_on = host.idle.guest == "poll"
        if not polls_on and host.idle.guest_poll.window == "never":
            return
        until = None if polls_on else POLL_UNTIL
        if until is not None:
            yield let(POLL_UNTIL, Clock(), "+", host.idle.guest_poll.now)
        yield let(self._waits, 1)
        yield from host.spin_on(self._answers, WAIT_COMPLETION, into=ANSWER, until=until)
        yield when(ANSWER, "==", TIMED_OUT, [let(self._waits, 0)], [let(self._pending, 1)])

    def _block(self, host: Host) -> Steps:
        """The host's polling for its window, then sleep."""
        sleep: list[Step] = [
            *host.sleep_on(self._answers, WAIT_COMPLETION),
            spend(VCPU_WAKE_UP, host.cost("vcpu_wake_up")),
        ]
        yield let(BLOCKED_AT, Clock())
        yield let(self._waits, 1)
        if host.idle.host_poll.window == "never":
            yield from sleep
            return
        yield let(LIMIT, host.idle.host_poll.now)
        if host.cpus is not None:
            yield when(CPUS_WANTED, ">", 0, [let(LIMIT, 0)])
        yield take(self._answers, WAIT_COMPLETION, into=ANSWER, timeout=LIMIT)
        yield when(ANSWER, "==", TIMED_OUT, sleep)
        yield let(LASTED, Clock(), "-", BLOCKED_AT)
        yield from host.idle.host_poll.adapted(LASTED)
