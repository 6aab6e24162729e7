"""Steady state: one cut for all, and what is told is of what lies behind it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from vmexit_sim.configuration import checked
from vmexit_sim.measure.records import Records, RunResult, Summary
from vmexit_sim.opened import open_scenario
from vmexit_sim.scenario import Scenario
from vmexit_sim.statistics.batch_means import BATCHES
from vmexit_sim.statistics.quantiles import QUANTILE_BATCHES
from vmexit_sim.steps import Role, Stage
from vmexit_sim.study.compare import compare
from vmexit_sim.study.outcome import BlockOutcome
from vmexit_sim.study.replication import lowered_for, run_once
from vmexit_sim.study.steady_state import (
    Cut,
    find_cut,
    latencies_in_order,
    mean_latencies,
    trimmed,
)

STAGE = Stage("exit", Role.HYPERVISOR)


def block(vcpu: int, first: int, stalls: list[int], operations: list[int] | None = None,
          gap: int = 100) -> Records:  # fmt: skip
    n = len(stalls)
    due = (first + np.arange(n, dtype=np.int64)) * gap + vcpu
    stall = np.asarray(stalls, np.int64)
    return Records(
        vcpu=vcpu, first=first, due=due, start=due, resume=due + stall, stall=stall,
        operation=np.asarray(operations or [-1] * n, np.int64), posted=np.full(n, -1, np.int64),
        done=due + stall, exits=np.ones(n, np.int64), stages=stall[:, None].copy(),
    )  # fmt: skip


def result(*blocks: Records, vcpus: int = 1) -> RunResult:
    summary = Summary([STAGE], keep_rows=True)
    for each in blocks:
        summary.add(each)
    summary.finish()
    return RunResult(summary=summary, exits=[], resources=[], finish=[0] * vcpus,
                     who=[f"vCPU {n}" for n in range(vcpus)], vcpus=vcpus, reach=1.0)  # fmt: skip


def test_the_ith_access_is_averaged_over_vcpus_and_replications() -> None:
    one = result(block(0, 0, [1, 2]), block(0, 2, [3, 4]), block(1, 0, [5, 6, 7]), vcpus=2)
    other = result(block(0, 0, [9, 10, 11, 12]), block(1, 0, [1, 2, 3, 4]), vcpus=2)
    assert mean_latencies([one]).tolist() == [3, 4, 5]
    assert mean_latencies([one, other]).tolist() == [4, 5, 6]


def test_a_latency_lasts_until_the_vcpu_went_on_and_the_device_had_changed() -> None:
    posted = block(0, 0, [1, 2])
    posted = replace(posted, done=posted.due + np.array([7, 1]))
    assert mean_latencies([result(posted)]).tolist() == [7, 2]


def test_an_interrupt_context_is_no_vcpu() -> None:
    """It makes few accesses of its own, and would leave little to look for a warm-up in."""
    both = result(block(0, 0, [1, 2, 3]), block(1, 0, [100]), vcpus=1)
    assert mean_latencies([both]).tolist() == [1, 2, 3]


def test_one_cut_serves_all_policies_the_latest() -> None:
    steady = np.ones(200)
    late = np.concatenate([np.linspace(50, 1, 40), np.ones(160)])
    assert find_cut([steady]) == Cut(accesses=0)
    assert find_cut([late]).accesses == 40
    assert find_cut([steady, late, steady]) == find_cut([late])
    assert find_cut([steady, np.ones(10)]) == Cut(accesses=0, too_short=True)
    assert find_cut([np.linspace(100, 1, 100)]).too_short


@pytest.mark.parametrize("cut", range(9))
@pytest.mark.parametrize("sizes", [[8], [4, 4], [3, 5], [1, 6, 1]], ids=str)
def test_what_lies_behind_the_cut_is_counted_whatever_the_blocks(
    cut: int, sizes: list[int]
) -> None:
    """8 accesses of stalls 1 to 8, in operations 0 0 0 1 1 2 2 2."""
    stalls, operations = list(range(1, 9)), [0, 0, 0, 1, 1, 2, 2, 2]
    blocks, first = [], 0
    for size in sizes:
        part = slice(first, first + size)
        blocks.append(block(0, first, stalls[part], operations[part]))
        first += size
    kept = trimmed(result(*blocks), Cut(accesses=cut)).summary
    assert kept.accesses == kept.exits == 8 - cut
    assert kept.stage_totals.tolist() == [sum(stalls[cut:])]
    whole = {o for o in (0, 1, 2) if operations.index(o) >= cut}
    assert kept.operations["stall"].n == len(whole)
    if whole:
        total = sum(s for s, o in zip(stalls, operations, strict=True) if o in whole)
        assert kept.operations["stall"].mean == pytest.approx(total / len(whole))


def test_cutting_nothing_leaves_every_number() -> None:
    before = result(block(0, 0, [5, 1, 9]), block(1, 0, [2, 2]), vcpus=2)
    after = trimmed(before, Cut())
    assert np.array_equal(after.summary.counts, before.summary.counts)
    assert np.array_equal(after.summary.stats, before.summary.stats)
    assert np.array_equal(after.summary.totals, before.summary.totals)
    assert after.summary.rows == []
    assert len(before.summary.rows) == 2


def test_latencies_come_in_the_order_in_which_accesses_were_due() -> None:
    both = result(block(0, 0, [1, 3]), block(0, 2, [5, 7]), block(1, 0, [2, 4, 6, 8]), vcpus=2)
    assert latencies_in_order(both, "stall", Cut()).tolist() == [1, 2, 3, 4, 5, 6, 7, 8]
    assert latencies_in_order(both, "response", Cut(accesses=1)).tolist() == [3, 4, 5, 6, 7, 8]
    assert latencies_in_order(both, "effect", Cut(accesses=3)).tolist() == [7, 8]


# Whole studies: an open-loop guest whose exits queue, M/D/1 at load 0.8.

QUEUE = {"kind": "spread", "operations": 400, "read_share": 1, "space": "mmio", "between": "0 ps",
         "arrivals": {"kind": "exponential", "mean": "1250 ns"}}  # fmt: skip


def study(guest: dict[str, Any], **keys: Any) -> BlockOutcome:
    stated = {"platform": "ideal", "policies": ["hypercall", "linux-default"],
              "blocks": [{"guest": guest}], "study": "steady-state", **keys}  # fmt: skip
    (outcome,) = compare(open_scenario(checked(Scenario, stated)), engine="simpy").blocks
    return outcome


def test_a_terminating_study_cuts_nothing() -> None:
    outcome = study(QUEUE, study="terminating", replications=2)
    assert outcome.cut is None
    assert outcome.policies[0].samples["accesses"] == [400, 400]


def test_several_replications_are_estimated_behind_one_cut() -> None:
    outcome = study(QUEUE, replications=4)
    assert outcome.cut is not None
    assert 0 < outcome.cut.accesses <= 200
    for policy in outcome.policies:
        assert policy.samples["accesses"] == [400 - outcome.cut.accesses] * 4
        assert policy.latency["response"]["mean"].method == "t"
        assert policy.latency["response"]["p50"].method == "order statistics"
        assert policy.single == {}
    whole = study(QUEUE, study="terminating", replications=4)
    for kept, all_ in zip(outcome.policies, whole.policies, strict=True):
        for metric in ("completion", "exits.VMCALL", "idle.asleep"):  # of the run as a whole
            assert kept.samples.get(metric) == all_.samples.get(metric)
        assert kept.samples["exits"] < all_.samples["exits"]


def test_one_replication_is_estimated_from_within() -> None:
    outcome = study({**QUEUE, "operations": 6000}, replications=1, policies=["hypercall"])
    (policy,) = outcome.policies
    assert policy.replications == 1
    mean, p50 = (policy.latency["response"][name] for name in ("mean", "p50"))
    assert mean.method.startswith("batch means")
    assert mean.n == BATCHES
    assert p50.method.startswith("batch quantiles")
    assert p50.n == QUANTILE_BATCHES
    # Pollaczek-Khinchine: 1 us of service, and 0.8 / (2 · 0.2) us of waiting.
    assert mean.value == pytest.approx(3e6, rel=0.15)
    assert policy.latency["stall"]["mean"].value == 1e6
    assert policy.hypervisor_time.method == "one replication"


def test_a_run_without_a_steady_part_says_so() -> None:
    outcome = study({**QUEUE, "arrivals": "500 ns"}, policies=["hypercall"])  # load 2: it grows
    assert outcome.cut is not None
    assert outcome.cut.too_short


def test_an_interrupt_context_is_cut_where_the_vcpus_warm_up_ends_in_time() -> None:
    """Its accesses come at another pace: a count of the vCPU's would take another stretch."""
    guest = {
        "kind": "interrupted",
        "main": {"kind": "spread", "operations": 400, "between": "10 us", "read_share": 1.0,
                 "space": "mmio"},
        "services": {"kind": "interrupt_service", "services": 20, "interarrival": "200 us",
                     "accesses": 1, "within": "0 ns", "read_share": 1.0},
    }  # fmt: skip
    stated = {"platform": "ideal", "policies": ["hypercall"], "blocks": [{"guest": guest}]}
    opened = open_scenario(checked(Scenario, stated))
    (block,) = opened.blocks
    lowered = lowered_for(opened, opened.policies[0], block)
    whole = run_once(opened, lowered, block, keep_rows=True)
    kept = trimmed(whole, Cut(accesses=200)).summary
    context = [r for r in whole.summary.rows if r.vcpu == 1]
    over = next(int(r.due[200 - r.first]) for r in whole.summary.rows if r.vcpu == 0)
    later = sum(int((r.due >= over).sum()) for r in context)
    assert 0 < later < 20
    assert kept.accesses == 200 + later


def test_a_recorded_guest_stays_exact_in_a_steady_state_study() -> None:
    stated = {"platform": "ideal", "policies": ["hypercall"], "study": "steady-state",
              "blocks": [{"guest": {"kind": "spread", "operations": 50, "between": "1 us",
                                    "read_share": 1.0, "space": "mmio"}}]}  # fmt: skip
    (policy,) = compare(open_scenario(checked(Scenario, stated))).blocks[0].policies
    assert policy.latency["stall"]["p99"].is_exact
    assert policy.latency["stall"]["mean"].is_exact
