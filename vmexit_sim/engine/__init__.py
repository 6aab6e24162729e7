"""Engines: what runs a program.

The SimPy engine is the definition of what is right; the compiled engine gives the same numbers, to
the last bit, some eighty times as fast.
"""

from __future__ import annotations

from typing import Literal

from vmexit_sim.engine.window import Window
from vmexit_sim.guest.workload import Workload
from vmexit_sim.lowering import Lowered
from vmexit_sim.measure.records import RunResult
from vmexit_sim.streams import Streams

EngineName = Literal["auto", "compiled", "simpy"]


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
        SimulationError: a deadlock, or an access that outlives the window.
    """
    window = Window(lowered, workload, streams, block_rows)
    if engine == "simpy":
        from vmexit_sim.engine.simpy_engine import Simulation

        return Simulation(lowered, window, keep_rows=keep_rows).run()
    from vmexit_sim.engine.compiled_engine import CompiledSimulation

    return CompiledSimulation(lowered, window, keep_rows=keep_rows).run()
