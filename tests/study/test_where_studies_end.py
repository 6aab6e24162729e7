"""Studies at the ends of what they can answer: nothing to compare, no chance, nothing found."""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from vmexit_sim.configuration import checked
from vmexit_sim.device import DeviceCatalog
from vmexit_sim.errors import InputError
from vmexit_sim.guest.table import Agent, make_table
from vmexit_sim.measure.records import RunResult
from vmexit_sim.opened import Opened, open_scenario
from vmexit_sim.present.best_policy_tables import best_policy_report, sentences
from vmexit_sim.present.text import time_text
from vmexit_sim.scenario import Scenario
from vmexit_sim.statistics import Estimate
from vmexit_sim.study.best_policy import choose_best
from vmexit_sim.study.closed_form import expected, roots_of
from vmexit_sim.study.compare import compare
from vmexit_sim.study.contest import stretch
from vmexit_sim.study.crossover import crossover
from vmexit_sim.study.decision_map import _best, decision_map
from vmexit_sim.study.each_run import each_run
from vmexit_sim.study.input_uncertainty import InputUncertainty, input_uncertainty
from vmexit_sim.study.over_time import basis_of, over_time
from vmexit_sim.study.plausible import Plausible
from vmexit_sim.study.spacing import ranged, spacing
from vmexit_sim.study.stated import Stated
from vmexit_sim.study.sweep import Factor
from vmexit_sim.study.sweep.factor import Quantity, Range
from vmexit_sim.study.template import template
from vmexit_sim.study.threshold import threshold
from vmexit_sim.study.tuning import Tuning, tune

US = 1_000_000
CALM = {"kind": "spread", "operations": 40, "between": "1 us", "read_share": 1, "space": "mmio"}
CHANCE = {**CALM, "read_share": 0.5, "emulate": {"kind": "exponential", "mean": "1 us"}}


def data(guest: dict[str, Any], **keys: Any) -> dict[str, Any]:
    return {"name": "s", "platform": "ideal", "policies": ["linux-default", "hypercall"],
            "blocks": [{"guest": guest, "name": "b"}], **keys}  # fmt: skip


def opened(guest: dict[str, Any], **keys: Any) -> Opened:
    return open_scenario(checked(Scenario, data(guest, **keys)))


# ----------------------------------------------------------------------------------- thresholds


def varied(base: float = 1000, low: float = 100, high: float = 10_000) -> Plausible:
    ends = Quantity(low, "ps"), Quantity(high, "ps")
    return Plausible(place="costs.to_user", base=Quantity(base, "ps"), mark="A",
                     range=Range(*ends, None, "log", True))  # fmt: skip


def sampled(of: Callable[[float], float], half: float) -> Callable[[float], Estimate]:
    return lambda x: Estimate(of(x), of(x) - half, of(x) + half, 1, "paired t")


def test_a_threshold_of_one_replication_has_no_end_to_its_interval() -> None:
    found = threshold(varied(), sampled(lambda x: x - 3000, math.inf))
    assert found.above is not None
    assert found.above.value == pytest.approx(3000, abs=1)
    assert (found.above.low, found.above.high) == (-math.inf, math.inf)


def test_a_difference_that_is_nothing_where_it_is_looked_at_turns_there() -> None:
    """The way from the base to ten times it is cut into four, as on a logarithmic scale."""
    second = 1000 * 10**0.5
    found = threshold(varied(), sampled(lambda x: 0.0 if x == second else second - x, 0.0))
    assert found.above is not None
    assert found.above.value == second


# ---------------------------------------------------------------------------------- closed forms


def said(guest: dict[str, Any], **keys: Any) -> list[float | None]:
    of = opened({**CALM, "read_share": 0, **guest}, **keys)
    return [expected(of, of.blocks[0], policy, "burden.mean") for policy in of.policies]


def test_a_call_that_does_not_reach_the_guest_has_no_closed_form() -> None:
    of = opened({**CALM, "read_share": 0})
    (block,), call = of.blocks, of.policies[1]
    assert expected(of, block, call, "burden.mean") == US
    early = make_table(2, space=2, agent=[Agent.FIRMWARE, Agent.DRIVER], devices=("nvme",))
    assert call.reach(early) == 0.5, "firmware makes no call"
    assert expected(of, replace(block, table=early), call, "burden.mean") is None


def test_a_device_in_hardware_has_no_closed_form_for_calls() -> None:
    of = opened({**CALM, "read_share": 0})
    stated = {
        "name": "*",
        "location": "hardware",
        "emulate": "0 ns",
        "emulate_source": "for this test",
        "source": "for this test",
    }
    of = replace(of, catalog=checked(DeviceCatalog, {"default": stated}))
    assert expected(of, of.blocks[0], of.policies[1], "burden.mean") is None


