"""Comparing policies: exact where nothing is random, paired where something is."""

from __future__ import annotations

import math
from typing import Any

import pytest

from vmexit_sim.configuration import checked
from vmexit_sim.errors import InputError
from vmexit_sim.opened import open_scenario
from vmexit_sim.scenario import Scenario
from vmexit_sim.statistics import Precision
from vmexit_sim.study.compare import compare
from vmexit_sim.study.outcome import BlockOutcome

US = 1_000_000
CALM = {"kind": "spread", "operations": 4, "accesses_per_operation": 5, "between": "1 us",
        "read_share": 1, "space": "pci_config"}  # fmt: skip
CHANCE = {**CALM, "between": {"kind": "exponential", "mean": "1 us"}, "read_share": 0.5,
          "emulate": {"kind": "exponential", "mean": "1 us"}, "operations": 20}  # fmt: skip
POLICIES = ["linux-default", "hypercall", "read-only-pages", "batched-oracle"]


def outcome(guest: dict[str, Any], policies: list[str] | None = None, **keys: Any) -> BlockOutcome:
    plain = {"platform": "ideal", "policies": policies or POLICIES, "replications": 4,
             "blocks": [{"guest": guest}]}  # fmt: skip
    (block,) = compare(open_scenario(checked(Scenario, {**plain, **keys})), engine="simpy").blocks
    return block


def test_a_calm_guest_is_compared_exactly() -> None:
    ports, call, pages, batches = outcome(CALM).policies
    assert [o.exits.value for o in (ports, call, pages, batches)] == [40, 20, 0, 1]
    assert [o.ratio.value for o in (ports, call, pages, batches)] == [1, 0.5, 0, 1 / 40]
    assert call.difference.value == -20 * US
    assert call.completion[1.0].value == (20 + 4) * US
    assert call.latency["stall"]["p99"].value == US
    assert call.operation_latency["stall"]["mean"].value == 5 * US
    for policy in (ports, call, pages, batches):
        estimates = [policy.exits, policy.hypervisor_time, policy.ratio, policy.difference]
        assert all(estimate.is_exact for estimate in estimates)


def test_the_first_policy_is_what_the_others_are_compared_with() -> None:
    for guest in (CALM, CHANCE):
        first = outcome(guest).policies[0]
        assert (first.ratio.value, first.ratio.half_width) == (1.0, 0.0)
        assert (first.difference.value, first.difference.half_width) == (0.0, 0.0)


def test_a_random_guest_is_told_with_intervals() -> None:
    for policy in outcome(CHANCE).policies[:2]:
        assert policy.completion[1.0].half_width > 0
        assert policy.completion[1.0].n == 4
        assert policy.hypervisor_time.method == "t"
        assert policy.latency["stall"]["p50"].method == "order statistics"
    # One access takes two exits by ports and one by hypercall, whatever is drawn: no chance in it.
    ports, call = outcome({**CHANCE, "operations": 40}).policies[:2]
    assert call.difference.is_exact
    assert call.difference.value == -5 * 40 * US
    costs = {"world_switch_out": {"kind": "exponential", "mean": "1 us"}}
    ports, call = outcome(CHANCE, costs=costs).policies[:2]
    assert call.difference.method == "paired t"
    assert call.difference.half_width > 0
    assert ports.difference.is_exact  # to itself


def test_another_policy_changes_no_other_policys_numbers() -> None:
    costs = {"world_switch_out": {"kind": "exponential", "mean": "1 us"}}
    few = outcome(CHANCE, ["linux-default", "hypercall"], costs=costs)
    many = outcome(CHANCE, ["linux-default", "mmio-first", "batched-recorded", "hypercall"],
                   costs=costs)  # fmt: skip
    assert few.policies[0] == many.policies[0]
    assert few.policies[1] == many.policies[3]


def test_every_policy_meets_the_same_guest() -> None:
    block = outcome(CHANCE)
    computed = [
        {s.name: e.value for s, e in o.stage_times.items()}["guest compute"] for o in block.policies
    ]
    assert len(set(computed)) == 1
    assert {o.accesses for o in block.policies} == {block.accesses} == {100}


def test_the_best_is_no_bound_and_no_counterfactual() -> None:
    block = outcome(CALM, ["linux-default", "hypercall", "bare-metal", "batched-oracle"])
    assert [outcome.policy.name for outcome in block.best()] == ["hypercall"]


def test_policies_that_nothing_tells_apart_are_best_together() -> None:
    block = outcome(CALM, ["linux-default", "mmio-first", "absent-page"])
    assert [outcome.policy.name for outcome in block.best()] == ["mmio-first", "absent-page"]


