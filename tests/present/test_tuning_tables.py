"""What a tuning and a selection say to somebody who must decide."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from rich.console import Console

from vmexit_sim.present import best_policy_tables, tuning_tables
from vmexit_sim.statistics import Estimate, exact
from vmexit_sim.study.best_policy import BestPolicy, Standing
from vmexit_sim.study.limit import Limit
from vmexit_sim.study.tuning import Rival, Tuning
from vmexit_sim.study.tuning_search import Candidate

US = 1_000_000


def about(value: float, half: float = 0.1 * US) -> Estimate:
    return Estimate(value, value - half, value + half, 10, "t")


def candidate(value: Any, cost: float, **keys: Any) -> Candidate:
    return Candidate(value=value, **{
        "objective": about(cost), "limited": (about(3 * US),), "keeps": True, "among_best": False,
        **keys,
    })  # fmt: skip


TUNED = Tuning(
    scenario="s", platform="ideal", block="b", policy="p", place="parameters.p.max_wait",
    metric="burden.mean", larger_is_better=False, limits=(Limit("effect.p99", True, 4.0 * US),),
    candidates=(candidate("1000000 ps", 4 * US), candidate("5000000 ps", 2 * US, among_best=True),
                candidate("9000000 ps", 2.1 * US, among_best=True),
                candidate("20000000 ps", 1 * US, keeps=False)),
    chosen="5000000 ps", objective=about(2.2 * US), limited=(about(3 * US),),
    rivals=(Rival(value="20000000 ps", role="default", objective=about(3 * US),
                  difference=about(0.8 * US), is_worse=True, keeps=True),),
    at_end=False, replications=10, seed=1, fresh_seed=99,
)  # fmt: skip
CHOSEN = BestPolicy(
    scenario="s", platform="ideal", block="b", metric="added", best="calls", decided=True,
    equals=(), left_out={"none": "a bound, and no proposal"}, indifference=1.0 * US,
    confidence=0.95, replications=30, runs=40, budget=100, is_random=True, seed=1,
    standings=(Standing(policy="calls", metric=about(2 * US), is_left=True),
               Standing(policy="ports", metric=about(4 * US), is_left=False)),
)  # fmt: skip


def said(found: Tuning) -> str:
    return " ".join(tuning_tables.sentences(found))


def printed(report: Any) -> str:
    console = Console(width=118, highlight=False)
    with console.capture() as got:
        console.print(report)
    return got.get()


def test_the_chosen_value_is_told_with_what_fresh_draws_say_of_it() -> None:
    text = said(TUNED)
    assert "Best: 5 µs, burden.mean 2.20 ± 0.10 µs on draws that did not choose it." in text
    assert "As for 9 µs: not told from it by the search." in text
    assert "The default, 20 µs, is worse: its value differs by 800 ± 100 ns." in text
    assert "effect.p99 <= 4 µs is kept: 3.00 ± 0.10 µs." in text


def test_a_limit_that_fresh_draws_break_or_leave_open_is_told() -> None:
    assert "is NOT kept there" in said(replace(TUNED, limited=(about(5 * US),)))
    unsure = said(replace(TUNED, limited=(about(4 * US),)))
    assert "its interval allows the opposite" in unsure


def test_a_default_that_turns_out_better_is_not_hidden() -> None:
    rival = replace(TUNED.rivals[0], difference=about(-0.8 * US), is_worse=False)
    assert "is BETTER" in said(replace(TUNED, rivals=(rival,)))
    loose = replace(TUNED, rivals=(replace(rival, keeps=False),))
    assert "It breaks a limit." in said(loose)
    unsure = replace(TUNED.rivals[0], difference=about(0), is_worse=None)
    assert "cannot be told from it" in said(replace(TUNED, rivals=(unsure,)))


def test_a_default_that_is_the_chosen_value_is_told_as_such() -> None:
    same = replace(TUNED.rivals[0], value="5 us", difference=about(0, 0), is_worse=None)
    assert "That is the default." in said(replace(TUNED, rivals=(same,)))


def test_the_end_of_the_range_is_warned_of() -> None:
    assert "a better value may lie outside" in said(replace(TUNED, at_end=True))


def test_where_nothing_keeps_the_limits_that_is_the_verdict() -> None:
    none = replace(TUNED, chosen=None, objective=None, limited=(), rivals=())
    assert said(none) == "No value that was tried keeps to effect.p99 <= 4 µs."
    assert "Values tried" in printed(tuning_tables.tuning_report(none))


def test_an_exact_tuning_speaks_of_no_draws() -> None:
    sure = replace(TUNED, fresh_seed=1, objective=exact(2 * US), limited=(exact(3 * US),))
    assert "draws" not in said(sure)
    assert "fresh" not in printed(tuning_tables.tuning_report(sure))


def test_the_reports_show_what_was_tried() -> None:
    text = printed(tuning_tables.tuning_report(TUNED))
    for part in ("1 µs", "breaks a limit", "cannot be told from the best", "On fresh draws"):
        assert part in text
    text = printed(best_policy_tables.best_policy_report(CHOSEN))
    for part in ("calls", "ports", "none takes no part", "30 replications"):
        assert part in text


def test_a_selection_that_is_not_decided_says_so() -> None:
    both = tuple(replace(each, is_left=True) for each in CHOSEN.standings)
    text = " ".join(best_policy_tables.sentences(replace(CHOSEN, decided=False, standings=both)))
    assert text.startswith("NOT decided within 100 replications: calls, ports may still be")
    sure = " ".join(best_policy_tables.sentences(CHOSEN))
    assert "with a probability of 0.95 or more, if it is better than all others by 1 µs" in sure


def test_documents_are_plain_json() -> None:
    tuned = json.loads(json.dumps(tuning_tables.document(TUNED), allow_nan=False))
    assert (tuned["chosen"], tuned["rivals"][0]["is_worse"]) == ("5000000 ps", True)
    chosen = json.loads(json.dumps(best_policy_tables.document(CHOSEN), allow_nan=False))
    assert (chosen["best"], chosen["decided"], chosen["left"]) == ("calls", True, ["calls"])
