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
from vmexit_sim.opened import open_scenario
from vmexit_sim.scenario import (
    RANDOM_REPLICATIONS,
    Scenario,
    checked_scenario,
    find_scenario,
    load_scenario,
    scenario_data,
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
    with pytest.raises(InputError, match=r"leaves no access of .*guest\.parquet; known: pci_"):
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


def test_parameters_are_of_the_policy_that_they_name() -> None:
    names = ["batched-oracle", "batched-recorded"]
    opened = open_scenario(
        scenario(policies=names, parameters={"batched-oracle": {"max_batch": 3}})
    )
    assert [p.rules[0].mechanism.max_batch for p in opened.policies] == [3, 32]


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        (
            {"hypercal": {"x": 1}},
            r"parameters\.hypercal: is no policy of this scenario; did you mean",
        ),
        ({"batched-oracle": {"max_batch": 3}}, r"parameters\.batched-oracle: is no policy of this"),
        ({"hypercall": {"max_batch": 3}}, "'max_batch' is no parameter of policy hypercall"),
    ],
)
def test_parameters_that_belong_to_nothing_are_refused(
    parameters: dict[str, Any], says: str
) -> None:
    with pytest.raises(InputError, match=says):
        open_scenario(scenario(parameters=parameters))


def test_parameters_of_a_policy_in_a_file_are_by_the_name_that_the_scenario_uses(
    tmp_path: Path,
) -> None:
    (tmp_path / "mine.toml").write_text('extends = "batched-oracle"\ntitle = "mine"\n')
    (tmp_path / "s.toml").write_text(
        'platform = "ideal"\npolicies = ["./mine.toml"]\n'
        '[parameters."./mine.toml"]\nmax_batch = 3\n[[blocks]]\nguest = { workload = "spread" }\n'
    )
    path = tmp_path / "s.toml"
    (policy,) = open_scenario(load_scenario(path), path).policies
    assert policy.rules[0].mechanism.max_batch == 3


def test_a_study_is_terminating_unless_it_says_otherwise() -> None:
    assert scenario().study == "terminating"
    assert scenario(study="steady-state").study == "steady-state"
    with pytest.raises(InputError, match=r"study.*'terminating' or 'steady-state'"):
        scenario(study="steady")


@pytest.mark.parametrize(
    ("name", "guest"), [("spread", {"workload": "spread"}), ("net-e1000", {"trace": "net-e1000"})]
)
def test_a_guests_name_is_data_of_a_scenario(name: str, guest: dict[str, str]) -> None:
    data, file = scenario_data(name)
    assert (data["name"], data["blocks"], file) == (name, [{"guest": guest}], None)
    assert checked_scenario(data) == find_scenario(name)[0]


def test_data_is_not_checked_and_changing_it_changes_no_file(tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_text('platform = 3\n[[blocks]]\nguest = { workload = "spread" }\n')
    data, path = scenario_data("s.toml", tmp_path / "study.toml")  # beside the file that names it
    assert path == tmp_path / "s.toml"
    assert (data["name"], data["platform"]) == ("s", 3)
    data["blocks"].clear()
    assert scenario_data(str(tmp_path / "s.toml"))[0]["blocks"]
    with pytest.raises(InputError, match=r"s\.toml: platform"):
        checked_scenario(data, path)


def test_what_is_stated_elsewhere_is_relative_to_there(tmp_path: Path) -> None:
    for folder, wait in (("a", "1 us"), ("b", "2 us")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "p.toml").write_text(f'extends = "hypercall"\ntitle = "{folder}"\n')
        (tmp_path / folder / "h.toml").write_text(
            f'extends = "ideal"\ntitle = "{folder}"\n[costs.to_user]\nvalue = "{wait}"\n'
            'mark = "A"\nsource = "a mere guess"\n'
        )
        (tmp_path / folder / "d.toml").write_text(catalog.names("devices")["qemu"].read_text())
    stated = scenario(platform="./h.toml", policies=["./p.toml"], devices="./d.toml")
    own, other = tmp_path / "a/s.toml", tmp_path / "b/study.toml"
    keys = dict.fromkeys(("platform", "policies", "devices"), other)
    for opened, title in (
        (open_scenario(stated, own), "a"), (open_scenario(stated, own, keys), "b"),
    ):  # fmt: skip
        assert (opened.platform.title, opened.policies[0].title) == (title, title)
    (tmp_path / "b/d.toml").unlink()
    with pytest.raises(InputError, match=r"b/study\.toml: devices: '\./d\.toml' no such file"):
        open_scenario(stated, own, {"devices": other})
