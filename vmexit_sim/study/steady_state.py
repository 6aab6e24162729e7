"""Steady state: questions of the long run, whose answers must not depend on how a run began.

An empty system answers its first accesses faster than a busy one. Where the question is of the
long run, the warm-up is found and left out::

    latency   ....oooOOOoOOoOOOooOOOoOOOOoooOOOoOOO
              '-cut-'                         the i-th access of each vCPU, averaged over vCPUs
                     what estimates rest on    and over the pilot's replications

The cut is MSER-5's, on the mean latency of the i-th access (until both the vCPU has gone on and
the device has changed). There is one for all policies and replications of a guest, the latest of
all policies, so that policies are compared over the same accesses. A boot is no such question:
cutting anything off it would be wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from vmexit_sim.measure.records import Records, RunResult, Summary
from vmexit_sim.statistics import warm_up

PILOT = 10
"""Most replications on which the warm-up is looked for."""

Latencies = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Cut:
    """What is left out of a steady-state study.

    Attributes:
        accesses: of each vCPU, from its start.
        too_short: the run gives no sign that its warm-up is over: what is told of the long run
            may still be of its beginning.
    """

    accesses: int = 0
    too_short: bool = False


def mean_latencies(results: Sequence[RunResult]) -> Latencies:
    """Latency of each vCPU's i-th access, averaged over vCPUs and replications, in ps.

    As long as the vCPU that made fewest accesses; interrupt contexts are no vCPUs. The runs must
    have kept their rows.
    """
    series = [
        latencies
        for result in results
        for vcpu, latencies in _by_vcpu(result).items()
        if vcpu < result.vcpus
    ]
    least = min(len(latencies) for latencies in series)
    means: Latencies = np.mean([latencies[:least] for latencies in series], axis=0)
    return means


def find_cut(series: Sequence[Latencies]) -> Cut:
    """One cut for several policies: the latest that any of them needs.

    Args:
        series: of each policy, as `mean_latencies` has it.
    """
    found = [warm_up(latencies) for latencies in series]
    return Cut(
        accesses=max((each.cut for each in found), default=0),
        too_short=any(each.too_short for each in found),
    )


def trimmed(result: RunResult, cut: Cut, *, keep_rows: bool = False) -> RunResult:
    """A run without its warm-up, its rows dropped unless they are to be kept.

    What is told of single accesses and of stages is of those behind the cut; exits by reason,
    resources and finishing times are still the whole run's.
    """
    summary = Summary(result.summary.stages, keep_rows)
    begun: dict[int, int] = {}
    skip = _skipping(result, cut)
    for block in sorted(result.summary.rows, key=lambda block: (block.vcpu, block.first)):
        skipped = skip(block)
        if skipped:
            begun[block.vcpu] = int(block.operation[skipped - 1])
        summary.add(_behind(block, skipped, begun.get(block.vcpu, -1)))
    summary.finish()
    return replace(result, summary=summary)


def latencies_in_order(result: RunResult, which: str, cut: Cut) -> npt.NDArray[np.int64]:
    """One latency of all accesses behind the cut, in the order in which they were due, in ps."""
    due, values = [], []
    skip = _skipping(result, cut)
    for block in result.summary.rows:
        kept = slice(skip(block), None)
        due.append(block.due[kept])
        values.append(block.latency(which)[kept])
    order = np.argsort(np.concatenate(due), kind="stable")
    return np.concatenate(values)[order]


def _skipping(result: RunResult, cut: Cut) -> Callable[[Records], int]:
    """How many of a block's first accesses the cut leaves out.

    Of a vCPU so many as it says; of an interrupt context, whose accesses come at another pace,
    those that were due before the last vCPU's warm-up was over.
    """
    own = [block for block in result.summary.rows if block.vcpu < result.vcpus]
    begins = [
        int(block.due[cut.accesses - block.first])
        for block in own
        if 0 <= cut.accesses - block.first < len(block.due)
    ]
    over = max(begins, default=0)

    def skipped(block: Records) -> int:
        if block.vcpu < result.vcpus:
            return min(max(cut.accesses - block.first, 0), len(block.due))
        return int(np.searchsorted(block.due, over)) if cut.accesses else 0

    return skipped


def _by_vcpu(result: RunResult) -> dict[int, Latencies]:
    parts: dict[int, list[Latencies]] = {}
    for block in sorted(result.summary.rows, key=lambda block: (block.vcpu, block.first)):
        through = np.maximum(block.resume, block.done) - block.due
        parts.setdefault(block.vcpu, []).append(through.astype(np.float64))
    return {vcpu: np.concatenate(blocks) for vcpu, blocks in parts.items()}


def _behind(block: Records, skipped: int, begun: int) -> Records:
    """A block without its first rows; what is left of an operation begun before is none."""
    columns = {
        name: getattr(block, name)[skipped:]
        for name in ("operation", "due", "start", "resume", "stall", "posted", "done", "exits",
                     "stages")
    }  # fmt: skip
    columns["operation"] = np.where(columns["operation"] == begun, -1, columns["operation"])
    return replace(block, first=block.first + skipped, **columns)
