"""The device /dev/kvm: virtual machines, their memory, their vCPUs, through ioctls.

::

    Kvm ──create_vm──► Vm ──add_memory, ioeventfd, coalesce──► what an access meets
                        └──create_vcpu──► Vcpu: registers, and the page where an exit is described

Numbers and layouts: Linux include/uapi/linux/kvm.h and arch/x86/include/uapi/asm/kvm.h; meanings:
Documentation/virt/kvm/api.rst, in the sections that are named by the ioctls.
"""

from __future__ import annotations

import errno
import mmap
import os
import platform
import struct
from collections.abc import Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from vmexit_sim.errors import NoKvm

DEVICE = "/dev/kvm"

API_VERSION = 12
"""The only stable version there has been (api.rst, KVM_GET_API_VERSION)."""

GET_API_VERSION = 0xAE00
CREATE_VM = 0xAE01
CHECK_EXTENSION = 0xAE03
GET_VCPU_MMAP_SIZE = 0xAE04
CREATE_VCPU = 0xAE41
SET_USER_MEMORY_REGION = 0x4020AE46
SET_TSS_ADDR = 0xAE47
CREATE_IRQCHIP = 0xAE60
REGISTER_COALESCED_MMIO = 0x4010AE67
IOEVENTFD = 0x4040AE79
RUN = 0xAE80
SET_REGS = 0x4090AE82
GET_SREGS = 0x8138AE83
SET_SREGS = 0x4138AE84

CAPABILITIES = {
    "KVM_CAP_IRQCHIP": 0,
    "KVM_CAP_USER_MEMORY": 3,
    "KVM_CAP_COALESCED_MMIO": 15,
    "KVM_CAP_IOEVENTFD": 36,
    "KVM_CAP_READONLY_MEM": 81,
}
"""What a kernel is asked whether it has (KVM_CHECK_EXTENSION)."""

MEM_READONLY = 2
"""Flag of a memory slot: reads are loads, writes exit as MMIO (KVM_MEM_READONLY)."""

IOEVENTFD_DATAMATCH, IOEVENTFD_PIO = 1, 2
"""Flags of an ioeventfd: only this value; a port."""

EXIT_IO, EXIT_HYPERCALL, EXIT_DEBUG, EXIT_HLT, EXIT_MMIO = 2, 3, 4, 5, 6
EXIT_SHUTDOWN, EXIT_FAIL_ENTRY, EXIT_INTERNAL_ERROR = 8, 9, 17
EXIT_NAMES = {
    0: "UNKNOWN", 1: "EXCEPTION", 2: "IO", 3: "HYPERCALL", 4: "DEBUG", 5: "HLT", 6: "MMIO",
    7: "IRQ_WINDOW_OPEN", 8: "SHUTDOWN", 9: "FAIL_ENTRY", 10: "INTR", 17: "INTERNAL_ERROR",
    24: "SYSTEM_EVENT",
}  # fmt: skip
"""Why KVM_RUN came back: the field exit_reason of struct kvm_run, without its prefix KVM_EXIT_."""

SEGMENTS = ("cs", "ds", "es", "fs", "gs", "ss")
SEGMENT_BYTES = 24
"""struct kvm_segment; struct kvm_sregs begins with these six, in this order."""
SREGS_BYTES = 312

REGISTERS = (
    "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rsp", "rbp", "r8", "r9", "r10", "r11", "r12", "r13",
    "r14", "r15", "rip", "rflags",
)  # fmt: skip
"""struct kvm_regs: eight bytes each."""

TSS_ADDRESS = 0x7FFB_D000
"""Three pages that no slot uses; an Intel host wants them for real mode (KVM_SET_TSS_ADDR)."""

Bytes = npt.NDArray[np.uint8]


def _ioctl(fd: int, request: int, argument: int | bytes | bytearray = 0) -> int:
    import fcntl

    return fcntl.ioctl(fd, request, argument)  # type: ignore[return-value]


