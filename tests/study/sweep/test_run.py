"""Running a study: only what is missing, the same bytes however it came there."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from vmexit_sim.configuration import checked
from vmexit_sim.errors import InputError
from vmexit_sim.opened import open_scenario
from vmexit_sim.study.compare import compare
from vmexit_sim.study.sweep import (
    Plan,
    Processes,
    Study,
    list_study,
    load_study,
    plan,
    run_study,
)
from vmexit_sim.study.sweep import run as run_module
from vmexit_sim.study.sweep.store import RESULTS
from vmexit_sim.study.sweep.work import Answer, Task, compute, rows

GUEST = {"kind": "spread", "operations": 20, "read_share": 0.5, "space": "mmio",
         "between": {"kind": "exponential", "mean": "1 us"}}  # fmt: skip
SCENARIO = {"platform": "ideal", "policies": ["linux-default", "hypercall"], "replications": 3,
            "blocks": [{"guest": GUEST}]}  # fmt: skip
COSTS = ["1 us", "2 us", "3 us"]
BENCHMARK = Path(__file__).parents[3] / "benchmarks/sweeps.py"


def planned(**keys: Any) -> Plan:
    stated = {"name": "mine", "scenario": SCENARIO, "factors": {"costs.to_user": COSTS}, **keys}
    return plan(checked(Study, stated))


def files(folder: Path) -> dict[str, bytes]:
    paths = [*(folder / "points").iterdir(), folder / RESULTS]
    return {path.name: path.read_bytes() for path in paths}


@pytest.fixture(scope="module")
def serial(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("serial")
    run_study(planned(), folder, engine="simpy")
    return folder


@pytest.fixture(scope="module")
def two_processes() -> Iterator[Processes]:
    workers = Processes(2)
    yield workers
    workers.close(at_once=True)


def test_an_outcome_says_what_was_done(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    outcome = run_study(planned(), tmp_path, engine="simpy", progress=lambda *so: told.append(so))
    assert (outcome.points, outcome.computed, outcome.stored, outcome.failures) == (3, 3, 0, {})
    assert told == [(0, 3), (1, 3), (2, 3), (3, 3)]
    told.clear()
    outcome = run_study(planned(), tmp_path, progress=lambda *so: told.append(so))
    assert (outcome.points, outcome.computed, outcome.stored, outcome.failures) == (3, 0, 3, {})
    assert told == [(3, 3)]


def test_the_rows_of_a_point_are_those_of_its_comparison(serial: Path) -> None:
    made = planned()
    outcome = run_study(made, serial)
    frame = outcome.results.frame
    for point in made.points:
        expected = list(rows(compare(made.opened(point), engine="simpy")))
        found = frame[frame["point"] == point.number]
        for column, values in zip(
            ("block", "policy", "metric", "value", "low", "high", "n", "confidence", "method",
             "unit"), zip(*expected, strict=True), strict=True,
        ):  # fmt: skip
            assert repr(found[column].tolist()) == repr(list(values))


def test_processes_give_the_same_bytes_as_a_serial_run(
    serial: Path, two_processes: Processes, tmp_path: Path
) -> None:
    outcome = run_study(planned(), tmp_path, workers=two_processes, engine="simpy")
    assert outcome.computed == 3
    assert files(tmp_path) == files(serial)


def test_engines_give_the_same_bytes(serial: Path, tmp_path: Path) -> None:
    run_study(planned(), tmp_path, engine="compiled")
    assert files(tmp_path) == files(serial)


def test_only_what_a_changed_study_has_more_is_run(tmp_path: Path) -> None:
    run_study(planned(), tmp_path, engine="simpy")
    before = {path.name: path.stat().st_ino for path in (tmp_path / "points").iterdir()}
    more = planned(factors={"costs.to_user": ["4 us", *COSTS], "platform": ["ideal", "kvm-2013"]})
    outcome = run_study(more, tmp_path, engine="simpy")
    assert (outcome.points, outcome.computed, outcome.stored) == (8, 5, 3)
    for name, inode in before.items():
        assert (tmp_path / "points" / name).stat().st_ino == inode
    outcome = run_study(planned(), tmp_path, engine="simpy")  # and back
    assert (outcome.points, outcome.computed, outcome.stored) == (3, 0, 3)
    assert set(outcome.results.frame["point"]) == {0, 1, 2}


def test_points_of_equal_configuration_are_computed_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dispatched: list[Task] = []

    def told(tasks: list[Task], _: Any) -> list[Answer]:
        dispatched.extend(tasks)
        return compute(tasks)

    monkeypatch.setattr(run_module, "run_tasks", told)
    made = planned(factors={"costs.to_user": ["1 us", "1000 ns", "2 us", "1 us"]})
    outcome = run_study(made, tmp_path, engine="simpy")
    assert len(dispatched) == len(list((tmp_path / "points").iterdir())) == 2
    assert (outcome.points, outcome.computed) == (4, 4)
    frame = outcome.results.of("added")
    assert frame["point"].tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert frame.groupby("point")["value"].sum().nunique() == 2
    assert frame["configuration"].nunique() == 2


def test_a_failed_point_is_told_and_tried_again_and_the_others_are_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def some(tasks: list[Task], _: Any) -> Iterator[Answer]:
        yield from compute(tasks[:1])
        yield Answer(key=tasks[1].key, content=None, failure="why\nreally", seconds=0)
        yield from compute(tasks[2:])

    monkeypatch.setattr(run_module, "run_tasks", some)
    outcome = run_study(planned(), tmp_path, engine="simpy")
    assert (outcome.computed, outcome.stored, outcome.failures) == (2, 0, {1: "why\nreally"})
    assert [path.read_text() for path in (tmp_path / "failed").iterdir()] == ["why\nreally"]
    assert set(outcome.results.frame["point"]) == {0, 2}
    monkeypatch.undo()
    outcome = run_study(planned(), tmp_path, engine="simpy")
    assert (outcome.computed, outcome.stored, outcome.failures) == (1, 2, {})
    assert list((tmp_path / "failed").iterdir()) == []
    assert set(outcome.results.frame["point"]) == {0, 1, 2}


def test_points_that_do_not_fit_are_told_and_the_others_are_run(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    made = planned(factors={"platform": ["ideal", "idael", "kvm-2013"]})
    outcome = run_study(made, tmp_path, engine="simpy", progress=lambda *so: told.append(so))
    assert (outcome.points, outcome.computed, outcome.stored) == (3, 2, 0)
    assert list(outcome.failures) == [1]
    assert "did you mean 'ideal'" in outcome.failures[1]
    assert told == [(1, 3), (2, 3), (3, 3)]
    assert (run_study(made, tmp_path).stored, list(outcome.failures)) == (2, [1])


def test_if_no_point_fits_it_is_the_studys_mistake(tmp_path: Path) -> None:
    for factors in ({"platform": ["idael"]}, {"blocks.0.guest.operatoins": [1, 2]}):
        with pytest.raises(InputError, match="did you mean"):
            run_study(planned(factors=factors), tmp_path / "never")
        with pytest.raises(InputError, match="did you mean"):
            list_study(planned(factors=factors), tmp_path / "never")
    assert not (tmp_path / "never").exists()


def test_if_every_point_fails_no_table_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_study(planned(), tmp_path, engine="simpy")

    def none(tasks: list[Task], _: Any) -> list[Answer]:
        return [Answer(key=t.key, content=None, failure="why", seconds=0) for t in tasks]

    monkeypatch.setattr(run_module, "run_tasks", none)
    outcome = run_study(planned(set={"seed": 2}), tmp_path, engine="simpy")
    assert (outcome.computed, list(outcome.failures)) == (0, [0, 1, 2])
    with pytest.raises(InputError, match="holds no results"):
        _ = outcome.results
    assert run_study(planned(), tmp_path).stored == 3


def test_an_interrupted_run_keeps_what_it_has(tmp_path: Path) -> None:
    def interrupt(done: int, of: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_study(planned(), tmp_path, engine="simpy", progress=interrupt)
    outcome = run_study(planned(), tmp_path, engine="simpy")
    assert (outcome.stored, outcome.computed) == (2, 1)


def test_points_with_seeds_of_their_own_meet_other_draws(tmp_path: Path) -> None:
    made = planned(seeds="own", factors={"costs.to_kernel": ["1 us", "1000 ns"]})
    frame = run_study(made, tmp_path, engine="simpy").results.frame
    assert frame["seed"].nunique() == 2
    assert set(frame["seed"]) == {point.scenario["seed"] for point in made.points}
    first = frame[(frame["metric"] == "completion") & (frame["policy"] == "linux-default")]
    assert first["value"].nunique() == 2
    common = run_study(planned(factors={"costs.to_kernel": ["1 us", "1000 ns"]}), tmp_path,
                       engine="simpy").results.of("completion")  # fmt: skip
    assert common[common["policy"] == "linux-default"]["value"].nunique() == 1


def test_the_largest_seed_fits_beside_a_small_one(tmp_path: Path) -> None:
    seeds = {"root": {"place": "seed", "values": [1, 2**63]}}
    frame = run_study(planned(factors=seeds), tmp_path, engine="simpy").results.frame
    assert sorted(frame["seed"].unique().tolist()) == [1, 2**63]


def test_a_study_is_found_from_wherever_its_workers_stand(
    two_processes: Processes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Paths are relative to where the user stands, and workers began elsewhere."""
    (tmp_path / "guest.toml").write_text(
        'kind = "spread"\noperations = 3\nbetween = "1 us"\nread_share = 1\nspace = "mmio"\n'
    )
    (tmp_path / "mine.toml").write_text(
        '[scenario]\nplatform = "ideal"\npolicies = ["hypercall"]\n'
        '[[scenario.blocks]]\nguest = { workload = "./guest.toml" }\n'
        "[factors]\ncpus = [1, 2]\n"
    )
    monkeypatch.chdir(tmp_path)
    study, path = load_study("mine.toml")
    assert not path.is_absolute()
    outcome = run_study(plan(study, path), Path("out"), workers=two_processes, engine="simpy")
    assert outcome.failures == {}
    assert len(files(tmp_path / "out")) == 3


