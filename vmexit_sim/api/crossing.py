"""Crossing: where along a factor the better of two policies changes, from Python."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Unpack

from vmexit_sim.api.comparing import DEFAULT
from vmexit_sim.api.options import cores, known
from vmexit_sim.api.progress import progress
from vmexit_sim.api.shown import Shown
from vmexit_sim.engine import EngineName
from vmexit_sim.statistics import Estimate
from vmexit_sim.study.contest import stretch
from vmexit_sim.study.crossover import Crossover
from vmexit_sim.study.crossover import crossover as find_crossover
from vmexit_sim.study.flips import Flip
from vmexit_sim.study.stated import Changes, Named, stated

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure
    from rich.console import RenderableType

TOLERANCE = 1e-3
"""To which part of its value a crossing is found, if the user does not say."""


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class CrossoverResult(Shown):
    """Where along a factor the better of two policies changes.

    Attributes:
        crossover: as the study has it, with all that was simulated.
    """

    crossover: Crossover

    @property
    def outcomes(self) -> tuple[Flip, ...]:
        """Every change of the winner, ascending; empty if there is none in the range."""
        return self.crossover.flips

    @property
    def at(self) -> list[Estimate]:
        """Where the winner changes, in the factor's unit (times in ps), ascending."""
        return [flip.at for flip in self.crossover.flips]

    @property
    def verdict(self) -> str:
        """Which policy is better where, in a sentence or two."""
        from vmexit_sim.present.crossover_verdict import crossover_verdict

        return crossover_verdict(self.crossover)

    def to_frame(self) -> pd.DataFrame:
        """One row for each value of the factor that was simulated.

        Columns: `value` (in the factor's unit, times in ps), `in_scan`, and of `first`, `second`
        and `difference` each the estimate, ``_low`` and ``_high`` (in the metric's unit, ps for
        times). `n`, `confidence` and `method` are those of the difference.
        """
        found = [meeting.difference for meeting in self.crossover.meetings]
        return self.crossover.to_frame().assign(
            n=[e.n for e in found], confidence=[e.confidence for e in found],
            method=[e.method for e in found],
        )  # fmt: skip

    def plot(self) -> Figure:
        """A figure of the difference along the factor, and of where it changes its sign."""
        from vmexit_sim.present.figures import crossover_figure

        return crossover_figure(self.crossover)

    def _report(self) -> RenderableType:
        from vmexit_sim.present.crossover_tables import crossover_report

        return crossover_report(self.crossover)

    def _summary(self) -> str:
        found, count = self.crossover, len(self.outcomes)
        return (
            f"{found.first} or {found.second} by {found.metric} along {found.place}, {count} "
            f"crossing{'s' * (count != 1)}"
        )


def crossover(
    scenario: Named | Mapping[str, Any] = DEFAULT,
    *,
    between: tuple[Named, Named],
    along: str,
    low: str | float,
    high: str | float,
    scale: str = "",
    points: int | None = None,
    metric: str = "added",
    block: str | None = None,
    tolerance: float = TOLERANCE,
    engine: EngineName = "auto",
    jobs: int | None = None,
    **changes: Unpack[Changes],
) -> CrossoverResult:
    """Find where the better of two policies changes: ``vmexit-sim crossover``.

    Args:
        scenario: as for `compare`.
        between: the two policies; differences are the second less the first.
        along: the factor, a key of the scenario by its place, like
            ``blocks.0.guest.between.mean``, ``costs.to_user`` or
            ``parameters.batched-full.max_batch``.
        low: where its range begins: a time with its unit ("100ns"), or a number.
        high: where it ends, in the same unit.
        scale: "linear" or "log"; "": by how far the ends lie apart.
        points: how many values are looked at first; None: as many as the command line looks at.
        metric: what counts, of `vmexit_sim.study.metrics`: "added", "burden.mean", ….
        block: the guest's name, where the scenario has several.
        tolerance: to which part of its value a crossing is found, 1e-9 to 0.1.
        engine: what runs it; the numbers are the same to the last bit.
        jobs: replications that run at a time, on threads; None: as many as there are cores.
        **changes: what to change in the scenario (`Changes`).

    Raises:
        InputError: something named is not there, or does not fit.
        SimulationError: a deadlock.
    """
    meant = stated(scenario, changes=changes)
    first, second = between
    with progress() as tell:
        found = find_crossover(
            meant.data, meant.path, first=str(first), second=str(second),
            along=stretch(along, str(low), str(high), scale=scale, points=points), metric=metric,
            block=block, tolerance=tolerance, engine=known(engine), jobs=cores(jobs),
            elsewhere=meant.elsewhere, progress=tell.doing,
        )  # fmt: skip
    return CrossoverResult(crossover=found)