class _Closing:
    """Something with file descriptors, closed at the end of a `with`."""

    _fds: list[int]

    def __enter__(self) -> Any:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close what is open, in the reverse order; a second time does nothing."""
        while self._fds:
            os.close(self._fds.pop())


class Kvm(_Closing):
    """The opened device.

    Raises:
        NoKvm: there is none, it may not be opened, or it is not what the probes need.
    """

    def __init__(self, device: str = DEVICE) -> None:
        self._fds = []
        machine = platform.machine()
        if machine not in ("x86_64", "AMD64") or not hasattr(os, "eventfd"):
            raise NoKvm(f"the probes are x86-64 machine code under Linux; this is {machine}")
        try:
            self.fd = os.open(device, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            raise NoKvm(f"there is no {device}: KVM is not loaded here") from None
        except PermissionError:
            raise NoKvm(f"{device} may not be opened: join its group, or run as root") from None
        except OSError as error:
            raise NoKvm(f"{device} cannot be opened: {error.strerror}") from None
        self._fds.append(self.fd)
        try:
            version = _ioctl(self.fd, GET_API_VERSION)
        except OSError as error:
            self.close()
            raise NoKvm(f"{device} is not KVM: {error.strerror}") from None
        if version != API_VERSION:
            self.close()
            raise NoKvm(f"{device} speaks version {version} of its interface, not {API_VERSION}")

    def capability(self, name: str) -> int:
        """What KVM_CHECK_EXTENSION says of a capability in `CAPABILITIES`; 0: not there."""
        return _ioctl(self.fd, CHECK_EXTENSION, CAPABILITIES[name])

    def create_vm(self) -> Vm:
        """A virtual machine without memory.

        Raises:
            NoKvm: KVM makes none.
        """
        try:
            fd = _ioctl(self.fd, CREATE_VM)
        except OSError as error:
            raise NoKvm(f"{DEVICE} makes no virtual machine: {error.strerror}") from None
        return Vm(self, fd)


class Vm(_Closing):
    """A virtual machine: memory slots, and what the kernel does for it itself."""

    def __init__(self, kvm: Kvm, fd: int) -> None:
        self._kvm, self.fd, self._fds = kvm, fd, [fd]
        self._slots = 0
        self._parts: list[Vcpu] = []
        with suppress(OSError):
            _ioctl(fd, SET_TSS_ADDR, TSS_ADDRESS)

    def close(self) -> None:
        """Its vCPUs, its eventfds, itself; memory goes when nothing refers to it any more."""
        for part in self._parts:
            part.close()
        super().close()

    def add_memory(self, address: int, size: int, *, read_only: bool = False) -> Bytes:
        """Guest memory, zeroed, and its bytes as the host sees them (KVM_SET_USER_MEMORY_REGION).

        Args:
            address: guest-physical, in bytes, of whole pages.
            size: bytes, whole pages.
            read_only: whether the guest's writes exit instead.

        Raises:
            OSError: KVM refuses.
        """
        memory = mmap.mmap(-1, size)
        seen = np.frombuffer(memory, np.uint8)  # keeps the mapping alive
        flags = MEM_READONLY if read_only else 0
        host = seen.ctypes.data
        region = struct.pack("=IIQQQ", self._slots, flags, address, size, host)
        _ioctl(self.fd, SET_USER_MEMORY_REGION, region)
        self._slots += 1
        return seen

    def create_irqchip(self) -> None:
        """Interrupt controllers in the kernel (KVM_CREATE_IRQCHIP); before any vCPU.

        Raises:
            OSError: KVM refuses.
        """
        _ioctl(self.fd, CREATE_IRQCHIP)

    def ioeventfd(self, address: int, size: int, *, port: bool, value: int | None = None) -> int:
        """Have writes to a place signal an eventfd in the kernel instead of exiting.

        Args:
            address: port or guest-physical address.
            size: of the write, in bytes.
            port: whether it is a port.
            value: only writes of this value; None: any.

        Returns:
            The eventfd, which is closed with the machine; reading it counts the signals.

        Raises:
            OSError: KVM refuses.
        """
        event = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._fds.append(event)
        flags = (IOEVENTFD_PIO if port else 0) | (0 if value is None else IOEVENTFD_DATAMATCH)
        _ioctl(self.fd, IOEVENTFD,
               struct.pack("=QQIiI36x", value or 0, address, size, event, flags))  # fmt: skip
        return event

    def coalesce(self, address: int, size: int) -> None:
        """Have memory writes to a region gather in a ring (KVM_REGISTER_COALESCED_MMIO).

        Raises:
            OSError: KVM refuses.
        """
        _ioctl(self.fd, REGISTER_COALESCED_MMIO, struct.pack("=QII", address, size, 0))

    def create_vcpu(self, number: int = 0) -> Vcpu:
        """A vCPU.

        Raises:
            OSError: KVM refuses.
        """
        size = _ioctl(self._kvm.fd, GET_VCPU_MMAP_SIZE)
        vcpu = Vcpu(_ioctl(self.fd, CREATE_VCPU, number), size)
        self._parts.append(vcpu)
        return vcpu


class Vcpu(_Closing):
    """A vCPU: its registers, and `run`, the bytes of its struct kvm_run and what follows it."""

    def __init__(self, fd: int, size: int) -> None:
        self.fd, self._fds = fd, [fd]
        self.run: Bytes = np.frombuffer(mmap.mmap(fd, size), np.uint8)

    def real_mode(self, **bases: int) -> None:
        """Start in real mode with these segments' bases (ds, es, fs, gs, ss; cs is 0).

        Raises:
            OSError: KVM refuses.
        """
        special = bytearray(SREGS_BYTES)
        _ioctl(self.fd, GET_SREGS, special)
        for place, name in enumerate(SEGMENTS):
            base = bases.get(name, 0)
            struct.pack_into("=QIH", special, place * SEGMENT_BYTES, base, 0xFFFF, base >> 4)
        _ioctl(self.fd, SET_SREGS, bytes(special))

    def set_registers(self, **values: int) -> None:
        """Set the general registers, by their names in `REGISTERS`; the others to 0.

        Raises:
            OSError: KVM refuses.
        """
        values.setdefault("rflags", 2)  # its one bit that is always set
        _ioctl(self.fd, SET_REGS, struct.pack("=18Q", *(values.get(n, 0) for n in REGISTERS)))


def coalesced_ring(kvm: Kvm) -> int:
    """Where the ring of coalesced writes lies in a vCPU's mapping, in bytes; 0: there is none.

    KVM_CAP_COALESCED_MMIO tells the page (KVM_COALESCED_MMIO_PAGE_OFFSET).
    """
    return kvm.capability("KVM_CAP_COALESCED_MMIO") * mmap.PAGESIZE


def refused(error: OSError) -> str:
    """Why KVM refused, for people."""
    name = errno.errorcode.get(error.errno or 0, "?")
    return f"KVM refuses: {error.strerror} ({name})"


def missing(kvm: Kvm, capabilities: Sequence[str]) -> list[str]:
    """Which of these capabilities the kernel lacks."""
    return [name for name in capabilities if kvm.capability(name) <= 0]
