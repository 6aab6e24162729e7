"""Study files: what they state becomes points, and what does not fit is named where it stands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from vmexit_sim.configuration import checked
from vmexit_sim.errors import InputError
from vmexit_sim.opened import Opened
from vmexit_sim.scenario import checked_scenario
from vmexit_sim.study.sweep import Plan, Study, load_study, plan
from vmexit_sim.study.sweep.study_file import COLUMNS

GUEST = {"kind": "spread", "operations": 5, "between": "1 us", "read_share": 1, "space": "mmio"}
SCENARIO = {"platform": "ideal", "policies": ["hypercall"], "blocks": [{"guest": GUEST}]}


def planned(path: Path | None = None, **keys: Any) -> Plan:
    stated = {"name": "mine", "scenario": SCENARIO, "factors": {"cpus": [1, 2]}, **keys}
    return plan(checked(Study, stated), path)


def written(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_every_point_is_the_scenario_with_its_values() -> None:
    made = planned(factors={"cpus": [1, 2], "costs.to_user": ["1 us", "2 us"]})
    assert [point.number for point in made.points] == [0, 1, 2, 3]
    for point in made.points:
        scenario = checked_scenario(point.scenario)
        assert scenario.cpus == point.values["cpus"]
        assert scenario.costs == {"to_user": point.values["costs.to_user"]}
        assert scenario.name == "mine"


def test_set_is_the_same_at_every_point_and_a_factor_overrides_it() -> None:
    made = planned(set={"cpus": 7, "replications": 3}, factors={"cpus": [1, 2]})
    assert [(p.scenario["cpus"], p.scenario["replications"]) for p in made.points] == [
        (1, 3), (2, 3),
    ]  # fmt: skip


def test_a_factor_may_have_a_name_of_its_own_and_set_several_keys() -> None:
    made = planned(factors={"size": {"place": ["cpus", "blocks.0.guest.vcpus"], "values": [2, 4]}})
    assert [p.values for p in made.points] == [{"size": 2}, {"size": 4}]
    assert [(p.scenario["cpus"], p.scenario["blocks"][0]["guest"]["vcpus"])
            for p in made.points] == [(2, 2), (4, 4)]  # fmt: skip


def test_points_share_their_seed_unless_they_are_to_have_their_own() -> None:
    common = planned(set={"seed": 5})
    assert [p.scenario["seed"] for p in common.points] == [5, 5]
    assert all("seed" not in p.scenario for p in planned().points)
    own = [p.scenario["seed"] for p in planned(seeds="own", factors={"cpus": [1, 2, 3]}).points]
    assert len(set(own)) == 3
    assert all(0 <= seed < 2**56 for seed in own)
    again = planned(seeds="own", set={"seed": 1}, factors={"cpus": [1, 2, 3]})
    assert own == [p.scenario["seed"] for p in again.points]
    assert own[0] != planned(seeds="own", set={"seed": 2}).points[0].scenario["seed"]


def test_a_study_changes_nothing_of_the_scenario_it_starts_from() -> None:
    study = checked(Study, {"scenario": SCENARIO, "factors": {"cpus": [1]}})
    plan(study)
    assert study.scenario == SCENARIO
    place = "blocks.0.guest.operations"
    first, second = plan(checked(Study, {"scenario": SCENARIO, "factors": {place: [6, 7]}})).points
    assert study.scenario == SCENARIO
    made = [point.scenario["blocks"][0]["guest"]["operations"] for point in (first, second)]
    assert made == [6, 7]


def test_a_study_file_takes_its_name_from_the_file(tmp_path: Path) -> None:
    path = written(tmp_path / "mine.toml", 'scenario = "spread"\n[factors]\ncpus = [1, 2]\n')
    study, found = load_study(str(path))
    assert (study.name, found, study.seeds, study.design.kind) == ("mine", path, "common", "grid")
    assert len(plan(study, path).points) == 2


def test_a_named_workload_can_be_changed_inside() -> None:
    made = planned(scenario="spread", factors={"blocks.0.guest.operations": [3, 4]})
    guests = [checked_scenario(p.scenario).blocks[0] for p in made.points]
    assert [(block.name, block.guest.operations) for block in guests] == [
        ("spread", 3), ("spread", 4),
    ]  # fmt: skip


@pytest.mark.parametrize("scenario", ["spread", {"blocks": [{"guest": {"workload": "spread"}}]}])
def test_which_workload_a_guest_is_can_be_varied(scenario: Any) -> None:
    names = ["spread", "bar-sizing"]
    made = planned(scenario=scenario, factors={"blocks.0.guest.workload": names})
    assert [made.opened(p).blocks[0].table.origin for p in made.points] == [
        made.opened(p).blocks[0].table.origin
        for p in planned(
            scenario=scenario,
            factors={
                "guest": {"place": "blocks.0.guest", "values": [{"workload": n} for n in names]}
            },
        ).points
    ]
    assert len({made.opened(p).blocks[0].workloads[1.0] for p in made.points}) == 2


def test_names_are_relative_to_the_file_that_states_them(tmp_path: Path) -> None:
    """The scenario lies in a folder beside the study, and each has files beside it."""
    rules = '[[rules]]\nside = "host"\nmechanism = "hypercall"\n'
    workload = (
        'kind = "spread"\noperations = {}\nbetween = "1 us"\nread_share = 1\nspace = "mmio"\n'
    )
    written(tmp_path / "a/near.toml", f'title = "near"\n{rules}')
    written(tmp_path / "a/guest.toml", workload.format(3))
    written(tmp_path / "a/s.toml", 'platform = "ideal"\npolicies = ["./near.toml"]\n'
            '[[blocks]]\nguest = { workload = "./guest.toml" }\n')  # fmt: skip
    written(tmp_path / "far.toml", f'title = "far"\n{rules}')
    written(tmp_path / "guest.toml", workload.format(7))
    (tmp_path / "qemu-like.toml").write_text(
        (Path(__file__).parents[3] / "models/devices/qemu.toml").read_text()
    )
    (tmp_path / "times.csv").write_text("ps\n5\n7\n")
    path = written(
        tmp_path / "study.toml",
        'scenario = "a/s.toml"\n'
        '[set]\ndevices = "./qemu-like.toml"\n'
        'costs = { item = { kind = "empirical", file = "times.csv", column = "ps" } }\n'
        '[factors]\npolicies = [["./far.toml"]]\n"blocks.0.guest.workload" = ["./guest.toml"]\n',
    )
    made = plan(load_study(str(path))[0], path)
    opened = made.opened(made.points[0])
    assert opened.policies[0].title == "far"
    assert opened.platform.costs.item.value.mean_ps == 6
    assert opened.blocks[0].workloads[1.0].operations == 7
    assert made.points[0].values["blocks.0.guest.workload"] == "./guest.toml"
    plainer = written(tmp_path / "plain.toml",
                      'scenario = "a/s.toml"\n[factors]\ncpus = [1]\n')  # fmt: skip
    made = plan(load_study(str(plainer))[0], plainer)
    opened = made.opened(made.points[0])
    assert opened.policies[0].title == "near"
    assert opened.blocks[0].workloads[1.0].operations == 3


def test_a_study_opens_nothing_outside_its_folder(tmp_path: Path) -> None:
    written(tmp_path / "guest.toml", 'kind = "bar_sizing"\n')
    for keys in (
        'scenario = "../guest.toml"\n',
        'scenario = "spread"\n[set]\n"blocks.0.guest.workload" = "../guest.toml"\n',
        'scenario = "spread"\n[set]\nblocks = [{ guest = { table = "/etc/passwd" } }]\n',
        'scenario = "spread"\n[set]\nplatform = "../guest.toml"\n',
    ):
        path = written(tmp_path / "b/study.toml", f"{keys}[factors]\ncpus = [1]\n")
        with pytest.raises(InputError, match=r"study\.toml: .*leaves the folder of the file"):
            _first_opened(path)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('scenario = "spraed"\n[factors]\ncpus = [1]', r"study\.toml: scenario: .*did you mean"),
        ('scenario = "spread"\n[factors]\n"blocks.1.guest.vcpus" = [1]',
         r"study\.toml: blocks\.1\.guest\.vcpus: '1' leads nowhere: blocks is a list of 1"),
        ('scenario = "spread"\n[set]\n"name.x" = 1\n[factors]\ncpus = [1]',
         r"study\.toml: name\.x: 'x' leads nowhere: name is 'spread', which has no parts"),
        ('scenario = "spread"\n[factors]\ncpus = []', r"study\.toml: factors\.cpus\.values"),
        ('scenario = "spread"\n', r"study\.toml: factors: is missing"),
        ('scenario = "spread"\n[factor]\ncpus = [1]', "factor: is no key here.*'factors'"),
        ('scenario = "spread"\nconstraints = ["cpus < 0"]\n[factors]\ncpus = [1]',
         r"study\.toml: constraints: .*leave no point"),
        ('scenario = "spread"\nconstraints = ["cpu < 0"]\n[factors]\ncpus = [1]',
         r"study\.toml: constraints: .*did you mean 'cpus'"),
        ('scenario = "spread"\nlockstep = [["cpu"]]\n[factors]\ncpus = [1]',
         r"study\.toml: lockstep: 'cpu' is no factor"),
        ('scenario = "spread"\n[design]\nkind = "sobl"\n[factors]\ncpus = [1]',
         r"study\.toml: design\.kind"),
        ('scenario = "spread"\n[factors.a]\nplace = "cpus"\nvalues = [1]\n[factors]\ncpus = [2]',
         "two factors that set one key"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_where_it_stands(text: str, says: str, tmp_path: Path) -> None:
    if "[factors.a]" in text:  # TOML has tables once
        text = text.replace("[factors]\ncpus = [2]", '[factors.b]\nplace = "cpus"\nvalues = [2]')
    path = written(tmp_path / "study.toml", text)
    with pytest.raises(InputError, match=says):
        plan(load_study(str(path))[0], path)


@pytest.mark.parametrize("name", COLUMNS)
def test_no_factor_is_called_like_a_column_of_every_result(name: str) -> None:
    with pytest.raises(InputError, match="every result has a column of that name"):
        planned(factors={name: {"place": "cpus", "values": [1]}})


def _first_opened(path: Path) -> Opened:
    made = plan(load_study(str(path))[0], path)
    return made.opened(made.points[0])
