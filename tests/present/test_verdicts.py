"""What a comparison says in a sentence: who wins, whether that is sure, and what it would take."""

from __future__ import annotations

import math

import pytest
from scipy.stats import t

from vmexit_sim.policy import load_policy
from vmexit_sim.present.verdicts import direction, how_it_was_run, told_apart, untold, verdict
from vmexit_sim.statistics import Estimate, Paired, compare_pair, exact
from vmexit_sim.study.outcome import BlockOutcome, PolicyOutcome
from vmexit_sim.study.steady_state import Cut

US = 1e6


def block(*added: tuple[str, list[float]], **keys: object) -> BlockOutcome:
    """Policies and the times that they add in each replication, the first one the baseline."""
    first = {"added": added[0][1]}
    policies = [
        PolicyOutcome(policy=load_policy(name), reach=1.0, counterfactual=False,
                      samples={"added": times}, baseline=first, stages=(), scales=(1.0,),
                      is_random=len(times) > 1 or "random" in keys, with_cpus=False)
        for name, times in added
    ]  # fmt: skip
    fields = {key: value for key, value in keys.items() if key != "random"}
    return BlockOutcome(name="b", origin="o", accesses=1, policies=policies, **fields)  # type: ignore[arg-type]


def fewest_that_tell(differences: list[float]) -> int:
    """By trying each number, at the mean and the spread of these."""
    n, mean = len(differences), math.fsum(differences) / len(differences)
    spread = math.sqrt(math.fsum((d - mean) ** 2 for d in differences) / (n - 1))
    needed = next(m for m in range(2, 10_000) if t.ppf(0.975, m - 1) * spread < mean * math.sqrt(m))
    return needed - n


SLOW = ("linux-default", [100 * US, 102 * US, 98 * US, 101 * US])


def test_two_that_beat_the_first_and_not_each_other_are_undecided_and_what_would_tell() -> None:
    one, other = [10 * US, 12 * US, 11 * US, 12 * US], [12 * US, 11 * US, 12 * US, 13 * US]
    said = verdict(block(SLOW, ("hypercall", one), ("mmio-first", other)))
    more = fewest_that_tell([b - a for a, b in zip(one, other, strict=True)])
    assert more > 0
    assert said.startswith("Undecided between hypercall and mmio-first, about 11")
    assert said.endswith(f"; about {more:,} more replications would tell.")


def test_where_no_number_of_replications_would_tell_none_is_named() -> None:
    one, other = [10 * US, 12 * US, 11 * US, 13 * US], [12 * US, 10 * US, 13 * US, 11 * US]
    said = verdict(block(SLOW, ("hypercall", one), ("mmio-first", other)))
    assert said.startswith("Undecided between hypercall and mmio-first")
    assert "replications" not in said


def test_one_replication_of_a_random_guest_asks_for_more() -> None:
    said = verdict(block(("linux-default", [9 * US]), ("hypercall", [8 * US]), random=True))
    assert said == (
        "Undecided between linux-default and hypercall; one replication tells nothing apart: run "
        "more (--reps)."
    )


def test_a_first_policy_that_adds_nothing_is_a_bound_and_no_ratio_is_taken_to_it() -> None:
    said = verdict(block(("bare-metal", [0.0]), ("hypercall", [3 * US]), ("mmio-first", [5 * US])))
    assert said == "hypercall adds least: 3 µs; bare-metal adds 0."


def pair(value: float, half: float, n: int = 10) -> Paired:
    difference = Estimate(value, value - half, value + half, n, "paired t")
    return Paired(first="a", second="b", difference=difference, reduction=2.0)


def test_a_told_difference_names_who_is_better_and_an_untold_one_what_it_takes() -> None:
    assert told_apart(pair(5 * US, US)) == "a less by 5.0 ± 1.0 µs (95 %, 10 reps)"
    assert told_apart(pair(-5 * US, US)) == "b less by 5.0 ± 1.0 µs (95 %, 10 reps)"
    differences = [1.0, 5.0, -2.0, 4.0, 3.0, -1.0]
    more = fewest_that_tell(differences)
    found = compare_pair([0.0] * 6, differences)
    assert not found.is_told
    expected = f"cannot tell apart; about {more} more replications would"
    assert [told_apart(found), direction(found), untold(found)] == [expected] * 3


@pytest.mark.parametrize("value", [0.0, 1e-6 * US])
def test_what_nobody_would_run_is_not_proposed(value: float) -> None:
    """No difference shows, or one of a millionth of its spread: 10 to the 12 replications."""
    assert untold(pair(value, US)) == "cannot tell apart"


def test_an_exact_difference_of_nothing_is_equality() -> None:
    equal = Paired(first="a", second="b", difference=exact(0.0), reduction=math.nan)
    assert told_apart(equal) == "equal"


@pytest.mark.parametrize("too_short", [False, True])
def test_a_run_whose_warm_up_may_not_be_over_is_told_to_be_too_short(too_short: bool) -> None:
    made = block(SLOW, cut=Cut(accesses=1200, too_short=too_short))
    lines = list(how_it_was_run(made))
    assert lines[0] == "warm-up: the first 1,200 accesses of each vCPU left out"
    assert lines[1:] == [
        "the run is too short: it gives no sign that its warm-up is over; make it longer"
    ] * too_short  # fmt: skip
