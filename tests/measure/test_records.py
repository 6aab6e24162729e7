"""Records add up: accesses to operations, blocks to runs, items to queues."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vmexit_sim.measure.records import (
    LATENCIES,
    ExitTally,
    Records,
    ResourceUse,
    RunResult,
    Summary,
)
from vmexit_sim.steps import Role, Stage

COMPUTE = Stage("compute", Role.GUEST)
EXIT = Stage("exit", Role.HYPERVISOR)
LOCK = Stage("lock", Role.WAIT)
LOAD = Stage("load", Role.ACCESS)
LATER = Stage("later", Role.BACK)
STAGES = [COMPUTE, EXIT, LOCK, LOAD, LATER]


def records(n: int, first: int = 0, vcpu: int = 0, **columns: Any) -> Records:
    plain: dict[str, Any] = {
        "operation": -1, "due": 0, "start": 0, "resume": 5, "stall": 5, "posted": -1, "done": 7,
        "exits": 1,
    }  # fmt: skip
    made = {name: np.broadcast_to(np.asarray(columns.get(name, plain[name]), np.int64), n)
            for name in plain}  # fmt: skip
    stages = np.broadcast_to(np.asarray(columns.get("stages", [9, 3, 2, 1, 4]), np.int64), (n, 5))
    return Records(vcpu=vcpu, first=first, stages=stages, **made)


def summary_of(*blocks: Records, keep_rows: bool = False) -> Summary:
    summary = Summary(STAGES, keep_rows)
    for block in blocks:
        summary.add(block)
    summary.finish()
    return summary


def test_front_stages_are_those_the_vcpu_stands_still_for() -> None:
    assert [stage.is_front for stage in STAGES] == [False, True, True, True, False]


def test_three_latencies_of_an_access() -> None:
    one = records(1, due=10, start=12, resume=20, stall=8, done=50)
    assert {which: one.latency(which).tolist() for which in LATENCIES} == {
        "stall": [8], "response": [10], "effect": [40],
    }  # fmt: skip


def test_totals_by_stage_and_role() -> None:
    summary = summary_of(records(3), records(2, first=3))
    assert (summary.accesses, summary.exits) == (5, 5)
    assert summary.stage_totals.tolist() == [45, 15, 10, 5, 20]
    assert summary.of_role(Role.HYPERVISOR) == 15
    assert summary.of_role(Role.HYPERVISOR, Role.WAIT) == 25


def test_an_operation_runs_from_its_first_due_to_its_last_access() -> None:
    summary = summary_of(
        records(4, operation=[0, 0, -1, 0], due=[10, 20, 25, 30], resume=[15, 26, 28, 90],
                stall=[5, 6, 100, 7], done=[200, 30, 31, 95])
    )  # fmt: skip
    assert summary.operations["stall"].total == 18
    assert summary.operations["response"].total == 80
    assert summary.operations["effect"].total == 190
    assert {sketch.n for sketch in summary.operations.values()} == {1}


@settings(max_examples=60)
@given(
    st.lists(st.integers(-1, 3), min_size=1, max_size=16).map(sorted),
    st.lists(st.integers(1, 16), min_size=1, max_size=4),
)
def test_operations_do_not_depend_on_where_blocks_end(
    operation: list[int], lengths: list[int]
) -> None:
    n = len(operation)
    rng = np.random.default_rng(n)
    columns = {"operation": np.array(operation), "due": np.sort(rng.integers(0, 50, n))}
    columns["resume"] = columns["due"] + rng.integers(0, 9, n)
    columns["done"] = columns["due"] + rng.integers(0, 99, n)
    whole = summary_of(records(n, **columns))
    cuts = [0, *(c for c in np.cumsum(lengths).tolist() if c < n), n]
    parts = summary_of(
        *(records(b - a, a, **{k: v[a:b] for k, v in columns.items()})
          for a, b in pairwise(cuts))
    )  # fmt: skip
    for which in LATENCIES:
        for one, other in (
            (whole.operations, parts.operations), (whole.latencies, parts.latencies),
        ):  # fmt: skip
            assert np.array_equal(one[which].counts, other[which].counts)
            assert one[which].total == other[which].total
    assert whole.operations["stall"].n == len(set(operation) - {-1})


def test_operations_of_two_vcpus_are_kept_apart() -> None:
    a, b = records(2, operation=0), records(2, vcpu=1, operation=1)
    assert summary_of(a, b, records(2, 2, operation=0)).operations["stall"].n == 2


def test_rows_are_kept_only_if_asked_for() -> None:
    assert summary_of(records(3)).rows == []
    kept = summary_of(records(3), records(1, first=3), keep_rows=True)
    result = RunResult(
        summary=kept, exits=[], resources=[], finish=[4, 9], who=[], vcpus=2, reach=1.0
    )
    columns = result.to_columns()
    assert columns["row"].tolist() == [0, 1, 2, 3]
    assert columns["stage: later"].tolist() == [4] * 4
    assert {len(column) for column in columns.values()} == {4}
    assert result.completion == 9
    assert result.hypervisor_time == 4 * 5
    assert result.stage_times() == {"compute": 36, "exit": 12, "lock": 8, "load": 4, "later": 16}
    empty = RunResult(
        summary=summary_of(), exits=[], resources=[], finish=[0], who=[], vcpus=2, reach=1.0
    )
    assert empty.to_columns() == {}
    assert empty.hypervisor_time == 0


def test_quantiles_of_kept_rows_are_exact() -> None:
    stall = np.array([1_000_003, 5, 7, 1_000_001])
    kept = summary_of(records(4, stall=stall), keep_rows=True)
    assert [kept.quantile("stall", q) for q in (0.5, 0.51, 1.0)] == [7, 1_000_001, 1_000_003]
    sketched = summary_of(records(4, stall=stall))
    assert sketched.quantile("stall", 0.51) == pytest.approx(1_000_001, rel=1e-3)
    assert math.isnan(summary_of(keep_rows=True).quantile("stall", 0.5))


def test_an_empty_block_changes_nothing() -> None:
    assert summary_of(records(0)).accesses == 0
    assert summary_of(records(0), records(2)).accesses == 2


@given(st.lists(st.lists(st.integers(0, 10**6), max_size=5), max_size=5))
def test_a_tally_counts_exits(parts: list[list[int]]) -> None:
    tally = ExitTally("VMCALL")
    for part in parts:
        tally.add(part)
    every = [value for part in parts for value in part]
    assert (tally.samples, tally.total) == (len(every), sum(every))
    if every:
        assert (tally.least, tally.greatest) == (min(every), max(every))
        assert tally.mean == sum(every) / len(every)
    else:
        assert tally.mean == 0.0
    if len(every) > 1:
        assert tally.sd == pytest.approx(np.std(every, ddof=1))
    else:
        assert tally.sd == 0.0


def test_the_use_of_a_lock_and_of_a_mailbox() -> None:
    lock = ResourceUse(name="l", tokens=2, takes=3, waits=1, busy=50, waiting=30, span=100)
    assert (lock.utilisation, lock.mean_queue) == (0.25, 0.3)
    box = ResourceUse(name="b", tokens=0, takes=3, waits=1, busy=0, waiting=30, span=100)
    assert box.utilisation == 0.0
    none = ResourceUse(name="n", tokens=1, takes=0, waits=0, busy=0, waiting=0, span=0)
    assert (none.utilisation, none.mean_queue) == (0.0, 0.0)
