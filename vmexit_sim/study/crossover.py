"""Crossover: between two policies along one factor, the value where the winner flips.

A scan of the range finds between which values the sign of the mean paired difference changes, and
roots are closed in on from there (`flips`): none, one or several. All values of the factor meet the
same draws (`contest`), so what is sought is the root of one smooth curve and not of noise. Where
theory knows the curve, its root stands beside the simulated one (`closed_form`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from vmexit_sim.engine import EngineName
from vmexit_sim.errors import InputError
from vmexit_sim.statistics import CONFIDENCE, Estimate
from vmexit_sim.study.closed_form import LAWS, ClosedForm, expected, roots_of
from vmexit_sim.study.contest import SCAN, Contest, Meeting
from vmexit_sim.study.flips import Flip, Stretch, find_flips
from vmexit_sim.study.metrics import unit_of
from vmexit_sim.study.sweep.factor import Factor, Range

if TYPE_CHECKING:
    import pandas as pd

TOLERANCE = 1e-4
"""A root is found to this part of its value, which is far below what sampling leaves open."""

FINE = 60
"""Values of the factor at which theory, which costs nothing, is looked at."""


@dataclass(frozen=True, kw_only=True)
class Crossover:
    """Where the better of two policies changes along a factor.

    Attributes:
        scenario: the scenario's name.
        platform: whose costs.
        block: the guest's name; may be empty.
        first: a policy's name.
        second: the other's. Differences are second less first.
        bounds: which of the two are bounds, which nobody could ship.
        metric: what counts.
        prefers_large: whether more of it is better.
        place: the key of the scenario that is varied.
        range: between which values.
        scan: the values looked at first, ascending.
        meetings: all that was simulated, ascending.
        stretches: the range from low to high, cut where the winner changes or cannot be told.
        flips: where it changes, ascending.
        closed_form: where theory puts them; None: no theory of this comparison.
        replications: behind each difference.
        is_random: whether anything is left to chance; if not, roots are exact to the tolerance.
        confidence: of every interval, for itself.
        tolerance: to which part of its value a root is found.
        seed: root of all randomness.
    """

    scenario: str
    platform: str
    block: str
    first: str
    second: str
    bounds: tuple[str, ...]
    metric: str
    prefers_large: bool
    place: str
    range: Range
    scan: tuple[Meeting, ...]
    meetings: tuple[Meeting, ...]
    stretches: tuple[Stretch, ...]
    flips: tuple[Flip, ...]
    closed_form: ClosedForm | None
    replications: int
    is_random: bool
    confidence: float
    tolerance: float
    seed: int

    @property
    def unit(self) -> str:
        """The metric's unit."""
        return unit_of(self.metric)

    @property
    def factor_unit(self) -> str:
        """The factor's unit: "ps", "1", …."""
        return self.range.low.unit

    def winner(self, sign: int) -> str | None:
        """Who is better where the difference has a sign; None: it cannot be told."""
        if sign == 0:
            return None
        return self.second if (sign > 0) == self.prefers_large else self.first

    def sides(self, flip: Flip) -> tuple[str, str]:
        """Who is better below a flip, and who above."""
        below, above = self.winner(flip.before), self.winner(-flip.before)
        assert below is not None
        assert above is not None
        return below, above

    def exact_of(self, flip: Flip) -> float | None:
        """Where theory puts a flip: its root, if it has as many as were found."""
        if self.closed_form is None or len(self.closed_form.roots) != len(self.flips):
            return None
        return self.closed_form.roots[self.flips.index(flip)]

    def to_frame(self) -> pd.DataFrame:
        """All that was simulated, a row a value of the factor.

        Columns: `value` (in the factor's unit), `in_scan`, and of `first`, `second` and
        `difference` each the estimate, ``_low`` and ``_high`` (in the metric's unit).
        """
        import pandas as pd

        rows = []
        for meeting in self.meetings:
            row: dict[str, object] = {"value": meeting.value, "in_scan": meeting in self.scan}
            for name in ("first", "second", "difference"):
                found: Estimate = getattr(meeting, name)
                row |= {name: found.value, f"{name}_low": found.low, f"{name}_high": found.high}
            rows.append(row)
        return pd.DataFrame(rows)


