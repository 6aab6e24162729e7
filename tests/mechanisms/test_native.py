"""Native: what the access costs on bare metal, by the way it takes, and no exit."""

from __future__ import annotations

from typing import Any

import pytest

from vmexit_sim.guest.table import Flag, Space


@pytest.mark.parametrize(
    ("space", "flags", "config", "cost"),
    [
        (Space.PORT_IO, 0, "recorded", "native_port"),
        (Space.MMIO, 0, "recorded", "native_mmio"),
        (Space.DOORBELL, 0, "port", "native_mmio"),
        (Space.PCI_CONFIG, 0, "recorded", "native_port_config"),
        (Space.PCI_CONFIG, Flag.ECAM, "recorded", "native_mmio"),
        (Space.PCI_CONFIG, Flag.ECAM, "port", "native_port_config"),
        (Space.PCI_CONFIG, 0, "mmio", "native_mmio"),
        (Space.PCI_CONFIG, Flag.INDEX_ONLY, "mmio", "native_port"),
    ],
)
@pytest.mark.parametrize("location", ["user", "kernel"])
def test_one_cost_by_the_way_it_takes(
    run_by: Any, space: Space, flags: int, config: str, cost: str, location: str
) -> None:
    mechanism = {"name": "native", "config": config}
    ran = run_by(mechanism, space=space, flags=flags, location=location, emulate=9, compute=40)
    assert ran.stages() == {"native access": ran.cost[cost]}
    assert ran.column("done") == ran.column("resume") == [40 + ran.cost[cost]]
    assert ran.exits == {}
    assert ran.result.hypervisor_time == 0


def test_two_vcpus_do_not_wait_for_each_other(run_by: Any) -> None:
    ran = run_by("native", 2, vcpu=[0, 1])
    assert ran.column("stall") == [ran.cost["native_port_config"]] * 2
