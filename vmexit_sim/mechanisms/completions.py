"""How a device with rings tells the guest that requests are done.

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
from typing import Annotated, Literal

from pydantic import Field, model_validator

from vmexit_sim.configuration import Time, misfit
from vmexit_sim.hypervisor.host import Host
from vmexit_sim.mechanisms.base import SideActor
from vmexit_sim.mechanisms.reaping import INDICES, Reaping, of_vcpu
from vmexit_sim.steps import (
    ACCESS,
    Cell,
    Clock,
    Operand,
    Queue,
    Register,
    Role,
    Stage,
    Step,
    Steps,
    let,
    loop,
    put,
    spend,
    take,
    when,
)

LARGEST_RING = 2**15
"""Most descriptors of a ring. Source: virtio 1.1, 2.6."""

TIMER_IDLE = Stage("coalescing timer idle", Role.GUEST)

VCPU = Register("ring: vCPU that made the request")
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


class Completions(Reaping):
    """The device's side of completions.

    Attributes:
        interrupt_count: used elements until the device interrupts.
        interrupt_timer: longest that the first of them is held back (ps), or None: no timer.
        interrupt_ratio: "commands_in_flight": the more requests a vCPU has under way, the fewer of
            their completions interrupt it (vIC); None: all do.
    """

    interrupt_count: Annotated[int, Field(ge=1, le=LARGEST_RING)] = 1
    interrupt_timer: Annotated[Time | None, Field(gt=0)] = None
    interrupt_ratio: Literal["commands_in_flight"] | None = None

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
    def _own_in_flight(self) -> Cell:
        """Requests that a vCPU has posted and that are not yet done."""
        raise NotImplementedError  # pragma: no cover - abstract

    @property
    def _armed(self) -> Queue:
        return Queue(f"{self._name}: coalescing timer", per_vcpu=True)

    def _complete(self, host: Host) -> Steps:
        """The current access is done: used element, an answer to who spins, an interrupt."""
        yield let(BEYOND, ACCESS, "+", 1)
        if self.completions != "none":
            yield put(self._used.of(VCPU), ACCESS)
        if self.waiting == "spin":
            spun_for = self._spun_for.of(VCPU)
            yield let(self._done_beyond.of(VCPU), BEYOND)
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
        in_flight = self._own_in_flight.of(VCPU)
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
        pending, waits = of_vcpu(self._pending, vcpu), of_vcpu(self._waits, vcpu)
        interrupt: Step = when(
            pending, "==", 0, [let(pending, 1), host.interrupt(self, vcpu)]
        )  # fmt: skip
        if self.waiting == "sleep":
            wake: list[Step] = [let(waits, 0), put(of_vcpu(self._answers, vcpu), 0)]
            interrupt = when(waits, "==", 1, wake, [interrupt])
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
