"""What importers of logs share: the accesses of vCPUs as they go by, one row each.

::

    write 0xCF8, function and register ─┐
                                        ├─► one row: config read of that function's register
    read 0xCFC                          ┘

Each vCPU follows its own last index. An index access that no data access follows becomes a row of
its own. What a log's line means is its importer's business; what an importer refuses is counted
here, with its number, or ends the import.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from vmexit_sim.device import ConfigRole, DeviceCatalog
from vmexit_sim.errors import InputError
from vmexit_sim.guest.log_rows import LogRows, Row
from vmexit_sim.guest.table import Flag, Space
from vmexit_sim.guest.trace_phases import Boundaries

KEPT_BAD_LINES = 20
"""How many bad lines are remembered with number and reason; all are counted."""

ABSENT = 0
"""The device number of a config access that no function answered; its name is "absent"."""

MOST_ROWS = 2**25
"""Most accesses that one log may hold."""

ECAM_WINDOW = 2**28
"""Most bytes of config space that one window can show: 256 buses of 1 MiB."""


@dataclass(frozen=True)
class Region:
    """What a reader's loop has to know of a memory region, looked up once for each name."""

    number: int
    role: ConfigRole | None
    is_config_data: bool
    reaches_config: bool
    is_doorbell: bool
    mask: int
    messages: tuple[tuple[int, int], ...]
    end_of_interrupt: int


class Vcpu:
    """What is carried from one access of a vCPU to its next."""

    def __init__(self) -> None:
        self.index: int | None = None  # last value written to the config index register
        self.pending: Row | None = None  # index write without data so far


class AccessLog:
    """Takes accesses one by one; afterwards its attributes hold what was in the log.

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

    MAY_JOIN: ClassVar[bool] = False
    """Whether such a log may begin while the guest is running."""

    def __init__(self, catalog: DeviceCatalog, file: Path, *, strict: bool) -> None:
        self._catalog, self._file, self._strict = catalog, file, strict
        self.rows = LogRows()
        self.names = {"absent": ABSENT}
        self.by_vcpu: Counter[int] = Counter()
        self.by_region: Counter[tuple[int, bool]] = Counter()
        self.boundaries = Boundaries(may_join=self.MAY_JOIN)
        self.messages = self.backward = self.bad = 0
        self.names_functions = False
        self.bad_lines: list[tuple[int, str]] = []
        self._regions: dict[str, Region] = {}

    def _refuse(self, line: int, reason: str) -> None:
        if self._strict:
            raise InputError(reason, file=self._file, key=f"line {line}")
        self.bad += 1
        if len(self.bad_lines) < KEPT_BAD_LINES:
            self.bad_lines.append((line, reason))

    def _count(self, row: Row, region: Region) -> None:
        if len(self.rows) >= MOST_ROWS:
            raise InputError(f"holds more than {MOST_ROWS:,} accesses", file=self._file,
                             key=f"line {row.line}",
                             mend="record for a shorter time, or cut the log")  # fmt: skip
        self.by_vcpu[row.vcpu] += 1
        self.by_region[region.number, row.write] += 1
        self.boundaries.access(
            row.line, row.address, row.value, row.size, write=row.write,
            config=region.reaches_config,
        )  # fmt: skip

    def _access(self, own: Vcpu, row: Row, region: Region) -> None:
        """Take an access as a row, by its region's role in config accesses."""
        if region.role is None:
            self.rows.append(row)
        elif region.role is ConfigRole.INDEX:
            self._index(own, row)
        else:
            self._data(own, row, region.role)

    def _index(self, own: Vcpu, row: Row) -> None:
        self._flush(own)
        row = row._replace(space=Space.PCI_CONFIG, flags=row.flags | Flag.INDEX_ONLY)
        if row.write and row.size == 4:
            own.index = row.value
            own.pending = row._replace(address=_config_address(row.value, 0))
        else:
            self.rows.append(row._replace(address=_config_address(own.index or 0, 0)))

    def _flush(self, own: Vcpu) -> None:
        """An index write that no data access followed becomes a row of its own."""
        if own.pending is not None:
            self.rows.append(own.pending)
            own.pending = None

    def _data(self, own: Vcpu, row: Row, role: ConfigRole) -> None:
        """A config access, joined with its index write; nobody has said who answers it."""
        gap, flags = row.gap, row.flags
        if role is ConfigRole.ECAM:
            address = row.address % ECAM_WINDOW
            flags |= Flag.ECAM
        else:
            address = _config_address(own.index or 0, row.address & 3)
            if own.pending is not None:
                gap, flags = own.pending.gap, own.pending.flags & ~Flag.INDEX_ONLY
                own.pending = None
        ones = (1 << 8 * row.size) - 1
        value = row.value & ones
        device = ABSENT if row.write or value == ones else row.device
        self.rows.append(
            row._replace(gap=gap, space=Space.PCI_CONFIG, address=address, value=value,
                         flags=flags, device=device)
        )  # fmt: skip

    def _region(self, name: str) -> Region:
        """What the catalog knows of a region, by its name."""
        region = self._regions.get(name)
        if region is None:
            device = self._catalog.of(name)
            facts = device.interrupts
            region = self._regions[name] = Region(
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

    def _number(self, name: str) -> int:
        number = self.names.setdefault(name, len(self.names))
        if number > np.iinfo(np.int16).max:
            raise InputError("names more than 32,767 devices", file=self._file)
        return number


def _config_address(index: int, low_bits: int) -> int:
    """The table's address of what a config index (and the data port's low bits) choose."""
    return (index >> 8 & 0xFFFF) << 12 | index & 0xFC | low_bits
