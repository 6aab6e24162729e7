"""Figures say what they show, cover no data, and come out the same twice."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from matplotlib.figure import Figure

from vmexit_sim.configuration import checked
from vmexit_sim.errors import InputError
from vmexit_sim.opened import open_scenario
from vmexit_sim.present import colours, figures
from vmexit_sim.present.figures import Bars, Crossing, Lines, Reference
from vmexit_sim.scenario import Scenario
from vmexit_sim.study.compare import compare
from vmexit_sim.study.outcome import BlockOutcome

POLICIES = ["linux-default", "read-only-pages", "hypercall", "bare-metal"]


@pytest.fixture(scope="module")
def outcome() -> BlockOutcome:
    guest = {"kind": "spread", "operations": 40, "read_share": 0.5, "space": "pci_config",
             "between": {"kind": "exponential", "mean": "1 us"}}  # fmt: skip
    stated = {"policies": POLICIES, "replications": 3, "blocks": [{"name": "b", "guest": guest}]}
    return compare(open_scenario(checked(Scenario, stated))).blocks[0]


def bars() -> Figure:
    frame = pd.DataFrame({
        "label": ["a", "b", "c"], "value": [1.0, 20.0, 0.0], "low": [0.9, 20.0, 0.0],
        "high": [1.1, 20.0, 0.0], "published": [1.05, math.nan, math.nan], "note": ["x", "y", "z"],
    })  # fmt: skip
    linear, log = Bars(frame=frame, xlabel="Time (s)"), Bars(frame=frame, xlabel="T (s)", log=True)
    return figures.bar_panels([linear, log])


def lines() -> Figure:
    frame = pd.DataFrame({"series": ["s"] * 3 + ["t"] * 3, "x": [1, 2, 3] * 2,
                          "y": [3.0, 2, 1, 2, 2, 2], "low": [2.9, 1.9, 0.9, 2, 2, 2],
                          "high": [3.1, 2.1, 1.1, 2, 2, 2]})  # fmt: skip
    panel = Lines(
        frame=frame, xlabel="Load (1)", ylabel="Cost (µs)", log="xy", limits=(0.5, 4),
        colours={"s": "#0072B2", "t": "#D55E00"},
        crossings=[Crossing(series="s", exact=2.0, simulated=2.05, low=1.9, high=2.2),
                   Crossing(series="t", exact=1.5)],
        references=[Reference(axis="y", at=1.0, label="one"),
                    Reference(axis="x", at=2.5, label="half")],
    )  # fmt: skip
    return figures.line_panels([panel])


def dots() -> Figure:
    frame = pd.DataFrame({"host": ["a", "a", "b"], "way": ["p", "q", "p"], "value": [1.0, 9, 2],
                          "published": [1.0, math.nan, math.nan]})  # fmt: skip
    return figures.dots(frame, row="host", series="way", xlabel="Time (µs)", log=True,
                        colours={"p": "#0072B2", "q": "#D55E00"})  # fmt: skip


@pytest.mark.parametrize("make", [bars, lines, dots])
def test_every_axis_is_named_with_its_unit(make: Callable[[], Figure]) -> None:
    for ax in make().axes:
        assert ax.get_xlabel().endswith(")")
        assert ax.get_ylabel().endswith(")") or make is not lines


@pytest.mark.parametrize("log", [False, True])
def test_policy_bars_show_time_interval_and_ratio(outcome: BlockOutcome, log: bool) -> None:
    (ax,) = figures.policy_bars(outcome, log=log).axes
    assert [label.get_text() for label in ax.get_yticklabels()] == POLICIES
    assert ax.get_xlabel() == "Hypervisor time (µs)"
    notes = [text.get_text() for text in ax.texts]
    assert notes[0] == "× 1"
    assert notes[-1] == "× 0"
    assert ax.get_xscale() == ("log" if log else "linear")


def test_a_policy_has_its_colour_in_every_figure(outcome: BlockOutcome) -> None:
    from matplotlib.colors import to_hex

    (ax,) = figures.policy_bars(outcome).axes
    drawn = [to_hex(bar.get_facecolor()) for bar in ax.patches]
    assert drawn == [colours.policy_colour(name).lower() for name in POLICIES]
    assert colours.policy_colour("mine") == colours.policy_colour("mine")
    assert len(set(colours.POLICIES.values())) == len(colours.POLICIES)


def test_stage_breakdown_adds_up_to_the_stall(outcome: BlockOutcome) -> None:
    frame = figures.stage_frame(outcome)
    stalls = frame.groupby("policy")["time"].sum()
    (ax,) = figures.stage_breakdown(outcome).axes
    assert ax.get_xlabel() == "Time the vCPU stands still (µs)"
    widths = [sum(bar.get_width() for bar in ax.patches if round(bar.get_y() + 0.36) == place)
              for place in range(len(POLICIES))]  # fmt: skip
    assert widths == pytest.approx([stalls[name] / 1e6 for name in POLICIES])
    for policy in outcome.policies:
        stall = policy.latency["stall"]["mean"].value * policy.accesses
        assert stalls[policy.policy.name] == pytest.approx(stall)


@pytest.mark.parametrize("make", [bars, lines, dots])
def test_the_legend_covers_no_data(make: Callable[[], Figure]) -> None:
    figure = make()
    figure.draw_without_rendering()
    (legend,) = figure.legends
    assert not any(ax.get_legend() for ax in figure.axes)
    for ax in figure.axes:
        assert not legend.get_window_extent().overlaps(ax.get_window_extent())


@pytest.mark.parametrize("make", [bars, lines, dots])
def test_everything_lies_within_the_figure(make: Callable[[], Figure]) -> None:
    figure = make()
    figure.draw_without_rendering()
    inside, needed = figure.bbox, figure.get_tightbbox().transformed(figure.dpi_scale_trans)
    assert needed.x0 >= inside.x0 - 1
    assert needed.x1 <= inside.x1 + 1
    assert needed.y0 >= inside.y0 - 1


@pytest.mark.parametrize("suffix", ["svg", "png", "pdf"])
def test_two_saves_are_byte_equal(suffix: str, tmp_path: Path) -> None:
    saved = [figures.save(lines(), tmp_path / f"{n}.{suffix}").read_bytes() for n in "ab"]
    assert saved[0] == saved[1]
    assert not list(tmp_path.glob("*partial*"))


def test_saving_twice_does_not_change_the_figure(tmp_path: Path) -> None:
    figure = dots()
    saved = [figures.save(figure, tmp_path / f"{n}.svg").read_bytes() for n in "ab"]
    assert saved[0] == saved[1]


def test_an_ending_that_is_no_picture_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="ending of a picture") as error:
        figures.save(dots(), tmp_path / "figure.svgg")
    assert ".svg" in str(error.value)


def test_a_place_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        figures.save(dots(), tmp_path / "file" / "figure.svg")


@pytest.mark.parametrize(
    ("picoseconds", "unit"), [(5, "ns"), (2e6, "µs"), (3e9, "ms"), (4e12, "s")]
)
def test_axes_take_the_unit_that_suits(picoseconds: float, unit: str) -> None:
    assert figures.unit_of(picoseconds)[0] == unit
