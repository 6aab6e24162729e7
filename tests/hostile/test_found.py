"""What fuzzing found once, each as the smallest file that showed it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vmexit_sim.errors import InputError, SimulationError
from vmexit_sim.guest import workload
from vmexit_sim.guest.table import Space, make_table
from vmexit_sim.guest.table_file import load_table, save_table
from vmexit_sim.hypervisor.platform import load_platform
from vmexit_sim.opened import open_scenario
from vmexit_sim.scenario import find_scenario
from vmexit_sim.study.compare import compare
from vmexit_sim.study.sweep import load_study, open_results, plan
from vmexit_sim.study.sweep.work import rows

GUEST = (
    '[[blocks]]\nguest = { kind = "spread", operations = 9, between = "1 us", read_share = 0, '
    'space = "mmio" }\n'
)


def opened(folder: Path, text: str) -> object:
    path = folder / "case.toml"
    path.write_text(text + GUEST)
    return open_scenario(*find_scenario(str(path)))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('"" = 1\n', r'case\.toml: "": is no key here'),
        ('time_slice = "3 ms"\n', r"case\.toml: time_slice: '3 ms' is there, but"),
        ('policies = ["hypercall"]\n[parameters.hypercall]\n"idle.host_poll.longest" = "x"\n',
         r"case\.toml: policy hypercall with other parameters: idle\.host_poll\.longest: 'x'"),
        (f'"{"k" * 9_000}" = 1\n', r"case\.toml: k{299}…: is no key here"),
    ],
)  # fmt: skip
def test_a_mistake_in_a_scenario_has_a_place(text: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=says):
        opened(tmp_path, text)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('[factors]\n"" = [1]\n', r'case\.toml: factors\."": .* is no place'),
        ('[set]\n"" = 1\n[factors]\ncpus = [1]\n', r"case\.toml: set: '' is no place"),
        ('[factors]\nvalue = [1]\n', r"case\.toml: factors\.value: has a factor 'value'"),
        ('[factors]\na = {place = "cpus", values = [1]}\ncpus = [1]\n',
         r"case\.toml: factors: 'cpus' has two factors"),
        ('[set]\nreplications = 0\n[factors]\ncpus = [1]\n', r"case\.toml: replications: 0"),
        ('[factors]\n"blocks.0.guest.read_share" = ["x"]\n',
         r"case\.toml: blocks\.0\.guest\.read_share: 'x'"),
    ],
)  # fmt: skip
def test_a_mistake_in_a_study_has_a_file_and_a_place(text: str, says: str, tmp_path: Path) -> None:
    path = tmp_path / "case.toml"
    path.write_text('scenario = "spread"\n' + text)

    def first_point() -> object:
        made = plan(*load_study(str(path)))
        return made.opened(made.points[0])

    with pytest.raises(InputError, match=says):
        first_point()


@pytest.mark.parametrize("key", ["costs", "measurements"])
def test_a_platform_that_is_extended_is_looked_at_first(key: str, tmp_path: Path) -> None:
    (tmp_path / "base.toml").write_text(f"{key} = [1]\n")
    (tmp_path / "own.toml").write_text('extends = "./base.toml"\n')
    with pytest.raises(InputError, match=rf"base\.toml: {key}: is no table"):
        load_platform(str(tmp_path / "own.toml"))


@pytest.mark.parametrize("engine", ["simpy", "compiled"])
def test_a_time_beyond_all_times_ends_the_run(engine: str, tmp_path: Path) -> None:
    made = opened(tmp_path, 'costs = { to_user = "4000000 s", to_kernel = "4000000 s" }\n')
    with pytest.raises(SimulationError, match="comes later than 106 days"):
        compare(made, engine=engine)  # type: ignore[arg-type]


def test_a_recording_that_is_slowed_down_for_ever_is_refused(tmp_path: Path) -> None:
    table = make_table(2, space=Space.MMIO, compute=2**62 // 1000)
    with pytest.raises(InputError, match="think_scales: 1000 makes a guest compute"):
        table.with_think_scale(1000).with_think_scale(1000)
    save_table(replace(table, compute=np.array([2**62, 2**62])), tmp_path / "t.parquet")
    with pytest.raises(InputError, match=r"t\.parquet: compute: is longer than 53 days"):
        load_table(tmp_path / "t.parquet")


def test_samples_of_hundreds_of_digits_are_no_times(tmp_path: Path) -> None:
    (tmp_path / "times.csv").write_text("ps\n" + "1" * 500 + "\n")
    with pytest.raises(InputError, match="not times of 0 ps or more, up to 53 days"):
        opened(tmp_path, 'costs = { item = { kind = "empirical", file = "times.csv", '
               'column = "ps" } }\n')  # fmt: skip


ABOUT = {"name": "n", "question": "q", "factors": {}}


@pytest.mark.parametrize(
    "about", [None, 5, [], {}, {**ABOUT, "factors": None}, {**ABOUT, "factors": {"x": ""}}, ABOUT]
)
def test_a_table_of_results_has_its_columns_and_says_of_what(about: object, tmp_path: Path) -> None:
    path = tmp_path / "case.parquet"
    table = pa.table({"metric": [[1]] if about == ABOUT else ["m"], "value": [1.0]})
    pq.write_table(table.replace_schema_metadata({"vmexit-sim study": json.dumps(about)}), path)
    with pytest.raises(InputError, match=r"case\.parquet: (is no table of results|column metric)"):
        open_results(path)


def test_many_vcpus_are_made_few_accesses_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many as the machine can hold, and the numbers are the same."""
    guest = GUEST.replace("operations = 9", "vcpus = 4, operations = 3000").replace(
        '"1 us"', '{ kind = "exponential", mean = "1 us" }'
    )
    path = tmp_path / "case.toml"
    path.write_text(f'policies = ["linux-default", "hypercall"]\nreplications = 2\n{guest}')

    def numbers() -> list[object]:
        return list(rows(compare(open_scenario(*find_scenario(str(path))))))

    whole = numbers()
    monkeypatch.setattr(workload, "MADE_AT_A_TIME", 4_096)
    assert numbers() == whole
