"""The commands that ask more than one run can answer, as a user gives them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

WAITING = "spread-or-batched-waiting"
SMALL = ["--set", "blocks.0.guest.operations=1000", "--reps", "8"]


def document(called: Any, *arguments: str) -> dict[str, Any]:
    status, out, err = called(*arguments, "--json")
    assert status == 0, err
    found = json.loads(out)
    assert isinstance(found, dict)
    return found


def test_crossover_finds_the_exact_break_even_and_says_so(called: Any) -> None:
    ask = ["crossover", WAITING, "--between", "hypercall", "batched-full", "--along",
           "blocks.0.guest.between.mean", "--from", "100ns", "--to", "20us", "--metric",
           "burden.mean", *SMALL]  # fmt: skip
    (flip,) = document(called, *ask)["flips"]
    assert flip["at"]["value"] == pytest.approx(500_000, rel=0.05)
    assert flip["at"]["low"] <= 500_000 <= flip["at"]["high"]
    assert flip["closed_form"] == pytest.approx(500_000)
    _, out, _ = called(*ask)
    assert "batched-full is better below" in out


def test_crossover_draws_what_it_found_and_refuses_other_files(called: Any, tmp_path: Path) -> None:
    ask = ["crossover", "spread", "--between", "linux-default", "hypercall", "--along",
           "costs.dispatch_hypercall", "--from", "0ns", "--to", "5us", "--scale", "linear",
           "--set", "blocks.0.guest.operations=200", "--reps", "2", "--points", "3"]  # fmt: skip
    picture = tmp_path / "flip.svg"
    status, out, _ = called(*ask, "--figure", str(picture))
    assert status == 0
    assert str(picture) in out
    assert picture.read_text().startswith("<?xml")
    status, _, err = called(*ask, "--figure", str(tmp_path / "flip.gif"))
    assert (status, "end it with .svg, .png or .pdf" in err) == (2, True)


def test_decide_maps_two_factors(called: Any) -> None:
    found = document(
        called, "decide", "spread", "--across", "blocks.0.guest.accesses_per_operation=1,4",
        "--up", "blocks.0.guest.read_share=0.0,1.0", "--policy", "hypercall", "batched-recorded",
        "--set", "blocks.0.guest.operations=200", "--reps", "3", "--jobs", "1",
    )  # fmt: skip
    winners = {(point["across"], point["up"]): point["winner"] for point in found["points"]}
    assert winners[1, 0] == "batched-recorded"  # rows of four writes
    assert winners[0, 1] == "hypercall"  # single reads


def test_select_names_the_best_policy(called: Any) -> None:
    found = document(called, "select", "spread", "--policy", "linux-default", "hypercall",
                     "--indifference", "1us", "--set", "blocks.0.guest.operations=200")  # fmt: skip
    assert (found["best"], found["decided"]) == ("hypercall", True)


def test_screen_names_the_costs_that_decide(called: Any) -> None:
    found = document(
        called, "screen", "spread", "--between", "linux-default", "hypercall", "--trajectories",
        "2", "--set", "blocks.0.guest.operations=50", "--reps", "2", "--jobs", "2",
    )  # fmt: skip
    influences = {each["place"]: each["mu_star"]["value"] for each in found["influences"]}
    assert influences["costs.decode_mmio"] > 0
    assert "thread_wake_up" in found["unused"]


def test_tune_finds_the_best_batch(called: Any) -> None:
    ask = ["tune", WAITING, "--parameter", "parameters.batched-full.max_batch=1,2,4,8",
           "--metric", "burden.mean", *SMALL]  # fmt: skip
    found = document(called, *ask)
    assert found["chosen"] == 2
    assert "Best: 2" in called(*ask)[1]


def test_analytic_agrees_where_theory_knows(called: Any) -> None:
    ask = ["analytic", "spread", "--policy", "hypercall", "batched-recorded", "--set",
           "blocks.0.guest.operations=500", "--reps", "3"]  # fmt: skip
    status, out, _ = called(*ask)
    assert status == 0
    assert "agree with it" in out
    assert "no theory of batched-recorded" in out


def test_explain_says_where_a_cost_comes_from_and_what_it_means(called: Any) -> None:
    ask = ["explain", "kvm-2017", "to_user", "--scenario", "spread"]
    status, out, _ = called(*ask)
    assert status == 0
    assert "half of inl_from_qemu 6,209" in out
    assert "derived by arithmetic" in out
    found = document(called, *ask)
    assert list(found["costs"]) == ["to_user"]
    status, _, err = called("explain", "kvm-2017", "to_usr")
    assert (status, "did you mean 'to_user'?" in err) == (2, True)


STUDY = """
scenario = "spread"

