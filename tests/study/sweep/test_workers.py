"""Workers and dispatch: whatever becomes of a worker, no answer is lost and none comes twice."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import faulty_points
import pytest
from faulty_points import task
from hypothesis import given
from hypothesis import strategies as st

from vmexit_sim.errors import InputError, VmexitError
from vmexit_sim.study.sweep import dispatch, work
from vmexit_sim.study.sweep.dispatch import DIED, LARGEST_GROUP, run_tasks
from vmexit_sim.study.sweep.work import Answer, Task
from vmexit_sim.study.sweep.workers import Cluster, InProcess, Processes, Workers

GUEST = {"kind": "spread", "operations": 3, "between": "1 us", "read_share": 1, "space": "mmio"}
SCENARIO = {"platform": "ideal", "policies": ["hypercall"], "blocks": [{"guest": GUEST}]}
HERE = Path(__file__).parent


@pytest.fixture(autouse=True)
def _faulty(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if "real" not in request.keywords and "real" not in request.node.name:
        monkeypatch.setattr(dispatch, "compute", faulty_points.act)


@pytest.fixture
def processes() -> Iterator[Processes]:
    made = Processes(2)
    yield made
    made.close(at_once=True)


def answers(tasks: Sequence[Task], workers: Workers) -> dict[str, Answer]:
    found = list(run_tasks(tasks, workers))
    by_key = {answer.key: answer for answer in found}
    assert len(by_key) == len(found), "an answer came twice"
    return by_key


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that nobody has buried does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_until(what: Any, seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.02)


@given(st.integers(0, 300))
def test_every_point_is_answered_once_in_this_process(n: int) -> None:
    made = [task(f"k{number}") for number in range(n)]
    assert answers(made, InProcess()).keys() == {each.key for each in made}


def test_every_point_is_answered_once_by_processes(processes: Processes) -> None:
    made = [task(f"k{number}") for number in range(1000)]
    found = answers(made, processes)
    assert {key: answer.content for key, answer in found.items()} == {
        each.key: each.key.encode() for each in made
    }


def test_tasks_grow_until_they_are_worth_their_overhead(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []

    def quick(tasks: Sequence[Task], *, check: bool = False) -> list[Answer]:
        sizes.append(len(tasks))
        return [Answer(key=t.key, content=b"", failure="", seconds=0.001) for t in tasks]

    class Worthy(InProcess):
        worth = 0.05

    monkeypatch.setattr(dispatch, "compute", quick)
    answers([task(f"k{number}") for number in range(2000)], Worthy())
    assert sizes[0] == 1
    assert max(sizes) == 50
    assert sizes[-1] == 1  # so that all workers end together
    sizes.clear()
    Worthy.worth = 1e9
    answers([task(f"k{number}") for number in range(5000)], Worthy())
    assert max(sizes) == LARGEST_GROUP


def test_a_real_point_that_fails_keeps_its_traceback_and_the_others_go_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def compare(opened: Any, **_: Any) -> Any:
        if opened.scenario.seed == 2:
            raise ZeroDivisionError("a mistake in a model")
        return right(opened, engine="simpy")

    right = work.compare
    monkeypatch.setattr(work, "compare", compare)
    made = [
        Task(key=str(seed), scenario={**SCENARIO, "seed": seed}, path=None, elsewhere={},
             engine="simpy")
        for seed in (1, 2, 3)
    ]  # fmt: skip
    found = answers(made, InProcess())
    assert [found[key].content is None for key in "123"] == [False, True, False]
    failure = found["2"].failure
    assert failure.startswith("Traceback (most recent call last)")
    assert "in compare" in failure
    assert failure.endswith("ZeroDivisionError: a mistake in a model\n")


def test_a_real_point_that_does_not_fit_says_so_without_a_traceback() -> None:
    scenario = {**SCENARIO, "policies": ["hypercal"]}
    made = Task(key="a", scenario=scenario, path=None, elsewhere={}, engine="simpy")
    (answer,) = answers([made], InProcess()).values()
    assert answer.content is None
    assert "did you mean 'hypercall'" in answer.failure
    assert "Traceback" not in answer.failure


def test_a_real_point_elsewhere_is_checked_to_be_what_it_was_keyed_as() -> None:
    made = Task(key="not its key", scenario=SCENARIO, path=None, elsewhere={}, engine="simpy")
    (answer,) = work.compute([made], check=True)
    assert answer.content is None
    assert answer.failure.startswith("this worker would compute something else")
    (answer,) = work.compute([made])
    assert answer.content is not None


def test_a_worker_that_is_killed_loses_nothing(processes: Processes, tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    made = [task(f"k{number}", "sleep", seconds=0.02, seen=str(seen)) for number in range(40)]
    found = []
    for answer in run_tasks(made, processes):
        found.append(answer)
        if len(found) == 10:
            os.kill(int(seen.read_text().split()[-1]), signal.SIGKILL)
    assert sorted(answer.key for answer in found) == sorted(each.key for each in made)
    assert not any(answer.failure for answer in found)
    begun = Counter(line.split()[0] for line in seen.read_text().splitlines())
    assert len(begun) == 40
    assert sum(begun.values()) <= 40 + processes.depth  # only what was under way, again
    assert len({line.split()[1] for line in seen.read_text().splitlines()}) > 2


def test_a_point_that_kills_its_worker_once_is_answered(
    processes: Processes, tmp_path: Path
) -> None:
    flag = str(tmp_path / "flag")
    found = answers(
        [task("a"), task("b", "die once", flag=flag), *(task(f"k{n}") for n in range(8))], processes
    )
    assert len(found) == 10
    assert not any(answer.failure for answer in found.values())


def test_a_point_that_always_kills_its_worker_fails_and_the_others_do_not(
    processes: Processes, tmp_path: Path
) -> None:
    seen = tmp_path / "seen"
    made = [task(f"k{number}", "sleep", seconds=0.01) for number in range(12)]
    made.insert(5, task("bad", "die", seen=str(seen)))
    found = answers(made, processes)
    assert (found["bad"].content, found["bad"].failure) == (None, DIED)
    assert all(found[each.key].content for each in made if each.key != "bad")
    assert 2 <= len(seen.read_text().splitlines()) <= 3  # once in company, twice alone


@pytest.mark.parametrize("place", [0, 1, 2, 3])
def test_only_who_dies_alone_is_to_blame(place: int) -> None:
    """Executors that break whenever the bad point runs; nobody else is ever found guilty."""
    calls: list[list[str]] = []

    class Breaking(InProcess):
        depth = 4

        def executor(self) -> Any:
            return self

        def submit(self, _: Any, tasks: list[Task], **__: Any) -> Future[list[Answer]]:
            future: Future[list[Answer]] = Future()
            self.going.append((future, tasks))
            calls.append([each.key for each in tasks])
            return future

        def is_broken(self, error: BaseException) -> bool:
            return isinstance(error, BrokenProcessPool)

    workers = Breaking()
    workers.going = []

    def run_all(futures: Any, **_: Any) -> Any:
        keys = [each.key for _, tasks in workers.going for each in tasks]
        for future, tasks in workers.going:
            if "bad" in keys:
                future.set_exception(BrokenProcessPool())
            else:
                future.set_result(faulty_points.act(tasks))
        workers.going.clear()
        return wait(futures)

    made = [task(f"k{number}") for number in range(20)]
    made.insert(8 + place, task("bad"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dispatch, "wait", run_all)
        found = answers(made, workers)
    assert [key for key, answer in found.items() if answer.failure] == ["bad"]
    times = Counter(key for keys in calls for key in keys)
    assert times["bad"] == 3  # once in company, twice alone
    assert max(times[key] for key in times if key != "bad") == 2


def test_all_points_may_kill_their_workers(processes: Processes) -> None:
    found = answers([task("a", "die"), task("b", "die")], processes)
    assert [answer.failure for answer in found.values()] == [DIED, DIED]


def test_what_no_worker_can_run_is_an_error(processes: Processes) -> None:
    with pytest.raises(VmexitError, match=r"tasks cannot be run: LookupError\('no such thing'\)"):
        answers([task("a", "raise"), task("b")], processes)


def test_workers_stand_where_the_parent_does(
    processes: Processes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (answer,) = answers([task("a", "where")], processes).values()
    assert answer.content == str(tmp_path).encode()


def test_closing_at_once_ends_the_own_processes_and_no_others() -> None:
    other = multiprocessing.get_context("forkserver").Process(target=time.sleep, args=(60,))
    other.start()
    try:
        workers = Processes(2)
        going = run_tasks([task("a"), task("b", "sleep", seconds=600)], workers)
        assert next(going).key == "a"
        begun = time.monotonic()
        going.close()
        workers.close(at_once=True)
        assert time.monotonic() - begun < 10
        assert [child.pid for child in multiprocessing.active_children()] == [other.pid]
    finally:
        other.kill()
        other.join()


def test_closed_workers_begin_anew(processes: Processes) -> None:
    for at_once in (False, True, False):
        assert answers([task("a"), task("b")], processes).keys() == {"a", "b"}
        processes.close(at_once=at_once)
        processes.close(at_once=at_once)


def test_nothing_to_do_starts_no_process(processes: Processes) -> None:
    assert answers([], processes) == {}
    assert processes._pool is None


def parent_with_workers(tmp_path: Path) -> tuple[subprocess.Popen[bytes], list[int]]:
    """A process with two workers that are busy for ever, and the workers' ids."""
    seen = tmp_path / "seen"
    parent = subprocess.Popen([sys.executable, str(HERE / "faulty_points.py"), str(seen)],
                              start_new_session=True, stderr=subprocess.PIPE)  # fmt: skip
    wait_until(lambda: seen.exists() and len(seen.read_text().splitlines()) == 2)
    return parent, [int(line.split()[1]) for line in seen.read_text().splitlines()]


