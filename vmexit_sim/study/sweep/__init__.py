"""Sweeps: one scenario at many points, stored as they come, wherever they run.

::

    study file ─► Plan ─► points ─► tasks ─► workers ─► store ─► Results
    (factors,     (a scenario       (grouped) (here,     (a file   (one table)
     design)       each)                       processes,  each)
                                               a cluster)

`load_study` reads a study, `run_study` runs what is missing of it, `open_results` opens what is
there as pandas or xarray.
"""

from vmexit_sim.study.sweep.factor import Factor
from vmexit_sim.study.sweep.results import Results, open_results
from vmexit_sim.study.sweep.run import Outcome, list_study, run_study
from vmexit_sim.study.sweep.study_file import Plan, Study, load_study, plan
from vmexit_sim.study.sweep.workers import Cluster, InProcess, Processes, Workers

__all__ = [
    "Cluster", "Factor", "InProcess", "Outcome", "Plan", "Processes", "Results", "Study",
    "Workers", "list_study", "load_study", "open_results", "plan", "run_study",
]  # fmt: skip
