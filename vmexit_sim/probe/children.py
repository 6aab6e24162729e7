"""Measuring in a child process, since a probe may never come back.

::

    parent                      child (vmexit_sim.probe.worker)
    order ────────────────────► measures
    waits, with a time limit ◄─ result
    no answer: kill it by its process id, note "hung", start another for the rest

KVM_RUN of a guest that the kernel cannot emulate may run for ever; a signal ends the process in any
case, and a virtual machine ends with its process.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from types import TracebackType
from typing import IO, Any

from vmexit_sim.errors import NoKvm, VmexitError
from vmexit_sim.probe.probes import Measured, failed

LIMIT_S = 10.0
"""How long one order may take."""

START_S = 120.0
"""How long a child may take to begin: it may have to compile its loop."""

GRACE_S = 2.0
"""How long a child that has nothing more to do may take to end."""

COMMAND = (sys.executable, "-m", "vmexit_sim.probe.worker")


class ProbeError(VmexitError):
    """The measuring process itself does not work; the message is what it said."""


class Child:
    """A measuring process, which is started when it is needed and started anew when it had to die.

    Args:
        command: what to run; it must speak as `vmexit_sim.probe.worker` does.
        limit: how long one order may take, in s.
    """

    def __init__(self, command: Iterable[str] = COMMAND, limit: float = LIMIT_S) -> None:
        self._command, self._limit = tuple(command), limit
        self._process: subprocess.Popen[bytes] | None = None
        self._errors: IO[bytes] | None = None
        self._unread = b""

    def __enter__(self) -> Child:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if kind is None and self._process is not None and self._process.stdin is not None:
                with suppress(OSError):
                    self._process.stdin.close()  # then it ends by itself
                with suppress(subprocess.TimeoutExpired):
                    self._process.wait(GRACE_S)
        finally:
            self.end()

    def ask(self, order: dict[str, Any]) -> Measured:
        """Have something measured.

        Returns:
            The result; with verdict "hung" if none came in time, and the process was killed.

        Raises:
            NoKvm: the host has no usable KVM.
            ProbeError: the process ended by itself, or does not begin.
        """
        name = str(order.get("name") or order["do"])
        self._begin()
        assert self._process is not None
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # then its end is seen below
            self._process.stdin.write(json.dumps(order).encode() + b"\n")
            self._process.stdin.flush()
        answer = self._answer(self._limit)
        if answer is None:
            self.end()
            return failed(name, "hung", f"no answer in {self._limit:g} s; ended by force")
        for key in ("whole", "control"):
            answer[key] = tuple(answer[key])
        return Measured(**answer)

    def end(self) -> None:
        """End the process, by force and by its own id; it has nothing to lose."""
        process, self._process, self._unread = self._process, None, b""
        if process is None:
            return
        process.kill()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                with suppress(OSError):
                    stream.close()
        process.wait()
        if self._errors is not None:
            self._errors.close()

    def _begin(self) -> None:
        if self._process is not None:
            return
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors,
            env=environment,
        )  # fmt: skip
        if self._answer(START_S) is None:
            self.end()
            raise ProbeError(f"the measuring process did not begin in {START_S:g} s")

    def _answer(self, limit: float) -> dict[str, Any] | None:
        """The next line; None: it did not come in time."""
        assert self._process is not None
        assert self._process.stdout is not None
        descriptor = self._process.stdout.fileno()
        until = time.monotonic() + limit
        while b"\n" not in self._unread:
            left = until - time.monotonic()
            if left <= 0 or not select.select([descriptor], [], [], left)[0]:
                return None
            part = os.read(descriptor, 1 << 16)
            if not part:
                raise ProbeError(self._last_words())
            self._unread += part
        line, _, self._unread = self._unread.partition(b"\n")
        answer: dict[str, Any] = json.loads(line)
        if "no_kvm" in answer:
            self.end()
            raise NoKvm(answer["no_kvm"])
        return answer

    def _last_words(self) -> str:
        """What a process that ended by itself said."""
        assert self._errors is not None
        assert self._process is not None
        self._errors.seek(0)
        said = self._errors.read().decode(errors="replace").strip().splitlines()
        status = self._process.wait()
        self.end()
        return f"the measuring process ended with status {status}: {said[-1] if said else '?'}"


def in_rounds(
    child: Child, orders: Iterable[dict[str, Any]], blocks: int, rounds: int
) -> Iterator[Measured]:
    """Have each order measured in several rounds, all orders in each, and its blocks joined.

    What changes slowly on the host (its clock, its other users) so hits all of them alike. What
    hung once, or is not supported, is not tried again.

    Args:
        child: who measures.
        orders: what.
        blocks: of each, in all rounds together.
        rounds: how many.

    Returns:
        One result for each order, in their order, when the last round is over.

    Raises:
        NoKvm: the host has no usable KVM.
        ProbeError: the measuring process does not work.
    """
    asked = list(orders)
    found: list[Measured | None] = [None] * len(asked)
    for _ in range(rounds):
        for place, order in enumerate(asked):
            before = found[place]
            if before is not None and before.verdict in ("hung", "unsupported"):
                continue
            answer = child.ask({**order, "blocks": -(-blocks // rounds)})
            found[place] = answer if before is None else before.joined(answer)
    yield from (each for each in found if each is not None)
