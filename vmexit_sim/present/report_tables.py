"""A report's tables: plain text in rows, every estimate with its interval and what that rests on.

A sampled number stands as ``13.6 ± 0.2 µs``, or, where its interval is lopsided (a quantile's), as
``13.6 (13.1 to 14.9) µs``; the table's note says confidence, n and method of each column.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from vmexit_sim.present.colours import PARTS, part_of
from vmexit_sim.present.tables import LATE, MEANINGS
from vmexit_sim.present.text import number_text, share_estimate_text, share_text, time_text
from vmexit_sim.present.verdicts import direction, reduction_text
from vmexit_sim.statistics import Estimate, exact
from vmexit_sim.statistics.text import time_scale
from vmexit_sim.steps import Role, Stage
from vmexit_sim.study.input_uncertainty import UncertainBlock
from vmexit_sim.study.metrics import estimated
from vmexit_sim.study.outcome import BlockOutcome, PolicyOutcome

LATENCY_COLUMNS = ("mean", "p50", "p99", "p99.9")


LOPSIDED = 0.05
"""From this part of its half-width off the middle, an estimate's two ends are given."""


@dataclass(frozen=True, kw_only=True)
class ReportTable:
    """One table.

    Attributes:
        title: its caption.
        headings: of the columns; the first names the rows.
        rows: cells, as many as headings.
        notes: lines below it.
        is_prose: whether columns hold sentences, to be set to the left, rather than numbers.
    """

    title: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()
    is_prose: bool = False


def costs_table(block: BlockOutcome) -> ReportTable:
    """Reach, exits, time added and completion of each policy."""
    first = block.policies[0].policy.name
    scales = list(block.policies[0].completion)
    columns = {
        "VM exits": [o.exits for o in block.policies],
        "time added": [o.hypervisor_time for o in block.policies],
        f"× {first}": [o.ratio for o in block.policies],
        **{f"done, think × {s:g}": [o.completion[s] for o in block.policies] for s in scales},
    }
    table = _table(f"What it costs (think × {scales[-1]:g}, all vCPUs together)", block, columns)
    reach = [share_text(outcome.reach) for outcome in block.policies]
    return replace(
        table,
        headings=(table.headings[0], "reaches", *table.headings[1:]),
        rows=tuple((row[0], share, *row[1:]) for row, share in zip(table.rows, reach, strict=True)),
        notes=(*table.notes, *_marks(block), *_think(scales)),
    )


def against_table(block: BlockOutcome) -> Iterator[ReportTable]:
    """Differences to the first policy, if chance plays a part and there is more than one run."""
    first, *others = block.policies
    if not others or not first.is_random or first.replications < 2:
        return
    added, done = (block.pairs(metric)[1:] for metric in ("added", "completion"))
    rows = tuple(
        (named(o), estimate_text(a.difference), reduction_text(a.reduction),
         estimate_text(d.difference), reduction_text(d.reduction), direction(a))
        for o, a, d in zip(others, added, done, strict=True)
    )  # fmt: skip
    differences = {"time added": [a.difference for a in added],
                   "done": [d.difference for d in done]}  # fmt: skip
    spread = any(not a.difference.is_exact for a in added)
    at_once = f" The {len(others)} intervals of a column hold together." * (
        spread and len(others) > 1
    )
    yield ReportTable(
        title=f"Less {first.policy.name}'s, replication by replication, on the same draws",
        headings=("policy", "time added", "variance reduction", "done", "variance reduction",
                  "time added: verdict"),
        rows=rows,
        notes=(f"{basis(differences)}.{at_once}",
               "Variance reduction: by what factor pairing narrows the difference's variance."),
    )  # fmt: skip


def stage_table(block: BlockOutcome) -> ReportTable:
    """Time of each part of an exit over all accesses; parts without any are left out."""
    sums = [_by_part(outcome) for outcome in block.policies]
    known = dict.fromkeys((*PARTS, *(part for own in sums for part in own), LATE))
    parts = [p for p in known if any(p in own and own[p].value for own in sums)]
    nothing = exact(0.0)
    columns = {part: [own.get(part, nothing) for own in sums] for part in parts}
    table = _table("Where the time goes, all accesses together", block, columns)
    if LATE in columns:
        late = ("guest late: between accesses, by interrupts (their exits included), by wake-ups, "
                "refilled caches, CPUs that others had; not in the figure.")  # fmt: skip
        table = replace(table, notes=(*table.notes, late))
    return table


def latency_tables(block: BlockOutcome) -> Iterator[ReportTable]:
    """Stall and response of one access, and effect where a policy posts any."""
    posted = any(stage.role is Role.BACK for o in block.policies for stage in o.stage_times)
    for which in ("stall", "response", *(("effect",) if posted else ())):
        columns = {name: [o.latency[which][name] for o in block.policies]
                   for name in LATENCY_COLUMNS}  # fmt: skip
        yield _table(MEANINGS[which], block, columns)


def uncertainty_table(block: UncertainBlock) -> ReportTable:
    """The comparison with the calibration's uncertainty in its intervals."""
    first = block.policies[0].policy
    return ReportTable(
        title="With the calibration's uncertainty: intervals hold sampling and calibration",
        headings=("policy", "time added", f"less {first}'s", "by sampling alone", "adds least in"),
        rows=tuple(
            (each.policy, estimate_text(each.added), estimate_text(each.difference),
             estimate_text(each.sampling), "-" if each.best is None else share_text(each.best))
            for each in block.policies
        ),
        notes=(basis({"time added": [each.added for each in block.policies],
                      "by sampling alone": [each.sampling for each in block.policies]}) + ".",),
    )  # fmt: skip


