"""Comparing and running: a scenario's policies on the same guest, from Python."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any, Literal, Unpack, get_args

from vmexit_sim.api.options import at_least, cores, known
from vmexit_sim.api.progress import progress
from vmexit_sim.api.shown import Shown
from vmexit_sim.engine import EngineName
from vmexit_sim.errors import InputError, nearest
from vmexit_sim.measure.records import RunResult
from vmexit_sim.opened import Asked, Loaded, Opened
from vmexit_sim.statistics import Estimate, Precision
from vmexit_sim.study.compare import LARGEST_BUDGET
from vmexit_sim.study.compare import compare as compare_policies
from vmexit_sim.study.input_uncertainty import InputUncertainty
from vmexit_sim.study.input_uncertainty import input_uncertainty as uncertainty_of
from vmexit_sim.study.metrics import refuse_unknown
from vmexit_sim.study.outcome import BlockOutcome, Comparison, PolicyOutcome
from vmexit_sim.study.replication import lowered_for, run_once
from vmexit_sim.study.stated import Changes, Named, stated
from vmexit_sim.study.sweep.work import ROWS, estimates, rows

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure
    from rich.console import RenderableType

DEFAULT = "bunched-and-spread"

Kind = Literal["policies", "stages", "latency", "tail", "waterfall"]
RunKind = Literal["stages", "exits", "resources"]
Latency = Literal["stall", "response", "effect"]

TITLE_WIDTH = 36
"""Characters of a line above a panel, so that panels side by side keep to themselves."""


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class ComparisonResult(Shown):
    """What each policy costs each guest.

    Attributes:
        comparison: as the study has it, with the scenario that was run.
        uncertainty: what the calibration's uncertainty does to it; None: it was not asked for.
        command: the command line that it was made by, where it was read from a file that says so.
    """

    comparison: Comparison
    uncertainty: InputUncertainty | None = None
    command: str = ""

    @property
    def outcomes(self) -> list[BlockOutcome]:
        """One for each guest, in the scenario's order; each holds one for each policy."""
        return self.comparison.blocks

    @property
    def verdict(self) -> str:
        """What the comparison says, in a sentence or two; of several guests a line for each."""
        from vmexit_sim.present.verdicts import verdict

        if len(self.outcomes) == 1:
            return verdict(self.outcomes[0])
        return "\n".join(f"{block.name}: {verdict(block)}" for block in self.outcomes)

    def estimate(self, metric: str, policy: str, block: str | None = None) -> Estimate:
        """One number with its interval.

        Args:
            metric: a name of `vmexit_sim.study.metrics` ("added", "exits", "effect.p99", …), or
                "ratio" or "difference": time added against the first policy's.
            policy: its name.
            block: the guest's name, where there are several.

        Raises:
            InputError: no such metric, policy or guest; the nearest name is told.
        """
        found = estimates(self.outcome(policy, block))
        refuse_unknown(metric, found)
        return found[metric]

    def outcome(self, policy: str, block: str | None = None) -> PolicyOutcome:
        """All that one policy costs one guest.

        Raises:
            InputError: no such policy or guest, or one of several guests to choose.
        """
        policies = {outcome.policy.name: outcome for outcome in self._block(block).policies}
        if policy not in policies:
            raise InputError("is no policy of this comparison", key="policy", value=policy,
                             mend=nearest(policy, policies))  # fmt: skip
        return policies[policy]

    def to_frame(self) -> pd.DataFrame:
        """One row for each guest, policy and metric.

        Columns: `block`, `policy`, `metric`, the estimate (`value`, `low`, `high`, `n`,
        `confidence`, `method`) and its `unit` ("ps", "1", "1/s"). The intervals of one replication
        are unbounded; those of an exact value have no width. `ratio` and `difference` are of the
        time added, against the first policy's, replication by replication.
        """
        import pandas as pd

        return pd.DataFrame(list(rows(self.comparison)), columns=[name for name, _ in ROWS])

    def plot(
        self, kind: Kind = "policies", *, block: str | None = None, log: bool = False,
        of: Latency = "stall", beyond: float = 0.99, access: str = "p50",
    ) -> Figure:  # fmt: skip
        """A figure: ``vmexit-sim figure`` with the same kinds.

        Args:
            kind: "policies", what each adds; "stages", where the vCPU's time goes; "latency", how
                latencies are spread; "tail", what the slowest accesses spend their time on;
                "waterfall", one access. The last three run the guest again.
            block: the guest's name; None: the only one, and of "policies" all side by side.
            log: of "policies", whether the axis of time is logarithmic.
            of: of "latency" and "tail", which latency.
            beyond: of "tail", the quantile from which on an access is slow, between 0 and 1.
            access: of "waterfall", its place in vCPU 0's program order, or a quantile ("p50").

        Raises:
            InputError: no such kind or guest, one of several guests to choose, or a comparison
                from a file, without its guests, that would have to run.
        """
        from vmexit_sim.present.figures import bar_panels, policy_panel, stage_breakdown

        if kind not in get_args(Kind):
            raise InputError("is no kind of figure", key="kind", value=kind,
                             mend=nearest(str(kind), get_args(Kind)))  # fmt: skip
        if kind == "stages":
            return stage_breakdown(self._block(block))
        if kind != "policies":
            return self._drawn_anew(kind, block, of, beyond, access)
        if block is not None or len(self.outcomes) == 1:
            return bar_panels([policy_panel(self._block(block), log=log)])
        return bar_panels([
            policy_panel(one, log=log, title=fill(one.name, TITLE_WIDTH)) for one in self.outcomes
        ])  # fmt: skip

    def _drawn_anew(
        self, kind: Kind, block: str | None, of: Latency, beyond: float, access: str
    ) -> Figure:  # fmt: skip
        from vmexit_sim.present import figures
        from vmexit_sim.study.latencies import latency_spread
        from vmexit_sim.study.tail import tail
        from vmexit_sim.study.waterfall import waterfall

        opened, place = self.comparison.opened, self.outcomes.index(self._block(block))
        if not isinstance(opened, Opened):
            raise InputError("would have to run guests, which a file of results does not hold",
                             key="kind", value=kind, mend="compare them again")  # fmt: skip
        guest = opened.blocks[place]
        if kind == "latency":
            spread = latency_spread(opened, guest, of, jobs=cores(None))
            return figures.latency_figure(spread)
        if kind == "tail":
            return figures.tail_figure(tail(opened, guest, of, beyond, jobs=cores(None)))
        return figures.waterfall_figure(waterfall(opened, guest, access=access))

    def save(self, path: str | Path) -> None:
        """Keep it in a file (JSON), for `load` and for ``vmexit-sim report``.

        Args:
            path: the file; it ends in ``.json``.

        Raises:
            InputError: it has another ending, cannot be written, or would exceed 64 MiB.
        """
        from vmexit_sim.study.result_file import Result, save_result

        save_result(Result(comparison=self.comparison, uncertainty=self.uncertainty,
                           command=self.command), Path(path))  # fmt: skip

    def _block(self, name: str | None) -> BlockOutcome:
        names = [block.name for block in self.outcomes]
        if name is None and len(names) > 1:
            raise InputError("has several guests", key="block", value=names, mend="choose one")
        if name is not None and name not in names:
            raise InputError("is no guest of this comparison", key="block", value=name,
                             mend=nearest(name, names))  # fmt: skip
        return self.outcomes[0 if name is None else names.index(name)]

    def _report(self) -> RenderableType:
        from vmexit_sim.present.tables import comparison

        shown = comparison(self.comparison)
        if self.uncertainty is None:
            return shown
        from rich.console import Group
        from rich.text import Text

        from vmexit_sim.present.uncertainty_tables import uncertainty_report

        return Group(shown, Text(), uncertainty_report(self.uncertainty))

    def _summary(self) -> str:
        opened, n = self.comparison.opened, self.comparison.replications
        guests = len(self.outcomes)
        basis = f"{n} replication{'s' * (n != 1)}" if opened.is_random else "exact"
        return (
            f"{opened.scenario.name} on {opened.platform.name}, {guests} guest{'s' * (guests != 1)}"
            f" under {_counted(opened)}, {basis}"
        )


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class RunOutcome(Shown):
    """One policy, run once, with all there is to see.

    Attributes:
        opened: what was run.
        replication: which repetition of a random scenario.
        results: one for each guest, in the scenario's order.
    """

    opened: Opened
    replication: int
    results: tuple[RunResult, ...]

    def to_frame(self) -> pd.DataFrame:
        """One row for each access; times in ps.

        Columns: `block`, `vcpu`, `row` (place in the vCPU's program order), `operation`, the
        moments `due`, `start`, `resume`, `posted`, `done` (-1: never), `stall`, `exits`, and
        ``stage: …`` for each stage.

        Raises:
            InputError: the run kept no rows.
        """
        import pandas as pd

        columns = [result.to_columns() for result in self.results]
        if not all(columns):
            raise InputError("kept no rows", key="run", mend="run with records=True")
        frames = []
        for (block, _), own in zip(self._pairs(), columns, strict=True):
            frame = pd.DataFrame(own)
            frame.insert(0, "block", block.name)
            frames.append(frame)
        stages = list(dict.fromkeys(name for own in columns for name in own if ":" in name))
        whole = pd.concat(frames, ignore_index=True)
        return whole.fillna(dict.fromkeys(stages, 0)).astype(dict.fromkeys(stages, "int64"))

    def plot(self, kind: RunKind = "stages", *, block: str | None = None) -> Figure:
        """A figure of the run.

        Args:
            kind: "stages", where the vCPUs' time goes, a bar for each guest; "exits", exits over
                time by reason; "resources", locks, servers and threads over time. The last two run
                the guest again, on the reference engine.
            block: of "exits" and "resources", the guest's name; None: the only one.

        Raises:
            InputError: no such kind or guest, or one of several guests to choose.
        """
        import pandas as pd

        from vmexit_sim.present.figures import exits_figure, stage_breakdown, use_figure

        if kind not in get_args(RunKind):
            raise InputError("is no kind of figure", key="kind", value=kind,
                             mend=nearest(str(kind), get_args(RunKind)))  # fmt: skip
        if kind != "stages":
            from vmexit_sim.study.contest import of_one_guest
            from vmexit_sim.study.over_time import over_time

            alone = of_one_guest(self.opened, block)
            told = over_time(alone, alone.blocks[0], alone.policies[0],
                             replication=self.replication)  # fmt: skip
            return exits_figure([told]) if kind == "exits" else use_figure(told)
        parts = [
            (block.name, stage.name, int(total))
            for block, result in self._pairs()
            for stage, total in zip(
                result.summary.stages, result.summary.stage_totals, strict=False
            )
            if stage.is_front
        ]
        return stage_breakdown(pd.DataFrame(parts, columns=["policy", "stage", "time"]))

    def _pairs(self) -> list[tuple[Loaded, RunResult]]:
        return list(zip(self.opened.blocks, self.results, strict=True))

    def _report(self) -> RenderableType:
        from rich.console import Group
        from rich.text import Text

        from vmexit_sim.present.run_tables import run_report

        parts = [[run_report(self.opened, *pair), Text()] for pair in self._pairs()]
        return Group(*(part for pair in parts for part in pair))

    def _summary(self) -> str:
        scenario, count = self.opened.scenario.name, len(self.results)
        return (
            f"{scenario} on {self.opened.platform.name}, {count} guest{'s' * (count != 1)} under "
            f"{self.opened.policies[0].name}, replication {self.replication}"
        )


