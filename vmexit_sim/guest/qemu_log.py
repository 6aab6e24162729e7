"""QEMU's trace log, line by line: what a vCPU accessed, and what answered.

::

    THREAD@SECONDS.MICROSECONDS:memory_region_ops_read cpu 0 mr … addr 0xcfc … name 'pci-conf-data'
    THREAD@SECONDS.MICROSECONDS:pci_cfg_read nvme 02:00.0 @0x90 -> 0x0

    write 0xCF8, function and register ─┐
    read 0xCFC                          ├─► one row: config read of nvme 02:00.0, register 0x90
    "pci_cfg_read nvme 02:00.0 @0x90" ──┘

Each vCPU follows its own last index. A line that names the function stands beside the data
access in the same host thread: before a read, after a write. What cannot be understood is
refused with its number, and whatever it may have meant is left out.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vmexit_sim.device import ConfigRole, DeviceCatalog
from vmexit_sim.errors import InputError
from vmexit_sim.guest.table import Flag, Space
from vmexit_sim.guest.trace_file import LONGEST_LINE
from vmexit_sim.guest.trace_phases import Boundaries
from vmexit_sim.units import LONGEST_PS, MICROSECOND

KEPT_BAD_LINES = 20
"""How many bad lines are remembered with number and reason; all are counted."""

ABSENT = 0
"""The device number of a config access that no function answered; its name is "absent"."""

LONGEST_GAP_US = LONGEST_PS // MICROSECOND
"""Two lines of one log lie at most this far apart (53 days), in µs."""

_MEMORY = re.compile(
    rb"(\d{1,19})@(\d{1,12})\.(\d{6}):memory_region_ops_(read|write) cpu (-1|\d{1,5}) "
    rb"mr 0x[0-9a-f]{1,16} addr 0x([0-9a-f]{1,16}) value 0x([0-9a-f]{1,16}) "
    rb"size ([1248]) name '([ -&(-~]{1,100})'"
)
_CONFIG = re.compile(
    rb"(\d{1,19})@\d{1,12}\.\d{6}:pci_cfg_(read|write) ([!-~]{1,100}) "
    rb"([0-9a-f]{2}):([01][0-9a-f])\.([0-7]) @0x([0-9a-f]{1,3}) (?:->|<-) 0x[0-9a-f]{1,8}"
)
_EVENT = re.compile(rb"\d{1,19}@\d{1,12}\.\d{6}:([A-Za-z_0-9]{1,60})")
_PORTS_END = 0x10000
_ECAM_WINDOW = 2**28
_MMIO, _PORT_IO, _DOORBELL = map(int, (Space.MMIO, Space.PORT_IO, Space.DOORBELL))
"""As plain numbers: an enum costs a look-up at each of a log's lines."""


class Row(NamedTuple):
    """One access, before it becomes a row of the table.

    Attributes:
        line: its line's number (the data access's, where index and data are joined).
        gap: time since the vCPU's previous access, in µs.
        device: number of the region or of the answering function's model; `ABSENT`: none.
    The others are those of the table.
    """

    line: int
    vcpu: int
    gap: int
    space: int
    write: bool
    size: int
    address: int
    value: int
    flags: int
    device: int


@dataclass(frozen=True)
class _Region:
    """What the loop has to know of a memory region, looked up once for each name."""

    number: int
    role: ConfigRole | None
    is_config_data: bool
    reaches_config: bool
    is_doorbell: bool
    mask: int
    messages: tuple[tuple[int, int], ...]
    end_of_interrupt: int


class _Vcpu:
    """What is carried from one access of a vCPU to its next."""

    def __init__(self) -> None:
        self.time: int | None = None  # of the access before, in µs
        self.index: int | None = None  # last value written to the config index register
        self.pending: Row | None = None  # index write without data so far
        self.woken = False  # somebody else's message came since the access before
        self.announced = False  # a message came since the last end of interrupt
        self.before = (-1, True)  # region and direction of the access before


