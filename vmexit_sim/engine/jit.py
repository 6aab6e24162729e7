"""How the compiled engine is compiled: cached on disk, without Python's lock, and never in the way.

Numba keeps compiled code beside the source, or in the user's cache directory; where neither can be
written it is compiled anew in each process.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import njit

OPTIONS: dict[str, Any] = {
    "nogil": True, "boundscheck": False, "error_model": "numpy", "_nrt": False,
}  # fmt: skip
"""No divisor is 0, so none is asked after. Without `nrt` compiled code owns no memory, so it can
count no references to any either; Numba would do that, atomically, wherever one function hands an
array to another."""


def compiled(function: Callable[..., Any]) -> Any:
    """Compile a function at its first call; keep the code on disk if that is possible."""
    try:
        return njit(**OPTIONS, cache=True)(function)
    except RuntimeError:  # Numba found no directory that it may write
        return uncached(function)


def uncached(function: Callable[..., Any]) -> Any:
    """Compile a function at its first call, for this process only."""
    return njit(**OPTIONS)(function)
