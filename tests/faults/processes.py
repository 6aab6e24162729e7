"""Real processes of the command line, watched, hurt and ended by their own ids."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

COMMAND = [sys.executable, "-m", "vmexit_sim.cli"]
PATIENCE = 60.0
"""Seconds after which a process that should have ended has not."""

SMALL = """policies = ["linux-default", "hypercall"]
[[blocks]]
guest = { kind = "spread", operations = 20, between = "1 us", read_share = 0.5, space = "mmio" }
"""
"""A scenario that is through at once."""

ENDLESS = """policies = ["linux-default"]
replications = 4
[[blocks]]
guest = { kind = "spread", operations = 1000000000, between = { kind = "exponential", mean = \
"1 us" }, read_share = 0.5, space = "mmio" }
"""
"""A scenario that runs for minutes."""

RULE = 'title = "t"\n[[rules]]\nside = "host"\nmechanism = "hypercall"\n'


def run(
    *arguments: str, cwd: Path, env: Mapping[str, str] | None = None,
    preexec: Callable[[], None] | None = None, stdout: int | None = None,
) -> subprocess.CompletedProcess[str]:  # fmt: skip
    """A command that ends by itself."""
    return subprocess.run(
        [*COMMAND, *arguments], cwd=cwd, env={**os.environ, **(env or {})}, text=True,
        stdout=subprocess.PIPE if stdout is None else stdout, stderr=subprocess.PIPE,
        preexec_fn=preexec, timeout=PATIENCE, check=False,
    )  # fmt: skip


@contextmanager
def going(*arguments: str, cwd: Path) -> Iterator[subprocess.Popen[str]]:
    """A command that goes on, in a session of its own; it and its children end with the block."""
    process = subprocess.Popen(
        [*COMMAND, *arguments], cwd=cwd, text=True, start_new_session=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        yield process
    finally:
        for pid in session(process.pid):
            os.kill(pid, signal.SIGKILL)
        process.communicate()


def session(leader: int) -> list[int]:
    """The living processes of a session, by their ids."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                state, _, _, number = (folder / "stat").read_text().rpartition(")")[2].split()[:4]
            except OSError:  # it has ended meanwhile
                continue
            if int(number) == leader and state != "Z":
                found.append(int(folder.name))
    return found


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    """A process's status and what it said, once it has ended."""
    _, said = process.communicate(timeout=PATIENCE)
    return process.returncode, said


def wait_until(holds: Callable[[], bool], seconds: float = PATIENCE) -> None:
    """Wait for something that must come."""
    until = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < until, "it never came to that"
        time.sleep(0.02)
