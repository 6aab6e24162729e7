"""What calibration leaves open: exits that say nothing of a cost, and what would give one."""

from __future__ import annotations

from collections.abc import Iterable

from vmexit_sim.calibration.observations import Evidence


def unused(evidence: Evidence) -> Iterable[str]:
    """What was given, and why it is not used."""
    names = {measurement.name for measurement in evidence.measurements}
    for name, why in _NOT_USED.items():
        if name in names:
            yield f"{name} is not used: {why}"
    if any(name.endswith(":PIN") for name in names):
        yield (
            "port reads of the ioport view (PIN) are not used: kvm_pio fires when the read is "
            "complete, so their times lack the way to user space and back"
        )


_NOT_USED = {
    "HLT": "its time is the guest's idling, and no exit handling",
    "EPT_VIOLATION": "most of them give the guest memory, and only some are writes to read-only "
    "pages",
    "npf": "nested page faults hold memory accesses and faults of the guest's memory together",
    "EXTERNAL_INTERRUPT": "its time is the host's own interrupt handlers'",
    "inl_from_pmtimer": "it is inl_from_qemu with a device's own work",
}

WANTED = {
    "world_switch_out": "vmcall of kvm-unit-tests gives it, with world_switch_in",
    "world_switch_in": "vmcall of kvm-unit-tests gives it, with world_switch_out",
    "dispatch_port": "outl_to_kernel, port writes in raw events, or IO_INSTRUCTION give it",
    "decode_port_in": "inl_from_kernel, port reads in raw events, or IO_INSTRUCTION give it",
    "to_user": "inl_from_qemu, ports in raw events, or IO_INSTRUCTION give it",
    "to_kernel": "inl_from_qemu, ports in raw events, or IO_INSTRUCTION give it",
    "dispatch_mmio": "EPT_MISCONFIG, or memory accesses in raw events, give it",
    "decode_mmio": "EPT_MISCONFIG, or memory accesses in raw events, give it",
    "complete_mmio": "EPT_MISCONFIG, or memory accesses to user space in raw events, give it",
    "dispatch_msr": "MSR_WRITE gives it",
    "dispatch_halt": "HLT's time is mostly sleep, which hides it",
    "eoi": "APIC_ACCESS and MSR_WRITE hold all registers of the APIC together",
    "injection": "EXTERNAL_INTERRUPT's time is the host's own interrupt handlers'",
    "deliver_ipi": "self_ipi_* hold IPI, delivery and end of interrupt together",
}
"""What would give a cost, or why nothing here does."""