def test_completion_is_given_for_each_think_scale() -> None:
    blocks = [{"guest": CALM, "think_scales": [0.0, 1.0, 3.0]}]
    call = outcome(CALM, ["hypercall"], blocks=blocks).policies[0]
    assert {s: e.value for s, e in call.completion.items()} == {
        0.0: 20 * US, 1.0: 24 * US, 3.0: 32 * US,
    }  # fmt: skip


def test_progress_is_told_before_each_policy() -> None:
    told: list[str] = []
    keys = {"platform": "ideal", "policies": POLICIES[:2], "blocks": [{"name": "b", "guest": CALM}]}
    compare(open_scenario(checked(Scenario, keys)), told.append, engine="simpy")
    assert told == ["b: linux-default", "b: hypercall"]


def test_the_reach_is_the_share_of_the_guests_accesses(tmp_path: Any) -> None:
    path = tmp_path / "reads.toml"
    path.write_text(
        'title = "t"\n[[rules]]\nside = "host"\nmatch = { write = false }\n'
        'mechanism = "hypercall"\n'
    )
    guest = {**CALM, "operations": 500, "read_share": 0.9}
    assert outcome(guest, [str(path)]).policies[0].reach == pytest.approx(0.9, abs=0.02)


WAITING = {"kind": "spread", "operations": 20, "between": "2 us", "read_share": 1,
           "space": "pci_config", "arrivals": {"kind": "constant", "value": "30 us"}}  # fmt: skip


def test_what_waiting_costs_is_told_of_policies_that_say_how_the_guest_waits() -> None:
    free, never, poll = outcome(
        WAITING, ["linux-default", "halt-poll-never", "idle-poll"], costs={"vcpu_wake_up": "5 us"}
    ).policies
    assert free.idle == {}
    assert never.exits_by_reason["HLT"].value == 20
    assert never.idle["burnt"].value == pytest.approx(20 / (20 + never.idle["asleep"].value / US))
    assert (
        never.latency["response"]["mean"].value == free.latency["response"]["mean"].value + 5 * US
    )
    assert (poll.idle["burnt"].value, poll.idle["cpu_share"].value) == (1, 1)
    assert poll.latency == free.latency


def test_scarce_cpus_are_told_of_and_enough_of_them_change_nothing() -> None:
    guest = {**CALM, "vcpus": 3, "operations": 40}
    plain, few, enough = (
        outcome(guest, ["hypercall"], **keys).policies[0]
        for keys in ({}, {"cpus": 2, "time_slice": "1 us"}, {"cpus": 3})
    )
    assert plain.host_cpus == {}
    assert 0.9 < few.host_cpus["utilisation"].value <= 1
    assert few.host_cpus["stolen"].value > 0
    assert few.completion[1.0].value > plain.completion[1.0].value
    assert enough.host_cpus["utilisation"].value != enough.host_cpus["utilisation"].value
    assert (enough.completion, enough.stage_times) == (plain.completion, plain.stage_times)


def test_a_shipped_policys_parameters_can_be_other_ones() -> None:
    """20 accesses: in batches of 32 one exit, of 5 four, of 1 twenty."""
    for size, exits in ((32, 1), (5, 4), (1, 20)):
        keys = {"parameters": {"batched-oracle": {"max_batch": size}}}
        (policy,) = outcome(CALM, ["batched-oracle"], **keys).policies
        assert policy.exits.value == exits


# Going on until an estimate is precise enough.

NOISY = {"world_switch_out": {"kind": "gamma", "mean": "1 us", "cv": 2}}


def precise(precision: Precision | None, budget: int = 1000, guest: Any = CHANCE,
            **keys: Any) -> tuple[int, BlockOutcome]:  # fmt: skip
    stated = {"platform": "ideal", "policies": ["linux-default", "hypercall"], "replications": 4,
              "costs": NOISY, "blocks": [{"guest": guest}], **keys}  # fmt: skip
    opened = open_scenario(checked(Scenario, stated))
    result = compare(opened, engine="simpy", precision=precision, budget=budget)
    (block,) = result.blocks
    return result.replications, block


def test_without_a_precision_as_many_replications_run_as_are_stated() -> None:
    replications, block = precise(None)
    assert replications == 4
    assert block.reached is None


def test_a_relative_precision_is_one_of_every_policys_time() -> None:
    wanted = Precision(relative=0.1)
    replications, block = precise(wanted)
    assert block.reached is True
    assert replications >= 10
    for policy in block.policies:
        time = policy.hypervisor_time
        assert time.n == replications
        assert time.half_width / time.value <= 0.1 / 1.1
        assert wanted.is_met(time)
    few, _ = precise(Precision(relative=0.3))
    assert few < replications


def test_an_absolute_precision_is_one_of_differences_as_well() -> None:
    replications, block = precise(Precision(absolute=30 * US))
    ports, call = block.policies
    assert block.reached is True
    for estimate in (ports.hypervisor_time, call.hypervisor_time, call.difference):
        assert estimate.n == replications
        assert estimate.half_width <= 30 * US


