"""The analytic twin for people and for programs: theory beside simulation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import groupby
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from vmexit_sim import __version__
from vmexit_sim.present.documents import configuration
from vmexit_sim.present.terminal import rows
from vmexit_sim.present.text import count_text, number_text, share_text, time_text
from vmexit_sim.statistics import CONFIDENCE, Estimate, exact
from vmexit_sim.study.outcome import Comparison
from vmexit_sim.study.twin import Twin

SIGNS = {"identity": "=", "exact": "=", "approximation": "≈"}
"""How a value of theory's is shown to stand to the simulated one."""

NAMED = 5
"""Most misses that the last sentence names one by one."""


def twin_report(comparison: Comparison, found: Sequence[Twin]) -> RenderableType:
    """What theory says beside each estimate, block by block, and what to make of it.

    Args:
        comparison: what was simulated.
        found: its twins.
    """
    opened = comparison.opened
    how = f"{comparison.replications} replications" if opened.is_random else "nothing random"
    parts: list[RenderableType] = [
        Text(opened.scenario.title or opened.scenario.name, style="bold"),
        Text(f"platform {opened.platform.name}; seed {opened.scenario.seed}; {how}"),
    ]
    for block, own in groupby(found, key=lambda twin: twin.block):
        twins = list(own)
        said = [t for t in twins if t.standing != "none" and (t.misses or not t.is_part)]
        parts.append(Text())
        if said:
            headings = ["policy", "quantity", "simulated", "theory", "off by", "law"]
            parts.append(rows(block, headings, _body(said)))
        else:
            parts.append(Text(block, style="italic"))
        parts += [Text(line) for line in _notes(twins)]
    return Group(*parts, Text(), Text(verdict(found), style="bold"))


def verdict(found: Sequence[Twin]) -> str:
    """How many agree, which do not and by how much, and what there is no theory of."""
    judged = [twin for twin in found if twin.judges]
    misses = [twin for twin in judged if twin.misses]
    if not judged:
        said = ["There is no theory to hold these numbers against."]
    elif not misses:
        said = [f"All {len(judged)} numbers that theory can judge agree with it."]
    else:
        named = "; ".join(f"{t.policy}: {t.quantity} by {_gap(t)}" for t in misses[:NAMED])
        more = f"; and {len(misses) - NAMED} more" if len(misses) > NAMED else ""
        said = [
            f"{len(judged) - len(misses)} of {len(judged)} numbers that theory can judge agree "
            f"with it. It is missed by {named}{more}."
        ]
    by_interval = [twin for twin in judged if _has_interval(twin)]
    if by_interval:
        said.append(
            f"{len(by_interval)} {'was' if len(by_interval) == 1 else 'were'} judged by an "
            f"interval, which misses by chance once in {1 / (1 - CONFIDENCE):.0f}."
        )
    about = [abs(twin.off_by) for twin in found if twin.standing == "approximation"]
    if about:
        within = share_text(max(about))
        each = "One approximation lies" if len(about) == 1 else f"{len(about)} approximations lie"
        said.append(f"{each} within {within}.")
    silent = sorted({t.policy for t in found if t.standing == "none" and t.quantity == "all"})
    if silent:
        said.append(f"No theory: {', '.join(silent)}.")
    return " ".join(said)


def twin_document(comparison: Comparison, found: Sequence[Twin]) -> dict[str, Any]:
    """The same for programs; times in ps, rates in 1/s, an unbounded end is null.

    Args:
        comparison: what was simulated.
        found: its twins.
    """
    opened = comparison.opened
    judged = [twin for twin in found if twin.judges]
    return {
        "scenario": opened.scenario.name,
        "platform": opened.platform.name,
        "seed": opened.scenario.seed,
        "replications": comparison.replications,
        "version": __version__,
        "configuration": configuration(opened),
        "judged": len(judged),
        "misses": sum(twin.misses for twin in judged),
        "verdict": verdict(found),
        "twins": [_twin(twin) for twin in found],
    }


def _twin(twin: Twin) -> dict[str, Any]:
    return {
        "block": twin.block,
        "policy": twin.policy,
        "quantity": twin.quantity,
        "simulated": None if twin.simulated is None else twin.simulated.as_json(),
        "theory": {"low": _finite(twin.low), "high": _finite(twin.high)},
        "law": twin.law,
        "assumes": twin.assumes,
        "standing": twin.standing,
        "misses": twin.misses if twin.judges else None,
        "off_by": _finite(twin.off_by),
        "part": twin.is_part,
    }


def _body(said: Sequence[Twin]) -> list[list[str]]:
    """Rows; a policy's name stands in its first one only."""
    body = []
    for policy, own in groupby(said, key=lambda twin: twin.policy):
        for place, twin in enumerate(own):
            assert twin.simulated is not None
            body.append(
                [
                    "" if place else policy,
                    twin.quantity,
                    _text(twin.simulated),
                    _theory(twin),
                    _gap(twin) + " !" * twin.misses,
                    twin.law,
                ]
            )
    return body


def _theory(twin: Twin) -> str:
    assert twin.simulated is not None
    unit = twin.simulated.unit
    if twin.standing in SIGNS:
        return f"{SIGNS[twin.standing]} {_text(exact(twin.low, unit))}"
    if math.isfinite(twin.low) and twin.low > 0:
        return f"≥ {_text(exact(twin.low, unit))}"
    return f"≤ {_text(exact(twin.high, unit))}"


def _text(estimate: Estimate) -> str:
    if estimate.unit == "ps":
        return time_text(estimate)
    if estimate.unit == "1/s":
        is_sure = estimate.low == estimate.high
        return f"{count_text(estimate.value) if is_sure else number_text(estimate)} /s"
    return number_text(estimate)


def _gap(twin: Twin) -> str:
    """How far from theory; nothing where it is within bounds or equal up to rounding."""
    off = twin.off_by
    if math.isinf(off):
        return "all of it"
    if not twin.misses and (twin.standing in ("bound", "identity") or off == 0):
        return "-"
    return f"{'-' if off < 0 else '+'}{_percent(abs(off))}"


def _percent(share: float) -> str:
    return f"{share * 100:.2g} %" if share < 1 else f"{share * 100:.0f} %"


def _has_interval(twin: Twin) -> bool:
    simulated = twin.simulated
    return twin.standing == "exact" and simulated is not None and simulated.low < simulated.high


def _notes(twins: Sequence[Twin]) -> list[str]:
    """What laws take for granted, once each; and where there is none, why."""
    laws: dict[str, list[str]] = {}
    for twin in twins:
        if twin.standing == "none":
            continue
        assumed = laws.setdefault(f"{twin.law} ({twin.standing})", [])
        if twin.assumes not in assumed and (twin.misses or not twin.is_part):
            assumed.append(twin.assumes)
    notes = [f"{law}: {'; or: '.join(assumed)}" for law, assumed in laws.items() if assumed]
    why: dict[str, list[str]] = {}
    for twin in twins:
        if twin.standing == "none":
            what = twin.policy if twin.quantity == "all" else f"{twin.policy}, {twin.quantity}"
            why.setdefault(twin.assumes, []).append(what)
    parts = [t for t in twins if t.is_part and not t.misses]
    if parts:
        notes.append(
            f"{len(parts)} parts (stages, locks without use) agree, too, and are not shown"
        )
    return notes + [f"no theory of {', '.join(whats)}: {reason}" for reason, whats in why.items()]


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
