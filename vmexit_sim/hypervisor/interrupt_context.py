"""Interrupt contexts: services that come by themselves, and stop what their vCPU computes.

A service's accesses stand in a stream of their own, the vCPU's *interrupt context*. When one
arrives it raises an interrupt and waits; the vCPU looks as it computes or idles (while it handles
an exit the interrupt stays pending), lends itself to the service, and then computes the rest::

    vCPU      compute ──┐                                      ┌── the rest of it
    context   arrival ──┴ delivery │ access … access │ EOI ────┘
                      pending      '- rows like any others -'
"""

from __future__ import annotations

from vmexit_sim.hypervisor.host import ON_CPU_SINCE, REFILL_DUE, Cause, Host
from vmexit_sim.hypervisor.idle import HALT_ENDED
from vmexit_sim.steps import (
    Clock,
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
    take,
    when,
)

BETWEEN_SERVICES = Stage("between services", Role.GUEST)
PENDING = Stage("interrupt pending", Role.GUEST)
IN_SERVICE = Stage("lent to interrupt service", Role.GUEST)

INTERRUPTED_VCPU = Register("vCPU that this context interrupts")
IS_CONTEXT = Register("is an interrupt context")
WAITS_FOR = Register("interrupt context waits for")
OVER = Register("the interrupt context has no more services")
CAUSE = Register("interrupt cause")
OWED = Register("refill that an interrupt service left")

LENT = Queue("vCPU lent to its interrupt context", per_vcpu=True)
GIVEN_BACK = Queue("vCPU given back by its interrupt context", per_vcpu=True)


class ServiceArrived(Cause):
    """A service asks for the vCPU."""

    def serve_interrupt(self, host: Host) -> Steps:
        """Lend it, and wait until it comes back."""
        yield put(LENT, HALT_ENDED)
        yield let(HALT_ENDED, 0)
        yield take(GIVEN_BACK, IN_SERVICE, into=OWED)
        if host.refill:
            yield let(REFILL_DUE, REFILL_DUE, "+", OWED)


class NoMoreServices(Cause):
    """The context has come to its end."""

    def serve_interrupt(self, host: Host) -> Steps:
        """Remember it."""
        yield let(OVER, 1)


ARRIVED, NO_MORE = ServiceArrived(), NoMoreServices()


def begin_context(vcpu: int) -> Steps:
    """How an interrupt context starts, once it knows whose it is."""
    yield let(INTERRUPTED_VCPU, vcpu)
    yield let(IS_CONTEXT, 1)


def between_services(host: Host, until: Register) -> Steps:
    """Wait for the next service's moment; what the context itself left pending comes first."""
    yield let(WAITS_FOR, until, "-", Clock())
    yield take(host.interrupts, BETWEEN_SERVICES, into=CAUSE, timeout=WAITS_FOR)


def borrow_vcpu(host: Host) -> Steps:
    """The first access of a service: get the vCPU, on the CPU that it is on."""
    yield host.interrupt(ARRIVED, INTERRUPTED_VCPU)
    yield take(LENT.of(INTERRUPTED_VCPU), PENDING, into=HALT_ENDED)
    if host.cpus is not None:
        yield let(ON_CPU_SINCE, Clock())


def give_vcpu_back() -> Steps:
    """After the last one."""
    yield put(GIVEN_BACK.of(INTERRUPTED_VCPU), REFILL_DUE)
    yield let(REFILL_DUE, 0)


def at_the_end(host: Host, served: list[Step]) -> Steps:
    """A context says that it is over; its vCPU serves until then.

    Args:
        host: the host.
        served: what a vCPU does with the interrupt in the register `CAUSE`.
    """
    idle = host.idle.wait(host, host.interrupts, into=CAUSE)
    yield when(
        IS_CONTEXT, "==", 1,
        [host.interrupt(NO_MORE, INTERRUPTED_VCPU)],
        [loop([when(OVER, "==", 1, [leave()]), *idle, *served])],
    )  # fmt: skip