def test_a_listing_runs_nothing_for_good(tmp_path: Path) -> None:
    made = planned(factors={"platform": ["ideal", "idael", "kvm-2013", "kvm-2017"]})
    listing = list_study(made, tmp_path / "out", "simpy")
    assert (len(listing.points), listing.stored, list(listing.bad)) == (4, frozenset(), [1])
    assert listing.seconds is not None
    assert 0 < listing.seconds < 10
    assert not (tmp_path / "out").exists()
    run_study(made, tmp_path / "out", engine="simpy")
    listing = list_study(made, tmp_path / "out")
    assert (listing.stored, list(listing.bad), listing.seconds) == ({0, 2, 3}, [1], 0.0)


def test_what_takes_too_long_to_tell_is_not_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_module, "PATIENCE", 0.0)
    assert list_study(planned(), tmp_path, "simpy").seconds is None


def test_a_sweep_that_is_killed_again_and_again_loses_nothing() -> None:
    """SIGKILL at any moment: see benchmarks/sweeps.py, which does it more often."""
    spec = importlib.util.spec_from_file_location("benchmark_sweeps", BENCHMARK)
    assert spec is not None
    assert spec.loader is not None
    benchmark = importlib.util.module_from_spec(spec)
    sys.modules["benchmark_sweeps"] = benchmark
    spec.loader.exec_module(benchmark)
    survived = benchmark.survive(60, 2, accesses=50, replications=2, processes=0, engine="simpy")
    assert (survived.lost, survived.again) == (0, 0)
    assert survived.stored == sorted(survived.stored)
    assert survived.outcome == {
        "stored": survived.stored[-1], "computed": 60 - survived.stored[-1], "failures": 0,
    }  # fmt: skip
    assert 0 < survived.stored[-1] < 60
    assert survived.is_same


def test_a_point_opens_as_the_scenario_that_it_is() -> None:
    made = planned(factors={"platform": ["kvm-2013"]})
    opened = made.opened(made.points[0])
    assert opened.platform.name == "kvm-2013"
    assert open_scenario(opened.scenario).platform == opened.platform
