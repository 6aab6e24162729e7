"""Running a study: what is missing of it, and nothing else."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

from vmexit_sim.engine import EngineName
from vmexit_sim.errors import InputError
from vmexit_sim.study.sweep.dispatch import run_tasks
from vmexit_sim.study.sweep.identity import Identity
from vmexit_sim.study.sweep.results import Results, open_results, write_results
from vmexit_sim.study.sweep.store import RESULTS, Store
from vmexit_sim.study.sweep.study_file import Plan, Point
from vmexit_sim.study.sweep.work import Answer, Task, compute
from vmexit_sim.study.sweep.workers import InProcess, Workers

PROBES = 3
"""Points on which the time of the others is estimated."""

PATIENCE = 20.0
"""Seconds that such an estimate may take."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of a study.

    Attributes:
        folder: where its results are.
        points: how many points it has.
        computed: how many were computed this time.
        stored: how many were there before.
        failures: by the point's number, why its scenario does not fit, or why it failed; of the
            latter the text stands in the folder as well.
        seconds: how long this time took.
    """

    folder: Path
    points: int
    computed: int
    stored: int
    failures: dict[int, str]
    seconds: float

    @property
    def results(self) -> Results:
        """What is there, opened."""
        return open_results(self.folder)


@dataclass(frozen=True, kw_only=True)
class Listing:
    """What a study would run.

    Attributes:
        points: all of them.
        stored: the numbers of those whose results are there.
        bad: by number, why a point's scenario does not fit.
        seconds: how long the missing ones would take one after the other, about; None: tried
            points took too long to tell.
    """

    points: Sequence[Point]
    stored: frozenset[int]
    bad: Mapping[int, str]
    seconds: float | None


@dataclass
class _Keyed:
    """A plan's points with their keys."""

    plan: Plan
    keys: dict[int, str] = field(default_factory=dict)
    bad: dict[int, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        identity = Identity()
        first: InputError | None = None
        for point in self.plan.points:
            try:
                scenario = self.plan.checked(point)
                self.keys[point.number] = identity.key(
                    scenario, self.plan.path, self.plan.elsewhere
                )
            except InputError as error:
                first = first or error
                self.bad[point.number] = str(error)
        if first is not None and not self.keys:  # what fits nowhere is a mistake of the study
            raise first

    def task(self, point: Point, engine: EngineName = "auto") -> Task:
        """A point as it is sent to a worker."""
        elsewhere = {key: _absolute(path) for key, path in self.plan.elsewhere.items()}
        return Task(key=self.keys[point.number], scenario=point.scenario,
                    path=_absolute(self.plan.path), elsewhere=elsewhere, engine=engine)  # fmt: skip


def _absolute(path: Path | None) -> Path | None:
    """A path that means the same wherever a worker stands."""
    return None if path is None else path.absolute()


Progress = Callable[[int, int], None]
"""Told how many points are through, of how many."""


def run_study(
    plan: Plan,
    folder: Path,
    *,
    workers: Workers | None = None,
    engine: EngineName = "auto",
    progress: Progress | None = None,
) -> Outcome:
    """Run the points of a study whose results are not there yet, and write them all as one table.

    A point's result is stored as soon as it comes back. Two points of equal configuration are
    computed once.

    Args:
        plan: the study.
        folder: where results are, or belong.
        workers: where tasks run; None: in this process. They are not closed.
        engine: what runs it; the numbers are the same.
        progress: told of each point that is through, those that were there before, and those that
            do not fit, first.

    Raises:
        InputError: no point fits, or the folder cannot be used.
        VmexitError: the workers are gone. What came back is stored.
    """
    begun = perf_counter()
    keyed = _Keyed(plan)
    store = Store(folder)
    numbers: dict[str, list[int]] = {}
    for number, key in keyed.keys.items():
        numbers.setdefault(key, []).append(number)
    with store.locked():
        missing = [key for key in numbers if not store.holds(key)]
        through = len(plan.points) - sum(len(numbers[key]) for key in missing)
        stored = through - len(keyed.bad)
        failures = dict(keyed.bad)
        tell = progress or (lambda done, of: None)
        tell(through, len(plan.points))
        tasks = [keyed.task(plan.points[numbers[key][0]], engine) for key in missing]
        for answer in run_tasks(tasks, workers or InProcess()):
            if answer.content is not None:
                store.keep(answer.key, answer.content)
            else:
                store.keep_failure(answer.key, answer.failure)
                failures |= dict.fromkeys(numbers[answer.key], answer.failure)
            through += len(numbers[answer.key])
            tell(through, len(plan.points))
        write_results(plan, keyed.keys, store, folder / RESULTS)
    return Outcome(
        folder=folder,
        points=len(plan.points),
        computed=len(plan.points) - stored - len(failures),
        stored=stored,
        failures=dict(sorted(failures.items())),
        seconds=perf_counter() - begun,
    )


def list_study(plan: Plan, folder: Path, engine: EngineName = "auto") -> Listing:
    """What a study would run, and about how long it would take.

    A few of the missing points, spread over the design, are run for it in a process of their own,
    and nothing is stored.

    Raises:
        InputError: no point fits.
    """
    keyed = _Keyed(plan)
    stored: set[int] = set()
    if (folder / "points").is_dir():
        store = Store(folder)
        with store.locked():
            stored = {number for number, key in keyed.keys.items() if store.holds(key)}
    missing = [p for p in plan.points if p.number in keyed.keys and p.number not in stored]
    return Listing(points=plan.points, stored=frozenset(stored), bad=keyed.bad,
                   seconds=_estimate([keyed.task(point, engine) for point in missing]))  # fmt: skip


def _estimate(tasks: Sequence[Task]) -> float | None:
    """How long tasks take one after the other, going by a few of them."""
    if not tasks:
        return 0.0
    few = [tasks[n * (len(tasks) - 1) // max(PROBES - 1, 1)] for n in range(PROBES)]
    few = list({task.key: task for task in few}.values())
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["vmexit_sim.study.sweep.preload"])
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_probe, args=(few, Path.cwd(), there), daemon=True)
    process.start()
    there.close()
    try:
        if not here.poll(PATIENCE):
            return None
        answers: list[Answer] = here.recv()
    except EOFError:  # it died
        return None
    finally:
        process.kill()
        process.join()
    return sum(answer.seconds for answer in answers) / len(answers) * len(tasks)


def _probe(tasks: Sequence[Task], folder: Path, told: Any) -> None:
    os.chdir(folder)
    compute(tasks[:1])  # engines are made ready once
    told.send(compute(tasks))
