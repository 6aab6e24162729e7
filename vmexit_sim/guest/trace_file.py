"""The lines of a log that nobody vouches for: plain, xz or gzip, in bounded memory.

A file is recognised by its first bytes, not by its name. It is unpacked a piece at a time, and a
line beyond `LONGEST_LINE` is handed out cut, so neither a file without line ends nor one that
unpacks to terabytes fills the memory.
"""

from __future__ import annotations

import lzma
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from vmexit_sim.errors import InputError

LONGEST_LINE = 4096
"""Longest line that is looked at, in bytes."""

LARGEST_LOG = 4 * 2**30
"""Most bytes that a log may unpack to."""

_PIECE = 2**18
_XZ_MEMORY = 2**28
_XZ, _GZIP = b"\xfd7zXZ\x00", b"\x1f\x8b"


def log_lines(path: Path) -> Iterator[bytes]:
    """The file's lines, without their ends.

    A line longer than `LONGEST_LINE` comes with its first `LONGEST_LINE` + 1 bytes.

    Raises:
        InputError: the file cannot be read, its compression is damaged or cut short, or it
            unpacks to more than `LARGEST_LOG`.
    """
    try:
        with path.open("rb") as file:
            head = file.read(len(_XZ))
            file.seek(0)
            if head.startswith((_XZ, _GZIP)):
                yield from _split(_unpacked(file, path, is_xz=head == _XZ), path)
            else:
                yield from _split(iter(lambda: file.read(_PIECE), b""), path)
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror or error}", file=path) from None


def _split(pieces: Iterator[bytes], path: Path) -> Iterator[bytes]:
    rest = b""
    total = 0
    for piece in pieces:
        total += len(piece)
        if total > LARGEST_LOG:
            raise InputError("unpacks to more than 4 GiB", file=path, mend="cut the log shorter")
        *lines, tail = piece.split(b"\n")
        if lines:
            lines[0] = rest + lines[0]
            for line in lines:
                yield line[: LONGEST_LINE + 1].removesuffix(b"\r")
            rest = tail
        else:
            rest += tail
        rest = rest[: LONGEST_LINE + 1]
    if rest:
        yield rest


def _unpacked(file: BinaryIO, path: Path, *, is_xz: bool) -> Iterator[bytes]:
    """Pieces of at most `_PIECE` bytes; members that follow each other are one log."""
    try:
        yield from _members_xz(file) if is_xz else _members_gzip(file)
    except (lzma.LZMAError, zlib.error, MemoryError) as error:
        raise InputError(f"cannot be unpacked: {error}", file=path) from None
    except EOFError:
        raise InputError("is cut short: its compressed data do not end", file=path) from None


def _members_xz(file: BinaryIO) -> Iterator[bytes]:
    packed = file.read(_PIECE)
    while packed:
        member = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY)
        while not member.eof:
            if member.needs_input:
                packed = packed or file.read(_PIECE)
                if not packed:
                    raise EOFError
            yield member.decompress(packed, _PIECE)
            packed = b""
        packed = (member.unused_data or file.read(_PIECE)).lstrip(b"\0")


def _members_gzip(file: BinaryIO) -> Iterator[bytes]:
    packed = file.read(_PIECE)
    while packed:
        member = zlib.decompressobj(wbits=31)
        while not member.eof:
            packed = packed or file.read(_PIECE)
            if not packed:
                raise EOFError
            yield member.decompress(packed, _PIECE)
            packed = member.unconsumed_tail
        packed = (member.unused_data or file.read(_PIECE)).lstrip(b"\0")
