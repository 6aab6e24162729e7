"""The stages and exit reasons that more than one mechanism's path has."""

from __future__ import annotations

from vmexit_sim.steps import Role, Stage

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
