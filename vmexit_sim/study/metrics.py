"""Metrics: the named numbers that a replication comes to.

==========================  ====  ==================================================================
name                        unit  what
==========================  ====  ==================================================================
``added``                   ps    time that virtualisation adds, all vCPUs together
``exits``                   1     VM exits; ``exits.MSR_WRITE``: those of one reason
``accesses``                1     accesses of the guest
``completion``              ps    when the last vCPU was through; ``completion@0.1``: at think × 0.1
``throughput``              1/s   accesses over completion
``stall.mean``              ps    an access: how long its vCPU could not go on; ``.p50 .p99 .p99.9``
``response.mean``           ps    an access: from when it was due until the vCPU went on; likewise
``effect.mean``             ps    an access: until the device had changed; likewise
``operation.stall.mean``    ps    the same three of whole operations
``burden.mean``             ps    an access: its stall, and its wait in a batch
``stage.to user space``     ps    time in one stage, over all accesses
``idle.asleep``             ps    time that vCPUs slept, having nothing to do
``idle.burnt``              1     share of idle time that kept a CPU busy
``idle.cpu_share``          1     share of the vCPUs' time that they did not sleep
``cpus.utilisation``        1     use of the host's CPUs, if the scenario limits them
``cpus.stolen``             ps    time waited for a CPU between accesses
``cpus.waited``             ps    time waited for a CPU inside stalls
==========================  ====  ==================================================================

A quantile of one replication is a number; over replications their median is estimated, since
quantiles must not be averaged.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from vmexit_sim.errors import InputError, nearest
from vmexit_sim.hypervisor.stages import STEAL, WAIT_CPU
from vmexit_sim.measure.records import LATENCIES, RunResult
from vmexit_sim.statistics import Estimate, exact, mean, median
from vmexit_sim.units import SECOND

QUANTILES = {"p50": 0.5, "p99": 0.99, "p99.9": 0.999}

BATCH_WAIT = "wait in batch"
"""The stage in which a gathered access waits for its batch."""

Metrics = dict[str, float]


def measured(runs: Mapping[float, RunResult], whole: RunResult | None = None) -> Metrics:
    """The metrics of one replication.

    Args:
        runs: its results by think scale; the last is what all else is told of.
        whole: the last with its warm-up, where that was cut off: what is told of the run as a
            whole (completion, idling, CPUs, exits by reason) comes from it.
    """
    main = list(runs.values())[-1]
    whole = main if whole is None else whole
    summary = main.summary
    found: Metrics = {
        "added": main.hypervisor_time,
        "exits": summary.exits,
        "accesses": summary.accesses,
        "completion": whole.completion,
        "throughput": whole.summary.accesses * SECOND / max(whole.completion, 1),
        **{f"completion@{scale:g}": run.completion for scale, run in runs.items()},
        **{f"exits.{tally.reason}": tally.samples for tally in whole.exits},
    }
    for which in LATENCIES:
        found[f"{which}.mean"] = summary.latencies[which].mean
        for name, q in QUANTILES.items():
            found[f"{which}.{name}"] = summary.quantile(which, q)
    if summary.operations["stall"].n:
        for which in LATENCIES:
            sketch = summary.operations[which]
            found[f"operation.{which}.mean"] = sketch.mean
            for name, q in QUANTILES.items():
                found[f"operation.{which}.{name}"] = sketch.quantile(q)
    stages = main.stage_times()
    found["burden.mean"] = found["stall.mean"] + stages.get(BATCH_WAIT, 0) / max(
        summary.accesses, 1
    )
    found |= {f"stage.{name}": time for name, time in stages.items()}
    found |= {
        "idle.asleep": whole.asleep,
        "idle.burnt": whole.idle_burnt,
        "idle.cpu_share": whole.cpu_share,
        "cpus.stolen": whole.stage_times().get(STEAL.name, 0),
        "cpus.waited": whole.stage_times().get(WAIT_CPU.name, 0),
    }
    cpus = whole.resource("CPUs")
    if cpus is not None:
        found["cpus.utilisation"] = cpus.utilisation
    return {name: float(value) for name, value in found.items()}


def unit_of(metric: str) -> str:
    """The unit of a metric: "ps", "1" or "1/s"."""
    if metric == "throughput":
        return "1/s"
    counted = metric.split(".")[0] in ("exits", "accesses")
    shares = ("idle.burnt", "idle.cpu_share", "cpus.utilisation")
    return "1" if counted or metric in shares else "ps"


def is_quantile(metric: str) -> bool:
    """Whether a metric is a quantile, whose median over replications is told."""
    return metric.endswith(tuple(f".{name}" for name in QUANTILES))


def is_better_larger(metric: str) -> bool:
    """Whether more of it is better."""
    return metric in ("throughput", "idle.asleep")


def estimated(metric: str, values: Sequence[float], *, is_random: bool = True) -> Estimate:
    """A metric over replications.

    Args:
        metric: its name.
        values: one for each replication.
        is_random: whether replications can differ; otherwise the value is exact.
    """
    unit = unit_of(metric)
    if not is_random:
        return exact(values[0], unit)
    return median(values, unit=unit) if is_quantile(metric) else mean(values, unit=unit)


def refuse_unknown(metric: str, known: Iterable[str], key: str = "metric") -> None:
    """Refuse a metric that a study does not have.

    Raises:
        InputError: with the nearest name.
    """
    names = list(known)
    if metric not in names:
        usual = [name for name in names if not name.startswith(("stage.", "exits."))]
        close = names if "." in metric else usual
        raise InputError("is no metric of this study", key=key, value=metric,
                         mend=nearest(metric, close))  # fmt: skip
