"""A selection chooses the best as often as stated, and stops soon where one is far better."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmexit_sim.errors import InputError
from vmexit_sim.statistics import Selection

NAMES = ["a", "b", "c", "d", "e"]


def select(rng: np.random.Generator, means: np.ndarray, common: float, confidence: float) -> str:
    """The name chosen: normal results of variance 1, of which a share is common to all."""
    selection = Selection(NAMES[: len(means)], 1.0, confidence, larger_is_better=True)
    scale = 3.0
    while not selection.decided:
        shared = rng.normal() * math.sqrt(common)
        own = rng.normal(size=len(means)) * math.sqrt(1 - common)
        values = means + scale * (shared + own)
        selection.add(dict(zip(NAMES, values.tolist(), strict=False)))
        assert selection.replications < 5000
    return selection.best


@pytest.mark.parametrize(
    ("k", "common", "confidence"), [(2, 0.0, 0.9), (2, 0.5, 0.95), (5, 0.0, 0.9), (5, 0.8, 0.95)]
)
def test_the_best_by_just_the_indifference_is_chosen_as_often_as_stated(
    k: int, common: float, confidence: float
) -> None:
    rng = np.random.default_rng(k)
    means = np.zeros(k)
    means[-1] = 1.0  # slippage: all others equally worse, by the indifference
    chosen = [select(rng, means, common, confidence) for _ in range(400)]
    share = np.mean([name == NAMES[k - 1] for name in chosen])
    # A procedure of just the stated probability would lie below this in 1 of 1,000 test runs.
    assert share >= confidence - 3.1 * math.sqrt(confidence * (1 - confidence) / 400)


def still_alive(results: np.ndarray, indifference: float, confidence: float) -> set[int]:
    """Who is left of KN++ after results [replication, policy], the smallest being the best.

    Written from Kim and Nelson (2006), section 4: policy i goes if for some l the sum of X_i - X_l
    over r replications is above r W(r), W(r) = max(0, d/(2cr) (h² S²/d² - r)), c = 1,
    h² = 2 eta (r - 1), eta = ((2 error)^(-2/(r - 1)) - 1) / 2; errors are split over k - 1 rivals.
    """
    alive, (_, k) = set(range(results.shape[1])), results.shape
    for r in range(10, len(results) + 1):
        eta = ((2 * (1 - confidence) / (k - 1)) ** (-2 / (r - 1)) - 1) / 2
        gone = set()
        for i in alive:
            for other in alive - {i}:
                of = results[:r, i] - results[:r, other]
                h2_s2 = 2 * eta * (r - 1) * of.var(ddof=1)
                region = max(0, indifference / (2 * r) * (h2_s2 / indifference**2 - r))
                if of.sum() > r * region:
                    gone.add(i)
        alive -= gone
    return alive


@pytest.mark.parametrize(("k", "confidence"), [(2, 0.95), (2, 0.8), (4, 0.9)])
def test_policies_are_dropped_in_the_replication_that_the_published_rule_names(
    k: int, confidence: float
) -> None:
    for seed in range(4):
        results = np.random.default_rng(seed).normal(np.arange(k) / 2, 3.0, (60, k))
        selection = Selection(NAMES[:k], 2.0, confidence)
        for n, row in enumerate(results, 1):
            selection.add(dict(zip(NAMES, row.tolist(), strict=False)))
            alive = still_alive(results[:n], 2.0, confidence)
            assert selection.alive == [NAMES[i] for i in sorted(alive)]
            if selection.decided:
                break


def test_common_draws_save_replications() -> None:
    def replications(common: float) -> float:
        used = []
        for seed in range(30):
            rng, selection = np.random.default_rng(seed), Selection(["a", "b"], 1.0)
            while not selection.decided:
                shared, own = rng.normal() * common, rng.normal(size=2) * (1 - common)
                selection.add({"a": 4 * (shared + own[0]), "b": 1 + 4 * (shared + own[1])})
            used.append(selection.replications)
        return float(np.mean(used))

    assert replications(0.7) < 0.6 * replications(0.0)


def test_one_that_is_far_worse_is_dropped_at_the_first_look() -> None:
    rng = np.random.default_rng(1)
    selection = Selection(["a", "b", "far"], 0.1, first=10)
    for _ in range(10):
        assert selection.alive == ["a", "b", "far"]
        selection.add({"a": rng.normal(), "b": rng.normal(), "far": 1000 + rng.normal()})
    assert selection.alive == ["a", "b"]
    assert not selection.decided
    selection.add({"a": 0.0, "b": 0.0})  # nobody has to run what was dropped
    assert selection.replications == 11


def test_without_chance_the_better_wins_at_the_first_look() -> None:
    selection = Selection(["a", "b", "c"], 1.0, first=3)
    for _ in range(3):
        selection.add({"a": 7.0, "b": 5.0, "c": 5.5})
    assert (selection.decided, selection.best) == (True, "b")


def test_equals_are_decided_for_the_first_of_them() -> None:
    selection = Selection(["a", "b", "c"], 1.0, first=2, larger_is_better=True)
    for value in (1.0, 8.0):
        selection.add({"a": value - 5, "b": value, "c": value})
    assert selection.alive == ["b"]


def test_a_single_policy_needs_no_replication() -> None:
    selection = Selection(["a"], 1.0)
    assert (selection.decided, selection.best, selection.replications) == (True, "a", 0)


@given(st.integers(0, 10**6), st.integers(2, 5), st.integers(-1000, 1000))
def test_what_all_have_in_common_decides_nothing(seed: int, k: int, shift: int) -> None:
    draws = np.random.default_rng(seed).integers(-20, 20, (40, k))
    one, other = (Selection(NAMES[:k], 2.0, first=5) for _ in range(2))
    for i, row in enumerate(draws):
        one.add(dict(zip(NAMES, row.tolist(), strict=False)))
        other.add(dict(zip(NAMES, (row + shift * i).tolist(), strict=False)))
        assert one.alive == other.alive
        assert one.best in one.alive


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"names": []}, "names"), ({"names": ["a", "a"]}, "names"),
        ({"indifference": 0.0}, "indifference: 0.*give more than 0"),
        ({"indifference": math.inf}, "indifference"), ({"confidence": 1.0}, "less than 1"),
        ({"confidence": 0.2}, "give 0.5 or more"), ({"first": 1}, "first.*give 2 or more"),
    ],
)  # fmt: skip
def test_what_cannot_select_is_an_input_error(arguments: dict[str, object], says: str) -> None:
    with pytest.raises(InputError, match=says):
        Selection(**{"names": ["a", "b"], "indifference": 1.0, **arguments})  # type: ignore[arg-type]


@pytest.mark.parametrize("results", [{"a": 1.0}, {"a": 1.0, "b": math.nan}, {"a": 1, "c": 2}])
def test_a_replication_without_a_result_is_an_input_error(results: dict[str, float]) -> None:
    with pytest.raises(InputError, match="b: has no result"):
        Selection(["a", "b"], 1.0).add(results)
