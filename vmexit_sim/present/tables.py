"""Results as tables in a terminal, made for somebody who has to decide something."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from itertools import groupby

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from vmexit_sim.hypervisor.idle import HALT_EXIT
from vmexit_sim.measure.records import LATENCIES, RunResult
from vmexit_sim.present.text import (
    count_text,
    number_text,
    share_estimate_text,
    share_text,
    time_text,
)
from vmexit_sim.scenario import Loaded, Opened
from vmexit_sim.statistics import exact
from vmexit_sim.steps import Role, Stage
from vmexit_sim.study.compare import BlockOutcome, Comparison, PolicyOutcome
from vmexit_sim.units import format_time

SHOWN_VCPUS = 16
"""Most vCPUs that stand in a table one by one."""

PLAIN_WIDTH = 118
"""Columns of a table where the terminal's width is not known (a pipe, a file)."""

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

WAITING, LATE, GUEST, OTHER = "waiting", "guest late", "guest's own part", "device"
ALWAYS_SHOWN = (*(name for name, _ in GROUPS[:4]), WAITING, GUEST)
"""Other columns stand in a table only if some policy has time in them."""


def console(*, stderr: bool = False) -> Console:
    """A console that does not squeeze tables where nobody looks through a window."""
    made = Console(stderr=stderr, highlight=False)
    return made if made.is_terminal else Console(stderr=stderr, highlight=False, width=PLAIN_WIDTH)


def comparison(result: Comparison) -> RenderableType:
    """What `compare` shows."""
    parts: list[RenderableType] = [_heading(result.opened, result.replications)]
    for block in result.blocks:
        parts += [Text(), *_block(block)]
    return Group(*parts)


def _heading(opened: Opened, replications: int) -> RenderableType:
    scenario, platform = opened.scenario, opened.platform
    how = (
        (
            "1 replication, so no intervals"
            if replications == 1
            else f"{replications} replications, intervals at 95 %"
        )
        if opened.is_random
        else "nothing is left to chance: exact for this guest and these costs"
    )
    lines = [
        Text(scenario.title or scenario.name, style="bold"),
        *([Text(scenario.question)] if scenario.question else []),
        Text(f"platform {platform.name}: {platform.title}"),
        *([Text(f"caution: {platform.caution}")] if platform.caution else []),
        Text(f"seed {scenario.seed}; {how}"),
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
        *(part for table in _latencies(block) for part in (table, Text())),
        _stages(block),
        *(part for table in (_idling(block), _host_cpus(block)) if table is not None
          for part in (Text(), table)),
    ]  # fmt: skip
    parts += [Padding(Text(line), (0, 0, 0, 1)) for line in _footnotes(block)]
    return [*parts, Text(verdict(block), style="bold")]


def _table(title: str, *headings: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="italic", box=None,
                  pad_edge=False, padding=(0, 2, 0, 0))  # fmt: skip
    for place, heading in enumerate(headings):
        table.add_column(heading, justify="left" if place == 0 else "right", no_wrap=place == 0)
    return table


def _name(outcome: PolicyOutcome) -> Text:
    marks = "°" * outcome.policy.is_bound + "†" * outcome.counterfactual
    return Text(outcome.policy.name + marks, style="dim" if outcome.reach == 0 else "")


def _costs(block: BlockOutcome) -> Table:
    scales = list(block.policies[0].completion)
    table = _table(
        f"What it costs (time added: all vCPUs together, at think × {scales[-1]:g})",
        "policy", "reaches", "VM exits", "time added",
        f"× {block.policies[0].policy.name}", *(f"done, think × {scale:g}" for scale in scales),
    )  # fmt: skip
    for outcome in block.policies:
        table.add_row(
            _name(outcome),
            share_text(outcome.reach),
            number_text(outcome.exits),
            time_text(outcome.hypervisor_time),
            number_text(outcome.ratio, 3),
            *(time_text(outcome.completion[scale]) for scale in scales),
        )
    return table


def _latencies(block: BlockOutcome) -> list[Table]:
    """One table; but one for each latency where intervals stand beside the numbers."""
    which = ["stall", "response"]
    if any(_has_posted(outcome) for outcome in block.policies):
        which.append("effect")
    if all(outcome.hypervisor_time.is_exact for outcome in block.policies):
        return [_latency_table(block, which)]
    return [_latency_table(block, [latency]) for latency in which]


