"""Every experiment script runs, prints its key numbers, and saves its figure."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "experiments"

KEY_NUMBERS = {
    "thread_table": ["12.809", "8.517", "0.010", "64.045", "0.433153", "0.268792", "429 reads"],
    "boot_scan": ["16,320", "19,852", "3,532", "8,160"],
    "bar_sizing": ["302.4", "201.6", "50.4", "25.2"],
    "bar_share": ["3.4%", "82.0%", "662"],
    "read_only_amdahl": ["2.11 µs", "55.00 -> 18.00", "8,906 reads and 231 writes"],
    "event_idx": ["417.1", "480.9", "69.07", "0.397 µs", "16.6%", "30.9%", "e-16"],
    "interrupt_coalescing": ["0.50022 ±", "1.5016 ±", "vIC", "[M]", "8, or 50 µs, 32 in flight"],
    "side_core": ["0.1138", "16.05", "79.5", "100%", "142K", "EOIs/s"],
    "coalesced_ring": ["1.368", "2.932", "836", "536", "35.9%", "28.7%", "37.5%"],
    "pci_testdev": ["8,796", "3,685", "1,777", "5,287", "2.387", "2.975", "1.664", "9.66"],
    "halt_polling": ["34.00", "27.00", "27.02", "26.75", "13.60%", "1.10%", "7.000", "0.991"],
    "overcommit": ["11.38 ± 0.15 µs", "backlog grows", "2.48 ± 0.26 ms", "94.1 ± 4.0 µs"],
    "ranking_by_host": ["× 0.061", "× 0.050", "0.924", "keeps its rank"],
    "start_up_and_job": ["14,989", "13,381", "81.4%", "93.1%", "48.1%"],
    "config_cache": ["39.2% of 1,043", "51.5%", "68.8%", "39.4% of 971", "19,034"],
    "hyperv_toggles": ["201.6", "25.2", "302.4", "50.4", "176.4"],
    "batched_bar_sizing": [
        "21/28 (14)",
        "22/16 (2)",
        "3.27983e-05",
        "+5.733",
        "-0.822",
        "100.000%",
    ],
    "pv_ipi": ["67%", "98%", "60%", "2.54", "1.82", "189.00"],
    "which_cost_decides": ["-7.245 ms", "decode_mmio above 1.31 µs", "1.222 µs (now"],
    "crossover_map": ["500 ns", "1.585 µs", "1.264 µs", "8 B B B B A A A A", "B batched"],
    "spread_or_batched": ["1.0000", "2.0000", "0.6308", "0.7914", "no crossover"],
}


def run_script(name: str, out: Path, monkeypatch: pytest.MonkeyPatch, *more: str) -> None:
    monkeypatch.setattr(sys, "argv", [f"{name}.py", "--quick", "--out", str(out), *more])
    runpy.run_path(str(FOLDER / f"{name}.py"), run_name="__main__")


def test_every_experiment_is_tested() -> None:
    assert {path.stem for path in FOLDER.glob("*.py")} == set(KEY_NUMBERS)


@pytest.mark.parametrize("name", KEY_NUMBERS)
def test_experiment_prints_its_key_numbers_and_saves_its_figure(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run_script(name, tmp_path / "made", monkeypatch)
    printed = capsys.readouterr().out
    assert [number for number in KEY_NUMBERS[name] if number not in printed] == []
    figure = tmp_path / "made" / f"{name}.svg"
    assert figure.read_text(encoding="utf-8").startswith("<?xml")


@pytest.mark.parametrize("name", KEY_NUMBERS)
def test_experiment_is_short_and_asks_one_question(name: str) -> None:
    text = (FOLDER / f"{name}.py").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 60
    question = text.splitlines()[0]
    assert question.startswith('"""')
    assert question.endswith("?")
    assert "Look at:" in text


def test_unwritable_place_is_an_error_without_a_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "taken").write_text("a file, not a folder")
    with pytest.raises(SystemExit) as ended:
        run_script("bar_sizing", tmp_path / "taken", monkeypatch)
    assert ended.value.code == 2
    assert "cannot be written" in capsys.readouterr().err