[set]
policies = ["linux-default", "hypercall"]
replications = 2
"blocks.0.guest.operations" = 50

[factors]
platform = ["kvm-2013", "kvm-2017"]
"blocks.0.guest.read_share" = [0.0, 1.0]
"""


@pytest.fixture
def study(tmp_path: Path) -> Path:
    path = tmp_path / "small.toml"
    path.write_text(STUDY)
    return path


def test_sweep_runs_what_is_missing_and_only_that(called: Any, study: Path, tmp_path: Path) -> None:
    ask = ["sweep", str(study), "-o", str(tmp_path / "out"), "--jobs", "1"]
    first = document(called, *ask)
    assert (first["points"], first["computed"], first["stored_before"]) == (4, 4, 0)
    again = document(called, *ask)
    assert (again["computed"], again["stored_before"]) == (0, 4)
    assert "4 were stored" in called(*ask)[1]


def test_sweep_lists_points_and_an_estimate_before_anything_starts(
    called: Any, study: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "out"
    found = document(called, "sweep", str(study), "-o", str(folder), "--list")
    assert [point["state"] for point in found["points"]] == ["to run"] * 4
    assert found["estimated_seconds_on_one_core"] > 0
    assert not folder.exists()


def test_a_failed_point_is_told_and_the_status_says_so(called: Any, tmp_path: Path) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(STUDY.replace('["kvm-2013", "kvm-2017"]', '["kvm-2013", "kvm-1999"]'))
    status, out, err = called("sweep", str(path), "-o", str(tmp_path / "out"), "--jobs", "1")
    assert status == 1
    assert "2 of 4 points failed" in err
    assert "'kvm-1999' is no platform" in err
    assert "2 computed" in out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["crossover", "spread", "--between", "hypercall", "hypercal", "--along", "costs.to_user",
          "--from", "1us", "--to", "2us"], "did you mean 'hypercall'?"),
        (["tune", "spread", "--parameter", "costs.to_user"], "write it like"),
        (["compare", "spread", "--set", "blocks.7.guest.operations=3"], "leads nowhere"),
        (["compare", "spread", "--set", "nonsense"], "write it like costs.to_user=1us"),
        (["compare", "spread", "--precision", "soon"], "soon"),
        (["compare", "spread", "--input-uncertainty"], "says nothing of its costs' errors"),
        (["sweep", "no-such-study"], "is no study"),
        (["sweep", "spacing", "--scheduler", "nowhere"], "--scheduler"),
        (["probe", "-o", "host.txt"], "end it with .toml"),
    ],
)  # fmt: skip
def test_mistakes_end_with_status_2_and_a_mend(
    called: Any, arguments: list[str], said: str
) -> None:
    status, _, err = called(*arguments)
    assert status == 2
    assert said in err


def test_a_host_without_kvm_is_told_in_a_sentence_with_status_3(
    called: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vmexit_sim import probe
    from vmexit_sim.errors import NoKvm

    def absent(**_: object) -> None:
        raise NoKvm("there is no /dev/kvm")

    monkeypatch.setattr(probe, "survey", absent)
    status, out, err = called("probe")
    assert (status, out) == (3, "")
    assert err == "vmexit-sim: there is no /dev/kvm\n"


def test_a_simulated_run_calibrates_to_the_platform_that_it_ran_on(
    called: Any, tmp_path: Path
) -> None:
    """Round trip: run, perf's form, calibrate; the exit's mean comes back."""
    report, host = tmp_path / "perf.txt", tmp_path / "host.toml"
    status, _, err = called("run", "spread", "--policy", "linux-default", "--platform", "kvm-2017",
                            "--perf", str(report), "--reps", "1")  # fmt: skip
    assert status == 0, err
    assert "EPT_MISCONFIG" in report.read_text()
    found = document(called, "calibrate", str(report), "-o", str(host))
    assert host.exists()
    names = {measured["name"] for measured in found["measurements"]}
    assert "EPT_MISCONFIG" in names
    before, after = (
        document(called, "run", "spread", "--policy", "linux-default", "--platform", platform)
        for platform in ("kvm-2017", str(host))
    )
    exits = [run["blocks"][0]["exits_by_reason"]["EPT_MISCONFIG"] for run in (before, after)]
    assert exits[1]["mean_ps"] == pytest.approx(exits[0]["mean_ps"], rel=0.005)


def test_a_report_of_exits_is_of_one_guest(called: Any, tmp_path: Path) -> None:
    status, _, err = called("run", "--perf", str(tmp_path / "perf.txt"))
    assert (status, "several guests" in err) == (2, True)