def test_more_replications_leave_the_first_ones_as_they_were() -> None:
    _, few = precise(None)
    _, more = precise(Precision(relative=0.1))
    for one, other in zip(few.policies, more.policies, strict=True):
        assert one.samples.keys() == other.samples.keys()
        for metric, values in one.samples.items():
            assert repr(other.samples[metric][:4]) == repr(values)


@pytest.mark.parametrize("budget", [2, 12])
def test_a_budget_is_kept_and_that_the_precision_was_not_reached_is_said(budget: int) -> None:
    replications, block = precise(Precision(relative=0.001), budget)
    assert (replications, block.reached) == (budget, False)
    assert all(policy.replications == budget for policy in block.policies)


def test_a_guest_without_chance_is_precise_at_once() -> None:
    replications, block = precise(Precision(relative=0.001), guest=CALM, costs={})
    assert (replications, block.reached) == (1, True)


def test_a_policy_that_adds_nothing_is_precise_enough() -> None:
    replications, block = precise(
        Precision(relative=0.5), policies=["linux-default", "bare-metal"], costs=NOISY
    )
    assert block.reached is True
    assert block.policies[1].hypervisor_time.value == 0
    assert replications >= 10


def test_a_long_run_that_is_repeated_after_all_is_estimated_over_replications() -> None:
    """Its estimates from within were of the first replication alone."""
    replications, block = precise(
        Precision(relative=0.3), replications=1, study="steady-state",
        guest={**CHANCE, "operations": 40},
    )  # fmt: skip
    assert replications >= 10
    for policy in block.policies:
        mean = policy.latency["stall"]["mean"]
        assert (mean.method, mean.n) == ("t", replications)


# The verdict on a pair, and the best of several.


def test_a_pair_says_its_difference_and_what_pairing_was_worth() -> None:
    block = outcome(CHANCE, ["linux-default", "hypercall"], costs=NOISY, replications=20)
    ports, call = block.policies
    pair = call.against_first()
    first, second = ports.samples["added"], call.samples["added"]
    mean = sum(b - a for a, b in zip(first, second, strict=True)) / 20
    assert pair.difference.value == pytest.approx(mean)
    assert pair.difference == call.difference
    assert pair.is_told
    assert pair.more_replications is None
    assert 0 < pair.reduction < math.inf
    itself = ports.against_first()
    assert (itself.difference.value, itself.is_told) == (0, False)
    assert itself.reduction == math.inf


def test_a_pair_of_a_metric_is_told_in_its_unit() -> None:
    call = outcome(CHANCE, ["linux-default", "hypercall"]).policies[1]
    exits = call.against_first("exits").difference
    assert (exits.value, exits.unit, exits.is_exact) == (-100, "1", True)
    assert call.against_first("throughput").difference.unit == "1/s"
    ports = call.against_first("exits.IO_INSTRUCTION").difference  # which only the first has
    assert ports.value == -200


def test_an_undecided_pair_says_about_how_many_more_replications_it_takes() -> None:
    costs = {**NOISY, "decode_mmio": {"kind": "gamma", "mean": "10 ns", "cv": 9}}
    block = outcome(CHANCE, ["hypercall", "mmio-first"], costs=costs, replications=2)
    pair = block.policies[1].against_first()
    assert not pair.is_told
    assert pair.difference.value > 0
    assert pair.more_replications is not None
    assert pair.more_replications > 0
    assert {o.policy.name for o in block.best()} == {"hypercall", "mmio-first"}


def test_the_best_by_chance_are_all_that_none_is_told_to_beat() -> None:
    names = ["linux-default", "hypercall", "mmio-first", "read-only-pages"]
    block = outcome({**CHANCE, "read_share": 1}, names, costs=NOISY, replications=20)
    assert [o.policy.name for o in block.best()] == ["read-only-pages"]
    pair = outcome(CHANCE, ["hypercall", "mmio-first"], replications=5)
    assert {o.policy.name for o in pair.best()} == {"hypercall", "mmio-first"}  # alike


def test_of_throughput_the_most_is_the_best() -> None:
    for guest in (CALM, CHANCE):
        block = outcome(guest, ["linux-default", "hypercall"], replications=10)
        for metric in ("added", "completion", "throughput", "stall.p99"):
            assert [o.policy.name for o in block.best(metric)] == ["hypercall"], metric


def test_there_is_no_best_by_what_is_no_metric() -> None:
    with pytest.raises(InputError, match="'aded' is no metric of this study; did you mean 'added'"):
        outcome(CALM).best("aded")


def test_what_a_policy_does_not_have_is_nothing_or_not_a_number() -> None:
    ports = outcome(CALM).policies[0]
    assert ports.estimate("exits.HLT").value == 0
    assert ports.estimate("stage.nowhere").value == 0
    assert math.isnan(ports.estimate("cpus.utilisation").value)
