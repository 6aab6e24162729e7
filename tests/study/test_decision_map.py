"""A map of winners: theory's border, ties, and what is left open."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from vmexit_sim.errors import InputError
from vmexit_sim.scenario import scenario_data
from vmexit_sim.study.decision_map import DecisionMap, decision_map
from vmexit_sim.study.sweep import Factor

GAP = "blocks.0.guest.between.mean"
BATCH = "parameters.batched-full.max_batch"
LOOP = {"kind": "spread", "operations": 100, "between": "1 us", "read_share": 0.0, "space": "mmio"}


def spread_or_batched(operations: int = 1500, **changes: Any) -> DecisionMap:
    data, path = scenario_data("spread-or-batched-waiting")
    data["blocks"][0]["guest"]["operations"] = operations
    stated: dict[str, Any] = {
        "across": Factor(place=GAP, values=["150 ns", "1600 ns", 4, "log"]),
        "up": Factor(place=BATCH, values=[2, 4, 8]),
        "metric": "burden.mean",
        "replications": 4,
    }
    return decision_map(data, path, **{**stated, **changes})


def calls(up: Factor, **changes: Any) -> DecisionMap:
    """Traps that decode for 2 us, or calls that dispatch for as long as the factor says."""
    data = {"platform": "ideal", "policies": ["linux-default", "hypercall"],
            "costs": {"decode_mmio": "2 us"}, "blocks": [{"guest": LOOP}]}  # fmt: skip
    across = Factor(place="costs.dispatch_hypercall", values=["1 us", "2 us", "3 us"])
    return decision_map(data, **{"across": across, "up": up, **changes})


SWITCH = Factor(place="costs.world_switch_out", values=["1 us", "5 us"])


def test_the_border_is_where_theory_draws_it() -> None:
    found = spread_or_batched()
    told = {(cell.across, cell.up): cell.winner for cell in found.cells.values()}
    for (column, row), winner in told.items():
        gap, k = found.across.places[column], found.up.places[row]
        assert winner == ("batched-full" if gap < 2e6 / k else "hypercall")
    assert found.winners == ("hypercall", "batched-full")
    assert found.share("hypercall") + found.share("batched-full") == 1


def test_at_the_border_it_is_too_close_to_call() -> None:
    found = spread_or_batched(across=Factor(place=GAP, values=["100 ns", "500 ns", "2 us"]),
                              up=Factor(place=BATCH, values=[4]))  # fmt: skip
    assert [found.cells[n, 0].winner for n in range(3)] == ["batched-full", None, "hypercall"]
    assert set(found.cells[1, 0].best) == {"hypercall", "batched-full"}
    assert found.share(None) == pytest.approx(1 / 3)


def test_without_chance_numbers_decide_and_equals_share_the_point() -> None:
    found = calls(SWITCH)
    best = [found.cells[column, 0].best for column in range(3)]
    assert best == [("hypercall",), ("linux-default", "hypercall"), ("linux-default",)]
    assert [found.cells[n, 1].best for n in range(3)] == best  # what both pay cancels
    assert found.replications == 1


def test_more_throughput_is_better() -> None:
    found = calls(SWITCH, metric="throughput")
    assert [found.cells[n, 0].winner for n in range(3)] == ["hypercall", None, "linux-default"]


def test_bounds_win_nothing() -> None:
    found = calls(SWITCH, policies=["linux-default", "hypercall", "batched-oracle"])
    assert found.left_out == ("batched-oracle",)
    assert found.policies == ("linux-default", "hypercall")


def test_a_factor_may_be_a_name() -> None:
    names = ["ideal", "kvm-2013"]
    found = calls(Factor(place="platform", values=names), names=("dispatch", "host"))
    assert (found.up.unit, found.up.values, found.up.places) == ("", tuple(names), (0.0, 1.0))
    assert found.across.places == (1e6, 2e6, 3e6)
    assert set(found.to_frame()["host"]) == set(names)


def test_elsewhere_the_same_map_is_found() -> None:
    here = spread_or_batched(300)
    told: list[tuple[int, int]] = []
    with ThreadPoolExecutor(2) as pool:
        there = spread_or_batched(300, executor=pool, progress=lambda n, of: told.append((n, of)))
    assert there == here
    assert told == [(n + 1, 12) for n in range(12)]


def test_a_frame_has_a_row_for_each_point_and_policy() -> None:
    found = spread_or_batched(300)
    frame = found.to_frame()
    assert len(frame) == 4 * 3 * 2
    one = frame[(frame[GAP] == 150_000) & (frame[BATCH] == 2)]
    assert one["winner"].tolist() == ["batched-full"] * 2
    assert dict(zip(one["policy"], one["may_be_best"], strict=True)) == {
        "hypercall": False,
        "batched-full": True,
    }
    assert set(frame["unit"]) == {"ps"}
    assert set(frame["n"]) == {4}


def test_a_policy_s_file_is_looked_for_where_the_user_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, path = scenario_data("spread-or-batched-waiting")
    data["blocks"][0]["guest"]["operations"] = 40
    (tmp_path / "mine.toml").write_text(
        'title = "t"\n[[rules]]\nside = "host"\nmechanism = "hypercall"\n', encoding="utf-8"
    )
    monkeypatch.chdir(tmp_path)
    asked: dict[str, Any] = {
        "across": Factor(place=GAP, values=["1 us", "2 us"]),
        "up": Factor(place="costs.to_user", values=["0 ns", "1 us"]),
        "replications": 2,
    }
    data["policies"] = ["hypercall", "mine.toml"]
    found = decision_map(data, path, **asked, elsewhere={"policies": None})
    assert found.share(None) == 1  # they are the same


def test_two_axes_of_one_name_are_refused() -> None:
    with pytest.raises(InputError, match="both"):
        calls(Factor(place="costs.dispatch_hypercall", values=["1 us"]))


def test_one_replication_of_what_is_random_is_refused() -> None:
    with pytest.raises(InputError, match="2 or more"):
        spread_or_batched(50, replications=1)


def test_a_range_must_say_how_many_values_it_has() -> None:
    with pytest.raises(InputError, match="how many"):
        spread_or_batched(50, across=Factor(place=GAP, values=["1 us", "2 us", "log"]))


def test_a_factor_may_be_any_key_and_states_each_value_once() -> None:
    """A result's own columns (seed, point) are no names of a map's factors."""
    data = {"blocks": [{"guest": {**LOOP, "between": {"kind": "exponential", "mean": "1 us"}}}]}
    path = None
    seeds = Factor(place="seed", values=[1, 2])
    shares = Factor(place="blocks.0.guest.read_share", values=[0.0, 1.0])
    found = decision_map(data, path, across=seeds, up=shares, replications=2,
                         policies=["linux-default", "hypercall"])  # fmt: skip
    assert len(found.cells) == 4
    twice = Factor(place="seed", values=[1, 1])
    with pytest.raises(InputError, match="states a value twice"):
        decision_map(data, path, across=twice, up=shares, replications=2)