class LogReader:
    """Takes a log's lines one by one; afterwards its attributes hold what was in them.

    Attributes:
        rows: accesses in the order of the log, lone index accesses a little later.
        names: device names by number.
        by_vcpu: lines of each vCPU's accesses.
        by_region: lines by (region number, write).
        boundaries: where the phases begin.
        messages: interrupt messages seen.
        backward: accesses stamped earlier than the vCPU's access before; their gap is 0.
        names_functions: whether the log has any line that names a function.
        bad: lines refused.
        bad_lines: the first of them, with the reason.
    """

    def __init__(self, catalog: DeviceCatalog, file: Path, *, strict: bool) -> None:
        self._catalog, self._file, self._strict = catalog, file, strict
        self.rows: list[Row] = []
        self.names = {"absent": ABSENT}
        self.by_vcpu: Counter[int] = Counter()
        self.by_region: Counter[tuple[int, bool]] = Counter()
        self.boundaries = Boundaries()
        self.messages = self.backward = self.bad = 0
        self.names_functions = False
        self.bad_lines: list[tuple[int, str]] = []
        self._regions: dict[bytes, _Region] = {}
        self._vcpus: dict[int, _Vcpu] = {}
        self._answers: dict[bytes, tuple[int, int, bytes]] = {}  # thread: line, address, model
        self._writes: dict[bytes, tuple[int, int]] = {}  # thread: row, address
        self._clock: int | None = None  # of the line before, in µs

    def take(self, line: int, text: bytes) -> None:
        """Understand a line, or refuse it."""
        match = _MEMORY.fullmatch(text)
        if match is not None:
            self._memory(line, match)
        elif (match := _CONFIG.fullmatch(text)) is not None:
            self._function(line, match)
        elif len(text) > LONGEST_LINE:
            self._refuse(line, f"is longer than {LONGEST_LINE} characters")
        elif (event := _EVENT.match(text)) is not None:
            self._refuse(line, f"is damaged, or an event not read here: {event[1].decode()}")
        else:
            self._refuse(line, "is no trace event")

    def close(self) -> None:
        """The log has ended: nothing that is still open will be completed."""
        for line, _, _ in self._answers.values():
            self._refuse(line, "names a function, but no config read follows")
        for own in self._vcpus.values():
            self._flush(own)

    def _refuse(self, line: int, reason: str) -> None:
        if self._strict:
            raise InputError(reason, file=self._file, key=f"line {line}")
        self.bad += 1
        if len(self.bad_lines) < KEPT_BAD_LINES:
            self.bad_lines.append((line, reason))

    def _memory(self, line: int, match: re.Match[bytes]) -> None:
        thread, seconds, micro, kind, cpu, addr, val, width, name = match.groups()
        region = self._regions.get(name) or self._region(name)
        write, vcpu, address = kind == b"write", int(cpu), int(addr, 16)
        time = int(seconds + micro)
        own = self._vcpus.get(vcpu)
        answer = self._answers.pop(thread, None)
        self._writes.pop(thread, None)
        wrong = None
        if address >= 2**63:
            wrong = "has an address beyond 63 bits"
        elif vcpu > 65_535:
            wrong = "has a vCPU beyond 65,535"
        elif self._clock is not None and abs(time - self._clock) > LONGEST_GAP_US:
            wrong = "is stamped more than 53 days away from the line before"
        elif region.is_config_data and vcpu >= 0 and (own is None or own.index is None):
            wrong = "accesses config data, but its vCPU has written no index"
        if answer is not None and (wrong or write or not region.reaches_config):
            self._refuse(answer[0], "names a function, but no config read follows")
            answer = None
        if wrong is not None:
            self._refuse(line, wrong)
            return
        self._clock = time
        offset = address & region.mask
        if write and any(first <= offset <= last for first, last in region.messages):
            self._message(vcpu, address)
            return
        if vcpu < 0:
            return
        if own is None:
            own = self._vcpus[vcpu] = _Vcpu()
        gap, flags = self._gap(own, time), self._waited(own, region, write, offset)
        space = _MMIO
        if region.role is None:
            if write and region.is_doorbell:
                space = _DOORBELL
            elif address < _PORTS_END:
                space = _PORT_IO
        row = Row(line, vcpu, gap, space, write, int(width), address, int(val, 16), flags,
                  region.number)  # fmt: skip
        own.time, own.woken, own.before = time, False, (region.number, write)
        self._count(row, region)
        if region.role is None:
            self.rows.append(row)
        elif region.role is ConfigRole.INDEX:
            self._index(own, row)
        else:
            self._data(own, row, region.role, thread, answer)

    def _gap(self, own: _Vcpu, time: int) -> int:
        if own.time is not None and time < own.time:
            self.backward += 1
        return 0 if own.time is None else max(time - own.time, 0)

    def _waited(self, own: _Vcpu, region: _Region, write: bool, offset: int) -> int:
        """`Flag.WAITED` if an interrupt ended the gap before this access."""
        ends = write and offset == region.end_of_interrupt
        silent = ends and not own.announced and own.before != (region.number, False)
        if ends:
            own.announced = False
        return Flag.WAITED if own.time is not None and (own.woken or silent) else 0

    def _count(self, row: Row, region: _Region) -> None:
        self.by_vcpu[row.vcpu] += 1
        self.by_region[region.number, row.write] += 1
        self.boundaries.access(
            row.line, row.address, row.value, row.size, write=row.write,
            config=region.reaches_config,
        )  # fmt: skip

    def _message(self, sender: int, address: int) -> None:
        """Note an interrupt message for its receiver, if the address tells who that is."""
        self.messages += 1
        receiver = self._vcpus.get(_receiver(address))
        if receiver is not None:
            receiver.announced = True
            receiver.woken |= self._vcpus.get(sender) is not receiver

    def _index(self, own: _Vcpu, row: Row) -> None:
        self._flush(own)
        row = row._replace(space=Space.PCI_CONFIG, flags=row.flags | Flag.INDEX_ONLY)
        if row.write and row.size == 4:
            own.index = row.value
            own.pending = row._replace(address=_config_address(row.value, 0))
        else:
            self.rows.append(row._replace(address=_config_address(own.index or 0, 0)))

    def _flush(self, own: _Vcpu) -> None:
        """An index write that no data access followed becomes a row of its own."""
        if own.pending is not None:
            self.rows.append(own.pending)
            own.pending = None

    def _data(
        self, own: _Vcpu, row: Row, role: ConfigRole, thread: bytes,
        answer: tuple[int, int, bytes] | None,
    ) -> None:  # fmt: skip
        gap, flags = row.gap, row.flags
        if role is ConfigRole.ECAM:
            address = row.address % _ECAM_WINDOW
            flags |= Flag.ECAM
        else:
            address = _config_address(own.index or 0, row.address & 3)
            if own.pending is not None:
                gap, flags = own.pending.gap, own.pending.flags & ~Flag.INDEX_ONLY
                own.pending = None
        ones = (1 << 8 * row.size) - 1
        value, device = row.value & ones, ABSENT
        if row.write:
            self._writes[thread] = (len(self.rows), address)
        elif answer is not None and answer[1] == address:
            device = self._number(answer[2])
        else:
            if answer is not None:
                self._refuse(answer[0], "names another function or register than the read after it")
            device = ABSENT if value == ones else row.device
        self.rows.append(
            row._replace(gap=gap, space=Space.PCI_CONFIG, address=address, value=value,
                         flags=flags, device=device)
        )  # fmt: skip

    def _function(self, line: int, match: re.Match[bytes]) -> None:
        """A line that says which function answers."""
        thread, kind, model, bus, device, function, register = match.groups()
        address = (
            int(bus, 16) << 20 | int(device, 16) << 15 | int(function) << 12 | int(register, 16)
        )
        self.names_functions = True
        if kind == b"read":
            if thread in self._answers:
                self._refuse(self._answers[thread][0], "names a function, but no read follows")
            self._answers[thread] = (line, address, model)
            return
        number, written = self._writes.pop(thread, (-1, -1))
        if written != address:
            self._refuse(line, "names a function, but no config write to it precedes")
        else:
            self.rows[number] = self.rows[number]._replace(device=self._number(model))

    def _region(self, name: bytes) -> _Region:
        device = self._catalog.of(name.decode("ascii"))
        facts = device.interrupts
        region = self._regions[name] = _Region(
            number=self._number(name),
            role=device.config,
            is_config_data=device.config is ConfigRole.DATA,
            reaches_config=device.config in (ConfigRole.DATA, ConfigRole.ECAM),
            is_doorbell=device.doorbell,
            mask=(device.window or 2**63) - 1,
            messages=facts.messages if facts else (),
            end_of_interrupt=facts.end_of_interrupt if facts else -1,
        )
        return region

    def _number(self, name: bytes) -> int:
        number = self.names.setdefault(name.decode("ascii"), len(self.names))
        if number > np.iinfo(np.int16).max:
            raise InputError("names more than 32,767 devices", file=self._file)
        return number


def _config_address(index: int, low_bits: int) -> int:
    """The table's address of what a config index (and the data port's low bits) choose."""
    return (index >> 8 & 0xFFFF) << 12 | index & 0xFC | low_bits


def _receiver(address: int) -> int:
    """The vCPU that an interrupt message goes to, -1 if that is not one alone.

    Bits 12 to 19 are the destination: an APIC id, or in logical mode (bit 2) a set of vCPUs, as
    Linux uses it with up to 8 of them (Intel SDM vol. 3, message address register format).
    """
    destination = address >> 12 & 0xFF
    if not address & 4:
        return destination
    return destination.bit_length() - 1 if destination.bit_count() == 1 else -1
