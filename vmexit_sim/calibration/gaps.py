"""What calibration leaves open: exits that say nothing of a cost, and what would give one."""

from __future__ import annotations

from collections.abc import Iterable

from vmexit_sim.calibration.observations import REASONS, Evidence
from vmexit_sim.calibration.perf_stat import PerfTable
from vmexit_sim.guest.kvm_reasons import MEMORY_FAULT

MOST_LISTED = 12
"""Most exit reasons that are named where nothing is to be said of each."""


def unused(evidence: Evidence) -> Iterable[str]:
    """What was given, and why it is not used."""
    names = {measurement.name for measurement in evidence.measurements}
    for name, why in NOT_USED.items():
        if name in names:
            yield f"{name} is not used: {why}"
    if any(t.is_simulated and not t.has_null_calls and "VMCALL" in _rows(t)
           for t in evidence.tables):  # fmt: skip
        yield (
            "simulated VMCALL is not used: nothing says that these hypercalls stayed in the kernel "
            "and did nothing, so they do not give the world switch"
        )
    exits = {name for table in evidence.tables if table.view == "vmexit" for name in _rows(table)}
    others = sorted(exits - NOT_USED.keys() - REASONS)
    if others:
        more = f" and {len(others) - MOST_LISTED:,} more" if len(others) > MOST_LISTED else ""
        yield f"not used, since no cost follows from them: {', '.join(others[:MOST_LISTED])}{more}"
    if any(name.endswith(":PIN") for name in names):
        yield (
            "port reads of the ioport view (PIN) are not used: kvm_pio fires when the read is "
            "complete, so their times lack the way to user space and back"
        )


def _rows(table: PerfTable) -> set[str]:
    return {measurement.name for measurement in table.measurements}


NOT_USED = {
    "HLT": "its time is the guest's idling, and no exit handling",
    "EPT_VIOLATION": "most of them give the guest memory, and only some are writes to read-only "
    "pages",
    MEMORY_FAULT: "nested page faults hold memory accesses and faults of the guest's memory "
    "together",
    "EXTERNAL_INTERRUPT": "its time is the host's own interrupt handlers'",
    "inl_from_pmtimer": "it is inl_from_qemu with a device's own work",
}
"""Why what was measured under a name says nothing of a cost."""

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
