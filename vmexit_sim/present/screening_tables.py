"""A screening for people and for programs: which costs decide between two policies."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from vmexit_sim import __version__
from vmexit_sim.present.terminal import rows
from vmexit_sim.present.text import count_text, number_text, share_text, time_text
from vmexit_sim.statistics import Estimate
from vmexit_sim.study.influence import Influence
from vmexit_sim.study.screening import Screening
from vmexit_sim.study.threshold import WIDER, Threshold
from vmexit_sim.units import format_time


def screening_report(found: Screening) -> RenderableType:
    """What ``screen`` shows: every cost's influence, the thresholds, and the verdict in words."""
    title = f"{found.second} against {found.first}: which cost decides?"
    about = [
        f"{found.block}, platform {found.platform}; {found.metric} of {found.second} less "
        f"{found.first}: {measure_text(found.difference)}",
        f"{count_text(found.evaluations)} comparisons on the same draws: {found.trajectories} "
        f"trajectories, {found.agrees.n} independent points, seed {found.seed}",
    ]
    parts: list[RenderableType] = [Text(title, style="bold"), *map(Text, about), Text()]
    parts += [_influences(found), Text()]
    if found.thresholds:
        parts += [_thresholds(found), Text()]
    if found.unused:
        parts.append(Text(f"In neither policy's program: {', '.join(found.unused)}."))
    parts.append(Text(
        "mu*: mean effect of a step, carried to the whole range; turns: steps that turned the "
        "verdict; marks: R read, D derived, M recalled, A assumed."
    ))  # fmt: skip
    return Group(*parts, Text(" ".join(sentences(found)), style="bold"))


def sentences(found: Screening) -> Iterator[str]:
    """The verdict, how often it stands, and what it would take to change it."""
    if found.better is None:
        even = found.difference.is_exact
        yield (
            f"{found.first} and {found.second} come to the same {found.metric} at the base, so no "
            "verdict can change."
            if even
            else f"At the base {found.first} and {found.second} cannot be told apart: "
            f"{measure_text(found.difference)}. More replications may tell."
        )
        return
    size = measure_text(found.difference if found.difference.value > 0 else -found.difference)
    yield f"{found.better} is better than {found.other}: {found.metric} differs by {size}."
    yield _standing(found)
    deciding = [_change(each) for each in found.deciding]
    if deciding:
        yield f"Within its plausible range one cost alone can change it: {'; '.join(deciding)}."
    elif found.thresholds:
        yield (
            f"Of the {len(found.thresholds)} costs that matter most, none changes it on its own "
            "within its plausible range."
        )
    beyond = [each for each in found.thresholds if each not in found.deciding and each.found]
    if beyond:
        yield f"Further out: {'; '.join(_change(each) for each in beyond)}."
    elif found.thresholds and not deciding:
        yield f"Nor does any within 1/{WIDER:g} to {WIDER:g} times that range."


def _standing(found: Screening) -> str:
    agrees, n = round(found.agrees.value * found.agrees.n), found.agrees.n
    reverses = round(found.reverses.value * n)
    if agrees == n:
        least = share_text(found.agrees.low)
        return (
            f"With all costs anywhere in their plausible ranges it is the same at all {n} points "
            f"(at {least} or more of all such points, {found.agrees.confidence * 100:.4g} %)."
        )
    open_ones = n - agrees - reverses
    undecided = f", and undecided at {open_ones}" if open_ones else ""
    low, high = share_text(found.agrees.low), share_text(found.agrees.high)
    sure = f"{found.agrees.confidence * 100:.4g} %"
    return (
        f"With all costs anywhere in their plausible ranges it is the same at {agrees} of {n} "
        f"points ({low} to {high}, {sure}), the opposite at {reverses}{undecided}."
    )


def _change(found: Threshold) -> str:
    """``to_user below 1.1 µs (now 2 µs)``."""
    ways = [
        f"{side} {measure_text(at)}"
        for side, at in (("below", found.below), ("above", found.above))
        if at is not None
    ]
    return (
        f"{found.name} {' or '.join(ways)} (now {value_text(found.base.number, found.base.unit)})"
    )


def _influences(found: Screening) -> RenderableType:
    headings = ["cost", "now", "plausible", "mu*", "share", "sigma", "turns", "at low", "at high"]
    return rows("Influence on the difference, and the difference at the ends of the range",
                headings, [_influence(each) for each in found.influences])  # fmt: skip


def _influence(each: Influence) -> tuple[str, ...]:
    unit = each.base.unit
    steps = round(each.flips.value * each.flips.n)
    return (
        each.name,
        f"{value_text(each.base.number, unit, 3)} [{each.mark or '-'}]",
        " … ".join(value_text(end, unit, 3) for end in (each.low, each.high)),
        measure_text(each.mu_star),
        share_text(each.share),
        value_text(each.sigma, each.mu_star.unit, 3),
        f"{steps}/{each.flips.n}",
        measure_text(each.at_low),
        measure_text(each.at_high),
    )


def _thresholds(found: Screening) -> RenderableType:
    return rows(
        "The verdict changes, all else at its base",
        ["cost", "now", "below", "above", "searched"],
        [
            (
                each.name,
                value_text(each.base.number, each.base.unit),
                "never" if each.below is None else measure_text(each.below),
                "never" if each.above is None else measure_text(each.above),
                " … ".join(value_text(end, each.base.unit) for end in each.searched),
            )
            for each in found.thresholds
        ],
    )


def measure_text(estimate: Estimate) -> str:
    """An estimate in a unit that suits it."""
    if estimate.unit == "ps":
        return time_text(estimate)
    name = "" if estimate.unit == "1" else f" {estimate.unit}"
    return f"{number_text(estimate)}{name}"


def value_text(value: float, unit: str, digits: int = 4) -> str:
    """A number in a unit that suits it."""
    if unit == "ps":
        return format_time(value, digits)
    return f"{value:.{digits}g}{'' if unit == '1' else f' {unit}'}"


def document(found: Screening) -> dict[str, Any]:
    """What ``screen --json`` prints; times in ps."""
    return {
        "scenario": found.scenario, "platform": found.platform, "block": found.block,
        "first": found.first, "second": found.second, "metric": found.metric,
        "difference": found.difference.as_json(), "better": found.better,
        "influences": [
            {
                "place": each.place, "mark": each.mark, "base": each.base.number,
                "unit": each.base.unit, "low": each.low, "high": each.high, "scale": each.scale,
                "mu_star": each.mu_star.as_json(), "mu": each.mu, "sigma": each.sigma,
                "share": each.share, "flips": each.flips.as_json(),
                "difference_at_low": each.at_low.as_json(),
                "difference_at_high": each.at_high.as_json(),
            }
            for each in found.influences
        ],
        "unused": list(found.unused),
        "thresholds": [
            {
                "place": each.place, "base": each.base.number, "unit": each.base.unit,
                "below": None if each.below is None else each.below.as_json(),
                "above": None if each.above is None else each.above.as_json(),
                "plausible": list(each.plausible), "searched": list(each.searched),
            }
            for each in found.thresholds
        ],
        "agrees": found.agrees.as_json(), "reverses": found.reverses.as_json(),
        "verdict": " ".join(sentences(found)),
        "trajectories": found.trajectories, "replications": found.replications,
        "evaluations": found.evaluations, "seed": found.seed, "version": __version__,
    }  # fmt: skip
