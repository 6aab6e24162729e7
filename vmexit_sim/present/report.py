"""A report: one comparison as one HTML file that needs nothing else.

::

    Comparison ──► tables (report_tables), figures (report_figures), assumptions ──► template ──► HTML

The file loads nothing: style and figures are inside it, and its content security policy forbids the
rest. Everything that came from a scenario, platform, policy, trace or command line is escaped, and
cut where it is longer than `LONGEST`. It holds no date: equal input gives equal bytes.
"""  # noqa: E501

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup

from vmexit_sim import __version__
from vmexit_sim.opened import Asked
from vmexit_sim.present.report_costs import platform_table, weak_costs
from vmexit_sim.present.report_figures import ReportFigure, block_figures
from vmexit_sim.present.report_tables import (
    ReportTable,
    against_table,
    costs_table,
    cpus_table,
    idle_table,
    latency_tables,
    named,
    stage_table,
    uncertainty_table,
)
from vmexit_sim.present.text import count_text
from vmexit_sim.present.verdicts import how_it_was_run, verdict
from vmexit_sim.study.input_uncertainty import InputUncertainty, UncertainBlock
from vmexit_sim.study.outcome import BlockOutcome, Comparison
from vmexit_sim.study.versions import OWN
from vmexit_sim.units import format_time

LONGEST = 4_000
"""Most characters of any one text that came from outside; longer ones end in "…"."""

LONGEST_CONFIGURATION = 40_000
"""Most characters of the effective scenario that are printed."""

MOST_FIGURES = 8
"""Guests of a scenario that get figures; all get their tables."""

REPLACED = "\N{REPLACEMENT CHARACTER}"

TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True, kw_only=True)
class Section:
    """One question about a guest, with the figures and tables that answer it."""

    title: str
    figures: tuple[ReportFigure, ...]
    tables: tuple[ReportTable, ...]


@dataclass(frozen=True, kw_only=True)
class Part:
    """One guest's part of a report.

    Attributes:
        key: its identifier on the page.
        name: the block's name.
        origin: where its accesses came from.
        accesses: how many, as text.
        verdict: what the comparison says of it.
        notes: warm-up and precision, where a study has them.
        sections: in the order in which they stand.
    """

    key: str
    name: str
    origin: str
    accesses: str
    verdict: str
    notes: tuple[str, ...]
    sections: tuple[Section, ...]


def report(result: Comparison, command: str, uncertainty: InputUncertainty | None = None) -> str:
    """A comparison as an HTML document.

    Args:
        result: what was compared.
        command: the command line that makes the same report.
        uncertainty: the same with the calibration's uncertainty, if it was asked for.
    """
    opened = result.opened
    uncertain: Sequence[UncertainBlock | None] = (
        [None] * len(result.blocks) if uncertainty is None else uncertainty.blocks
    )
    parts = [
        _part(place, block, own)
        for place, (block, own) in enumerate(zip(result.blocks, uncertain, strict=True))
    ]
    scenario = opened.scenario.model_dump(mode="json", by_alias=True, exclude_none=True)
    configuration = json.dumps(scenario, indent=2, ensure_ascii=False)
    return _template().render(
        title=opened.scenario.title or opened.scenario.name or "VM exits",
        question=opened.scenario.question,
        platform=opened.platform,
        about=" ".join(opened.platform.about.split()),
        facts=list(_facts(opened, result.replications)),
        policies=_policies(result.blocks, opened),
        parts=parts,
        drawn=uncertainty,
        costs=platform_table(opened.platform),
        weak=weak_costs(opened.platform),
        command=command,
        generator=__version__,
        configuration=shortened(configuration, LONGEST_CONFIGURATION),
        versions=list(_versions(result)),
    )  # fmt: skip


def shortened(text: str, most: int = LONGEST) -> str:
    """A text of at most so many characters; one that was cut ends in "…"."""
    return text if len(text) <= most else text[: most - 1] + "…"


def readable(value: object) -> object:
    """A value as a page may hold it: no control characters, no lone surrogates, not endless.

    What the template calls markup stays as it is.
    """
    if isinstance(value, Markup) or not isinstance(value, str):
        return value
    text = value if len(value) <= LONGEST else shortened(value, LONGEST_CONFIGURATION)
    return "".join(REPLACED if _is_control(c) else c for c in text)


def _is_control(character: str) -> bool:
    return character not in "\n\t" and unicodedata.category(character) in ("Cc", "Cs")


@cache
def _template() -> Template:
    made = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True, finalize=readable,
    )  # fmt: skip
    made.filters["cut"] = shortened
    made.filters["markup"] = Markup  # for figures alone, whose texts are escaped already
    return made.get_template("report.html.j2")


def _part(place: int, block: BlockOutcome, uncertain: UncertainBlock | None) -> Part:
    key = f"guest-{place + 1}"
    figures = list(block_figures(block, key)) if place < MOST_FIGURES else []
    costs = [costs_table(block), *against_table(block)]
    if uncertain is not None:
        costs.append(uncertainty_table(uncertain))
    sections = {
        ("What it costs", "added"): costs,
        ("Where the time goes", "stages"): [stage_table(block)],
        ("Latency", "stall"): list(latency_tables(block)),
        ("Waiting and CPUs", ""): [*idle_table(block), *cpus_table(block)],
    }
    return Part(
        key=key,
        name=block.name,
        origin=block.origin,
        accesses=count_text(block.accesses),
        verdict=verdict(block),
        notes=tuple(f"{note[0].upper()}{note[1:]}." for note in how_it_was_run(block)),
        sections=tuple(
            Section(title=title, figures=tuple(f for f in figures if f.shows == shows),
                    tables=tuple(tables))
            for (title, shows), tables in sections.items() if tables
        ),
    )  # fmt: skip


def _facts(opened: Asked, replications: int) -> Iterator[tuple[str, str]]:
    """What a reader must know of how it was run, by name."""
    scenario = opened.scenario
    yield "Platform", f"{opened.platform.name}: {opened.platform.title}"
    yield "Compared with", opened.policies[0].name
    yield "Seed", f"{scenario.seed}"
    if not opened.is_random:
        yield "Replications", "1; nothing is left to chance: exact for this guest and these costs"
    else:
        alone = "; one replication gives no intervals" if replications == 1 else ""
        yield "Replications", f"{replications:,}{alone}"
    counted = {
        "terminating": "terminating: every access counts",
        "steady-state": "steady state: the warm-up is left out",
    }
    yield "Study", counted[scenario.study]
    if (shared := scenario.host_cpus) is not None:
        yield "Host CPUs", f"{shared.count}, slices of {format_time(shared.time_slice)}"
    if scenario.costs:
        changed = (
            f"{name} = {value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}"
            for name, value in scenario.costs.items()
        )
        yield "Costs changed", "; ".join(changed)


def _policies(blocks: Sequence[BlockOutcome], opened: Asked) -> ReportTable:
    """What each policy is, in a line."""
    marked = {outcome.policy.name: named(outcome) for outcome in blocks[0].policies}
    return ReportTable(
        title="The policies",
        headings=("policy", "what it is"),
        rows=tuple((marked.get(p.name, p.name), p.title) for p in opened.policies),
        is_prose=True,
    )


def _versions(result: Comparison) -> Iterator[tuple[str, str]]:
    """What the numbers come from, and what made the page if that is another version."""
    yield from result.made_with.items()
    if result.made_with.get(OWN) != __version__:
        yield f"this page: {OWN}", __version__
