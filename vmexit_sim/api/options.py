"""Options: how something is run, checked where a user states it."""

from __future__ import annotations

import os
from typing import get_args

from vmexit_sim.engine import EngineName
from vmexit_sim.errors import InputError, nearest


def cores(jobs: int | None) -> int:
    """How many run at a time; as many as there are cores, if the user does not say.

    Raises:
        InputError: fewer than one.
    """
    at_least(1, jobs=jobs)
    return jobs or os.cpu_count() or 1


def at_least(least: int, **counts: int | None) -> None:
    """Refuse counts that are too small; None stands for a default.

    Raises:
        InputError: one is.
    """
    for key, count in counts.items():
        if count is not None and count < least:
            raise InputError("is too few", key=key, value=count, mend=f"give {least} or more")


def known(engine: EngineName) -> EngineName:
    """An engine's name, which nobody checks in Python code without types.

    Raises:
        InputError: there is no such engine.
    """
    if engine not in get_args(EngineName):
        raise InputError("is no engine", key="engine", value=engine,
                         mend=nearest(str(engine), get_args(EngineName)))  # fmt: skip
    return engine
