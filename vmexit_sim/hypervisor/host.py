"""The host as mechanisms see it: costs, locks, and the pieces every exit path is made of.

The pieces are generators of steps, named as the path passes them: `leave_guest`, `emulate`,
`enter_guest`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, Protocol

from vmexit_sim.distributions import Duration
from vmexit_sim.hypervisor.access_class import AccessClass
from vmexit_sim.hypervisor.idle import CPUS_WANTED, FREE, HALT_ENDED, Idle
from vmexit_sim.hypervisor.platform import Platform
from vmexit_sim.hypervisor.stages import (
    DECODE,
    DELIVER,
    DISPATCH,
    EMULATE,
    END_INTERRUPT,
    EOI_EXIT,
    IDLE,
    INJECT,
    INTERRUPT_EXIT,
    L0_FORWARD,
    L1_EXITS,
    REFILL,
    STATE_CHANGE,
    STEAL,
    SWITCH_IN,
    SWITCH_OUT,
    THREAD_START,
    TO_KERNEL,
    TO_USER,
    WAIT_CPU,
    WAIT_VMM_LOCK,
)
from vmexit_sim.steps import (
    TIMED_OUT,
    Clock,
    Column,
    Length,
    Moment,
    Operand,
    Put,
    Queue,
    Register,
    Stage,
    Step,
    Steps,
    acquire,
    aside,
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
from vmexit_sim.units import MILLISECOND

HAS_BEGUN = Register("has begun")
ON_CPU_SINCE = Register("on CPU since")
ON_CPU_FOR = Register("on CPU for")
REFILL_DUE = Register("refill due")
SPIN_AT_MOST = Register("spin at most")
SPUN_FOR = Register("what was spun for")

TIME_SLICE = 3 * MILLISECOND
"""How long a vCPU computes before others are let onto its CPU, unless said otherwise: what Linux
gives a task of ordinary weight on a host of eight CPUs or more. Recalled [M]: sweep it."""

LEFT = Register("IPI targets left")

Via = Literal["port", "mmio", "hypercall", "msr"]


class Cause(Protocol):
    """Who can interrupt a vCPU."""

    def serve_interrupt(self, host: Host) -> Steps:
        """What the vCPU does when it has been interrupted."""


Delivery = Literal["exit", "posted"]
"""How an interrupt gets into a running guest: by an exit, and another for its end, or posted by
the processor's help, without either. Source: Intel SDM vol. 3, APIC virtualisation."""


