"""A simulated run as ``perf kvm stat report`` would print it: the older layout, with ``+-``.

What reads a host's report reads this, so a calibration can be held against a platform whose costs
are known. It differs from perf's in one thing, and says so in a line of its own: a simulated exit
lasts from leaving the guest to being in it again, world switch included. Its hypercalls give that
switch only if they do nothing else; no tally of exits says so, and whoever simulated them may.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from vmexit_sim.calibration.perf_stat import NULL_CALLS, SIMULATED
from vmexit_sim.measure.records import ExitTally, RunResult
from vmexit_sim.units import MICROSECOND


def perf_kvm_stat(result: RunResult, *, null_calls: bool = False) -> str:
    """A run's VM exits by reason, the longest total first.

    Args:
        result: the run.
        null_calls: whether every hypercall stayed in the kernel and nothing but exit, dispatch and
            entry was charged for it, so that calibrating may take the world switch from them.
    """
    return "\n".join(_lines(result.exits, null_calls)) + "\n"


def _lines(exits: list[ExitTally], null_calls: bool) -> Iterator[str]:
    yield from ("", "Analyze events for all VMs, all VCPUs:", f"# {SIMULATED.decode()}")
    if null_calls:
        yield f"# {NULL_CALLS.decode()}"
    yield ""
    yield (
        f"{'VM-EXIT':>20} {'Samples':>10} {'Samples%':>9} {'Time%':>9} {'Min Time':>11} "
        f"{'Max Time':>11} {'Avg time':>16}"
    )
    yield ""
    samples = sum(tally.samples for tally in exits)
    total = sum(tally.total for tally in exits)
    for tally in sorted(exits, key=lambda tally: (-tally.total, tally.reason)):
        error = tally.sd / math.sqrt(tally.samples) / tally.mean * 100 if tally.total else 0.0
        yield (
            f"{tally.reason:>20} {tally.samples:>10} {tally.samples / samples:>9.2%} "
            f"{tally.total / max(total, 1):>9.2%} {_us(tally.least):>11} {_us(tally.greatest):>11} "
            f"{_us(tally.mean):>11} ( +-{error:>7.2f}% )"
        )
    yield ""
    yield f"Total Samples:{samples}, Total events handled time:{total / MICROSECOND:.2f}us."
    yield ""


def _us(time: float) -> str:
    return f"{time / MICROSECOND:.2f}us"
