"""Which costs measurements identify, and what is said of the others."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmexit_sim.calibration.costs import Calibrated, combined
from vmexit_sim.calibration.decompose import Decomposition, decompose
from vmexit_sim.calibration.measurement import Measurement
from vmexit_sim.calibration.observations import Evidence, Mixture
from vmexit_sim.calibration.perf_stat import PerfTable
from vmexit_sim.configuration import checked
from vmexit_sim.errors import InputError
from vmexit_sim.hypervisor.platform import Cost, Costs, load_platform
from vmexit_sim.units import parse_time

KVM_2017 = load_platform("kvm-2017")
LOGS = {
    "kvm-2017": ({"vmcall": 1181, "outl_to_kernel": 1391, "inl_from_kernel": 2339,
                  "inl_from_qemu": 6209}, 3.5e9),
    "kvm-2012": ({"vmcall": 3898, "outl_to_kernel": 4451, "inl_from_kernel": 7237,
                  "inl_from_qemu": 20_574}, None),
}  # fmt: skip
IDENTIFIED = ("dispatch_port", "decode_port_in", "decode_port_out", "dispatch_hypercall")


def unit_tests_of(cycles: Mapping[str, float], clock: float) -> list[Measurement]:
    return [Measurement(name=name, mean=n / clock * 1e12) for name, n in cycles.items()]


def row(name: str, mean: float, *, n: int = 1000, sd: float = 1e5, **more: Any) -> Measurement:
    return Measurement(name=name, mean=mean, n=n, sd=sd, error=sd / math.sqrt(n), **more)


def exits(*rows: Measurement, view: Any = "vmexit") -> PerfTable:
    return PerfTable(view=view, measurements=rows)


def value(cost: Calibrated) -> float:
    stated = checked(Cost, {"value": dict(cost.value) if isinstance(cost.value, Mapping)
                            else cost.value, "mark": "H", "source": cost.source})  # fmt: skip
    return stated.value.mean_ps


def by_name(found: Decomposition) -> dict[str, Calibrated]:
    return {cost.name: cost for cost in found.costs}


@pytest.mark.parametrize("name", LOGS)
def test_unit_tests_give_the_costs_that_the_shipped_platform_states(name: str) -> None:
    platform = load_platform(name)
    cycles, clock = LOGS[name]
    clock = clock or platform.clock
    costs = by_name(decompose(Evidence(unit_tests=unit_tests_of(cycles, clock)), KVM_2017))
    half_cycle = 0.5 / clock * 1e12 + 1
    for cost in (*IDENTIFIED, "to_user", "to_kernel", "world_switch_out", "world_switch_in"):
        shipped = platform.costs.duration(cost).mean_ps
        assert value(costs[cost]) == pytest.approx(shipped, abs=half_cycle), cost
    total = sum(value(cost) for cost in costs.values())
    assert total == pytest.approx(cycles["inl_from_qemu"] / clock * 1e12, abs=4)


def test_pci_testdev_gives_the_costs_of_the_2013_host() -> None:
    cycles = {"vmcall": 1567, "portio-datamatch-eventfd:pci-io": 1777,
              "portio-no-eventfd:pci-io": 5287, "mmio-datamatch-eventfd:pci-mem": 3685,
              "mmio-no-eventfd:pci-mem": 8796}  # fmt: skip
    platform = load_platform("kvm-2013")
    costs = by_name(decompose(Evidence(unit_tests=unit_tests_of(cycles, 3e9)), platform))
    for cost in ("dispatch_port", "dispatch_mmio", "decode_mmio", "to_user", "complete_mmio"):
        shipped = platform.costs.duration(cost).mean_ps
        assert value(costs[cost]) == pytest.approx(shipped, abs=200), cost


def test_what_is_not_identified_is_said_with_what_was_taken() -> None:
    cycles, clock = LOGS["kvm-2017"]
    found = decompose(Evidence(unit_tests=unit_tests_of(cycles, clock or 1)), KVM_2017)
    told = found.unidentified
    assert set(told) == set(Costs.model_fields) - {"dispatch_port", "decode_port_in"}
    assert told["to_user"].startswith("inl_from_qemu: half each to to_user + to_kernel")
    assert told["dispatch_hypercall"] == "contained in vmcall: 0 here"
    assert told["decode_mmio"].endswith("as on kvm-2017")
    assert "sleep" in told["dispatch_halt"]


def test_cpuid_stands_for_a_call_that_was_not_measured() -> None:
    (out, back, _) = decompose(
        Evidence(unit_tests=unit_tests_of({"cpuid": 1000}, 1e9)), KVM_2017
    ).costs
    assert (out.combination, back.combination) == ({"cpuid": 0.5}, {"cpuid": 0.5})


def test_events_lack_the_world_switch_and_the_base_gives_it() -> None:
    found = decompose(Evidence(tables=[exits(row("IO_INSTRUCTION", 13.63e6))]), KVM_2017)
    assert "world_switch_out" not in by_name(found)
    assert any("337.4 ns were added to each exit, as on kvm-2017" in note for note in found.notes)
    assert any("without the world switch" in note for note in found.notes)
    # With unit tests it is the host's own.
    tests = unit_tests_of({"vmcall": 2000}, 1e9)
    found = decompose(Evidence(unit_tests=tests, tables=[exits(row("IO_INSTRUCTION", 13.63e6))]),
                      KVM_2017)  # fmt: skip
    assert value(by_name(found)["world_switch_out"]) == 1e6
    assert any("was added to what perf or events measured, from vmcall" in n for n in found.notes)


def test_a_mixture_keeps_its_mean_and_the_proportions_of_the_base() -> None:
    found = decompose(Evidence(tables=[exits(row("IO_INSTRUCTION", 13.63e6))]), KVM_2017)
    costs = {cost.name: value(cost) for cost in found.costs}
    mean = (costs["dispatch_port"] + 0.5 * costs["decode_port_in"] + 0.5 * costs["decode_port_out"]
            + costs["to_user"] + costs["to_kernel"])  # fmt: skip
    assert mean == pytest.approx(13.63e6, abs=5)
    base = {name: KVM_2017.costs.duration(name).mean_ps for name in costs}
    ratios = {costs[name] / base[name] for name in costs if base[name]}
    assert max(ratios) == pytest.approx(min(ratios), rel=1e-4)
    assert "a mixture" in found.unidentified["to_user"]


def test_unit_tests_and_perf_together_leave_only_user_space_to_the_mixture() -> None:
    cycles, _ = LOGS["kvm-2017"]
    evidence = Evidence(unit_tests=unit_tests_of(cycles, 3.5e9),
                        tables=[exits(row("IO_INSTRUCTION", 13.63e6))])  # fmt: skip
    found = decompose(evidence, KVM_2017, spread=False)
    costs = {cost.name: value(cost) for cost in found.costs}
    assert costs["dispatch_port"] == pytest.approx(60_000, abs=1)
    mean = costs["dispatch_port"] + 0.5 * costs["decode_port_in"] + 2 * costs["to_user"]
    assert mean == pytest.approx(13.63e6, abs=5)
    assert any("what is beyond (devices' own work" in note for note in found.notes)


def test_a_mixture_below_its_parts_tells_the_share_that_goes_to_user_space() -> None:
    cycles, _ = LOGS["kvm-2017"]
    # 60 ns dispatch, half of 270.9 ns decode, and a quarter of 1105.7 ns to user space and back.
    evidence = Evidence(unit_tests=unit_tests_of(cycles, 3.5e9),
                        tables=[exits(row("IO_INSTRUCTION", 195_429 + 276_429))])  # fmt: skip
    found = decompose(evidence, KVM_2017)
    assert value(by_name(found)["to_user"]) == pytest.approx(552_857, abs=1)
    assert any("about 25% of these exits go to user space" in note for note in found.notes)


def test_reads_of_a_port_view_count_but_do_not_time() -> None:
    ports = exits(row("0xcf8:POUT", 4e6, n=3000), row("0xcfc:PIN", 2e5, n=1000), view="ioport")
    found = decompose(Evidence(tables=[exits(row("IO_INSTRUCTION", 6e6)), ports]), KVM_2017)
    costs = by_name(found)
    assert costs["to_user"].combination == {"0xcf8:POUT": 0.5}
    assert any("lack the way to user space and back" in note for note in found.notes)
    assert "0.25 decode_port_in" in costs["decode_port_in"].source
    assert not any("0xcfc:PIN" in cost.combination for cost in found.costs)


def test_halts_and_faults_of_memory_are_left_out_and_said() -> None:
    table = exits(row("HLT", 9e9), row("EPT_VIOLATION", 9e6), row("IO_INSTRUCTION", 5e6))
    found = decompose(Evidence(tables=[table]), KVM_2017)
    assert {name for cost in found.costs for name in cost.combination} == {"IO_INSTRUCTION"}
    assert any(note.startswith("HLT is not used: its time is the guest's") for note in found.notes)
    assert any(note.startswith("EPT_VIOLATION is not used") for note in found.notes)


def test_raw_events_tell_every_kind_of_access_apart() -> None:
    events = [row("port write in kernel", 1e6), row("port read in kernel", 1.5e6),
              row("port write to user space", 9e6), row("mmio write in kernel", 2e6),
              row("mmio write to user space", 11e6), row("msr write in kernel", 0.7e6),
              row("VMCALL in kernel", 0.3e6)]  # fmt: skip
    found = decompose(Evidence(events=events), KVM_2017, spread=False)
    costs = {cost.name: value(cost) for cost in found.costs}
    assert costs["dispatch_port"] == 1e6
    assert costs["decode_port_in"] == 0.5e6
    assert costs["to_user"] == costs["to_kernel"] == 4e6
    assert costs["dispatch_mmio"] + costs["decode_mmio"] == pytest.approx(2e6, abs=1)
    assert costs["complete_mmio"] == 1e6
    assert (costs["dispatch_msr"], costs["dispatch_hypercall"]) == (0.7e6, 0.3e6)


def test_every_exit_reason_that_is_not_used_is_named() -> None:
    table = exits(row("IO_INSTRUCTION", 5e6), row("CPUID", 1e6), row("PAUSE_INSTRUCTION", 1e6))
    found = decompose(Evidence(tables=[table]), KVM_2017)
    said = "not used, since no cost follows from them: CPUID, PAUSE_INSTRUCTION"
    assert said in found.notes
    many = exits(*(row(f"R{n:02}", 1e6) for n in range(40)))
    (note,) = decompose(Evidence(tables=[many]), KVM_2017).notes
    assert note.endswith("R10, R11 and 28 more")


def test_which_shares_an_interval_takes_as_known_is_said() -> None:
    table, memory = exits(row("IO_INSTRUCTION", 5e6)), exits(row("EPT_MISCONFIG", 9e6))
    ports = exits(row("0xcf8:POUT", 4e6, n=3000), row("0xcfc:PIN", 2e5, n=1000), view="ioport")
    for evidence, says in (
        (Evidence(tables=[table]), "reads (50%, not measured) and of user-space exits (100%)"),
        (Evidence(tables=[table, ports]), "reads (25%, counted) and of user-space exits (100%)"),
        (Evidence(tables=[table], mixture=Mixture(port_reads=0.3, port_user=0.6)),
         "reads (30%) and of user-space exits (60%)"),
        (Evidence(tables=[memory], mixture=Mixture(mmio_user=0.4)), "user-space exits (40%)"),
    ):  # fmt: skip
        found = decompose(evidence, KVM_2017)
        (assumed,) = found.assumed
        assert says in assumed
        assert assumed.endswith("as known")
        assert assumed in found.notes
    assert decompose(Evidence(events=[row("port write in kernel", 1e6)]), KVM_2017).assumed == ()


def test_simulated_hypercalls_give_the_world_switch_only_if_they_say_so() -> None:
    call = row("VMCALL", 1e6)
    marked = PerfTable(view="vmexit", measurements=(call,), is_simulated=True, has_null_calls=True)
    costs = by_name(decompose(Evidence(tables=[marked]), KVM_2017))
    assert value(costs["world_switch_out"]) == 0.5e6
    found = decompose(Evidence(tables=[replace(marked, has_null_calls=False)]), KVM_2017)
    assert found.costs == ()
    assert any(note.startswith("simulated VMCALL is not used") for note in found.notes)


def test_a_difference_below_nothing_is_no_cost() -> None:
    cycles = {"vmcall": 1181, "outl_to_kernel": 1100, "inl_from_kernel": 1300}
    found = decompose(Evidence(unit_tests=unit_tests_of(cycles, 1e9)), KVM_2017)
    assert "dispatch_port" not in by_name(found) or value(by_name(found)["dispatch_port"]) > 0
    assert any("outl_to_kernel leaves nothing for dispatch_port" in note for note in found.notes)


def test_the_spread_of_an_exit_is_that_of_its_costs_together() -> None:
    exit_ = row("IO_INSTRUCTION", 13.63e6, n=55_654, sd=7.717e6, least=3.54e6, greatest=74.94e6)
    found = decompose(Evidence(tables=[exits(exit_)], mixture=Mixture(port_reads=0.0)), KVM_2017)
    drawn = np.zeros(200_000)
    for place, cost in enumerate(found.costs):
        if isinstance(cost.value, dict):
            stated = checked(Cost, {"value": cost.value, "mark": "H", "source": cost.source})
            drawn += stated.value.draw(np.random.default_rng(place), len(drawn))
    assert drawn.mean() == pytest.approx(13.63e6, rel=0.01)
    assert drawn.std() == pytest.approx(7.717e6, rel=0.03)
    assert 3.53e6 <= drawn.min() < 6e6


@given(
    means=st.lists(st.floats(1e3, 1e9), min_size=7, max_size=7),
    sizes=st.lists(st.integers(2, 10**6), min_size=7, max_size=7),
    spreads=st.lists(st.floats(0.0, 3.0), min_size=7, max_size=7),
    reads=st.floats(0, 1), user=st.floats(0, 1), spread=st.booleans(),
    base=st.sampled_from(["kvm-2017", "kvm-2013", "vmware-2022", "ideal"]),
)  # fmt: skip
def test_whatever_was_measured_costs_are_times_and_follow_from_it(
    means: list[float], sizes: list[int], spreads: list[float], reads: float, user: float,
    spread: bool, base: str,
) -> None:  # fmt: skip
    names = ("IO_INSTRUCTION", "EPT_MISCONFIG", "MSR_WRITE", "VMCALL", "vmcall", "inl_from_qemu",
             "outl_to_kernel")  # fmt: skip
    rows = [
        row(name, mean, n=n, sd=cv * mean, least=mean / 2)
        for name, mean, n, cv in zip(names, means, sizes, spreads, strict=True)
    ]
    mixture = Mixture(port_reads=reads, port_user=user, mmio_user=user)
    evidence = Evidence(unit_tests=rows[4:], tables=[exits(*rows[:4])], mixture=mixture)
    found = decompose(evidence, load_platform(base), spread=spread)
    assert {cost.name for cost in found.costs} <= set(Costs.model_fields)
    for cost in found.costs:
        mean, low, high = combined(rows, cost.combination)
        assert value(cost) == pytest.approx(mean, abs=1)
        assert (cost.low, cost.high) == (low, high)
        assert mean >= 0
    assert set(found.unidentified) | {cost.name for cost in found.costs} == set(Costs.model_fields)


def test_errors_of_different_measurements_add_as_squares() -> None:
    rows = [row("a", 5e6, n=100, sd=4e6), row("b", 2e6, n=10_000, sd=30e6)]
    mean, low, high = combined(rows, {"a": 0.5, "b": -1.0})
    assert mean == 0.5e6
    assert low is not None
    assert high is not None
    by_hand = math.hypot(0.5 * 4e6 / 10, 30e6 / 100)
    assert (high - low) / 2 / by_hand == pytest.approx(1.984, abs=0.001)  # t, 99 degrees
    assert combined([Measurement(name="a", mean=5.0)], {"a": 1.0}) == (5.0, None, None)
    with pytest.raises(InputError, match="'c' is no measurement"):
        combined(rows, {"c": 1.0})


def test_the_fewest_degrees_of_freedom_give_a_sums_interval() -> None:
    few = Measurement(name="a", mean=5e6, error=1e5, n=10_000, degrees=19)
    many = row("b", 2e6, n=10_000, sd=1e7)
    assert (few.freedom, many.freedom) == (19, 9_999)
    assert few.estimate().half_width == pytest.approx(2.093 * 1e5, rel=1e-3)  # t, 19 degrees
    _, low, high = combined([few, many], {"a": 1.0, "b": 1.0})
    assert low is not None
    assert high is not None
    assert (high - low) / 2 == pytest.approx(2.093 * math.hypot(1e5, 1e5), rel=1e-3)


@pytest.mark.parametrize("degrees", [0, -1, 10])
def test_degrees_of_freedom_are_fewer_than_samples(degrees: int) -> None:
    with pytest.raises(InputError, match="is no number of degrees of freedom"):
        Measurement(name="a", mean=1.0, error=1.0, n=10, degrees=degrees)


@pytest.mark.parametrize(("n", "times"), [(2, 12.706), (10, 2.262), (None, 1.960)])
def test_a_measurements_interval_is_students_or_normal(n: int | None, times: float) -> None:
    estimate = Measurement(name="a", mean=1e6, error=1000.0, n=n).estimate()
    assert estimate.half_width == pytest.approx(times * 1000, rel=1e-3)
    assert (estimate.method, estimate.confidence, estimate.n) == ("calibration", 0.95, n or 0)


def test_samples_make_a_measurement() -> None:
    made = Measurement.of_samples("a", np.array([1, 2, 6]))
    assert (made.mean, made.n, made.least, made.greatest) == (3, 3, 1, 6)
    assert made.sd == pytest.approx(7**0.5)
    assert made.error == pytest.approx((7 / 3) ** 0.5)
    assert Measurement.of_samples("a", np.array([4])).error is None
    with pytest.raises(InputError, match="has no samples"):
        Measurement.of_samples("a", np.array([], np.int64))


@pytest.mark.parametrize("what", [
    {"mean": -1.0}, {"mean": math.nan}, {"mean": math.inf}, {"error": -1.0}, {"sd": math.nan},
    {"least": -5.0}, {"n": 0}, {"mean": 1e30},
])  # fmt: skip
def test_what_no_clock_can_have_measured_is_refused(what: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"is no .* of a time|is no number of samples"):
        Measurement(**{"name": "a", "mean": 1.0, **what})


@pytest.mark.parametrize("share", [-0.1, 1.1, math.nan])
def test_a_share_is_0_to_1(share: float) -> None:
    with pytest.raises(InputError, match=r"port_user: .* is no share"):
        Mixture(port_user=share)


def test_what_is_rare_in_a_mixture_is_left_out_of_it() -> None:
    table = exits(row("IO_INSTRUCTION", 5e6))
    found = decompose(Evidence(tables=[table], mixture=Mixture(port_user=0.001)), KVM_2017)
    assert "to_user" not in by_name(found)


def test_halves_of_odd_times_are_stated_to_the_picosecond() -> None:
    (out, back, _) = decompose(Evidence(unit_tests=[Measurement(name="vmcall", mean=3.0)]),
                               KVM_2017).costs  # fmt: skip
    assert {parse_time(out.value), parse_time(back.value)} <= {1, 2}
