"""Tuning: where theory knows the best batch, the search finds it; fresh draws say how good it is.

An access that waits for a batch of k costs t/k and, with a gap g between accesses, (k - 1) g/2 of
waiting on average: least at k = √(2 t/g). On the platform ideal t is 1 µs; with g = 31.25 ns the
best k is 8.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from vmexit_sim.errors import InputError
from vmexit_sim.study.limit import Limit
from vmexit_sim.study.tuning import Tuning, tune

NS = 1_000
PLACE = "parameters.batched-oracle.max_batch"
GAP = "31.25 ns"
RANDOM = {"kind": "exponential", "mean": GAP}


def scenario(between: object, operations: int, **keys: Any) -> dict[str, Any]:
    guest = {"kind": "spread", "operations": operations, "between": between, "read_share": 0,
             "space": "mmio"}  # fmt: skip
    return {"name": "s", "platform": "ideal", "policies": ["hypercall", "batched-oracle"],
            "blocks": [{"guest": guest}], **keys}  # fmt: skip


def tuned(values: list[Any], between: object = GAP, operations: int = 240, **keys: Any) -> Tuning:
    return tune(scenario(between, operations, replications=8), PLACE, values,
                **{"metric": "burden.mean", **keys})  # fmt: skip


def cost(k: int) -> float:
    """Of an access in a full batch of k, in ps."""
    return 1000 * NS / k + (k - 1) / 2 * 31.25 * NS


def test_without_chance_the_best_value_and_its_cost_are_exact() -> None:
    found = tuned([4, 6, 8, 10, 12])  # all divide 240: every batch is full
    assert {each.value: each.objective.value for each in found.candidates} == {
        k: pytest.approx(cost(k), abs=1) for k in (4, 6, 8, 10, 12)
    }
    assert found.chosen == 8
    assert found.best == [8]
    assert found.objective is not None
    assert found.objective.is_exact
    assert found.fresh_seed == found.seed
    assert not found.at_end


def test_neighbours_and_the_default_are_compared_exactly() -> None:
    rivals = {each.role: each for each in tuned([4, 6, 8, 10, 12]).rivals}
    assert [rivals[role].value for role in ("next below", "next above", "default")] == [6, 10, 32]
    for role, k in (("next below", 6), ("next above", 10)):
        assert rivals[role].difference.value == pytest.approx(cost(k) - cost(8), abs=1)
        assert rivals[role].difference.is_exact
    assert all(each.is_worse for each in rivals.values())


@pytest.fixture(scope="module")
def by_chance() -> Tuning:
    return tuned([1, 50, 3, "log"], RANDOM, 2000, jobs=2)


def test_the_search_looks_closer_around_the_best_of_the_coarse_grid(by_chance: Tuning) -> None:
    values = [each.value for each in by_chance.candidates]
    assert values == sorted(values)
    assert {1, 7, 50} < set(values)
    assert len(values) == 3 + 4 + 4
    assert by_chance.chosen in (7, 8, 9)


def test_fresh_draws_tell_how_good_the_chosen_value_is(by_chance: Tuning) -> None:
    assert by_chance.fresh_seed != by_chance.seed
    searched = next(e for e in by_chance.candidates if e.value == by_chance.chosen)
    assert by_chance.objective is not None
    assert by_chance.objective.value != searched.objective.value
    assert by_chance.objective.value == pytest.approx(cost(by_chance.chosen), rel=0.03)
    assert by_chance.objective.n == by_chance.replications == 8


def test_the_default_is_told_to_be_worse_on_fresh_draws(by_chance: Tuning) -> None:
    default = next(each for each in by_chance.rivals if each.role == "default")
    assert (default.value, default.is_worse) == (32, True)
    assert default.difference.value == pytest.approx(cost(32) - cost(8), rel=0.05)
    assert default.difference.method == "paired t, 3 at once"


def test_the_chosen_value_is_among_those_that_cannot_be_told_from_the_best(
    by_chance: Tuning,
) -> None:
    assert by_chance.chosen in by_chance.best
    assert 1 not in by_chance.best
    assert 50 not in by_chance.best


def test_equal_seeds_give_equal_results_on_any_executor() -> None:
    one = tuned([2, 8, 32], RANDOM, 200)
    with ThreadPoolExecutor(2) as pool:
        assert tuned([2, 8, 32], RANDOM, 200, executor=pool) == one
    other = tuned([2, 8, 32], RANDOM, 200, changes={"seed": 2})
    assert other.objective != one.objective


def test_a_limit_forces_a_smaller_batch() -> None:
    free, bound = (
        tuned([2, 4, 8, 16], limits=limits, metric="burden.mean")
        for limits in ([], ["effect.p99 <= 1.1 us"])
    )
    assert free.chosen == 8
    assert bound.chosen == 4  # the first of k waits (k - 1) gaps, and then an exit
    assert [each.keeps for each in bound.candidates] == [True, True, False, False]
    assert {each.role: each.keeps for each in bound.rivals} == {
        "default": False, "next below": True,
    }  # fmt: skip
    assert bound.limited[0].value == pytest.approx(1000 * NS + 3 * 31.25 * NS, rel=0.001)


def test_where_no_value_keeps_the_limit_none_is_chosen() -> None:
    found = tuned([2, 4], limits=["effect.p99 <= 10 ns"])
    assert (found.chosen, found.objective, found.rivals, found.best) == (None, None, (), [])


def test_an_end_of_the_range_is_told_of() -> None:
    assert tuned([10, 12, 20]).at_end
    assert tuned([10, 12, 20]).chosen == 10


def test_more_of_a_throughput_is_better() -> None:
    found = tuned([1, 4, 8], metric="throughput")
    assert found.larger_is_better
    assert found.chosen == 8
    assert all(r.is_worse is not (r.difference.value > 0) for r in found.rivals)
    assert tuned([1, 4, 8], metric="throughput", larger_is_better=False).chosen == 1


def test_equally_good_values_are_all_named_and_the_smallest_is_chosen() -> None:
    place = "parameters.batched-oracle.max_wait"
    found = tune(scenario(GAP, 240), place, ["1 ms", "1 s"], metric="burden.mean")
    assert found.best == ["1 ms", "1 s"]
    assert found.chosen == "1 ms"


def test_names_can_be_chosen_from_too() -> None:
    found = tune(scenario(GAP, 240), "platform", ["kvm-2013", "kvm-2017"])
    assert found.policy == "hypercall"
    assert found.chosen == "kvm-2017"
    assert next(each for each in found.rivals if each.role == "default").value is None


def test_any_place_of_a_policy_can_be_tuned() -> None:
    place = "parameters.halt-poll-dynamic.idle.host_poll.longest"
    guest = {"kind": "spread", "operations": 50, "between": "1 us", "read_share": 1,
             "space": "mmio", "arrivals": {"kind": "exponential", "mean": "60 us"}}  # fmt: skip
    stated = {"platform": "kvm-2017", "policies": ["halt-poll-dynamic"], "replications": 4,
              "blocks": [{"guest": guest}]}  # fmt: skip
    found = tune(stated, place, ["10 us", "500 us", 3, "log"], metric="response.mean", rounds=0)
    default = next(each for each in found.rivals if each.role == "default")
    assert default.value == "200000000 ps"
    assert len(found.candidates) == 3


@pytest.mark.parametrize(
    ("text", "metric", "at_most", "bound"),
    [
        ("effect.p99 <= 100 us", "effect.p99", True, 1e8),
        ("idle.burnt<=0.2", "idle.burnt", True, 0.2),
        ("stage.to user space >= 1 ns", "stage.to user space", False, 1e3),
    ],
)
def test_a_limit_reads_as_it_is_written(
    text: str, metric: str, at_most: bool, bound: float
) -> None:
    limit = Limit.parse(text)
    assert limit == Limit(metric, at_most, bound)
    assert Limit.parse(str(limit)) == limit


@pytest.mark.parametrize("text", ["", "effect.p99", "effect.p99 <= 3", "exits <= 1 us", "a < 1 us"])
def test_what_is_no_limit_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="is no limit"):
        Limit.parse(text)


@pytest.mark.parametrize(
    "run",
    [
        lambda: tuned([1, 4], metric="burdn.mean"),
        lambda: tuned([1, 4], limits=["burdn.mean <= 1 us"]),
        lambda: tune(scenario(GAP, 24), "parameters.batched-oracle.max_bach", [1, 4]),
        lambda: tune(scenario(GAP, 24), "parameters.other.max_batch", [1, 4]),
    ],
)
def test_what_does_not_fit_is_refused(run: Callable[[], Tuning]) -> None:
    with pytest.raises(InputError):
        run()