def test_the_root_of_what_turns_at_nothing_is_nothing() -> None:
    assert roots_of(lambda x: x or -1.0, [0.0, 1.0], whole=False) == (0.0,)
    (root,) = roots_of(lambda x: x - 2.5, [1.0, 4.0], whole=True) or ()
    assert root == 2.5, "between two whole numbers"


# ------------------------------------------------------------------------------------ uncertainty

CALIBRATED = """
extends = "{base}"
title = "t"
about = "t"

[measurements.whole]
mean = "1 us"
error = "20 ns"
n = 30

[costs.world_switch_out]
value = {value}
mark = "H"
source = "measured for this test"
from = {{ whole = 1.0 }}
"""


def uncertain(folder: Path, guest: dict[str, Any], *, base: str = "ideal", value: str = '"1 us"',
              more: str = "", **keys: Any) -> InputUncertainty:  # fmt: skip
    path = folder / "host.toml"
    path.write_text(CALIBRATED.format(base=base, value=value) + more)
    stated = data(guest, **{"platform": str(path), "policies": ["hypercall"], "replications": 4,
                            **keys})  # fmt: skip
    return input_uncertainty(compare(open_scenario(checked(Scenario, stated))), draws=100)


def half_width(found: InputUncertainty) -> float:
    return found.blocks[0].policies[0].added.half_width


def test_one_replication_of_a_random_guest_says_nothing_of_chance(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="says nothing of what is left to chance; run 2 or more"):
        uncertain(tmp_path, CHANCE, replications=1)


def test_a_cost_that_spreads_is_drawn_with_its_shape(tmp_path: Path) -> None:
    """Its mean is as unsure as a constant's: 40 calls, each by 20 ns."""
    shape = '{ kind = "gamma", mean = "1 us", cv = 0.01 }'
    found = uncertain(tmp_path, CALM, value=shape)
    assert half_width(found) == pytest.approx(1.96 * 20_000 * 40, rel=0.25)


def test_a_nested_platforms_own_costs_are_as_unsure_as_they_are_stated(tmp_path: Path) -> None:
    """Each exit is forwarded once: its error comes on top of the world switch's."""
    nesting = """
    [nesting]
    exits = 0
    user_exits = 0
    exits_source = "assumed for this test"

    [nesting.forward]
    value = "2 us"
    mark = "H"
    source = "measured for this test"
    interval = ["{low} ns", "{high} ns"]

    [nesting.l1_exit]
    value = "1 us"
    mark = "A"
    source = "assumed for this test"
    """
    sure = uncertain(tmp_path, CALM, more=nesting.format(low=2000, high=2000))
    unsure = uncertain(tmp_path, CALM, more=nesting.format(low=1900, high=2100))
    assert "nesting.forward" in unsure.drawn
    assert half_width(unsure) > 1.5 * half_width(sure)
    by_both = math.hypot(1.96 * 20_000, 100_000) * 40
    assert half_width(unsure) == pytest.approx(by_both, rel=0.3)


def test_a_warm_up_is_left_out_of_the_draws_as_it_is_of_the_comparison(tmp_path: Path) -> None:
    asked = {**CALM, "operations": 400}
    whole, steady = (
        uncertain(tmp_path, {**asked, "emulate": {"kind": "exponential", "mean": "1 us"}},
                  study=study).blocks[0].policies[0]
        for study in ("terminating", "steady-state")
    )  # fmt: skip
    assert abs(steady.added.value / whole.added.value - 1) < 0.2
    assert steady.added.low < steady.added.value < steady.added.high


# --------------------------------------------------------------------------------- each run alone


def test_of_a_steady_state_study_each_run_is_told_behind_its_warm_up() -> None:
    guest = {**CHANCE, "operations": 400, "vcpus": 2}

    def accesses(result: RunResult) -> int:
        return result.summary.accesses

    told: list[str] = []
    steady, whole = (
        opened(guest, study=study, replications=3) for study in ("steady-state", "terminating")
    )
    found = each_run(steady, steady.blocks[0], accesses, progress=told.append)
    cut = compare(steady).blocks[0].cut
    assert cut is not None
    assert found == [(name, [2 * (400 - cut.accesses)] * 3) for name in steady.scenario.policies]
    assert told[:2] == ["b: warm-up of linux-default", "b: warm-up of hypercall"]
    assert each_run(whole, whole.blocks[0], accesses)[0] == ("linux-default", [800] * 3)


# ------------------------------------------------------------------------------------ the best one


