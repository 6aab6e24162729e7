"""Writing files so that nothing is lost and nothing stays half-written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from vmexit_sim.errors import InputError


def check_place(path: Path) -> None:
    """Refuse a place where no file can be put; before a long run, so that it is not in vain.

    Raises:
        InputError: something that is no regular file is there, or the folder is not.
    """
    if path.exists() and not path.is_file():
        raise InputError("is no regular file", file=path, mend="name a file to write")
    if not path.parent.is_dir():
        raise InputError("is in no existing folder", file=path, mend="make the folder first")


def write_whole(path: Path, write: Callable[[Path], None]) -> None:
    """Have a file written beside its place, and put there only when it is complete.

    Args:
        path: where it belongs; what is there must be a regular file, if anything.
        write: writes to the path it is given.

    Raises:
        InputError: it cannot be written; what was there before is still there.
    """
    check_place(path)
    partial = path.with_name(path.name + ".partial")
    try:
        write(partial)
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise InputError(f"cannot be written: {error.strerror or error}", file=path) from None
    except BaseException:  # interrupted, say
        partial.unlink(missing_ok=True)
        raise


def write_content(path: Path, content: str | bytes) -> None:
    """Write a file whole or not at all; text as UTF-8.

    Raises:
        InputError: it cannot be written; what was there before is still there.
    """
    data = content.encode() if isinstance(content, str) else content

    def write(partial: Path) -> None:
        partial.write_bytes(data)

    write_whole(path, write)
