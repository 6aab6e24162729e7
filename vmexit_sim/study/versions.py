"""Versions: of what a result's numbers come from."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from types import MappingProxyType

from vmexit_sim import __version__

PACKAGES = ("numpy", "scipy", "numba", "simpy")
"""What numbers come from beside this package and Python."""

OWN = "vmexit-sim"


@cache
def versions() -> Mapping[str, str]:
    """The versions in this process, by name: `OWN` first, then Python, then `PACKAGES`."""
    found = {OWN: __version__, "Python": platform.python_version()}
    return MappingProxyType({**found, **{name: _version(name) for name in PACKAGES}})


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
