"""Workers: where a study's tasks run, behind the standard executor protocol.

One loop submits tasks and takes what comes back, whatever the executor: this process, processes on
this machine, or a Dask cluster. Points are grouped so that a task is worth its overhead, and no
more are under way than keep the workers busy. A worker that dies takes no result with it: its
points are tried again, one at a time, and one that kills its worker twice has failed.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import (
    FIRST_COMPLETED,
    CancelledError,
    Executor,
    Future,
    ProcessPoolExecutor,
    wait,
)
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.process import BaseProcess
from typing import Any, Protocol

from vmexit_sim.errors import InputError, VmexitError
from vmexit_sim.study.sweep.work import Answer, Task, compute

LARGEST_GROUP = 256
"""Most points of one task."""

ATTEMPTS = 2
"""How often a point may take its worker with it before it has failed."""


class Workers(Protocol):
    """Somewhere to run tasks.

    Attributes:
        worth: how long a task should take at least, in seconds, to be worth its overhead.
    """

    worth: float

    @property
    def depth(self) -> int:
        """Most tasks that are under way at a time, so that no worker waits for its next."""

    def executor(self) -> Executor:
        """A working executor: the present one, or another if that broke."""

    def is_broken(self, error: BaseException) -> bool:
        """Whether a task ended since its worker died."""

    def close(self, *, at_once: bool) -> None:
        """End the workers; `at_once`: without waiting for what they are at."""


class _Here(Executor):
    """Runs a task when it is submitted."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


class InProcess:
    """This process alone."""

    depth = 1
    worth = 0.0

    def __init__(self) -> None:
        self._executor = _Here()

    def executor(self) -> Executor:
        """Always the same."""
        return self._executor

    def is_broken(self, error: BaseException) -> bool:
        """Never: it would take this process with it."""
        return False

    def close(self, *, at_once: bool) -> None:
        """Nothing to end."""


class Processes:
    """Processes on this machine.

    They are forked from a server that has imported everything once, and end by themselves if this
    process is killed.

    Args:
        count: how many.
    """

    worth = 0.1

    def __init__(self, count: int) -> None:
        self.count = count
        self.depth = 2 * count
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["vmexit_sim.study.sweep.preload"])
        self._pool: ProcessPoolExecutor | None = None

    def executor(self) -> Executor:
        """The pool; a new one if a worker's death broke it."""
        if self._pool is None:
            self._pool = ProcessPoolExecutor(
                self.count, mp_context=self._context, initializer=_begin_worker
            )
        return self._pool

    def is_broken(self, error: BaseException) -> bool:
        """A pool breaks as a whole when one of its workers dies."""
        if not isinstance(error, BrokenProcessPool):
            return False
        if self._pool is not None:
            self._pool.shutdown(wait=True)
            self._pool = None
        return True

    def close(self, *, at_once: bool) -> None:
        """End the pool, if need be by force."""
        if self._pool is None:
            return
        if at_once:
            for process in multiprocessing.active_children():
                process.terminate()
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._pool = None


def _begin_worker() -> None:
    """Leave interrupts to the parent, and end when it does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None, "a worker has one"
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: BaseProcess) -> None:
    parent.join()
    os._exit(1)


class Cluster:
    """An existing Dask cluster.

    Args:
        address: of its scheduler, ``tcp://host:port``.

    Raises:
        InputError: Dask is not installed, or nobody answers at the address.
    """

    worth = 1.0

    def __init__(self, address: str) -> None:
        try:
            from distributed import Client
        except ImportError:
            raise InputError("needs dask.distributed, which is not installed", key="--scheduler",
                             mend="pip install 'vmexit-sim[cluster]'") from None  # fmt: skip
        try:
            self._client = Client(address, timeout=10, set_as_default=False)
        except (OSError, ValueError) as error:
            raise InputError(
                f"does not answer: {error}", key="--scheduler", value=address,
                mend="is the address right, like tcp://host:8786?",
            ) from None  # fmt: skip
        self._executor = self._client.get_executor(pure=False)

    @property
    def depth(self) -> int:
        """Twice the cluster's threads, as many as there are now; some may come."""
        threads: int = sum(self._client.nthreads().values())
        return 2 * max(threads, 1)

    def executor(self) -> Executor:
        """Dask's own."""
        executor: Executor = self._executor
        return executor

    def is_broken(self, error: BaseException) -> bool:
        """Dask itself tries a task again whose worker died; it gives up on one that kills them."""
        from distributed import KilledWorker

        return isinstance(error, KilledWorker)

    def close(self, *, at_once: bool) -> None:
        """Leave the cluster, which goes on."""
        self._executor.shutdown(wait=not at_once)
        self._client.close()


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
            if suspects and not under_way:
                _submit([suspects.popleft()], under_way, workers)
            while ahead and not suspects and len(under_way) < workers.depth:
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


DIED = (
    f"the process that computed this point, and no other, died {ATTEMPTS} times: it was killed, or "
    "the machine ran out of memory\n"
)


def _submit(
    taken: list[Task], under_way: dict[Future[list[Answer]], list[Task]], workers: Workers
) -> None:
    """Send off a task; if the workers broke meanwhile, it shares their fate."""
    future: Future[list[Answer]]
    try:
        future = workers.executor().submit(compute, taken)
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