def compare(
    scenario: Named | Mapping[str, Any] = DEFAULT,
    *,
    policies: Sequence[Named] | None = None,
    precision: str | None = None,
    budget: int = LARGEST_BUDGET,
    input_uncertainty: bool = False,
    engine: EngineName = "auto",
    jobs: int | None = None,
    **changes: Unpack[Changes],
) -> ComparisonResult:
    """Run several policies on the same guest, draw for draw: ``vmexit-sim compare``.

    Args:
        scenario: a shipped scenario, trace or workload; a path of a scenario (TOML), a log of QEMU
            or KVM, or an access table (Parquet); or a scenario's data.
        policies: names or paths; the first is what the others are compared with. None: the
            scenario's own.
        precision: go on with replications until the time that each policy adds is known to this
            part of it ("2%"), or it and all differences to this time ("0.2 us").
        budget: most replications that a precision may take, 1 or more.
        input_uncertainty: also say how well the costs of a calibrated platform were measured, in
            `ComparisonResult.uncertainty`.
        engine: what runs it; the numbers are the same to the last bit.
        jobs: replications that run at a time, on threads; None: as many as there are cores.
        **changes: what to change in the scenario (`Changes`).

    Raises:
        InputError: something named is not there, or does not fit.
        SimulationError: a deadlock.
    """
    wanted = None if precision is None else Precision.parse(precision)
    at_least(1, budget=budget)
    opened = stated(scenario, policies, changes=changes).opened()
    with progress() as tell:
        found = compare_policies(opened, tell.doing, engine=known(engine), jobs=cores(jobs),
                                 precision=wanted, budget=budget)  # fmt: skip
        drawn = (
            uncertainty_of(found, engine=known(engine), jobs=cores(jobs), progress=tell.doing)
            if input_uncertainty
            else None
        )
    return ComparisonResult(comparison=found, uncertainty=drawn)