MEANINGS = {
    "stall": "Stall of one access: how long the vCPU could not go on",
    "response": "Response of one access: from when it was due until the vCPU went on",
    "effect": "Effect of one access: from when it was due until the device had changed",
}


def _latency_table(block: BlockOutcome, which: list[str]) -> Table:
    headings = [f"{latency} {name}" for latency in which for name in ("mean", "p50", "p99")]
    title = "Latency of one access" if len(which) > 1 else MEANINGS[which[0]]
    table = _table(title, "policy", *headings)
    for outcome in block.policies:
        cells = (
            time_text(outcome.latency[latency][name], 3)
            for latency in which
            for name in ("mean", "p50", "p99")
        )
        table.add_row(_name(outcome), *cells)
    return table


def _has_posted(outcome: PolicyOutcome) -> bool:
    return any(stage.role is Role.BACK for stage in outcome.stage_times)


def _stages(block: BlockOutcome) -> Table:
    groups = [*(name for name, _ in GROUPS), WAITING, LATE, GUEST]
    sums = [dict.fromkeys(groups, 0.0) for _ in block.policies]
    for own, outcome in zip(sums, block.policies, strict=True):
        for stage, estimate in outcome.stage_times.items():
            if stage.is_front or stage.role is Role.DELAY:
                own[_group(stage)] += estimate.value
    shown = [name for name in groups if name in ALWAYS_SHOWN or any(own[name] for own in sums)]
    table = _table("Where the time goes, all accesses together", "policy", *shown)
    for own, outcome in zip(sums, block.policies, strict=True):
        table.add_row(_name(outcome), *(time_text(exact(own[name])) for name in shown))
    return table


def _idling(block: BlockOutcome) -> Table | None:
    """What waiting costs, if a policy says how the guest waits."""
    if not any(outcome.idle for outcome in block.policies):
        return None
    table = _table("How the guest waits", "policy", "asleep", "polled, halting", "idle time burnt",
                   "CPU used")  # fmt: skip
    for outcome in block.policies:
        if not outcome.idle:
            table.add_row(_name(outcome), *["-"] * 4)
            continue
        burnt = sum(t.value for stage, t in outcome.stage_times.items() if stage.role is Role.POLL)
        table.add_row(
            _name(outcome),
            time_text(outcome.idle["asleep"]),
            time_text(exact(burnt)),
            share_estimate_text(outcome.idle["burnt"]),
            share_estimate_text(outcome.idle["cpu_share"]),
        )
    return table


def _host_cpus(block: BlockOutcome) -> Table | None:
    """Who had to wait for a CPU, if there may be too few."""
    if not any(outcome.host_cpus for outcome in block.policies):
        return None
    table = _table("Host CPUs", "policy", "utilisation", "steal", "waited in stalls")
    for outcome in block.policies:
        table.add_row(
            _name(outcome),
            number_text(outcome.host_cpus["utilisation"], 3),
            time_text(outcome.host_cpus["stolen"]),
            time_text(outcome.host_cpus["waited"]),
        )
    return table


def _group(stage: Stage) -> str:
    by_role = {Role.WAIT: WAITING, Role.DELAY: LATE, Role.ACCESS: GUEST}
    named = next((name for name, members in GROUPS if stage.name in members), OTHER)
    return by_role.get(stage.role, named)


def _footnotes(block: BlockOutcome) -> list[str]:
    notes = []
    if any(outcome.policy.is_bound for outcome in block.policies):
        notes.append("° a bound, not a proposal")
    if any(outcome.counterfactual for outcome in block.policies):
        notes.append("† counterfactual: this guest has no ECAM")
    if any(s.role is Role.DELAY and t.value for o in block.policies
           for s, t in o.stage_times.items()):  # fmt: skip
        notes.append("guest late: between accesses, by interrupts (their exits included), by "
                     "wake-ups, refilled caches, CPUs that others had")  # fmt: skip
    if any(math.isinf(o.latency["stall"]["p99"].half_width) for o in block.policies):
        notes.append("± ?: a quantile's interval takes 6 replications or more (--reps)")
    return notes


