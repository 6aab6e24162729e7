"""Costs from single accesses, and predictions from costs: by hand, and as invariants."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vmexit_sim.calibration.costs import combined
from vmexit_sim.errors import InputError
from vmexit_sim.guest.table import Space, make_table
from vmexit_sim.guest.workload import Recorded
from vmexit_sim.hypervisor.platform import Costs, load_platform
from vmexit_sim.policy import Policy
from vmexit_sim.probe import composites as parts
from vmexit_sim.probe import probes as p
from vmexit_sim.probe.calibration import SINGLE, calibrate, measurements_of, plus
from vmexit_sim.probe.children import ProbeError
from vmexit_sim.probe.host import HostFacts
from vmexit_sim.probe.host_platform import BASE, host_platform, write_host
from vmexit_sim.probe.probes import Measured, failed
from vmexit_sim.probe.survey import Survey
from vmexit_sim.probe.validation import Prediction, validate
from vmexit_sim.statistics import exact
from vmexit_sim.study.simulate import simulate

HOST = HostFacts(cpu="a CPU", vendor="GenuineIntel", kernel="6.0", module="kvm_intel",
                 nested=False, cpus=2, load=0.0, began="2026-01-01T00:00:00+00:00")  # fmt: skip

NS = 1000.0

TYPICAL = {
    p.PORT_WRITE: 2000.0, p.PORT_READ: 2100.0, p.MMIO_WRITTEN: 2600.0, p.MMIO_WAS_READ: 2700.0,
    p.PAGE_WAS_READ: 1.0, p.PAGE_WRITTEN: 2650.0, p.COALESCED: 1200.0, p.PORT_EVENTFD: 1000.0,
    p.MMIO_EVENTFD: 1100.0, p.KERNEL_WRITE: 900.0, p.HYPERCALL: 700.0, p.DESCRIPTOR: 3.0,
    parts.LOOP: 1.0, parts.ITEM: 2.0, parts.SPIN: 5000.0, parts.HOLD: 3000.0,
}  # fmt: skip
"""An ordinary host's times in ns."""


def of_times(times: dict[str, float], spread: float = 0.0) -> Survey:
    """A survey whose blocks all took what `times` (ns) says, up to a relative spread."""
    around = 1 + spread * np.linspace(-1, 1, 15)
    measured = {
        name: Measured(name=name, verdict="measured", whole=tuple(NS * time * around),
                       control=(0.0,) * 15, exits={}, iterations=100)
        for name, time in times.items()
    }  # fmt: skip
    return Survey(host=HOST, measured=measured, spin=1, hold=1)


def with_composites(times: dict[str, float]) -> Survey:
    names = [parts.SPREAD, *map(parts.behind_doorbell, parts.DOORBELLS), parts.READ_MOSTLY,
             parts.LOCKED]  # fmt: skip
    return of_times({**times, **dict.fromkeys(names, 1000.0)})


def value(survey: Survey, cost: str) -> float:
    platform = host_platform(survey, load_platform(BASE), measurements_of(survey))
    return platform.costs.duration(cost).mean_ps / NS


@pytest.mark.parametrize(
    ("cost", "by_hand"),
    [
        ("world_switch_out", 350),  # half of a hypercall, 700
        ("world_switch_in", 350),
        ("dispatch_hypercall", 0),
        ("signal", 100),  # 1000 - 900
        ("to_user", 550),  # half of 2000 - 900
        ("to_kernel", 550),
        ("complete_mmio", 550),  # 2650 - 1100 + 1000 - 2000
        ("page_load", 1),
        ("gather", 3),
        ("item", 2),
        ("refresh_page", 2),
    ],
)
def test_costs_are_what_a_hand_makes_of_them(cost: str, by_hand: float) -> None:
    assert value(of_times(TYPICAL), cost) == pytest.approx(by_hand, abs=0.002)


def test_sums_of_two_costs_are_what_a_hand_makes_of_them() -> None:
    survey = of_times(TYPICAL)
    port = value(survey, "dispatch_port") + value(survey, "decode_port_out")
    assert port == pytest.approx(200, abs=0.002)  # 900 - 700
    read = value(survey, "decode_port_in") - value(survey, "decode_port_out")
    assert read == pytest.approx(100, abs=0.002)  # 2100 - 2000
    memory = value(survey, "dispatch_mmio") + value(survey, "decode_mmio")
    assert memory == pytest.approx(300, abs=0.002)  # 1100 - 100 - 700
    ring = 1200 - 700 - 300 - (1100 + 550) / 170
    assert value(survey, "ring_entry") == pytest.approx(ring, abs=0.002)


def test_plus_leaves_out_what_cancels() -> None:
    assert plus((1, {"a": 1.0, "b": 2.0}), (-1, {"a": 1.0})) == {"b": 2.0}


