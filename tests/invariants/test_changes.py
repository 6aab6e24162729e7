"""Changes of a scenario that must change nothing, or all times alike."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from invariants.changes import slowed, with_idle_vcpu, with_unused_device, with_unused_rule
from invariants.checks import equal
from invariants.drawn import SEED, Drawn, share
from invariants.policies import rules
from invariants.scenarios import scenarios

from vmexit_sim.engine import run
from vmexit_sim.guest.table import Space, make_table
from vmexit_sim.guest.workload import Recorded
from vmexit_sim.hypervisor.platform import load_platform
from vmexit_sim.lowering import Lowered
from vmexit_sim.measure.records import RunResult
from vmexit_sim.mechanisms import MECHANISMS, make_mechanism
from vmexit_sim.mechanisms.coalesced_mmio import CoalescedMmio
from vmexit_sim.mechanisms.rings import Rings
from vmexit_sim.mechanisms.side_core import SideCore
from vmexit_sim.opened import open_scenario
from vmexit_sim.policy import Policy, Rule
from vmexit_sim.scenario import checked_scenario
from vmexit_sim.streams import Streams
from vmexit_sim.study.compare import compare


def same_numbers(one: RunResult, other: RunResult) -> None:
    """Every access, exit and vCPU is as it was; there may be further stages and resources.

    How often a resource was waited for is not compared: who is there first at one instant may
    change, and with it whether somebody finds an item or waits for it for no time. Nor is the line
    for interrupts: compute that a further mechanism could interrupt is spent there.
    """
    rows, others = one.to_columns(), other.to_columns()
    assert [name for name in rows if not np.array_equal(rows[name], others[name])] == []
    assert [name for name in others if name not in rows and others[name].any()] == []
    assert sorted(one.exits, key=str) == sorted(other.exits, key=str)
    assert one.finish == other.finish[: len(one.finish)]
    used = {(use.name, use.busy, use.waiting) for use in other.resources}
    assert used >= {
        (use.name, use.busy, use.waiting) for use in one.resources if use.name != "interrupts"
    }


def idle_vcpu_is_seen(drawn: Drawn, result: RunResult) -> bool:
    """Where a vCPU that does nothing changes what others meet.

    A core that polls a queue for each vCPU has one more to look at. Each vCPU's own back end
    needs a CPU to begin on, and with one vCPU more the CPUs may no longer be enough for every
    thread, so that which thread is on which CPU is modelled. A vCPU's end drains the coalescing
    ring, if there is anything in it at time 0.
    """
    mechanisms = [rule.mechanism for rule in drawn.policy.rules]
    per_vcpu = [m for m in mechanisms if isinstance(m, Rings) and m.queues == "vcpu"]
    if any(isinstance(m, SideCore) for m in per_vcpu):
        return True
    if drawn.cpus is not None:
        is_modelled = result.resource("CPUs") is not None
        if per_vcpu or not is_modelled:
            return True
    at_once = bool((result.to_columns()["posted"] == 0).any())
    return at_once and any(isinstance(m, CoalescedMmio) for m in mechanisms)


@settings(max_examples=share(20))
@given(drawn=scenarios(contexts=False))
def test_a_vcpu_that_does_nothing_changes_no_number(drawn: Drawn) -> None:
    """Interrupt contexts are left out: a stream's number is a part of its draws' names."""
    result = drawn.run()
    assume(not idle_vcpu_is_seen(drawn, result))
    other = with_idle_vcpu(drawn).run()
    same_numbers(result, other)
    assert other.finish[-1] == 0


@pytest.mark.parametrize("queues", ["vcpu", "guest"])
def test_a_polled_queue_that_is_always_empty_delays_the_others(queues: str) -> None:
    """The exception above: the core comes by less often, if it looks at a queue for each vCPU."""
    guest = {"kind": "request_response", "requests": 30, "in_flight": 1,
             "think": {"kind": "uniform", "low": "5 us", "high": "9 us"}}  # fmt: skip
    scenario = checked_scenario({"blocks": [{"guest": guest}], "policies": ["spdk-like"],
                                 "parameters": {"spdk-like": {"queues": queues}}})  # fmt: skip
    opened = open_scenario(scenario)
    drawn = Drawn(platform=opened.platform, policy=opened.policies[0],
                  workload=opened.blocks[0].workloads[1.0])  # fmt: skip
    alone, beside = drawn.run(), with_idle_vcpu(drawn).run()
    assert (alone.completion < beside.completion) == (queues == "vcpu")
    assert (alone.completion == beside.completion) == (queues == "guest")


@settings(max_examples=share(12))
@given(drawn=scenarios())
def test_a_device_that_nobody_accesses_changes_no_number(drawn: Drawn) -> None:
    equal(drawn.run(), with_unused_device(drawn).run())


@settings(max_examples=share(20))
@given(drawn=scenarios(), rule=st.sampled_from(list(MECHANISMS)).flatmap(rules))
def test_a_rule_that_no_access_meets_changes_no_number(drawn: Drawn, rule: Rule) -> None:
    """Nor do its mechanism's locks, rings, timers, threads and cores."""
    same_numbers(drawn.run(), with_unused_rule(drawn, rule).run())


