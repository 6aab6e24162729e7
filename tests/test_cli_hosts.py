"""The commands that make a platform of a real host, as a user gives them; no host is measured."""

from __future__ import annotations

import json
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from vmexit_sim import probe
from vmexit_sim.hypervisor.platform import load_platform
from vmexit_sim.present.probe_tables import probe_document, probe_report
from vmexit_sim.probe import probes as p
from vmexit_sim.probe.composites import ITEM, LOOP
from vmexit_sim.probe.host import HostFacts
from vmexit_sim.probe.probes import Measured, failed
from vmexit_sim.probe.survey import Survey
from vmexit_sim.probe.validation import Prediction
from vmexit_sim.statistics import exact

HOST = HostFacts(cpu="a CPU", vendor="GenuineIntel", kernel="6.0", module="kvm_intel",
                 nested=False, cpus=2, load=0.5, began="2026-01-01T00:00:00+00:00")  # fmt: skip
PERF = """
Analyze events for all VMs, all VCPUs:

             VM-EXIT    Samples  Samples%     Time%    Min Time    Max Time         Avg time
      IO_INSTRUCTION        100   100.00%   100.00%      5.00us     15.00us     10.00us ( +-   1.00% )

Total Samples:100, Total events handled time:1000.00us.
"""  # noqa: E501


def took(name: str, ns: int) -> Measured:
    whole = tuple(1000.0 * (100 + ns + wobble) for wobble in range(-5, 6))
    return Measured(name=name, verdict="measured", whole=whole, control=(100_000.0,) * 11,
                    exits={"IO": 1.0}, items=1.0, iterations=50)  # fmt: skip


TIMES = {p.PORT_WRITE: 2000, p.PORT_EVENTFD: 500, p.HYPERCALL: 400, LOOP: 1, ITEM: 10}
SURVEY = Survey(host=HOST, measured={name: took(name, ns) for name, ns in TIMES.items()})
PREDICTION = Prediction(name="two at once", policy="trap_pio", accesses=1,
                        predicted=exact(12e6), measured=exact(10e6))  # fmt: skip


@pytest.fixture
def probed(called: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """`probe` on a host whose exits took what `TIMES` says."""
    monkeypatch.setattr(probe, "survey", lambda **_: SURVEY)
    monkeypatch.setattr(probe, "validate", lambda *_: [PREDICTION])
    return lambda *arguments: called("probe", *arguments)


def test_a_probe_without_a_file_shows_what_was_measured_and_writes_nothing(
    probed: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    status, out, _ = probed()
    assert status == 0
    assert "Exits measured on this host through /dev/kvm" in out
    assert "port write to user space" in out
    assert "--platform" not in out
    assert "two at once" not in out, "no guest was to be predicted"
    assert list(tmp_path.iterdir()) == []


def test_a_probe_writes_the_platform_and_says_how_to_use_it(
    probed: Any, called: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    status, out, _ = probed("-o", "mine.toml", "--validate")
    assert status == 0
    assert "Off are two at once by +20.0 %." in " ".join(out.split())
    assert out.splitlines()[-1] == (
        "platform: mine.toml; `vmexit-sim compare --platform ./mine.toml` uses it"
    )
    made = load_platform("./mine.toml")
    assert made.costs.to_user.mark in ("H", "D")
    port = load_platform("./mine.toml").measurements[p.PORT_WRITE]
    assert port.mean == pytest.approx(2_000_000)
    status, out, _ = called("explain", "./mine.toml", "to_user", "--scenario", "spread", "--json")
    assert status == 0
    assert json.loads(out)["platform"] == "mine"


def test_a_probes_document_holds_the_predictions_only_if_they_were_asked_for(
    probed: Any, tmp_path: Path
) -> None:
    status, out, _ = probed("--json", "--validate", "-o", str(tmp_path / "mine.toml"))
    document = json.loads(out)
    assert status == 0
    assert document["validation"]["guests"][0]["error"] == pytest.approx(0.2)
    assert (tmp_path / "mine.toml").exists()
    assert "validation" not in json.loads(probed("--json")[1])


def test_a_survey_alone_is_shown_without_costs_and_without_what_is_not_there() -> None:
    quiet = replace(SURVEY, measured={p.PORT_WRITE: took(p.PORT_WRITE, 2000),
                                      LOOP: failed(LOOP, "hung", "no answer")})  # fmt: skip
    out = StringIO()
    Console(file=out, width=140).print(probe_report(quiet))
    text = out.getvalue()
    assert "port write to user space" in text
    assert f"{LOOP}: hung; no answer" in text
    assert "an iteration" not in text.replace("One iteration", "")
    assert "the device's work for one item" not in text
    assert "costs follow from these measurements" not in text
    document = probe_document(quiet)
    assert {"calibration", "validation"} & set(document) == set()
    assert [each["verdict"] for each in document["probes"]] == ["measured", "hung"]


@pytest.fixture
def report(tmp_path: Path) -> str:
    path = tmp_path / "perf.txt"
    path.write_text(PERF)
    return str(path)


def test_a_calibration_without_a_file_is_only_shown(
    called: Any, report: str, tmp_path: Path
) -> None:
    status, out, _ = called("calibrate", report)
    assert status == 0
    assert out.startswith("calibrated from ")
    assert "IO_INSTRUCTION*" in out
    assert "--platform" not in out
    assert [path.name for path in tmp_path.iterdir()] == ["perf.txt"]


def test_a_calibration_is_written_as_a_platform_and_says_how_to_use_it(
    called: Any, report: str, tmp_path: Path
) -> None:
    path = tmp_path / "mine.toml"
    status, out, _ = called("calibrate", report, "-o", str(path), "--name", "lab", "--constant",
                            "--clock", "3.5 GHz", "--port-reads", "0.25")  # fmt: skip
    assert status == 0
    told = f"platform: {path}; `vmexit-sim compare --platform {path}` uses it"
    assert out.splitlines()[-1] == told
    made = load_platform(str(path))
    assert (made.name, made.clock, made.is_random) == ("lab", 3_500_000_000, False)
    assert made.measurements["IO_INSTRUCTION"].mean == 10_000_000


@pytest.mark.parametrize("command", ["calibrate", "probe"])
def test_a_file_in_no_folder_is_refused_before_anything_is_measured(
    called: Any, report: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    def never(**_: object) -> None:
        raise AssertionError("something was measured")

    monkeypatch.setattr(probe, "survey", never)
    path = tmp_path / "none" / "mine.toml"
    status, _, err = called(command, *[report] * (command == "calibrate"), "-o", str(path))
    assert status == 2
    assert f"--output: {str(path)!r} is in no existing folder" in " ".join(err.split())
    assert "make the folder first" in err
    assert not path.parent.exists()


def test_a_clock_that_is_no_frequency_is_named_with_its_option(called: Any, report: str) -> None:
    status, _, err = called("calibrate", report, "--clock", "fast")
    assert status == 2
    assert "--clock" in err
    assert "is not a quantity" in err
