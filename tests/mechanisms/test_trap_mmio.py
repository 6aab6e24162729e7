"""Trapped memory: one exit, whose instruction is decoded."""

from __future__ import annotations

from typing import Any

import pytest

from vmexit_sim.configuration import checked
from vmexit_sim.guest.generators import BarSizing
from vmexit_sim.guest.table import Flag, Space


def expected(cost: dict[str, int], location: str, emulate: int = 0) -> dict[str, int]:
    user = location == "user"
    stages = {
        "world switch out": cost["world_switch_out"],
        "dispatch": cost["dispatch_mmio"],
        "decode": cost["decode_mmio"],
        "to user space": user * cost["to_user"],
        "device emulation": emulate,
        "back to kernel": user * (cost["to_kernel"] + cost["complete_mmio"]),
        "world switch in": cost["world_switch_in"],
    }
    return {name: time for name, time in stages.items() if time}


@pytest.mark.parametrize("platform", ["kvm-2012", "kvm-2013", "kvm-2017"])
@pytest.mark.parametrize("location", ["user", "kernel"])
@pytest.mark.parametrize("write", [0, 1])
def test_one_exit_with_instruction_decode(
    run_by: Any, platform: str, location: str, write: int
) -> None:
    ran = run_by("trap_mmio", platform=platform, location=location, write=write, emulate=30)
    assert ran.stages() == expected(ran.cost, location, 30)
    assert ran.column("stall") == [sum(expected(ran.cost, location, 30).values())]
    assert ran.exits == {"EPT_MISCONFIG": 1}


@pytest.mark.parametrize("space", list(Space))
@pytest.mark.parametrize("flags", [0, Flag.ABSENT, Flag.SIDE_EFFECT, Flag.ECAM])
def test_wherever_it_goes_and_whatever_it_meets(run_by: Any, space: Space, flags: int) -> None:
    ran = run_by("trap_mmio", space=space, flags=flags)
    assert ran.stages() == expected(ran.cost, "user")


def test_turning_decoding_on_costs_its_state_change(run_by: Any) -> None:
    ran = run_by("trap_mmio", write=1, flags=Flag.DECODE_TOGGLE, costs={"state_change": "2 us"})
    assert ran.stages() == {**expected(ran.cost, "user"), "state change": 2_000_000}


def test_no_guest_lock_is_taken(run_by: Any) -> None:
    ran = run_by("trap_mmio", 2, vcpu=[0, 1], platform="ideal")
    assert ran.column("stall") == [1_000_000] * 2


def test_only_the_vmms_lock_serialises_emulation_in_user_space(run_by: Any) -> None:
    # Both arrive at 1 us; each emulates for 5 us under the lock.
    ran = run_by("trap_mmio", 2, vcpu=[0, 1], platform="ideal", emulate=5_000_000)
    assert ran.column("done") == [6_000_000, 11_000_000]
    assert ran.stages(1)["wait: VMM lock"] == 5_000_000
    alone = run_by("trap_mmio", 2, vcpu=[0, 1], platform="ideal", emulate=5_000_000,
                   location="kernel")  # fmt: skip
    assert alone.column("done") == [6_000_000] * 2


def test_one_32_bit_bar_is_four_exits(run_by: Any) -> None:
    bar = checked(BarSizing, {"kind": "bar_sizing", "sequence": "bare", "bars32": 1})
    assert run_by("trap_mmio", workload=bar).exits == {"EPT_MISCONFIG": 4}