def test_a_rule_that_no_access_meets_shifts_no_draw_at_the_end_of_a_vcpu() -> None:
    """Two coalescing rings, of which only one is ever written to; the vCPU's end drains it."""
    random = {"to_user": {"kind": "exponential", "mean": "1 us"}}
    table = make_table(3, space=Space.MMIO, write=True)
    ring, other = (
        Rule(side="host", mechanism=make_mechanism({"name": "coalesced_mmio", "entries": entries}))
        for entries in (170, 2)
    )
    drawn = Drawn(platform=load_platform("ideal", changes=random), workload=Recorded(table),
                  policy=Policy(title="a ring", rules=[ring]))  # fmt: skip
    same_numbers(drawn.run(), with_unused_rule(drawn, other).run())


ROUNDED = 2**10
"""So many times as long as drawn, every time can be halved ten times without rounding: windows of
polling shrink by halves, and the rate of kicks that turns a core on becomes a whole gap."""


@settings(max_examples=share(20))
@given(drawn=scenarios())
def test_if_all_takes_twice_as_long_all_times_double(drawn: Drawn) -> None:
    base = slowed(drawn, ROUNDED)
    one, other = base.run(), slowed(base, 2).run()
    rows, others = one.to_columns(), other.to_columns()
    assert list(rows) == list(others)
    counts = ("vcpu", "row", "operation", "exits")
    for name, column in rows.items():
        twice = column if name in counts else np.where(column < 0, column, 2 * column)
        assert np.array_equal(twice, others[name]), name
    assert [2 * time for time in one.finish] == other.finish
    for tally, twin in zip(one.exits, other.exits, strict=True):
        assert (tally.reason, tally.samples) == (twin.reason, twin.samples)
        assert (2 * tally.total, 2 * tally.least) == (twin.total, twin.least)
        assert (2 * tally.greatest, 4 * tally.squares) == (twin.greatest, twin.squares)
    for use, twin_use in zip(one.resources, other.resources, strict=True):
        assert (use.takes, use.waits, use.tokens) == (
            twin_use.takes, twin_use.waits, twin_use.tokens,
        )  # fmt: skip
        assert (2 * use.busy, 2 * use.waiting) == (twin_use.busy, twin_use.waiting)


@settings(max_examples=share(8))
@given(drawn=scenarios(), order=st.permutations(range(3)))
def test_replications_in_any_order_give_the_same(drawn: Drawn, order: list[int]) -> None:
    """One program, run again and again, keeps nothing of the runs before."""
    lowered = drawn.lowered()

    def once(replication: int, program: Lowered) -> RunResult:
        return run(program, drawn.workload, Streams(SEED, replication), keep_rows=True)

    results = {replication: once(replication, lowered) for replication in order}
    for replication, result in results.items():
        equal(result, drawn.run(replication=replication))


@settings(max_examples=share(5))
@given(
    order=st.permutations(["vhost", "linux-default", "batched-recorded", "halt-poll-dynamic"]),
    jobs=st.integers(1, 3),
)
def test_policies_in_any_order_on_any_number_of_threads_give_the_same(
    order: list[str], jobs: int
) -> None:
    """But for what they are compared with, which is the first."""
    guest = {"kind": "request_response", "requests": 20, "in_flight": 2, "vcpus": 2,
             "think": {"kind": "exponential", "mean": "3 us"},
             "service": {"kind": "exponential", "mean": "2 us"}}  # fmt: skip
    stated = {"blocks": [{"guest": guest}], "platform": "kvm-2013", "replications": 4}
    opened = open_scenario(checked_scenario({**stated, "policies": sorted(order)}))
    by_name = {policy.name: policy for policy in opened.policies}
    permuted = replace(opened, policies=[by_name[name] for name in order])
    plain = compare(opened).blocks[0].policies
    other = compare(permuted, jobs=jobs).blocks[0].policies
    assert [outcome.policy.name for outcome in other] == order
    found = {outcome.policy.name: outcome for outcome in other}
    for outcome in plain:
        twin = found[outcome.policy.name]
        assert outcome.samples.keys() == twin.samples.keys()
        for name, values in outcome.samples.items():
            assert np.array_equal(values, twin.samples[name], equal_nan=True), name
        assert outcome.hypervisor_time == twin.hypervisor_time
