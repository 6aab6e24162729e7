"""Who passes whom on another host, and by which stage."""

from __future__ import annotations

from typing import Any

from vmexit_sim.configuration import checked
from vmexit_sim.opened import open_scenario
from vmexit_sim.scenario import Scenario, find_scenario
from vmexit_sim.study.compare import compare
from vmexit_sim.study.outcome import BlockOutcome
from vmexit_sim.study.ranking import Swap, ranked, swaps


def on_host(policies: list[str], **costs: str) -> BlockOutcome:
    """Config reads of a function, on the ideal host with these costs."""
    guest = {"kind": "spread", "operations": 10, "between": "1 us", "space": "pci_config",
             "read_share": 1.0}  # fmt: skip
    stated: dict[str, Any] = {"platform": "ideal", "policies": policies, "costs": costs,
                              "blocks": [{"guest": guest}]}  # fmt: skip
    return compare(open_scenario(checked(Scenario, stated))).blocks[0]


def names(block: BlockOutcome) -> list[str]:
    return [outcome.policy.name for outcome in ranked(block)]


def test_the_stage_that_grew_is_why_two_policies_change_places() -> None:
    # Ports: two exits of 1 us. Memory: one exit, and decoding, 0.5 us here and 3 us there.
    policies = ["linux-default", "mmio-first"]
    here, there = (on_host(policies, decode_mmio=cost) for cost in ("500 ns", "3 us"))
    assert names(here) == ["mmio-first", "linux-default"]
    assert names(there) == ["linux-default", "mmio-first"]
    assert list(swaps(here, there)) == [
        Swap(gains="linux-default", loses="mmio-first", stage="decode")
    ]
    assert list(swaps(there, here)) == [
        Swap(gains="mmio-first", loses="linux-default", stage="decode")
    ]


def test_on_the_same_host_nobody_passes_anybody() -> None:
    here = on_host(["linux-default", "mmio-first", "read-only-pages", "xen-front-end"])
    assert not list(swaps(here, here))


def test_bounds_and_policies_that_reach_nothing_have_no_rank() -> None:
    assert names(on_host(["linux-default", "bare-metal", "batched-oracle"])) == ["linux-default"]


def test_batching_more_never_costs_more_on_the_recorded_jobs() -> None:
    scenario, path = find_scenario("start-up-and-job")
    blocks = compare(open_scenario(scenario, path)).blocks
    assert len(blocks) == 8
    for block in blocks:
        time = {o.policy.name: o.hypervisor_time.value for o in block.policies}
        assert time["batched-oracle"] <= time["batched-idioms"] <= time["batched-recorded"]
