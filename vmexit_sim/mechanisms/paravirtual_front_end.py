"""A Xen-style split driver: a front end in the guest asks a back end in another domain.

::

    vCPU      lock | write request | hypercall: exit … entry | spin for the answer | unlock
    back end                              wake up | emulate |-> answer

The front end holds its own lock (pcifront's sh_info_lock) and spins until the answer stands in the
shared page.

Source: Linux drivers/pci/xen-pcifront.c, do_pci_op.
"""

from __future__ import annotations

from collections.abc import Iterable

from vmexit_sim.hypervisor.access_class import AccessClass
from vmexit_sim.hypervisor.host import Host
from vmexit_sim.hypervisor.stages import GATHER, HYPERCALL_EXIT
from vmexit_sim.mechanisms.base import Mechanism, SideActor, register
from vmexit_sim.steps import (
    ACCESS,
    NOBODY,
    Column,
    Moment,
    Queue,
    Role,
    Stage,
    Steps,
    let,
    loop,
    put,
    release,
    spend,
    stamp,
    when,
)

WAIT_ANSWER = Stage("wait: back end", Role.WAIT)
PICK_UP = Stage("pick up answer", Role.ACCESS)
BACK_END_IDLE = Stage("back end idle", Role.GUEST)
WAKE_UP = Stage("back end wake-up", Role.BACK)
BACK_END = Stage("back end emulation", Role.BACK)
BACK_END_CHANGE = Stage("back end state change", Role.BACK)

BACK_END_CPU = Stage("back end wait: CPU", Role.BACK)

WAIT_FRONT_END = Stage("wait: front-end lock", Role.WAIT)
FRONT_END_LOCK = Queue("front-end lock", tokens=1)
REQUESTS = Queue("requests to the back end")
ANSWERS = Queue("answers of the back end")


@register("paravirtual_front_end")
class ParavirtualFrontEnd(Mechanism):
    """A request in shared memory, an event to a back end, and spinning for its answer."""

    def access(self, host: Host, access: AccessClass) -> Steps:
        """Ask, and spin."""
        yield from host.spin_on(FRONT_END_LOCK, WAIT_FRONT_END)
        yield spend(GATHER, host.cost("gather"))
        yield from host.leave_guest(HYPERCALL_EXIT)
        yield from host.dispatch("hypercall", access.write)
        yield put(REQUESTS, ACCESS)
        yield from host.enter_guest()
        yield from host.spin_on(ANSWERS, WAIT_ANSWER)
        yield spend(PICK_UP, host.cost("pick_up"))
        yield release(FRONT_END_LOCK)

    def actors(self, host: Host) -> Iterable[SideActor]:
        """One back end for the whole guest."""
        return [SideActor("back end", False, host.thread(self._back_end(host)))]

    def _back_end(self, host: Host) -> Steps:
        yield loop(
            [
                let(ACCESS, NOBODY),
                *host.sleep_on(REQUESTS, BACK_END_IDLE, into=ACCESS, again=BACK_END_CPU),
                spend(WAKE_UP, host.cost("thread_wake_up")),
                spend(BACK_END, Column("emulate")),
                when(
                    Column("decode_toggle"), "==", 1,
                    [spend(BACK_END_CHANGE, host.cost("state_change"))],
                ),
                stamp(Moment.DONE),
                put(ANSWERS, ACCESS),
            ]
        )  # fmt: skip
