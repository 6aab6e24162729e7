"""How a device with rings tells the guest that requests are done, and how the guest looks.

::

    back end   … done | used element | interrupt, unless held back or not asked for
    vCPU                                   `-> delivery | reap all there is, ask again | EOI

The device puts a used element into the used ring of the vCPU that made the request. Whether it
interrupts is up to both sides. The guest asks for an interrupt (always, by a flag, or from an event
index on). The device may hold interrupts back, *coalescing* them: until so many elements are there
or the first has waited so long, or by the number of commands in flight. While an interrupt is
pending, another one merges with it, as it does in an interrupt controller.

Event indices: virtio 1.1, 2.6.7 and 2.6.8. Coalescing by commands in flight: I. Ahmad, A. Gulati,
A. Mashtizadeh, vIC (ATC 2011); its thresholds and ratios here are recalled, not read: a start for
sweeps.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated, ClassVar, Literal, TypeVar

from pydantic import Field, model_validator

from vmexit_sim.configuration import Time, misfit
from vmexit_sim.hypervisor.host import DISPATCH, END_INTERRUPT, HALT_EXIT, INJECT, INTERRUPTED, Host
from vmexit_sim.mechanisms.base import Mechanism, SideActor
from vmexit_sim.mechanisms.paravirtual_front_end import PICK_UP
from vmexit_sim.steps import (
    ACCESS,
    Cell,
    Clock,
    Length,
    Operand,
    Queue,
    Register,
    Role,
    Stage,
    Step,
    Steps,
    leave,
    let,
    loop,
    put,
    spend,
    take,
    when,
)
from vmexit_sim.units import format_time

LARGEST_RING = 2**15
"""Most descriptors of a ring. Source: virtio 1.1, 2.6."""

INDICES = 2**16
"""Ring indices count modulo this."""

WAIT_COMPLETION = Stage("wait: completion", Role.WAIT)
VCPU_WAKE_UP = Stage("vCPU wake-up", Role.WAIT)
TIMER_IDLE = Stage("coalescing timer idle", Role.GUEST)

VCPU = Register("ring: vCPU that made the request")
ITEM = Register("ring: used element")
BEYOND = Register("ring: number beyond the request's")
SINCE_EVENT = Register("ring: indices since the event")
ADDED = Register("ring: indices added")
DEADLINE = Register("ring: deadline of the interrupt")
LEFT = Register("ring: time until then")
TURNS = Register("ring: interrupts of a round")
ROUND = Register("ring: completions of a round")

_RATIOS = ((16, 2, 3), (12, 3, 4), (8, 4, 5), (4, 1, 1))
"""Below so many commands in flight, so many interrupts of so many completions; beyond the first, 8
of as many as are in flight. Recalled from vIC [M]."""


Shared = TypeVar("Shared", Queue, Cell)


def of_vcpu(shared: Shared, vcpu: Register | None) -> Shared:
    """A queue or cell of the vCPU that a register names, or (None) of the actor's own.

    What there is only once is everybody's.
    """
    return shared.of(vcpu) if shared.per_vcpu and vcpu is not None else shared


def need_event(event: Operand, new: Operand, old: Operand, then: Iterable[Step]) -> Steps:
    """Do something if the other side's event index lies in what was just added.

    ``(u16)(new - event - 1) < (u16)(new - old)``. Source: virtio 1.1, 2.6.7.1; vring_need_event.
    """
    yield let(SINCE_EVENT, new, "-", event)
    yield let(SINCE_EVENT, SINCE_EVENT, "-", 1)
    yield let(SINCE_EVENT, SINCE_EVENT, "%", INDICES)
    yield let(ADDED, new, "-", old)
    yield let(ADDED, ADDED, "%", INDICES)
    yield when(SINCE_EVENT, "<", ADDED, then)


class Completions(Mechanism):
    """The completion side of mechanisms with rings.

    Attributes:
        label: rules with different labels have rings and back ends of their own, one a device say.
        notify: how either side tells the other to stay quiet: "always" (it can't), by a "flag", or
            by the index of the event that is waited for, "event_idx".
        completions: "interrupt"; "polled": the guest reaps when it makes its next request; "none":
            nobody looks, descriptors come back by themselves.
        interrupt_count: used elements until the device interrupts.
        interrupt_timer: longest that the first of them is held back (ps), or None: no timer.
        interrupt_ratio: "commands_in_flight": the more requests are under way, the fewer of their
            completions interrupt (vIC); None: all do.
        waiting: what a guest does until a result that it needs is there: it looks again and again
            ("spin"), or halts until the interrupt ("sleep").
        title: what its queues begin their names with.
    """

    title: ClassVar[str]

    label: Annotated[str, Field(max_length=40)] = ""
    notify: Literal["always", "flag", "event_idx"] = "event_idx"
    completions: Literal["interrupt", "polled", "none"] = "interrupt"
    interrupt_count: Annotated[int, Field(ge=1, le=LARGEST_RING)] = 1
    interrupt_timer: Annotated[Time | None, Field(gt=0)] = None
    interrupt_ratio: Literal["commands_in_flight"] | None = None
    waiting: Literal["spin", "sleep"] = "spin"

    @model_validator(mode="after")
    def _possible(self) -> Completions:
        held = self.interrupt_count > 1
        if self.waiting == "sleep" and self.completions != "interrupt":
            raise misfit("sleeps until an interrupt that never comes", value=self.completions,
                         mend='set waiting = "spin", or completions = "interrupt"')  # fmt: skip
        if self.waiting == "sleep" and held and self.interrupt_timer is None:
            raise misfit("may sleep for ever: its interrupt waits for others",
                         mend="give an interrupt_timer")  # fmt: skip
        if self.interrupt_timer is not None and not held:
            raise misfit("has a timer for interrupts that are not held back",
                         mend="set interrupt_count above 1")  # fmt: skip
        if self.interrupt_ratio is not None and held:
            raise misfit("holds interrupts back by count and by ratio",
                         mend="leave out interrupt_count or interrupt_ratio")  # fmt: skip
        return self

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
    def _in_flight(self) -> Cell:
        """Requests posted and not yet done."""
        raise NotImplementedError  # pragma: no cover - abstract

    @property
    def _used(self) -> Queue:
        return Queue(f"{self._name}: used ring", per_vcpu=True)

    @property
    def _answers(self) -> Queue:
        return Queue(f"{self._name}: guest waiting", per_vcpu=True)

    @property
    def _armed(self) -> Queue:
        return Queue(f"{self._name}: coalescing timer", per_vcpu=True)

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

    # ---- The guest -------------------------------------------------------------------------------

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
        """Look until it is done; where CPUs are scarce others get this one meanwhile."""
        wait: list[Step] = [
            let(self._cell("request that is spun for"), request, "+", 1),
            *host.sleep_on(self._answers, WAIT_COMPLETION),
        ]
        yield when(self._cell("number beyond the request done last"), "<=", request, wait)

    def _sleep(self, host: Host) -> Steps:
        """Halt until the interrupt, whose service is part of the stall.

        One that is pending already is let in by an exit; one that ends the halt comes with the
        entry.
        """
        blocked: list[Step] = [
            let(self._cell("halted"), 1),
            *host.sleep_on(self._answers, WAIT_COMPLETION),
            spend(VCPU_WAKE_UP, host.cost("vcpu_wake_up")),
        ]
        halt: list[Step] = [
            *host.leave_guest(HALT_EXIT),
            spend(DISPATCH, host.cost("dispatch_halt")),
            when(self._pending, "==", 0, blocked),
            *host.enter_guest(),
        ]
        yield when(self._pending, "==", 0, halt, host.deliver_interrupt(INJECT))
        yield let(self._pending, 0)
        yield from self._quieten()
        yield from self._reap(host, PICK_UP)
        yield from host.end_interrupt(END_INTERRUPT)

    # ---- The device ------------------------------------------------------------------------------

    def _complete(self, host: Host) -> Steps:
        """The current access is done: used element, an answer to who spins, an interrupt."""
        yield let(BEYOND, ACCESS, "+", 1)
        if self.completions != "none":
            yield put(self._used.of(VCPU), ACCESS)
        if self.waiting == "spin":
            spun_for = self._cell("request that is spun for").of(VCPU)
            yield let(self._cell("number beyond the request done last").of(VCPU), BEYOND)
            answer: list[Step] = [let(spun_for, 0), put(self._answers.of(VCPU), 0)]
            yield when(spun_for, "==", BEYOND, answer)
        if not self.interrupts:
            return
        used = self._cell("used index").of(VCPU)
        yield let(used, used, "+", 1)
        if self.interrupt_ratio is not None:
            yield from self._by_ratio(list(self._signal(host, VCPU)))
        elif self.interrupt_count > 1:
            yield from self._hold_back(host)
        else:
            yield from self._signal(host, VCPU)

    def _hold_back(self, host: Host) -> Steps:
        """Interrupt when enough elements are there; the first of them starts the timer."""
        held, until = self._held(VCPU)
        yield let(held, held, "+", 1)
        if self.interrupt_timer is not None:
            start: list[Step] = [
                let(until, Clock(), "+", self.interrupt_timer),
                put(self._armed.of(VCPU), until),
            ]
            yield when(held, "==", 1, start)
        yield when(held, "==", self.interrupt_count, self._signal(host, VCPU))

    def _held(self, vcpu: Register | None) -> tuple[Cell, Cell]:
        held, until = self._cell("elements held back"), self._cell("held back until")
        return of_vcpu(held, vcpu), of_vcpu(until, vcpu)

    def _by_ratio(self, signal: Sequence[Step]) -> Steps:
        """So many interrupts of so many completions, by how many commands are in flight."""
        in_flight = of_vcpu(self._in_flight, VCPU)
        turn = self._cell("completion of the round").of(VCPU)
        yield let(TURNS, 1)
        yield let(ROUND, in_flight, "//", 8)
        for below, turns, of in _RATIOS:
            yield when(in_flight, "<", below, [let(TURNS, turns), let(ROUND, of)])
        following = let(turn, turn, "+", 1)
        last = when(turn, ">=", ROUND, [let(turn, 1), *signal], [following])
        yield when(turn, "<", TURNS, [following, *signal], [last])

    def _signal(self, host: Host, vcpu: Register | None) -> Steps:
        """Interrupt the guest, if it asked for that."""
        if self.interrupt_count > 1:
            for cell in self._held(vcpu):
                yield let(cell, 0)
        pending, halted = of_vcpu(self._pending, vcpu), of_vcpu(self._cell("halted"), vcpu)
        interrupt: Step = when(
            pending, "==", 0, [let(pending, 1), host.interrupt(self, vcpu)]
        )  # fmt: skip
        if self.waiting == "sleep":
            wake: list[Step] = [let(halted, 0), put(of_vcpu(self._answers, vcpu), 0)]
            interrupt = when(halted, "==", 1, wake, [interrupt])
        match self.notify:
            case "always":
                yield interrupt
            case "flag":
                yield when(of_vcpu(self._silent, vcpu), "==", 0, [interrupt])
            case "event_idx":
                used = of_vcpu(self._cell("used index"), vcpu)
                signalled = of_vcpu(self._cell("index signalled last"), vcpu)
                event = of_vcpu(self._used_event, vcpu)
                yield from need_event(event, used, signalled, [interrupt])
                yield let(signalled, used)

    def _timers(self, host: Host) -> Iterable[SideActor]:
        """Each vCPU's coalescing timer, if there is one; deadlines come in order."""
        if not self.interrupts or self.interrupt_timer is None:
            return []
        _, until = self._held(None)
        steps = loop(
            [
                take(self._armed, TIMER_IDLE, into=DEADLINE),
                let(LEFT, DEADLINE, "-", Clock()),
                spend(TIMER_IDLE, LEFT),
                when(until, "==", DEADLINE, self._signal(host, None)),
            ]
        )
        return [SideActor("coalescing timer", True, (step for step in [steps]), is_thread=False)]