def verdict(block: BlockOutcome) -> str:
    """What a block says, in a sentence or two."""
    first, best = block.policies[0], block.best()
    idle = [o.policy.name for o in block.policies if o.reach == 0 and not o.idle]
    unreached = f" No rule of {_listed(idle)} reaches these accesses." if idle else ""
    unreached += _waiting_apart(block)
    if not best:
        return f"None of these policies is one that this guest could use.{unreached}"
    least = best[0]
    time = time_text(least.hypervisor_time)
    if first in best:
        return f"{_nothing_less(block)}{unreached}"
    if len(best) > 1:
        names = _listed([outcome.policy.name for outcome in best], "and")
        if all(outcome.times == least.times for outcome in best):
            return f"{names} add least, and equally much: {time}.{unreached}"
        return f"Undecided between {names}, about {time}; run more replications.{unreached}"
    if not first.hypervisor_time.value:
        return f"{least.policy.name} adds least: {time}; {first.policy.name} adds 0.{unreached}"
    prices = list(_prices(least, first))
    price = f" The price: {'; '.join(prices)}." if prices else ""
    return (
        f"{least.policy.name} adds least: {time}, {number_text(least.ratio, 3)} × the "
        f"{time_text(first.hypervisor_time)} of {first.policy.name}.{price}{unreached}"
    )


def _waiting_apart(block: BlockOutcome) -> str:
    """Which policies are left out since they wait otherwise than the first."""
    apart = block.otherwise_waiting
    if not apart:
        return ""
    free = [o.policy.name for o in block.policies if not o.idle]
    stated = [o.policy.name for o in block.policies if o.idle]
    return (
        f" Waiting is free for {_listed(free, 'and')}, which {'says' if len(free) == 1 else 'say'} "
        f"nothing of it, and in the time of {_listed(stated, 'and')}: so the verdict leaves "
        f"{_listed([o.policy.name for o in apart], 'and')} out."
    )


def _prices(least: PolicyOutcome, first: PolicyOutcome) -> Iterator[str]:
    """What the policy that adds least costs in other coin than the vCPUs' time."""
    late, usual = least.latency["effect"]["p99"], first.latency["effect"]["p99"]
    if late.value > 10 * usual.value:
        yield (
            f"effects come later, 99 % of them within {time_text(late, 3)} "
            f"instead of {time_text(usual, 3)}"
        )
    burnt, before = (o.idle["burnt"].value if o.idle else 0.0 for o in (least, first))
    if burnt > before + 0.05:
        yield f"{share_text(burnt)} of its idle time burns a CPU, instead of {share_text(before)}"
    cores = sum({r.mechanism: r.mechanism.cores_spent for r in least.policy.rules}.values())
    if cores:
        yield "a core of the host does nothing but poll" if cores == 1 else f"{cores} cores poll"


def _nothing_less(block: BlockOutcome) -> str:
    """The verdict where no usable policy can be told to add less than the first."""
    first = block.policies[0]
    others = [o for o in block.best() if o is not first]
    if others and all(o.times == first.times for o in others):
        names = _listed([first.policy.name, *(o.policy.name for o in others)], "and")
        return f"{names} add equally much, and nothing that this guest could use adds less."
    if others:
        names = _listed([first.policy.name, *(o.policy.name for o in others)], "and")
        return f"Undecided between {names}; run more replications."
    said = f"No policy that this guest could use adds less than {first.policy.name}"
    less = [o.policy.name for o in block.policies if o not in block.usable
            and o not in block.otherwise_waiting
            and o.hypervisor_time.value < first.hypervisor_time.value]  # fmt: skip
    return f"{said}; {_listed(less, 'and')} would, if it could." if less else f"{said}."


def _listed(names: list[str], joint: str = "or") -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} {joint} {names[-1]}"


def run_report(opened: Opened, block: Loaded, result: RunResult) -> RenderableType:
    """What `run` shows of one policy on one guest."""
    policy = opened.policies[0]
    summary = result.summary
    head = [
        Text(f"{block.name}: {policy.name} on {opened.platform.name}", style="bold"),
        Text(
            f"{count_text(summary.accesses)} accesses, rules reach "
            f"{share_text(result.reach)}; done after "
            f"{format_time(result.completion)}, of which virtualisation added "
            f"{format_time(result.hypervisor_time)}"
        ),
    ]
    if not policy.idle.is_free:
        head.append(Text(
            f"of its idle time {share_text(result.idle_burnt)} burnt a CPU; the vCPUs used "
            f"{share_text(result.cpu_share)} of their CPUs' time"
        ))  # fmt: skip
    if opened.platform.caution:
        head.append(Text(f"caution: {opened.platform.caution}"))
    if opened.is_random:
        head.append(Text("one replication, so no intervals; `compare` gives them"))
    tables = (_exits, _stage_detail, _latency_detail, _resources, _vcpus)
    return Group(*head, *(part for table in tables for part in (Text(), table(result))))


