"""The coalescing ring: what enters it, what drains it, and who pays."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vmexit_sim.device import load_devices
from vmexit_sim.engine import run
from vmexit_sim.errors import InputError
from vmexit_sim.guest.table import Flag, Space, make_table
from vmexit_sim.guest.workload import Recorded
from vmexit_sim.hypervisor.platform import load_platform
from vmexit_sim.lowering import lower
from vmexit_sim.mechanisms import make_mechanism
from vmexit_sim.mechanisms.coalesced_mmio import PATIENCE
from vmexit_sim.policy import Match, Policy, Rule
from vmexit_sim.steps import Role
from vmexit_sim.streams import Streams

US = 1_000_000
COSTS = {
    "world_switch_out": "1 us", "dispatch_mmio": "2 us", "decode_mmio": "3 us",
    "ring_entry": "4 us",
    "to_user": "50 us", "item": "6 us", "to_kernel": "60 us", "complete_mmio": "7 us",
    "world_switch_in": "8 us", "dispatch_port": "20 us", "decode_port_in": "9 us",
}  # fmt: skip
LIGHT = (1 + 2 + 3 + 4 + 8) * US
TRAPPED = (1 + 2 + 3 + 50 + 60 + 7 + 8) * US


def coalesced(**parameters: Any) -> dict[str, Any]:
    return {"name": "coalesced_mmio", **parameters}


@pytest.fixture
def writes(run_by: Any) -> Any:
    """Run rows of device memory, writes unless said otherwise, on the made-up costs above."""

    def writes(n: int, parameters: dict[str, Any] | None = None, **columns: Any) -> Any:
        columns = {"space": Space.MMIO, "write": 1, "costs": COSTS, **columns}
        return run_by(coalesced(**parameters or {}), n, platform="ideal", **columns)

    return writes


def to_user(ran: Any) -> list[int]:
    """The rows that went to user space."""
    return np.flatnonzero(ran.result.to_columns()["stage: to user space"]).tolist()


def test_two_writes_and_the_read_that_drains_them_by_hand(writes: Any) -> None:
    # A write has its place after out, dispatch and decode (6), and the guest goes on at 18. The
    # read is in user space at 36 + 56 = 92; items of 6 + 5 are done at 103 and 114.
    ran = writes(3, write=[1, 1, 0], emulate=5 * US)
    assert ran.column("posted")[:2] == [6 * US, 24 * US]
    assert ran.column("done") == [103 * US, 114 * US, 119 * US]
    assert ran.stages(0) == {
        "world switch out": US, "dispatch": 2 * US, "decode": 3 * US, "ring entry": 4 * US,
        "world switch in": 8 * US, "wait in ring": 86 * US, "drained with ring": 11 * US,
    }  # fmt: skip
    assert ran.stages(1)["wait in ring"] == (103 - 24) * US
    assert ran.stages(2)["ring item"] == 12 * US
    assert ran.stages(2)["device emulation"] == 15 * US
    assert ran.column("stall") == [LIGHT, LIGHT, TRAPPED + 12 * US + 15 * US]
    assert ran.exits == {"EPT_MISCONFIG": 3}


def test_169_writes_exit_lightly_and_the_170th_goes_to_user_space_and_drains(writes: Any) -> None:
    ran = writes(171)
    assert ran.column("stall")[:169] == [LIGHT] * 169
    assert ran.column("stall")[169] == TRAPPED + 169 * 6 * US
    assert ran.stages(169)["ring item"] == 169 * 6 * US
    assert ran.column("posted")[169] == -1
    assert to_user(ran) == [169, 170]  # the 171st waits in the ring until the vCPU's end
    assert ran.column("done")[:170] == sorted(ran.column("done")[:170])


def test_an_address_that_finds_the_ring_full_has_the_device_at_work_once(writes: Any) -> None:
    # A ring for one write. The address goes to user space and drains it; the data work there.
    ran = writes(2, {"entries": 2}, space=[Space.MMIO, Space.PCI_CONFIG], write=[1, 0],
                 emulate=[3 * US, 5 * US])  # fmt: skip
    assert ran.stages(1)["to user space"] == 2 * 50 * US
    assert ran.stages(1)["ring item"] == 6 * US
    assert ran.stages(1)["device emulation"] == (3 + 5) * US


def test_the_ring_is_listed_by_its_size(writes: Any) -> None:
    names = [use.name for use in writes(3, {"entries": 3}).result.resources]
    assert "coalescing ring of 3" in names


def test_the_first_write_behind_a_full_ring_finds_it_empty(writes: Any) -> None:
    ran = writes(8, {"entries": 3})
    assert to_user(ran) == [2, 5, 7]
    assert ran.column("exits") == [1] * 7 + [2]


def test_what_is_left_at_the_end_is_on_the_last_accesss_account(writes: Any) -> None:
    ran = writes(2, devices=("nvme", "pit"), device=[0, 1], write=[1, 0])
    visit = (1 + 50 + 6 + 60 + 8) * US
    kernel = (1 + 2 + 3 + 8) * US  # the device in the kernel drains nothing
    assert ran.column("stall") == [LIGHT, kernel + visit]
    assert ran.exits == {"EPT_MISCONFIG": 2, "EXTERNAL_INTERRUPT": 1}
    assert ran.result.finish == [LIGHT + kernel + visit]


def test_an_empty_ring_costs_nothing_at_the_end(writes: Any) -> None:
    assert writes(3, write=0).column("stall") == [TRAPPED] * 3


@pytest.mark.parametrize(
    ("parameters", "drains"),
    [
        ({}, False),
        ({"drained_by": "any"}, True),
        ({"regions": ["ah*"]}, True),
        ({"regions": ["hpet"]}, False),
    ],
)
def test_whose_access_drains(writes: Any, parameters: dict[str, Any], drains: bool) -> None:
    """A write to one device, a read of another that never coalesces, a read of the first."""
    ran = writes(3, parameters, devices=("nvme", "ahci"), device=[0, 1, 0], write=[1, 0, 0])
    assert ("ring item" in ran.stages(1)) is drains
    assert ("ring item" in ran.stages(2)) is not drains


def test_a_device_in_port_space_is_a_region_of_its_own(writes: Any) -> None:
    columns = {"space": Space.PORT_IO, "devices": ("nvme", "ahci"), "device": [0, 1, 0]}
    ran = writes(3, write=[1, 0, 0], **columns)
    assert "ring item" not in ran.stages(1)
    assert "ring item" in ran.stages(2)


def test_config_space_in_memory_is_its_functions_region_and_not_the_config_ports(
    writes: Any,
) -> None:
    columns = {"space": Space.PCI_CONFIG, "devices": ("nvme", "ahci"), "device": [0, 1, 0]}
    ran = writes(3, write=[1, 0, 0], flags=Flag.ECAM, **columns)
    assert "ring item" not in ran.stages(1)
    assert "ring item" in ran.stages(2)


def test_an_access_of_any_device_that_coalesces_drains_the_whole_ring(writes: Any) -> None:
    ran = writes(4, devices=("nvme", "ahci"), device=[0, 1, 1, 0], write=[1, 1, 0, 0], costs=COSTS)
    assert ran.stages(2)["ring item"] == 12 * US
    assert "ring item" not in ran.stages(3)


def test_another_mechanisms_access_to_the_device_drains_too() -> None:
    table = make_table(2, space=Space.MMIO, write=[1, 0], devices=("nvme",))
    rules = [
        Rule(side="host", match=Match(write=True), mechanism=coalesced()),
        Rule(side="host", mechanism="trap_mmio"),
    ]
    policy = Policy(title="writes only", rules=rules)
    result = run(
        lower(policy, load_platform("ideal", changes=COSTS), load_devices(), Recorded(table)),
        Recorded(table), Streams(1), engine="simpy", keep_rows=True,
    )  # fmt: skip
    assert result.to_columns()["stage: ring item"].tolist() == [0, 6 * US]


def test_devices_in_the_kernel_do_not_enter_the_ring(writes: Any) -> None:
    ran = writes(2, location="kernel")
    assert ran.column("posted") == [-1, -1]
    assert ran.column("stall") == [14 * US] * 2


def test_a_decode_toggle_traps(writes: Any) -> None:
    flags = Flag.DECODE_TOGGLE | Flag.ECAM
    ran = writes(1, space=Space.PCI_CONFIG, flags=flags)
    assert ran.column("posted") == [-1]


def test_a_port_write_takes_the_ports_way(writes: Any) -> None:
    ran = writes(1, space=Space.PORT_IO)
    assert ran.stages(0)["dispatch"] == 20 * US
    assert "decode" not in ran.stages(0)
    assert ran.exits == {"IO_INSTRUCTION": 1, "EXTERNAL_INTERRUPT": 1}


def test_the_address_of_a_config_access_waits_for_its_data(writes: Any) -> None:
    # Address: 1 + 20 + 4 + 8, data: 1 + 20 + 9 + 50 + 60 + 8; noting the address costs nothing.
    ran = writes(1, space=Space.PCI_CONFIG, write=0)
    assert ran.column("stall") == [(33 + 148) * US]
    assert ran.exits == {"IO_INSTRUCTION": 2}
    assert ran.stages(0)["to user space"] == 50 * US
    assert "ring item" not in ran.stages(0)


def test_an_address_that_finds_the_ring_full_goes_to_user_space(writes: Any) -> None:
    space = [Space.MMIO, Space.PCI_CONFIG]
    ran = writes(2, {"entries": 2}, space=space, write=[1, 0])
    assert ran.stages(1)["to user space"] == 100 * US
    assert ran.stages(1)["ring item"] == 6 * US


def test_a_lone_address_waits_and_the_next_data_drains_it(writes: Any) -> None:
    flags = [Flag.INDEX_ONLY, 0]
    ran = writes(2, space=Space.PCI_CONFIG, write=[1, 0], flags=flags)
    assert ran.column("posted")[0] >= 0
    assert ran.stages(1)["ring item"] == 6 * US


def test_vcpus_share_the_ring_and_whoever_comes_pays(writes: Any) -> None:
    # vCPU 1 computes for 100 and then reads; vCPU 0 has written twice and computes on.
    ran = writes(4, vcpu=[0, 0, 0, 1], write=[1, 1, 0, 0], compute=[0, 0, 900 * US, 100 * US])
    assert ran.stages(3)["ring item"] == 12 * US
    assert ran.column("done")[:2] == [(100 + 56 + 6) * US, (100 + 56 + 12) * US]
    assert "ring item" not in ran.stages(2)


def test_a_write_does_not_wait_for_ever(writes: Any) -> None:
    """Accesses to another device drain nothing, until patience is over."""
    n = PATIENCE + 20
    ran = writes(n, devices=("nvme", "pit"), device=[0] + [1] * (n - 1))
    late = np.flatnonzero(np.array(ran.column("exits")) == 2).tolist()
    assert late == [PATIENCE]
    assert ran.exits["EXTERNAL_INTERRUPT"] == 1


def test_a_drained_write_is_not_waited_for_again(writes: Any) -> None:
    """What another access has drained in time needs no visit of its own; a newer write does."""
    n = 2 * PATIENCE
    write = [1, 0, 1] + [0] * (n - 3)
    ran = writes(n, devices=("nvme", "pit"), device=[0, 0, 0] + [1] * (n - 3), write=write)
    late = np.flatnonzero(np.array(ran.column("exits")) == 2).tolist()
    assert late == [PATIENCE + 2]


def test_idling_does_not_drain(writes: Any) -> None:
    ran = writes(2, devices=("nvme", "pit"), device=[0, 1], flags=[0, Flag.WAITED],
                 compute=[0, 500 * US])  # fmt: skip
    assert ran.column("done")[0] > 500 * US


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        ({"entries": 1}, "entries: 1 does not fit"),
        ({"drained_by": "all"}, "drained_by"),
        ({"entires": 4}, "did you mean 'entries'"),
    ],
)
def test_parameters_that_do_not_fit_are_refused(parameters: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        make_mechanism(coalesced(**parameters))


ROW = st.tuples(
    st.sampled_from([Space.MMIO, Space.PORT_IO, Space.PCI_CONFIG, Space.DOORBELL]),
    st.integers(0, 2), st.booleans(), st.integers(0, 2), st.integers(0, 2),
    st.sampled_from([0, 0, 0, Flag.WAITED, Flag.DECODE_TOGGLE, Flag.ECAM, Flag.INDEX_ONLY]),
)  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(
    vcpus=st.lists(st.lists(ROW, min_size=1, max_size=12), min_size=1, max_size=4),
    entries=st.integers(2, 5),
    drained_by=st.sampled_from(["region", "any"]),
)
def test_engines_agree_and_every_picosecond_is_accounted_for(
    vcpus: list[list[Any]], entries: int, drained_by: str
) -> None:
    rows = [row for rows in vcpus for row in rows]
    space, device, write, compute, emulate, flags = (np.array(c) for c in zip(*rows, strict=True))
    table = make_table(
        len(rows), vcpu=np.repeat(np.arange(len(vcpus)), [len(rows) for rows in vcpus]),
        space=space, write=write, device=device, compute=compute * 500_000,
        emulate=emulate * 500_000, devices=("nvme", "pit", "ahci"),
        flags=np.where(space == Space.PCI_CONFIG, flags, flags & Flag.WAITED),
    )  # fmt: skip
    costs = {"to_user": "500 ns", "ring_entry": "500 ns", "item": "500 ns"}
    mechanism = coalesced(entries=entries, drained_by=drained_by)
    policy = Policy(title="all", rules=[Rule(side="host", mechanism=mechanism)])
    platform, guest = load_platform("ideal", changes=costs), Recorded(table)
    lowered = lower(policy, platform, load_devices(), guest)
    one, other = (
        run(lowered, guest, Streams(7), engine=engine, keep_rows=True)
        for engine in ("simpy", "compiled")
    )
    kept, others = one.to_columns(), other.to_columns()
    assert all(np.array_equal(column, others[name]) for name, column in kept.items())
    assert one.exits == other.exits
    assert one.finish == other.finish
    stages = one.summary.stages
    front = sum(kept[f"stage: {stage.name}"] for stage in stages if stage.is_front)
    back = sum(kept[f"stage: {stage.name}"] for stage in stages if stage.role is Role.BACK)
    posted = kept["posted"] >= 0
    assert np.array_equal(front, kept["stall"])
    assert np.array_equal(
        (back + 0 * kept["done"])[posted], (kept["done"] - kept["posted"])[posted]
    )
