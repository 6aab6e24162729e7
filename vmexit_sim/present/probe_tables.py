"""What was measured through /dev/kvm, for people and for programs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from vmexit_sim import __version__
from vmexit_sim.present.terminal import rows
from vmexit_sim.present.text import number_text, time_text
from vmexit_sim.probe import probes as p
from vmexit_sim.probe.calibration import Calibration
from vmexit_sim.probe.composites import ITEM, LOOP
from vmexit_sim.probe.probes import PROBES, Measured, Probe
from vmexit_sim.probe.survey import Survey
from vmexit_sim.probe.validation import WITHIN, Prediction
from vmexit_sim.statistics import median
from vmexit_sim.statistics.text import number

RATIOS = (
    ("an MMIO read that exits", p.MMIO_WAS_READ, "a read of a read-only page", p.PAGE_WAS_READ),
    ("a port write to user space", p.PORT_WRITE, "one to an ioeventfd", p.PORT_EVENTFD),
    ("an MMIO write to user space", p.MMIO_WRITTEN, "a coalesced one", p.COALESCED),
)
"""What people ask first: one access beside another that does without something."""


def probe_report(survey: Survey, calibration: Calibration | None = None) -> RenderableType:
    """Every probe, the ratios people ask for, and what could not be measured.

    Args:
        survey: what was measured.
        calibration: what costs follow from it; None: nothing is said of them.
    """
    body = [_row(probe, survey) for probe in PROBES if _has_time(survey, probe.name)]
    parts: list[RenderableType] = [
        Text("Exits measured on this host through /dev/kvm", style="bold"),
        Text(survey.host.text),
        Text(),
        rows(
            "One iteration over the loop around it: median of blocks, 95 % interval",
            ["probe", "over the loop", "the loop", "exits", "items an exit", "blocks"],
            body,
        ),
        Text(),
        *(Text(line) for line in _notes(survey)),
    ]
    if calibration is not None:
        parts += [Text(), *(Text(line) for line in _calibrated(calibration))]
    parts += [Text(), *(Text(line, style="bold") for line in ratio_lines(survey))]
    return Group(*parts)


def validation_report(found: Sequence[Prediction]) -> RenderableType:
    """Predictions from single accesses beside what the same host took."""
    headings = ["guest", "mechanism", "predicted", "measured", "off by", "blocks"]
    body = [
        [
            each.name,
            each.policy,
            time_text(each.predicted),
            "-" if each.measured is None else time_text(each.measured),
            _off(each),
            "-" if each.measured is None else _blocks(each.measured.n, each.disturbed),
        ]
        for each in found
    ]
    return Group(
        rows("Composite guests: time of one access, guest compute included", headings, body),
        Text(),
        *(Text(f"{each.name}: not measured, {each.why}") for each in found if not each.measured),
        Text(verdict(found), style="bold"),
    )


def verdict(found: Sequence[Prediction]) -> str:
    """How many predictions hold, and which don't."""
    judged = [each for each in found if each.measured is not None]
    missed = [each for each in judged if not each.holds]
    if not judged:
        return "No composite guest could be measured here."
    worst = max(judged, key=lambda each: abs(each.error))
    if not missed:
        return (
            f"All {len(judged)} predictions lie within {WITHIN:.0%} of what was measured; the "
            f"farthest is off by {worst.error:+.1%} ({worst.name})."
        ).replace("%", " %")
    named = "; ".join(f"{each.name} by {each.error:+.1%}" for each in missed)
    return (
        f"{len(judged) - len(missed)} of {len(judged)} predictions lie within {WITHIN:.0%} of what "
        f"was measured. Off are {named}."
    ).replace("%", " %")


def probe_document(
    survey: Survey,
    calibration: Calibration | None = None,
    predictions: Sequence[Prediction] | None = None,
) -> dict[str, Any]:
    """The same for programs; times in ps.

    Args:
        survey: what was measured.
        calibration: what costs follow from it; None: left out.
        predictions: composite guests; None: left out.
    """
    known = {probe.name: probe for probe in PROBES}
    document: dict[str, Any] = {
        "version": __version__,
        "host": asdict(survey.host),
        "emulated": survey.is_emulated,
        "probes": [
            _probe(known.get(name), found)
            for name, found in survey.measured.items()
            if name in known or name in (LOOP, ITEM)
        ],
        "ratios": [
            {"of": first, "to": second, "ratio": ratio.as_json()}
            for _, first, _, second in RATIOS
            if (ratio := survey.ratio(first, second)) is not None
        ],
    }
    if calibration is not None:
        document["calibration"] = {
            "costs": [
                {**asdict(cost), "value": cost.value, "combination": dict(cost.combination)}
                for cost in calibration.costs
            ],
            "notes": calibration.notes,
            "taken_over": calibration.taken_over,
        }
    if predictions is not None:
        document["validation"] = {
            "spin": survey.spin,
            "hold": survey.hold,
            "within": WITHIN,
            "verdict": verdict(predictions),
            "guests": [_prediction(each) for each in predictions],
        }
    return document


