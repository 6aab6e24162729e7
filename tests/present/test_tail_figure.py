"""The tail is attributed to the last picosecond, and its shares sum to 1."""

from __future__ import annotations

import numpy as np
import pytest
from figure_guests import contended, recorded, requests, scenario

from vmexit_sim.errors import InputError
from vmexit_sim.present import figures
from vmexit_sim.study.replication import lowered_for, run_once
from vmexit_sim.study.tail import LATE, chosen_of, tail


@pytest.mark.parametrize("which", ["stall", "response", "effect"])
def test_shares_sum_to_one(which: str) -> None:
    opened = requests()
    frame = figures.tail_frame(tail(opened, opened.blocks[0], which, 0.9))
    sums = frame.groupby(["policy", "group"])["share"].sum()
    assert len(sums) == 2 * len(opened.policies)
    assert sums.tolist() == pytest.approx([1.0] * len(sums), abs=1e-12)


def test_the_slowest_are_those_at_or_beyond_the_quantile_and_their_stages_are_their_stall() -> None:
    opened = contended()
    block = opened.blocks[0]
    run = run_once(opened, lowered_for(opened, opened.policies[0], block), block, keep_rows=True)
    stalls = run.to_columns()["stall"]
    slow = np.sort(stalls)[int(np.ceil(0.9 * len(stalls))) - 1]
    everything, slowest = chosen_of(run, "stall", 0.9)
    assert everything.accesses == len(stalls) == 450
    assert everything.total == stalls.sum()
    assert slowest.accesses == (stalls >= slow).sum()
    assert slowest.total == stalls[stalls >= slow].sum()


def test_who_waits_for_a_lock_waits_longer_in_the_tail() -> None:
    opened = contended()
    for own in tail(opened, opened.blocks[0]).policies:
        assert own.slowest["wait: VMM lock"].low > own.all["wait: VMM lock"].high
        assert own.mean_slowest.low > own.mean_all.high
        assert own.part.value == pytest.approx(0.011, abs=0.002)  # 5 or 6 of 450


def test_a_late_start_is_time_of_a_response_and_none_of_a_stall() -> None:
    guest = {"kind": "spread", "operations": 300, "read_share": 1.0, "space": "mmio",
             "between": "0 ps", "arrivals": {"kind": "exponential", "mean": "4 us"}}  # fmt: skip
    opened = scenario(guest, ("linux-default",), replications=2)
    (own,) = tail(opened, opened.blocks[0], "response").policies
    assert own.slowest[LATE].value > own.all[LATE].value > 0
    run = run_once(opened, lowered_for(opened, opened.policies[0], opened.blocks[0]),
                   opened.blocks[0], keep_rows=True)  # fmt: skip
    rows = run.to_columns()
    everything, _ = chosen_of(run, "response", 0.99)
    assert everything.total == (rows["resume"] - rows["due"]).sum()
    (own,) = tail(opened, opened.blocks[0], "stall").policies
    assert LATE not in own.all


def test_bars_are_as_long_as_their_shares() -> None:
    opened = recorded()
    found = tail(opened, opened.blocks[0])
    (ax,) = figures.tail_figure(found).axes
    lengths: dict[float, float] = {}
    for bar in ax.patches:
        middle = round(bar.get_y() + bar.get_height() / 2, 2)  # type: ignore[attr-defined]
        lengths[middle] = lengths.get(middle, 0) + bar.get_width()  # type: ignore[attr-defined]
    assert len(lengths) == 2 * len(opened.policies)
    assert list(lengths.values()) == pytest.approx([100.0] * len(lengths))
    assert len(ax.texts) == len(lengths)


@pytest.mark.parametrize("q", [0.0, 1.0, 99.0, float("nan")])
def test_what_is_no_quantile_is_refused(q: float) -> None:
    with pytest.raises(InputError, match="is no quantile"):
        tail(recorded(), recorded().blocks[0], "stall", q)