EXITS = st.fixed_dictionaries({
    name: st.floats(low, high)
    for name, (low, high) in {
        p.PORT_WRITE: (1500, 60_000), p.PORT_READ: (1500, 60_000), p.MMIO_WRITTEN: (1500, 60_000),
        p.MMIO_WAS_READ: (1500, 60_000), p.PORT_EVENTFD: (500, 1400), p.MMIO_EVENTFD: (500, 1400),
        p.KERNEL_WRITE: (400, 1400), p.HYPERCALL: (100, 1400), p.PAGE_WAS_READ: (0, 800),
        p.COALESCED: (500, 1400), p.DESCRIPTOR: (0, 800), parts.ITEM: (0, 10),
    }.items()
})  # fmt: skip


def simulated(survey: Survey, mechanism: object, space: Space, write: bool) -> float:
    """One access under the simulator, in ns."""
    platform = host_platform(survey, load_platform(BASE), measurements_of(survey))
    policy = Policy.model_validate({
        "name": "x", "title": "x", "about": "x", "source": "a test's own",
        "rules": [{"side": "host", "mechanism": mechanism}],
    })  # fmt: skip
    table = make_table(1, space=space, write=write)
    return simulate(policy, platform, Recorded(table)).completion / NS


@settings(max_examples=25)
@given(times=EXITS, without=st.sets(st.sampled_from(
    [p.KERNEL_WRITE, p.PORT_EVENTFD, p.MMIO_EVENTFD, p.HYPERCALL, p.COALESCED])))  # fmt: skip
def test_single_accesses_simulated_take_what_was_measured(
    times: dict[str, float], without: set[str]
) -> None:
    times = {parts.LOOP: 1.0} | {name: t for name, t in times.items() if name not in without}
    survey = of_times(times)
    kernel = times.get(p.KERNEL_WRITE, times.get(p.PORT_EVENTFD, 0.0))
    port = simulated(survey, "trap_pio", Space.PORT_IO, True)
    assert port == pytest.approx(times[p.PORT_WRITE], abs=0.01)
    memory = (times[p.MMIO_WRITTEN] + times[p.MMIO_WAS_READ]) / 2
    found = simulated(survey, "trap_mmio", Space.MMIO, False)
    switches = value(survey, "world_switch_out") * 2
    if memory >= switches + times[p.PORT_WRITE] - kernel:  # else dispatch and decode are 0
        assert found == pytest.approx(memory, abs=0.01)
    load = simulated(survey, "read_only_page", Space.MMIO, False)
    assert load == pytest.approx(times[p.PAGE_WAS_READ], abs=0.01)


@given(times=EXITS)
def test_no_cost_is_negative_and_each_says_what_it_rests_on(times: dict[str, float]) -> None:
    survey = of_times({**times, parts.LOOP: 1.0}, spread=0.05)
    found = calibrate(survey, load_platform(BASE))
    names = {each.name for each in found.measurements}
    for cost in found.costs:
        assert not str(cost.value).startswith("-")
        assert set(cost.combination) <= names
        assert "/dev/kvm" in cost.source
        if cost.combination:
            mean, low, high = combined(found.measurements, cost.combination)
            assert low is not None
            assert high is not None
            assert low <= mean <= high
            assert cost.mark in (("D", "A") if "split" in cost.source else ("H", "A"))
    assert {cost.name for cost in found.costs}.isdisjoint(found.taken_over)
    assert {cost.name for cost in found.costs} | set(found.taken_over) == set(Costs.model_fields)


def test_a_composite_guest_changes_no_cost() -> None:
    assert not set(SINGLE) & {parts.SPREAD, parts.READ_MOSTLY, parts.LOCKED,
                              *map(parts.behind_doorbell, parts.DOORBELLS),
                              *map(p.doorbell, p.BATCHES[1:])}  # fmt: skip
    base = load_platform(BASE)
    alone, beside = (
        calibrate(s, base).costs for s in (of_times(TYPICAL), with_composites(TYPICAL))
    )
    assert alone == beside


def test_emulated_instructions_do_not_stand_for_a_world_switch() -> None:
    survey = of_times({**TYPICAL, parts.LOOP: 800.0})
    found = calibrate(survey, load_platform(BASE))
    switch = next(cost for cost in found.costs if cost.name == "world_switch_out")
    assert set(switch.combination) == {p.KERNEL_WRITE}
    assert any("cannot be told" in note for note in found.notes)


def test_what_hung_or_was_emulated_is_no_measurement() -> None:
    survey = of_times(TYPICAL)
    measured = dict(survey.measured)
    measured[p.HYPERCALL] = failed(p.HYPERCALL, "hung", "no answer")
    measured[p.COALESCED] = replace(measured[p.COALESCED], verdict="emulated")
    found = calibrate(Survey(host=HOST, measured=measured), load_platform(BASE))
    assert {p.HYPERCALL, p.COALESCED}.isdisjoint(each.name for each in found.measurements)
    assert "ring_entry" in found.taken_over


