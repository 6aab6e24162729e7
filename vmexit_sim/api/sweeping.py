"""Sweeping: a scenario at many points, as a study says, from Python."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vmexit_sim.api.options import cores, known
from vmexit_sim.api.progress import progress
from vmexit_sim.api.shown import Shown
from vmexit_sim.configuration import checked
from vmexit_sim.engine import EngineName
from vmexit_sim.errors import VmexitError
from vmexit_sim.study.stated import Named
from vmexit_sim.study.sweep import (
    InProcess,
    Outcome,
    Plan,
    Processes,
    Results,
    Study,
    Workers,
    load_study,
    plan,
    run_study,
)

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure
    from rich.console import RenderableType


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class SweepResult(Shown):
    """A study's results at all its points.

    Attributes:
        plan: the points.
        outcome: how many were computed and how many were stored before, and where they are.
        results: the tidy table with its factors and their units; also as xarray.
    """

    plan: Plan
    outcome: Outcome
    results: Results

    def to_frame(self) -> pd.DataFrame:
        """One row for each point, guest, policy and metric.

        Columns: `point`, each factor (times in ps), then as `ComparisonResult.to_frame`, and
        `seed`, versions and the configuration's key.
        """
        return self.results.frame

    def plot(
        self, metric: str = "added", *, along: str | None = None, panels: str | None = None,
        block: str | None = None,
    ) -> Figure:  # fmt: skip
        """A figure of one metric along one factor: a line with its interval for each policy.

        Args:
            metric: what is drawn, of the frame's.
            along: the factor's name; None: the only one that is a number.
            panels: another factor, a panel for each of its values; None: the other one, if any.
            block: the guest's name; None: a panel for each guest.

        Raises:
            InputError: no such metric, guest or factor, a factor that is no number, or several
                results at one place: a line needs one.
        """
        from vmexit_sim.present.figures import sweep_figure

        return sweep_figure(self.results, metric, along=along, panels=panels, block=block)

    def _report(self) -> RenderableType:
        from vmexit_sim.present.sweep_tables import report

        return report(self.plan, self.outcome)

    def _summary(self) -> str:
        name, count = self.plan.study.name, self.outcome.points
        return f"{name}, {count} points over {', '.join(self.plan.study.factors)}"


def sweep(
    study: Named | Mapping[str, Any],
    *,
    folder: str | Path | None = None,
    jobs: int | None = 1,
    engine: EngineName = "auto",
) -> SweepResult:
    """Run a scenario at many points, and store what comes out: ``vmexit-sim sweep``.

    What is stored is not run again, so a study that was interrupted goes on where it was.

    Args:
        study: a study file's path, a shipped study's name, or a study's data.
        folder: where results are stored; None: the study's name with ".results".
        jobs: points that run at a time, each in a process of its own; None: as many as there are
            cores. A script that asks for more than one does so below
            ``if __name__ == "__main__":``, for every process reads it again; and mechanisms
            written in a notebook are not known in other processes.
        engine: what runs it; the numbers are the same to the last bit.

    Raises:
        InputError: the study does not fit, or something named is not there.
        VmexitError: points failed; the others are stored, and `open_results` reads them.
    """
    count = cores(jobs)
    if isinstance(study, Mapping):
        chosen, path = checked(Study, {"name": "study", **study}), None
    else:
        chosen, path = load_study(str(study))
    planned = plan(chosen, path)
    workers: Workers = InProcess() if count == 1 else Processes(count)
    at_once = True
    try:
        with progress() as tell:
            outcome = run_study(planned, Path(folder or f"{chosen.name}.results"), workers=workers,
                                engine=known(engine), progress=tell.through)  # fmt: skip
        at_once = False
    finally:
        workers.close(at_once=at_once)
    if outcome.failures:
        from vmexit_sim.present.sweep_tables import failed

        raise VmexitError(failed(outcome))
    return SweepResult(plan=planned, outcome=outcome, results=outcome.results)
