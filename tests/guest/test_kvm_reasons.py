"""An exit has one name, whichever processor and tool printed it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmexit_sim.guest.kvm_event import FastMemory, Memory, Msr, Port, UserSpace, What
from vmexit_sim.guest.kvm_reasons import canonical, reason

MMIO = Memory(True, False, 0xFE003000, 4, 0)


@pytest.mark.parametrize(("intel", "amd"), [
    ("IO_INSTRUCTION", ("io", "EXIT_IOIO")),
    ("CPUID", ("cpuid", "EXIT_CPUID")),
    ("VMCALL", ("hypercall", "vmmcall", "EXIT_VMMCALL")),
    ("HLT", ("hlt", "EXIT_HLT")),
    ("EXTERNAL_INTERRUPT", ("interrupt", "EXIT_INTR")),
    ("INTERRUPT_WINDOW", ("vintr", "EXIT_VINTR")),
    ("PAUSE_INSTRUCTION", ("pause", "EXIT_PAUSE")),
    ("MSR_WRITE", ("msr", "EXIT_MSR")),
    ("npf", ("npf", "EXIT_NPF")),
])  # fmt: skip
def test_both_processors_and_both_tools_name_an_exit_alike(intel: str, amd: tuple[str]) -> None:
    assert {canonical(name) for name in (intel, *amd)} == {intel}


@pytest.mark.parametrize(
    "name", ["write_cr0", "EXIT_AVIC_INCOMPLETE_IPI", "UNKNOWN (77)", "APIC_WRITE", "", "0xcf8:PIN"]
)
def test_a_reason_that_one_processor_has_alone_stays_what_was_printed(name: str) -> None:
    assert canonical(name) == name


@given(st.text(max_size=20))
def test_a_name_once_given_stays(printed: str) -> None:
    assert canonical(canonical(printed)) == canonical(printed)


@pytest.mark.parametrize("printed", ["npf", "EXIT_NPF"])
@pytest.mark.parametrize(("info", "inside", "name"), [
    (None, [MMIO], "EPT_MISCONFIG"),
    (None, [FastMemory(0xFE004000)], "EPT_MISCONFIG"),
    ((0x1_0000_0006, 0xFE003000), [MMIO], "EPT_MISCONFIG"),
    ((0x1_0000_000F, 0xFE003000), [], "EPT_MISCONFIG"),
    ((0x1_0000_0006, 0x12345000), [], "EPT_VIOLATION"),
    (None, [], "npf"),
])  # fmt: skip
def test_a_nested_page_fault_is_what_its_access_or_its_error_code_says(
    printed: str, info: tuple[int, int] | None, inside: list[What], name: str
) -> None:
    assert reason(printed, info, inside) == name


@pytest.mark.parametrize("printed", ["msr", "EXIT_MSR"])
@pytest.mark.parametrize(("info", "inside", "name"), [
    (None, [Msr(True, 0x6E0, 1)], "MSR_WRITE"),
    (None, [Msr(False, 0x6E0, 1)], "MSR_READ"),
    ((0, 0), [], "MSR_READ"),
    ((1, 0), [], "MSR_WRITE"),
    ((0, 0), [Msr(True, 0x6E0, 1)], "MSR_WRITE"),
    (None, [], "MSR_WRITE"),
])  # fmt: skip
def test_a_registers_direction_is_that_of_its_access_or_the_processors_word(
    printed: str, info: tuple[int, int] | None, inside: list[What], name: str
) -> None:
    assert reason(printed, info, inside) == name


def test_what_intel_prints_says_it_all() -> None:
    assert reason("MSR_WRITE", (0, 0), []) == "MSR_WRITE"
    assert reason("MSR_READ", (1, 0), []) == "MSR_READ"
    assert reason("EPT_VIOLATION", (8, 0), [MMIO]) == "EPT_VIOLATION"
    assert reason("IO_INSTRUCTION", None, [Port(True, 1, 1, 1, 0)]) == "IO_INSTRUCTION"


@pytest.mark.parametrize(("why", "is_interruption"), [
    ("restart", True), ("error", True), ("KVM_EXIT_INTR", True),
    ("KVM_EXIT_IO", False), ("KVM_EXIT_MMIO", False), ("KVM_EXIT_HLT", False),
])  # fmt: skip
def test_a_signal_is_told_from_what_the_guest_wants(why: str, is_interruption: bool) -> None:
    assert UserSpace(why).is_interruption == is_interruption
