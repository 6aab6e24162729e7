"""On a recorded boot, every policy accounts for every picosecond of every access."""

from __future__ import annotations

import numpy as np
import pytest

from vmexit_sim import catalog
from vmexit_sim.configuration import checked
from vmexit_sim.device import load_devices
from vmexit_sim.hypervisor.platform import load_platform
from vmexit_sim.opened import Loaded, load_block
from vmexit_sim.policy import load_policy
from vmexit_sim.scenario import Block
from vmexit_sim.steps import Role
from vmexit_sim.study.simulate import simulate


@pytest.fixture(scope="module")
def boot() -> Loaded:
    block = {"guest": {"trace": "boot-q35"}, "timers": True, "think_scales": [0.1]}
    return load_block(checked(Block, block), load_devices())


@pytest.mark.parametrize("name", catalog.names("policies"))
def test_stages_sum_to_the_stall_of_every_access_of_a_boot(name: str, boot: Loaded) -> None:
    workload = boot.workloads[0.1]
    platform = load_platform("kvm-2013")
    result = simulate(load_policy(name), platform, workload, keep_rows=True)
    rows = result.to_columns()
    assert len(rows["stall"]) == len(boot.table) > 90_000
    stages = {stage.name: rows[f"stage: {stage.name}"] for stage in result.summary.stages}
    front = [stages[stage.name] for stage in result.summary.stages if stage.is_front]
    assert np.array_equal(np.sum(front, axis=0), rows["stall"])
    assert rows["exits"].sum() == sum(tally.samples for tally in result.exits)
    assert (rows["done"] >= rows["due"]).all()
    assert (rows["start"] >= rows["due"]).all()
    posted = rows["posted"] >= 0
    back = [stages[stage.name] for stage in result.summary.stages if stage.role is Role.BACK]
    waited = np.sum([*back, 0 * rows["done"]], axis=0)
    assert np.array_equal((rows["done"] - rows["posted"])[posted], waited[posted])