def test_a_policy_that_needs_ecam_takes_no_part_where_the_guest_has_none() -> None:
    scan = {"guest": {"trace": "boot-pc"}, "only": ["pci_config"]}
    stated = {"name": "s", "platform": "ideal", "blocks": [scan]}
    found = choose_best(stated, policies=("linux-default", "mmio-first", "hypercall"))
    assert found.left_out == {"mmio-first": "needs ECAM, which this guest does not have"}
    assert found.best == "hypercall"
    said = list(sentences(found))
    assert said[0].startswith(f"Best: hypercall, added {time_text(found.standings[0].metric)}.")
    console = Console(width=120, file=io.StringIO())
    console.print(best_policy_report(found))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "nothing is left to chance: exact" in text
    assert "mmio-first takes no part: needs ECAM" in text


def test_a_part_of_nothing_is_no_indifference() -> None:
    with pytest.raises(InputError, match="is a part of nothing: the best mean is 0; give a time"):
        choose_best(data(CHANCE), policies=("linux-default", "hypercall"), metric="idle.asleep",
                    indifference="1%")  # fmt: skip


BORDER: dict[str, Any] = {
    "across": Factor(place="costs.to_user", values=["1 us", "2 us"]),
    "up": Factor(place="costs.to_kernel", values=["1 us", "2 us"]),
}


def test_on_a_map_of_bounds_nobody_wins_and_nothing_is_broken() -> None:
    found = decision_map(data(CALM), policies=["bare-metal", "batched-oracle"], **BORDER)
    assert {cell.winner for cell in found.cells.values()} == {None}
    assert {cell.best for cell in found.cells.values()} == {()}


ALONG = stretch("costs.to_user", "1us", "2us", points=2)


@pytest.mark.parametrize("pair", [("linux-default", "hypercall"), ("hypercall", "linux-default")])
def test_of_what_only_one_policy_has_the_other_has_none(pair: tuple[str, str]) -> None:
    """Calls are made by one policy only; the other is the better one, whoever comes first."""
    mapped = decision_map(data(CALM), policies=list(pair), metric="exits.VMCALL", **BORDER)
    assert {cell.winner for cell in mapped.cells.values()} == {"linux-default"}
    first, second = pair
    crossed = crossover(data(CALM), first=first, second=second, metric="exits.VMCALL", along=ALONG)
    calls = {"hypercall": 40, "linux-default": 0}
    found = {(m.first.value, m.second.value) for m in crossed.meetings}
    assert found == {(calls[first], calls[second])}


def test_a_metric_that_no_policy_has_is_refused() -> None:
    pair = ("linux-default", "hypercall")
    with pytest.raises(InputError, match="is no metric of this study"):
        decision_map(data(CALM), policies=list(pair), metric="exits.NONE", **BORDER)
    with pytest.raises(InputError, match="is no metric of this study"):
        crossover(data(CALM), first=pair[0], second=pair[1], metric="exits.NONE", along=ALONG)


def test_where_a_metric_has_no_value_there_is_no_winner() -> None:
    """In one replication none of the accesses had an effect."""
    (block,) = compare(opened(CHANCE, replications=2)).blocks
    first = block.policies[0]
    samples = {**first.samples, "effect.mean": [2e6, math.nan]}
    tampered = replace(block, policies=[replace(first, samples=samples), *block.policies[1:]])
    with pytest.raises(InputError, match=r"effect\.mean.*'b' has no value"):
        list(_best(tampered, "effect.mean", 0.95))
    assert list(_best(tampered, "added", 0.95)) == list(_best(block, "added", 0.95))


# -------------------------------------------------------------------------------- along one factor


def stated(guest: dict[str, Any], **keys: Any) -> Stated:
    return Stated(data=data(guest, **keys), path=None, elsewhere={})


def test_curves_of_what_is_not_random_are_exact() -> None:
    place = "costs.dispatch_hypercall"
    along = stretch(place, "100ns", "3us", points=3)
    policies = ["linux-default", "hypercall", "mmio-first"]
    found = spacing(stated(CALM, policies=policies), metric="added", along=along)
    assert found.basis == f"added along {place}, b; exact"
    calls = found.of("hypercall")
    assert all(each.value == 40 * (US + at) for at, each in calls.items())
    assert set(found.of("linux-default")) == set(calls)
    assert {each.value for each in found.of("mmio-first").values()} == {40 * US}


def test_a_range_around_nothing_has_to_be_stated() -> None:
    with pytest.raises(InputError, match="no value that a range could lie around; say where"):
        ranged(stated({**CALM, "between": "0 ns"}), None, "blocks.0.guest.between")


