"""What a sweep costs beside its points, and what becomes of it when it is killed.

    python benchmarks/sweeps.py [--points 1000] [--kills 20] [--quick]

Prints

(a) how long a sweep takes in this process, on one worker process and on two, and how much faster
    two are than one (two cores that nobody else uses: 1.8 times or more);
(b) what it takes beside the points' own time, for each point (less than 5 ms): reading models,
    keys, tasks, storing, the table; for worker processes also starting them;
(c) that a sweep killed (SIGKILL) many times loses nothing: what was stored stays as it was, none of
    it is run again, and the table at the end is that of an undisturbed run, byte for byte.

A point is two policies, ten replications each, of a guest of 4,000 accesses.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vmexit_sim.configuration import checked
from vmexit_sim.engine import EngineName
from vmexit_sim.study.sweep import InProcess, Plan, Processes, Study, Workers, plan, run_study
from vmexit_sim.study.sweep import run as run_module
from vmexit_sim.study.sweep.store import RESULTS
from vmexit_sim.study.sweep.work import Answer, Task

ACCESSES, REPLICATIONS = 4_000, 10
PATIENCE = 300.0
"""Seconds after which a run that was to be killed is given up."""

State = dict[str, tuple[int, int, bytes]]
"""Of each stored point: its file's inode, its time of change, its content."""


def study(points: int, accesses: int = ACCESSES, replications: int = REPLICATIONS) -> Plan:
    """A sweep of so many points, each of two policies on random guests of so many accesses."""
    guest = {"kind": "spread", "operations": accesses, "read_share": 0.5, "space": "mmio",
             "between": {"kind": "exponential", "mean": "5 us"}}  # fmt: skip
    scenario = {"platform": "kvm-2017", "policies": ["linux-default", "batched-recorded"],
                "replications": replications, "blocks": [{"guest": guest}]}  # fmt: skip
    stated = {
        "name": "benchmark",
        "scenario": scenario,
        "factors": {"costs.to_user": ["1 us", "50 us", points, "log"]},
    }
    return plan(checked(Study, stated))


@dataclass(frozen=True, kw_only=True)
class Timed:
    """One sweep.

    Attributes:
        whole: how long it took, in s, workers started and ended.
        own: the points' own time, in s, all workers together.
        table: what it wrote.
    """

    whole: float
    own: float
    table: bytes


def timed(planned: Plan, make: Callable[[], Workers]) -> Timed:
    """Run a sweep into an empty folder."""
    own: list[float] = []
    dispatched = run_module.run_tasks

    def told(tasks: Sequence[Task], workers: Workers) -> Iterator[Answer]:
        for answer in dispatched(tasks, workers):
            own.append(answer.seconds)
            yield answer

    run_module.run_tasks = told
    try:
        with tempfile.TemporaryDirectory() as folder:
            begun = time.perf_counter()
            workers = make()
            try:
                outcome = run_study(planned, Path(folder), workers=workers)
            finally:
                workers.close(at_once=False)
            whole = time.perf_counter() - begun
            assert outcome.computed == len(planned.points)
            return Timed(whole=whole, own=sum(own), table=(Path(folder) / RESULTS).read_bytes())
    finally:
        run_module.run_tasks = dispatched


def state(folder: Path) -> State:
    """What is stored."""
    found = {}
    for path in (folder / "points").glob("*.arrow"):
        stat = path.stat()
        found[path.name] = (stat.st_ino, stat.st_mtime_ns, path.read_bytes())
    return found


@dataclass(frozen=True, kw_only=True)
class Survived:
    """A sweep that was killed many times and came through.

    Attributes:
        stored: how many points were stored at each kill.
        outcome: what the last run, which nobody killed, says of itself.
        lost: stored points that were gone later.
        again: stored points whose file was written again.
        is_same: whether the table is that of an undisturbed run, byte for byte.
        seconds: how long it all took.
    """

    stored: list[int]
    outcome: dict[str, int]
    lost: int
    again: int
    is_same: bool
    seconds: float