def _exits(result: RunResult) -> Table:
    handled = [tally.total for tally in result.exits if tally.reason != HALT_EXIT]
    asleep = "; HLT's time is sleep, and in no share" * (len(handled) < len(result.exits))
    table = _table("VM exits, as perf kvm stat shows them (here the world switch is included)"
                   + asleep,
                   "VM-EXIT", "Samples", "Samples%", "Time%", "Min Time", "Max Time",
                   "Avg time")  # fmt: skip
    samples = sum(tally.samples for tally in result.exits) or 1
    total = sum(handled) or 1
    for tally in sorted(result.exits, key=lambda tally: -tally.total):
        table.add_row(
            tally.reason,
            count_text(tally.samples),
            f"{tally.samples / samples:.2%}",
            "-" if tally.reason == HALT_EXIT else f"{tally.total / total:.2%}",
            format_time(tally.least),
            format_time(tally.greatest),
            format_time(tally.mean),
        )
    if not result.exits:
        table.add_row("none", "0", *["-"] * 5)
    return table


def _stage_detail(result: RunResult) -> Table:
    table = _table("Stages", "stage", "whose", "total", "share of stall", "per access")
    stall = result.summary.latencies["stall"].total or 1
    for stage, total in zip(result.summary.stages, result.summary.stage_totals, strict=False):
        if total:
            table.add_row(
                stage.name,
                stage.role.value,
                format_time(int(total)),
                f"{int(total) / stall:.1%}" if stage.is_front else "",
                format_time(int(total) / result.summary.accesses, 3),
            )
    return table


def _latency_detail(result: RunResult) -> Table:
    table = _table("Latency", "", "mean", "p50", "p99", "p99.9", "max")
    summary = result.summary
    for which in LATENCIES:
        sketch = summary.latencies[which]
        cells = (summary.quantile(which, q) for q in (0.5, 0.99, 0.999))
        table.add_row(f"access {which}", format_time(sketch.mean), *map(format_time, cells),
                      format_time(sketch.greatest))  # fmt: skip
    for which in LATENCIES:
        sketch = summary.operations[which]
        if sketch.n:
            cells = (sketch.quantile(q) for q in (0.5, 0.99, 0.999))
            table.add_row(f"operation {which}", format_time(sketch.mean), *map(format_time, cells),
                          format_time(sketch.greatest))  # fmt: skip
    return table


def _resources(result: RunResult) -> Table:
    """One row a name: what every vCPU has one of is shown together."""
    table = _table("Locks, servers and mailboxes", "", "takes", "waits", "utilisation",
                   "mean queue")  # fmt: skip
    for name, uses in groupby(result.resources, key=lambda use: use.name):
        alike = list(uses)
        busy = sum(use.utilisation for use in alike) / len(alike)
        table.add_row(
            f"{name} (× {len(alike)})" if len(alike) > 1 else name,
            count_text(sum(use.takes for use in alike)),
            count_text(sum(use.waits for use in alike)),
            f"{busy:.2%}" if alike[0].tokens else "",
            f"{sum(use.mean_queue for use in alike):.3g}",
        )
    return table


def _vcpus(result: RunResult) -> Table:
    table = _table("vCPUs", "", "done after")
    for who, finish in zip(result.who[:SHOWN_VCPUS], result.finish, strict=False):
        table.add_row(who, format_time(finish))
    if len(result.who) > SHOWN_VCPUS:
        table.add_row(f"the last of {len(result.who)}", format_time(result.completion))
    return table


def rows(title: str, headings: Iterable[str], body: Iterable[Iterable[str]]) -> Table:
    """Any table, in the house's style: the first column to the left, the others to the right."""
    table = _table(title, *headings)
    for row in body:
        table.add_row(*row)
    return table
