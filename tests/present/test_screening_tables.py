"""What a screening says to somebody who must decide."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from vmexit_sim.present import figures
from vmexit_sim.present.figures import tornado
from vmexit_sim.present.screening_tables import document, screening_report, sentences
from vmexit_sim.statistics import Estimate, exact
from vmexit_sim.study.influence import Influence, share_of
from vmexit_sim.study.screening import Screening
from vmexit_sim.study.sweep.factor import Quantity
from vmexit_sim.study.threshold import Threshold

US = 1_000_000
BASE = Quantity(2.0 * US, "ps")
INFLUENCE = Influence(
    place="costs.to_user", mark="D", base=BASE, low=US, high=4.0 * US, scale="log",
    mu_star=Estimate(60 * US, 40 * US, 80 * US, 10, "normal bootstrap"), mu=-60.0 * US,
    sigma=3.0 * US, share=1.0, flips=share_of(4, 10), at_low=exact(5 * US), at_high=exact(-40 * US),
)  # fmt: skip
THRESHOLD = Threshold(place="costs.to_user", base=BASE, below=exact(1.1 * US), above=None,
                      plausible=(US, 4.0 * US), searched=(US / 10, 40.0 * US))  # fmt: skip
FOUND = Screening(
    scenario="s", platform="ideal", block="b", first="ports", second="calls", metric="added",
    difference=exact(-20 * US), influences=(INFLUENCE,), unused=("gather",),
    thresholds=(THRESHOLD,), agrees=share_of(90, 100), reverses=share_of(10, 100),
    trajectories=10, replications=1, evaluations=123, seed=1,
)  # fmt: skip


def said(found: Screening) -> str:
    return " ".join(sentences(found))


def test_the_verdict_names_the_value_that_would_change_it() -> None:
    text = said(FOUND)
    assert "calls is better than ports: added differs by 20 µs." in text
    assert "to_user below 1.1 µs (now 2 µs)" in text
    assert "the same at 90 of 100 points (82.4 % to 95.1 %, 95 %), the opposite at 10." in text


def test_where_nothing_changes_the_verdict_that_is_said_with_the_range_searched() -> None:
    none = replace(THRESHOLD, below=None)
    text = said(replace(FOUND, thresholds=(none,), agrees=share_of(100, 100)))
    assert "none changes it on its own within its plausible range" in text
    assert "Nor does any within 1/10 to 10 times that range." in text
    assert "at all 100 points (at 96.4 % or more" in text


def test_where_no_threshold_was_looked_for_none_is_spoken_of() -> None:
    text = said(replace(FOUND, thresholds=()))
    assert "costs that matter" not in text
    assert "Nor does" not in text


def test_a_threshold_outside_the_plausible_range_is_told_as_such() -> None:
    text = said(replace(FOUND, thresholds=(replace(THRESHOLD, below=exact(US / 2)),)))
    assert "none changes it on its own" in text
    assert "Further out: to_user below 500 ns (now 2 µs)." in text


def test_without_a_verdict_no_change_of_it_is_spoken_of() -> None:
    unsure = Estimate(-2 * US, -5 * US, US, 10, "paired t")
    assert "cannot be told apart" in said(replace(FOUND, difference=unsure, thresholds=()))
    assert "no verdict can change" in said(replace(FOUND, difference=exact(0), thresholds=()))


def test_of_a_throughput_more_is_better() -> None:
    assert replace(FOUND, metric="throughput", difference=exact(5, "1/s")).better == "calls"
    assert replace(FOUND, metric="throughput", difference=exact(-5, "1/s")).better == "ports"


def test_the_report_shows_each_cost_with_its_mark_and_range() -> None:
    console = Console(width=118, record=True, highlight=False)
    with console.capture() as got:
        console.print(screening_report(FOUND))
    text = got.get()
    for part in ("2 µs [D]", "1 µs … 4 µs", "60 ± 20 µs", "4/10", "-40 µs", "gather", "never"):
        assert part in text


def test_the_document_is_plain_json_and_holds_every_interval() -> None:
    made = json.loads(json.dumps(document(FOUND), allow_nan=False))
    assert made["better"] == "calls"
    assert made["influences"][0]["mu_star"]["low"] == 40 * US
    assert made["thresholds"][0]["below"]["value"] == 1.1 * US
    assert made["agrees"]["method"] == "Clopper-Pearson"


@pytest.mark.parametrize("influences", [(INFLUENCE,), ()])
def test_the_tornado_has_a_row_for_each_cost_and_is_the_same_twice(
    influences: tuple[Influence, ...], tmp_path: Path
) -> None:
    found = replace(FOUND, influences=influences)
    figure = tornado(found)
    bars, ranges = figure.axes
    assert len(ranges.get_yticks()) == len(influences)
    assert "ms" in ranges.get_xlabel() or "µs" in ranges.get_xlabel() or "ns" in ranges.get_xlabel()
    assert bars.get_ylim() == ranges.get_ylim()
    one, other = (figures.save(tornado(found), tmp_path / f"{n}.svg") for n in "ab")
    assert one.read_bytes() == other.read_bytes()
