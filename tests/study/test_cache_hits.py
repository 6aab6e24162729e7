"""Hit rates of recorded boots, and that a run has the hits that are counted beforehand."""

from __future__ import annotations

import pytest

from vmexit_sim.device import load_devices
from vmexit_sim.guest.table import Flag
from vmexit_sim.hypervisor.platform import load_platform
from vmexit_sim.opened import Loaded, load_block
from vmexit_sim.policy import load_policy
from vmexit_sim.scenario import Block
from vmexit_sim.study.cache_hits import (
    AS_PUBLISHED,
    EVERYTHING,
    WITH_CAPABILITIES,
    Hits,
    hit_rates,
)
from vmexit_sim.study.simulate import simulate


@pytest.fixture(scope="module")
def scan() -> Loaded:
    stated = {"guest": {"trace": "pci-scan-q35"}, "only": ["pci_config"], "name": "scan"}
    return load_block(Block.model_validate(stated), load_devices())


def test_the_less_is_left_out_the_more_hits(scan: Loaded) -> None:
    rates = [
        hit_rates(scan.table, cache, kernel_only=True)["endpoints"].rate
        for cache in (AS_PUBLISHED, WITH_CAPABILITIES, EVERYTHING)
    ]
    assert rates == sorted(rates)
    assert rates == pytest.approx([0.392, 0.515, 0.688], abs=0.0005)


def test_reads_are_somebodys_and_nobodys_twice(scan: Loaded) -> None:
    rates = hit_rates(scan.table, EVERYTHING, kernel_only=False)
    reads = (~scan.table.write & ~scan.table.has(Flag.INDEX_ONLY)).sum()
    assert sum(each.reads for each in rates.values()) == reads


def test_a_run_of_the_policy_hits_as_often(scan: Loaded) -> None:
    platform = load_platform("kvm-2017")
    run = simulate(load_policy("config-cache"), platform, scan.workloads[scan.main_scale])
    counted = hit_rates(scan.table, AS_PUBLISHED, kernel_only=True)
    assert load_policy("config-cache").rules[0].mechanism == AS_PUBLISHED
    cost = platform.costs.duration("cache_hit").mean_ps
    assert run.stage_times()["cache hit"] == counted["endpoints"].hits * cost


def test_no_reads_hit_no_time() -> None:
    assert Hits(reads=0, hits=0).rate == 0
