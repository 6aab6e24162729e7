"""Multicast IPIs by the APIC and by a call: against counting, and the published fall."""

from __future__ import annotations

import pytest

from vmexit_sim.hypervisor.platform import load_platform
from vmexit_sim.study.multicast import expected_sends, multicasts

PLATFORM = load_platform("kvm-2017")
EFFORT = {"each": 4, "replications": 2}


@pytest.mark.parametrize(("mode", "factor"), [("physical", 1), ("xapic", 3)])
def test_physical_destinations_take_so_many_accesses_a_target(mode: str, factor: int) -> None:
    apic, call = multicasts(mode, 5, PLATFORM, vcpus=8, **EFFORT)
    assert apic.sends.value == expected_sends(mode, 5, 8) == 5 * factor
    assert call.sends.value == 0
    assert call.exits.value == 2  # the call and the timer


def test_one_cluster_is_one_write_whoever_is_in_it() -> None:
    assert expected_sends("cluster", 3, 16) == pytest.approx(1)
    assert expected_sends("cluster", 63, 64) == pytest.approx(4)
    # One target is in one cluster.
    assert expected_sends("cluster", 1, 64) == pytest.approx(1)


def test_the_time_of_a_multicast_by_hand() -> None:
    c = {name: cost.value.mean_ps for name, cost in PLATFORM.costs.items()}
    switch = c["world_switch_out"] + c["world_switch_in"]
    msr, call = switch + c["dispatch_msr"], switch + c["dispatch_hypercall"]
    by_apic, by_call = multicasts("physical", 7, PLATFORM, vcpus=8, **EFFORT)
    assert by_apic.time.value == pytest.approx(8 * msr + 7 * c["deliver_ipi"])
    assert by_call.time.value == pytest.approx(call + msr + 7 * c["deliver_ipi"])


def test_with_many_targets_exits_fall_by_more_than_70_percent_and_less_in_clusters() -> None:
    falls = {}
    for mode in ("physical", "cluster"):
        apic, call = multicasts(mode, 32, PLATFORM, **EFFORT)
        falls[mode] = 1 - call.exits.value / apic.exits.value
    assert falls["physical"] > 0.9
    assert falls["cluster"] == pytest.approx(1 - 2 / 5, abs=0.02)
