"""A guest recorded by KVM's trace events, as an access table.

::

    log ──► KvmLog ──► ExitReader ──► KvmAccesses ──► trace_of ──► AccessTable
            events     exits          rows            phases, flags, operations

A row is an access that the log states: port I/O, memory-mapped I/O, a doorbell, a model-specific
register. A string instruction over *n* items is *n* rows; the log has the first item's value only,
which stands for all. Config index and data at ports 0xCF8 and 0xCFC are one row, as in QEMU's log.

Time. A row's `compute` is the time that the vCPU spent in the guest since the access before: all
stays between an entry and the next exit. Exits without an access (an external interrupt, a page
fault) are no rows, and their own time is nobody's compute. A halt's time is the guest's, and the
row after it carries `Flag.WAITED`.

Devices. A log has addresses only: see `known_addresses`. What was handled without leaving the
kernel is named so ("mmio 0xfe003000 (kernel)"), if the log has any return to user space; a guest
recorded without ``kvm_userspace_exit`` does not tell.
"""

from __future__ import annotations

from pathlib import Path

from vmexit_sim.device import DeviceCatalog
from vmexit_sim.errors import InputError
from vmexit_sim.guest.access_log import ECAM_WINDOW, KEPT_BAD_LINES, AccessLog, Region, Vcpu
from vmexit_sim.guest.known_addresses import ECAM, PAGE, memory_name, port_name
from vmexit_sim.guest.kvm_event import FastMemory, Memory, Msr, Port
from vmexit_sim.guest.kvm_exits import ClosedExit, ExitReader
from vmexit_sim.guest.kvm_log import KvmLog
from vmexit_sim.guest.log_rows import Row
from vmexit_sim.guest.qemu_trace import Trace, trace_of
from vmexit_sim.guest.table import Flag, Space
from vmexit_sim.units import NANOSECOND

IN_KERNEL = " (kernel)"
"""What the name of a device ends in that was handled without leaving the kernel."""

DOORBELL_SIZE = 2
"""Size of a doorbell that the log does not state, in bytes (Virtio 1.2, 4.1.5.2)."""

_ID, _WINDOW_LOW, _WINDOW_HIGH = 0x0, 0x60, 0x64
_HAS_WINDOW = 0x29C0_8086
"""The host bridge whose registers at 0x60 and 0x64 say where ECAM is (Intel Q35, PCIEXBAR)."""


class _Vcpu(Vcpu):
    """What else is carried from one access of a vCPU to its next."""

    def __init__(self) -> None:
        super().__init__()
        self.gap = 0  # time since the access before, in ns
        self.waited = False  # a halt was in it


