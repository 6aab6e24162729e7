"""Parquet files that nobody vouches for, read in bounded memory.

A small file may stand for terabytes: runs of equal values are a few bytes however long they are,
and a page packs zeros a thousandfold. So what a file would come to in memory is worked out from
its schema and its number of rows before a column of it is read. Text is read as numbers into a
dictionary, so a long text that stands in every row is in memory once.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vmexit_sim.errors import InputError

LARGEST_TABLE = 8 * 2**30
"""Most bytes that a table may unpack to: 100 million accesses are 7 GiB."""

_INDEX = 4
_WIDTHS = {"int8": 1, "uint8": 1, "bool": 1, "int16": 2, "uint16": 2, "int32": 4, "uint32": 4,
           "float": 4}  # fmt: skip
_WIDEST = 8


def read_parquet(path: Path, columns: Collection[str] | None = None) -> Any:
    """A table in a Parquet file.

    Args:
        path: the file.
        columns: those to read, where the file has them; None: all. Each must hold whole numbers,
            numbers, truth values, moments, or text.

    Returns:
        A `pyarrow.Table`, with the file's own metadata; text is dictionary-encoded.

    Raises:
        InputError: it unpacks to more than `LARGEST_TABLE`, or a column holds something else.
        OSError, pyarrow.ArrowException, ValueError: it cannot be read, or is no Parquet file.
    """
    with open_parquet(path, columns) as opened:
        return opened.read()


@dataclass(frozen=True)
class OpenedParquet:
    """A Parquet file that is known to fit into memory, and of which nothing has been read yet.

    Attributes:
        path: the file.
        names: the columns to read that the file has.
        rows: how many rows it has.
        metadata: what was written beside the columns.
    """

    path: Path
    names: list[str]
    rows: int
    metadata: dict[bytes, bytes]
    _file: Any

    def read(self) -> Any:
        """All of it, as a `pyarrow.Table`."""
        return self._file.read(self.names)

    def in_batches(self, rows: int) -> Iterator[Any]:
        """All of it, as `pyarrow.RecordBatch` es of so many rows at most."""
        yield from self._file.iter_batches(rows, columns=self.names)


@contextmanager
def open_parquet(path: Path, columns: Collection[str] | None = None) -> Iterator[OpenedParquet]:
    """A Parquet file to be read in batches, so that a long one is in memory once.

    Arguments and errors are those of `read_parquet`.
    """
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        schema = file.schema_arrow
        if len(set(schema.names)) < len(schema.names):
            raise InputError("has two columns of one name", file=path)
        chosen = [each for each in schema if columns is None or each.name in columns]
        packed = sum(
            file.metadata.row_group(number).total_byte_size
            for number in range(file.metadata.num_row_groups)
        )
        unpacked = file.metadata.num_rows * sum(_width(each, path) for each in chosen)
    if max(packed, unpacked) > LARGEST_TABLE:
        raise too_large(path)
    text = [each.name for each in chosen if _is_text(each.type)]
    with pq.ParquetFile(path, read_dictionary=text) as file:
        yield OpenedParquet(
            path,
            [each.name for each in chosen],
            file.metadata.num_rows,
            schema.metadata or {},
            file,
        )


def too_large(path: Path) -> InputError:
    """The error for a file that does not fit."""
    return InputError(f"unpacks to more than {LARGEST_TABLE / 2**30:g} GiB", file=path,
                      mend="is it the right file? Split it, if so")  # fmt: skip


def _width(column: Any, path: Path) -> int:
    """Bytes of one of a column's values in memory."""
    import pyarrow.types as types

    if _is_text(column.type) or types.is_dictionary(column.type):
        return _INDEX
    if not types.is_primitive(column.type) and not types.is_null(column.type):
        raise InputError(f"holds {column.type}, and no table of ours does", file=path,
                         key=f"column {column.name}")  # fmt: skip
    return _WIDTHS.get(str(column.type), _WIDEST)


def _is_text(kind: Any) -> bool:
    import pyarrow.types as types

    return bool(types.is_string(kind) or types.is_large_string(kind))
