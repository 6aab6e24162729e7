"""The device: what is said where there is none, and what the host is called."""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path

import pytest

from vmexit_sim.errors import NoKvm
from vmexit_sim.probe import kvm
from vmexit_sim.probe.host import this_host
from vmexit_sim.probe.kvm import IOEVENTFD, RUN, SET_REGS, SET_USER_MEMORY_REGION, Kvm

linux_x86 = pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() != "x86_64", reason="the probes are x86-64 code"
)


def number(direction: int, order: int, size: int) -> int:
    """An ioctl's number as Linux asm-generic/ioctl.h makes it, of the group 0xAE."""
    return direction << 30 | size << 16 | 0xAE << 8 | order


def test_ioctl_numbers_are_those_the_kernel_derives_from_its_structures() -> None:
    write, read = 1, 2
    assert number(0, 0x80, 0) == RUN
    assert number(write, 0x46, 32) == SET_USER_MEMORY_REGION
    assert number(write, 0x79, 64) == IOEVENTFD
    assert number(write, 0x82, 8 * len(kvm.REGISTERS)) == SET_REGS
    assert number(read, 0x83, kvm.SREGS_BYTES) == kvm.GET_SREGS


@linux_x86
def test_no_device_is_one_clear_sentence(tmp_path: Path) -> None:
    with pytest.raises(NoKvm, match=r"^there is no .*: KVM is not loaded here$"):
        Kvm(str(tmp_path / "kvm"))


@linux_x86
def test_another_device_is_not_taken_for_kvm() -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(NoKvm, match="is not KVM"):
        Kvm(os.devnull)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


@linux_x86
def test_a_device_that_may_not_be_opened_says_how(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise PermissionError

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(NoKvm, match="may not be opened: join its group, or run as root"):
        Kvm()


def test_another_machine_cannot_be_probed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    with pytest.raises(NoKvm, match="this is aarch64"):
        Kvm()


def test_a_host_is_told_by_cpu_and_module(tmp_path: Path) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("vendor_id\t: AuthenticAMD\nmodel name\t: AMD: EPYC\nflags\t\t: fpu svm\n")
    (tmp_path / "sys" / "kvm_amd").mkdir(parents=True)
    host = this_host(cpuinfo, tmp_path / "sys")
    assert (host.cpu, host.vendor, host.module) == ("AMD: EPYC", "AuthenticAMD", "kvm_amd")
    assert not host.nested
    assert "kvm_amd" in host.text


def test_a_host_that_tells_nothing_is_still_named(tmp_path: Path) -> None:
    host = this_host(tmp_path / "none", tmp_path / "neither")
    assert host.text.startswith("CPU not known; Linux ")
