"""Known answers for people, for programs, and for the page that shows them all."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from vmexit_sim import __version__
from vmexit_sim.errors import InputError
from vmexit_sim.mechanisms import MECHANISMS
from vmexit_sim.present.text import time_text
from vmexit_sim.statistics.text import with_half_width
from vmexit_sim.units import format_time
from vmexit_sim.validation import KINDS, UNCOVERED, Claim, Kind
from vmexit_sim.validation.claim import FAMILY, ROW_CONFIDENCE, SCATTER

BEGIN = "<!-- What follows is written by `vmexit-sim validation --page`. -->"
END = "<!-- End of what is written by `vmexit-sim validation --page`. -->"

TITLES: dict[Kind, str] = {
    "queueing": "Queueing theory",
    "published": "Published figures",
    "paths": "Paths summed by hand",
}
COLUMNS = "claim", "expected", "slack", "simulated", "off by", "verdict"


def validation_report(found: Sequence[Claim]) -> RenderableType:
    """Every row, group by group; then what disagrees, and what to make of it."""
    parts: list[RenderableType] = []
    for (kind, group), claims in _grouped(found):
        sources = "; ".join(dict.fromkeys(claim.source for claim in claims))
        parts += [Text(f"{TITLES[kind]}: {group}", style="bold"), Text(sources, style="dim"),
                  _table(claims), *(Text(note, style="dim") for note in _notes(claims)),
                  Text()]  # fmt: skip
    misses = [claim for claim in found if not claim.agrees]
    if misses:
        parts.append(Text("What disagrees", style="bold"))
        parts += [Text(f"* {_miss(claim)}") for claim in misses]
        parts.append(Text())
    return Group(*parts, *(Text(line) for line in summary(found)))


def summary(found: Sequence[Claim]) -> list[str]:
    """How many rows agree, of which sort, and by what measure; a sentence each."""
    must = [claim for claim in found if claim.must_hold]
    fails = [claim for claim in found if claim.fails]
    predictions = [claim for claim in found if not claim.must_hold]
    lines = []
    if must:
        count = f"All {len(must)}" if not fails else f"{len(must) - len(fails)} of {len(must)}"
        roles = Counter(claim.role for claim in must)
        sorts = ", ".join(f"{n} of {role}" for role, n in roles.items())
        lines.append(f"{count} rows that must hold do ({sorts}).")
    sampled = sum(claim.is_sampled for claim in found)
    if sampled:
        lines.append(
            f"{sampled} rows are sampled. Their intervals are made at {100 * ROW_CONFIDENCE:g} % "
            f"each, so that all together hold with {100 * FAMILY:g} %."
        )
    if parts := widths(found):
        lines.append(
            f"Half an interval is {100 * parts[0]:.3g} % of its value in the median and "
            f"{100 * parts[1]:.3g} % at the widest: a simulator that is off by less can pass."
        )
    if predictions:
        agree = sum(claim.agrees for claim in predictions)
        lines.append(
            f"Of {len(predictions)} predictions of published figures {agree} agree within "
            f"{100 * SCATTER:g} %, or within the published range or count; "
            f"{len(predictions) - agree} do not, and each says why."
        )
    return lines


def widths(found: Iterable[Claim]) -> tuple[float, float] | None:
    """Half the intervals of sampled rows, as parts of their values: the median and the widest.

    A value of 0 has no such part, and is left out; None: no row is left.
    """
    parts = [
        claim.simulated.half_width / abs(claim.simulated.value)
        for claim in found
        if claim.is_sampled and claim.simulated.value
    ]
    return (median(parts), max(parts)) if parts else None


def failures(found: Iterable[Claim]) -> list[str]:
    """What had to hold and does not, a line each."""
    return [_miss(claim) for claim in found if claim.fails]


def validation_document(found: Sequence[Claim]) -> dict[str, Any]:
    """The same for programs; an end that is not bounded is null."""
    return {
        "version": __version__,
        "row_confidence": ROW_CONFIDENCE,
        "family_confidence": FAMILY,
        "rows": len(found),
        "agree": sum(claim.agrees for claim in found),
        "failures": sum(claim.fails for claim in found),
        "summary": summary(found),
        "claims": [_document(claim) for claim in found],
        "not_covered": [
            {"what": each.what, "source": each.source, "why": each.why} for each in UNCOVERED
        ],
    }


def validation_page(found: Sequence[Claim]) -> str:
    """The same as Markdown: counts, what disagrees, every row, what is not covered."""
    lines = [BEGIN, "", *(f"* {line}" for line in summary(found)), ""]
    lines += ["| | rows | agree | disagree |", "|---|---:|---:|---:|"]
    for kind in KINDS:
        own = [claim for claim in found if claim.kind == kind]
        agree = sum(claim.agrees for claim in own)
        lines.append(f"| {TITLES[kind]} | {len(own)} | {agree} | {len(own) - agree} |")
    lines += ["", "## What disagrees", ""]
    lines += [f"* {_miss(claim)}" for claim in found if not claim.agrees] or ["Nothing does."]
    for kind, groups in groupby(_grouped(found), key=lambda pair: pair[0][0]):
        lines += ["", f"## {TITLES[kind]}"]
        for (_, group), claims in groups:
            lines += ["", f"### {f'`{group}`' if group in MECHANISMS else group}", "",
                      "| claim | source | expected | slack | simulated | off by | verdict |",
                      "|---|---|---:|---:|---:|---:|---|"]  # fmt: skip
            lines += [page_row(claim) for claim in claims]
            if notes := _notes(claims):
                lines += ["", *(f"* {note}" for note in notes)]
    lines += ["", "## Not covered, and why", "", "| published | source | why |", "|---|---|---|"]
    lines += [f"| {each.what} | {each.source} | {each.why} |" for each in UNCOVERED]
    return "\n".join([*lines, "", END])


def page_row(claim: Claim) -> str:
    """One row of the page."""
    name, *rest = _cells(claim)
    cells = name, claim.source, *rest
    return f"| {' | '.join(cells)} |"


def renewed(page: Path, found: Sequence[Claim]) -> str:
    """A page's text with what stands between its two marks written anew.

    Raises:
        InputError: it is no file, or lacks the marks.
    """
    try:
        text = page.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        raise InputError("is no page that can be read", file=page) from None
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise InputError("has no place for the tables", file=page,
                         mend=f"put two lines where they belong: {BEGIN} and {END}")  # fmt: skip
    return before + validation_page(found) + after


def _grouped(found: Sequence[Claim]) -> list[tuple[tuple[Kind, str], list[Claim]]]:
    """Claims by kind and group, both in the order in which they first come."""
    groups: dict[tuple[Kind, str], list[Claim]] = {}
    for claim in found:
        groups.setdefault((claim.kind, claim.group), []).append(claim)
    return list(groups.items())


def _notes(claims: Sequence[Claim]) -> list[str]:
    """What one must know of rows that agree, each once; of those that do not, it is said apart."""
    rows: dict[str, list[str]] = {}
    for claim in claims:
        if claim.why and claim.agrees:
            rows.setdefault(claim.why, []).append(claim.claim)
    return [_sentence(f"{'; '.join(names)}: {why}") for why, names in rows.items()]


def _sentence(text: str) -> str:
    return text if text.endswith(".") else f"{text}."


def _table(claims: Sequence[Claim]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), expand=True)
    for place, heading in enumerate(COLUMNS):
        table.add_column(heading, justify="left" if place in (0, 5) else "right",
                         ratio=1 if place == 0 else None, no_wrap=place > 0)  # fmt: skip
    for claim in claims:
        table.add_row(*(Text(cell) for cell in _cells(claim)))
    return table


def _cells(claim: Claim) -> tuple[str, ...]:
    """Of a row, in the order of `COLUMNS`."""
    verdict = f"{'agrees' if claim.agrees else 'disagrees'} ({claim.role})"
    cells = _expected(claim), _slack(claim), _simulated(claim), _off(claim), verdict
    return claim.claim, *cells


def _slack(claim: Claim) -> str:
    """How far off the row may be beside its interval or its printed digits."""
    if not claim.tolerance:
        return "-"
    percent = 100 * claim.tolerance
    return f"{percent:g} %" if percent >= 0.1 else f"{claim.tolerance:g}"


def _expected(claim: Claim) -> str:
    text = claim.expected.text
    return text if text.isalpha() else f"{text}{_unit(claim, text)}"


def _simulated(claim: Claim) -> str:
    estimate = claim.simulated
    if estimate.unit == "ps":
        return time_text(estimate) if claim.is_sampled else format_time(estimate.value, 13)
    if claim.is_sampled:
        if estimate.half_width == 0:
            return f"{estimate.value:,.4g} ± 0{_unit(claim)}"
        return f"{with_half_width(estimate.value, estimate.half_width)}{_unit(claim)}"
    text = _number(estimate.value, claim.expected.text)
    return f"{text}{_unit(claim, text)}"


def _unit(claim: Claim, of: str = "") -> str:
    """The unit behind a number; one exit is no exits."""
    unit = claim.simulated.unit
    if unit in ("ps", "1"):
        return ""
    return f" {unit.removesuffix('s') if of == '1' and len(unit) > 2 else unit}"


def _number(value: float, like: str) -> str:
    """As many decimals as the known number has, and three digits at least."""
    bare = like.replace(",", "")
    known = len(bare.partition(".")[2]) if bare.replace(".", "").isdigit() else 0
    if value == round(value):
        return f"{value:,.{known}f}"
    digits = max(known, 2 - math.floor(math.log10(abs(value))), 0)
    return f"{value:,.{digits}f}"


def _off(claim: Claim) -> str:
    off = claim.off_by
    if math.isinf(off):
        return "all of it"
    if abs(off) < 1e-9:
        return "-"
    if off >= 1:
        return f"× {1 + off:.3g}"
    share = 100 * abs(off)
    return f"{'-' if off < 0 else '+'}{max(share, 0.1):.1f} %" if share >= 0.05 else "< 0.1 %"


def _miss(claim: Claim) -> str:
    """One disagreement in words."""
    expected, simulated, off = _expected(claim), _simulated(claim), _off(claim)
    why = f" {_sentence(claim.why)}" if claim.why else ""
    return (
        f"{claim.group}, {claim.claim}: expected {expected}, simulated {simulated} ({off}; "
        f"{claim.role}).{why}"
    )


def _document(claim: Claim) -> dict[str, Any]:
    known = claim.expected
    ends = {"low": known.low, "high": known.high}
    return {
        "kind": claim.kind,
        "group": claim.group,
        "claim": claim.claim,
        "source": claim.source,
        "role": claim.role,
        "expected": {"text": known.text,
                     **{name: end if math.isfinite(end) else None for name, end in ends.items()}},
        "simulated": claim.simulated.as_json(),
        "tolerance": claim.tolerance,
        "off_by": claim.off_by if math.isfinite(claim.off_by) else None,
        "agrees": claim.agrees,
        "must_hold": claim.must_hold,
        "why": claim.why,
    }  # fmt: skip