def crossover(
    data: dict[str, Any],
    path: Path | None = None,
    *,
    first: str,
    second: str,
    along: Factor,
    metric: str = "added",
    block: str | None = None,
    replications: int | None = None,
    confidence: float = CONFIDENCE,
    tolerance: float = TOLERANCE,
    engine: EngineName = "auto",
    jobs: int = 1,
    progress: Callable[[str], None] | None = None,
    elsewhere: Mapping[str, Path | None] = MappingProxyType({}),
) -> Crossover:
    """Find where the better of two policies changes along a factor.

    Args:
        data: a scenario's, as `scenario_data` gives it.
        path: the file it stands in, if any.
        first: a policy's name or path.
        second: another's.
        along: a range of one key of the scenario; how many values it has, so many are scanned
            (`contest.stretch` makes one from words).
        metric: what counts, of `metrics`.
        block: the guest's name, where the scenario has several.
        replications: of a random scenario, at least 2; None: as it states.
        confidence: of every interval.
        tolerance: to which part of its value a root is found.
        engine: what runs it; the numbers are the same.
        jobs: how many replications run at a time.
        progress: told what is being run.
        elsewhere: as for `open_scenario`.

    Raises:
        InputError: something named is not there, a value of the range does not fit, or one
            replication of what is left to chance.
    """
    if not 1e-9 <= tolerance <= 0.1:
        raise InputError("is no tolerance", key="tolerance", value=tolerance,
                         mend="give 1e-9 to 0.1")  # fmt: skip
    contest = Contest(
        data=data, path=path, first=first, second=second, along=along, metric=metric, block=block,
        replications=replications, confidence=confidence, engine=engine, jobs=jobs,
        progress=progress, elsewhere=elsewhere,
    )  # fmt: skip
    span = contest.range
    grid = _grid(span, span.steps or SCAN)
    whole = is_counted(span)
    stretches, flips = find_flips(
        contest.difference, grid, tolerance=tolerance, unit=span.low.unit, whole=whole
    )
    start = contest.start
    return Crossover(
        scenario=start.scenario.name,
        platform=start.platform.name,
        block=start.blocks[0].name,
        first=first,
        second=second,
        bounds=tuple(policy.name for policy in start.policies if policy.is_bound),
        metric=metric,
        prefers_large=contest.prefers_large,
        place=", ".join(along.places),
        range=span,
        scan=tuple(contest.meet(value) for value in grid),
        meetings=tuple(sorted(contest.meetings.values(), key=lambda meeting: meeting.value)),
        stretches=tuple(stretches),
        flips=tuple(flips),
        closed_form=_closed_form(contest),
        replications=start.replications,
        is_random=start.is_random,
        confidence=confidence,
        tolerance=tolerance,
        seed=start.scenario.seed,
    )


def is_counted(span: Range) -> bool:
    """Whether a factor takes only whole numbers, as a batch's size does."""
    return span.is_whole and span.low.unit == "1"


def _grid(span: Range, steps: int) -> list[float]:
    """So many values of a range, ascending, as numbers."""
    low, high = span.low.number, span.high.number
    shares = [n / max(steps - 1, 1) for n in range(steps)]
    if span.scale == "log":
        values = [low * (high / low) ** share for share in shares]
    else:
        values = [low + (high - low) * share for share in shares]
    inner = [float(round(value)) if span.is_whole else value for value in values[1:-1]]
    return sorted({low, *inner, high})


def _closed_form(contest: Contest) -> ClosedForm | None:
    def excess(value: float) -> float | None:
        opened = contest.opened(value)
        one, other = (
            expected(opened, opened.blocks[0], policy, contest.metric) for policy in opened.policies
        )
        return None if one is None or other is None else other - one

    span = contest.range
    if contest.metric not in LAWS or excess(span.low.number) is None:
        return None
    roots = roots_of(excess, _grid(span, FINE), whole=is_counted(span))
    return None if roots is None else ClosedForm(law=LAWS[contest.metric], roots=roots)
