"""A real Dask cluster on this machine: a scheduler, two workers, and one of them is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from vmexit_sim.configuration import checked
from vmexit_sim.errors import InputError
from vmexit_sim.study.sweep import Cluster, Plan, Study, plan, run_study
from vmexit_sim.study.sweep.identity import Identity
from vmexit_sim.study.sweep.store import RESULTS

pytest.importorskip("distributed")

GUEST = {"kind": "spread", "operations": 20, "read_share": 0.5, "space": "mmio",
         "between": {"kind": "exponential", "mean": "1 us"}}  # fmt: skip
SCENARIO = {"platform": "ideal", "policies": ["linux-default", "hypercall"], "replications": 2,
            "blocks": [{"guest": GUEST}]}  # fmt: skip
PATIENCE = 60.0


def planned(n: int) -> Plan:
    costs = [f"{number} ns" for number in range(1, n + 1)]
    stated = {"name": "mine", "scenario": SCENARIO, "factors": {"costs.to_user": costs}}
    return plan(checked(Study, stated))


@contextmanager
def started(log: Path, *command: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process that is ended by its own id when it is no longer needed."""
    with log.open("wb") as out:
        process = subprocess.Popen([sys.executable, "-m", *command], stdout=out, stderr=out)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, list[int]]]:
    """A scheduler's address, and the ids of two workers."""
    folder = tmp_path_factory.mktemp("cluster")
    file = str(folder / "scheduler.json")
    worker = ("distributed.cli.dask_worker", "--scheduler-file", file, "--nthreads", "1",
              "--no-nanny", "--no-dashboard", "--host", "127.0.0.1",
              "--local-directory", str(folder))  # fmt: skip
    with (
        started(folder / "scheduler.log", "distributed.cli.dask_scheduler", "--host", "127.0.0.1",
                "--port", "0", "--no-dashboard", "--scheduler-file", file),
        started(folder / "one.log", *worker) as one,
        started(folder / "two.log", *worker) as two,
    ):  # fmt: skip
        end = time.monotonic() + PATIENCE
        while not Path(file).exists():
            assert time.monotonic() < end, (folder / "scheduler.log").read_text()
            time.sleep(0.05)
        yield json.loads(Path(file).read_text())["address"], [one.pid, two.pid]


def test_a_cluster_gives_the_same_bytes_though_a_worker_is_killed(
    cluster: tuple[str, list[int]], tmp_path: Path
) -> None:
    address, pids = cluster
    serial = run_study(planned(24), tmp_path / "serial", engine="simpy")

    def kill_one(done: int, of: int) -> None:
        if done == of // 2:
            os.kill(pids[0], signal.SIGKILL)

    workers = Cluster(address)
    try:
        workers._client.wait_for_workers(2, timeout=PATIENCE)
        assert workers.depth == 4
        outcome = run_study(planned(24), tmp_path / "cluster", workers=workers, engine="simpy",
                            progress=kill_one)  # fmt: skip
        assert workers.depth == 2
    finally:
        workers.close(at_once=True)
    assert (outcome.computed, outcome.failures) == (24, {})
    for folder in (serial.folder, outcome.folder):
        assert len(list((folder / "points").iterdir())) == 24
    for path in (*(serial.folder / "points").iterdir(), serial.folder / RESULTS):
        other = outcome.folder / path.relative_to(serial.folder)
        assert other.read_bytes() == path.read_bytes()


def test_a_cluster_with_other_code_is_found_out(
    cluster: tuple[str, list[int]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The keys are those of another NumPy here, so the workers' results would not be theirs."""
    right = Identity.key

    def another(self: Identity, *args: Any) -> str:
        return right(self, *args)[::-1]

    monkeypatch.setattr(Identity, "key", another)
    workers = Cluster(cluster[0])
    try:
        workers._client.wait_for_workers(1, timeout=PATIENCE)
        outcome = run_study(planned(2), tmp_path, workers=workers, engine="simpy")
    finally:
        workers.close(at_once=False)
    assert outcome.computed == 0
    assert all("would compute something else" in why for why in outcome.failures.values())


def test_nobody_at_the_address_is_an_input_error(monkeypatch: pytest.MonkeyPatch) -> None:
    import distributed

    right = distributed.Client

    def hurried(*args: Any, **keys: Any) -> Any:
        return right(*args, **{**keys, "timeout": 0.2})

    monkeypatch.setattr(distributed, "Client", hurried)
    with pytest.raises(InputError, match=r"does not answer.*is the address right"):
        Cluster("tcp://127.0.0.1:9")


def test_without_dask_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(InputError, match=r"pip install 'vmexit-sim\[cluster\]'"):
        Cluster("tcp://127.0.0.1:8786")