def ratio_lines(survey: Survey) -> list[str]:
    """``An MMIO read that exits takes 10.6 ± 0.2 times as long as a read of a read-only page.``."""
    lines = []
    for first, one, second, other in RATIOS:
        ratio = survey.ratio(one, other)
        if ratio is not None:
            begin = first[0].upper() + first[1:]
            lines.append(f"{begin} takes {number_text(ratio, 3)} times as long as {second}.")
    return lines


def _row(probe: Probe, survey: Survey) -> list[str]:
    found = survey.measured[probe.name]
    exits = found.exits_per_iteration
    name = probe.name + " !" * (found.verdict != "measured")
    return [
        name,
        time_text(median(found.over)),
        time_text(median(found.control)),
        number(exits, 3),
        number(found.items / exits, 3) if exits and found.items else "-",
        _blocks(len(found.whole), found.disturbed),
    ]


def _blocks(n: int, disturbed: int) -> str:
    return f"{n}" if not disturbed else f"{n} ({disturbed} disturbed)"


def _has_time(survey: Survey, name: str) -> bool:
    found = survey.measured.get(name)
    return found is not None and bool(found.whole)


def _notes(survey: Survey) -> list[str]:
    """The loop, the item, what is unusual about this host, and what could not be measured."""
    notes = []
    loop, item = survey.estimate(LOOP), survey.estimate(ITEM)
    if loop is not None:
        emulated = "; its instructions are emulated one by one" if survey.is_emulated else ""
        notes.append(f"empty loop: {time_text(loop)} an iteration{emulated}")
    if item is not None:
        notes.append(f"the device's work for one item, without a guest: {time_text(item)}")
    aside = sum(found.set_aside for found in survey.measured.values())
    total = sum(len(found.whole) for found in survey.measured.values())
    if aside:
        notes.append(f"{aside:,} blocks were set aside beside {total:,} that count: the kernel "
                     "gave the CPU to others in them")  # fmt: skip
    return notes + [
        f"{found.name}: {found.verdict}; {found.why}"
        for found in survey.measured.values()
        if found.verdict != "measured"
    ]


def _calibrated(calibration: Calibration) -> list[str]:
    lines = [f"{len(calibration.costs)} costs follow from these measurements."]
    lines += [f"{note[0].upper()}{note[1:]}." for note in calibration.notes]
    if calibration.taken_over:
        lines.append(f"Not measured, as on the base platform: {', '.join(calibration.taken_over)}.")
    return lines


def _off(prediction: Prediction) -> str:
    if math.isnan(prediction.error):
        return "-"
    text = f"{prediction.error:+.1%}".replace("%", " %")
    return text + " !" * (not prediction.holds)


def _probe(probe: Probe | None, found: Measured) -> dict[str, Any]:
    document: dict[str, Any] = {"name": found.name, "verdict": found.verdict, "why": found.why}
    if probe is not None:
        document |= {"about": probe.about, "code": probe.guest.hexadecimal,
                     "assembler": probe.guest.text, "items_stated": probe.items}  # fmt: skip
    if found.whole:
        document |= {
            "over": median(found.over).as_json(),
            "whole": median(found.whole).as_json(),
            "control": median(found.control).as_json(),
            "exits": found.exits,
            "items": found.items,
            "iterations": found.iterations,
            "blocks": len(found.whole),
            "set_aside": found.set_aside,
            "disturbed": found.disturbed,
        }
    return document


def _prediction(each: Prediction) -> dict[str, Any]:
    return {
        "name": each.name,
        "mechanism": each.policy,
        "accesses": each.accesses,
        "predicted": each.predicted.as_json(),
        "measured": None if each.measured is None else each.measured.as_json(),
        "error": None if math.isnan(each.error) else each.error,
        "holds": each.holds if each.measured is not None else None,
        "why": each.why,
        "disturbed": each.disturbed,
    }
