"""The best policy for people and for programs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from vmexit_sim import __version__
from vmexit_sim.present.screening_tables import measure_text, value_text
from vmexit_sim.present.terminal import rows
from vmexit_sim.present.text import better, count_text
from vmexit_sim.study.best_policy import BestPolicy
from vmexit_sim.study.metrics import unit_of


def best_policy_report(found: BestPolicy) -> RenderableType:
    """What ``select`` shows: how far each policy came, and the verdict."""
    how = "nothing is left to chance: exact"
    if found.is_random:
        unit = unit_of(found.metric)
        how = (
            f"indifference {value_text(found.indifference, unit)}, {found.confidence:.4g}; "
            f"{count_text(found.runs)} runs; seed {found.seed}"
        )
    body = [
        (each.policy, count_text(each.metric.n), measure_text(each.metric),
         "best" if each.policy == found.best and found.decided else "may be" if each.is_left
         and not found.decided else "equal" if each.policy in found.equals else "")
        for each in found.standings
    ]  # fmt: skip
    parts: list[RenderableType] = [
        Text(f"Which policy has the {better(found.metric)} {found.metric}?", style="bold"),
        Text(f"{found.block}, platform {found.platform}; {how}"), Text(),
        rows("Policies", ["policy", "replications", found.metric, ""], body), Text(),
    ]  # fmt: skip
    parts += [Text(f"{name} takes no part: {why}") for name, why in found.left_out.items()]
    return Group(*parts, Text(" ".join(sentences(found)), style="bold"))


def sentences(found: BestPolicy) -> Iterator[str]:
    """Which policy, and how sure that is."""
    best = found.standings[0]
    value = measure_text(best.metric)
    equals = f" {' and '.join(found.equals)}: the same to the last bit." if found.equals else ""
    if not found.is_random:
        yield f"Best: {found.best}, {found.metric} {value}.{equals}"
    elif found.decided:
        size = value_text(found.indifference, unit_of(found.metric))
        yield (
            f"Best: {found.best}, {found.metric} {value}, chosen after {found.replications} "
            f"replications. It is the best with a probability of {found.confidence:.4g} or more, "
            f"if it is better than all others by {size}; else it is within that of the best."
            f"{equals}"
        )
    else:
        yield (
            f"NOT decided within {count_text(found.budget)} replications: "
            f"{', '.join(found.left)} may still be the best. So far {found.best} is ahead, with "
            f"{value}. Give a larger budget, or a larger indifference.{equals}"
        )


def document(found: BestPolicy) -> dict[str, Any]:
    """What ``select --json`` prints; times in ps."""
    return {
        "scenario": found.scenario, "platform": found.platform, "block": found.block,
        "metric": found.metric, "best": found.best, "decided": found.decided,
        "left": found.left, "equals": list(found.equals),
        "standings": [
            {"policy": each.policy, "metric": each.metric.as_json(), "is_left": each.is_left}
            for each in found.standings
        ],
        "left_out": dict(found.left_out), "indifference": found.indifference,
        "confidence": found.confidence, "replications": found.replications, "runs": found.runs,
        "budget": found.budget, "is_random": found.is_random, "seed": found.seed,
        "verdict": " ".join(sentences(found)), "version": __version__,
    }  # fmt: skip