@dataclass(frozen=True)
class Host:
    """A platform at work: what its paths cost, and the locks on them.

    Attributes:
        platform: the costs.
        vcpus: how many streams of accesses the guest has, interrupt contexts included.
        delivery: how interrupts are delivered.
        causes: who may interrupt the guest; a place among them is an interrupt's number.
        visitors: what mechanisms do first whenever a vCPU's exit has reached user space.
        decided: the classes of access that each mechanism decides.
        cpus: how many physical CPUs there are; None: enough for every thread, so that nothing is
            said of them.
        time_slice: how long a vCPU computes, in ps, before others are let onto its CPU.
        idle: how a vCPU waits.
    """

    platform: Platform
    vcpus: int = 1
    delivery: Delivery = "exit"
    causes: tuple[Cause, ...] = ()
    visitors: tuple[Callable[[], Steps], ...] = ()
    decided: Mapping[object, tuple[AccessClass, ...]] = field(default_factory=dict)
    cpus: int | None = None
    time_slice: int = TIME_SLICE
    idle: Idle = FREE

    def cost(self, name: str) -> Duration:
        """A cost of the platform, by its name in `Costs`."""
        return self.platform.costs.duration(name)

    @property
    def config_lock(self) -> Queue:
        """The guest's pci_config_lock: held, interrupts off, across both port accesses.

        Its waiters spin. Source: Linux arch/x86/pci/direct.c, pci_conf1_read.
        """
        return Queue("config lock", tokens=1)

    @cached_property
    def vmm_lock(self) -> Queue:
        """The VMM's lock around device emulation in user space; its waiters sleep."""
        return Queue("VMM lock", tokens=1, discipline=self.platform.vmm_lock.discipline)

    @property
    def interrupts(self) -> Queue:
        """Interrupts pending for a vCPU: looked at as it computes or idles."""
        return Queue("interrupts", per_vcpu=True)

    def interrupt(self, cause: Cause, vcpu: Register | None = None) -> Put:
        """Raise an interrupt.

        Args:
            cause: who raises it, one of `causes`.
            vcpu: the register that holds the vCPU's number; None: the actor's own.
        """
        pending = self.interrupts if vcpu is None else self.interrupts.of(vcpu)
        return put(pending, self.causes.index(cause))

    def deliver_interrupt(self, stage: Stage = INJECT) -> Steps:
        """Get an interrupt into the guest.

        Args:
            stage: what its time is booked as: `INJECT` inside an access's stall, `INTERRUPTED`
                between accesses.
        """
        if self.delivery == "posted":
            yield spend(stage, self.cost("posted_injection"))
            return
        own_exit: list[Step] = [
            stamp(Moment.EXIT, reason=INTERRUPT_EXIT),
            spend(stage, self.cost("injection")),
            *self._entered(),
        ]
        if self.idle.guest == "halt":  # what has ended a halt comes in with its entry
            yield when(HALT_ENDED, "==", 1, [let(HALT_ENDED, 0)], own_exit)
        else:
            yield from own_exit

    def end_interrupt(self, stage: Stage = END_INTERRUPT) -> Steps:
        """The guest tells the interrupt controller (EOI register) that it has served it.

        Args:
            stage: as for `deliver_interrupt`: `END_INTERRUPT` or `INTERRUPTED`.
        """
        if self.delivery == "posted":
            return
        yield from self.leave_guest(EOI_EXIT, all_as=stage)
        yield spend(stage, self.cost("eoi"))
        yield from self.enter_guest(all_as=stage)

    @property
    def cpu(self) -> Queue:
        """The host's physical CPUs, first come first served."""
        return Queue("CPUs", tokens=self.cpus or 1)

    def thread(self, body: Steps) -> Steps:
        """The life of a thread beside the vCPUs': it runs on a CPU."""
        if self.cpus is not None:
            yield from self._get_cpu(THREAD_START)
        yield from body

    def begin(self) -> Steps:
        """Before an access: a vCPU's first one finds it without a CPU."""
        if self.cpus is not None:
            yield when(HAS_BEGUN, "==", 0, [let(HAS_BEGUN, 1), *self._get_cpu(STEAL)])

    def end(self) -> Steps:
        """Behind a vCPU's last access: its CPU is free."""
        if self.cpus is not None:
            yield when(HAS_BEGUN, "==", 1, [release(self.cpu)])

    def _get_cpu(self, stage: Stage) -> Steps:
        """Wait for a CPU; a slice begins."""
        yield let(CPUS_WANTED, CPUS_WANTED, "+", 1)
        yield acquire(self.cpu, stage)
        yield let(CPUS_WANTED, CPUS_WANTED, "-", 1)
        yield let(ON_CPU_SINCE, Clock())

    def sleep_on(
        self,
        queue: Queue,
        stage: Stage,
        *,
        into: Register | None = None,
        timeout: Operand | None = None,
        priority: Operand = 0,
        again: Stage = WAIT_CPU,
    ) -> Steps:
        """A `take`; if that means to wait, the CPU is given up meanwhile.

        Waiting for a CPU afterwards is booked as `again`.
        """
        item = take(queue, stage, into=into, timeout=timeout, priority=priority)
        if self.cpus is None:
            yield item
            return
        asleep: list[Step] = [release(self.cpu), item, *self._get_cpu(again)]
        yield when(Length(queue), ">", 0, [item], asleep)

    def sleep(
        self, queue: Queue, *, into: Register | None = None, timeout: Operand | None = None
    ) -> Steps:
        """A vCPU with nothing to do sleeps between accesses, until an item or the time-out."""
        yield from self.sleep_on(queue, IDLE, into=into, timeout=timeout, again=STEAL)

    def spin_on(
        self,
        queue: Queue,
        stage: Stage,
        *,
        into: Register | None = None,
        until: Register | None = None,
    ) -> Steps:
        """A `take` of the guest's that keeps its CPU busy while it waits.

        The host cannot tell it from compute: a vCPU that has had its slice lets others onto its
        CPU, and joins the line anew when it runs again.

        Args:
            queue: what it wants an item of.
            stage: what spinning is booked as.
            into: gets the item.
            until: the register that holds the moment at which it stops; None: never.
        """
        if self.cpus is None:
            if until is None:
                yield take(queue, stage, into=into)
            else:
                yield let(SPIN_AT_MOST, until, "-", Clock())
                yield take(queue, stage, into=into, timeout=SPIN_AT_MOST)
            return
        got = SPUN_FOR if into is None else into
        in_time = [] if until is None else [let(SPIN_AT_MOST, SPIN_AT_MOST, "min", until)]
        is_over = [] if until is None else [when(Clock(), ">=", until, [leave()])]
        yield loop(
            [
                let(SPIN_AT_MOST, ON_CPU_SINCE, "+", self.time_slice),
                *in_time,
                let(SPIN_AT_MOST, SPIN_AT_MOST, "-", Clock()),
                take(queue, stage, into=got, timeout=SPIN_AT_MOST),
                when(got, "!=", TIMED_OUT, [leave()]),
                *is_over,
                release(self.cpu),
                *self._get_cpu(WAIT_CPU if stage.is_front else STEAL),
            ]
        )

    def end_of_compute(self) -> Steps:
        """Where guest compute ends, a vCPU that has had its slice lets others onto the CPU."""
        if self.cpus is None:
            return
        yield let(ON_CPU_FOR, Clock(), "-", ON_CPU_SINCE)
        yield when(ON_CPU_FOR, ">=", self.time_slice, [release(self.cpu), *self._get_cpu(STEAL)])

    def leave_guest(self, reason: str, all_as: Stage | None = None) -> Steps:
        """A VM exit; nested, L0 forwards it to L1, which exits itself meanwhile.

        Args:
            reason: the exit reason.
            all_as: the one stage that all its time is booked as; None: as the parts of an exit.
        """
        yield stamp(Moment.EXIT, reason=reason)
        yield spend(all_as or SWITCH_OUT, self.cost("world_switch_out"))
        nesting = self.platform.nesting
        if nesting is not None:
            yield spend(all_as or L0_FORWARD, nesting.forward.value)
            for _ in range(nesting.exits):
                yield spend(all_as or L1_EXITS, nesting.l1_exit.value)

    def enter_guest(self, all_as: Stage | None = None) -> Steps:
        """Back into the guest, whose caches and TLB others have used meanwhile.

        Args:
            all_as: as for `leave_guest`.
        """
        yield spend(all_as or SWITCH_IN, self.cost("world_switch_in"))
        yield from self._entered()

    def _entered(self) -> Steps:
        yield stamp(Moment.ENTRY)
        if self.refill:
            yield let(REFILL_DUE, REFILL_DUE, "+", self.refill)

    @cached_property
    def refill(self) -> int:
        """What an exit costs the guest's next compute, in ps."""
        return round(self.cost("refill").mean_ps)

    def refill_caches(self) -> Steps:
        """The guest's compute takes longer after exits."""
        if self.refill:
            yield spend(REFILL, REFILL_DUE)
            yield let(REFILL_DUE, 0)

    def dispatch(self, via: Via, write: bool) -> Steps:
        """In the kernel: find the handler, and emulate the instruction where there is one."""
        yield spend(DISPATCH, self.cost(f"dispatch_{via}"))
        if via == "port":
            yield spend(DECODE, self.cost("decode_port_out" if write else "decode_port_in"))
        elif via == "mmio":
            yield spend(DECODE, self.cost("decode_mmio"))

    def user_space(self, via: Via, body: Iterable[Step]) -> Steps:
        """The device code in the VMM's user space, under its lock.

        The lock is taken on arrival there, and dropped before going back into the kernel.
        """
        yield spend(TO_USER, self.cost("to_user"))
        if self.platform.nesting is not None:
            for _ in range(self.platform.nesting.user_exits):
                yield spend(L1_EXITS, self.platform.nesting.l1_exit.value)
        yield from self.under_vmm_lock(body)
        yield spend(TO_KERNEL, self.cost("to_kernel"))
        if via == "mmio":
            yield spend(TO_KERNEL, self.cost("complete_mmio"))

    def under_vmm_lock(self, body: Iterable[Step]) -> Steps:
        """The device code itself, for a thread that is in the VMM's user space already."""
        yield from self.sleep_on(self.vmm_lock, WAIT_VMM_LOCK, priority=Column("vcpu"))
        for visitor in self.visitors:
            yield from aside(visitor(), "user space")
        yield from body
        yield release(self.vmm_lock)

    def emulate(self, access: AccessClass, via: Via, body: Iterable[Step] | None = None) -> Steps:
        """The device's part, wherever the device is: in user space, or right in the kernel."""
        work = list(self.handle(access) if body is None else body)
        if access.location == "user":
            yield from self.user_space(via, work)
        else:
            yield from work

    def handle(self, access: AccessClass) -> Steps:
        """What the device does for one access; after it, the effect has happened."""
        yield spend(EMULATE, Column("emulate"))
        if access.decode_toggle:
            yield spend(STATE_CHANGE, self.cost("state_change"))
        if access.ipi:
            yield from self.deliver_ipis()
        yield stamp(Moment.DONE)

    def deliver_ipis(self, of: Register | None = None) -> Steps:
        """The interrupt controller passes an access's interrupt on to each target in turn.

        Args:
            of: the register that names the access; None: the current one.
        """
        yield let(LEFT, Column("targets", of))
        yield loop(
            [
                when(LEFT, "==", 0, [leave()]),
                spend(DELIVER, self.cost("deliver_ipi"), whose=of),
                let(LEFT, LEFT, "-", 1),
            ]
        )

    def trap(self, access: AccessClass, via: Via, reason: str) -> Steps:
        """One whole exit that emulates one access."""
        yield from self.leave_guest(reason)
        yield from self.dispatch(via, access.write)
        yield from self.emulate(access, via)
        yield from self.enter_guest()
