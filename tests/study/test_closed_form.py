"""Closed forms are recognised where they hold, and nowhere else."""

from __future__ import annotations

import math
from typing import Any

import pytest

from vmexit_sim.analytic import effect_break_even, waiting_break_even
from vmexit_sim.opened import Opened, open_scenario
from vmexit_sim.scenario import checked_scenario
from vmexit_sim.study.closed_form import expected, roots_of
from vmexit_sim.study.compare import compare

GAP = {"kind": "exponential", "mean": "2 us"}
GUEST = {"kind": "spread", "operations": 4000, "between": GAP, "read_share": 0.0, "space": "mmio"}
OPEN = {**GUEST, "between": "0 ps", "arrivals": GAP}


def opened(guest: dict[str, Any], batch: dict[str, Any] | None = None, **changes: Any) -> Opened:
    data = {"platform": "ideal", "policies": ["hypercall", "batched-full"], "replications": 4,
            "parameters": {"batched-full": batch or {}}, "blocks": [{"guest": guest}]}  # fmt: skip
    return open_scenario(checked_scenario({**data, **changes}))


def said(of: Opened, metric: str) -> list[float | None]:
    return [expected(of, of.blocks[0], policy, metric) for policy in of.policies]


@pytest.mark.parametrize("platform", ["ideal", "kvm-2013"])
def test_burdens_are_those_of_the_simulation(platform: str) -> None:
    of = opened({**GUEST, "emulate": "300 ns"}, platform=platform)
    simulated = [o.estimate("burden.mean") for o in compare(of).blocks[0].policies]
    single, batched = said(of, "burden.mean")
    assert single == pytest.approx(simulated[0].value, rel=1e-12)  # nothing of it is random
    assert batched == pytest.approx(simulated[1].value, rel=0.03)
    assert simulated[1].low - 0.01 * simulated[1].value < batched  # type: ignore[operator]


def test_burdens_on_constant_gaps_are_exact() -> None:
    # Gathered every 2 us in fours: 3, 2, 1 and 0 gaps of waiting, and a quarter of an exit.
    of = opened({**GUEST, "between": "2 us"})
    assert said(of, "burden.mean") == [1e6, 0.25e6 + 3e6]
    simulated = [o.estimate("burden.mean").value for o in compare(of).blocks[0].policies]
    assert simulated == [1e6, 3.25e6]


@pytest.mark.parametrize("costs", [
    {}, {"to_user": "200 ns", "to_kernel": "150 ns", "item": "100 ns", "world_switch_in": "50 ns"},
])  # fmt: skip
def test_effects_are_those_of_the_simulation(costs: dict[str, str]) -> None:
    of = opened({**OPEN, "operations": 10_000}, costs=costs)
    simulated = [o.estimate("effect.mean").value for o in compare(of).blocks[0].policies]
    assert said(of, "effect.mean") == pytest.approx(simulated, rel=0.03)


def test_the_parts_of_a_call_make_the_break_even() -> None:
    # Single: 1 + 0.2 + 0.15 + 0.05 = 1.4 us. Of four: 1.4 and four items of 0.1: 1.8, so 0.45 each.
    costs = {
        "to_user": "200 ns",
        "to_kernel": "150 ns",
        "item": "100 ns",
        "world_switch_in": "50 ns",
    }
    rate = waiting_break_even(1.4e6, 0.45e6, 4)
    assert rate is not None
    between = f"{round(1 / rate)} ps"
    one, other = said(opened({**GUEST, "between": between}, costs=costs), "burden.mean")
    assert one == 1.4e6
    assert other == pytest.approx(1.4e6, rel=1e-6)
    # Singles are done after 1.2 us; of a batch items on average after 1.2 and 2.5 items of 0.1.
    rate = effect_break_even(1.4e6, 1.8e6, 4, single_done=1.2e6, batch_done=1.45e6)
    assert rate is not None
    arrivals = {"kind": "exponential", "mean": f"{round(1 / rate)} ps"}
    one, other = said(opened({**OPEN, "arrivals": arrivals}, costs=costs), "effect.mean")
    assert one == pytest.approx(other, rel=1e-4)


def test_saturated_calls_never_come_to_an_end() -> None:
    of = opened({**OPEN, "arrivals": {"kind": "exponential", "mean": "500 ns"}})
    single, batched = said(of, "effect.mean")
    assert single == math.inf
    assert batched is not None
    assert batched < 3e6


@pytest.mark.parametrize(("guest", "batch", "changes"), [
    ({**GUEST, "vcpus": 2}, {}, {}),
    ({**GUEST, "accesses_per_operation": 2}, {}, {}),
    ({**GUEST, "emulate": GAP}, {}, {}),
    (GUEST, {}, {"cpus": 1}),
    (GUEST, {}, {"platform": "kvm-nested-2017"}),
    (GUEST, {}, {"costs": {"world_switch_out": GAP}}),
    (GUEST, {}, {"costs": {"refill": "1 us"}}),
])  # fmt: skip
def test_no_form_where_more_than_calls_and_gaps_is_at_work(
    guest: dict[str, Any], batch: dict[str, Any], changes: dict[str, Any]
) -> None:
    assert said(opened(guest, batch, **changes), "burden.mean") == [None, None]


@pytest.mark.parametrize(("guest", "batch"), [
    (GUEST, {"max_wait": "5 us"}),
    (GUEST, {"flush_at_operation_end": True}),
    ({**GUEST, "read_share": 0.5}, {}),
])  # fmt: skip
def test_no_form_of_batches_that_something_else_sends_off(
    guest: dict[str, Any], batch: dict[str, Any]
) -> None:
    assert said(opened(guest, batch), "burden.mean") == [1e6, None]


def test_an_oracle_needs_no_result_so_its_batches_only_fill() -> None:
    of = opened({**GUEST, "read_share": 0.5}, {"needs": "oracle"})
    assert None not in said(of, "burden.mean")


@pytest.mark.parametrize(("guest", "metric"), [
    (GUEST, "effect.mean"), (OPEN, "burden.mean"), (GUEST, "added"),
    ({**OPEN, "between": "1 us"}, "effect.mean"),
    ({**OPEN, "arrivals": {"kind": "exponential", "mean": "2 us", "shift": "1 us"}}, "effect.mean"),
])  # fmt: skip
def test_no_form_of_another_loop_or_metric(guest: dict[str, Any], metric: str) -> None:
    assert said(opened(guest), metric) == [None, None]


def test_gathering_that_takes_time_makes_no_queue_of_the_books() -> None:
    single, batched = said(opened(OPEN, costs={"gather": "20 ns"}), "effect.mean")
    assert single is not None
    assert batched is None


def test_other_mechanisms_have_no_form() -> None:
    of = opened(GUEST, policies=["linux-default", "batched-oracle"], parameters={})
    assert said(of, "burden.mean")[0] is None


def test_roots_of_what_may_be_infinite() -> None:
    grid = [1.0, 2.0, 4.0, 8.0]
    assert roots_of(lambda x: -math.inf if x < 3 else 1.0, grid, whole=False) == (
        pytest.approx((3.0,))
    )
    assert roots_of(lambda x: x - 5.5, grid, whole=True) == (5.5,)
    assert roots_of(lambda x: x - 5, grid, whole=True) == (5.0,)
    assert roots_of(lambda x: x, grid, whole=False) == ()
    assert roots_of(lambda x: None if x > 5 else 1.0, grid, whole=False) is None
    assert roots_of(lambda x: math.nan if x < 3 else x - 5, grid, whole=False) == (
        pytest.approx((5.0,))
    )
