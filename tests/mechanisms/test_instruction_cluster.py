"""Instruction clusters: one world switch for accesses close to each other, all else as before."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vmexit_sim.errors import InputError
from vmexit_sim.guest.table import Flag, Space, make_table
from vmexit_sim.hypervisor.platform import load_platform
from vmexit_sim.mechanisms import make_mechanism

US = 1_000_000
COSTS = {
    "world_switch_out": "10 us", "dispatch_port": "1 us", "decode_port_in": "2 us",
    "decode_port_out": "3 us", "to_user": "40 us", "to_kernel": "50 us",
    "world_switch_in": "30 us", "dispatch_mmio": "4 us", "decode_mmio": "5 us",
    "complete_mmio": "6 us", "dispatch_msr": "7 us",
}  # fmt: skip


def cluster(**parameters: Any) -> dict[str, Any]:
    return {"name": "instruction_cluster", **parameters}


@pytest.fixture
def clustered(run_by: Any) -> Any:
    """Run port reads in the kernel on the made-up costs above."""

    def run(n: int, parameters: dict[str, Any] | None = None, **columns: Any) -> Any:
        plain = {"location": "kernel", "costs": COSTS, "space": Space.PORT_IO}
        return run_by(cluster(**parameters or {}), n, platform="ideal", **{**plain, **columns})

    return run


def test_three_port_reads_share_one_switch_by_hand(clustered: Any) -> None:
    # 10 out, 1 + 2 for each of three, 30 in, booked on the first.
    ran = clustered(3)
    assert ran.column("stall") == [43 * US, 3 * US, 3 * US]
    assert ran.stages(1) == {"dispatch": US, "decode": 2 * US}
    assert ran.exits == {"IO_INSTRUCTION": 1}
    assert ran.column("exits") == [1, 0, 0]
    assert ran.column("done") == [13 * US, 46 * US, 49 * US]


def test_a_config_access_by_ports_is_a_pair_that_saves_half_the_transitions(
    clustered: Any, run_by: Any
) -> None:
    ran = clustered(1, space=Space.PCI_CONFIG)
    plain = run_by("trap_pio", location="kernel", costs=COSTS, platform="ideal")
    assert ran.exits == {"IO_INSTRUCTION": 1}
    assert plain.exits == {"IO_INSTRUCTION": 2}
    assert plain.column("stall")[0] - ran.column("stall")[0] == 40 * US  # of 2 × (10 + 30)
    switches = [sum(r.stages()[f"world switch {way}"] for way in ("out", "in"))
                for r in (ran, plain)]  # fmt: skip
    assert switches == [40 * US, 80 * US]


def test_too_much_compute_opens_another_cluster(clustered: Any) -> None:
    compute = [0, 1 * US, 1 * US + 1, 0]
    assert clustered(4, compute=compute).column("exits") == [1, 0, 1, 0]
    assert clustered(4, {"within": "0 s"}, compute=compute).column("exits") == [1, 1, 1, 0]


def test_a_full_cluster_is_followed_by_another(clustered: Any) -> None:
    assert clustered(7, {"max_cluster": 3}).column("exits") == [1, 0, 0, 1, 0, 0, 1]
    assert clustered(3, {"max_cluster": 1}).column("exits") == [1, 1, 1]


def test_idling_and_arrivals_end_a_cluster(clustered: Any) -> None:
    assert clustered(3, flags=[0, Flag.WAITED, 0]).column("exits") == [1, 1, 0]
    assert clustered(3, arrival=[-1, 5, -1]).column("exits") == [1, 1, 0]


def test_the_reason_is_that_of_the_first(clustered: Any) -> None:
    space = [Space.MMIO, Space.PORT_IO, Space.MSR]
    assert clustered(3, space=space).exits == {"EPT_MISCONFIG": 1}
    assert clustered(3, space=space[::-1], write=1).exits == {"MSR_WRITE": 1}
    apic = {"space": Space.MMIO, "flags": Flag.LOCAL_APIC}
    assert clustered(2, **apic).exits == {"APIC_ACCESS": 1}


def test_translated_in_the_kernel_a_load_is_completed_there_behind_user_space(
    clustered: Any,
) -> None:
    ran = clustered(2, location="user", space=Space.MMIO)
    assert ran.stages(1) == {
        "dispatch": 4 * US, "decode": 5 * US, "to user space": 40 * US, "back to kernel": 56 * US,
    }  # fmt: skip


def test_translated_in_the_kernel_each_access_goes_to_user_space_by_itself(clustered: Any) -> None:
    ran = clustered(2, location="user")
    assert ran.column("stall") == [133 * US, 93 * US]
    pair = clustered(1, location="user", space=Space.PCI_CONFIG)
    assert pair.stages()["to user space"] == 80 * US


def test_translated_in_user_space_the_cluster_goes_there_once(clustered: Any) -> None:
    user = {"translated_in": "user"}
    ran = clustered(2, user, location="user")
    assert ran.column("stall") == [133 * US, 3 * US]
    assert clustered(2, user).column("stall") == [133 * US, 3 * US]  # wherever devices are
    pair = clustered(2, user, location="user", space=Space.PCI_CONFIG)
    assert pair.stages(0)["to user space"] == 40 * US
    assert pair.column("stall") == [136 * US + US, 7 * US]


def test_toggles_and_emulation_stay(clustered: Any) -> None:
    toggle = {"space": Space.PCI_CONFIG, "write": 1, "flags": Flag.DECODE_TOGGLE, "emulate": 9}
    ran = clustered(2, costs={**COSTS, "state_change": "100 us"}, **toggle)
    assert ran.stages(1)["state change"] == 100 * US
    assert ran.stages(1)["device emulation"] == 9


def test_the_lock_is_held_across_the_pair(run_both: Any) -> None:
    table = make_table(2, space=Space.PCI_CONFIG, vcpu=[0, 1], devices=("pit",))
    platform = load_platform("ideal", changes=COSTS)
    ran = run_both(make_mechanism(cluster()), table, platform)
    assert ran.stages(1)["wait: config lock"] == ran.column("stall")[0]


@pytest.mark.parametrize("wrong", [{"within": 3}, {"max_cluster": 0}, {"translated_in": "guest"}])
def test_parameters_that_do_not_fit_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=next(iter(wrong))):
        make_mechanism(cluster(**wrong))


@settings(max_examples=15, deadline=None,
          suppress_health_check=[HealthCheck.function_scoped_fixture])  # fmt: skip
@given(
    data=st.data(),
    longest=st.integers(1, 5),
    within=st.sampled_from(["0 ns", "500 ns", "1 us"]),
    translated_in=st.sampled_from(["kernel", "user"]),
)
def test_engines_agree_and_stages_sum_to_the_stall(
    data: st.DataObject, tied_config_guests: Any, run_both: Any, longest: int, within: str,
    translated_in: str,
) -> None:  # fmt: skip
    table = data.draw(tied_config_guests)
    platform = load_platform("ideal", changes={"to_user": "500 ns", "deliver_ipi": "500 ns"})
    mechanism = make_mechanism(
        cluster(max_cluster=longest, within=within, translated_in=translated_in)
    )
    result = run_both(mechanism, table, platform).result
    columns = result.to_columns()
    front = [columns[f"stage: {stage.name}"] for stage in result.summary.stages if stage.is_front]
    assert np.array_equal(np.sum(front, axis=0), columns["stall"])
