"""Metrics: what a replication comes to, by hand, and how it is estimated over replications."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from vmexit_sim.configuration import checked
from vmexit_sim.errors import InputError
from vmexit_sim.guest.table import Space, make_table
from vmexit_sim.guest.table_file import save_table
from vmexit_sim.opened import open_scenario
from vmexit_sim.scenario import Scenario
from vmexit_sim.study.metrics import (
    Metrics,
    estimated,
    is_better_larger,
    is_quantile,
    measured,
    refuse_unknown,
    unit_of,
)
from vmexit_sim.study.replication import lowered_for, run_once

US = 1_000_000
CALM = {"kind": "spread", "operations": 4, "accesses_per_operation": 5, "between": "1 us",
        "read_share": 1, "space": "pci_config"}  # fmt: skip


def metrics(policy: str, guest: dict[str, Any] = CALM, **keys: Any) -> Metrics:
    stated = {"platform": "ideal", "policies": [policy], "blocks": [{"guest": guest}], **keys}
    opened = open_scenario(checked(Scenario, stated))
    (block,) = opened.blocks
    lowered = lowered_for(opened, opened.policies[0], block)
    return measured({
        scale: run_once(opened, lowered, block, scale=scale, engine="simpy")
        for scale in block.workloads
    })  # fmt: skip


def test_a_calm_guest_is_worked_out_by_hand() -> None:
    """20 accesses in 4 operations, 1 us before each operation, 1 us for each hypercall."""
    found = metrics("hypercall")
    assert found["accesses"] == found["exits"] == 20
    assert found["added"] == 20 * US
    assert found["completion"] == found["completion@1"] == 24 * US
    assert found["throughput"] == pytest.approx(20 / 24e-6)
    for which in ("stall", "response", "effect"):
        for name in ("mean", "p50", "p99", "p99.9"):
            assert found[f"{which}.{name}"] == pytest.approx(US, rel=5e-4)
            assert found[f"operation.{which}.{name}"] == pytest.approx(5 * US, rel=5e-4)
    assert found["burden.mean"] == found["stall.mean"]
    assert found["stage.guest compute"] == 4 * US
    assert found["idle.asleep"] == found["idle.burnt"] == found["cpus.stolen"] == 0
    assert found["idle.cpu_share"] == 1
    assert "cpus.utilisation" not in found
    assert sum(value for name, value in found.items() if name.startswith("exits.")) == 20


def test_stages_sum_to_what_the_vcpu_spent() -> None:
    for policy in ("linux-default", "hypercall", "batched-oracle", "read-only-pages"):
        found = metrics(policy, platform="kvm-2017")
        back = ("stage.wait in batch", "stage.carried with batch")
        front = [name for name in found if name.startswith("stage.") and name not in back]
        assert sum(found[name] for name in front) == found["completion"]


def test_a_burden_counts_the_wait_in_a_batch_as_well() -> None:
    found = metrics("batched-oracle", platform="kvm-2017")
    assert found["stage.wait in batch"] > 0
    assert found["burden.mean"] == found["stall.mean"] + found["stage.wait in batch"] / 20


def test_a_guest_without_operations_has_no_operation_latency(tmp_path: Path) -> None:
    save_table(make_table(3, space=Space.MMIO), tmp_path / "t.parquet")
    found = metrics("hypercall", {"table": str(tmp_path / "t.parquet")})
    assert found["stall.mean"] > 0
    assert not any(name.startswith("operation.") for name in found)


def test_completion_is_told_for_each_think_scale_and_all_else_for_the_last() -> None:
    found = metrics("hypercall", blocks=[{"guest": CALM, "think_scales": [3.0, 0.5]}])
    assert (found["completion@3"], found["completion@0.5"]) == (32 * US, 22 * US)
    assert found["completion"] == 22 * US
    assert found["stage.guest compute"] == 2 * US


def test_scarce_cpus_are_told_of() -> None:
    found = metrics("hypercall", {**CALM, "vcpus": 3, "operations": 40}, cpus=2, time_slice="1 us")
    assert 0.9 < found["cpus.utilisation"] <= 1
    assert found["cpus.stolen"] > 0


@pytest.mark.parametrize(
    ("metric", "unit"),
    [
        ("added", "ps"), ("exits", "1"), ("exits.MSR_WRITE", "1"), ("accesses", "1"),
        ("completion", "ps"), ("completion@0.1", "ps"), ("throughput", "1/s"),
        ("stall.p99.9", "ps"), ("operation.effect.mean", "ps"), ("stage.to user space", "ps"),
        ("idle.asleep", "ps"), ("idle.burnt", "1"), ("idle.cpu_share", "1"),
        ("cpus.utilisation", "1"), ("cpus.stolen", "ps"),
    ],
)  # fmt: skip
def test_every_metric_has_a_unit(metric: str, unit: str) -> None:
    assert unit_of(metric) == unit
    assert estimated(metric, [1.0, 2.0]).unit == unit


def test_quantiles_are_never_averaged() -> None:
    values = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 90.0]
    for metric in ("stall.p50", "effect.p99.9", "operation.stall.p99"):
        assert is_quantile(metric)
        found = estimated(metric, values)
        assert (found.value, found.method) == (5.0, "order statistics")
    for metric in ("stall.mean", "added", "stage.p50x", "completion@0.99"):
        assert not is_quantile(metric)
        found = estimated(metric, values)
        assert (found.value, found.method) == (14.0, "t")


def test_where_nothing_is_random_a_metric_is_exact() -> None:
    for metric in ("added", "stall.p99"):
        found = estimated(metric, [3.0], is_random=False)
        assert (found.value, found.half_width, found.is_exact) == (3.0, 0.0, True)
    assert not math.isfinite(estimated("added", [3.0]).half_width)


def test_only_of_throughput_more_is_better() -> None:
    assert is_better_larger("throughput")
    assert not any(is_better_larger(m) for m in ("added", "stall.p99", "exits", "completion"))


def test_an_unknown_metric_is_refused_with_the_nearest() -> None:
    known = ["added", "stall.p99", "exits.HLT", "stage.dispatch"]
    refuse_unknown("exits.HLT", known)
    with pytest.raises(InputError, match=r"'stal\.p99' is no metric.*did you mean 'stall\.p99'"):
        refuse_unknown("stal.p99", known)
    with pytest.raises(InputError, match=r"key: 'nothing' is no metric.*known: added, stall\.p99$"):
        refuse_unknown("nothing", known, key="key")
