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


def find(kind: str, name: str, beside: Path | None = None) -> Path:
    """The file that `name` means: a shipped model, or a path that ends like one.

    Args:
        kind: a key of `SUFFIXES`.
        name: a model's name, or a path; a relative one is tried beside the file it stands in.
        beside: the file in which the name stands, if any.

    Raises:
        InputError: there is no such model or file.
    """
    known = names(kind)
    if name in known:
        return known[name]
    if name.endswith(SUFFIXES[kind]) or "/" in name:
        for path in ([beside.parent / name] if beside else []) + [Path(name)]:
            if path.is_file():
                return path
        raise InputError("no such file", value=name)
    singular = {"policies": "policy", "studies": "study"}.get(kind, kind.removesuffix("s"))
    raise InputError(f"is no {singular}", value=name, mend=nearest(name, known))