def test_a_platform_file_can_be_read_again_and_says_where_it_comes_from(tmp_path: Path) -> None:
    path = tmp_path / "here.toml"
    found = write_host(path, of_times(TYPICAL, spread=0.02))
    platform = load_platform(str(path))
    assert platform.name == "here"
    assert platform.costs.duration("signal").mean_ps == pytest.approx(100 * NS, abs=1)
    assert platform.costs.signal.mark == "H"
    assert platform.costs.to_user.mark == "D"  # half of a measured sum
    assert "costs follow from this host's measurements" in platform.caution
    assert platform.costs.to_user.combination == {p.PORT_WRITE: 0.5, p.KERNEL_WRITE: -0.5}
    assert platform.costs.eoi.mark == "A"
    assert set(platform.measurements) == {each.name for each in found.measurements}
    assert "a CPU" in platform.about


@pytest.mark.parametrize(("base", "says"), [
    ("kvm-nested-2017", "a hypervisor below its own"), ("bare-metal-2022", "no hypervisor"),
])  # fmt: skip
def test_a_base_must_be_one_hypervisor_on_a_host(tmp_path: Path, base: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        write_host(tmp_path / "here.toml", of_times(TYPICAL), load_platform(base))
    assert not (tmp_path / "here.toml").exists()
    with pytest.raises(InputError, match=says):
        calibrate(of_times(TYPICAL), load_platform(base))


def test_a_folder_that_is_not_there_is_a_users_mistake(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no existing folder"):
        write_host(tmp_path / "none" / "here.toml", of_times(TYPICAL))


def predictions(times: dict[str, float]) -> dict[str, Prediction]:
    return {each.name: each for each in validate(with_composites(times))}


def test_predictions_are_what_a_hand_makes_of_them() -> None:
    found = predictions(TYPICAL)
    loop, spin, write, gather, item, hold = 1.0, 5000.0, 2000.0, 3.0, 2.0, 3000.0
    spread = loop + spin + write
    assert found[parts.SPREAD].predicted.value == pytest.approx(NS * spread, abs=20)
    for n in parts.DOORBELLS:
        by_hand = (loop + write) / n + spin + gather + item
        value = found[parts.behind_doorbell(n)].predicted.value
        assert value == pytest.approx(NS * by_hand, abs=20)
    page = (loop + 9 * 1.0 + 2650.0 + 2.0) / 10  # the mean of MMIO write and read; the refresh
    assert found[parts.READ_MOSTLY].predicted.value == pytest.approx(NS * page, abs=20)
    # Two vCPUs: alone an access takes 1 + 2000 + 3000; the lock gives one of each every 6000.
    # So the lock decides: 40 of each vCPU take 80 holds, and the way to the first, from the last.
    last = (loop + write + 80 * hold) / 40
    assert found[parts.LOCKED].predicted.value == pytest.approx(NS * last, abs=20)


def test_a_lock_that_is_free_in_time_costs_next_to_nothing() -> None:
    value = predictions({**TYPICAL, parts.HOLD: 500.0})[parts.LOCKED].predicted.value
    alone, first_wait = 1.0 + 2000.0 + 500.0, 500.0 / 40
    assert value == pytest.approx(NS * (alone + first_wait), abs=20)


def test_a_predictions_interval_comes_from_its_measurements() -> None:
    survey = with_composites(TYPICAL)
    measured = {
        name: Measured(name=name, verdict="measured", control=(0.0,) * 15, exits={},
                       whole=tuple(np.array(each.whole) + np.linspace(-30, 30, 15) * NS
                                   * (name == p.PORT_WRITE)), iterations=100)
        for name, each in survey.measured.items()
    }  # fmt: skip
    moved = Survey(host=HOST, measured=measured, spin=1, hold=1)
    error = next(m.error for m in measurements_of(moved) if m.name == p.PORT_WRITE)
    assert error is not None
    spread = next(each for each in validate(moved) if each.name == parts.SPREAD)
    assert spread.predicted.half_width == pytest.approx(1.96 * error, rel=0.01)


def test_an_error_is_predicted_over_measured() -> None:
    found = Prediction(name="x", policy="x", accesses=1, predicted=exact(80.0),
                       measured=exact(100.0))  # fmt: skip
    assert found.error == pytest.approx(-0.2)
    assert not found.holds
    none = Prediction(name="x", policy="x", accesses=1, predicted=exact(80.0), measured=None)
    assert math.isnan(none.error)
    assert not none.holds


def test_a_guest_that_hung_is_predicted_all_the_same() -> None:
    survey = with_composites(TYPICAL)
    measured = {**survey.measured, parts.LOCKED: failed(parts.LOCKED, "hung", "no answer")}
    found = validate(Survey(host=HOST, measured=measured, spin=1, hold=1))
    hung = next(each for each in found if each.name == parts.LOCKED)
    assert (hung.measured, hung.why) == (None, "no answer")
    assert hung.predicted.value > 0


def test_nothing_is_predicted_from_a_survey_without_composites() -> None:
    with pytest.raises(ProbeError, match="nothing can be predicted"):
        validate(of_times(TYPICAL))
