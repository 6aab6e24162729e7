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
from pathlib import Path

from vmexit_sim.device import DeviceCatalog
from vmexit_sim.guest.access_log import AccessLog, Region, Vcpu
from vmexit_sim.guest.log_rows import Row
from vmexit_sim.guest.table import Flag, Space
from vmexit_sim.guest.trace_file import LONGEST_LINE
from vmexit_sim.units import LONGEST_PS, MICROSECOND

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
_MMIO, _PORT_IO, _DOORBELL = map(int, (Space.MMIO, Space.PORT_IO, Space.DOORBELL))
"""As plain numbers: an enum costs a look-up at each of a log's lines."""


class _Vcpu(Vcpu):
    """What else is carried from one access of a vCPU to its next."""

    def __init__(self) -> None:
        super().__init__()
        self.time: int | None = None  # of the access before, in µs
        self.woken = False  # somebody else's message came since the access before
        self.announced = False  # a message came since the last end of interrupt
        self.before = (-1, True)  # region and direction of the access before


class LogReader(AccessLog):
    """Takes a log's lines one by one; gaps are in µs."""

    def __init__(self, catalog: DeviceCatalog, file: Path, *, strict: bool) -> None:
        super().__init__(catalog, file, strict=strict)
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

    def _memory(self, line: int, match: re.Match[bytes]) -> None:
        thread, seconds, micro, kind, cpu, addr, val, width, name = match.groups()
        region = self._region(name.decode("ascii"))
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
        self._access(own, row, region)
        if region.reaches_config:
            self._answered(thread, answer)

    def _gap(self, own: _Vcpu, time: int) -> int:
        if own.time is not None and time < own.time:
            self.backward += 1
        return 0 if own.time is None else max(time - own.time, 0)

    def _waited(self, own: _Vcpu, region: Region, write: bool, offset: int) -> int:
        """`Flag.WAITED` if an interrupt ended the gap before this access."""
        ends = write and offset == region.end_of_interrupt
        silent = ends and not own.announced and own.before != (region.number, False)
        if ends:
            own.announced = False
        return Flag.WAITED if own.time is not None and (own.woken or silent) else 0

    def _message(self, sender: int, address: int) -> None:
        """Note an interrupt message for its receiver, if the address tells who that is."""
        self.messages += 1
        receiver = self._vcpus.get(_receiver(address))
        if receiver is not None:
            receiver.announced = True
            receiver.woken |= self._vcpus.get(sender) is not receiver

    def _answered(self, thread: bytes, answer: tuple[int, int, bytes] | None) -> None:
        """The last row is a config access: what its thread's lines say of who answers it."""
        row = self.rows.last()
        if row.write:
            self._writes[thread] = (len(self.rows) - 1, row.address)
        elif answer is not None and answer[1] == row.address:
            self.rows.answered_by(len(self.rows) - 1, self._number(answer[2].decode("ascii")))
        elif answer is not None:
            self._refuse(answer[0], "names another function or register than the read after it")

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
            self.rows.answered_by(number, self._number(model.decode("ascii")))


def _receiver(address: int) -> int:
    """The vCPU that an interrupt message goes to, -1 if that is not one alone.

    Bits 12 to 19 are the destination: an APIC id, or in logical mode (bit 2) a set of vCPUs, as
    Linux uses it with up to 8 of them (Intel SDM vol. 3, message address register format).
    """
    destination = address >> 12 & 0xFF
    if not address & 4:
        return destination
    return destination.bit_length() - 1 if destination.bit_count() == 1 else -1
