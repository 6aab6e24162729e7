"""Access tables in files, and what no table may hold."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vmexit_sim.errors import InputError
from vmexit_sim.guest.table import (
    COLUMN_TYPES,
    DEFAULTS,
    NEVER,
    AccessTable,
    Agent,
    Kind,
    Phase,
    Space,
)
from vmexit_sim.output import write_whole
from vmexit_sim.parquet_file import LARGEST_TABLE, OpenedParquet, open_parquet, too_large
from vmexit_sim.units import LONGEST_PS


def save_table(table: AccessTable, path: Path) -> None:
    """Write a table as Parquet; what is not a column travels in the file's metadata.

    Raises:
        InputError: the file cannot be written (nothing half-written is left).
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    about = {f.name: getattr(table, f.name) for f in fields(table) if f.name not in COLUMN_TYPES}
    arrow = pa.table(table.columns).replace_schema_metadata({_META: json.dumps(about)})
    write_whole(path, lambda partial: pq.write_table(arrow, partial, compression="zstd"))


def load_table(path: Path) -> AccessTable:
    """Reopen a table that `save_table` wrote.

    One that was written before there were columns `LATER` has their defaults in them.

    Raises:
        InputError: not such a file, or one whose columns contradict each other.
    """
    import pyarrow as pa

    try:
        with open_parquet(path, COLUMN_TYPES) as file:
            if _META.encode() not in file.metadata:
                raise ValueError("it was not written by vmexit-sim")
            about = json.loads(file.metadata[_META.encode()])
            if not isinstance(about, dict) or not all(map(_is_about, about.items())):
                raise ValueError("its metadata are not a table's")
            columns = _columns(file)
        about = {key: tuple(v) if isinstance(v, list) else v for key, v in about.items()}
        table = AccessTable(**columns, **about)
    except (
        OSError, pa.ArrowException, KeyError, TypeError, ValueError, RecursionError,
    ) as error:  # fmt: skip
        raise InputError(f"is no access table: {error}", file=path,
                         mend="make one with `vmexit-sim trace import`") from None  # fmt: skip
    check_table(table, path)
    return table


def _columns(file: OpenedParquet) -> dict[str, Any]:
    """A table's columns, in memory of NumPy's, which is given back when they are not needed.

    Raises:
        InputError: they would take more than `LARGEST_TABLE`.
        TypeError, ValueError: a column is missing, or holds what it cannot.
    """
    missing = COLUMN_TYPES.keys() - LATER - set(file.names)
    if missing:
        raise ValueError(f"it has no column {min(missing)}")
    if file.rows * sum(dtype.itemsize for dtype in COLUMN_TYPES.values()) > LARGEST_TABLE:
        raise too_large(file.path)  # its own columns may be narrower
    columns: dict[str, Any] = {
        name: np.full(file.rows, DEFAULTS[name], dtype)
        if name in LATER and name not in file.names
        else np.empty(file.rows, dtype)
        for name, dtype in COLUMN_TYPES.items()
    }
    begin = 0
    for batch in file.in_batches(CHECKED_ROWS):
        end = begin + batch.num_rows
        for name, values in zip(file.names, batch.columns, strict=True):
            read = values.to_numpy(zero_copy_only=False)
            np.copyto(columns[name][begin:end], read, casting="safe")
        begin = end
    if begin != file.rows:
        raise ValueError(f"it holds {begin:,} rows, and says {file.rows:,}")
    return columns


def _is_about(item: tuple[str, Any]) -> bool:
    """Whether a name and a value can be what `save_table` writes beside the columns."""
    name, value = item
    if name == "has_ecam":
        return isinstance(value, bool)
    if name == "origin":
        return isinstance(value, str)
    return isinstance(value, list) and all(isinstance(part, str) for part in value)


_META = "vmexit-sim access table"

LATER = frozenset({"targets"})
"""Columns that tables in files did not have from the beginning."""


def check_table(table: AccessTable, file: object = None) -> None:
    """Refuse a table that no guest could have produced.

    Raises:
        InputError: which column, at which row, holds what it cannot.
    """
    if len(table) and int(table.vcpu.max()) > 65_535:
        raise InputError("has more than 65,536 vCPUs", file=file, key="vcpu")
    for begin in range(0, len(table), CHECKED_ROWS):  # its masks need memory, too
        for name, bad in _impossible(table, begin).items():
            _refuse(table, name, begin + np.flatnonzero(bad), file)
    if table.compute.sum(dtype=np.float64) > LONGEST_PS:
        raise InputError("is longer than 53 days, all rows together", file=file, key="compute")
    for vcpu in range(table.vcpus):
        _refuse(table, "operation", _out_of_order(table, vcpu), file)


CHECKED_ROWS = 1 << 20
"""Rows that are checked at a time."""


def _impossible(table: AccessTable, begin: int) -> dict[str, npt.NDArray[np.bool_]]:
    """For each column, which of the rows from `begin` hold what no guest has."""
    part = table.block(begin, begin + CHECKED_ROWS)
    before = table.vcpu[begin - 1] if begin else 0
    rows = np.arange(begin, begin + len(part))
    needed_by, needed_idiom = (
        column[begin : begin + CHECKED_ROWS] for column in (table.needed_by, table.needed_idiom)
    )
    return {
        "vcpu": (np.diff(part.vcpu, prepend=before) < 0) | (part.vcpu < 0),
        "agent": ~np.isin(part.agent, list(Agent)),
        "phase": ~np.isin(part.phase, list(Phase)),
        "kind": ~np.isin(part.kind, list(Kind)),
        "space": ~np.isin(part.space, list(Space)),
        "device": (part.device < 0) | (part.device >= max(len(table.devices), 1)),
        "compute": (part.compute < 0) | (part.compute > LONGEST_PS),
        "arrival": (part.arrival < NEVER) | (part.arrival > LONGEST_PS),
        "operation": part.operation < -1,
        "emulate": (part.emulate < 0) | (part.emulate > LONGEST_PS),
        "targets": part.targets < 0,
        "needed_by": (needed_by <= rows) & (needed_by != NEVER),
        "needed_idiom": (needed_idiom <= rows) & (needed_idiom != NEVER),
    }


def _out_of_order(table: AccessTable, vcpu: int) -> npt.NDArray[np.int64]:
    """Rows where an operation of a vCPU begins after one with a greater number."""
    begin, end = table.rows_of(vcpu)
    operation = table.operation[begin:end]
    if _ascends(operation):  # no need to sort them, which takes long where there are many
        return np.zeros(0, np.int64)
    rows = np.flatnonzero(operation >= 0)
    _, first = np.unique(operation[rows], return_index=True)
    return np.asarray(begin + rows[first[1:][np.diff(first) < 0]], np.int64)


def _ascends(operation: npt.NDArray[np.int64]) -> bool:
    """Whether no row belongs to an operation of a smaller number than a row before."""
    greatest = -1
    for begin in range(0, len(operation), CHECKED_ROWS):
        part = operation[begin : begin + CHECKED_ROWS]
        greatest_so_far = np.maximum.accumulate(np.maximum(part, greatest))
        if ((part >= 0) & (part < greatest_so_far)).any():
            return False
        greatest = int(greatest_so_far[-1])
    return True


def _refuse(table: AccessTable, name: str, rows: npt.NDArray[np.int64], file: object) -> None:
    if len(rows):
        row = int(rows.min())
        raise InputError("is not possible", file=file, key=f"{name}, row {row}",
                         value=getattr(table, name)[row].item())  # fmt: skip
