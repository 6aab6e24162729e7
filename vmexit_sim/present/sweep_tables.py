"""Sweeps in a terminal: what would run, how far it is, and what came out."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Group, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from vmexit_sim.present.terminal import console, rows
from vmexit_sim.present.text import count_text
from vmexit_sim.study.metrics import is_better_larger, refuse_unknown
from vmexit_sim.study.sweep import Outcome, Plan
from vmexit_sim.study.sweep.factor import quantity
from vmexit_sim.study.sweep.run import Listing
from vmexit_sim.study.sweep.store import RESULTS
from vmexit_sim.units import format_time

SHOWN_POINTS = 20
"""Most points that a listing shows one by one."""

SHOWN_FAILURES = 5


@contextmanager
def progress_bar(points: int) -> Iterator[Callable[[int, int], None]]:
    """A bar on standard error with the time that is left; yields what to tell of progress."""
    columns = (TextColumn("points"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console(stderr=True), transient=True) as bar:
        task = bar.add_task("points", total=points)
        yield lambda done, of: bar.update(task, completed=done, total=of)


def heading(plan: Plan) -> RenderableType:
    """What a study asks, and of what size it is."""
    study = plan.study
    design = study.design.kind.replace("-", " ")
    parts = [Text(study.title or study.name, style="bold")]
    parts += [Text(study.question)] if study.question else []
    factors = ", ".join(study.factors)
    parts.append(Text(f"{count_text(len(plan.points))} points, {design} over {factors}"))
    return Group(*parts)


def listing(plan: Plan, found: Listing, folder: Path, jobs: int) -> RenderableType:
    """What ``sweep --list`` shows."""
    names = list(plan.study.factors)
    shown = plan.points if len(plan.points) <= SHOWN_POINTS else [
        *plan.points[: SHOWN_POINTS // 2], *plan.points[-SHOWN_POINTS // 2 :]
    ]  # fmt: skip
    body = [
        (
            str(point.number),
            *(_shown(point.values[name]) for name in names),
            _state(found, point.number),
        )
        for point in shown
    ]
    if len(shown) < len(plan.points):
        body.insert(SHOWN_POINTS // 2, ("…", *("…" for _ in names), "…"))
    missing = len(plan.points) - len(found.stored) - len(found.bad)
    said = [f"{count_text(len(found.stored))} stored in {folder}, {count_text(missing)} to run"]
    if found.bad:
        said.append(
            f"{count_text(len(found.bad))} do not fit, the first: {next(iter(found.bad.values()))}"
        )
    if missing and found.seconds is None:
        said.append("three of them took too long to tell how long all will take")
    elif missing and found.seconds is not None:
        said.append(f"about {duration_text(found.seconds / jobs)} on {jobs} "
                    f"core{'s' * (jobs > 1)}, going by three of them; starting up takes a few "
                    "seconds more")  # fmt: skip
    return Group(heading(plan), Text(), rows("Points", ["point", *names, ""], body), Text(),
                 *(Text(line) for line in said))  # fmt: skip


def _state(found: Listing, number: int) -> str:
    return (
        "stored" if number in found.stored else "does not fit" if number in found.bad else "to run"
    )


def _shown(value: Any) -> str:
    found = quantity(value)
    if found is not None and found.unit == "ps":
        return format_time(found.number)
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def report(plan: Plan, outcome: Outcome) -> RenderableType:
    """What ``sweep`` shows when it is through."""
    parts = [heading(plan), Text()]
    if len(outcome.failures) < outcome.points:
        parts += [*_winners(outcome.results.frame, plan.study.metric), Text()]
    parts.append(Text(
        f"{count_text(outcome.computed)} computed in {duration_text(outcome.seconds)}, "
        f"{count_text(outcome.stored)} were stored; all in {outcome.folder / RESULTS}"
    ))  # fmt: skip
    return Group(*parts)


def failed(outcome: Outcome) -> str:
    """What to say of points that failed."""
    shown = list(outcome.failures.items())[:SHOWN_FAILURES]
    lines = [f"  point {number}: {text.strip().splitlines()[-1]}" for number, text in shown]
    if len(outcome.failures) > len(shown):
        lines.append(f"  and {count_text(len(outcome.failures) - len(shown))} more")
    return "\n".join([
        f"{count_text(len(outcome.failures))} of {count_text(outcome.points)} points failed; "
        f"of those that ran, why stands in {outcome.folder / 'failed'}", *lines,
    ])  # fmt: skip


def _winners(frame: pd.DataFrame, metric: str) -> Iterator[RenderableType]:
    """By block: at how many points each policy is best, and what it comes to against the first."""
    refuse_unknown(metric, frame["metric"].unique())
    larger = is_better_larger(metric)
    for block, own in frame.groupby("block", sort=False, observed=True):
        table = own[own["metric"] == metric]
        values = table.pivot(index="point", columns="policy", values="value")
        names = list(dict.fromkeys(table["policy"]))
        usable = own[own["metric"] == "usable"].groupby("policy", observed=True)["value"].min() > 0
        rivals = values[[name for name in names if usable[name]]].dropna(how="all")
        best: Any = {}
        if not rivals.empty:
            best = (rivals.idxmax(axis=1) if larger else rivals.idxmin(axis=1)).value_counts()
        ratios = values.div(values[names[0]], axis=0)
        yield rows(
            f"{block}: {metric} over the points",
            ["policy", "best at", f"× {names[0]}: median", "least", "most"],
            [
                (f"{name}{'' if usable[name] else '°'}",
                 f"{count_text(best.get(name, 0))} points" if usable[name] else "-",
                 *(f"{share:.3g}" if math.isfinite(share) else "-"
                   for share in (ratios[name].median(), ratios[name].min(), ratios[name].max())))
                for name in names
            ],
        )  # fmt: skip
        if not usable.all():
            yield Text(" ° a bound, or nothing that this guest could use")


def listing_document(plan: Plan, found: Listing) -> dict[str, Any]:
    """What ``sweep --list --json`` prints."""
    return {
        "study": plan.study.name,
        "points": [
            {"point": p.number, "values": p.values, "state": _state(found, p.number)}
            for p in plan.points
        ],
        "estimated_seconds_on_one_core": found.seconds,
    }  # fmt: skip


def document(plan: Plan, outcome: Outcome) -> dict[str, Any]:
    """What ``sweep --json`` prints; the results themselves stand in the table."""
    return {
        "study": plan.study.name,
        "results": str(outcome.folder / RESULTS),
        "points": outcome.points,
        "computed": outcome.computed,
        "stored_before": outcome.stored,
        "failures": {str(number): text for number, text in outcome.failures.items()},
        "seconds": outcome.seconds,
    }


def duration_text(seconds: float) -> str:
    """How long something takes a person to wait for."""
    if seconds < 90:
        return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
