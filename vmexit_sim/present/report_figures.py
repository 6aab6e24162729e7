"""A report's figures: `vmexit_sim.present.figures` as SVG that can stand inside an HTML page.

matplotlib's SVG is a document of its own: identifiers repeat from figure to figure, a style sheet
in it would hold for the whole page, and its metadata names addresses. Here identifiers are made
the figure's own, and everything but what is drawn is taken out.
"""

from __future__ import annotations

import io
import math
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from vmexit_sim.present.text import time_text
from vmexit_sim.study.outcome import BlockOutcome

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_BARS = 40
"""Most policies that a figure draws; the tables have them all."""

LONGEST_LABEL = 28
"""Characters of a policy's name at an axis."""

QUANTILE_COLOURS = {"p50": "#0072B2", "p99": "#D55E00"}

WIDE = 20
"""From this ratio between the largest and the smallest latency on, their axis is logarithmic."""

POINTS = 72
"""Units of matplotlib's SVG in an inch."""

_REFERENCE = re.compile(r"url\(#([^)]+)\)")
_NAMESPACE = re.compile(r"^\{[^}]*\}")


@dataclass(frozen=True, kw_only=True)
class ReportFigure:
    """One figure.

    Attributes:
        shows: "added", "stages" or "stall".
        title: what it shows, in words.
        description: the same for those who do not see it.
        svg: an ``<svg>`` element, made from the figure alone; names in it are escaped.
    """

    shows: str
    title: str
    description: str
    svg: str


def block_figures(block: BlockOutcome, key: str) -> Iterator[ReportFigure]:
    """A guest's figures: time added, where the vCPU's time goes, latencies.

    Args:
        block: the guest.
        key: what its figures' identifiers begin with, once on a page.
    """
    import matplotlib as mpl

    from vmexit_sim.present import figures

    names = [outcome.policy.name for outcome in block.policies[:MOST_BARS]]
    labels = dict(zip(names, labels_of(names), strict=True))
    some = "" if len(names) == len(block.policies) else f" Of the first {len(names)} policies."
    times = figures.policy_frame(block)[: len(names)]
    stages = figures.stage_frame(block)
    stages = stages[stages["policy"].isin(names)]
    # A name may hold $, which is no formula here, or letters that the figure's font does not have.
    with mpl.rc_context({"text.parse_math": False}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from", category=UserWarning)
        if (times["time"] > 0).any():
            drawn = figures.policy_bars(times.assign(policy=times["policy"].map(labels)))
            said = ", ".join(
                f"{labels[o.policy.name]} {time_text(o.hypervisor_time)}"
                for o in block.policies[:MOST_BARS]
            )
            yield _figure(drawn, f"{key}-added", "Time added (hypervisor time), by policy",
                          f"Bars with 95 % intervals where sampled: {said}.{some}")  # fmt: skip
        if (stages["time"] > 0).any():
            drawn = figures.stage_breakdown(stages.assign(policy=stages["policy"].map(labels)))
            yield _figure(drawn, f"{key}-stages", "Where the vCPUs' time goes, by policy",
                          "Stacked bars of the parts of an exit; their values are in the table "
                          f"on where the time goes.{some}")  # fmt: skip
        yield from _latencies(block, key, labels, some)


def _latencies(
    block: BlockOutcome, key: str, labels: dict[str, str], some: str
) -> Iterator[ReportFigure]:
    import pandas as pd

    from vmexit_sim.present import figures

    rows = [
        (labels[o.policy.name], name, o.latency["stall"][name].value)
        for o in block.policies[:MOST_BARS]
        for name in QUANTILE_COLOURS
    ]
    rows = [row for row in rows if row[2] > 0 and math.isfinite(row[2])]
    if rows:
        frame = pd.DataFrame(rows, columns=["policy", "quantile", "value"])
        unit, scale = figures.unit_of(float(frame["value"].max()))
        log = frame["value"].max() > WIDE * frame["value"].min()
        drawn = figures.dots(
            frame.assign(value=frame["value"] / scale), row="policy", series="quantile",
            xlabel=f"Stall of one access ({unit})", colours=QUANTILE_COLOURS, log=bool(log),
        )  # fmt: skip
        yield _figure(drawn, f"{key}-stall", "Stall of one access: median and 99th percentile",
                      "Two dots a policy, p50 and p99; their values and intervals are in the "
                      f"table on stalls.{some}")  # fmt: skip


def labels_of(names: list[str]) -> list[str]:
    """Names short and printable enough for an axis, and no two alike."""
    found: list[str] = []
    for place, name in enumerate(names):
        label = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in name)
        if len(label) > LONGEST_LABEL:
            label = label[: LONGEST_LABEL - 1] + "…"
        whole, number = label, place
        while label in found or not label.strip():
            number += 1
            label = whole[: LONGEST_LABEL - len(f" #{number}")] + f" #{number}"
        found.append(label)
    return found


def _figure(figure: Figure, key: str, title: str, description: str) -> ReportFigure:
    return ReportFigure(shows=key.rpartition("-")[2], title=title, description=description,
                        svg=inline_svg(figure, key, title, description))  # fmt: skip


def inline_svg(figure: Figure, key: str, title: str, description: str) -> str:
    """A figure as an ``<svg>`` element for an HTML page.

    Args:
        figure: what to show.
        key: what its identifiers begin with, once on a page.
        title: its accessible name.
        description: what it shows, for those who do not see it.
    """
    from vmexit_sim.present.figures.drawing import styled

    written = io.BytesIO()
    with styled():
        figure.savefig(written, format="svg", metadata={"Date": None})
    root = ElementTree.fromstring(written.getvalue())
    for parent in root.iter():
        for child in list(parent):
            if _plain(child.tag) in ("metadata", "style"):
                parent.remove(child)
    for element in root.iter():
        element.tag = _plain(element.tag)
        element.attrib = {
            _plain(name): _own(_plain(name), value, key) for name, value in element.attrib.items()
        }
    box = root.attrib["viewBox"]
    root.attrib = {
        "role": "img", "aria-labelledby": f"{key}-title {key}-desc", "viewBox": box,
        "style": f"--inches: {float(box.split()[2]) / POINTS:.3f}",
    }  # fmt: skip
    for place, (tag, text) in enumerate((("title", title), ("desc", description))):
        told = ElementTree.Element(tag, {"id": f"{key}-{tag}"})
        told.text = text
        told.tail = "\n"
        root.insert(place, told)
    return ElementTree.tostring(root, encoding="unicode", short_empty_elements=False)


def _plain(name: str) -> str:
    return _NAMESPACE.sub("", name)


def _own(name: str, value: str, key: str) -> str:
    """An attribute with identifiers that are the figure's own."""
    if name == "id":
        return f"{key}-{value}"
    if name == "href":
        return f"#{key}-{value.removeprefix('#')}"
    return _REFERENCE.sub(rf"url(#{key}-\1)", value)
