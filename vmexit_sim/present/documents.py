"""Results as JSON documents.

Plain numbers stand where a program wants one; beside them ``intervals`` holds each estimate whole
(value, low, high, n, confidence, method, unit). Times are in ps.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from vmexit_sim.hypervisor.platform import Cost
from vmexit_sim.measure.records import LATENCIES, RunResult
from vmexit_sim.opened import Asked, Loaded, Opened
from vmexit_sim.statistics import Estimate, Paired
from vmexit_sim.study.outcome import BlockOutcome, Comparison, PolicyOutcome
from vmexit_sim.study.versions import OWN, versions
from vmexit_sim.units import format_time

Document = dict[str, Any]


def comparison(result: Comparison) -> Document:
    """What ``compare --json`` prints.

    `blocks` holds a list of policies for each guest; `policies` holds them all, each with its
    block's name, so that a scenario of one guest needs no second level.
    """
    blocks: list[Document] = [
        {
            "block": block.name,
            "origin": block.origin,
            **_how_it_was_run(block),
            "accesses": block.accesses,
            "policies": [_policy(block, outcome) for outcome in block.policies],
        }
        for block in result.blocks
    ]
    return {
        **_about(result.opened, result.replications, result.made_with),
        "blocks": blocks,
        "policies": [policy for block in blocks for policy in block["policies"]],
    }


def _how_it_was_run(block: BlockOutcome) -> Document:
    """The warm-up and the precision, where a study has them."""
    found: Document = {}
    if block.cut is not None:
        found["warm_up"] = {"accesses": block.cut.accesses, "too_short": block.cut.too_short}
    if block.reached is not None:
        found["precision_reached"] = block.reached
    return found


def _about(opened: Asked, replications: int, made_with: Mapping[str, str]) -> Document:
    return {
        "scenario": opened.scenario.name,
        "platform": opened.platform.name,
        "caution": opened.platform.caution,
        "seed": opened.scenario.seed,
        "replications": replications,
        "version": made_with[OWN],
        "configuration": configuration(opened),
    }


def configuration(opened: Asked) -> Document:
    """Everything that was asked for, as it was effective."""
    return {
        "scenario": opened.scenario.model_dump(mode="json", by_alias=True),
        "costs": {
            name: {"stated": cost.stated, "value": cost.value.model_dump(mode="json"),
                   "unit": "ps", "mark": cost.mark, "source": cost.source}
            for name, cost in opened.platform.costs.items()
        },
        "clock_hz": opened.platform.clock,
    }  # fmt: skip


def _policy(block: BlockOutcome, outcome: PolicyOutcome) -> Document:
    main = list(outcome.completion)[-1]
    latencies = {f"{which}_ps": outcome.latency[which] for which in LATENCIES}
    operations = {f"operation_{k}_ps": v for k, v in outcome.operation_latency.items()}
    return {
        "policy": outcome.policy.name,
        "block": block.name,
        "reach": outcome.reach,
        "counterfactual": outcome.counterfactual,
        "bound": outcome.policy.is_bound,
        "accesses": outcome.accesses,
        "exits": _number(outcome.exits),
        "exits_by_reason": {k: _number(v) for k, v in outcome.exits_by_reason.items()},
        "hypervisor_time_ps": _number(outcome.hypervisor_time),
        "ratio_to_first": _number(outcome.ratio),
        "difference_to_first_ps": _number(outcome.difference),
        "completion_time_ps": _number(outcome.completion[main]),
        "completion_time_by_think_scale_ps": {
            f"{scale:g}": _number(estimate) for scale, estimate in outcome.completion.items()
        },
        **{
            name: {key: _number(estimate) for key, estimate in values.items()}
            for name, values in {**latencies, **operations}.items()
        },
        "stages_ps": {
            stage.name: _number(estimate) for stage, estimate in outcome.stage_times.items()
        },
        "against_first": {
            name: _pair(block.pairs(metric)[block.policies.index(outcome)])
            for name, metric in (
                ("hypervisor_time_ps", "added"),
                ("completion_time_ps", "completion"),
            )
        },
        **_if_any("idle", outcome.idle),
        **_if_any("host_cpus", outcome.host_cpus),
        "intervals": {
            "exits": outcome.exits.as_json(),
            "hypervisor_time_ps": outcome.hypervisor_time.as_json(),
            "ratio_to_first": outcome.ratio.as_json(),
            "difference_to_first_ps": outcome.difference.as_json(),
            "completion_time_ps": outcome.completion[main].as_json(),
            **{
                f"{name}.{key}": estimate.as_json()
                for name, values in {**latencies, **operations}.items()
                for key, estimate in values.items()
            },
            **{
                f"{name}.{key}": estimate.as_json()
                for name, values in (("idle", outcome.idle), ("host_cpus", outcome.host_cpus))
                for key, estimate in values.items()
                if estimate.value == estimate.value
            },
        },
    }


def _pair(pair: Paired) -> Document:
    """Two policies on the same draws; a factor that is no number, or infinite, is null."""
    return {
        "difference": pair.difference.as_json(),
        "variance_reduction": pair.reduction if math.isfinite(pair.reduction) else None,
        "told_apart": pair.is_told,
        "more_replications_would_tell": pair.more_replications,
    }


def _if_any(name: str, estimates: dict[str, Estimate]) -> Document:
    """Estimates under their names, times with their unit; nothing if there are none."""
    if not estimates:
        return {}
    named = {f"{key}_ps" if e.unit == "ps" else key: _number(e) for key, e in estimates.items()}
    return {name: named}


def _number(estimate: Estimate) -> float | int | None:
    """The bare value; whole numbers as such, what is not a number as null."""
    value = estimate.value
    if value != value:
        return None
    return int(value) if value == int(value) else value


def run(opened: Opened, block: Loaded, result: RunResult, replication: int) -> Document:
    """What ``run --json`` prints of one guest."""
    summary = result.summary
    return {
        **_about(opened, 1, versions()),
        "policy": opened.policies[0].name,
        "block": block.name,
        "replication": replication,
        "reach": result.reach,
        "accesses": summary.accesses,
        "exits": summary.exits,
        "exits_by_reason": {
            tally.reason: {"samples": tally.samples, "total_ps": tally.total,
                           "min_ps": tally.least, "max_ps": tally.greatest, "mean_ps": tally.mean}
            for tally in result.exits
        },
        "hypervisor_time_ps": result.hypervisor_time,
        "completion_time_ps": result.completion,
        "finish_ps": result.finish,
        **({} if opened.policies[0].idle.is_free else {"idle": {
            "asleep_ps": result.asleep, "burnt": result.idle_burnt, "cpu_share": result.cpu_share,
        }}),
        "stages_ps": result.stage_times(),
        **{
            f"{which}_ps": {"mean": summary.latencies[which].mean,
                            **{f"p{q * 100:g}": summary.quantile(which, q)
                               for q in (0.5, 0.99, 0.999)},
                            "max": summary.latencies[which].greatest}
            for which in LATENCIES
        },
        "resources": [
            {"name": use.name, "tokens": use.tokens, "takes": use.takes, "waits": use.waits,
             "utilisation": use.utilisation, "mean_queue": use.mean_queue}
            for use in result.resources
        ],
    }  # fmt: skip


def cost_value(cost: Cost) -> tuple[str, str]:
    """A cost's value and unit for people: as stated, or a distribution's parameters."""
    value = cost.value
    if value.is_constant:
        number, _, unit = (cost.stated or format_time(value.mean_ps, 6)).partition(" ")
        if unit == "cycles":
            unit = f"cycles ({format_time(value.mean_ps, 6)})"
        return number, unit
    stated = value.model_dump(exclude={"kind", "samples"})
    shown = ", ".join(
        f"{key} {format_time(part) if isinstance(part, int) else part}"
        for key, part in stated.items()
    )
    return f"{value.kind}: {shown or format_time(value.mean_ps)}", ""