class KvmAccesses(AccessLog):
    """Takes a log's exits one by one; gaps are in ns.

    Attributes:
        halts: exits whose time was waiting.
        without_access: exits that are no rows.
        their_time: the time of those, in ns.
        unknown_gaps: exits before which the log does not say how long the guest ran.
        doorbells: rows whose size is not in the log.
        silent_ports: exits by port I/O without the event that says what was accessed.
        ecam: first address of config space in memory; None: not known (yet).
    """

    MAY_JOIN = True

    def __init__(
        self, catalog: DeviceCatalog, file: Path, *, strict: bool, ecam: int | None = None
    ) -> None:
        super().__init__(catalog, file, strict=strict)
        self.halts = self.without_access = self.their_time = self.unknown_gaps = 0
        self.doorbells = self.silent_ports = 0
        self.ecam, self._ecam_size, self._is_told = ecam, ECAM_WINDOW, ecam is not None
        self._vcpus: dict[int, _Vcpu] = {}
        self._window: dict[int, int] = {}  # host bridge's registers as they were last seen

    def take(self, closed: ClosedExit) -> None:
        """Take an exit: its accesses become rows, its time in the guest their gap."""
        own = self._vcpus.get(closed.vcpu)
        if own is None:
            own = self._vcpus[closed.vcpu] = _Vcpu()
        if closed.guest is None:
            self.unknown_gaps += 1
        own.gap += closed.guest or 0
        if closed.is_halt:
            own.gap += closed.duration
            own.waited = True
            self.halts += 1
        before = len(self.rows), own.pending
        for line, what in closed.inside:
            if isinstance(what, Port):
                self._port(line, closed, own, what)
            elif isinstance(what, Memory):
                self._memory(closed, own, what)
            elif isinstance(what, FastMemory):
                self.doorbells += 1
                name = _page(what.address) + IN_KERNEL
                self._row(closed, own, self._region(name), Space.DOORBELL, what.address,
                          DOORBELL_SIZE, write=True)  # fmt: skip
            elif isinstance(what, Msr):
                region = self._region(f"msr {what.register:#x}")
                self._row(closed, own, region, Space.MSR, what.register, 8, what.value,
                          write=what.write)  # fmt: skip
        for _ in range(closed.open_reads):
            self._refuse(closed.line, "ends a read that the log does not say the answer of")
        if before == (len(self.rows), own.pending) and not closed.is_halt:
            self.without_access += 1
            self.their_time += closed.duration
            self.silent_ports += closed.port is not None

    def close(self, *, knows_user_space: bool) -> None:
        """The log has ended: nothing that is still open will be completed.

        Args:
            knows_user_space: whether the log says which exits went to user space.
        """
        for own in self._vcpus.values():
            self._flush(own)
        if not knows_user_space:
            self._forget_kernel()

    def _port(self, line: int, closed: ClosedExit, own: _Vcpu, what: Port) -> None:
        name = port_name(what.port, what.size) or f"port {what.port:#x}{_kernel(closed)}"
        region = self._region(name)
        if what.value is None:
            self._refuse(line, "has no value, as old kernels print it")
        elif region.role is not None and what.items > 1:
            self._refuse(line, "is a string of config accesses, of which it states one")
        elif region.is_config_data and own.index is None:
            self._refuse(line, "accesses config data, but its vCPU has written no index")
        else:
            for _ in range(what.items):
                self._row(closed, own, region, Space.PORT_IO, what.port, what.size, what.value,
                          write=what.write)  # fmt: skip
            if region.is_config_data:
                self._look_for_window()

    def _memory(self, closed: ClosedExit, own: _Vcpu, what: Memory) -> None:
        offset = -1 if self.ecam is None else what.address - self.ecam
        if 0 <= offset < self._ecam_size:
            self._row(closed, own, self._region(ECAM), Space.MMIO, offset, what.size, what.value,
                      write=what.write)  # fmt: skip
            return
        name = memory_name(what.address) or _page(what.address) + _kernel(closed)
        self._row(closed, own, self._region(name), Space.MMIO, what.address, what.size,
                  what.value, write=what.write)  # fmt: skip

    def _row(
        self, closed: ClosedExit, own: _Vcpu, region: Region, space: Space, address: int,
        size: int, value: int = 0, *, write: bool,
    ) -> None:  # fmt: skip
        row = Row(closed.line, closed.vcpu, own.gap, int(space), write, size, address, value,
                  int(Flag.WAITED) if own.waited else 0, region.number)  # fmt: skip
        own.gap, own.waited = 0, False
        self._count(row, region)
        self._access(own, row, region)

    def _look_for_window(self) -> None:
        """See whether the last config access said where config space lies in memory."""
        row = self.rows.last()
        registers = (_ID, _WINDOW_LOW, _WINDOW_HIGH)
        if self._is_told or row.size != 4 or row.address not in registers:
            return
        self._window[row.address] = row.value
        low = self._window.get(_WINDOW_LOW, 0)
        size = {0: 2**28, 2: 2**27, 4: 2**26}.get(low & 6)
        self.ecam = None
        if self._window.get(_ID) == _HAS_WINDOW and low & 1 and size is not None:
            base = self._window.get(_WINDOW_HIGH, 0) << 32 | low
            self.ecam, self._ecam_size = base // size * size, size

    def _forget_kernel(self) -> None:
        """Take back what device names say of who handled accesses."""
        plain: dict[str, int] = {}
        new = [plain.setdefault(name.removesuffix(IN_KERNEL), len(plain)) for name in self.names]
        self.names = plain
        self.rows.renumber_devices(new)
        counted = list(self.by_region.items())
        self.by_region.clear()
        for (region, write), count in counted:
            self.by_region[new[region], write] += count


