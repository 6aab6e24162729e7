"""What commands print of answers that are kept, drawn or shown beside others, in text and JSON."""

from __future__ import annotations

import json
import threading
import webbrowser
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import vmexit_sim.cli.exploring as exploring
from vmexit_sim.cli import main
from vmexit_sim.guest.kvm_event import Entry, Event, Exit
from vmexit_sim.guest.kvm_text import event_line
from vmexit_sim.present.validation_tables import BEGIN, END

SMALL = ["--set", "blocks.0.guest.operations=20", "--reps", "2"]
CALIBRATED = """
extends = "kvm-2017"
title = "t"
about = "t"

[measurements.whole]
mean = "160 ns"
error = "2 ns"

[costs.world_switch_out]
value = "160 ns"
mark = "H"
source = "measured for this test"
from = { whole = 1.0 }
"""


@pytest.fixture
def called(called: Any) -> Any:
    """Runs the command line, which must end well, and returns what it printed."""

    def call(*arguments: str, status: int = 0) -> str:
        found, printed, said = called(*arguments)
        assert found == status, said
        return str(printed)

    return call


def test_the_whole_of_a_platform_is_explained_cost_by_cost(called: Any) -> None:
    out = called("explain", "kvm-2017", "--scenario", "bar-sizing",
                 "--between", "linux-default", "hypercall")  # fmt: skip
    assert out.startswith("kvm-2017: ")
    assert "verdict on" in out
    assert "hypercall less by" in out
    rows = {line.split()[0] for line in out.splitlines() if line.strip()}
    assert {"to_user", "decode_mmio", "thread_wake_up"} <= rows


def test_a_comparison_shows_the_calibrations_uncertainty_in_text_and_json(
    called: Any, tmp_path: Path
) -> None:
    host = tmp_path / "host.toml"
    host.write_text(CALIBRATED)
    ask = ["compare", "spread", "--platform", str(host), "--policy", "linux-default", "hypercall",
           "--input-uncertainty", *SMALL]  # fmt: skip
    out = called(*ask)
    assert "With the calibration's uncertainty" in out
    assert "draws of 1 costs: world_switch_out" in " ".join(out.split())
    told = json.loads(called(*ask, "--json"))["input_uncertainty"]
    assert told["drawn_costs"] == ["world_switch_out"]
    first, second = told["blocks"][0]["policies"]
    assert first["adds_least_in"] + second["adds_least_in"] == pytest.approx(1)


def test_theory_is_printed_as_one_document(called: Any) -> None:
    told = json.loads(called("analytic", "spread", "--policy", "hypercall", *SMALL, "--json"))
    assert told["misses"] == 0
    assert told["judged"] > 0
    assert {twin["policy"] for twin in told["twins"]} == {"hypercall"}


