"""Access tables in files, and what no table may hold."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

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
    import pyarrow.parquet as pq

    try:
        arrow = pq.read_table(path)
        if _META.encode() not in (arrow.schema.metadata or {}):
            raise ValueError("it was not written by vmexit-sim")
        about = json.loads(arrow.schema.metadata[_META.encode()])
        if not isinstance(about, dict) or not all(map(_is_about, about.items())):
            raise ValueError("its metadata are not a table's")
        columns: dict[str, Any] = {
            name: arrow.column(name).to_numpy().astype(dtype, casting="safe")
            for name, dtype in COLUMN_TYPES.items()
            if name not in LATER or name in arrow.column_names
        }
        for name in LATER - columns.keys():
            columns[name] = np.full(arrow.num_rows, DEFAULTS[name], COLUMN_TYPES[name])
        about = {key: tuple(v) if isinstance(v, list) else v for key, v in about.items()}
        table = AccessTable(**columns, **about)
    except (OSError, pa.ArrowException, KeyError, TypeError, ValueError) as error:
        raise InputError(f"is no access table: {error}", file=path,
                         mend="make one with `vmexit-sim trace import`") from None  # fmt: skip
    check_table(table, path)
    return table


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
    rows = np.arange(len(table))
    if len(table) and int(table.vcpu.max()) > 65_535:
        raise InputError("has more than 65,536 vCPUs", file=file, key="vcpu")
    wrong = {
        "vcpu": (np.diff(table.vcpu, prepend=0) < 0) | (table.vcpu < 0),
        "agent": ~np.isin(table.agent, list(Agent)),
        "phase": ~np.isin(table.phase, list(Phase)),
        "kind": ~np.isin(table.kind, list(Kind)),
        "space": ~np.isin(table.space, list(Space)),
        "device": (table.device < 0) | (table.device >= max(len(table.devices), 1)),
        "compute": table.compute < 0,
        "arrival": table.arrival < NEVER,
        "operation": table.operation < -1,
        "emulate": table.emulate < 0,
        "targets": table.targets < 0,
        "needed_by": (table.needed_by <= rows) & (table.needed_by != NEVER),
        "needed_idiom": (table.needed_idiom <= rows) & (table.needed_idiom != NEVER),
    }
    for vcpu in np.unique(table.vcpu):
        of_vcpu = np.flatnonzero((table.vcpu == vcpu) & (table.operation >= 0))
        _, first = np.unique(table.operation[of_vcpu], return_index=True)
        if (np.diff(first) < 0).any():
            wrong["operation"] = np.isin(rows, of_vcpu[first[1:][np.diff(first) < 0]])
    for name, bad in wrong.items():
        if bad.any():
            row = int(np.flatnonzero(bad)[0])
            raise InputError("is not possible", file=file, key=f"{name}, row {row}",
                             value=getattr(table, name)[row].item())  # fmt: skip
