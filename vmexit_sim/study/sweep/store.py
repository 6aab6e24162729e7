"""The store: a study's results on disk, each in its place as soon as it is there.

::

    spacing.results/
      points/0f3a…-91c2….arrow     a point: its configuration's key, and its content's checksum
      failed/77be….txt             why a point failed
      quarantine/                  files whose content is not what its name promises
      results.parquet              all of it as one table, when the study is through
      lock                         held by who works on it

A file appears under its name only when it is complete, so a process that is killed at any moment
leaves nothing half-written, and what is stored is never computed again. A file that was damaged
since is told by its checksum, put aside, and computed anew.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import IO, Any

from vmexit_sim.errors import InputError
from vmexit_sim.output import write_content

CHECKSUM = 16
"""Hexadecimal digits of a point's checksum: 64 bits, against damage, not against malice."""

RESULTS = "results.parquet"


class Store:
    """A folder of results.

    Args:
        folder: where; made if it is not there.

    Raises:
        InputError: it cannot be made or written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.points = folder / "points"
        self.failed = folder / "failed"
        self.quarantine = folder / "quarantine"
        try:
            for each in (self.points, self.failed):
                each.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._unusable(error) from None
        self._files: dict[str, Path] = {}

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep others from working on the folder meanwhile, and find what it holds.

        Raises:
            InputError: somebody else does.
        """
        with self._lock_file() as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise InputError("is in use by another run", file=self.folder,
                                 mend="wait for it, or name another folder") from None  # fmt: skip
            except OSError as error:
                raise self._unusable(error) from None
            for folder in (self.folder, self.points, self.failed):
                for partial in folder.glob("*.partial"):  # of a run that was killed
                    partial.unlink()
            self._files = {path.name.partition("-")[0]: path for path in self._all_points()}
            yield

    def _lock_file(self) -> IO[str]:
        try:
            return (self.folder / "lock").open("w")
        except OSError as error:
            raise self._unusable(error) from None

    def _unusable(self, error: OSError) -> InputError:
        return InputError(f"cannot hold results: {error.strerror}", file=self.folder,
                          mend="name another folder with --output")  # fmt: skip

    def _all_points(self) -> Iterator[Path]:
        with os.scandir(self.points) as entries:
            names = sorted(entry.name for entry in entries if entry.name.endswith(".arrow"))
        return (self.points / name for name in names)

    def holds(self, key: str) -> bool:
        """Whether a point's result is there and sound; one that is damaged is put aside.

        Raises:
            InputError: its file cannot be read.
        """
        path = self._files.get(key)
        if path is None:
            return False
        try:
            if _checksum(path.read_bytes()) == path.stem.partition("-")[2]:
                return True
            self.quarantine.mkdir(exist_ok=True)
            path.replace(self.quarantine / path.name)
        except OSError as error:
            raise InputError(f"cannot be read or put aside: {error.strerror}", file=path) from None
        del self._files[key]
        return False

    def has(self, key: str) -> bool:
        """Whether a point's result has been found or stored since the lock was taken."""
        return key in self._files

    def keep(self, key: str, content: bytes) -> None:
        """Store a point's result.

        Raises:
            InputError: it cannot be written; nothing is left half-written.
        """
        path = self.points / f"{key}-{_checksum(content)}.arrow"
        write_content(path, content)
        self._files[key] = path
        (self.failed / f"{key}.txt").unlink(missing_ok=True)

    def keep_failure(self, key: str, failure: str) -> Path:
        """Store why a point failed; it is tried again next time."""
        path = self.failed / f"{key}.txt"
        write_content(path, failure)
        return path

    def table(self, key: str) -> Any:
        """A point's result, as a `pyarrow.Table`.

        Raises:
            KeyError: it is not there.
        """
        import pyarrow as pa

        with pa.OSFile(str(self._files[key])) as file:
            return pa.ipc.open_file(file).read_all()


def _checksum(content: bytes) -> str:
    return sha256(content).hexdigest()[:CHECKSUM]
