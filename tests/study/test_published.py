"""Published numbers that the models must give back digit for digit."""

from __future__ import annotations

import pytest

from vmexit_sim.configuration import checked
from vmexit_sim.errors import InputError
from vmexit_sim.guest.generators import BarSizing
from vmexit_sim.guest.table import Flag, Space, make_table
from vmexit_sim.guest.workload import Recorded
from vmexit_sim.hypervisor.platform import load_platform
from vmexit_sim.present.experiment import config_reads, recorded_config, run
from vmexit_sim.study.scan_fit import fit_scan
from vmexit_sim.units import MILLISECOND, NANOSECOND, SECOND


@pytest.mark.parametrize(
    ("policy", "exits", "nanoseconds"),
    [("linux-default", 2, 128_090), ("mmio-first", 1, 85_170), ("read-only-pages", 0, 100)],
)
def test_the_thread_s_loop(policy: str, exits: int, nanoseconds: int) -> None:
    result = config_reads(policy, "vmware-2022", 1_000)
    assert result.summary.exits == exits * 1_000
    assert result.completion == nanoseconds * NANOSECOND * 1_000


@pytest.mark.parametrize(("way", "picoseconds"), [("port", 433_153), ("mmio", 268_792)])
def test_the_thread_s_bare_metal(way: str, picoseconds: int) -> None:
    result = config_reads({"name": "native", "config": way}, "bare-metal-2022", 1_000)
    assert result.completion == picoseconds * 1_000


@pytest.mark.parametrize(
    ("policy", "difference"),
    [("linux-default", 16_320), ("mmio-first", 8_160), ("absent-page", 0)],
)
def test_255_empty_buses(policy: str, difference: int) -> None:
    exits = []
    for trace in ("pci-scan-q35", "pci-scan-q35-lastbus0"):
        guest = recorded_config(trace)
        exits.append(run(policy, "kvm-2017", guest.workloads[guest.main_scale]).summary.exits)
    assert exits[0] - exits[1] == difference


@pytest.mark.parametrize(
    ("policy", "exits"),
    [("linux-default", 8), ("mmio-first", 4), ("read-only-pages", 2), ("batched-idioms", 2),
     ("size-bar-hypercall", 1)],
)  # fmt: skip
def test_exits_to_size_one_bar(policy: str, exits: int) -> None:
    one = checked(BarSizing, {"kind": "bar_sizing", "sequence": "bare", "bars32": 1})
    assert run(policy, "kvm-2017", one).summary.exits == exits


@pytest.mark.parametrize(("toggles", "seconds"), [(8, 201.6), (1, 25.2)])
def test_14_gpus_whose_decoding_is_toggled(toggles: int, seconds: float) -> None:
    table = make_table(14 * toggles, space=Space.PCI_CONFIG, write=True, address=4,
                       flags=Flag.DECODE_TOGGLE)  # fmt: skip
    result = run("linux-default", "kvm-2017", Recorded(table), costs={"state_change": "1.8 s"})
    assert result.completion / SECOND == pytest.approx(seconds, abs=0.01)


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
