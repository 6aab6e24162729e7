"""Results as tables in a terminal, made for somebody who has to decide something."""

from __future__ import annotations

import math
from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from vmexit_sim.opened import Asked
from vmexit_sim.present.terminal import console, table
from vmexit_sim.present.text import (
    count_text,
    number_text,
    share_estimate_text,
    share_text,
    time_text,
)
from vmexit_sim.present.verdicts import direction, how_it_was_run, reduction_text, verdict
from vmexit_sim.statistics import exact
from vmexit_sim.steps import Role, Stage
from vmexit_sim.study.outcome import BlockOutcome, Comparison, PolicyOutcome
from vmexit_sim.units import format_time

GROUPS: tuple[tuple[str, frozenset[str]], ...] = (
    (
        "world switch",
        frozenset({"world switch out", "world switch in", "injection", "end of interrupt"}),
    ),
    (
        "dispatch, decode",
        frozenset(
            {"dispatch", "decode", "batch item", "ring entry", "ring item", "eventfd signal"}
        ),
    ),
    ("to user space, back", frozenset({"to user space", "back to kernel"})),
    ("device", frozenset({"device emulation", "state change", "page refresh"})),
    ("L0", frozenset({"L0: forwarding", "L0: exits of L1"})),
)
"""Stages that tables show as one; waiting, being late and the guest's own part go by their role."""

WIDE = 100
"""Columns of a terminal from which latencies stand side by side."""

WAITING, LATE, GUEST, OTHER = "waiting", "guest late", "guest's own part", "device"
ALWAYS_SHOWN = (*(name for name, _ in GROUPS[:4]), WAITING, GUEST)
"""Other columns stand in a table only if some policy has time in them."""


def comparison(result: Comparison) -> RenderableType:
    """What `compare` shows."""
    parts: list[RenderableType] = [_heading(result.opened, result.replications)]
    for block in result.blocks:
        parts += [Text(), *_block(block)]
    return Group(*parts)


def _heading(opened: Asked, replications: int) -> RenderableType:
    scenario, platform = opened.scenario, opened.platform
    how = (
        (
            "1 replication"
            if replications == 1
            else f"{replications} replications, intervals at 95 %"
        )
        if opened.is_random
        else "nothing is left to chance: exact for this guest and these costs"
    )
    if opened.is_random and replications == 1 and scenario.study == "terminating":
        how += ", so no intervals"
    kind = {
        "terminating": "",
        "steady-state": "; steady state, warm-up left out",
    }[scenario.study]
    lines = [
        Text(scenario.title or scenario.name, style="bold"),
        *([Text(scenario.question)] if scenario.question else []),
        Text(f"platform {platform.name}: {platform.title}"),
        *([Text(f"caution: {platform.caution}")] if platform.caution else []),
        Text(f"seed {scenario.seed}; {how}{kind}"),
    ]
    if scenario.host_cpus is not None:
        shared = scenario.host_cpus
        cpus = f"{shared.count} host CPU{'s' * (shared.count > 1)}"
        lines.append(Text(f"{cpus}, slices of {format_time(shared.time_slice)}"))
    if scenario.costs:
        changed = ", ".join(f"{name} = {value}" for name, value in scenario.costs.items())
        lines.append(Text(f"costs changed: {changed}"))
    return Group(*lines)


def _block(block: BlockOutcome) -> list[RenderableType]:
    parts: list[RenderableType] = [
        Text(f"{block.name} ({count_text(block.accesses)} accesses)", style="bold"),
        _costs(block),
        Text(),
        *(part for shown in _latencies(block) for part in (shown, Text())),
        _stages(block),
        *(part for shown in (_against_first(block), _idling(block), _host_cpus(block))
          if shown is not None for part in (Text(), shown)),
    ]  # fmt: skip
    parts += [Padding(Text(line), (0, 0, 0, 1)) for line in _footnotes(block)]
    return [*parts, Text(verdict(block), style="bold")]


def _name(outcome: PolicyOutcome) -> Text:
    marks = "°" * outcome.policy.is_bound + "†" * outcome.counterfactual
    return Text(outcome.policy.name + marks, style="dim" if outcome.reach == 0 else "")


def _costs(block: BlockOutcome) -> Table:
    scales = list(block.policies[0].completion)
    shown = table(
        f"What it costs (time added by the hypervisor, all vCPUs together, at think × "
        f"{scales[-1]:g}; the guest's own part stands below)",
        "policy", "reaches", "VM exits", "time added",
        f"× {block.policies[0].policy.name}", *(f"done, think × {scale:g}" for scale in scales),
    )  # fmt: skip
    for outcome in block.policies:
        shown.add_row(
            _name(outcome),
            share_text(outcome.reach),
            number_text(outcome.exits),
            time_text(outcome.hypervisor_time),
            number_text(outcome.ratio, 3),
            *(time_text(outcome.completion[scale]) for scale in scales),
        )
    return shown


def _latencies(block: BlockOutcome) -> list[Table]:
    """One table; but one for each latency where intervals stand beside the numbers."""
    which = ["stall", "response"]
    if any(_has_posted(outcome) for outcome in block.policies):
        which.append("effect")
    is_wide = console().width >= WIDE
    if is_wide and all(outcome.hypervisor_time.is_exact for outcome in block.policies):
        return [_latencytable(block, which)]
    return [_latencytable(block, [latency]) for latency in which]