def read_kvm_trace(
    path: Path | str, devices: DeviceCatalog, *, strict: bool = False, ecam: int | None = None
) -> Trace:
    """Import a log of KVM's trace events; plain, xz or gzip, whatever its name.

    Bad lines are counted and left out, never guessed at.

    Args:
        path: what ``trace-cmd report`` or ``perf script`` printed, or ftrace's ``trace`` file.
        devices: what is known of devices.
        strict: refuse a log with any bad line.
        ecam: where PCI config space begins in the guest's memory, a multiple of 1 MiB; None: as
            the guest's own writes to its host bridge say, if the log has them.

    Raises:
        InputError: the file cannot be read or unpacked, holds no access of a vCPU, several guests,
            too many accesses, or lasts more than 53 days; with `strict` also the first bad line.
    """
    path = Path(path)
    if ecam is not None and (ecam < 0 or ecam % 2**20):
        raise InputError("is no place for config space", key="ecam", value=ecam,
                         mend="give a multiple of 1 MiB")  # fmt: skip
    log, reader = KvmLog(path, strict=strict), ExitReader(path)
    accesses = KvmAccesses(devices, path, strict=strict, ecam=ecam)
    for closed in reader.exits(log):
        accesses.take(closed)
    accesses.close(knows_user_space=reader.returns)
    _refuse_several(reader, path)
    if not len(accesses.rows):
        raise InputError("holds no access of a vCPU", file=path,
                         mend="record kvm_exit, kvm_entry, kvm_pio, kvm_mmio")  # fmt: skip
    accesses.bad += log.bad
    accesses.bad_lines = sorted(log.bad_lines + accesses.bad_lines)[:KEPT_BAD_LINES]
    return trace_of(accesses, path, devices, tick=NANOSECOND, notes=_notes(log, reader, accesses))


def _refuse_several(reader: ExitReader, path: Path) -> None:
    for vcpu, threads in reader.threads.items():
        if len(threads) > 1:
            raise InputError(
                f"holds several guests: threads {threads[0]} and {threads[1]} both run vCPU {vcpu}",
                file=path, mend="record one guest: `perf record -p PID`, `trace-cmd record -P TID`",
            )  # fmt: skip


def _notes(log: KvmLog, reader: ExitReader, accesses: KvmAccesses) -> list[str]:
    notes = ["times in the guest are those between KVM's events, with the cost of tracing in them"]
    counted = (
        (accesses.bad, "bad lines were left out"),
        (log.lost, "events were lost while recording"),
        (reader.dropped + reader.unpaired, "exits or accesses without a partner were left out"),
        (reader.backward, "exits or stays in the guest have no possible length; left out"),
        (accesses.unknown_gaps, "exits follow an unknown time in the guest; taken as 0"),
        (accesses.doorbells, f"doorbells of unknown size; taken as {DOORBELL_SIZE} bytes"),
        (accesses.silent_ports, "exits by port I/O without kvm_pio were left out"),
    )
    notes += [f"{count:,} {what}" for count, what in counted if count]
    if accesses.without_access:
        notes.append(
            f"{accesses.without_access:,} exits without an access, {accesses.their_time:,} ns in "
            "all, are no rows"
        )
    if not reader.returns:
        notes.append("nothing says which exits went to user space (kvm_userspace_exit)")
    return notes


def _page(address: int) -> str:
    return f"mmio {address // PAGE * PAGE:#x}"


def _kernel(closed: ClosedExit) -> str:
    return "" if closed.user else IN_KERNEL
