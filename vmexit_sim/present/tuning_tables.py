"""A tuning for people and for programs: the best value of a parameter."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from vmexit_sim import __version__
from vmexit_sim.present.screening_tables import measure_text, value_text
from vmexit_sim.present.terminal import rows
from vmexit_sim.study.sweep.factor import quantity
from vmexit_sim.study.tuning import Rival, Tuning


def tuning_report(found: Tuning) -> RenderableType:
    """What ``tune`` shows: every value that was tried, what fresh draws say, and the verdict."""
    goal = "largest" if found.larger_is_better else "smallest"
    title = f"{found.place}: which value gives the {goal} {found.metric}?"
    draws = "nothing is left to chance: exact"
    if found.fresh_seed != found.seed:
        draws = f"{found.replications} replications of each value; seed {found.seed}"
    about = [f"{found.block}, policy {found.policy}, platform {found.platform}", draws]
    if found.limits:
        about.append(f"to be kept: {', '.join(map(str, found.limits))}")
    parts: list[RenderableType] = [Text(title, style="bold"), *map(Text, about), Text()]
    parts += [_candidates(found), Text()]
    if found.objective is not None:
        parts += [_fresh(found), Text()]
    return Group(*parts, Text(" ".join(sentences(found)), style="bold"))


def sentences(found: Tuning) -> Iterator[str]:
    """Which value, how good it is, and how much that matters."""
    if found.chosen is None or found.objective is None:
        limits = " and ".join(map(str, found.limits))
        yield f"No value that was tried keeps to {limits}."
        return
    on = "" if found.fresh_seed == found.seed else " on draws that did not choose it"
    yield f"Best: {shown(found.chosen)}, {found.metric} {measure_text(found.objective)}{on}."
    for limit, estimate in zip(found.limits, found.limited, strict=True):
        kept = limit.is_kept(estimate)
        sure = "" if limit.is_told(estimate) else ", though its interval allows the opposite"
        yield (
            f"{limit} {'is kept' if kept else 'is NOT kept there'}: {measure_text(estimate)}{sure}."
        )
    others = [value for value in found.best if value != found.chosen]
    if others:
        word = "as good" if found.fresh_seed == found.seed else "not told from it by the search"
        yield f"As for {', '.join(map(shown, others))}: {word}."
    for rival in found.rivals:
        if rival.role == "default":
            same = shown(rival.value) == shown(found.chosen)
            yield "That is the default." if same else _default(rival)
    if found.at_end:
        yield "It is an end of the range: a better value may lie outside."


def _default(rival: Rival) -> str:
    name = "The default" if rival.value is None else f"The default, {shown(rival.value)},"
    broken = "" if rival.keeps else " It breaks a limit."
    if rival.is_worse is None:
        same = rival.difference.is_exact
        return f"{name} {'is equally good' if same else 'cannot be told from it'}.{broken}"
    size = measure_text(rival.difference)
    return (
        f"{name} is {'worse' if rival.is_worse else 'BETTER'}: its value differs by {size}.{broken}"
    )


def _candidates(found: Tuning) -> RenderableType:
    headings = ["value", found.metric, *(limit.metric for limit in found.limits), ""]
    body = []
    for each in found.candidates:
        notes = ["best" if each.value == found.chosen else "cannot be told from the best"] if (
            each.among_best) else []  # fmt: skip
        notes += [] if each.keeps else ["breaks a limit"]
        body.append((
            shown(each.value), measure_text(each.objective), *map(measure_text, each.limited),
            ", ".join(notes),
        ))  # fmt: skip
    title = (
        "Values tried"
        if found.fresh_seed == found.seed
        else "Values tried, on the draws that choose"
    )
    return rows(title, headings, body)


def _fresh(found: Tuning) -> RenderableType:
    assert found.objective is not None, "there is a chosen value"
    body = [("chosen", shown(found.chosen), measure_text(found.objective), "", "")]
    for each in found.rivals:
        told = {True: "worse", False: "better", None: "equal" if each.difference.is_exact else
                "cannot be told"}[each.is_worse]  # fmt: skip
        told += "" if each.keeps else ", breaks a limit"
        value = "-" if each.value is None else shown(each.value)
        body.append(
            (each.role, value, measure_text(each.objective), measure_text(each.difference), told)
        )
    title = "Beside it" if found.fresh_seed == found.seed else "On fresh draws"
    return rows(title, ["", "value", found.metric, "less the chosen one's", ""], body)


def shown(value: object) -> str:
    """A value for people: a time in a unit that suits it."""
    found = quantity(value)
    return value_text(found.number, found.unit) if found is not None else str(value)


def document(found: Tuning) -> dict[str, Any]:
    """What ``tune --json`` prints; times in ps."""
    return {
        "scenario": found.scenario, "platform": found.platform, "block": found.block,
        "policy": found.policy, "place": found.place, "metric": found.metric,
        "larger_is_better": found.larger_is_better, "limits": list(map(str, found.limits)),
        "chosen": found.chosen,
        "objective": None if found.objective is None else found.objective.as_json(),
        "limited": [each.as_json() for each in found.limited],
        "best": found.best, "at_end_of_range": found.at_end,
        "candidates": [
            {"value": each.value, "objective": each.objective.as_json(), "keeps": each.keeps,
             "limited": [own.as_json() for own in each.limited], "among_best": each.among_best}
            for each in found.candidates
        ],
        "rivals": [
            {"role": each.role, "value": each.value, "objective": each.objective.as_json(),
             "difference": each.difference.as_json(), "is_worse": each.is_worse,
             "keeps": each.keeps}
            for each in found.rivals
        ],
        "verdict": " ".join(sentences(found)), "replications": found.replications,
        "seed": found.seed, "fresh_seed": found.fresh_seed, "version": __version__,
    }  # fmt: skip
