"""Where a platform's numbers come from, and what each means for a verdict."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from vmexit_sim.hypervisor.platform import MARKS, Cost, Costs, Platform
from vmexit_sim.present.documents import cost_value
from vmexit_sim.present.terminal import rows
from vmexit_sim.present.text import time_text
from vmexit_sim.present.verdicts import told_apart
from vmexit_sim.statistics import Estimate, Paired
from vmexit_sim.study.sensitivity import STEP, Sensitivity, Weight
from vmexit_sim.units import format_time

Document = dict[str, Any]


def platform_report(platform: Platform, found: Sensitivity) -> RenderableType:
    """All costs of a platform: value, mark, interval, weight in the verdict, source."""
    weights = {weight.cost: weight for weight in found.weights}
    body = []
    for name, cost in platform.costs.items():
        value, unit = cost_value(cost)
        body.append((name, f"{value} {unit}".strip(), cost.mark, interval_text(cost),
                     change_text(weights[name], found), cost.source))  # fmt: skip
    shown = rows(
        f"Costs; weight: what {STEP * 100:.0f} % more of it (of 0: of a world switch) does to the "
        f"difference; minus: for {found.second}",
        ["cost", "value", "mark", "95 %", "weight", "source"], body,
    )  # fmt: skip
    shown.columns[2].justify = "center"
    shown.columns[5].justify = "left"
    marks = {cost.mark for _, cost in platform.costs.items()}
    return Group(
        Text(f"{platform.name}: {platform.title}", style="bold"),
        Text(_verdict(found)),
        Text(),
        shown,
        Text(),
        *(Text(f"[{mark}] {meaning}") for mark, meaning in MARKS.items() if mark in marks),
    )


def cost_report(platform: Platform, name: str, found: Sensitivity) -> RenderableType:
    """One cost, with everything that is known of it."""
    cost: Cost = getattr(platform.costs, name)
    (weight,) = found.weights
    value, unit = cost_value(cost)
    lines = [
        f"value: {value} {unit}".rstrip() + f" [{cost.mark}] {MARKS[cost.mark]}",
        f"source: {cost.source}",
    ]
    if cost.interval is not None:
        lines.append(f"95 % interval of its mean: {interval_text(cost)}")
    lines += _measurements(platform, cost)
    lines += [_verdict(found), f"weight: {_weight_text(weight, found)}", *_threshold(weight)]
    return Group(
        Text(f"{name} on {platform.name}: {meaning(name)}", style="bold"),
        *(Text(line) for line in lines),
    )


def document(platform: Platform, found: Sensitivity) -> Document:
    """The same as data; times in ps."""
    weights = {weight.cost: weight for weight in found.weights}
    return {
        "platform": platform.name,
        "block": found.block,
        "first": found.first,
        "second": found.second,
        "metric": found.metric,
        "difference": found.difference.as_json(),
        "costs": {
            name: {
                "mean_ps": cost.value.mean_ps,
                "value": cost.value.model_dump(mode="json"),
                "stated": cost.stated,
                "mark": cost.mark,
                "source": cost.source,
                "interval_ps": None if cost.interval is None else list(cost.interval),
                "from": dict(cost.combination),
                "step_ps": weights[name].step,
                "change_of_difference": weights[name].change,
                **_threshold_document(weights[name]),
            }
            for name, cost in platform.costs.items()
            if name in weights
        },
    }


def interval_text(cost: Cost) -> str:
    """The interval of a cost's mean, if it is known."""
    if cost.interval is None:
        return ""
    shown = " to ".join(format_time(end) for end in cost.interval)
    return f"{shown}, its split not in it" if cost.mark == "D" else shown


def change_text(weight: Weight, found: Sensitivity) -> str:
    """How much a step moves the difference, as a part of it."""
    if not weight.change:
        return "0"
    base = found.difference.value
    return f"{weight.change / abs(base):+.2%}".replace("%", " %") if base else "turns it"


def _weight_text(weight: Weight, found: Sensitivity) -> str:
    step = f"{format_time(weight.step)} more of it"
    if not weight.change:
        return f"{step} changes nothing"
    moved = time_text(Estimate(weight.change, weight.change, weight.change, 1, "exact"))
    return f"{step} changes the difference by {moved} ({change_text(weight, found)})"


def _verdict(found: Sensitivity) -> str:
    pair = Paired(first=found.first, second=found.second, difference=found.difference,
                  reduction=float("nan"))  # fmt: skip
    return f"verdict on {found.block}, by {found.metric}: {told_apart(pair)}"


def _measurements(platform: Platform, cost: Cost) -> Iterator[str]:
    for name, weight in cost.combination.items():
        measured = platform.measurements[name]
        n = "" if measured.n is None else f", n = {measured.n:,}"
        error = "" if measured.error is None else f" ± {format_time(measured.error)} (std. error)"
        where = ", ".join(part for part in (measured.file, measured.row) if part)
        yield f"from {weight:+g} × {name}: {format_time(measured.mean)}{error}{n}; {where}"


def _threshold(weight: Weight) -> Iterator[str]:
    found = weight.threshold
    if found is None:
        return
    for side, at in (("below", found.below), ("above", found.above)):
        if at is not None:
            yield f"the verdict changes {side} {time_text(at)}"
    if not found.found:
        low, high = (format_time(end) for end in found.searched)
        yield f"the verdict does not change from {low} to {high}"


def _threshold_document(weight: Weight) -> Document:
    if weight.threshold is None:
        return {}
    return {
        "verdict_changes": {
            side: None if at is None else at.as_json()
            for side, at in (("below", weight.threshold.below), ("above", weight.threshold.above))
        }
    }


def meaning(cost: str) -> str:
    """What a cost is for, as its class says; nothing where Python was told to keep no docstrings.

    Args:
        cost: its name.
    """
    told = " ".join((Costs.__doc__ or "").split())
    return told.partition(f" {cost}: ")[2].partition(". ")[0].rstrip(".").replace("`", "")
