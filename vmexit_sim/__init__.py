"""vmexit-sim: what VM exits cost a guest, under any policy for reaching its devices.

::

    import vmexit_sim as vs

    print(vs.compare("pci-scan-q35", platform="kvm-2017", policies=["linux-default", "hypercall"]))

The names below are those of `vmexit_sim.api`. They load on first use (PEP 562), so that importing
the package, and with it the command line's help, costs next to nothing; type checkers find them in
``__init__.pyi``.
"""

from typing import Any

__version__ = "0.1.0"

__all__ = [
    "CalibrationResult", "Changes", "ComparisonResult", "CrossoverResult", "Estimate",
    "InputError", "ModelList", "RunOutcome", "SimulationError", "SweepResult", "TraceResult",
    "VmexitError", "__version__", "calibrate", "compare", "crossover", "load", "models", "run",
    "sweep", "trace",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    # Importing by name keeps the layers apart: all modules import this one for its version.
    value = globals()[name] = getattr(import_module("vmexit_sim.api"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
