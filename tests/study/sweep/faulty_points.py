"""Points that fail in every way there is, for the tests of workers.

A task's scenario says what becomes of it: ``{"do": "answer" | "sleep" | "die" | …}``. `act` stands
in for `work.compute`, and is imported by worker processes under this name.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vmexit_sim.study.sweep import dispatch
from vmexit_sim.study.sweep.work import Answer, Task
from vmexit_sim.study.sweep.workers import Processes


def task(key: str, do: str = "answer", **more: Any) -> Task:
    return Task(key=key, scenario={"do": do, **more}, path=None, elsewhere={}, engine="auto")


def act(tasks: Sequence[Task], *, check: bool = False) -> list[Answer]:
    return [_answer(task) for task in tasks]


def _answer(task: Task) -> Answer:
    told = task.scenario
    begun = time.perf_counter()
    if "seen" in told:  # a line for each time that the point was begun
        with Path(told["seen"]).open("a") as file:
            file.write(f"{task.key} {os.getpid()}\n")
    match told["do"]:
        case "sleep":
            time.sleep(told["seconds"])
        case "die":
            os.kill(os.getpid(), signal.SIGKILL)
        case "die once" if not Path(told["flag"]).exists():
            Path(told["flag"]).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        case "where":
            return Answer(key=task.key, content=bytes(Path.cwd()), failure="", seconds=0.0)
        case "raise":
            raise LookupError("no such thing")
    seconds = time.perf_counter() - begun
    return Answer(key=task.key, content=task.key.encode(), failure="", seconds=seconds)


def main(seen: str) -> None:
    """Run points that take for ever on two processes."""
    dispatch.compute = act  # type: ignore[assignment]
    workers = Processes(2)
    try:
        endless = [task(key, "sleep", seconds=600, seen=seen) for key in "ab"]
        for _ in dispatch.run_tasks(endless, workers):
            pass
    finally:
        workers.close(at_once=True)


if __name__ == "__main__":
    main(sys.argv[1])
