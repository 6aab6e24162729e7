"""Exit reasons by one name each, whichever processor and tool printed them.

Intel's exit reasons are printed alike by the kernel and by trace-cmd. AMD's are words in the kernel
(``io``) and constants in trace-cmd (``EXIT_IOIO``). Here an exit has Intel's name where both
processors have such an exit, so that what is learned from it does not depend on who printed it.

Two of AMD's reasons are several of Intel's. ``msr`` holds reads and writes, and ``npf`` (a nested
page fault) memory that is none and memory that is not there yet. Which of them an exit was, the
accesses in it say, or else the processor's own words.

Sources: Linux arch/x86/include/uapi/asm/svm.h (SVM_EXIT_REASONS) and vmx.h (VMX_EXIT_REASONS);
libtraceevent's KVM plugin; AMD APM vol. 2, 15.11 (EXITINFO1 of MSR intercepts: 1 is a write) and
15.25.6 (EXITINFO1 of nested page faults: the fault's error code, of which bit 3 is a reserved bit
in the page table, by which KVM marks memory that is none).
"""

from __future__ import annotations

from collections.abc import Iterable

from vmexit_sim.guest.kvm_event import FastMemory, Memory, Msr, What

HALT = "HLT"
"""The reason of exits whose time is waiting."""

MEMORY_FAULT = "npf"
"""AMD's nested page fault of which nothing tells what it was."""

_RESERVED = 8
"""The bit of a page fault's error code that marks a reserved bit set in the page table."""

_INTEL = {
    "io": "IO_INSTRUCTION",
    "ioio": "IO_INSTRUCTION",
    "cpuid": "CPUID",
    "hypercall": "VMCALL",
    "vmmcall": "VMCALL",
    "hlt": HALT,
    "interrupt": "EXTERNAL_INTERRUPT",
    "intr": "EXTERNAL_INTERRUPT",
    "vintr": "INTERRUPT_WINDOW",
    "pause": "PAUSE_INSTRUCTION",
    "wbinvd": "WBINVD",
    "invd": "INVD",
    "xsetbv": "XSETBV",
    "monitor": "MONITOR_INSTRUCTION",
    "mwait": "MWAIT_INSTRUCTION",
    "rdpmc": "RDPMC",
    "invlpg": "INVLPG",
    "task_switch": "TASK_SWITCH",
    "msr": "MSR_WRITE",
    "npf": MEMORY_FAULT,
}
"""AMD's reasons, by the kernel's word or trace-cmd's constant, as Intel's."""


def canonical(printed: str) -> str:
    """A reason by its one name; one that only one processor has keeps what was printed.

    ``msr`` is taken as a write, the commoner of the two, and ``npf`` stays what it is: see `reason`
    for an exit of which more is known.
    """
    word = printed.removeprefix("EXIT_").lower() if printed.startswith("EXIT_") else printed
    return _INTEL.get(word, printed)


def reason(printed: str, info: tuple[int, int] | None, inside: Iterable[What]) -> str:
    """A single exit's reason by its one name.

    Args:
        printed: the reason as the log prints it.
        info: the processor's two words about why; None: not printed.
        inside: the accesses in it.
    """
    name = canonical(printed)
    if name == MEMORY_FAULT:
        return _fault(info, inside)
    if name == "MSR_WRITE" and printed != name:
        written = next((what.write for what in inside if isinstance(what, Msr)), None)
        if written is None and info is not None:
            written = bool(info[0] & 1)
        return "MSR_READ" if written is False else name
    return name


def _fault(info: tuple[int, int] | None, inside: Iterable[What]) -> str:
    if any(isinstance(what, (Memory, FastMemory)) for what in inside):
        return "EPT_MISCONFIG"
    if info is None:
        return MEMORY_FAULT
    return "EPT_MISCONFIG" if info[0] & _RESERVED else "EPT_VIOLATION"
