"""What a cost means for a verdict: how often it is paid, and where it turns the verdict."""

from __future__ import annotations

import pytest

from vmexit_sim.study.sensitivity import STEP, Sensitivity, sensitivity
from vmexit_sim.study.template import template

GUEST = {"kind": "spread", "operations": 100, "between": "1 us", "read_share": 1,
         "space": "mmio"}  # fmt: skip
SCENARIO = {"platform": "kvm-2017", "blocks": [{"guest": GUEST}]}
PAIR = ("linux-default", "hypercall")


def found(*only: str, **keys: object) -> Sensitivity:
    return sensitivity(template({**SCENARIO, **keys}, policies=PAIR), PAIR, only=only)


def test_a_cost_weighs_as_often_as_one_policy_pays_it_more_than_the_other() -> None:
    weights = {weight.cost: weight for weight in found().weights}
    decode = weights["decode_mmio"]
    assert decode.change == -100 * decode.step  # each of 100 reads; a call decodes nothing
    assert decode.step == pytest.approx(STEP * 1908 / 3.5e9 * 1e12, abs=1)
    assert weights["dispatch_hypercall"].change == 100 * weights["dispatch_hypercall"].step
    assert weights["world_switch_out"].change == 0  # paid alike
    assert weights["thread_wake_up"].change == 0  # paid by neither


def test_a_single_cost_says_where_the_verdict_turns() -> None:
    result = found("dispatch_hypercall", costs={"dispatch_hypercall": "200 ns"})
    (weight,) = result.weights
    assert weight.threshold is not None
    assert weight.threshold.below is None
    assert weight.threshold.above is not None
    turns = 200_000 - result.difference.value / 100  # a dispatch that eats up a call's advantage
    assert weight.threshold.above.value == pytest.approx(turns, abs=2)


def test_where_no_verdict_is_or_nothing_moves_it_no_threshold_is_looked_for() -> None:
    (weight,) = found("world_switch_out").weights
    assert weight.threshold is None
    equal = ("linux-default", "mmio-first")
    same = sensitivity(template(SCENARIO, policies=equal), equal, only=["decode_mmio"])
    assert same.difference.value == 0
    assert same.weights[0].threshold is None
