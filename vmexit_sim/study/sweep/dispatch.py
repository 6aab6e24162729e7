"""Dispatch: tasks go out to workers, and answers come back as they are ready.

One loop submits tasks and takes what comes back, whatever the executor. Points are grouped so that
a task is worth its overhead, and no more are under way than keep the workers busy. A worker that
dies takes no result with it: its points are tried again, one at a time, and one that kills its
worker twice has failed.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, wait
from concurrent.futures.process import BrokenProcessPool

from vmexit_sim.errors import VmexitError
from vmexit_sim.study.sweep.work import Answer, Task, compute
from vmexit_sim.study.sweep.workers import Workers

LARGEST_GROUP = 256
"""Most points of one task."""

ATTEMPTS = 2
"""How often a point may take its worker with it before it has failed."""

DIED = (
    f"the process that computed this point, and no other, died {ATTEMPTS} times: it was killed, or "
    "the machine ran out of memory\n"
)


def run_tasks(tasks: Sequence[Task], workers: Workers) -> Iterator[Answer]:
    """Compute tasks, and hand over each answer as soon as it is there, in no stated order.

    Args:
        tasks: one for each point.
        workers: where.

    Raises:
        VmexitError: tasks cannot be run at all.
    """
    ahead, suspects = deque(tasks), deque[Task]()
    deaths: Counter[str] = Counter()
    group = 1
    under_way: dict[Future[list[Answer]], list[Task]] = {}
    try:
        while ahead or suspects or under_way:
            is_trial = bool(suspects) and not under_way
            if is_trial:  # alone, so that it is known who was to blame
                _submit([suspects.popleft()], under_way, workers)
            while ahead and not (is_trial or suspects) and len(under_way) < workers.depth:
                size = min(group, max(1, len(ahead) // (4 * workers.depth)))
                _submit([ahead.popleft() for _ in range(size)], under_way, workers)
            for future in wait(under_way, return_when=FIRST_COMPLETED).done:
                taken = under_way.pop(future, None)
                if taken is None:  # its pool broke, and it was seen to with another
                    continue
                error = _error(future)
                if error is None:
                    answers = future.result()
                    yield from answers
                    group = _group(answers, workers.worth)
                elif workers.is_broken(error):
                    lost = [*taken, *_also_lost(under_way)]
                    deaths.update(task.key for task in lost if len(lost) == 1)
                    for task in lost:
                        if deaths[task.key] < ATTEMPTS:
                            suspects.append(task)
                        else:
                            yield Answer(key=task.key, content=None, seconds=0.0, failure=DIED)
                else:
                    raise VmexitError(
                        f"tasks cannot be run: {error!r}; is this version of vmexit-sim "
                        "installed where they go?"
                    ) from error
    finally:
        for future in under_way:
            future.cancel()


def _submit(
    taken: list[Task], under_way: dict[Future[list[Answer]], list[Task]], workers: Workers
) -> None:
    """Send off a task; if the workers broke meanwhile, it shares their fate."""
    future: Future[list[Answer]]
    try:
        future = workers.executor().submit(compute, taken, check=workers.is_remote)
    except BrokenProcessPool as error:
        future = Future()
        future.set_exception(error)
    under_way[future] = taken


def _error(future: Future[list[Answer]]) -> BaseException | None:
    try:
        return future.exception()
    except CancelledError as error:
        return error


def _also_lost(under_way: dict[Future[list[Answer]], list[Task]]) -> list[Task]:
    """The tasks that a broken pool took with it; a cluster goes on with the others."""
    broken = [f for f in under_way if f.done() and isinstance(_error(f), BrokenProcessPool)]
    return [task for future in broken for task in under_way.pop(future)]


def _group(answers: Sequence[Answer], worth: float) -> int:
    """How many points make a task worth its overhead, going by the last one."""
    seconds = sum(answer.seconds for answer in answers) / len(answers)
    return max(1, min(LARGEST_GROUP, int(worth / max(seconds, 1e-6))))
