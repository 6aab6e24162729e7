"""Published numbers beyond the rows of `vmexit_sim.validation`, which tests/validation holds."""

from __future__ import annotations

import pytest

from vmexit_sim.configuration import checked
from vmexit_sim.errors import InputError
from vmexit_sim.guest.generators import BarSizing
from vmexit_sim.hypervisor.platform import load_platform
from vmexit_sim.present.experiment import config_reads, recorded_config, run
from vmexit_sim.study.scan_fit import fit_scan
from vmexit_sim.units import MILLISECOND, SECOND


@pytest.mark.parametrize(
    ("sequence", "policy", "toggles"),
    [("old", "linux-default", 8), ("old", "batched-toggles", 2), ("batched", "linux-default", 2)],
)
def test_toggles_of_three_64_bit_bars_and_a_rom(sequence: str, policy: str, toggles: int) -> None:
    stated = {"kind": "bar_sizing", "sequence": sequence, "bars64": 3, "rom": True}
    guest = checked(BarSizing, {**stated, "decode_on": True})
    result = run(policy, "kvm-2017", guest, costs={"state_change": "1.8 s"})
    assert result.stage_times()["state change"] == toggles * 1.8 * SECOND


def test_the_fitted_exit_cost_gives_both_published_times_back() -> None:
    fit = fit_scan(recorded_config("pci-scan-q35", during=["kernel"]).table)
    assert (fit.reads, fit.writes) == (8_906, 231)
    assert fit.before == pytest.approx(55 * MILLISECOND, rel=1e-6)
    assert fit.after == pytest.approx(18 * MILLISECOND, rel=1e-6)
    assert 1.7e6 < fit.port_exit < 2.3e6  # ps: what KVM sources give
    assert fit.constant > 0
    assert fit.at_loop_cost > 20 * 55 * MILLISECOND
    assert fit.time(0, fit.port_exit) + fit.constant == pytest.approx(fit.before, rel=1e-6)


def test_a_scan_without_accesses_to_save_cannot_be_fitted() -> None:
    table = recorded_config("pci-scan-q35", during=["kernel"]).table
    with pytest.raises(InputError, match="nothing"):
        fit_scan(table.only(table.write & (table.address < 0)))


@pytest.mark.parametrize(
    ("platform", "ports", "coalesced", "ecam"),
    [
        ("kvm-2012", 38_362, 25_235, 22_175),
        ("kvm-2013", 10_574, 7_274, 8_796),
        ("kvm-2017", 11_470, 7_810, 8_770),
    ],
)
def test_a_coalesced_config_port_can_beat_ecam(
    platform: str, ports: int, coalesced: int, ecam: int
) -> None:
    """The table of docs/models.md, in cycles a config read."""
    clock = load_platform(platform).clock
    ways = {"trap_pio": ports, "coalesced_mmio": coalesced, "trap_mmio": ecam}
    for mechanism, cycles in ways.items():
        result = config_reads({"name": mechanism}, platform, 1_000)
        assert result.hypervisor_time * clock / 1e15 == pytest.approx(cycles, abs=0.6)
