"""A platform is simulated, its exits printed as perf would, and calibrated from: it comes back."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vmexit_sim.calibration.calibrate import Calibration, calibrate, write_calibration
from vmexit_sim.calibration.decompose import decompose
from vmexit_sim.calibration.observations import Evidence, Mixture
from vmexit_sim.calibration.perf_stat import read_perf_stat
from vmexit_sim.calibration.perf_text import perf_kvm_stat
from vmexit_sim.errors import InputError
from vmexit_sim.guest.table import Space, make_table
from vmexit_sim.guest.workload import Recorded
from vmexit_sim.hypervisor.platform import Platform, load_platform
from vmexit_sim.measure.records import ExitTally, RunResult
from vmexit_sim.mechanisms.hypercall import Hypercall
from vmexit_sim.policy import Match, Policy, Rule
from vmexit_sim.study.simulate import simulate

PLATFORMS = ("kvm-2012", "kvm-2013", "kvm-2017", "kvm-nested-2019", "ideal")
"""vmware-2022 is not among them: all of an exit is its dispatch there, and a null exit is taken for
the world switch here."""

ROUNDS = 2000

CALLS = Policy(
    title="MMIO of the interval timer's as hypercalls, all else as recorded",
    rules=[Rule(side="host", match=Match(device=["pit"]), mechanism=Hypercall())],
)


def one_of_each(rounds: int = ROUNDS) -> Recorded:
    """Round by round: a port write and read, a memory write, an MSR write, a hypercall."""
    spaces = [Space.PORT_IO, Space.PORT_IO, Space.MMIO, Space.MSR, Space.MMIO]
    devices = ("nvme", "apic-msi", "pit")
    return Recorded(
        make_table(
            len(spaces) * rounds,
            space=np.tile(spaces, rounds),
            write=np.tile([True, False, True, True, True], rounds),
            device=np.tile([0, 0, 0, 1, 2], rounds),
            address=np.tile([0x3F8, 0x3F8, 0x1000, 0x838, 0], rounds),
            devices=devices,
        )
    )


def ran(platform: Platform, seed: int = 1, rounds: int = ROUNDS) -> RunResult:
    return simulate(CALLS, platform, one_of_each(rounds), seed=seed)


def tallies(result: RunResult) -> dict[str, ExitTally]:
    return {tally.reason: tally for tally in result.exits}


def calibrated(
    result: RunResult, tmp_path: Path, null_calls: bool = True, **how: Any
) -> Calibration:
    """From a run's report; `CALLS` are handled in the kernel, and nothing is charged for them."""
    report = tmp_path / "report.txt"
    report.write_text(perf_kvm_stat(result, null_calls=null_calls))
    return calibrate([report], **how)


def mean(platform: Platform, name: str) -> float:
    return platform.costs.duration(name).mean_ps


EXITS = {"VMCALL", "IO_INSTRUCTION", "EPT_MISCONFIG", "MSR_WRITE"}


def test_the_guest_makes_an_exit_of_each_reason_and_handles_each_where_it_should() -> None:
    result = ran(load_platform("kvm-2017"), rounds=3)
    assert {reason: tally.samples for reason, tally in tallies(result).items()} == {
        "VMCALL": 3, "IO_INSTRUCTION": 6, "EPT_MISCONFIG": 3, "MSR_WRITE": 3,
    }  # fmt: skip
    assert tallies(result)["MSR_WRITE"].mean == pytest.approx(397_428, abs=1)  # 1,391 cycles


@pytest.mark.parametrize("name", PLATFORMS)
def test_each_cost_comes_back_within_its_interval(name: str, tmp_path: Path) -> None:
    truth = load_platform(name)
    found = calibrated(ran(truth, rounds=20), tmp_path, base=truth)
    derived = {cost.name: cost for cost in found.costs if cost.combination}
    assert derived.keys() >= {"world_switch_out", "world_switch_in"}
    for cost in derived.values():
        assert cost.low is not None
        assert cost.high is not None
        # Leaving and entering are halves here, and differ by a cycle or (ideal) altogether there.
        wanted = mean(truth, cost.name)
        if cost.name.startswith("world_switch"):
            wanted = (mean(truth, "world_switch_out") + mean(truth, "world_switch_in")) / 2
        assert cost.low <= wanted <= cost.high, cost


def scaled(factor: float, cv: float) -> Platform:
    """The 2017 host, slower by a factor, its larger costs lognormal above half of them."""
    base = load_platform("kvm-2017")
    changes: dict[str, Any] = {}
    for name, cost in base.costs.items():
        time = round(cost.value.mean_ps * factor)
        changes[name] = f"{time} ps"
        if time > 100_000 and name != "refill":
            changes[name] = {"kind": "lognormal", "mean": f"{time} ps", "cv": cv,
                             "shift": f"{time // 2} ps"}  # fmt: skip
    return load_platform("kvm-2017", changes=changes)


