"""Statements on several policies hold together."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmexit_sim.errors import InputError
from vmexit_sim.statistics import against, best_set, paired_difference

SAMPLES = st.integers(2, 8).flatmap(
    lambda n: st.lists(
        st.lists(st.integers(0, 1000), min_size=n, max_size=n), min_size=1, max_size=6
    )
)


def named(samples: list[list[int]]) -> dict[str, list[float]]:
    return {f"p{i}": [float(value) for value in sample] for i, sample in enumerate(samples)}


def test_three_intervals_share_the_error_of_one() -> None:
    rng = np.random.default_rng(1)
    first, *others = rng.normal(size=(4, 12)).tolist()
    found = against(first, dict(zip("abc", others, strict=True)))
    for name, other in zip("abc", others, strict=True):
        alone = paired_difference(first, other, confidence=1 - 0.05 / 3)
        assert (found[name].low, found[name].high) == (alone.low, alone.high)
        assert (found[name].confidence, found[name].method) == (0.95, "paired t, 3 at once")


def test_one_against_one_is_a_pair() -> None:
    first, other = [1.0, 2.0, 4.0], [2.0, 5.0, 3.0]
    assert against(first, {"b": other}) == {"b": paired_difference(first, other)}
    assert against(first, {}) == {}


def test_intervals_hold_together_as_often_as_stated() -> None:
    rng = np.random.default_rng(2)
    hits = 0
    for _ in range(600):
        common = rng.normal(size=15)
        first = common + rng.normal(size=15)
        others = {str(i): (common + i + rng.normal(size=15)).tolist() for i in range(5)}
        hits += all(e.holds(float(i)) for i, e in against(first.tolist(), others).items())
    assert 0.93 < hits / 600 < 0.99


@given(SAMPLES, st.booleans(), st.randoms())
def test_the_best_mean_leads_the_set_whatever_the_order(
    samples: list[list[int]], larger: bool, random: object
) -> None:
    policies = named(samples)
    found = best_set(policies, larger_is_better=larger)
    means = {name: float(np.mean(sample)) for name, sample in policies.items()}
    assert means[found[0]] == (max if larger else min)(means.values())
    names = list(policies)
    random.shuffle(names)  # type: ignore[attr-defined]
    shuffled = best_set({name: policies[name] for name in names}, larger_is_better=larger)
    assert set(shuffled) == set(found)


@given(SAMPLES)
def test_the_smallest_is_the_largest_of_the_mirror_image(samples: list[list[int]]) -> None:
    policies = named(samples)
    mirrored = {name: [-value for value in sample] for name, sample in policies.items()}
    assert best_set(policies) == best_set(mirrored, larger_is_better=True)


@given(SAMPLES)
def test_more_confidence_leaves_no_fewer(samples: list[list[int]]) -> None:
    policies = named(samples)
    assert set(best_set(policies, 0.8)) <= set(best_set(policies, 0.99))


def test_who_is_told_to_be_worse_is_left_out() -> None:
    common = np.array([10.0, 50.0, 90.0, 20.0, 70.0])
    near = common + np.array([1, -1, 1, -1, 0.5])
    samples = {"worse": (common + 5).tolist(), "good": common.tolist(), "as good": near.tolist()}
    assert best_set(samples) == ["good", "as good"]
    assert best_set(samples, larger_is_better=True) == ["worse"]


def test_a_difference_without_spread_is_told_however_small() -> None:
    assert best_set({"a": [1.0, 2.0, 3.0], "b": [1.25, 2.25, 3.25]}) == ["a"]


def test_one_replication_leaves_all() -> None:
    assert best_set({"a": [1.0], "b": [9.0]}) == ["a", "b"]
    assert best_set({"a": [1.0]}) == ["a"]
    assert best_set({}) == []


def test_the_best_is_in_the_set_as_often_as_stated() -> None:
    # All equally good: the case in which the best is left out most easily; correlated draws.
    rng = np.random.default_rng(3)
    hits = 0
    for _ in range(500):
        draws = rng.normal(size=10) + rng.normal(size=(4, 10))
        hits += "p0" in best_set({f"p{i}": row.tolist() for i, row in enumerate(draws)}, 0.9)
    assert hits / 500 > 0.88


def test_policies_of_different_replications_are_an_input_error() -> None:
    with pytest.raises(InputError):
        against([1.0, 2.0], {"a": [1.0]})
    with pytest.raises(InputError):
        best_set({"a": [1.0, 2.0], "b": [1.0]})
