"""A calibration for people and for programs: what was measured, what follows, what does not."""

from __future__ import annotations

import math
from itertools import groupby
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from vmexit_sim import __version__
from vmexit_sim.calibration.calibrate import Calibration
from vmexit_sim.calibration.costs import Calibrated
from vmexit_sim.calibration.fit import Fit
from vmexit_sim.calibration.measurement import Measurement
from vmexit_sim.hypervisor.platform import Costs
from vmexit_sim.present.terminal import rows
from vmexit_sim.present.text import count_text, time_text
from vmexit_sim.units import format_time

SHOWN = 24
"""Most measurements that are shown one by one: those that costs come from, then the longest."""


def calibration_report(calibration: Calibration) -> RenderableType:
    """What `calibrate` shows."""
    files = ", ".join(f"{file} ({kind})" for file, kind in calibration.files)
    clock = "not known" if calibration.clock is None else f"{calibration.clock / 1e9:g} GHz"
    source = f" ({calibration.clock_source})" if calibration.clock_source else ""
    parts: list[RenderableType] = [
        Text(f"calibrated from {files}", style="bold"),
        Text(f"what is not measured is as on {calibration.base.name}; clock {clock}{source}"),
        Text(),
        _measurements(calibration),
        Text(),
    ]
    if calibration.fits:
        parts += [_fits(calibration), Text()]
    parts += [_costs(calibration), Text(), _unidentified(calibration), Text()]
    parts += [Text(f"note: {note}") for note in calibration.notes]
    return Group(*parts, Text(verdict(calibration), style="bold"))


def verdict(calibration: Calibration) -> str:
    """How much of a platform was measured."""
    alone = sum(
        bool(cost.combination) and cost.name not in calibration.unidentified
        for cost in calibration.costs
    )
    return (
        f"{calibration.measured} of {len(Costs.model_fields)} costs come from measurements, "
        f"{alone} of them identified one by one; the others share a measured sum, or are those of "
        f"{calibration.base.name}."
    )


def calibration_document(calibration: Calibration) -> dict[str, Any]:
    """The same for programs; times in ps, what is not known is null."""
    return {
        "version": __version__,
        "files": [{"file": file, "kind": kind} for file, kind in calibration.files],
        "base": calibration.base.name,
        "clock_hz": calibration.clock,
        "clock_source": calibration.clock_source,
        "measurements": [
            {"name": m.name, "mean": m.estimate().as_json(), "n": m.n, "sd": m.sd,
             "least": m.least, "greatest": m.greatest, "file": m.file, "row": m.row}
            for m in calibration.measurements
        ],
        "fits": [
            {"measurement": f.measurement.name, "kind": f.kind, "value": f.table, "mean": f.mean,
             "sd": f.sd, "least": f.least, "distance": f.distance, "p_value": f.p_value,
             "log_likelihood": dict(f.log_likelihood), "chosen_by": f.chosen_by}
            for f in calibration.fits
        ],
        "costs": [
            {"name": c.name, "value": c.value, "from": dict(c.combination), "low": c.low,
             "high": c.high, "mark": c.mark, "source": c.source}
            for c in calibration.costs
        ],
        "unidentified": dict(calibration.unidentified),
        "notes": list(calibration.notes),
        "verdict": verdict(calibration),
    }  # fmt: skip


def _measurements(calibration: Calibration) -> Table:
    used = {name for cost in calibration.costs for name in cost.combination}
    order = sorted(calibration.measurements, key=lambda m: (m.name not in used, -_total(m)))
    body = [
        [m.name + "*" * (m.name in used), _count(m.n), time_text(m.estimate()), _time(m.sd),
         _time(m.least), _time(m.greatest), f"{m.file} {m.row}".strip()]
        for m in order[:SHOWN]
    ]  # fmt: skip
    left = len(order) - SHOWN
    more = f"; {left:,} more are not shown" if left > 0 else ""
    headings = ["", "n", "mean", "sd", "least", "greatest", "where"]
    shown = rows(f"Measured (95 % intervals; * costs come from it{more})", headings, body)
    shown.columns[-1].justify = "left"
    return shown


def _fits(calibration: Calibration) -> Table:
    body = [
        [each.measurement.name, each.kind, *_beside(each), _quality(each), each.chosen_by]
        for each in sorted(calibration.fits, key=lambda f: -_total(f.measurement))[:SHOWN]
    ]
    headings = ["", "family", "mean, fit / measured", "sd", "least", "quality", "chosen by"]
    shown = rows("Distributions", headings, body)
    shown.columns[1].justify = shown.columns[-1].justify = "left"
    return shown


def _beside(fitted: Fit) -> list[str]:
    """The distribution's mean, sd and least beside the measured ones."""
    measured = fitted.measurement
    pairs = ((fitted.mean, measured.mean), (fitted.sd, measured.sd), (fitted.least, measured.least))
    return [f"{format_time(own)} / {_time(other)}" for own, other in pairs]


def _quality(fitted: Fit) -> str:
    if fitted.distance is None or fitted.p_value is None:
        return "by moments"
    likelihood = ", ".join(f"{name} {-value:.4g}" for name, value in fitted.log_likelihood.items())
    return f"KS {fitted.distance:.3f}, p = {fitted.p_value:.2g}; -log L/n: {likelihood}"


def _costs(calibration: Calibration) -> Table:
    body = [
        [cost.name, _value(cost), _interval(cost), cost.mark, cost.source]
        for cost in calibration.costs
    ]
    shown = rows("Costs", ["", "mean", "95 % interval", "mark", "from"], body)
    shown.columns[-1].justify = "left"
    return shown


def _value(cost: Calibrated) -> str:
    """A cost's value; of a distribution its mean and shape."""
    if isinstance(cost.value, str):
        return cost.value
    return f"{cost.value['mean']} ({cost.value['kind']}, cv {cost.value['cv']:.3g})"


def _interval(cost: Calibrated) -> str:
    if cost.low is None or cost.high is None:
        return "?" if cost.combination else "-"
    return f"{format_time(max(cost.low, 0.0))} to {format_time(cost.high)}"


def _unidentified(calibration: Calibration) -> Table:
    """What is not identified, costs of one reason together."""
    items = sorted(calibration.unidentified.items(), key=lambda item: item[1])
    body = [
        [", ".join(name for name, _ in own), why]
        for why, own in groupby(items, key=lambda item: item[1])
    ]
    shown = rows("Not identified by what was given", ["cost", "why, and what was taken"], body)
    shown.columns[0].no_wrap = False
    shown.columns[1].justify = "left"
    return shown


def _total(measurement: Measurement) -> float:
    return measurement.mean * (measurement.n or 1)


def _count(n: int | None) -> str:
    return "?" if n is None else count_text(n)


def _time(time: float | None) -> str:
    return "?" if time is None or not math.isfinite(time) else format_time(time)
