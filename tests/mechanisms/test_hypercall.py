"""A hypercall for each access: one exit, nothing to decode, user space all the same."""

from __future__ import annotations

from typing import Any

import pytest

from vmexit_sim.guest.table import Flag, Space


def expected(cost: dict[str, int], location: str, emulate: int = 0) -> dict[str, int]:
    user = location == "user"
    stages = {
        "world switch out": cost["world_switch_out"],
        "dispatch": cost["dispatch_hypercall"],
        "to user space": user * cost["to_user"],
        "device emulation": emulate,
        "back to kernel": user * cost["to_kernel"],
        "world switch in": cost["world_switch_in"],
    }
    return {name: time for name, time in stages.items() if time}


@pytest.mark.parametrize("platform", ["kvm-2012", "kvm-2013", "kvm-2017", "vmware-2022"])
@pytest.mark.parametrize("location", ["user", "kernel"])
@pytest.mark.parametrize("write", [0, 1])
def test_one_exit_without_decode(run_by: Any, platform: str, location: str, write: int) -> None:
    ran = run_by("hypercall", platform=platform, location=location, write=write, emulate=30)
    assert ran.stages() == expected(ran.cost, location, 30)
    assert ran.column("stall") == [sum(expected(ran.cost, location, 30).values())]
    assert ran.exits == {"VMCALL": 1}


@pytest.mark.parametrize("space", list(Space))
@pytest.mark.parametrize("flags", [0, Flag.ABSENT, Flag.SIDE_EFFECT, Flag.ECAM])
def test_whatever_it_stands_for(run_by: Any, space: Space, flags: int) -> None:
    ran = run_by("hypercall", space=space, flags=flags)
    assert ran.stages() == expected(ran.cost, "user")


def test_turning_decoding_on_costs_its_state_change(run_by: Any) -> None:
    ran = run_by("hypercall", write=1, flags=Flag.DECODE_TOGGLE, costs={"state_change": "2 us"})
    assert ran.stages() == {**expected(ran.cost, "user"), "state change": 2_000_000}


def test_it_takes_no_guest_lock(run_by: Any) -> None:
    ran = run_by("hypercall", 2, vcpu=[0, 1], platform="ideal")
    assert ran.column("stall") == [1_000_000] * 2


def test_on_every_measured_host_it_is_cheaper_than_trapping(run_by: Any) -> None:
    for platform in ("kvm-2012", "kvm-2013", "kvm-2017"):
        call, trap = (run_by(name, platform=platform) for name in ("hypercall", "trap_mmio"))
        assert call.column("stall") < trap.column("stall")