@pytest.mark.parametrize(("factor", "cv"), [(1.0, 0.1), (3.7, 0.57), (20.0, 1.5), (0.8, 0.3)])
def test_random_costs_come_back_within_their_intervals(
    factor: float, cv: float, tmp_path: Path
) -> None:
    truth = scaled(factor, cv)
    assert truth.is_random
    found = calibrated(ran(truth), tmp_path)  # the base has the proportions, not the size
    checked = 0
    for cost in found.costs:
        if cost.combination and cost.name not in ("world_switch_out", "world_switch_in"):
            assert cost.low is not None
            assert cost.high is not None
            centre, half = (cost.low + cost.high) / 2, (cost.high - cost.low) / 2
            # Nine intervals of 95 % at a fixed seed: twice as wide, so that none need miss.
            assert abs(mean(truth, cost.name) - centre) <= 2 * half, cost
            checked += 1
    assert checked == 8


def test_intervals_of_the_calibrated_costs_hold_the_truth_as_often_as_they_claim(
    tmp_path: Path,
) -> None:
    truth = scaled(3.7, 0.57)
    hits = [
        cost.low <= mean(truth, cost.name) <= cost.high
        for seed in range(60)
        for cost in calibrated(ran(truth, seed, 300), tmp_path).costs
        if cost.name in ("to_user", "dispatch_msr")
        and cost.low is not None
        and cost.high is not None
    ]
    assert len(hits) == 120
    assert np.mean(hits) >= 0.88


@pytest.mark.parametrize("spread", [True, False])
@pytest.mark.parametrize("base", ["kvm-2017", "kvm-2013", "vmware-2022"])
def test_what_is_simulated_on_the_calibrated_platform_has_the_measured_exits(
    base: str, spread: bool, tmp_path: Path
) -> None:
    # The base's proportions are wrong here: costs may be, whole exits may not.
    truth = load_platform("kvm-2012", changes={
        "dispatch_port": {"kind": "lognormal", "mean": "4 us", "cv": 0.8, "shift": "1 us"},
        "to_user": {"kind": "gamma", "mean": "5 us", "cv": 0.5},
        "dispatch_msr": {"kind": "exponential", "mean": "1 us"},
    })  # fmt: skip
    before = ran(truth)
    found = calibrated(before, tmp_path, base=base, spread=spread)
    write_calibration(tmp_path / "host.toml", found, "host")
    host = load_platform(str(tmp_path / "host.toml"))
    assert host.is_random == spread
    after = ran(host, seed=2)
    measured = {measurement.name: measurement for measurement in found.measurements}
    assert measured.keys() == EXITS
    for reason, tally in tallies(after).items():
        was = tallies(before)[reason]
        standard_error = (was.sd + tally.sd) / was.samples**0.5
        assert tally.mean == pytest.approx(was.mean, abs=4 * standard_error + 20_000), reason
        if spread and reason == "IO_INSTRUCTION":
            # What two reasons share has the spread of the one that was measured first.
            assert tally.sd == pytest.approx(was.sd, rel=0.25)
            assert tally.least >= was.least * 0.5
    if not spread:
        assert tallies(after)["IO_INSTRUCTION"].mean == pytest.approx(
            measured["IO_INSTRUCTION"].mean, abs=10
        )


def test_perfs_view_of_the_same_host_needs_the_world_switch_from_a_micro_benchmark(
    tmp_path: Path,
) -> None:
    truth = load_platform("kvm-2017")
    report = tmp_path / "report.txt"
    report.write_text(perf_kvm_stat(ran(truth, rounds=20)))
    (table,) = read_perf_stat(report)
    switch = mean(truth, "world_switch_out") + mean(truth, "world_switch_in")
    seen = [
        replace(m, mean=m.mean - switch)
        for m in table.measurements
        if m.name in ("IO_INSTRUCTION", "EPT_MISCONFIG")
    ]
    as_perf = replace(table, measurements=tuple(seen), is_simulated=False)
    slower = load_platform("kvm-2017", changes={"world_switch_out": "9 us"})
    found = decompose(Evidence(tables=[as_perf]), slower)
    costs = {cost.name: cost for cost in found.costs}
    for name in ("dispatch_port", "to_user", "decode_mmio", "complete_mmio"):
        cost = costs[name]
        assert cost.low is not None
        assert cost.low <= mean(truth, name) <= (cost.high or 0), cost
    assert "world_switch_out" not in costs
    assert any("9.169 µs were added to each exit, as on kvm-2017" in note for note in found.notes)


