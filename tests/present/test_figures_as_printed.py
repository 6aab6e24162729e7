"""Every figure at a column's width: no word over another or off the canvas, a unit at each axis."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from figure_guests import contended, faults, recorded, requests
from matplotlib.figure import Figure

from vmexit_sim.present import figures
from vmexit_sim.study.compare import compare
from vmexit_sim.study.contest import stretch
from vmexit_sim.study.latencies import latency_spread
from vmexit_sim.study.outcome import BlockOutcome
from vmexit_sim.study.over_time import over_time
from vmexit_sim.study.spacing import spacing
from vmexit_sim.study.stated import stated
from vmexit_sim.study.sweep import Results, open_results, plan, run_study
from vmexit_sim.study.sweep.study_file import Study
from vmexit_sim.study.tail import tail
from vmexit_sim.study.waterfall import waterfall


@cache
def scan() -> BlockOutcome:
    return compare(recorded()).blocks[0]


@cache
def queued() -> BlockOutcome:
    return compare(contended()).blocks[0]


def swept(folder: Path) -> Results:
    stated_study = Study.model_validate({
        "name": "s", "title": "s", "question": "s", "scenario": "spread",
        "set": {"policies": ["linux-default", "hypercall"], "replications": 2,
                "blocks.0.guest.operations": 50},
        "factors": {"platform": ["kvm-2013", "kvm-2017"],
                    "spacing": {"place": "blocks.0.guest.between.mean",
                                "values": ["1 us", "1 ms", 3, "log"]}},
    })  # fmt: skip
    run_study(plan(stated_study, None), folder)
    return open_results(folder)


def spaced() -> Figure:
    found = spacing(
        stated("spread-or-batched-waiting", changes={"reps": 3, "set": {
            "blocks.0.guest.operations": 300}}),
        along=stretch("blocks.0.guest.between.mean", "100 ns", "20 us", points=4),
        metric="burden.mean",
    )  # fmt: skip
    return figures.spacing_figure(found)


FIGURES: dict[str, Callable[[Path], Figure]] = {
    "bars of a recording": lambda _: figures.policy_bars(scan(), width=figures.COLUMN),
    "bars with intervals": lambda _: figures.policy_bars(queued(), width=figures.COLUMN),
    "stages of a recording": lambda _: figures.stage_breakdown(scan(), width=figures.COLUMN),
    "latencies of a recording": lambda _: figures.latency_figure(
        latency_spread(recorded(), recorded().blocks[0])
    ),
    "latencies with bands": lambda _: figures.latency_figure(
        latency_spread(requests(), requests().blocks[0], "effect")
    ),
    "tail of a recording": lambda _: figures.tail_figure(
        tail(recorded(), recorded().blocks[0])
    ),
    "tail with intervals": lambda _: figures.tail_figure(
        tail(requests(), requests().blocks[0], "effect", 0.9)
    ),
    "waterfall of a recording": lambda _: figures.waterfall_figure(
        waterfall(recorded(), recorded().blocks[0])
    ),
    "waterfall of posted work": lambda _: figures.waterfall_figure(
        waterfall(requests(), requests().blocks[0])
    ),
    "exits of a recording": lambda _: figures.exits_figure([
        over_time(recorded(), recorded().blocks[0], policy)
        for policy in recorded().policies[:3]
    ]),
    "a contended lock": lambda _: figures.use_figure(
        over_time(contended(), contended().blocks[0], contended().policies[0])
    ),
    "a back end": lambda _: figures.use_figure(
        over_time(requests(), requests().blocks[0], requests().policies[1])
    ),
    "spacing": lambda _: spaced(),
    "sweep in a column": lambda folder: figures.sweep_figure(
        swept(folder), "effect.mean", width=figures.COLUMN
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FIGURES)
def test_words_do_not_overlap_and_axes_have_units(name: str, tmp_path: Path) -> None:
    assert faults(FIGURES[name](tmp_path / "s.results")) == []


def test_what_is_wrong_with_a_figure_is_found() -> None:
    """The check itself: one word over another, one off the canvas, an axis without a unit."""
    figure = Figure(figsize=(2, 2))
    ax = figure.subplots()
    ax.set_xlabel("Time")
    ax.text(0.5, 0.5, "here", transform=ax.transAxes)
    ax.text(0.5, 0.5, "there", transform=ax.transAxes)
    figure.text(0.9, 0.5, "far too long to stand here")
    told = " ".join(faults(figure))
    assert "'here' over 'there'" in told
    assert "leaves the canvas" in told
    assert "'Time' has no unit" in told
