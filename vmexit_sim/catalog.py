"""Where the shipped models are, and how a name finds its file.

`models/` is data, not code: platforms, policies, devices, workloads, scenarios, studies and
recorded traces. In a checkout it lies beside the package, in an installed wheel inside it.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from vmexit_sim.errors import InputError, nearest

SUFFIXES = {
    "platforms": (".toml",),
    "policies": (".toml",),
    "devices": (".toml",),
    "workloads": (".toml",),
    "scenarios": (".toml",),
    "studies": (".toml",),
    "traces": (".trace.xz", ".trace.gz", ".trace", ".parquet"),
}
"""The kinds of model, and the endings that their files may have."""

RESULT = ".json"
"""The ending of a saved result, by which it is told from what can be run."""


def is_result(path: str | Path) -> bool:
    """Whether a file's name is that of a saved result."""
    return Path(path).suffix.lower() == RESULT


def refuse_other_than_result(path: Path, key: str) -> None:
    """Refuse a name that is no saved result's, for a file that is to be one.

    Raises:
        InputError: it ends otherwise.
    """
    if not is_result(path):
        raise InputError("is no result file's name", key=key, value=str(path),
                         mend=f"end it with {RESULT}")  # fmt: skip


def models_directory() -> Path:
    """The folder of shipped models."""
    package = Path(__file__).resolve().parent
    inside = package / "models"
    return inside if inside.is_dir() else package.parent / "models"


def names(kind: str) -> dict[str, Path]:
    """Every shipped model of a kind, by name, sorted."""
    folder = models_directory() / kind
    return dict(_names(kind, folder, folder.stat().st_mtime_ns if folder.is_dir() else 0))


@lru_cache(maxsize=64)
def _names(kind: str, folder: Path, changed: int) -> dict[str, Path]:
    """The same of a folder as it was when it last changed."""
    found: dict[str, Path] = {}
    for path in sorted(folder.glob("*")):
        for suffix in SUFFIXES[kind]:
            if path.name.endswith(suffix):
                found[path.name.removesuffix(suffix)] = path
                break
    return found


def file_named(name: str, beside: Path | None = None) -> Path | None:
    """The file that a path means; None: there is none.

    A user may name any file. A file may name only what lies in its own folder or below, links
    followed, so that one from a stranger opens nothing else.

    Args:
        name: the path; a relative one is tried beside the file it stands in.
        beside: the file in which it stands; None: a user states it.

    Raises:
        InputError: it lies outside the folder of the file that names it.
    """
    try:
        if beside is None:
            return Path(name) if Path(name).is_file() else None
        folder = beside.parent.resolve()
        near, here = beside.parent / name, Path(name)
        if not near.resolve().is_relative_to(folder):
            raise _leaves(name)
        if near.is_file():
            return near
        if not here.is_file():
            return None
        if not here.resolve().is_relative_to(folder):
            raise _leaves(name)
        return here
    except (OSError, RuntimeError, ValueError):  # too long, links in a circle, a zero byte
        return None


def _leaves(name: str) -> InputError:
    return InputError("leaves the folder of the file that names it", value=name,
                      mend="put a copy there, or name it on the command line")  # fmt: skip


def find(kind: str, name: str, beside: Path | None = None) -> Path:
    """The file that `name` means: a shipped model, or a path that ends like one.

    Args:
        kind: a key of `SUFFIXES`.
        name: a model's name, or a path; a relative one is tried beside the file it stands in.
        beside: the file in which the name stands, if any.

    Raises:
        InputError: there is no such model or file, or it lies outside the folder of the file that
            names it.
    """
    known = names(kind)
    if name in known:
        return known[name]
    if name.endswith(SUFFIXES[kind]) or "/" in name:
        path = file_named(name, beside)
        if path is None:
            raise InputError("no such file", value=name)
        return path
    singular = {"policies": "policy", "studies": "study"}.get(kind, kind.removesuffix("s"))
    raise InputError(f"is no {singular}", value=name, mend=nearest(name, known))
