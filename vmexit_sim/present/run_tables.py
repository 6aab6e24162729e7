"""One run in a terminal: exits, stages, latencies, resources."""

from __future__ import annotations

from itertools import groupby

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from vmexit_sim.hypervisor.idle import HALT_EXIT
from vmexit_sim.measure.records import LATENCIES, RunResult
from vmexit_sim.opened import Loaded, Opened
from vmexit_sim.present.terminal import table
from vmexit_sim.present.text import count_text, share_text
from vmexit_sim.units import format_time

SHOWN_VCPUS = 16
"""Most vCPUs that stand in a table one by one."""


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
    parts = (_exits, _stage_detail, _latency_detail, _resources, _vcpus)
    return Group(*head, *(shown for part in parts for shown in (Text(), part(result))))


def _exits(result: RunResult) -> Table:
    handled = [tally.total for tally in result.exits if tally.reason != HALT_EXIT]
    asleep = "; HLT's time is sleep, and in no share" * (len(handled) < len(result.exits))
    shown = table("VM exits, as perf kvm stat shows them (here the world switch is included)"
                   + asleep,
                   "VM-EXIT", "Samples", "Samples%", "Time%", "Min Time", "Max Time",
                   "Avg time")  # fmt: skip
    samples = sum(tally.samples for tally in result.exits) or 1
    total = sum(handled) or 1
    for tally in sorted(result.exits, key=lambda tally: -tally.total):
        shown.add_row(
            tally.reason,
            count_text(tally.samples),
            f"{tally.samples / samples:.2%}",
            "-" if tally.reason == HALT_EXIT else f"{tally.total / total:.2%}",
            format_time(tally.least),
            format_time(tally.greatest),
            format_time(tally.mean),
        )
    if not result.exits:
        shown.add_row("none", "0", *["-"] * 5)
    return shown


def _stage_detail(result: RunResult) -> Table:
    shown = table("Stages", "stage", "whose", "total", "share of stall", "per access")
    stall = result.summary.latencies["stall"].total or 1
    for stage, total in zip(result.summary.stages, result.summary.stage_totals, strict=False):
        if total:
            shown.add_row(
                stage.name,
                stage.role.value,
                format_time(int(total)),
                f"{int(total) / stall:.1%}" if stage.is_front else "",
                format_time(int(total) / result.summary.accesses, 3),
            )
    return shown


def _latency_detail(result: RunResult) -> Table:
    shown = table("Latency", "", "mean", "p50", "p99", "p99.9", "max")
    summary = result.summary
    for which in LATENCIES:
        sketch = summary.latencies[which]
        cells = (summary.quantile(which, q) for q in (0.5, 0.99, 0.999))
        shown.add_row(f"access {which}", format_time(sketch.mean), *map(format_time, cells),
                      format_time(sketch.greatest))  # fmt: skip
    for which in LATENCIES:
        sketch = summary.operations[which]
        if sketch.n:
            cells = (sketch.quantile(q) for q in (0.5, 0.99, 0.999))
            shown.add_row(f"operation {which}", format_time(sketch.mean), *map(format_time, cells),
                          format_time(sketch.greatest))  # fmt: skip
    return shown


def _resources(result: RunResult) -> Table:
    """One row a name: what every vCPU has one of is shown together."""
    shown = table("Locks, servers and mailboxes", "", "takes", "waits", "utilisation",
                   "mean queue")  # fmt: skip
    for name, uses in groupby(result.resources, key=lambda use: use.name):
        alike = list(uses)
        busy = sum(use.utilisation for use in alike) / len(alike)
        shown.add_row(
            f"{name} (× {len(alike)})" if len(alike) > 1 else name,
            count_text(sum(use.takes for use in alike)),
            count_text(sum(use.waits for use in alike)),
            f"{busy:.2%}" if alike[0].tokens else "",
            f"{sum(use.mean_queue for use in alike):.3g}",
        )
    return shown


def _vcpus(result: RunResult) -> Table:
    shown = table("vCPUs", "", "done after")
    for who, finish in zip(result.who[:SHOWN_VCPUS], result.finish, strict=False):
        shown.add_row(who, format_time(finish))
    if len(result.who) > SHOWN_VCPUS:
        shown.add_row(f"the last of {len(result.who)}", format_time(result.completion))
    return shown
