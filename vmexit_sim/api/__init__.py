"""The Python interface: what the command line answers, as objects.

::

    import vmexit_sim as vs

    result = vs.compare("pci-scan-q35", policies=["linux-default", "hypercall"])
    print(result)          the command line's tables
    result                 in a notebook: the same as HTML
    result.verdict         a sentence or two
    result.to_frame()      tidy pandas, every estimate whole
    result.plot()          a matplotlib figure

Each function is one command; its keywords are that command's options. Everything here is also a
name of `vmexit_sim` itself, which loads this package when it is first asked for one.
"""

from vmexit_sim.api.calibrating import CalibrationResult, calibrate
from vmexit_sim.api.comparing import ComparisonResult, RunOutcome, compare, load, run
from vmexit_sim.api.crossing import CrossoverResult, crossover
from vmexit_sim.api.recorded import TraceResult, trace
from vmexit_sim.api.shipped import ModelList, models
from vmexit_sim.api.sweeping import SweepResult, sweep
from vmexit_sim.errors import InputError, SimulationError, VmexitError
from vmexit_sim.statistics import Estimate
from vmexit_sim.study.stated import Changes

__all__ = [
    "CalibrationResult", "Changes", "ComparisonResult", "CrossoverResult", "Estimate",
    "InputError", "ModelList", "RunOutcome", "SimulationError", "SweepResult", "TraceResult",
    "VmexitError", "calibrate", "compare", "crossover", "load", "models", "run", "sweep", "trace",
]  # fmt: skip