def survive(
    points: int,
    kills: int,
    accesses: int = ACCESSES,
    replications: int = REPLICATIONS,
    processes: int = 2,
    engine: EngineName = "compiled",
) -> Survived:
    """Kill a sweep that runs as a process of its own, again and again, and let it end at last.

    Each time it may store 0 to 2 x points / (kills + 1) further points before it is killed, and
    then a moment passes, so that it is at anything when it dies. It runs on so many worker
    processes (0: in the process that is killed).
    """
    chance = random.Random(7)
    size = points, accesses, replications
    begun = time.perf_counter()
    stored, lost, again = [], 0, 0
    before: State = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "killed"
        for number in range(kills):
            left = (points - 1 - len(before)) // (kills - number)
            with _child(folder, *size, processes, engine) as child:
                _wait_for(folder, len(before) + chance.randint(0, max(left, 0)), child)
                time.sleep(chance.uniform(0, 0.03))
                child.kill()
                child.communicate(timeout=PATIENCE)  # until its workers have ended, too
            after = state(folder) if folder.is_dir() else {}
            lost += len(before.keys() - after.keys())
            again += sum(after[key] != before[key] for key in before.keys() & after.keys())
            stored.append(len(after))
            before = after
        with _child(folder, *size, processes, engine) as child:
            said, errors = child.communicate(timeout=PATIENCE)
        if child.returncode or json.loads(said)["failures"]:
            raise RuntimeError(f"the last run failed: {said.decode()}{errors.decode()}")
        after = state(folder)
        lost += len(before.keys() - after.keys())
        again += sum(after[key] != before[key] for key in before.keys() & after.keys())
        undisturbed = Path(name) / "undisturbed"
        with _child(undisturbed, *size, processes, engine) as child:
            child.communicate(timeout=PATIENCE)
        is_same = (folder / RESULTS).read_bytes() == (undisturbed / RESULTS).read_bytes()
    return Survived(stored=stored, outcome=json.loads(said), lost=lost, again=again,
                    is_same=is_same, seconds=time.perf_counter() - begun)  # fmt: skip


def _child(folder: Path, *told: object) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, __file__, "--child", str(folder), *map(str, told)],
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # fmt: skip


def _wait_for(folder: Path, count: int, child: subprocess.Popen[Any]) -> None:
    """Wait until so many points are stored, or the run has ended."""
    end = time.monotonic() + PATIENCE
    while len(list((folder / "points").glob("*.arrow"))) < count and child.poll() is None:
        if time.monotonic() > end:
            child.kill()
            raise TimeoutError(f"not {count} points after {PATIENCE} s")
        time.sleep(0.002)


def run_child(
    folder: str, points: str, accesses: str, replications: str, processes: str, engine: EngineName
) -> None:
    """What is killed: one sweep; it says what it computed if it comes to an end."""
    workers = Processes(int(processes)) if int(processes) else InProcess()
    try:
        planned = study(int(points), int(accesses), int(replications))
        outcome = run_study(planned, Path(folder), workers=workers, engine=engine)
    finally:
        workers.close(at_once=True)
    print(json.dumps({"computed": outcome.computed, "stored": outcome.stored,
                      "failures": len(outcome.failures)}))  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--points", type=int, default=1000)
    parser.add_argument("--killed-points", type=int, default=400)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--quick", action="store_true", help="60 points, 3 kills")
    parser.add_argument("--child", nargs=6, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        run_child(*arguments.child)
        return
    points, killed_points, kills = arguments.points, arguments.killed_points, arguments.kills
    if arguments.quick:
        points, killed_points, kills = 60, 60, 3

    planned = study(points)
    timed(study(3), InProcess)  # engines and models are made ready once
    here = timed(planned, InProcess)
    one = timed(planned, lambda: Processes(1))
    two = timed(planned, lambda: Processes(2))
    print(f"(a) {points:,} points of {here.own / points * 1e3:.1f} ms")
    rows = [("this process", here, 1), ("1 process", one, 1), ("2 processes", two, 2)]
    for name, run, workers in rows:
        beside = (run.whole * workers - run.own) / points * 1e3
        print(f"    {name:<13} {run.whole:7.2f} s   {run.own / points * 1e3:6.1f} ms a point, and "
              f"{beside:.2f} ms beside it on each of {workers}")  # fmt: skip
    print(f"    2 processes are {one.whole / two.whole:.2f} times as fast as 1 process, "
          f"{here.whole / two.whole:.2f} times as this process")  # fmt: skip
    print(
        f"    the tables are {'the same' if here.table == one.table == two.table else 'NOT EQUAL'}"
    )
    print(f"(b) {(here.whole - here.own) / points * 1e3:.2f} ms a point beside its own time, here")

    survived = survive(killed_points, kills)
    print(f"(c) killed {kills} times in {survived.seconds:.0f} s, with so many of "
          f"{killed_points} points stored: {', '.join(map(str, survived.stored))}")  # fmt: skip
    last = survived.outcome
    print(f"    the last run found {last['stored']} and computed {last['computed']}; "
          f"lost: {survived.lost}; run again: {survived.again}")  # fmt: skip
    print(f"    the table is {'that of an undisturbed run' if survived.is_same else 'ANOTHER'}")


if __name__ == "__main__":
    main()
