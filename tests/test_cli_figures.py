"""`vmexit-sim figure`, as a user gives it."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from vmexit_sim.cli import main

SPREAD = ["spread", "--set", "blocks.0.guest.operations=60", "--reps", "2", "--policy",
          "linux-default", "hypercall"]  # fmt: skip
ONE = [*SPREAD[:-2], "linux-default"]
SHORT = ["--from", "5us", "--to", "20us", "--points", "2"]


@pytest.fixture
def called(called: Any) -> Any:
    """Runs `figure`: its status, what it printed, and what it complained of."""
    return partial(called, "figure")


@pytest.mark.parametrize(
    ("kind", "arguments", "columns"),
    [("policies", SPREAD, {"policy", "time", "low", "high", "ratio"}),
     ("stages", SPREAD, {"policy", "stage", "time"}),
     ("latency", SPREAD, {"policy", "beyond", "value", "low", "high", "n", "method"}),
     ("tail", [*SPREAD, "--of", "response"], {"policy", "group", "stage", "share", "low", "high"}),
     ("waterfall", SPREAD, {"policy", "lane", "stage", "begin", "end"}),
     ("exits", SPREAD, {"policy", "reason", "begin", "end", "exits", "per_ms"}),
     ("resources", ONE, {"resource", "kind", "begin", "utilisation", "queue", "most"}),
     ("spacing", [*SPREAD, *SHORT], {"policy", "x", "value", "low", "high", "n"})],
)  # fmt: skip
def test_each_kind_writes_a_picture_and_tells_its_numbers(
    called: Any, tmp_path: Path, kind: str, arguments: list[str], columns: set[str]
) -> None:
    picture = tmp_path / "drawn.svg"
    status, out, err = called(kind, *arguments, "-o", str(picture), "--json")
    assert status == 0, err
    told = json.loads(out)
    assert told["figure"] == str(picture)
    assert told["basis"]
    assert columns <= set(told["rows"][0])
    assert picture.read_text(encoding="utf-8").startswith("<?xml")


def test_without_json_a_sentence_says_where_it_is_and_what_it_rests_on(
    called: Any, tmp_path: Path
) -> None:
    picture = tmp_path / "l.png"
    _, out, _ = called("latency", *SPREAD, "-o", str(picture))
    assert out.startswith(f"{picture}: stall latency; at each share the median of 2 replications'")
    assert "no bands" in out
    assert picture.read_bytes()[:4] == b"\x89PNG"


def test_break_evens_are_told_in_words_and_as_numbers(called: Any, tmp_path: Path) -> None:
    asked = ["spacing", "spread-or-batched-waiting", "--metric", "burden.mean", "--from", "100ns",
             "--to", "20us", "--points", "3", "--reps", "3", "-o", str(tmp_path / "s.svg"),
             "--set", "blocks.0.guest.operations=100"]  # fmt: skip
    _, out, _ = called(*asked)
    assert "batched-full is better below " in out.splitlines()[1]
    assert "95 %, 3 reps), hypercall above." in out.splitlines()[1]
    _, out, _ = called(*asked, "--json")
    (one,) = json.loads(out)["break_evens"]
    assert one["low"] < one["value"] < one["high"]
    assert one["exact"] == pytest.approx(5e5, rel=1e-3)


def test_runs_of_several_policies_are_each_told(called: Any, tmp_path: Path) -> None:
    _, out, _ = called("exits", *SPREAD, "--to", "1 s", "-o", str(tmp_path / "e.svg"))
    assert "linux-default: one run of " in out
    assert "| hypercall: one run of " in out
    assert out.count("so do the bins") == 2


def test_a_missing_folder_is_refused_before_anything_runs(
    called: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("it ran")

    monkeypatch.setattr("vmexit_sim.study.compare.compare", never)
    status, _, err = called("policies", *SPREAD, "-o", str(tmp_path / "new" / "p.svg"))
    assert (status, "is in no existing folder" in err) == (2, True)
    assert not list(tmp_path.iterdir())


def test_a_format_completes_a_name_and_must_not_contradict_it(called: Any, tmp_path: Path) -> None:
    assert called("stages", *SPREAD, "-o", str(tmp_path / "s"), "--format", "pdf")[0] == 0
    assert (tmp_path / "s.pdf").read_bytes()[:4] == b"%PDF"
    for wrong in (["s.png", "--format", "pdf"], ["s.gif"], ["s"]):
        status, _, err = called("stages", *SPREAD, "-o", str(tmp_path / wrong[0]), *wrong[1:])
        assert status == 2
        assert "--output" in err
        assert "end it with ." in err


def test_a_guest_goes_by_how_its_name_begins(called: Any, tmp_path: Path) -> None:
    only = ["bunched-and-spread", "--policy", "linux-default", "-o", str(tmp_path / "b.svg")]
    status, out, _ = called("policies", *only, "--block", "spread")
    assert status == 0
    assert "spread: interrupt services of a recorded e1000 download; exact" in out
    status, _, err = called("policies", *only)
    assert (status, "choose one" in err) == (2, True)
    assert called("policies", *only, "--block", "nothing")[0] == 2


@pytest.mark.parametrize(
    ("arguments", "says"),
    [(["tail", *SPREAD, "--beyond", "99"], "--beyond"),
     (["waterfall", *SPREAD, "--access", "60"], "give 0 to 59"),
     (["exits", *SPREAD, "--from", "soon"], "--from"),
     (["resources", *ONE, "--from", "50 min"], "it ends at"),
     (["resources", *ONE, "--from", "50 min", "--to", "51 min"], "it ends at"),
     (["waterfall", *SPREAD, "--access", "9" * 5000], "give 0 to 59"),
     (["spacing", "pci-scan-q35"], "how far apart"),
     (["sweep", "nowhere.results"], "holds no results")],
)  # fmt: skip
def test_mistakes_end_with_status_2_and_say_the_mend(
    called: Any, tmp_path: Path, arguments: list[str], says: str
) -> None:
    status, _, err = called(*arguments, "-o", str(tmp_path / "x.svg"))
    assert (status, says in err) == (2, True), err
    assert not list(tmp_path.iterdir())


def test_a_sweeps_results_are_drawn_from_its_folder(
    called: Any, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    study = tmp_path / "s.toml"
    study.write_text(
        'title = "s"\nquestion = "s"\nscenario = "spread"\n'
        '[set]\npolicies = ["linux-default", "hypercall"]\nreplications = 2\n'
        '"blocks.0.guest.operations" = 40\n'
        '[factors]\n"blocks.0.guest.read_share" = [0.0, 0.5, 1.0]\n',
        encoding="utf-8",
    )
    folder = tmp_path / "s.results"
    with pytest.raises(SystemExit):
        main(["sweep", str(study), "-o", str(folder), "--jobs", "1"])
    capsys.readouterr()
    status, out, err = called("sweep", str(folder), "-o", str(tmp_path / "s.svg"), "--json")
    assert status == 0, err
    assert len(json.loads(out)["rows"]) == 6
