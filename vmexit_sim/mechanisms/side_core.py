"""A side core: a core of the host does nothing but look into the guest's rings.

::

    vCPU      write a descriptor | make it available | go on                      (no exit)
    core      queue 0? 1? 2? … 0? 1: take, emulate, done; more? | 2? …   (one look after another)

The core looks at its queues one after the other; each look costs `poll_queue`. It serves what it
finds and goes on to the next queue. A request thus waits for the core to come by instead of for a
thread to wake up, the guest never exits to notify, and a whole core is spent, whether there is work
or not. With `idle_off` a core that found nothing for so long sleeps, and asks for a kick by a flag;
with `on_above` it polls only if kicks come fast enough, and else sleeps again at once.

While every queue is empty nothing happens but looks, so no event is made for them: where the core
would be by now is arithmetic. A request posted at the very instant at which such a look ends is
seen by the next look into its queue.

Source: N. Har'El et al., Efficient and Scalable Paravirtual I/O System (ELVIS, ATC 2013).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated, ClassVar

from pydantic import Field, model_validator

from vmexit_sim.configuration import Time, misfit
from vmexit_sim.distributions import Constant
from vmexit_sim.errors import InputError
from vmexit_sim.hypervisor.access_class import AccessClass
from vmexit_sim.hypervisor.host import Host
from vmexit_sim.mechanisms.base import SideActor, register
from vmexit_sim.mechanisms.reaping import of_vcpu
from vmexit_sim.mechanisms.rings import RING_WAIT, Rings
from vmexit_sim.steps import (
    ACCESS,
    NOBODY,
    TIMED_OUT,
    Cell,
    Clock,
    Column,
    Length,
    Operand,
    Queue,
    Register,
    Role,
    Stage,
    Step,
    Steps,
    acquire,
    leave,
    let,
    loop,
    put,
    release,
    spend,
    take,
    when,
)
from vmexit_sim.units import SECOND

POLLING = Stage("polling", Role.POLL)
OFF = Stage("side core off", Role.GUEST)

QUEUE = Register("side core: queue")
SINCE = Register("side core: all queues empty since")
LOOKS = Register("side core: looks begun")
REST = Register("side core: rest of the look")
SERVED = Register("side core: served in this visit")
RANG = Register("side core: whose request rang")
KICKED = Register("side core: last kicked on at")
SINCE_KICK = Register("side core: since the kick before")
PATIENCE = Register("side core: stays on for")


@register("side_core")
class SideCore(Rings):
    """Requests in rings that a core of the host polls.

    Attributes:
        burst: most requests that the core serves in one visit of a queue; None: until it is empty.
        idle_off: with no work for so long (ps) the core goes off, until a kick; None: never.
        on_above: kicks a second above which a kick turns the core on; at fewer it only serves what
            it was kicked for and goes off again, as a sleeping thread does. None: every kick.
    """

    title: ClassVar[str] = "side core"
    cores_spent: ClassVar[int] = 1

    burst: Annotated[int, Field(ge=1)] | None = None
    idle_off: Annotated[Time | None, Field(gt=0)] = None
    on_above: Annotated[int | None, Field(ge=1, le=10**9)] = None

    @model_validator(mode="after")
    def _can_go_off(self) -> SideCore:
        if self.on_above is not None and self.idle_off is None:
            raise misfit("turns a core on that never goes off", mend="state idle_off as well")
        return self

    @property
    def _patience(self) -> Operand | None:
        """For how long the core listens before it goes off."""
        return self.idle_off if self.on_above is None else PATIENCE

    @property
    def _kicks(self) -> Queue:
        return Queue(f"{self._name}: kicks", capacity=1)

    @property
    def _bell(self) -> Queue:
        """What a core hears that looks at nothing but empty queues; part of no real machine."""
        return Queue(f"{self._name}: bell", capacity=1)

    @property
    def _available(self) -> Cell:
        """Requests in all queues together."""
        return self._cell("requests available", per_vcpu=False)

    @property
    def _listening(self) -> Cell:
        return self._cell("all queues empty", per_vcpu=False)

    @property
    def _off(self) -> Cell:
        return self._cell("kick wanted", per_vcpu=False)

    def access(self, host: Host, access: AccessClass) -> Steps:
        """Post a request; the core will see it. Wait if the next row needs the result."""
        yield from self._describe(host)
        yield from self._make_available()
        yield let(self._available, self._available, "+", 1)
        ring: list[Step] = [let(self._listening, 0), put(self._bell, Column("vcpu"))]
        yield when(self._listening, "==", 1, ring)
        if self.idle_off is not None:
            yield when(self._off, "==", 1, self._ring_doorbell(host, access, self._kicks))
        yield from self._await_needed(host)

    def actors(self, host: Host) -> Iterable[SideActor]:
        """One core for all queues, and the timers of coalescing.

        Raises:
            InputError: the cost of a look is random.
        """
        core = SideActor("side core", False, host.thread(self._core(host)))
        return [core, *self._timers(host)]

    def _core(self, host: Host) -> Steps:
        """Look, serve, go on to the next queue."""
        look = self._look(host)
        queues = host.vcpus if self._per_vcpu else 1
        core = Queue(f"{self._name}: core", tokens=1)
        ring = of_vcpu(self._ring, QUEUE)
        yield acquire(core, POLLING)
        yield loop(
            [
                when(
                    self._available, "==", 0,
                    self._through_empty_queues(host, core, look, queues),
                    [spend(POLLING, look)],
                ),
                when(Length(ring), ">", 0, self._visit(host, ring)),
                let(ACCESS, NOBODY),
                let(QUEUE, QUEUE, "+", 1),
                let(QUEUE, QUEUE, "%", queues),
            ]
        )  # fmt: skip

    def _look(self, host: Host) -> int:
        cost = host.cost("poll_queue")
        if not isinstance(cost, Constant):
            raise InputError("is random, but a side core looks at regular intervals",
                             key="costs.poll_queue", mend="give a constant time")  # fmt: skip
        return cost.value

    def _visit(self, host: Host, ring: Queue) -> Steps:
        """Serve the queue until it is empty, or a burst of it."""
        at_work = Queue(f"{self._name}: core at work", tokens=1)
        full: Sequence[Step] = []
        if self.burst is not None:
            full = [when(SERVED, "==", self.burst, [leave()])]
        yield let(SERVED, 0)
        yield loop(
            [
                when(Length(ring), "==", 0, [leave()]),
                *full,
                take(ring, RING_WAIT, into=ACCESS),
                let(SERVED, SERVED, "+", 1),
                let(self._available, self._available, "-", 1),
                *self._serve(host, at_work),
            ]
        )

    def _through_empty_queues(self, host: Host, core: Queue, look: int, queues: int) -> Steps:
        """Hear of the next request, and be where the core is by then: at the end of a look."""
        found: list[Step] = [
            let(LOOKS, Clock(), "-", SINCE),
            let(REST, LOOKS, "%", look),
            let(REST, look, "-", REST),
            let(LOOKS, LOOKS, "//", look),
            let(QUEUE, QUEUE, "+", LOOKS),
            let(QUEUE, QUEUE, "%", queues),
            spend(POLLING, REST),
        ] if look else [let(QUEUE, RANG if self._per_vcpu else 0)]  # fmt: skip
        yield let(SINCE, Clock())
        yield let(self._listening, 1)
        yield take(self._bell, POLLING, into=RANG, timeout=self._patience)
        if self.idle_off is None:
            yield from found
            return
        yield when(RANG, "==", TIMED_OUT, self._sleep_until_kicked(host, core, look), found)

    def _sleep_until_kicked(self, host: Host, core: Queue, look: int) -> Steps:
        """Give the core back, ask for a kick, and begin a look when it has woken up."""
        yield let(self._listening, 0)
        yield let(self._off, 1)
        yield release(core)
        yield from self._asleep(host, self._kicks, OFF)
        yield acquire(core, POLLING)
        yield let(self._off, 0)
        if self.on_above is not None and self.idle_off is not None:
            yield let(SINCE_KICK, Clock(), "-", KICKED)
            yield let(KICKED, Clock())
            stays, goes = [let(PATIENCE, self.idle_off)], [let(PATIENCE, 0)]
            yield when(SINCE_KICK, "<", SECOND // self.on_above, stays, goes)
        yield spend(POLLING, look)
