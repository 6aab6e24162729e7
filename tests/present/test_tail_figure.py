"""The tail is attributed to the last picosecond, and its shares sum to 1."""

from __future__ import annotations

import numpy as np
import pytest
from figure_guests import contended, recorded, requests, scenario

from vmexit_sim.errors import InputError
from vmexit_sim.measure.records import RunResult
from vmexit_sim.opened import Opened
from vmexit_sim.present import figures
from vmexit_sim.steps import Role
from vmexit_sim.study.replication import lowered_for, run_once
from vmexit_sim.study.tail import BEFORE, FIRST, LATE, chosen_of, tail

TWICE = {"kind": "spread", "operations": 150, "vcpus": 3, "read_share": 0.5, "space": "mmio",
         "between": {"kind": "exponential", "mean": "4 us"},
         "emulate": {"kind": "exponential", "mean": "2 us"}}  # fmt: skip


def runs(opened: Opened) -> list[RunResult]:
    block = opened.blocks[0]
    return [run_once(opened, lowered_for(opened, policy, block), block, keep_rows=True)
            for policy in opened.policies]  # fmt: skip


@pytest.mark.parametrize("which", ["stall", "response", "effect"])
@pytest.mark.parametrize(
    "opened",
    [requests(), contended(), recorded(),
     scenario(TWICE, ("batched-oracle", "batched-full"), replications=1)],
)  # fmt: skip
def test_parts_sum_to_the_latency_to_the_picosecond(opened: Opened, which: str) -> None:
    for run in runs(opened):
        rows = run.to_columns()
        end = {"response": "resume", "effect": "done"}.get(which)
        latency = rows["stall"] if end is None else rows[end] - rows["due"]
        for chosen in chosen_of(run, which, 0.9):
            assert chosen.total == np.sort(latency)[-chosen.accesses :].sum()
            assert min(chosen.times.values()) > 0


def test_back_stages_are_time_of_an_effect_and_none_of_a_response() -> None:
    seen = set()
    for run in runs(requests()):
        back = {stage.name for stage in run.summary.stages if stage.role is Role.BACK}
        response, effect = (chosen_of(run, which, 0.9)[0] for which in ("response", "effect"))
        assert not back & set(response.times)
        assert set(effect.times) <= {LATE, BEFORE} | back
        seen |= back & set(effect.times)
        rows = run.to_columns()
        until = np.where(rows["posted"] >= 0, rows["posted"], rows["done"])
        assert effect.times[BEFORE] == (until - rows["start"]).sum()
    assert "back end emulation" in seen


def test_of_an_access_that_stalls_again_the_time_until_it_first_goes_on_is_one_part() -> None:
    (run,) = runs(scenario(TWICE, ("batched-oracle",), replications=1))
    rows = run.to_columns()
    first = rows["resume"] - rows["start"]
    again = rows["stall"] != first
    assert again.any()
    everything, _ = chosen_of(run, "response", 0.9)
    assert everything.times.get(FIRST, 0) == first[again].sum()


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


def test_the_frame_tells_the_mean_latency_and_how_many_are_slow() -> None:
    found = tail(contended(), contended().blocks[0])
    frame = figures.tail_frame(found)
    for own in found.policies:
        slowest = frame[(frame["policy"] == own.policy) & (frame["group"] == "slowest")]
        (mean,) = set(zip(slowest["mean"], slowest["mean_low"], slowest["mean_high"], strict=True))
        assert mean == (own.mean_slowest.value, own.mean_slowest.low, own.mean_slowest.high)
        (part,) = set(zip(slowest["of_accesses"], slowest["of_accesses_low"],
                          slowest["of_accesses_high"], strict=True))  # fmt: skip
        assert part == (own.part.value, own.part.low, own.part.high)
        everything = frame[(frame["policy"] == own.policy) & (frame["group"] == "all accesses")]
        assert set(everything["of_accesses"]) == {1.0}
        assert set(everything["mean"]) == {own.mean_all.value}
    words = [text.get_text() for text in figures.tail_figure(found).axes[0].texts]
    assert all(" ± " in word and "%" not in word for word in words)  # 1.1 % of 450 is about 1 %


def test_a_bar_says_which_share_the_slowest_are_where_many_take_equally_long() -> None:
    guest = {"kind": "spread", "operations": 50, "read_share": 1.0, "space": "mmio",
             "between": "1 us"}  # fmt: skip
    alike = scenario(guest, ("linux-default",))
    (ax,) = figures.tail_figure(tail(alike, alike.blocks[0])).axes
    assert [text.get_text().partition("; ")[2] for text in ax.texts] == ["", "all"]
    found = tail(recorded(), recorded().blocks[0])
    (ax,) = figures.tail_figure(found).axes
    told = [text.get_text().partition("; ")[2] for text in ax.texts][1::2]
    parts = [own.part.value for own in found.policies]
    assert told == ["all" if part == 1 else f"{100 * part:.3g} %" if abs(part - 0.01) >= 0.005
                    else "" for part in parts]  # fmt: skip
    assert any(word.endswith("%") for word in told)


@pytest.mark.parametrize("q", [0.0, 1.0, 99.0, float("nan")])
def test_what_is_no_quantile_is_refused(q: float) -> None:
    with pytest.raises(InputError, match="is no quantile"):
        tail(recorded(), recorded().blocks[0], "stall", q)
