"""Crossovers and maps say what was found, to people and to programs, and figures show it."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console, RenderableType

from vmexit_sim.present import crossover_tables as tables
from vmexit_sim.present import figures
from vmexit_sim.present.crossover_verdict import crossover_verdict
from vmexit_sim.present.figures import crossover_figure, map_figure
from vmexit_sim.scenario import scenario_data
from vmexit_sim.study.contest import stretch
from vmexit_sim.study.crossover import Crossover, crossover
from vmexit_sim.study.decision_map import DecisionMap, decision_map
from vmexit_sim.study.sweep import Factor

GAP = "blocks.0.guest.between.mean"
BATCH = "parameters.batched-full.max_batch"
LOOP = {"kind": "spread", "operations": 50, "between": "1 us", "read_share": 0.0, "space": "mmio"}


def waiting(operations: int) -> tuple[dict[str, Any], Path | None]:
    data, path = scenario_data("spread-or-batched-waiting")
    data["blocks"][0]["guest"]["operations"] = operations
    return data, path


def batched(place: str, low: str, high: str, operations: int = 800) -> Crossover:
    data, path = waiting(operations)
    return crossover(data, path, first="hypercall", second="batched-full", metric="burden.mean",
                     along=stretch(place, low, high, points=5), replications=5)  # fmt: skip


def calls(low: str, high: str, costs: dict[str, str], **changes: Any) -> Crossover:
    data = {"name": "loop", "platform": "ideal", "costs": costs, "blocks": [{"guest": LOOP}]}
    along = stretch("costs.dispatch_hypercall", low, high, points=3)
    pair = {"first": "linux-default", "second": "hypercall", **changes}
    return crossover(data, along=along, **pair)


@pytest.fixture(scope="module")
def along_spacing() -> Crossover:
    return batched(GAP, "100ns", "20us")


@pytest.fixture(scope="module")
def over_both() -> DecisionMap:
    data, path = waiting(800)
    return decision_map(
        data, path, across=Factor(place=GAP, values=["100 ns", "500 ns", "2 us"]),
        up=Factor(place=BATCH, values=[4, 8]), metric="burden.mean", replications=5,
        policies=["hypercall", "batched-full", "batched-oracle"],
    )  # fmt: skip


def text_of(shown: RenderableType) -> str:
    console = Console(file=io.StringIO(), width=118, highlight=False)
    console.print(shown)
    file = console.file
    assert isinstance(file, io.StringIO)
    return file.getvalue()


def test_the_verdict_names_both_sides_and_the_interval(along_spacing: Crossover) -> None:
    said = crossover_verdict(along_spacing)
    assert said.startswith("batched-full is better below 4")
    assert said.endswith("ns (95 %, 5 reps), hypercall above.")


def test_the_report_sets_theory_beside_the_simulation(along_spacing: Crossover) -> None:
    shown = text_of(tables.crossover_report(along_spacing))
    assert "closed form" in shown
    assert "500 ns" in shown
    assert "platform ideal; seed 2022; 5 replications, intervals at 95 %" in shown
    rows = [line.split() for line in shown.splitlines()]
    assert next(row[0] for row in rows if row and row[-1] == "batched-full") == "100"


def test_a_whole_number_factor_flips_between_two() -> None:
    said = crossover_verdict(batched(BATCH, "2", "32"))
    assert said.startswith("batched-full is better up to 3, hypercall from 4 on (told up to ")


def test_an_exact_root_says_so() -> None:
    found = calls("100ns", "10us", {"decode_mmio": "2 us"})
    assert crossover_verdict(found) == (
        "hypercall is better below 2 µs (exact), linux-default above."
    )
    assert "nothing is left to chance: exact" in text_of(tables.crossover_report(found))


def test_no_crossover_says_who_is_better_and_by_how_much() -> None:
    assert crossover_verdict(calls("1us", "2us", {"decode_mmio": "5 us"})) == (
        "No crossover from 1 µs to 2 µs: hypercall is better throughout, by 200 µs at 1 µs and "
        "150 µs at 2 µs (exact)."
    )


def test_what_is_equal_everywhere_is_said_to_be() -> None:
    found = calls("1us", "2us", {"dispatch_mmio": "1 us"}, second="mmio-first")
    assert "cannot be told apart anywhere" in crossover_verdict(found)


def test_an_interval_that_leaves_the_range_is_open() -> None:
    found = batched(GAP, "480ns", "20us", operations=80)
    said = crossover_verdict(found)
    assert "480 ns" in said
    assert ("goes on below 480 ns" in said) == bool(found.flips)
    assert found.stretches[0].sign == 0


def test_bounds_are_named() -> None:
    found = calls("1us", "2us", {}, second="batched-oracle")
    assert "batched-oracle is a bound" in text_of(tables.crossover_report(found))


def test_a_map_can_be_read_without_colour(over_both: DecisionMap) -> None:
    shown = text_of(tables.map_report(over_both))
    lines = [line.split() for line in shown.splitlines()]
    assert ["4", "B", "~", "A"] in lines
    assert ["8", "B", "A", "A"] in lines
    assert lines.index(["8", "B", "A", "A"]) < lines.index(["4", "B", "~", "A"])  # up is up
    assert "A hypercall: best at 50.0 %" in shown
    assert "~ too close to call at 16.7 %" in shown
    assert "not usable by this guest: batched-oracle" in shown


def test_documents_hold_every_estimate_whole(
    along_spacing: Crossover, over_both: DecisionMap
) -> None:
    found = json.loads(json.dumps(tables.crossover_document(along_spacing), allow_nan=False))
    (flip,) = found["flips"]
    assert flip["at"]["unit"] == "ps"
    assert flip["closed_form"] == pytest.approx(5e5, rel=1e-6)
    assert flip["at"]["low"] < 5e5 < flip["at"]["high"]
    assert [s["better"] for s in found["stretches"]] == ["batched-full", None, "hypercall"]
    assert all(m["difference"]["n"] == 5 for m in found["simulated"])
    chart = json.loads(json.dumps(tables.map_document(over_both), allow_nan=False))
    assert len(chart["points"]) == 6
    assert chart["up"]["values"] == [4, 8]
    assert sum(chart["shares"].values()) + chart["too_close"] == pytest.approx(1)


def test_figures_open_and_say_what_they_show(
    along_spacing: Crossover, over_both: DecisionMap, tmp_path: Path
) -> None:
    line, chart = crossover_figure(along_spacing), map_figure(over_both)
    for name, figure in (("line", line), ("map", chart)):
        first = figures.save(figure, tmp_path / f"{name}.svg").read_text(encoding="utf-8")
        assert first.startswith("<?xml")
    assert line.axes[0].get_xlabel() == f"{GAP} (µs)"
    assert line.axes[0].get_ylabel().startswith("Difference in burden.mean (")
    words = {text.get_text() for text in line.legends[0].get_texts()}
    assert {"closed form", "crossover, simulated", "hypercall is better"} <= words
    assert [label.get_text() for label in chart.axes[0].get_xticklabels()] == [
        "100 ns", "500 ns", "2 µs",
    ]  # fmt: skip
    hatched = [patch for patch in chart.axes[0].patches if patch.get_hatch()]
    assert len(hatched) == 1


def test_a_figure_of_no_crossover_still_shows_the_difference() -> None:
    figure = crossover_figure(calls("1us", "2us", {"decode_mmio": "5 us"}))
    low, high = figure.axes[0].get_ylim()
    assert low < -200
    assert high > 0
