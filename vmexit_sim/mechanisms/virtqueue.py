"""A virtqueue: requests in shared memory, and a thread that is kicked when it sleeps.

::

    vCPU      write a descriptor | make it available | kick? exit: dispatch, signal, entry
    back end                        sleeping … wake up | take, emulate, done | …, next? | ask, sleep
    vCPU                                                      `-> interrupt?

A kick is a trapped doorbell, and exits only if the back end asked for it: always, by a flag that it
clears when it is about to sleep, or by the index of the request that shall wake it. So what a
request costs depends on who is faster: a back end that keeps up sleeps each time and is kicked each
time, one that lags behind is never asleep, and there is no exit at all.

Source: virtio 1.1, 2.6.7 to 2.6.10; Linux drivers/vhost/vhost.c.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from vmexit_sim.hypervisor.access_class import AccessClass
from vmexit_sim.hypervisor.host import Host
from vmexit_sim.mechanisms.base import SideActor, register
from vmexit_sim.mechanisms.completions import need_event
from vmexit_sim.mechanisms.paravirtual_front_end import BACK_END_IDLE
from vmexit_sim.mechanisms.rings import RING_WAIT, Rings
from vmexit_sim.steps import (
    ACCESS,
    NOBODY,
    Cell,
    Length,
    Queue,
    Register,
    Step,
    Steps,
    let,
    loop,
    take,
    when,
)

BEFORE = Register("virtqueue: available index before")


@register("virtqueue")
class Virtqueue(Rings):
    """Requests in a ring; a thread for each queue, kicked awake."""

    title: ClassVar[str] = "virtqueue"

    @property
    def _kicks(self) -> Queue:
        """An eventfd: what is signalled twice is seen once."""
        return Queue(f"{self._name}: kicks", capacity=1, per_vcpu=self._per_vcpu)

    @property
    def _quiet(self) -> Cell:
        return self._cell("no kick wanted", self._per_vcpu)

    @property
    def _event(self) -> Cell:
        return self._cell("available event index", self._per_vcpu)

    def access(self, host: Host, access: AccessClass) -> Steps:
        """Post a request, kick if asked to, and wait if the next row needs the result."""
        yield from self._describe(host)
        yield from self._make_available()
        kick = list(self._ring_doorbell(host, access, self._kicks))
        match self.notify:
            case "always":
                yield from kick
            case "flag":
                yield when(self._quiet, "==", 0, kick)
            case "event_idx":
                available = self._cell("available index", self._per_vcpu)
                yield let(BEFORE, available)
                yield let(available, BEFORE, "+", 1)
                yield from need_event(self._event, available, BEFORE, kick)
        yield from self._await_needed(host)

    def actors(self, host: Host) -> Iterable[SideActor]:
        """A thread for each queue, and the timers of coalescing."""
        thread = SideActor("back end", self._per_vcpu, host.thread(self._back_end(host)))
        return [thread, *self._timers(host)]

    def _back_end(self, host: Host) -> Steps:
        """Take requests in order; when there is none, ask for a kick, look again, and sleep."""
        taken = self._own("requests taken")
        at_work = Queue(f"{self._name}: back end", tokens=1, per_vcpu=self._per_vcpu)
        ask: dict[str, list[Step]] = {
            "always": [],
            "flag": [let(self._quiet, 0)],
            "event_idx": [let(self._event, taken)],
        }
        wake: list[Step] = [let(self._quiet, 1)] if self.notify == "flag" else []
        sleep: list[Step] = [*self._asleep(host, self._kicks, BACK_END_IDLE), *wake]
        yield loop(
            [
                when(
                    Length(self._ring), "==", 0,
                    [
                        let(ACCESS, NOBODY),
                        *ask[self.notify],
                        when(Length(self._ring), "==", 0, sleep, wake),
                    ],
                ),
                when(
                    Length(self._ring), ">", 0,
                    [
                        take(self._ring, RING_WAIT, into=ACCESS),
                        let(taken, taken, "+", 1),
                        *self._serve(host, at_work),
                    ],
                ),
            ]
        )  # fmt: skip