def estimate_text(estimate: Estimate, digits: int = 4) -> str:
    """A number with its unit and interval; both ends where the interval is lopsided."""
    is_time, half = estimate.unit == "ps", estimate.half_width
    middle = (estimate.low + estimate.high) / 2
    if 0 < half < math.inf and abs(middle - estimate.value) > LOPSIDED * half:
        largest = max(abs(estimate.low), abs(estimate.high))
        unit, scale = time_scale(largest) if is_time else ("", 1)
        decimals = max(0, 1 - math.floor(math.log10(half / scale)))
        value, low, high = (
            f"{each / scale:,.{decimals}f}"
            for each in (estimate.value, estimate.low, estimate.high)
        )
        return f"{value} ({low} to {high}) {unit}".rstrip()
    return time_text(estimate, digits) if is_time else number_text(estimate, digits)


def basis(columns: Mapping[str, Sequence[Estimate]]) -> str:
    """What the intervals of some columns rest on: confidence, n and method."""
    by_basis: dict[str, list[str]] = {}
    same = 0
    for name, estimates in columns.items():
        for estimate in estimates:
            if estimate.is_exact or math.isnan(estimate.value):
                continue
            if not estimate.half_width:
                same = estimate.n
                continue
            text = f"no interval (n = {estimate.n:,})"
            if math.isfinite(estimate.half_width):
                text = f"{estimate.confidence * 100:.4g} %, n = {estimate.n:,}, {estimate.method}"
            names = by_basis.setdefault(text, [])
            if name not in names:
                names.append(name)
    alike = f"the same in all of n = {same:,}"
    if by_basis:
        said = "; ".join(f"{', '.join(names)}: {text}" for text, names in by_basis.items())
        return f"Intervals: {said}" + f"; a number without one: {alike}" * bool(same)
    return f"No intervals: {alike}" if same else "Exact: nothing is left to chance"


def named(outcome: PolicyOutcome) -> str:
    """A policy's name, marked if it is a bound (°) or this guest could not use it (†)."""
    return outcome.policy.name + "°" * outcome.policy.is_bound + "†" * outcome.counterfactual


def _table(
    title: str, block: BlockOutcome, columns: Mapping[str, Sequence[Estimate]]
) -> ReportTable:
    rows = [
        (named(outcome), *(estimate_text(column[place]) for column in columns.values()))
        for place, outcome in enumerate(block.policies)
    ]
    return ReportTable(title=title, headings=("policy", *columns), rows=tuple(rows),
                       notes=(f"{basis(columns)}.",))  # fmt: skip


def _marks(block: BlockOutcome) -> Iterator[str]:
    if any(outcome.policy.is_bound for outcome in block.policies):
        yield "° a bound, not a proposal."
    if any(outcome.counterfactual for outcome in block.policies):
        yield "† counterfactual: this guest has no ECAM."


def _think(scales: Sequence[float]) -> Iterator[str]:
    if set(scales) != {1.0}:
        yield "think × 0.1: with the guest's own compute times multiplied by 0.1; likewise others."


def _by_part(outcome: PolicyOutcome) -> dict[str, Estimate]:
    """Each part's time; a sum over stages is taken in each replication, as they go together."""
    stages: dict[str, list[Stage]] = {}
    for stage in outcome.stages:
        if stage.is_front or stage.role is Role.DELAY:
            part = LATE if stage.role is Role.DELAY else part_of(stage.name)
            stages.setdefault(part, []).append(stage)
    found = {}
    for part, own in stages.items():
        names = [f"stage.{stage.name}" for stage in own]
        if len(names) == 1:
            found[part] = outcome.estimate(names[0])
            continue
        sums = [sum(values) for values in zip(*map(outcome.values, names), strict=True)]
        found[part] = estimated(names[0], sums, is_random=outcome.is_random)
    return found


def idle_table(block: BlockOutcome) -> Iterator[ReportTable]:
    """What waiting costs, of the policies that say how the guest waits."""
    waiting = [outcome for outcome in block.policies if outcome.idle]
    if waiting:
        columns = {
            "asleep": [o.idle["asleep"] for o in waiting],
            "idle time burnt": [o.idle["burnt"] for o in waiting],
            "CPU used": [o.idle["cpu_share"] for o in waiting],
        }
        rows = tuple(
            (named(o), estimate_text(o.idle["asleep"]), share_estimate_text(o.idle["burnt"]),
             share_estimate_text(o.idle["cpu_share"]))
            for o in waiting
        )  # fmt: skip
        yield ReportTable(title="How the guest waits", headings=("policy", *columns), rows=rows,
                          notes=(f"{basis(columns)}.",))  # fmt: skip


def cpus_table(block: BlockOutcome) -> Iterator[ReportTable]:
    """Who had to wait for a CPU, if there were too few for the threads of some policy."""
    if any(o.host_cpus and not math.isnan(o.host_cpus["utilisation"].value)
           for o in block.policies):  # fmt: skip
        columns = {
            "utilisation (1 = all busy)": [o.host_cpus["utilisation"] for o in block.policies],
            "steal": [o.host_cpus["stolen"] for o in block.policies],
            "waited in stalls": [o.host_cpus["waited"] for o in block.policies],
        }
        yield _table("Host CPUs", block, columns)
