"""Work: computing points, wherever a task was sent to.

A task is a few points; what comes back is, for each, its result as the bytes of an Arrow file, or
why there is none. Nothing here knows where it runs.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from vmexit_sim import __version__
from vmexit_sim.engine import EngineName
from vmexit_sim.errors import VmexitError
from vmexit_sim.opened import open_scenario
from vmexit_sim.scenario import checked_scenario
from vmexit_sim.statistics import Estimate, exact
from vmexit_sim.study.compare import compare
from vmexit_sim.study.outcome import Comparison, PolicyOutcome
from vmexit_sim.study.sweep.identity import Identity

ROWS = (
    ("block", "str"), ("policy", "str"), ("metric", "str"), ("value", "f8"), ("low", "f8"),
    ("high", "f8"), ("n", "i8"), ("confidence", "f8"), ("method", "str"), ("unit", "str"),
)  # fmt: skip
"""What a point's own rows hold; text is kept once and numbered."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """One point, as it is sent to a worker.

    Attributes:
        key: of its configuration.
        scenario: its data.
        path: the file that it came from, if any.
        elsewhere: as for `open_scenario`.
        engine: what runs it.
    """

    key: str
    scenario: dict[str, Any]
    path: Path | None
    elsewhere: Mapping[str, Path | None]
    engine: EngineName


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What became of a point.

    Attributes:
        key: of its configuration.
        content: its result, the bytes of an Arrow file; None: it failed.
        failure: why, for people: an error's text, or a traceback.
        seconds: how long it took.
    """

    key: str
    content: bytes | None
    failure: str
    seconds: float


def compute(tasks: Sequence[Task], *, check: bool = False) -> list[Answer]:
    """Compute some points; one that fails keeps its traceback, and the others go on.

    Args:
        tasks: one for each point.
        check: whether code and models might be others here than where the tasks come from; a point
            that would not be what its key says then fails.
    """
    identity = Identity() if check else None
    return [_answer(task, identity) for task in tasks]


def _answer(task: Task, identity: Identity | None) -> Answer:
    begun = perf_counter()
    content, failure = None, ""
    try:
        scenario = checked_scenario(task.scenario, task.path)
        if identity and identity.key(scenario, task.path, task.elsewhere) != task.key:
            raise VmexitError(
                "this worker would compute something else: its vmexit-sim, its models, its NumPy "
                "or its Python is another"
            )
        opened = open_scenario(scenario, task.path, task.elsewhere)
        content = _packed(compare(opened, engine=task.engine), scenario.seed)
    except VmexitError as error:
        failure = str(error)
    except Exception:  # whatever it is, it belongs to this point
        failure = traceback.format_exc()
    return Answer(key=task.key, content=content, failure=failure,
                  seconds=perf_counter() - begun)  # fmt: skip


def rows(result: Comparison) -> Iterator[tuple[Any, ...]]:
    """A comparison as tidy rows, one for each block, policy and metric; columns as `ROWS`."""
    for block in result.blocks:
        for outcome in block.policies:
            found = estimates(outcome)
            found["usable"] = exact(float(outcome in block.usable), "1")
            for metric, estimate in found.items():
                yield (block.name, outcome.policy.name, metric, estimate.value, estimate.low,
                       estimate.high, estimate.n, estimate.confidence, estimate.method,
                       estimate.unit)  # fmt: skip


def estimates(outcome: PolicyOutcome) -> dict[str, Estimate]:
    """Every metric of a policy, and what it comes to against the first policy."""
    return {
        **{metric: outcome.estimate(metric) for metric in outcome.samples},
        "ratio": outcome.ratio,
        "difference": outcome.difference,
        "reach": exact(outcome.reach, "1"),
    }


def _packed(result: Comparison, seed: int) -> bytes:
    import pyarrow as pa

    columns = list(zip(*rows(result), strict=True))
    arrays = [
        pa.array(column, pa.string()).dictionary_encode()
        if kind == "str"
        else pa.array(np.asarray(column, kind))
        for (_, kind), column in zip(ROWS, columns, strict=True)
    ]
    table = pa.table(arrays, names=[name for name, _ in ROWS])
    about = {"version": __version__, "numpy": np.__version__, "seed": str(seed)}
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema.with_metadata(about)) as file:
        file.write_table(table)
    return bytes(sink.getvalue())
