"""The host as mechanisms see it: costs, locks, and the pieces every exit path is made of.

The pieces are generators of steps, named as the path passes them: `leave_guest`, `emulate`,
`enter_guest`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from vmexit_sim.distributions import Duration
from vmexit_sim.guest.table import Space
from vmexit_sim.hypervisor.platform import Platform
from vmexit_sim.steps import (
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
INTERRUPTED = Stage("interrupt delivery", Role.DELAY)
WAIT_CONFIG_LOCK = Stage("wait: config lock", Role.WAIT)
WAIT_VMM_LOCK = Stage("wait: VMM lock", Role.WAIT)
WAIT_CPU = Stage("wait: CPU", Role.WAIT)
STEAL = Stage("steal", Role.DELAY)

THREAD_START = Stage("thread start", Role.GUEST)

ON_CPU_SINCE = Register("on CPU since")
ON_CPU_FOR = Register("on CPU for")

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


Delivery = Literal["exit", "posted"]
"""How an interrupt gets into a running guest: by an exit, and another for its end, or posted by
the processor's help, without either. Source: Intel SDM vol. 3, APIC virtualisation."""


@dataclass(frozen=True)
class Host:
    """A platform at work: what its paths cost, and the locks on them.

    Attributes:
        platform: the costs.
        delivery: how interrupts are delivered.
        causes: who may interrupt the guest; a place among them is an interrupt's number.
        visitors: what mechanisms do first whenever a vCPU's exit has reached user space.
        cpus: how many physical CPUs there are; None: enough for every thread, so that nothing is
            said of them.
        time_slice: how long a vCPU computes, in ps, before others are let onto its CPU.
    """

    platform: Platform
    delivery: Delivery = "exit"
    causes: tuple[object, ...] = ()
    visitors: tuple[Callable[[], Steps], ...] = ()
    cpus: int | None = None
    time_slice: int = 3 * MILLISECOND

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

    def interrupt(self, cause: object, vcpu: Register | None = None) -> Put:
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
        yield stamp(Moment.ENTRY)

    def end_interrupt(self, stage: Stage = INJECT) -> Steps:
        """The guest says that it has served it; the interrupt controller's EOI register."""
        if self.delivery == "posted":
            return
        yield stamp(Moment.EXIT, reason=EOI_EXIT)
        for cost in ("world_switch_out", "eoi", "world_switch_in"):
            yield spend(stage, self.cost(cost))
        yield stamp(Moment.ENTRY)

    @property
    def cpu(self) -> Queue:
        """The host's physical CPUs, first come first served."""
        return Queue("CPUs", tokens=self.cpus or 1)

    def thread(self, body: Steps) -> Steps:
        """A host thread's life: it runs on a CPU."""
        if self.cpus is not None:
            yield acquire(self.cpu, THREAD_START)
        yield from body

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
        asleep: list[Step] = [
            release(self.cpu),
            item,
            acquire(self.cpu, again),
            let(ON_CPU_SINCE, Clock()),
        ]
        yield when(Length(queue), ">", 0, [item], asleep)

    def end_of_compute(self) -> Steps:
        """Where guest compute ends, a vCPU that has had its slice lets others onto the CPU."""
        if self.cpus is None:
            return
        yield let(ON_CPU_FOR, Clock(), "-", ON_CPU_SINCE)
        yield when(
            ON_CPU_FOR, ">=", self.time_slice,
            [release(self.cpu), acquire(self.cpu, STEAL), let(ON_CPU_SINCE, Clock())],
        )  # fmt: skip

    def leave_guest(self, reason: str) -> Steps:
        """A VM exit, for a reason."""
        yield stamp(Moment.EXIT, reason=reason)
        yield spend(SWITCH_OUT, self.cost("world_switch_out"))

    def enter_guest(self) -> Steps:
        """Back into the guest."""
        yield spend(SWITCH_IN, self.cost("world_switch_in"))
        yield stamp(Moment.ENTRY)

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