def test_the_share_of_reads_decides_what_a_mixture_means(tmp_path: Path) -> None:
    truth = load_platform("kvm-2017")
    reads = Recorded(make_table(100, space=Space.PORT_IO, write=False, devices=("nvme",)))
    result = simulate(Policy(title="reads"), truth, reads)
    for share, holds in ((1.0, True), (0.0, False)):
        found = calibrated(result, tmp_path, mixture=Mixture(port_reads=share))
        cost = next(cost for cost in found.costs if cost.name == "to_user")
        assert cost.low is not None
        assert (cost.low <= mean(truth, "to_user") <= (cost.high or 0)) == holds


def test_hypercalls_that_go_to_user_space_are_not_taken_for_the_world_switch(
    tmp_path: Path,
) -> None:
    truth = load_platform("kvm-2017")
    everything = Rule(side="host", match=Match(), mechanism=Hypercall())
    calls = Policy(title="all of it as hypercalls", rules=[everything])
    result = simulate(calls, truth, one_of_each(20))
    assert tallies(result).keys() == {"VMCALL"}
    assert tallies(result)["VMCALL"].mean > 2 * mean(truth, "world_switch_out")
    with pytest.raises(InputError, match="simulated VMCALL is not used"):
        calibrated(result, tmp_path, null_calls=False)
    some = Policy(title="memory as hypercalls", rules=[
        Rule(side="host", match=Match(space=["mmio"]), mechanism=Hypercall())])  # fmt: skip
    found = calibrated(simulate(some, truth, one_of_each(20)), tmp_path, null_calls=False)
    out = next(cost for cost in found.costs if cost.name == "world_switch_out")
    assert out.combination.keys() == {"MSR_WRITE"} or out.combination.keys() == {"IO_INSTRUCTION"}
    assert (out.low or 0) <= mean(truth, "world_switch_out") <= (out.high or 0)
    assert "split as on kvm-2017" in found.unidentified["world_switch_out"]


def test_a_guest_of_another_mixture_than_was_taken_is_cautioned_of(tmp_path: Path) -> None:
    # Three reads in four, all to user space: taken as one in two, decode comes out too dear.
    truth = load_platform("kvm-2017")
    write = np.tile([True, False, False, False], 25)
    guest = Recorded(make_table(100, space=Space.PORT_IO, write=write, devices=("nvme",)))
    result = simulate(Policy(title="reads"), truth, guest)
    for mixture, holds, said in (
        (None, False, "the share of reads (50%, not measured) and of user-space exits (100%)"),
        (Mixture(port_reads=0.75), True, "the share of reads (75%) and of user-space exits (100%)"),
    ):
        found = calibrated(result, tmp_path, mixture=mixture)
        cost = next(cost for cost in found.costs if cost.name == "decode_port_in")
        assert cost.low is not None
        assert (cost.low <= mean(truth, "decode_port_in") <= (cost.high or 0)) == holds
        assert said in found.caution
        write_calibration(tmp_path / "host.toml", found, "host")
        assert said in load_platform(str(tmp_path / "host.toml")).caution


def test_the_two_engines_print_the_same_report() -> None:
    texts = {
        perf_kvm_stat(simulate(CALLS, scaled(20.0, 1.5), one_of_each(200), engine=engine))
        for engine in ("simpy", "compiled")
    }
    assert len(texts) == 1


@pytest.mark.parametrize("cost", ["1999 us", "2147483647 ps", "2147483648 ps", "3 ms", "7 s"])
def test_both_engines_know_the_exact_sum_of_squares(cost: str) -> None:
    slow = {"kind": "uniform", "low": cost, "high": "17 min"}
    for changes in ({"to_user": cost}, {"to_user": slow}):
        platform = load_platform("kvm-2017", changes=changes)
        guest = Recorded(make_table(40, space=Space.PORT_IO, write=True, devices=("nvme",)))
        one, other = (
            simulate(Policy(title="x"), platform, guest, engine=engine, keep_rows=True)
            for engine in ("simpy", "compiled")
        )
        (tally,) = one.exits
        assert [tally] == other.exits
        exits = [int(stall) for stall in one.to_columns()["stall"]]  # one exit an access
        assert tally.squares == sum(time * time for time in exits)


def test_a_run_without_exits_prints_a_table_without_rows() -> None:
    nothing = Recorded(make_table(1, space=Space.PORT_IO, devices=("nvme",)))
    result = replace(simulate(Policy(title="x"), load_platform("ideal"), nothing), exits=[])
    assert "Total Samples:0, Total events handled time:0.00us." in perf_kvm_stat(result)
