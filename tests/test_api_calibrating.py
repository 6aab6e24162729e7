"""From Python, measurements of a host become a platform, as on the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

import vmexit_sim as vs
from vmexit_sim.calibration.perf_text import perf_kvm_stat

SMALL = {"blocks.0.guest.operations": 400}


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What perf would print of a simulated guest on kvm-2013."""
    ran = vs.run("pci-scan-q35", policy="mmio-first", platform="kvm-2013", only=["pci_config"])
    path = tmp_path_factory.mktemp("host") / "perf.txt"
    path.write_text(perf_kvm_stat(ran.results[0]), encoding="utf-8")
    return path


def test_a_cost_says_where_it_is_from_and_whether_it_is_identified(measured: Path) -> None:
    found = vs.calibrate(measured, base="kvm-2017")
    frame = found.to_frame().set_index("cost")
    assert len(frame) == len(found.calibration.costs)
    assert frame["measured"].any()
    assert not frame["measured"].all()
    own = frame[frame["measured"]]
    assert (own["low"] <= own["high"]).all()
    assert own["source"].str.contains("perf.txt").all()
    assert "come from measurements" in found.verdict
    assert found.verdict in " ".join(str(found).split())
    assert found.verdict in repr(found)
    assert "<table>" in found._repr_html_()


def test_a_saved_calibration_is_a_platform_with_its_uncertainty(
    measured: Path, tmp_path: Path
) -> None:
    platform = vs.calibrate(measured).save(tmp_path / "mine.toml")
    result = vs.compare("spread", platform=str(platform), policies=["linux-default", "hypercall"],
                        reps=3, set=SMALL, input_uncertainty=True)  # fmt: skip
    assert result.uncertainty is not None
    assert "calibration" in str(result)
    assert vs.compare("spread", policies=["hypercall"], reps=2, set=SMALL).uncertainty is None


def test_what_it_is_given_is_checked(measured: Path, tmp_path: Path) -> None:
    with pytest.raises(vs.InputError, match="no file to calibrate from"):
        vs.calibrate()
    with pytest.raises(vs.InputError, match="is not a quantity"):
        vs.calibrate(measured, clock="fast")
    with pytest.raises(vs.InputError, match=r"end it with \.toml"):
        vs.calibrate(measured).save(tmp_path / "mine.txt")