def load(path: str | Path) -> ComparisonResult:
    """A comparison that `ComparisonResult.save` or ``vmexit-sim compare --output`` kept.

    It tells, draws and reports what the original did. Its guests are not there, so it cannot be
    run on.

    Args:
        path: the file.

    Raises:
        InputError: it cannot be read, is no such file, of a newer format, or damaged.
    """
    from vmexit_sim.study.result_file import load_result

    found = load_result(Path(path))
    return ComparisonResult(comparison=found.comparison, uncertainty=found.uncertainty,
                            command=found.command)  # fmt: skip


def run(
    scenario: Named | Mapping[str, Any] = DEFAULT,
    *,
    policy: Named | None = None,
    replication: int = 0,
    records: bool = True,
    engine: EngineName = "auto",
    **changes: Unpack[Changes],
) -> RunOutcome:
    """Run one policy once: ``vmexit-sim run``.

    Args:
        scenario: as for `compare`.
        policy: a name or a path; None: the scenario's first.
        replication: which repetition of a random scenario, 0 or more.
        records: keep every access's record, for `RunOutcome.to_frame`; memory then grows with the
            number of accesses. False: only of a recording of modest size, as the command line does.
        engine: what runs it; the numbers are the same to the last bit.
        **changes: what to change in the scenario (`Changes`).

    Raises:
        InputError: something named is not there, or does not fit.
        SimulationError: a deadlock.
    """
    at_least(0, replication=replication)
    opened = stated(scenario, None if policy is None else [policy], changes=changes).opened()
    results = tuple(
        run_once(opened, lowered_for(opened, opened.policies[0], block), block, replication,
                 keep_rows=True if records else None, engine=known(engine))
        for block in opened.blocks
    )  # fmt: skip
    return RunOutcome(opened=opened, replication=replication, results=results)


def _counted(opened: Asked) -> str:
    n = len(opened.policies)
    return opened.policies[0].name if n == 1 else f"{n} policies"
