"""A call for a multicast: exits, deliveries, and where a call is full."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vmexit_sim.configuration import checked
from vmexit_sim.errors import InputError
from vmexit_sim.guest.generators import Ipi
from vmexit_sim.guest.table import Kind, Space
from vmexit_sim.hypervisor.platform import load_platform
from vmexit_sim.mechanisms import make_mechanism
from vmexit_sim.policy import load_policy
from vmexit_sim.study.simulate import simulate

US = 1_000_000
COSTS = {
    "world_switch_out": "10 us", "dispatch_hypercall": "3 us", "dispatch_msr": "4 us",
    "world_switch_in": "30 us", "deliver_ipi": "5 us",
}  # fmt: skip
MULTICAST = {"space": Space.MSR, "write": 1, "kind": Kind.IPI, "location": "kernel",
             "platform": "ideal", "costs": COSTS}  # fmt: skip


def test_three_targets_cost_one_exit_and_three_deliveries_by_hand(run_by: Any) -> None:
    ran = run_by("pv_ipi", 3, operation=0, targets=1, **MULTICAST)
    assert ran.exits == {"VMCALL": 1}
    assert ran.column("stall") == [48 * US, 5 * US, 5 * US]
    assert ran.column("done") == [18 * US, 53 * US, 58 * US]
    by_apic = run_by("trap_msr", 3, operation=0, targets=1, **MULTICAST)
    assert by_apic.exits == {"MSR_WRITE": 3}
    assert sum(by_apic.column("stall")) == 3 * 49 * US


def test_a_full_call_is_followed_by_another(run_by: Any) -> None:
    ran = run_by({"name": "pv_ipi", "targets": 4}, 5, operation=0, targets=[1, 2, 1, 3, 2],
                 **MULTICAST)  # fmt: skip
    assert ran.column("exits") == [1, 0, 0, 1, 1]


def test_each_multicast_makes_its_own_call(run_by: Any) -> None:
    ran = run_by("pv_ipi", 5, operation=[0, 0, 1, 1, 2], targets=100, **MULTICAST)
    assert ran.column("exits") == [1, 1, 1, 1, 1]
    ran = run_by("pv_ipi", 5, operation=[0, 0, 1, 1, 2], targets=16, **MULTICAST)
    assert ran.column("exits") == [1, 0, 1, 0, 1]


def test_what_only_prepares_a_command_is_not_made(run_by: Any) -> None:
    # By xAPIC a target is a read, a write of the destination, a write of the command.
    ran = run_by("pv_ipi", 6, operation=0, targets=[0, 0, 1] * 2,
                 **{**MULTICAST, "space": Space.MMIO, "write": [0, 1, 1] * 2})  # fmt: skip
    assert sum(ran.column("stall")) == (10 + 3 + 30 + 2 * 5) * US
    assert ran.exits == {"VMCALL": 1}


def test_the_policy_leaves_other_msrs_alone() -> None:
    guest = checked(Ipi, {"kind": "ipi", "mode": "physical", "multicasts": 10, "vcpus": 4,
                          "targets": 3, "between": "10 us", "timers": 2})  # fmt: skip
    result = simulate(load_policy("pv-ipi"), load_platform("kvm-2017"), guest)
    tally = {each.reason: each.samples for each in result.exits}
    assert tally == {"MSR_WRITE": 4 * 10 * 2, "VMCALL": 4 * 10}
    assert result.reach == pytest.approx(3 / 5)


@pytest.mark.parametrize("mode", ["physical", "cluster", "xapic"])
def test_engines_agree_in_every_mode(mode: str) -> None:
    stated = {"kind": "ipi", "mode": mode, "multicasts": 30, "vcpus": 20, "targets": [1, 19],
              "between": "2 us", "timers": 1, "ends_exit": True}  # fmt: skip
    guest = checked(Ipi, stated)
    platform = load_platform("ideal", changes={"deliver_ipi": "1 us"})
    results = [
        simulate(load_policy("pv-ipi"), platform, guest, keep_rows=True, engine=engine)
        for engine in ("simpy", "compiled")
    ]
    columns, others = (result.to_columns() for result in results)
    assert all(np.array_equal(columns[name], others[name]) for name in columns)
    assert results[0].exits == results[1].exits
    calls = {tally.reason: tally.samples for tally in results[0].exits}["VMCALL"]
    assert calls == 20 * 30


@pytest.mark.parametrize("wrong", [0, 70_000, "all"])
def test_targets_that_do_not_fit_are_refused(wrong: Any) -> None:
    with pytest.raises(InputError, match="targets"):
        make_mechanism({"name": "pv_ipi", "targets": wrong})


@settings(max_examples=20, deadline=None,
          suppress_health_check=[HealthCheck.function_scoped_fixture])  # fmt: skip
@given(data=st.data(), most=st.integers(1, 6))
def test_engines_agree_and_every_target_is_delivered_to_once(
    data: st.DataObject, tied_config_guests: Any, run_both: Any, most: int
) -> None:
    table = data.draw(tied_config_guests)
    table = replace(table, space=np.full(len(table), Space.MSR, np.int8))
    platform = load_platform("ideal", changes={"deliver_ipi": "500 ns"})
    ran = run_both(make_mechanism({"name": "pv_ipi", "targets": most}), table, platform)
    delivered = ran.result.stage_times().get("IPI delivery", 0)
    assert delivered == table.targets.sum() * 500_000
    columns = ran.result.to_columns()
    assert (columns["done"] >= columns["start"]).all()
