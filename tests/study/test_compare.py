"""Comparing policies: exact where nothing is random, paired where something is."""

from __future__ import annotations

from typing import Any

import pytest

from vmexit_sim.configuration import checked
from vmexit_sim.scenario import Scenario, open_scenario
from vmexit_sim.study.compare import BlockOutcome, compare

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
    assert outcome(CHANCE).policies[1].difference.method == "paired t"


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