def test_theory_that_an_identity_contradicts_ends_with_status_1(
    called: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vmexit_sim.statistics import exact
    from vmexit_sim.study import twin

    wrong = twin.Twin(block="b", policy="p", quantity="VM exits", simulated=exact(41, "1"), low=40,
                      high=40, law="sum of costs", assumes="a", standing="identity")  # fmt: skip
    monkeypatch.setattr(twin, "twins", lambda *_, **__: [wrong])
    out = called("analytic", "spread", "--policy", "hypercall", *SMALL, status=1)
    assert "+2.5 % !" in out


def test_rows_are_written_without_a_word_where_a_document_is_wanted(
    called: Any, tmp_path: Path
) -> None:
    rows, again = tmp_path / "rows.parquet", tmp_path / "again.parquet"
    ask = ["run", "spread", "--policy", "hypercall", "--set", "blocks.0.guest.operations=20"]
    told = json.loads(called(*ask, "--records", str(rows), "--json"))["blocks"]
    assert len(pd.read_parquet(rows)) == 20
    assert [block["accesses"] for block in told] == [20]
    assert f"{again}: 20 accesses, a row each" in called(*ask, "--records", str(again))


def test_an_imported_trace_is_told_as_a_document(called: Any, tmp_path: Path) -> None:
    table = tmp_path / "t.parquet"
    told = json.loads(called("trace", "import", "net-virtio", "-o", str(table), "--json"))
    assert (told["table"], told["bad_lines"]) == (str(table), 0)
    assert told["accesses"] == len(pd.read_parquet(table)) > 0


def test_the_exits_of_a_real_guest_stand_beside_the_simulated_ones(
    called: Any, tmp_path: Path
) -> None:
    log, trace = tmp_path / "kvm.log", tmp_path / "trace.json"
    left = Exit(None, "IO_INSTRUCTION", None)
    happened = [(5000, 7, left), (9000, 7, Entry(3)), (9500, 7, left), (9900, 7, Entry(3))]
    lines = [event_line(Event(n, *each), "perf --ns") for n, each in enumerate(happened, 1)]
    log.write_text("".join(f"{line}\n" for line in lines))
    ask = ["timeline", "bar-sizing", "--policy", "linux-default", "--beside", str(log), "-o",
           str(trace)]  # fmt: skip
    assert f"{log}: 2 exits of a real guest" in called(*ask)
    told = json.loads(called(*ask, "--json"))
    assert told["beside"] == {"file": str(log), "exits": 2, "left_out": 0, "bad_lines": 0}
    assert told["events"] == len(json.loads(trace.read_text())["traceEvents"])


@pytest.mark.parametrize("page", [None, "docs.md"])
def test_a_validation_is_shown_or_written_into_a_page(
    called: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, page: str | None
) -> None:
    from vmexit_sim import validation

    rows = list(validation.claims(("paths",), quick=True))[:2]
    monkeypatch.setattr(validation, "claims", lambda *_, **__: rows)
    if page is None:
        assert rows[0].claim.split()[0] in called("validation")
        return
    path = tmp_path / page
    path.write_text(f"before\n{BEGIN}\nold tables\n{END}\nafter\n")
    assert called("validation", "--page", str(path)) == f"2 rows: {path}\n"
    text = path.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old tables" not in text
    assert rows[1].claim in text


def test_a_screening_is_drawn_as_a_tornado(called: Any, tmp_path: Path) -> None:
    picture = tmp_path / "tornado.svg"
    ask = ["screen", "spread", "--between", "linux-default", "hypercall", "--trajectories", "2",
           "--set", "blocks.0.guest.operations=10", "--reps", "2", "--jobs", "1", "--figure",
           str(picture)]  # fmt: skip
    shown = json.loads(called(*ask, "--json"))["influences"]
    assert picture.read_text().startswith("<?xml")
    assert "costs.decode_mmio" in {each["place"] for each in shown}


@pytest.mark.parametrize(
    ("options", "desktop", "opens"),
    [(["--open"], "", True), (["--no-open"], ":0", False), ([], ":0", True), ([], "", False)],
)
def test_the_explorer_opens_a_browser_where_there_is_a_desktop_or_it_is_asked_to(
    called: Any, monkeypatch: pytest.MonkeyPatch, options: list[str], desktop: str, opens: bool
) -> None:
    from types import SimpleNamespace

    from vmexit_sim.explorer import server

    opened: list[str] = []
    monkeypatch.setattr(exploring.sys, "platform", "linux")
    monkeypatch.setenv("DISPLAY", desktop)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setattr(webbrowser, "open", opened.append)
    monkeypatch.setattr(exploring.gc, "freeze", lambda: None)
    monkeypatch.setattr(server, "Explorer", lambda *_: SimpleNamespace(explore=lambda _: None))
    monkeypatch.setattr(server, "server_of", lambda *_: SimpleNamespace(run=lambda **_: None))
    out = called("explore", "--port", "0", *options)
    address = out.split()[2]
    assert out == f"exploring at {address} (Ctrl-C ends it)\nexploring ended\n"
    assert opened == [address] * opens


def test_the_command_line_can_be_called_from_any_thread() -> None:
    """Where signals cannot be handled, nothing else is different."""
    ended: list[Any] = []

    def run() -> None:
        with pytest.raises(SystemExit) as caught:
            main(["models", "show", "no-such-model"])
        ended.append(caught.value.code)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert ended == [2]
