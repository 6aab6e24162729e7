"""What all tests share."""

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

from vmexit_sim.cli import main
from vmexit_sim.engine import run
from vmexit_sim.guest.workload import Workload
from vmexit_sim.lowering import Lowered
from vmexit_sim.measure.records import RunResult
from vmexit_sim.streams import Streams

# A first run on a cold cache may be slow; that says nothing of what is tested. In CI the examples
# are the same each time, so that a failure belongs to the change; elsewhere they are always new.
settings.register_profile(
    "default",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize="CI" in os.environ,
)
settings.load_profile("default")

# For pytest's workers, which start after this is read: two of them with two threads each for every
# small matrix take ten times as long on a busy machine.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

os.environ.pop("COLUMNS", None)  # tables as a pipe gets them, not as a test runner's terminal

if os.environ.get("NUMBA_DISABLE_JIT", "0") != "0":
    # Kernels run as Python, so that coverage and mutants see into them. What Numba's intrinsics
    # emit for LLVM is said once more in Python.
    from vmexit_sim.engine import kernel, reduction

    def _earlier(time: int, ticket: int, other_time: int, other_ticket: int) -> tuple[int, int]:
        return min((time, ticket), (other_time, other_ticket))

    def _leading_zeros(value: int) -> int:
        return 64 - int(value).bit_length()

    kernel._earlier, reduction._leading_zeros = _earlier, _leading_zeros

OnBoth = Callable[[Lowered, Workload], RunResult]


@pytest.fixture
def called(capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs the command line: its status, what it printed, and what it complained of."""

    def call(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(list(arguments))
        printed = capsys.readouterr()
        return int(ended.value.code or 0), printed.out, printed.err

    return call


@pytest.fixture(scope="session")
def on_both_engines() -> OnBoth:
    """Run on both engines, insist that they agree to the last bit, and return what they say."""

    def run_on_both(lowered: Lowered, workload: Workload) -> RunResult:
        one, other = (
            run(lowered, workload, Streams(7), engine=engine, keep_rows=True)
            for engine in ("simpy", "compiled")
        )
        rows, others = one.to_columns(), other.to_columns()
        assert list(rows) == list(others)
        for name, column in rows.items():
            assert np.array_equal(column, others[name]), name
        assert (one.finish, one.exits, one.resources) == (
            other.finish, other.exits, other.resources,
        )  # fmt: skip
        assert np.array_equal(one.summary.totals, other.summary.totals)
        return one

    return run_on_both
