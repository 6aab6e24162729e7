"""Crossovers and decision maps for people in a terminal, and as JSON documents."""

from __future__ import annotations

from string import ascii_uppercase
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from vmexit_sim import __version__
from vmexit_sim.present.colours import policy_colour
from vmexit_sim.present.crossover_verdict import (
    UNTOLD,
    crossover_verdict,
    estimate_text,
    interval_text,
    quantity_text,
)
from vmexit_sim.present.text import better, share_text
from vmexit_sim.study.crossover import Crossover
from vmexit_sim.study.decision_map import Axis, DecisionMap
from vmexit_sim.study.flips import Flip, sign_of

TOO_CLOSE = "~"
"""What stands in a map where no winner can be told."""

Document = dict[str, Any]


def crossover_report(result: Crossover) -> RenderableType:
    """What was scanned, where the winner flips, and a sentence that says so."""
    parts: list[RenderableType] = [
        Text(f"{result.first} or {result.second}: {result.metric} along {result.place}", "bold"),
        Text(_basis(result.scenario, result.platform, result.block, result.seed)
             + f"; {_trust(result)}"),
        Text(),
        _scan(result),
        Text(),
    ]  # fmt: skip
    if result.flips or (result.closed_form and result.closed_form.roots):
        parts += [_flips(result), Text()]
    notes = [f"{name} is a bound, which nobody could ship." for name in result.bounds]
    return Group(*parts, *(Text(note) for note in notes), Text(crossover_verdict(result), "bold"))


def map_report(result: DecisionMap) -> RenderableType:
    """The map as a grid of letters, and what they stand for."""
    letters = letters_of(result)
    grid = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), show_header=False)
    grid.add_column(justify="right", no_wrap=True)
    for _ in result.across.values:
        grid.add_column(justify="center", no_wrap=True)
    for row in reversed(range(len(result.up.values))):
        cells = [result.cells[column, row] for column in range(len(result.across.values))]
        grid.add_row(value_text(result.up, row), *(_letter(cell.winner, letters) for cell in cells))
    legend = [
        Text.assemble(_letter(name, letters), f" {name}: best at {share_text(result.share(name))}")
        for name in result.policies
        if name in result.winners
    ]
    if close := result.share(None):
        legend.append(Text(f"{TOO_CLOSE} too close to call at {share_text(close)}"))
    ends = [value_text(result.across, place) for place in (0, -1)]
    left_out = ", ".join(result.left_out)
    return Group(
        Text(f"Which policy has the {better(result.metric)} {result.metric}?", "bold"),
        Text(_basis(result.scenario, result.platform, result.block, result.seed)
             + f"; {_reps(result.replications)}, each point at {result.confidence * 100:.4g} %"),
        Text(),
        Text(f"↑ {result.up.name}"),
        grid,
        Text(f"→ {result.across.name}: {ends[0]} to {ends[1]}, {len(result.across.values)} values"),
        Text(),
        *legend,
        *([Text(f"not usable by this guest: {left_out}")] if left_out else []),
    )  # fmt: skip


def crossover_document(result: Crossover) -> Document:
    """What ``crossover --json`` prints: values of the factor and the metric in their own units."""
    flips = []
    for flip in result.flips:
        below, above = result.sides(flip)
        flips.append({
            "at": flip.at.as_json(), "better_below": below, "better_above": above,
            "open_low": flip.is_open_low, "open_high": flip.is_open_high,
            "neighbours": None if flip.neighbours is None else list(flip.neighbours),
            "closed_form": result.exact_of(flip),
        })  # fmt: skip
    form = result.closed_form
    return {
        **_about(result.scenario, result.platform, result.block, result.metric, result.seed,
                 result.replications, result.confidence),
        "unit": result.unit,
        "first": result.first,
        "second": result.second,
        "bounds": list(result.bounds),
        "along": {"place": result.place, "unit": result.factor_unit, "scale": result.range.scale,
                  "low": result.range.low.number, "high": result.range.high.number},
        "exact": not result.is_random,
        "tolerance": result.tolerance,
        "flips": flips,
        "stretches": [{"low": s.low, "high": s.high, "better": result.winner(s.sign)}
                      for s in result.stretches],
        "closed_form": None if form is None else {"law": form.law, "roots": list(form.roots)},
        "simulated": [
            {"value": m.value, "in_scan": m in result.scan, "first": m.first.as_json(),
             "second": m.second.as_json(), "difference": m.difference.as_json()}
            for m in result.meetings
        ],
        "verdict": crossover_verdict(result),
    }  # fmt: skip


