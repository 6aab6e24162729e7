"""Doorbells by eventfd: a light exit for the vCPU, and a thread that answers later."""

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
from vmexit_sim.lowering import HostCpus, lower
from vmexit_sim.mechanisms import make_mechanism
from vmexit_sim.policy import Policy, Rule
from vmexit_sim.steps import Role
from vmexit_sim.streams import Streams

US = 1_000_000
COSTS = {
    "world_switch_out": "1 us", "dispatch_mmio": "2 us", "decode_mmio": "3 us",
    "dispatch_port": "20 us", "signal": "4 us", "world_switch_in": "8 us",
    "thread_wake_up": "30 us", "to_user": "50 us",
}  # fmt: skip
LIGHT = (1 + 2 + 3 + 4 + 8) * US


def by_eventfd(**parameters: Any) -> dict[str, Any]:
    return {"name": "ioeventfd", **parameters}


@pytest.fixture
def rung(run_by: Any) -> Any:
    """Run doorbells, writes unless said otherwise, on the made-up costs above."""

    def rung(n: int, parameters: dict[str, Any] | None = None, **columns: Any) -> Any:
        columns = {"space": Space.DOORBELL, "write": 1, "costs": COSTS, **columns}
        return run_by(by_eventfd(**parameters or {}), n, platform="ideal", **columns)

    return rung


def test_one_doorbell_by_hand(rung: Any) -> None:
    # Signalled at 1 + 2 + 3 + 4, in the guest again at 18; the thread reads at 40, is done at 45.
    ran = rung(1, emulate=5 * US)
    assert ran.stages() == {
        "world switch out": US, "dispatch": 2 * US, "decode": 3 * US, "eventfd signal": 4 * US,
        "world switch in": 8 * US, "wait for thread": 30 * US, "handler": 5 * US,
    }  # fmt: skip
    assert ran.column("posted") == [10 * US]
    assert ran.column("done") == [45 * US]
    assert ran.column("stall") == [LIGHT]
    assert ran.exits == {"EPT_MISCONFIG": 1}
    assert ran.result.finish == [LIGHT]


@pytest.mark.parametrize(
    ("space", "trap", "trapped", "doorbell"),
    [(Space.MMIO, "trap_mmio", 8796, 3685), (Space.PORT_IO, "trap_pio", 5287, 1777)],
)
def test_pci_testdev_in_cycles(
    run_by: Any, space: Space, trap: str, trapped: int, doorbell: int
) -> None:
    for mechanism, cycles in ((trap, trapped), (by_eventfd(), doorbell)):
        ran = run_by(mechanism, platform="kvm-2013", space=space, write=1)
        assert ran.column("stall")[0] * 3 / 1000 == pytest.approx(cycles, abs=0.01)  # 3 GHz


def test_a_doorbell_of_no_length_is_not_decoded(rung: Any) -> None:
    fast = {"match": "wildcard", "zero_length": True}
    assert rung(1, fast).stages()["dispatch"] == 2 * US
    assert "decode" not in rung(1, fast).stages()
    assert rung(1, {"match": "wildcard"}).stages()["decode"] == 3 * US
    ports = rung(1, fast, space=Space.PORT_IO)
    assert ports.stages()["dispatch"] == 20 * US
    assert ports.exits == {"IO_INSTRUCTION": 1}


def test_signals_that_the_thread_finds_together_have_one_run(rung: Any) -> None:
    # Signalled at 10, 28 and 46. The thread wakes at 40 and reads two, of 5 and 7: done at 47.
    # The third comes meanwhile: the thread finds it at 47, awake, and is done at 47 + 9.
    ran = rung(3, emulate=[5 * US, 7 * US, 9 * US])
    assert ran.column("done") == [47 * US, 47 * US, 56 * US]
    assert ran.stages(1)["wait for thread"] == 12 * US
    assert ran.stages(1)["handler"] == 7 * US
    assert ran.stages(2)["wait for thread"] == 1 * US


def test_without_merging_each_signal_has_its_run(rung: Any) -> None:
    ran = rung(3, {"merge": False}, emulate=[5 * US, 7 * US, 9 * US])
    assert ran.column("done") == [45 * US, 52 * US, 61 * US]


def test_a_thread_that_slept_must_be_woken(rung: Any) -> None:
    ran = rung(2, compute=[0, 100 * US], emulate=5 * US)
    assert [ran.stages(row)["wait for thread"] for row in (0, 1)] == [30 * US] * 2


