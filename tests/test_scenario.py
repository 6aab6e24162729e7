"""Scenarios: what is chosen of a guest, and errors that name what does not fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vmexit_sim import catalog
from vmexit_sim.configuration import checked
from vmexit_sim.errors import InputError
from vmexit_sim.guest.selection import select
from vmexit_sim.guest.table import Flag, Kind, Phase, Space, make_table
from vmexit_sim.guest.table_file import save_table
from vmexit_sim.lowering import HostCpus
from vmexit_sim.scenario import (
    RANDOM_REPLICATIONS,
    Scenario,
    find_scenario,
    load_scenario,
    open_scenario,
)

SPREAD = {"kind": "spread", "operations": 5, "between": "1 us", "read_share": 1, "space": "mmio"}
TABLE = make_table(
    6, space=[Space.PCI_CONFIG, Space.PORT_IO, Space.MMIO, Space.MMIO, Space.PORT_IO, Space.MMIO],
    phase=[Phase.FIRMWARE, Phase.KERNEL, Phase.KERNEL, Phase.JOB, Phase.JOB, Phase.JOB],
    kind=[Kind.BAR_SIZING, 0, 0, Kind.BURST, 0, 0], compute=[1, 2, 4, 8, 16, 32],
    flags=[0, 0, 0, 0, Flag.TIMER, Flag.IRQCHIP], device=[0, 1, 2, 2, 1, 3],
    devices=("nvme", "pit", "e1000-mmio", "apic-msi"), address=np.arange(6),
)  # fmt: skip


def scenario(**keys: Any) -> Scenario:
    plain = {"platform": "ideal", "policies": ["hypercall"], "blocks": [{"guest": SPREAD}]}
    return checked(Scenario, {**plain, **keys})


@pytest.mark.parametrize(
    ("only", "expected"),
    [
        ([], [0, 1, 2, 3]),
        (["mmio"], [2, 3]),
        (["pci_config", "port_io"], [0, 1]),
        (["bar_sizing"], [0]),
        (["kernel"], [1, 2]),
        (["e1000-*"], [2, 3]),
        (["pit", "burst"], [1, 3]),
    ],
)
def test_only_what_any_name_means_is_kept(only: list[str], expected: list[int]) -> None:
    assert select(TABLE, only).address.tolist() == expected


def test_timers_and_interrupt_controllers_are_kept_on_request() -> None:
    assert select(TABLE, timers=True).address.tolist() == list(range(6))
    assert select(TABLE, ["mmio"], timers=True).address.tolist() == [2, 3, 5]


def test_what_is_left_out_stays_in_the_guest_as_compute() -> None:
    assert select(TABLE, ["mmio"]).compute.tolist() == [1 + 2 + 4, 8]


def test_other_phases_are_no_part_of_the_guest() -> None:
    assert select(TABLE, ["mmio"], during=["job"], timers=True).compute.tolist() == [8, 16 + 32]
    assert select(TABLE, during=["kernel", "firmware"]).address.tolist() == [0, 1, 2]


def test_a_name_that_means_nothing_suggests_the_nearest() -> None:
    with pytest.raises(InputError, match=r"only: 'mmoi' means no access.*did you mean 'mmio'"):
        select(TABLE, ["mmoi"])


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"platform": "kvm-2031"}, "is no platform; did you mean"),
        ({"policies": ["hypercal"]}, "is no policy; did you mean 'hypercall'"),
        ({"policies": []}, "policies"),
        ({"devices": "qem"}, "did you mean 'qemu'"),
        ({"blocks": []}, "blocks"),
        ({"blocks": [{"guest": {"trace": "boot-p"}}]}, "is no trace; did you mean 'boot-pc'"),
        ({"blocks": [{"guest": {"table": "gone.parquet"}}]}, "no such file"),
        ({"blocks": [{"guest": {"workload": "sprad"}}]}, "did you mean 'spread'"),
        ({"blocks": [{"guest": {"kind": "sprad"}}]}, "blocks.0.guest"),
        ({"blocks": [{"guest": {**SPREAD, "operations": 0}}]}, "operations: 0"),
        ({"blocks": [{"guest": SPREAD, "only": ["mmio"]}]}, "generator's parameters"),
        ({"blocks": [{"guest": SPREAD, "during": ["jobs"]}]}, "during.0: 'jobs'"),
        ({"blocks": [{"guest": SPREAD, "think_scales": []}]}, "think_scales"),
        ({"blocks": [{"guest": SPREAD, "think_scales": [-1.0]}]}, "think_scales.0: -1.0"),
        ({"costs": {"world_switch_ot": "1 us"}}, "did you mean 'world_switch_out'"),
        ({"seed": -1}, "seed: -1"),
        ({"replications": 0}, "replications: 0"),
        ({"polices": []}, "did you mean 'policies'"),
    ],
)
def test_what_does_not_fit_is_an_input_error(keys: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        open_scenario(scenario(**keys))


def test_a_synthetic_guest_is_opened_at_each_think_scale() -> None:
    block = {"guest": SPREAD, "think_scales": [0.0, 2.0]}
    (opened,) = open_scenario(scenario(blocks=[block])).blocks
    assert list(opened.workloads) == [0.0, 2.0]
    assert opened.main_scale == 2.0
    assert not opened.is_recorded


def test_a_saved_table_is_a_recorded_guest(tmp_path: Path) -> None:
    save_table(TABLE, tmp_path / "guest.parquet")
    path = tmp_path / "mine.toml"
    path.write_text(
        'platform = "ideal"\npolicies = ["hypercall"]\n[costs]\nitem = "3 us"\n'
        '[[blocks]]\nguest = { table = "guest.parquet" }\nonly = ["mmio"]\n'
    )
    found, file = find_scenario(str(path))
    assert (found.name, file) == ("mine", path)
    opened = open_scenario(found, file)
    (block,) = opened.blocks
    assert block.is_recorded
    assert len(block.table) == 2
    assert list(block.workloads) == [0.0, 0.1, 1.0]
    assert opened.platform.costs.item.value.mean_ps == 3_000_000
    assert opened.replications == 1
    made, none = find_scenario(str(tmp_path / "guest.parquet"))
    assert none is None
    assert len(open_scenario(made).blocks[0].table) == 4


def test_a_choice_that_leaves_nothing_says_what_there_is(tmp_path: Path) -> None:
    save_table(TABLE, tmp_path / "guest.parquet")
    block = {"guest": {"table": str(tmp_path / "guest.parquet")}, "only": ["doorbell"]}
    with pytest.raises(InputError, match="leaves no access; known: pci_config"):
        open_scenario(scenario(blocks=[block]))


def test_random_scenarios_are_repeated_and_others_are_not() -> None:
    chance = {**SPREAD, "between": {"kind": "exponential", "mean": "1 us"}}
    assert open_scenario(scenario(replications=7)).replications == 1
    assert open_scenario(scenario(blocks=[{"guest": chance}])).replications == RANDOM_REPLICATIONS
    some = scenario(blocks=[{"guest": chance}], replications=7)
    assert open_scenario(some).replications == 7
    costs = {"world_switch_out": {"kind": "exponential", "mean": "1 us"}}
    assert open_scenario(scenario(costs=costs)).is_random


@pytest.mark.parametrize("name", sorted(catalog.names("workloads")))
def test_every_shipped_workload_is_a_scenario(name: str) -> None:
    found, file = find_scenario(name)
    assert file is None
    assert len(open_scenario(found).blocks) == 1


@pytest.mark.parametrize("name", sorted(catalog.names("scenarios")))
def test_every_shipped_scenario_asks_a_question(name: str) -> None:
    found, file = find_scenario(name)
    assert file == catalog.names("scenarios")[name]
    assert found.question.endswith("?")
    assert load_scenario(file) == found


def test_an_unknown_name_suggests_the_nearest() -> None:
    with pytest.raises(InputError, match="is no scenario, trace, table or workload; did you mean"):
        find_scenario("bunched-and-sprad")


def test_a_measured_cost_stands_beside_the_scenario(tmp_path: Path) -> None:
    (tmp_path / "times.csv").write_text("ps\n5\n7\n")
    cost = {"kind": "empirical", "file": "times.csv", "column": "ps"}
    opened = open_scenario(scenario(costs={"item": cost}), tmp_path / "mine.toml")
    assert opened.platform.costs.item.value.mean_ps == 6


def test_a_device_catalog_stands_beside_the_scenario(tmp_path: Path) -> None:
    (tmp_path / "mine-devices.toml").write_text(catalog.names("devices")["qemu"].read_text())
    assert open_scenario(scenario(devices="mine-devices.toml"), tmp_path / "mine.toml")


def test_host_cpus_stand_in_the_scenario() -> None:
    assert scenario().host_cpus is None
    assert scenario(cpus=2).host_cpus == HostCpus(2)
    assert scenario(cpus=2, time_slice="1 ms").host_cpus == HostCpus(2, 10**9)


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"cpus": 0}, "cpus.*greater than or equal to 1"),
        ({"cpus": 1, "time_slice": "10 ns"}, "time_slice.*give 1 us or more"),
        ({"cpus": 1, "time_slice": "10"}, "time_slice.*no unit"),
        ({"time_slice": "1 ms"}, "state cpus, too"),
    ],
)
def test_host_cpus_that_do_not_fit_are_refused(keys: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        scenario(**keys)