MEANINGS = {
    "stall": "Stall of one access: how long the vCPU could not go on",
    "response": "Response of one access: from when it was due until the vCPU went on",
    "effect": "Effect of one access: from when it was due until the device had changed",
}


def _latencytable(block: BlockOutcome, which: list[str]) -> Table:
    headings = [f"{latency} {name}" for latency in which for name in ("mean", "p50", "p99")]
    title = "Latency of one access" if len(which) > 1 else MEANINGS[which[0]]
    shown = table(title, "policy", *headings)
    for outcome in block.policies:
        cells = (
            time_text(outcome.latency[latency][name], 3)
            for latency in which
            for name in ("mean", "p50", "p99")
        )
        shown.add_row(_name(outcome), *cells)
    return shown


def _has_posted(outcome: PolicyOutcome) -> bool:
    return any(stage.role is Role.BACK for stage in outcome.stage_times)


def _against_first(block: BlockOutcome) -> Table | None:
    """Differences to the first policy, if chance plays a part and there is more than one run."""
    first, *others = block.policies
    if not others or not first.is_random or first.replications < 2:
        return None
    at_once = f"; the {len(others)} intervals of each hold together" if len(others) > 1 else ""
    shown = table(
        f"Less {first.policy.name}'s, on the same draws{at_once}",
        "policy", "time added", "variance reduction", "done", "variance reduction",
        "time added: verdict",
    )  # fmt: skip
    added, done = (block.pairs(metric)[1:] for metric in ("added", "completion"))
    for outcome, by_added, by_done in zip(others, added, done, strict=True):
        shown.add_row(
            _name(outcome), time_text(by_added.difference), reduction_text(by_added.reduction),
            time_text(by_done.difference), reduction_text(by_done.reduction), direction(by_added),
        )  # fmt: skip
    return shown


def _stages(block: BlockOutcome) -> Table:
    groups = [*(name for name, _ in GROUPS), WAITING, LATE, GUEST]
    sums = [dict.fromkeys(groups, 0.0) for _ in block.policies]
    for own, outcome in zip(sums, block.policies, strict=True):
        for stage, estimate in outcome.stage_times.items():
            if stage.is_front or stage.role is Role.DELAY:
                own[_group(stage)] += estimate.value
    columns = [name for name in groups if name in ALWAYS_SHOWN or any(own[name] for own in sums)]
    shown = table("Where the time goes, all accesses together", "policy", *columns)
    for own, outcome in zip(sums, block.policies, strict=True):
        shown.add_row(_name(outcome), *(time_text(exact(own[name])) for name in columns))
    return shown


def _idling(block: BlockOutcome) -> Table | None:
    """What waiting costs, if a policy says how the guest waits."""
    if not any(outcome.idle for outcome in block.policies):
        return None
    shown = table("How the guest waits", "policy", "asleep", "polled, halting", "idle time burnt",
                   "CPU used")  # fmt: skip
    for outcome in block.policies:
        if not outcome.idle:
            shown.add_row(_name(outcome), *["-"] * 4)
            continue
        burnt = sum(t.value for stage, t in outcome.stage_times.items() if stage.role is Role.POLL)
        shown.add_row(
            _name(outcome),
            time_text(outcome.idle["asleep"]),
            time_text(exact(burnt)),
            share_estimate_text(outcome.idle["burnt"]),
            share_estimate_text(outcome.idle["cpu_share"]),
        )
    return shown


def _host_cpus(block: BlockOutcome) -> Table | None:
    """Who had to wait for a CPU, if there may be too few."""
    if not any(outcome.host_cpus for outcome in block.policies):
        return None
    shown = table("Host CPUs", "policy", "utilisation", "steal", "waited in stalls")
    for outcome in block.policies:
        shown.add_row(
            _name(outcome),
            number_text(outcome.host_cpus["utilisation"], 3),
            time_text(outcome.host_cpus["stolen"]),
            time_text(outcome.host_cpus["waited"]),
        )
    return shown


def _why_open(block: BlockOutcome) -> Iterator[str]:
    """Why some latencies have no interval, and what it would take."""
    open_ones = {
        estimate.method
        for outcome in block.policies
        for estimates in outcome.latency.values()
        for estimate in estimates.values()
        if math.isinf(estimate.half_width)
    }
    if any("batch" in method for method in open_ones):
        yield ("± ?: the run is too short for an interval from within it, or its batches are still "
               "correlated; make it longer, or replicate (--reps)")  # fmt: skip
    elif open_ones:
        yield "± ?: a quantile's interval takes 6 replications or more (--reps)"


def _group(stage: Stage) -> str:
    by_role = {Role.WAIT: WAITING, Role.DELAY: LATE, Role.ACCESS: GUEST}
    named = next((name for name, members in GROUPS if stage.name in members), OTHER)
    return by_role.get(stage.role, named)


def _footnotes(block: BlockOutcome) -> list[str]:
    notes = list(how_it_was_run(block))
    if any(outcome.policy.is_bound for outcome in block.policies):
        notes.append("° a bound, not a proposal")
    if any(outcome.counterfactual for outcome in block.policies):
        notes.append("† counterfactual: this guest has no ECAM")
    if any(s.role is Role.DELAY and t.value for o in block.policies
           for s, t in o.stage_times.items()):  # fmt: skip
        notes.append("guest late: between accesses, by interrupts (their exits included), by "
                     "wake-ups, refilled caches, CPUs that others had")  # fmt: skip
    notes += _why_open(block)
    return notes
