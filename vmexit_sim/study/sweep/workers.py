"""Workers: where a study's tasks run, behind the standard executor protocol.

This process, processes on this machine, or a Dask cluster; `dispatch` sends tasks to any of them.
"""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Protocol

from vmexit_sim.errors import InputError, VmexitError


class Workers(Protocol):
    """Somewhere to run tasks.

    Attributes:
        worth: how long a task should take at least, in seconds, to be worth its overhead.
        is_remote: whether code and files may be others there than here.
    """

    worth: float
    is_remote: bool

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
    is_remote = False

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
    is_remote = False

    def __init__(self, count: int) -> None:
        self.count = count
        self.depth = 2 * count
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["vmexit_sim.study.sweep.preload"])
        self._pool: ProcessPoolExecutor | None = None

    def executor(self) -> Executor:
        """The pool; a new one if a worker's death broke it.

        Raises:
            VmexitError: its processes do not even begin.
        """
        if self._pool is None:
            self._pool = self._begun() or self._begun()
        if self._pool is None:
            raise VmexitError(
                "worker processes die as soon as they begin; a script that starts them does so "
                'below `if __name__ == "__main__":`, for each of them reads it again'
            )
        return self._pool

    def _begun(self) -> ProcessPoolExecutor | None:
        """A pool whose first process works; None: it died."""
        pool = ProcessPoolExecutor(
            self.count, mp_context=self._context, initializer=_begin_worker, initargs=(Path.cwd(),)
        )
        try:
            pool.submit(_nothing).result()
        except BrokenProcessPool:
            pool.shutdown(wait=True)
            return None
        except BaseException:  # interrupted meanwhile
            _end(pool)
            raise
        return pool

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
            _end(self._pool)
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._pool = None


def _end(pool: ProcessPoolExecutor) -> None:
    """End a pool's processes, whatever they are at."""
    for process in list((pool._processes or {}).values()):  # Python 3.14: terminate_workers()
        process.terminate()


def _nothing() -> None:
    pass


def _begin_worker(folder: Path) -> None:
    """Leave interrupts to the parent, stand where it does, and end when it does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.chdir(folder)
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
    is_remote = True

    def __init__(self, address: str) -> None:
        try:
            from distributed import Client
        except ImportError:
            raise InputError("needs dask.distributed, which is not installed", key="--scheduler",
                             mend="pip install 'vmexit-sim[cluster]'") from None  # fmt: skip
        if not re.fullmatch(r"[a-z]+://.+:[0-9]+", address):
            raise InputError("is no address", key="--scheduler", value=address,
                             mend="write it like tcp://host:8786")  # fmt: skip
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
