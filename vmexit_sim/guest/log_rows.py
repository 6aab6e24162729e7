"""The accesses of a log as they are read: packed behind each other, 43 bytes each.

A log of ten million lines makes about as many rows, and tuples of Python's integers are far larger.
"""

from __future__ import annotations

from struct import Struct
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt


class Row(NamedTuple):
    """One access, before it becomes a row of the table.

    Attributes:
        line: its line's number (the data access's, where index and data are joined).
        gap: time since the vCPU's previous access, in the log's unit.
        device: number of the region or of the answering function's model; `access_log.ABSENT`:
            none.
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


_PACKED = Struct("<qiqb?bqQhh")
_TYPES = np.dtype(
    [("line", "<i8"), ("vcpu", "<i4"), ("gap", "<i8"), ("space", "i1"), ("write", "?"),
     ("size", "i1"), ("address", "<i8"), ("value", "<u8"), ("flags", "<i2"), ("device", "<i2")]
)  # fmt: skip
_DEVICE = Struct("<h")
_DEVICE_AT: int = _TYPES.fields["device"][1]  # type: ignore[index]


class LogRows:
    """Rows in the order in which they were appended."""

    def __init__(self) -> None:
        self._packed = bytearray()

    def __len__(self) -> int:
        return len(self._packed) // _PACKED.size

    def append(self, row: Row) -> None:
        """Add a row."""
        self._packed += _PACKED.pack(*row)

    def last(self) -> Row:
        """The row that was appended last."""
        return Row(*_PACKED.unpack_from(self._packed, len(self._packed) - _PACKED.size))

    def answered_by(self, row: int, device: int) -> None:
        """Set the device of a row, by its number."""
        _DEVICE.pack_into(self._packed, row * _PACKED.size + _DEVICE_AT, device)

    def renumber_devices(self, new: list[int]) -> None:
        """Give every device another number."""
        device = self._records()["device"]
        device[:] = np.array(new, np.int16)[device]

    def columns(self) -> dict[str, npt.NDArray[Any]]:
        """A column of its own for each of a row's fields."""
        records = self._records()
        return {name: records[name].copy() for name in Row._fields}

    def _records(self) -> npt.NDArray[Any]:
        return np.frombuffer(self._packed, _TYPES)
