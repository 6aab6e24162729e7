"""Engines: what runs a program.

The SimPy engine is the definition of what is right; the compiled engine gives the same numbers, to
the last bit, over a hundred times as fast.
"""

from __future__ import annotations

import logging
import threading
from functools import cache
from typing import Literal

from vmexit_sim.engine.window import Window
from vmexit_sim.errors import InputError
from vmexit_sim.guest.workload import Workload
from vmexit_sim.lowering import Lowered
from vmexit_sim.measure.records import RunResult
from vmexit_sim.streams import Streams

log = logging.getLogger("vmexit_sim")

EngineName = Literal["auto", "compiled", "simpy"]


_choosing = threading.Lock()


def chosen(engine: EngineName) -> Literal["compiled", "simpy"]:
    """The engine that a name means here; "auto" falls back to SimPy where Numba is missing.

    Raises:
        InputError: the compiled engine is asked for, but Numba cannot be imported.
    """
    with _choosing:  # threads that come at the same time are told once
        return _chosen(engine)


@cache
def _chosen(engine: EngineName) -> Literal["compiled", "simpy"]:
    if engine == "simpy":
        return "simpy"
    try:
        import numba  # noqa: F401
    except ImportError as error:
        if engine == "compiled":
            raise InputError(
                f"cannot be used: Numba cannot be imported ({error})",
                key="engine", value=engine, mend="install numba, or take the engine simpy",
            ) from None  # fmt: skip
        log.warning("Numba cannot be imported (%s); running on the slower SimPy engine", error)
        return "simpy"
    return "compiled"


def run(
    lowered: Lowered,
    workload: Workload,
    streams: Streams,
    *,
    engine: EngineName = "auto",
    keep_rows: bool = False,
    block_rows: int | None = None,
) -> RunResult:
    """Run a lowered policy over a workload.

    Args:
        lowered: the program and its feed.
        workload: the guest; must be the one that was lowered for.
        streams: the replication's random streams.
        engine: "simpy", "compiled", or "auto": the compiled one wherever it serves.
        keep_rows: keep every access's record in the result.
        block_rows: accesses of a vCPU per block; see `Window`.

    Raises:
        InputError: the engine cannot be used here.
        SimulationError: a deadlock, or an access that outlives the window.
    """
    window = Window(lowered, workload, streams, block_rows)
    if chosen(engine) == "simpy":
        from vmexit_sim.engine.simpy_engine import Simulation

        return Simulation(lowered, window, keep_rows=keep_rows).run()
    from vmexit_sim.engine.compiled_engine import CompiledSimulation

    return CompiledSimulation(lowered, window, keep_rows=keep_rows).run()