def map_document(result: DecisionMap) -> Document:
    """What ``decide --json`` prints: one entry a point, estimates whole."""
    axes = {"across": result.across, "up": result.up}
    return {
        **_about(result.scenario, result.platform, result.block, result.metric, result.seed,
                 result.replications, result.confidence),
        **{name: {"place": axis.name, "unit": axis.unit, "values": list(axis.values)}
           for name, axis in axes.items()},
        "policies": list(result.policies),
        "left_out": list(result.left_out),
        "points": [
            {"across": cell.across, "up": cell.up, "winner": cell.winner, "best": list(cell.best),
             "estimates": {name: e.as_json() for name, e in cell.estimates.items()}}
            for cell in result.cells.values()
        ],
        "shares": {name: result.share(name) for name in result.policies},
        "too_close": result.share(None),
    }  # fmt: skip


def letters_of(result: DecisionMap) -> dict[str, str]:
    """A letter for each policy that wins somewhere."""
    return dict(zip(result.winners, ascii_uppercase * 2, strict=False))


def value_text(axis: Axis, place: int) -> str:
    """A value on an axis: ``1.5 µs``, ``4``, or its text."""
    return quantity_text(axis.places[place], axis.unit) if axis.unit else str(axis.values[place])


def _basis(scenario: str, platform: str, block: str, seed: int) -> str:
    guest = f", {block}" if block and block != scenario else ""
    return f"{scenario}{guest}; platform {platform}; seed {seed}"


def _trust(result: Crossover) -> str:
    if not result.is_random:
        return f"nothing is left to chance: exact, roots to {result.tolerance:.2g} of their value"
    return f"{_reps(result.replications)}, intervals at {result.confidence * 100:.4g} %"


def _reps(count: int) -> str:
    return f"{count:,} replication{'s' * (count != 1)}"


def _scan(result: Crossover) -> Table:
    table = _table(result.place, result.first, result.second,
                   f"{result.second} less {result.first}", "better")  # fmt: skip
    for meeting in result.scan:
        better = result.winner(sign_of(meeting.difference))
        told = "equal" if meeting.difference.is_exact else UNTOLD
        table.add_row(
            quantity_text(meeting.value, result.factor_unit),
            *(estimate_text(e) for e in (meeting.first, meeting.second, meeting.difference)),
            Text(better or told, "" if better is None else policy_colour(better)),
        )
    return table


def _flips(result: Crossover) -> Table:
    form = result.closed_form
    table = _table("the winner flips at", "interval", "below", "above",
                   *(("closed form", "off by") if form else ()))  # fmt: skip
    for flip in result.flips:
        exact = result.exact_of(flip)
        theory = [] if form is None else ["-", "-"] if exact is None else [
            _place(result, exact), _off(flip, exact)
        ]  # fmt: skip
        table.add_row(_place(result, flip.at.value), interval_text(result, flip),
                      *result.sides(flip), *theory)  # fmt: skip
    if form is None:
        return table
    if len(form.roots) != len(result.flips):
        found = ", ".join(_place(result, root) for root in form.roots) or "none"
        table.add_row("-", "-", "-", "-", found, "-")
    table.caption = f"closed form: {form.law}"
    return table


def _off(flip: Flip, exact: float) -> str:
    """How far a flip is from theory's; whole numbers are right or wrong, and nothing between."""
    return f"{flip.at.value / exact - 1:+.2%}" if exact and flip.neighbours is None else "-"


def _table(*headings: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), caption_justify="left")
    for place, heading in enumerate(headings):
        table.add_column(Text(heading), justify="right" if 0 < place < 4 else "left",
                         no_wrap=place == 0)  # fmt: skip
    return table


def _place(result: Crossover, value: float) -> str:
    """A value of the factor; of a whole-number one the two that it lies between."""
    if result.range.is_whole and result.factor_unit == "1" and value != int(value):
        return f"{int(value)} to {int(value) + 1}"
    return quantity_text(value, result.factor_unit)


def _about(scenario: str, platform: str, block: str, metric: str, seed: int, replications: int,
           confidence: float) -> Document:  # fmt: skip
    return {"scenario": scenario, "platform": platform, "block": block, "metric": metric,
            "seed": seed, "replications": replications, "confidence": confidence,
            "version": __version__}  # fmt: skip


def _letter(winner: str | None, letters: dict[str, str]) -> Text:
    if winner is None:
        return Text(TOO_CLOSE, "dim")
    return Text(letters[winner], f"bold {policy_colour(winner)}")
