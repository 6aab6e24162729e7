"""The measuring process: what happens when it hangs, dies, or has no KVM."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from vmexit_sim.errors import NoKvm
from vmexit_sim.probe.children import Child, ProbeError, in_rounds
from vmexit_sim.probe.probes import Measured

RESULT = json.dumps(asdict(Measured(
    name="x", verdict="measured", whole=(2.0,), control=(0.5,), exits={"IO": 1.0}, items=1.0,
    iterations=1,
)))  # fmt: skip


def worker(folder: Path, body: str) -> tuple[str, ...]:
    """A process that speaks as the worker does, and notes its process id."""
    script = folder / "worker.py"
    script.write_text(
        "import json, os, sys, time\n"
        f"open({str(folder / 'pids')!r}, 'a').write(f'{{os.getpid()}}\\n')\n"
        f"RESULT = {RESULT!r}\n" + body,
        encoding="utf-8",
    )
    return (sys.executable, "-S", "-E", str(script))


def pids(folder: Path) -> list[int]:
    return [int(line) for line in (folder / "pids").read_text().split()]


def is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


OBEDIENT = """
print('{"ready": true}', flush=True)
for line in sys.stdin:
    if json.loads(line)["do"] == "hang":
        time.sleep(60)
    print(RESULT, flush=True)
"""


def test_an_order_is_answered_with_its_times(tmp_path: Path) -> None:
    with Child(worker(tmp_path, OBEDIENT)) as child:
        assert child.ask({"do": "it"}).over == (1.5,)
        child.ask({"do": "it"})
    (pid,) = pids(tmp_path)
    assert not is_there(pid)


def test_a_process_that_does_not_end_by_itself_is_ended_though_waiting_is_interrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deaf = OBEDIENT + "time.sleep(60)\n"
    with pytest.raises(KeyboardInterrupt), Child(worker(tmp_path, deaf)) as child:  # noqa: PT012
        child.ask({"do": "it"})
        process, waiting = child._process, iter([KeyboardInterrupt])
        assert process is not None
        wait = process.wait
        monkeypatch.setattr(process, "wait", lambda *given: _interrupted(waiting, wait, given))
    assert not is_there(pids(tmp_path)[0])


def _interrupted(waiting: Iterator[Any], wait: Callable[..., int], given: tuple[Any, ...]) -> int:
    """The first wait is interrupted, the others are as ever."""
    for error in waiting:
        raise error
    return wait(*given)


def test_what_hangs_is_killed_and_the_rest_goes_on(tmp_path: Path) -> None:
    began = time.monotonic()
    with Child(worker(tmp_path, OBEDIENT), limit=0.3) as child:
        orders = [{"do": "it"}, {"do": "hang", "name": "y"}, {"do": "it"}]
        first, hung, last = in_rounds(child, orders, blocks=4, rounds=2)
    assert time.monotonic() - began < 30
    assert (first.verdict, hung.verdict, last.verdict) == ("measured", "hung", "measured")
    assert (hung.name, first.over, last.over) == ("y", (1.5, 1.5), (1.5, 1.5))
    assert len(pids(tmp_path)) == 2  # the one that was killed, and the one that took its place
    assert not any(is_there(pid) for pid in pids(tmp_path))


def test_a_process_that_dies_is_reported_with_its_last_words(tmp_path: Path) -> None:
    dying = (
        "print('{\"ready\": true}', flush=True)\nsys.stdin.readline()\nsys.exit('out of luck')\n"
    )
    with (
        Child(worker(tmp_path, dying)) as child,
        pytest.raises(ProbeError, match=r"status 1: out of luck"),
    ):
        child.ask({"do": "it"})
    assert not is_there(pids(tmp_path)[0])


def test_a_host_without_kvm_is_told_from_a_mistake(tmp_path: Path) -> None:
    none = 'print(\'{"no_kvm": "there is no /dev/kvm"}\', flush=True)\n'
    with (
        Child(worker(tmp_path, none)) as child,
        pytest.raises(NoKvm, match="there is no /dev/kvm"),
    ):
        child.ask({"do": "it"})


def test_the_blocks_of_all_rounds_are_at_least_those_asked_for(tmp_path: Path) -> None:
    echo = """
print('{"ready": true}', flush=True)
for line in sys.stdin:
    result = json.loads(RESULT)
    result["whole"] = [1.0] * json.loads(line)["blocks"]
    result["control"] = [0.0] * len(result["whole"])
    print(json.dumps(result), flush=True)
"""
    with Child(worker(tmp_path, echo)) as child:
        (found,) = in_rounds(child, [{"do": "it"}], blocks=10, rounds=3)
    assert len(found.whole) == 12
