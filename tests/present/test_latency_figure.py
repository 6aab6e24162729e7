"""Latency curves are the empirical distributions, and their bands the tables' intervals."""

from __future__ import annotations

import numpy as np
import pytest
from figure_guests import contended, recorded, requests, scenario

from vmexit_sim.errors import InputError
from vmexit_sim.measure.spread import Distribution, distribution, from_sketch
from vmexit_sim.present import figures
from vmexit_sim.study.compare import compare
from vmexit_sim.study.latencies import latency_spread
from vmexit_sim.study.replication import lowered_for, run_once


def test_a_recording_is_drawn_as_numpy_counts_it() -> None:
    opened = recorded()
    found = latency_spread(opened, opened.blocks[0])
    frame = figures.latency_frame(found)
    for policy in opened.policies:
        run = run_once(opened, lowered_for(opened, policy, opened.blocks[0]), opened.blocks[0])
        stalls = run.to_columns()["stall"]
        own = frame[frame["policy"] == policy.name]
        assert own["value"].tolist() == np.unique(stalls).tolist()
        assert own["beyond"].tolist() == pytest.approx(
            [(stalls > value).mean() for value in own["value"]], abs=1e-12
        )
    assert set(frame["method"]) == {"exact"}
    assert found.basis.endswith("exact, from every access's record")


def test_a_curve_steps_through_its_points() -> None:
    found = latency_spread(recorded(("linux-default",)), recorded(("linux-default",)).blocks[0])
    frame = figures.latency_frame(found)
    (ax,) = figures.latency_figure(found).axes
    (line,) = ax.get_lines()
    x, y = (np.asarray(data) for data in line.get_data())
    assert line.get_drawstyle() == "steps-post"
    assert y[0] == 1
    assert x[1:] * 1e6 == pytest.approx(frame["value"].to_numpy())
    assert y[1:-1] == pytest.approx(frame["beyond"].to_numpy()[:-1])
    assert [text.get_text() for text in ax.get_yticklabels()] == ["0", "90", "99"]  # 862 accesses


def test_p99_and_its_interval_are_those_of_the_tables() -> None:
    opened = contended()
    found = latency_spread(opened, opened.blocks[0], "response")
    for own, outcome in zip(found.policies, compare(opened).blocks[0].policies, strict=True):
        place = int(np.argmin(np.abs(own.beyond - 0.01)))
        p99, told = own.quantiles[place], outcome.latency["response"]["p99"]
        assert own.beyond[place] == 0.01
        assert (p99.value, p99.low, p99.high, p99.n) == (told.value, told.low, told.high, 7)
    assert "95 % intervals between order statistics" in found.basis


@pytest.mark.parametrize("n", [1, 2, 5, 13, 14, 100, 450])
def test_a_curve_begins_with_the_fastest_access_and_ends_with_the_slowest_share(n: int) -> None:
    guest = {"kind": "spread", "operations": n, "read_share": 0.5, "space": "mmio",
             "emulate": {"kind": "exponential", "mean": "2 us"}, "between": "1 us"}  # fmt: skip
    opened = scenario(guest, ("linux-default",), replications=1)
    found = latency_spread(opened, opened.blocks[0])
    (own,) = found.policies
    run = run_once(opened, lowered_for(opened, opened.policies[0], opened.blocks[0]),
                   opened.blocks[0], keep_rows=True)  # fmt: skip
    assert own.quantiles[0].value == pytest.approx(run.to_columns()["stall"].min(), rel=1 / 2048)
    assert (np.diff(own.beyond) < 0).all()
    assert own.beyond[0] > 1 - 1 / n - 0.08
    assert own.beyond[-1] == pytest.approx(1 / n, rel=0.08) or n == 1
    assert figures.latency_figure(found).axes
    assert "the median of 1 replication's quantiles" in found.basis


def test_too_few_replications_have_no_band() -> None:
    found = latency_spread(contended(3), contended(3).blocks[0])
    (ax,) = figures.latency_figure(found).axes
    assert not ax.collections
    assert figures.latency_frame(found)["low"].isna().all()
    assert "no bands: intervals need 6 replications" in found.basis


def test_a_sketch_knows_the_same_quantiles_as_the_rows() -> None:
    opened = requests()
    block = opened.blocks[0]
    lowered = lowered_for(opened, opened.policies[1], block)
    rows = run_once(opened, lowered, block, keep_rows=True).summary
    shares = np.array([0, 0.5, 0.9, 0.99, 0.999, 1])
    exact, near = distribution(rows, "effect"), from_sketch(rows.latencies["effect"])
    assert (exact.is_exact, near.is_exact) == (True, False)
    assert exact.n == near.n == 200
    assert exact.quantiles(shares).tolist() == [rows.quantile("effect", q) for q in shares]
    assert near.quantiles(shares) == pytest.approx(exact.quantiles(shares), rel=1 / 2048)
    sketch = rows.latencies["effect"]
    assert near.quantiles(shares).tolist() == [sketch.quantile(q) for q in shares]


def test_nothing_has_no_quantiles() -> None:
    nothing = Distribution(values=np.empty(0), counts=np.empty(0, np.int64), is_exact=True)
    assert np.isnan(nothing.quantiles(np.array([0.5]))).all()


def test_curves_that_coincide_are_dashed_in_turn() -> None:
    guest = {"kind": "spread", "operations": 50, "read_share": 1.0, "space": "mmio",
             "between": "1 us"}  # fmt: skip
    opened = scenario(guest, ("linux-default", "config-cache", "hypercall"))
    found = latency_spread(opened, opened.blocks[0])
    one, other, _ = (own.quantiles for own in found.policies)
    assert one == other  # a cache of config space does not reach plain MMIO
    (ax,) = figures.latency_figure(found).axes
    first, second, third = ax.get_lines()
    assert (first.get_linestyle(), second.get_linestyle(), third.get_linestyle()) == (
        "--", "--", "-",
    )  # fmt: skip
    assert first.get_color() != second.get_color()
    assert first.get_linewidth() == second.get_linewidth() > third.get_linewidth()


def test_no_latency_is_refused() -> None:
    with pytest.raises(InputError, match="is no latency"):
        latency_spread(recorded(), recorded().blocks[0], "stal")
