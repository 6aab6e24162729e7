"""Curves along a factor are what the study found, band, break-even and panels included."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vmexit_sim.errors import InputError
from vmexit_sim.present import figures
from vmexit_sim.study.contest import stretch
from vmexit_sim.study.spacing import Spacing, own_spacing, ranged, spacing
from vmexit_sim.study.stated import Stated, stated
from vmexit_sim.study.sweep import Results, open_results, plan, run_study
from vmexit_sim.study.sweep.study_file import Study

GAP = "blocks.0.guest.between.mean"


def waiting(operations: int = 300) -> Stated:
    return stated("spread-or-batched-waiting", changes={
        "reps": 4, "set": {"blocks.0.guest.operations": operations}})  # fmt: skip


@cache
def spaced() -> Spacing:
    along = stretch(GAP, "100 ns", "20 us", points=4)
    return spacing(waiting(), along=along, metric="burden.mean")


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Results:
    folder: Path = tmp_path_factory.mktemp("results") / "s.results"
    study = Study.model_validate({
        "name": "s", "title": "s", "question": "s", "scenario": "spread",
        "set": {"policies": ["linux-default", "hypercall"], "replications": 2,
                "blocks.0.guest.operations": 50},
        "factors": {"platform": ["kvm-2013", "kvm-2017"],
                    "spacing": {"place": GAP, "values": ["1 us", "1 ms", 3, "log"]}},
    })  # fmt: skip
    run_study(plan(study, None), folder)
    return open_results(folder)


def test_a_break_even_is_drawn_where_theory_and_simulation_have_it() -> None:
    (one,) = spaced().crossovers
    (flip,) = one.flips
    (ax,) = figures.spacing_figure(spaced()).axes
    (exact,) = [line for line in ax.get_lines() if line.get_linestyle() == "--"
                and len(np.asarray(line.get_xdata()))]  # fmt: skip
    assert np.asarray(exact.get_xdata())[0] == pytest.approx(0.5)  # us: 2 / k
    (dot,) = [container for container in ax.containers if container.has_xerr]  # type: ignore[attr-defined]
    assert float(np.asarray(dot[0].get_xdata())[0]) == pytest.approx(flip.at.value / 1e6)
    words = [text.get_text() for text in ax.figure.legends[0].get_texts()]  # type: ignore[union-attr]
    assert words == ["hypercall", "batched-full", "exact break-even", "simulated break-even"]
    (row,) = figures.break_even_frame(spaced()).to_dict("records")
    assert (row["first"], row["second"], row["unit"]) == ("hypercall", "batched-full", "ps")
    assert (row["value"], row["low"], row["high"]) == (flip.at.value, flip.at.low, flip.at.high)
    assert row["exact"] == pytest.approx(5e5, rel=1e-4)
    assert (row["better_below"], row["better_above"]) == ("batched-full", "hypercall")


def test_both_curves_are_the_meetings_of_the_crossover() -> None:
    (one,) = spaced().crossovers
    frame = figures.spacing_frame(spaced())
    for name, which in (("hypercall", "first"), ("batched-full", "second")):
        own = frame[frame["policy"] == name]
        assert own["x"].tolist() == [meeting.value for meeting in one.meetings]
        assert own["value"].tolist() == [getattr(m, which).value for m in one.meetings]
    assert "means of 4 replications" in spaced().basis


@pytest.mark.parametrize(
    ("scenario", "place", "low", "high"),
    [("spread", "between.mean", 1e6, 1e8), ("interrupt-service", "interarrival.mean", 5e6, 5e8),
     ("request-response", "think.mean", 5e5, 5e7),
     ("spread-or-batched-effect", "arrivals.mean", 1.3e5, 1.3e7)],
)  # fmt: skip
def test_a_guests_own_spacing_is_found(scenario: str, place: str, low: float, high: float) -> None:
    factor = own_spacing(stated(scenario, changes={}))
    assert factor.places == [f"blocks.0.guest.{place}"]
    assert factor.range is not None
    assert factor.range.low.number == pytest.approx(low)
    assert factor.range.high.number == pytest.approx(high)


def test_a_stated_end_is_kept() -> None:
    factor = ranged(waiting(), None, GAP, "100 ns")
    assert factor.range is not None
    assert (factor.range.low.number, factor.range.high.number) == (1e5, 5e6)


@pytest.mark.parametrize(
    ("scenario", "policies", "more", "says"),
    [("spread", ["hypercall"], {}, "is one policy"),
     ("pci-scan-q35", ["linux-default", "hypercall"], {}, "how far apart"),
     ("spread", ["linux-default", "hypercall"], {"block": "no"}, "is no guest")],
)  # fmt: skip
def test_what_has_no_break_even_is_refused(
    scenario: str, policies: list[str], more: dict[str, Any], says: str
) -> None:
    with pytest.raises(InputError, match=says):
        spacing(stated(scenario, policies, changes={}), **more)


def test_a_sweeps_lines_are_its_rows_panel_by_panel(swept: Results) -> None:
    figure = figures.sweep_figure(swept, "effect.mean", width=figures.COLUMN)
    rows = swept.of("effect.mean")
    assert [ax.get_title() for ax in figure.axes] == ["platform = kvm-2013", "platform = kvm-2017"]
    for ax, platform in zip(figure.axes, ("kvm-2013", "kvm-2017"), strict=True):
        assert ax.get_ylabel() == "effect.mean (µs)"
        for line in ax.get_lines():
            own = rows[(rows["platform"] == platform) & (rows["policy"] == line.get_label())]
            assert np.asarray(line.get_xdata()) * 1e6 == pytest.approx(own["spacing"].to_numpy())
            assert np.asarray(line.get_ydata()) * 1e6 == pytest.approx(own["value"].to_numpy())
    assert figure.axes[-1].get_xlabel() == "spacing (µs)"


@pytest.mark.parametrize(
    ("more", "says"),
    [({"metric": "efect.mean"}, "is no metric"), ({"along": "platform"}, "an axis could show"),
     ({"along": "spacings"}, "did you mean 'spacing'"), ({"panels": "hosts"}, "no other factor"),
     ({"block": "spred"}, "is no guest")],
)  # fmt: skip
def test_what_a_sweep_does_not_have_is_refused(
    swept: Results, more: dict[str, str], says: str
) -> None:
    with pytest.raises(InputError) as told:
        figures.sweep_figure(swept, **more)  # type: ignore[arg-type]
    assert says in str(told.value)