def test_a_single_run_over_time_says_its_basis_once() -> None:
    asked = opened(CALM)
    runs = [over_time(asked, asked.blocks[0], policy) for policy in asked.policies]
    assert basis_of(runs[:1]) == runs[0].basis
    assert basis_of(runs) == f"linux-default: {runs[0].basis} | hypercall: {runs[1].basis}"


# --------------------------------------------------------------------------------------- templates


def test_what_stands_at_a_place_is_read_where_it_is_effective() -> None:
    made = template(data(CALM, platform="kvm-nested-2017"), policies=["batched-full"])
    value = made.value("costs.to_user")
    assert value is not None
    assert value.number == pytest.approx(1935 / 3.5e9 * 1e12, abs=1)
    assert made.value("nesting.forward").number == pytest.approx(10_827 / 3.5e9 * 1e12, abs=1)  # type: ignore[union-attr]
    assert made.value("costs.no_such_cost") is None
    metrics = template(data(CALM, blocks=[{"guest": CALM, "think_scales": [0.5, 1]}]),
                       metrics=["completion@0.5"])  # fmt: skip
    assert list(metrics.opened().blocks[0].workloads) == [0.5, 1]


def test_costs_of_nesting_belong_to_nested_platforms() -> None:
    with pytest.raises(InputError, match="is for nested platforms, and ideal is none"):
        template(data(CALM)).opened({"nesting.forward": "1 us"})


@pytest.mark.parametrize(("wanted", "number"), [("first", 0), ("sec", 1), (1, 1), ("1", 1)])
def test_a_guest_is_named_by_a_part_of_its_name_or_its_number(
    wanted: str | int, number: int
) -> None:
    blocks = [{"guest": CALM, "name": name} for name in ("first guest", "second guest")]
    assert template(data(CALM, blocks=blocks), block=wanted).block == number
    for wrong in (2, "2", "guest", ""):
        with pytest.raises(InputError, match="is no guest"):
            template(data(CALM, blocks=blocks), block=wrong)


# ------------------------------------------------------------------------------------------ tuning

PLACE = "parameters.batched-full.max_batch"


def test_a_range_without_steps_is_searched_on_a_grid_of_its_own() -> None:
    found = tune(data({**CALM, "read_share": 0, "operations": 64}, policies=["batched-full"]),
                 PLACE, [1, 16, "log"], metric="burden.mean", rounds=0)  # fmt: skip
    values = [each.value for each in found.candidates]
    assert (values[0], values[-1]) == (1, 16)
    assert values == sorted(set(values))
    assert len(values) > 4


def test_of_one_replication_the_better_one_is_named_and_no_more_is_said() -> None:
    found = tune(data({**CHANCE, "read_share": 0}, policies=["batched-full"]), PLACE, [1, 4],
                 metric="burden.mean", replications=1, rounds=0)  # fmt: skip
    means = {each.value: each.objective.value for each in found.candidates}
    assert found.chosen == min(means, key=means.__getitem__)
    assert all(not math.isfinite(each.objective.half_width) for each in found.candidates)


def best_batch(values: list[Any], **keys: Any) -> Tuning:
    """Of k accesses, each 125 ns after the one before: a call's 1 us / k, and (k - 1)/2 waits."""
    guest = {**CALM, "between": "125 ns", "read_share": 0, "operations": 420}
    return tune(data(guest, policies=["batched-full"]), PLACE, values, metric="burden.mean", **keys)


@pytest.mark.parametrize("values", [[3, 15, 3, "linear"], [1, 5, 3, "linear"], [1, 9, 3, "linear"]])
def test_the_best_value_is_looked_for_on_both_sides_and_at_an_end_of_the_range(
    values: list[Any],
) -> None:
    """By theory k = 4; the coarse grid's best lies at its low end, within it, or beside the end."""
    found = best_batch(values)
    costs = {k: 1e6 / k + (k - 1) / 2 * 125_000 for k in (3, 4, 5)}
    assert min(costs, key=costs.__getitem__) == 4
    coarse = set(range(values[0], values[1] + 1, (values[1] - values[0]) // 2))
    tried = {each.value for each in found.candidates}
    assert coarse < tried
    assert found.chosen == 4
    assert found.objective is not None
    assert found.objective.value == pytest.approx(costs[4], abs=1)


def test_where_no_value_keeps_the_limit_nothing_is_looked_at_closer() -> None:
    found = best_batch([1, 5, 3, "linear"], limits=["stall.mean <= 1 ns"])
    assert found.chosen is None
    assert [each.value for each in found.candidates] == [1, 3, 5]
