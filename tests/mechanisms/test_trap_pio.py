"""Port I/O: a config access exits twice under the guest's lock, any other port access once."""

from __future__ import annotations

from typing import Any

import pytest

from vmexit_sim.configuration import checked
from vmexit_sim.guest.generators import BarSizing
from vmexit_sim.guest.table import Flag, Space


def once(cost: dict[str, int], decode: str) -> dict[str, int]:
    """One port exit as far as the kernel."""
    return {
        "world switch out": cost["world_switch_out"],
        "dispatch": cost["dispatch_port"],
        "decode": cost[decode],
        "world switch in": cost["world_switch_in"],
    }


def added(*parts: dict[str, int]) -> dict[str, int]:
    names = dict.fromkeys(name for part in parts for name in part)
    sums = {name: sum(part.get(name, 0) for part in parts) for name in names}
    return {name: total for name, total in sums.items() if total}


def user(cost: dict[str, int]) -> dict[str, int]:
    return {"to user space": cost["to_user"], "back to kernel": cost["to_kernel"]}


@pytest.mark.parametrize("platform", ["kvm-2012", "kvm-2013", "kvm-2017"])
@pytest.mark.parametrize(("write", "decode"), [(0, "decode_port_in"), (1, "decode_port_out")])
@pytest.mark.parametrize("location", ["user", "kernel"])
def test_a_config_access_is_an_address_cycle_and_a_data_cycle(
    run_by: Any, platform: str, write: int, decode: str, location: str
) -> None:
    ran = run_by("trap_pio", platform=platform, write=write, location=location, emulate=700)
    cost = ran.cost
    expected = added(once(cost, "decode_port_out"), once(cost, decode), {"device emulation": 700})
    if location == "user":
        expected = added(expected, user(cost), user(cost))
    assert ran.stages() == expected
    assert ran.column("stall") == [sum(expected.values())]
    assert ran.exits == {"IO_INSTRUCTION": 2}
    assert ran.column("exits") == [2]


@pytest.mark.parametrize("location", ["user", "kernel"])
@pytest.mark.parametrize("where", [{"space": Space.PORT_IO}, {"flags": Flag.INDEX_ONLY}])
def test_any_other_port_access_exits_once(
    run_by: Any, location: str, where: dict[str, Any]
) -> None:
    ran = run_by("trap_pio", platform="kvm-2017", location=location, emulate=5, **where)
    expected = added(once(ran.cost, "decode_port_in"), {"device emulation": 5})
    if location == "user":
        expected = added(expected, user(ran.cost))
    assert ran.stages() == expected
    assert ran.exits == {"IO_INSTRUCTION": 1}
    assert not [use for use in ran.result.resources if use.name == "config lock"]


def test_the_effect_happens_in_the_data_cycle(run_by: Any) -> None:
    ran = run_by("trap_pio", compute=10)
    back = ran.cost["to_kernel"] + ran.cost["world_switch_in"]
    assert ran.column("done") == [ran.column("resume")[0] - back]


def test_turning_decoding_on_costs_its_state_change(run_by: Any) -> None:
    costs = {"state_change": "3 us"}
    plain, toggle = (
        run_by("trap_pio", write=1, flags=flags, costs=costs) for flags in (0, Flag.DECODE_TOGGLE)
    )
    assert added(plain.stages(), {"state change": 3_000_000}) == toggle.stages()


def test_what_nobody_answers_costs_as_much(run_by: Any) -> None:
    assert run_by("trap_pio", flags=Flag.ABSENT).stages() == run_by("trap_pio").stages()


def test_config_accesses_of_two_vcpus_wait_for_each_others_lock(run_by: Any) -> None:
    ran = run_by("trap_pio", 2, vcpu=[0, 1], platform="ideal")
    assert ran.column("resume") == [2_000_000, 4_000_000]
    assert ran.stages(1)["wait: config lock"] == 2_000_000


def test_kernel_devices_on_plain_ports_do_not_wait_for_each_other(run_by: Any) -> None:
    ran = run_by("trap_pio", 3, vcpu=[0, 1, 2], space=Space.PORT_IO, location="kernel", emulate=9)
    assert len(set(ran.column("stall"))) == 1


def test_one_32_bit_bar_is_eight_port_exits(run_by: Any) -> None:
    bar = checked(BarSizing, {"kind": "bar_sizing", "sequence": "bare", "bars32": 1})
    assert run_by("trap_pio", workload=bar).exits == {"IO_INSTRUCTION": 8}