def test_workers_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    parent, pids = parent_with_workers(tmp_path)
    assert all(is_alive(pid) for pid in pids)
    parent.kill()
    parent.communicate()
    wait_until(lambda: not any(is_alive(pid) for pid in pids), 5)


def test_an_interrupt_ends_the_parent_and_its_workers_at_once(tmp_path: Path) -> None:
    parent, pids = parent_with_workers(tmp_path)
    os.killpg(parent.pid, signal.SIGINT)  # as a terminal does it, to all of them
    _, said = parent.communicate(timeout=30)
    assert parent.returncode != 0
    assert said.decode().count("Traceback") == said.decode().count("KeyboardInterrupt") == 1
    wait_until(lambda: not any(is_alive(pid) for pid in pids), 5)


def test_a_script_that_workers_would_run_again_is_told_what_to_write(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        f"import sys\nsys.path.insert(0, {str(HERE)!r})\n"
        "from faulty_points import task\n"
        "from vmexit_sim.study.sweep.dispatch import run_tasks\n"
        "from vmexit_sim.study.sweep.workers import Processes\n"
        "print(list(run_tasks([task('a'), task('b')], Processes(2))))\n"
    )
    ended = subprocess.run([sys.executable, str(script)], capture_output=True, text=True,
                           timeout=60, check=False)  # fmt: skip
    assert ended.returncode == 1
    last = ended.stderr.strip().splitlines()[-1]
    assert "worker processes die as soon as they begin" in last
    assert '`if __name__ == "__main__":`' in last


def test_an_address_without_a_scheduler_is_refused() -> None:
    with pytest.raises(InputError, match=r"write it like tcp://host:8786"):
        Cluster("no address at all://")