def test_each_device_has_a_thread_of_its_own(rung: Any) -> None:
    columns = {"devices": ("nvme", "ahci"), "device": [0, 1], "emulate": 100 * US}
    assert rung(2, **columns).column("done") == [140 * US, 158 * US]
    assert rung(2, {"thread": "main_loop", "merge": False}, **columns).column("done") == [
        140 * US, 240 * US,
    ]  # fmt: skip


def test_the_main_loop_holds_the_vmm_lock_while_it_handles(rung: Any) -> None:
    # The read arrives in user space at 18 + 6 + 50 = 74; the main loop is at work until 140.
    columns = {"write": [1, 0], "space": Space.MMIO, "emulate": [100 * US, 0]}
    ran = rung(2, {"thread": "main_loop"}, **columns)
    assert ran.stages(1)["wait: VMM lock"] == 66 * US
    assert "wait: VMM lock" not in rung(2, **columns).stages(1)


def test_the_main_loop_waits_for_the_vmm_lock(rung: Any) -> None:
    # vCPU 1 holds it from 14 + 6 + 50 = 70 on for 100; the thread would have read at 10 + 30 + 65.
    columns = {"write": [1, 0], "space": Space.MMIO, "vcpu": [0, 1],
               "compute": [65 * US, 14 * US], "emulate": [5 * US, 100 * US]}  # fmt: skip
    ran = rung(2, {"thread": "main_loop"}, **columns)
    assert ran.column("done") == [175 * US, 170 * US]
    assert ran.stages(0)["wait for thread"] == 95 * US
    assert rung(2, **columns).column("done")[0] == 110 * US


def test_a_guest_whose_signals_stay_unanswered_waits(rung: Any) -> None:
    ran = rung(3, {"depth": 1}, emulate=100 * US)
    assert ran.stages(1)["wait: room for a signal"] == (140 - 18) * US
    assert ran.column("start")[1] == 18 * US
    assert ran.column("done")[:2] == [140 * US, (140 + 10 + 30 + 100) * US]


@pytest.mark.parametrize(
    "columns",
    [
        {"write": 0, "space": Space.MMIO},
        {"location": "kernel"},
        {"space": Space.PCI_CONFIG},
        {"space": Space.PCI_CONFIG, "flags": Flag.ECAM | Flag.DECODE_TOGGLE},
    ],
)
def test_what_is_no_doorbell_traps(rung: Any, columns: dict[str, Any]) -> None:
    ran = rung(1, **columns)
    assert ran.column("posted") == [-1]
    assert "eventfd signal" not in ran.stages()


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        ({"zero_length": True}, "compares a value of no length"),
        ({"depth": 0}, "depth: 0 does not fit"),
        ({"thread": "vhost"}, "thread"),
    ],
)
def test_parameters_that_do_not_fit_are_refused(parameters: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        make_mechanism(by_eventfd(**parameters))


ROW = st.tuples(
    st.sampled_from([Space.DOORBELL, Space.DOORBELL, Space.MMIO, Space.PCI_CONFIG]),
    st.integers(0, 2), st.booleans(), st.integers(0, 3), st.integers(0, 3),
)  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(
    vcpus=st.lists(st.lists(ROW, min_size=1, max_size=12), min_size=1, max_size=4),
    parameters=st.fixed_dictionaries({
        "thread": st.sampled_from(["iothread", "main_loop"]), "merge": st.booleans(),
        "depth": st.sampled_from([1, 2, 256]),
    }),
    cpus=st.sampled_from([None, 1, 2]),
)  # fmt: skip
def test_engines_agree_and_every_picosecond_is_accounted_for(
    vcpus: list[list[Any]], parameters: dict[str, Any], cpus: int | None
) -> None:
    rows = [row for rows in vcpus for row in rows]
    space, device, write, compute, emulate = (np.array(c) for c in zip(*rows, strict=True))
    table = make_table(
        len(rows), vcpu=np.repeat(np.arange(len(vcpus)), [len(rows) for rows in vcpus]),
        space=space, write=write | (space == Space.DOORBELL), device=device,
        compute=compute * 500_000, emulate=emulate * 500_000, devices=("nvme", "pit", "ahci"),
    )  # fmt: skip
    costs = {"to_user": "500 ns", "thread_wake_up": "1 us", "signal": "500 ns"}
    policy = Policy(title="all", rules=[Rule(side="host", mechanism=by_eventfd(**parameters))])
    guest = Recorded(table)
    host_cpus = None if cpus is None else HostCpus(cpus, 1_000_000)
    lowered = lower(policy, load_platform("ideal", changes=costs), load_devices(), guest, host_cpus)
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
