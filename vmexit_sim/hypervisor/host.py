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
from vmexit_sim.guest.table import Space
from vmexit_sim.hypervisor.idle import CPUS_WANTED, FREE, Idle
from vmexit_sim.hypervisor.platform import Platform
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
    Role,
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

COMPUTE = Stage("guest compute", Role.GUEST)
IDLE = Stage("guest idle", Role.GUEST)
NATIVE = Stage("native access", Role.ACCESS)
PAGE_LOAD = Stage("page load", Role.ACCESS)
GATHER = Stage("gather", Role.ACCESS)
SWITCH_OUT = Stage("world switch out", Role.HYPERVISOR)
SWITCH_IN = Stage("world switch in", Role.HYPERVISOR)
DISPATCH = Stage("dispatch", Role.HYPERVISOR)
DECODE = Stage("decode", Role.HYPERVISOR)
TO_USER = Stage("to user space", Role.HYPERVISOR)
TO_KERNEL = Stage("back to kernel", Role.HYPERVISOR)
EMULATE = Stage("device emulation", Role.HYPERVISOR)
DELIVER = Stage("IPI delivery", Role.HYPERVISOR)
STATE_CHANGE = Stage("state change", Role.HYPERVISOR)
REFRESH = Stage("page refresh", Role.HYPERVISOR)
INJECT = Stage("injection", Role.HYPERVISOR)
END_INTERRUPT = Stage("end of interrupt", Role.HYPERVISOR)
INTERRUPTED = Stage("interrupt delivery", Role.DELAY)
WAIT_CONFIG_LOCK = Stage("wait: config lock", Role.WAIT)
WAIT_VMM_LOCK = Stage("wait: VMM lock", Role.WAIT)
WAIT_CPU = Stage("wait: CPU", Role.WAIT)
STEAL = Stage("steal", Role.DELAY)
REFILL = Stage("refill after exits", Role.DELAY)
L0_FORWARD = Stage("L0: forwarding", Role.HYPERVISOR)
L1_EXITS = Stage("L0: exits of L1", Role.HYPERVISOR)

THREAD_START = Stage("thread start", Role.GUEST)

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

PORT_EXIT = "IO_INSTRUCTION"
MMIO_EXIT = "EPT_MISCONFIG"
READ_ONLY_EXIT = "EPT_VIOLATION"
HYPERCALL_EXIT = "VMCALL"
INTERRUPT_EXIT = "EXTERNAL_INTERRUPT"
EOI_EXIT = APIC_EXIT = "APIC_ACCESS"
APIC_WRITE_EXIT = "APIC_WRITE"
MSR_WRITE_EXIT = "MSR_WRITE"
MSR_READ_EXIT = "MSR_READ"
"""Exit reasons, as ``perf kvm stat`` names them on VMX."""


@dataclass(frozen=True)
class AccessClass:
    """What a mechanism may know of the accesses it is lowered for.

    Attributes:
        space: where they go.
        write: whether they are writes.
        location: where the device is emulated: "kernel", "user" or "hardware".
        absent: no function answers.
        side_effect: reading changes the device.
        decode_toggle: writing turns address decoding on or off.
        ecam: recorded through ECAM.
        index_only: a lone access to the config address port.
        open_loop: they have an arrival.
        waited: the guest idles before them, rather than computing.
        first: the first of its operation.
        last: the last of its operation.
        device: which device it is, if a mechanism of the policy asks (`by_device`); else "".
        interrupt: an interrupt brings the vCPU here.
        end_of_interrupt: its service ends with this access.
        spare_toggle: an access to COMMAND between two sizings, which whoever sizes all BARs of a
            function at once spares.
        in_context: it is made in a vCPU's interrupt context, see `interrupt_context`.
        local_apic: they go to the local APIC's page in memory.
        ipi: they send interrupts to vCPUs, `targets` says to how many.
        hit: their mechanism's memory of the accesses before says yes (`Mechanism.new_history`).
    """

    space: Space
    write: bool
    location: str
    absent: bool = False
    side_effect: bool = False
    decode_toggle: bool = False
    ecam: bool = False
    index_only: bool = False
    open_loop: bool = False
    waited: bool = False
    first: bool = False
    last: bool = False
    device: str = ""
    interrupt: bool = False
    end_of_interrupt: bool = False
    spare_toggle: bool = False
    in_context: bool = False
    local_apic: bool = False
    ipi: bool = False
    hit: bool = False

    @property
    def recorded_via(self) -> Literal["port", "mmio", "msr"]:
        """The sort of instruction that was recorded."""
        if self.space is Space.MSR:
            return "msr"
        is_config_by_ports = self.space is Space.PCI_CONFIG and not self.ecam
        return "port" if self.space is Space.PORT_IO or is_config_by_ports else "mmio"


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
        yield stamp(Moment.EXIT, reason=INTERRUPT_EXIT)
        yield spend(stage, self.cost("injection"))
        yield from self._entered()

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
