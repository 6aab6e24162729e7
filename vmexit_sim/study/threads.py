"""Threads for replications, which let go at once if anything goes wrong.

A pool's own ``with`` waits for what is under way, and a long replication would so keep an interrupt
from its user for minutes. Here what has not begun is dropped, and nobody waits for the rest.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager


@contextmanager
def threads(count: int) -> Iterator[ThreadPoolExecutor]:
    """A pool of threads; an error or an interrupt inside leaves it without waiting.

    Args:
        count: how many.
    """
    pool = ThreadPoolExecutor(count)
    try:
        yield pool
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        raise
    pool.shutdown()
