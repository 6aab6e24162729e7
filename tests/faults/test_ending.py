"""Interrupts, terminations and kills: one line is said, workers end, what is stored stays."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from processes import ENDLESS, PATIENCE, RULE, ended, going, session, wait_until

from vmexit_sim.study.threads import threads

STUDY = """scenario = "./endless.toml"
[set]
policies = ["./rule.toml"]
replications = 1
[factors]
"blocks.0.guest.operations" = [5, 1000000000, 1000000001]
"""


def says(said: str) -> list[str]:
    """Lines of ours; the engine may have said that it is being compiled."""
    return [line for line in said.splitlines() if line.startswith("vmexit-sim:")]


@pytest.mark.parametrize(
    ("sign", "whole_group", "status", "line"),
    [
        (signal.SIGINT, False, 130, "vmexit-sim: interrupted"),
        (signal.SIGINT, True, 130, "vmexit-sim: interrupted"),
        (signal.SIGTERM, False, 143, "vmexit-sim: terminated"),
        (signal.SIGKILL, False, -9, None),
    ],
)
def test_a_sweep_that_is_ended_ends_its_workers_and_keeps_what_it_has(
    sign: signal.Signals, whole_group: bool, status: int, line: str | None, tmp_path: Path
) -> None:
    for name, text in (("endless.toml", ENDLESS), ("rule.toml", RULE), ("study.toml", STUDY)):
        (tmp_path / name).write_text(text)
    with going("sweep", "study.toml", "--jobs", "2", "-o", "kept", cwd=tmp_path) as process:
        wait_until(lambda: len(list(tmp_path.glob("kept/points/*.arrow"))) == 1)
        stored = {path: path.read_bytes() for path in tmp_path.glob("kept/points/*")}
        assert len(session(process.pid)) > 2
        (os.killpg if whole_group else os.kill)(process.pid, sign)
        found, said = ended(process)
        assert found == status
        assert "Traceback" not in said
        assert says(said) == ([] if line is None else [line])
        wait_until(lambda: not session(process.pid), 10)
    assert {path: path.read_bytes() for path in tmp_path.glob("kept/points/*")} == stored
    assert not list((tmp_path / "kept").rglob("*.partial"))


@pytest.mark.parametrize(("sign", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_comparison_ends_at_once_though_replications_are_under_way(
    sign: signal.Signals, status: int, tmp_path: Path
) -> None:
    (tmp_path / "endless.toml").write_text(ENDLESS)
    arguments = ["compare", "endless.toml", "--jobs", "2", "--engine", "simpy", "-o", "x.json"]
    with going(*arguments, cwd=tmp_path) as process:
        tasks = Path(f"/proc/{process.pid}/task")
        wait_until(lambda: len(list(tasks.iterdir())) >= 3)
        os.kill(process.pid, sign)
        found, said = ended(process)
    assert found == status
    assert "Traceback" not in said
    assert len(says(said)) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["endless.toml"]


def test_an_error_in_one_replication_does_not_wait_for_the_others() -> None:
    free, before, futures = threading.Event(), threading.active_count(), []

    def fail() -> None:
        with threads(2) as pool:
            futures.extend(pool.submit(free.wait) for _ in range(6))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert [future.cancelled() for future in futures] == [False] * 2 + [True] * 4
    assert not any(future.done() for future in futures[:2])
    free.set()
    wait_until(lambda: threading.active_count() <= before, 10)


STOPS = """
import sys
class Interrupted:
    def find_spec(self, name, *_):
        if name == {module!r}:
            raise KeyboardInterrupt
sys.meta_path.insert(0, Interrupted())
from vmexit_sim.cli import main
main(["models"])
"""
"""A process that is interrupted while it imports a module."""


@pytest.mark.parametrize("module", ["cyclopts", "vmexit_sim.cli.models", "numpy", "rich.table"])
def test_an_interrupt_among_the_imports_is_one_line_too(module: str) -> None:
    done = subprocess.run([sys.executable, "-c", STOPS.format(module=module)], text=True,
                          capture_output=True, timeout=PATIENCE, check=False)  # fmt: skip
    assert (done.returncode, done.stderr) == (130, "vmexit-sim: interrupted\n")


CONVERTED = """
import os, signal, sys
class Signalled:
    def find_spec(self, name, *_):
        if name == "vmexit_sim.cli.models":
            try:
                os.kill(os.getpid(), signal.{sign})
                signal.pause()
            except BaseException:
                raise RuntimeError("a class could not be made")
sys.meta_path.insert(0, Signalled())
from vmexit_sim.cli import main
main(["models"])
"""
"""A process in which what is raised for a signal becomes an error of somebody else's."""


@pytest.mark.parametrize(
    ("sign", "ended"),
    [
        ("SIGINT", (130, "vmexit-sim: interrupted\n")),
        ("SIGTERM", (143, "vmexit-sim: terminated\n")),
    ],
)
def test_a_signal_that_becomes_another_error_is_still_one_line(
    sign: str, ended: tuple[int, str]
) -> None:
    done = subprocess.run([sys.executable, "-c", CONVERTED.format(sign=sign)], text=True,
                          capture_output=True, timeout=PATIENCE, check=False)  # fmt: skip
    assert (done.returncode, done.stderr) == ended


@pytest.mark.skipif(not os.access("/dev/kvm", os.R_OK | os.W_OK), reason="no /dev/kvm to use")
@pytest.mark.parametrize(("sign", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_survey_of_the_host_that_is_ended_ends_its_measuring_process(
    sign: signal.Signals, status: int, tmp_path: Path
) -> None:
    with going("probe", "-o", "host.toml", cwd=tmp_path) as process:
        wait_until(lambda: len(session(process.pid)) > 1)
        os.kill(process.pid, sign)
        found, said = ended(process)
        wait_until(lambda: not session(process.pid), 10)
    assert found == status
    assert "Traceback" not in said
    assert len(says(said)) == 1
    assert not list(tmp_path.iterdir())
