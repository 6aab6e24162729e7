"""The routine of an access: the guest's part around its mechanism.

::

    [flush before a halt] [idle until arrival] compute
        | START | [delivery] what others do first | mechanism [EOI] | RESUME | next access

In guest compute, and as it idles, a vCPU looks for interrupts; a vCPU's interrupt context first
borrows the vCPU.
"""

from __future__ import annotations

from collections.abc import Sequence

from vmexit_sim.hypervisor.access_class import AccessClass
from vmexit_sim.hypervisor.host import Host
from vmexit_sim.hypervisor.idle import HALT_ENDED
from vmexit_sim.hypervisor.interrupt_context import (
    CAUSE,
    IS_CONTEXT,
    at_the_end,
    between_services,
    borrow_vcpu,
    give_vcpu_back,
)
from vmexit_sim.hypervisor.stages import COMPUTE, IDLE
from vmexit_sim.mechanisms import Mechanism
from vmexit_sim.steps import (
    TIMED_OUT,
    Clock,
    Column,
    Halt,
    Moment,
    NextAccess,
    Operand,
    Register,
    Stage,
    Steps,
    aside,
    leave,
    let,
    loop,
    spend,
    stamp,
    take,
    when,
)

REMAINING = Register("guest time remaining")
IDLE_UNTIL = Register("guest idles until")
SINCE = Register("guest time since")


def one_access(
    host: Host, mechanism: Mechanism, others: Sequence[Mechanism], access: AccessClass
) -> Steps:
    """One access of a class, from where the one before was through.

    Args:
        host: the host, for this class.
        mechanism: what the access goes by.
        others: the policy's other mechanisms, which may have work pending.
        access: the class.
    """
    if not access.in_context:
        yield from host.begin()
    if access.waited:
        for each in (mechanism, *others):
            yield from aside(each.before_halt(host), "halt")
    if access.open_loop:
        yield let(REMAINING, Column("arrival"), "-", Clock())
        arrives = _idle_time(host, REMAINING, in_context=access.in_context)
        yield when(REMAINING, ">", 0, arrives)
    if access.in_context and access.interrupt:
        yield from borrow_vcpu(host)
    if access.waited:
        yield from _idle_time(host, Column("compute"))
    if host.idle.guest == "halt" and not access.interrupt:
        yield let(HALT_ENDED, 0)
    if not access.waited:
        yield from host.refill_caches()
        yield from _guest_time(host, COMPUTE, Column("compute"))
        if not access.in_context:
            yield from host.end_of_compute()
    yield stamp(Moment.START)
    if access.interrupt:
        yield from host.deliver_interrupt()
    for other in others:
        yield from aside(other.before_others(host), "before")
    yield from mechanism.access(host, access)
    if access.end_of_interrupt:
        yield from host.end_interrupt()
    yield stamp(Moment.RESUME)
    if access.in_context and access.end_of_interrupt:
        yield from give_vcpu_back()
    yield NextAccess()


def _guest_time(host: Host, stage: Stage, amount: Operand) -> Steps:
    """Time in the guest; an interrupt is served in the middle of it, and the rest goes on."""
    if not host.causes:
        yield spend(stage, amount)
        return
    yield let(REMAINING, amount)
    yield loop(
        [
            let(SINCE, Clock()),
            take(host.interrupts, stage, into=CAUSE, timeout=REMAINING),
            when(CAUSE, "==", TIMED_OUT, [leave()]),
            let(SINCE, Clock(), "-", SINCE),
            let(REMAINING, REMAINING, "-", SINCE),
            *_served(host),
        ]
    )


def _idle_time(host: Host, amount: Operand, *, in_context: bool = False) -> Steps:
    """Time with nothing to do, spent as the policy has it; a vCPU's interrupt context just waits.

    What is waited for comes at its moment, whether or not interrupts were served meanwhile.
    """
    if host.idle.is_free and host.cpus is None and not host.causes:
        yield spend(IDLE, amount)
        return
    yield let(IDLE_UNTIL, Clock(), "+", amount)
    served = list(_served(host))
    if in_context:
        wait = between_services(host, IDLE_UNTIL)
        served = [*borrow_vcpu(host), *served, *give_vcpu_back()]
    else:
        wait = host.idle.wait(host, host.interrupts, into=CAUSE, until=IDLE_UNTIL)
    yield loop(
        [
            when(Clock(), ">=", IDLE_UNTIL, [leave()]),
            *wait,
            when(CAUSE, "==", TIMED_OUT, [leave()]),
            *served,
        ]
    )


def _served(host: Host) -> Steps:
    """Whoever raised the interrupt says how it is served."""
    for number, cause in enumerate(host.causes):
        serve = aside(cause.serve_interrupt(host), "interrupt")
        if len(host.causes) == 1:
            yield from serve
        else:
            yield when(CAUSE, "==", number, serve)


def the_end(host: Host, mechanisms: Sequence[Mechanism], *, with_contexts: bool) -> Steps:
    """What an actor does after its last access."""
    rest = [step for mechanism in mechanisms for step in mechanism.at_end(host)]
    if with_contexts and rest:
        yield when(IS_CONTEXT, "==", 1, [*borrow_vcpu(host), *rest, *give_vcpu_back()], rest)
    else:
        yield from rest
    if with_contexts:
        yield from at_the_end(host, list(_served(host)))
    yield from host.end()
    yield Halt()
