"""The best policy: exact where nothing is random, with a stated probability where something is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from vmexit_sim.errors import InputError
from vmexit_sim.study.best_policy import BestPolicy, choose_best

US = 1_000_000
CALM = {"kind": "spread", "operations": 4, "accesses_per_operation": 5, "between": "1 us",
        "read_share": 1, "space": "pci_config"}  # fmt: skip
CHANCE = {**CALM, "read_share": 0.5, "operations": 10}
POLICIES = ("linux-default", "mmio-first", "hypercall", "bare-metal")


def chosen(guest: dict[str, Any], policies: tuple[str, ...] = POLICIES, **keys: Any) -> BestPolicy:
    stated = {"name": "s", "platform": "ideal", "blocks": [{"guest": guest}],
              **keys.pop("scenario", {})}  # fmt: skip
    return choose_best(stated, policies=policies, **{"engine": "simpy", **keys})


def test_without_chance_one_replication_decides() -> None:
    found = chosen(CALM, ("linux-default", "read-only-pages", "hypercall"))
    assert (found.best, found.decided, found.equals) == ("read-only-pages", True, ())
    assert [each.policy for each in found.standings] == [
        "read-only-pages", "hypercall", "linux-default",
    ]  # fmt: skip
    assert [each.metric.value / US for each in found.standings] == [0, 20, 40]
    assert all(each.metric.is_exact for each in found.standings)
    assert (found.replications, found.runs) == (1, 3)


def test_equally_good_policies_are_named() -> None:
    found = chosen(CALM, ("linux-default", "mmio-first", "hypercall"))
    assert {found.best, *found.equals} == {"mmio-first", "hypercall"}


def test_the_better_by_more_than_the_indifference_is_chosen() -> None:
    found = chosen(CHANCE, ("linux-default", "read-only-pages", "hypercall"), indifference="1 us")
    assert (found.best, found.decided) == ("read-only-pages", True)
    assert found.left == ["read-only-pages"]
    assert found.confidence == 0.95


def test_the_order_of_the_policies_changes_nothing() -> None:
    for metric in ("added", "effect.mean"):
        one, other = (
            chosen(CHANCE, order, metric=metric, indifference="1 us")
            for order in (POLICIES, ("hypercall", "linux-default", "bare-metal", "mmio-first"))
        )
        assert one == other


def test_a_policy_told_to_be_worse_is_run_no_further() -> None:
    costs = {"refresh_page": "1 us", "world_switch_in": {"kind": "exponential", "mean": "1 us"}}
    found = chosen(CHANCE, ("linux-default", "read-only-pages", "hypercall"),
                   scenario={"costs": costs}, indifference="100 ns", budget=60)  # fmt: skip
    ran = {each.policy: each.metric.n for each in found.standings}
    assert ran["linux-default"] < found.replications
    assert sum(ran.values()) == found.runs < 3 * found.replications


def test_a_budget_that_is_spent_decides_nothing() -> None:
    costs = {"refresh_page": "1 us", "world_switch_in": {"kind": "exponential", "mean": "1 us"}}
    found = chosen(CHANCE, ("read-only-pages", "hypercall"), scenario={"costs": costs},
                   indifference="1 ns", budget=12)  # fmt: skip
    assert not found.decided
    assert sorted(found.left) == ["hypercall", "read-only-pages"]
    assert found.replications == 12
    assert found.best == found.standings[0].policy


def test_bounds_and_policies_that_wait_otherwise_take_no_part() -> None:
    found = chosen(CALM, ("linux-default", "hypercall", "bare-metal", "halt-poll-never"))
    assert set(found.left_out) == {"bare-metal", "halt-poll-never"}
    assert "bound" in found.left_out["bare-metal"]
    assert "waits otherwise" in found.left_out["halt-poll-never"]


def test_more_of_a_throughput_is_better() -> None:
    assert chosen(CALM, metric="throughput").best == "hypercall"
    assert chosen(CALM, metric="throughput", larger_is_better=False).best == "linux-default"


def test_an_indifference_may_be_a_part_of_the_best_mean() -> None:
    found = chosen(CHANCE, ("linux-default", "hypercall"), indifference="10%")
    assert found.indifference == pytest.approx(0.1 * 50 * US)
    exits = chosen(CHANCE, ("linux-default", "hypercall"), indifference=2.0, metric="exits")
    assert (exits.best, exits.indifference) == ("hypercall", 2.0)


def test_a_steady_state_is_compared_behind_its_warm_up() -> None:
    guest = {**CHANCE, "operations": 100, "emulate": {"kind": "exponential", "mean": "1 us"}}
    found = chosen(guest, ("linux-default", "hypercall"), scenario={"study": "steady-state"},
                   metric="stall.mean", indifference="100 ns", engine="auto")  # fmt: skip
    assert (found.best, found.decided) == ("hypercall", True)


def test_files_of_one_name_are_told_apart(tmp_path: Path) -> None:
    paths = []
    for folder, how in (("a", "hypercall"), ("b", "read_only_page")):
        (tmp_path / folder).mkdir()
        paths.append(tmp_path / folder / "p.toml")
        paths[-1].write_text(f'title = "t"\n[[rules]]\nside = "host"\nmechanism = "{how}"\n')
    found = chosen(CALM, (str(paths[0]), str(paths[1])))
    assert found.best == str(paths[1])


def test_threads_change_no_number() -> None:
    assert chosen(CHANCE, jobs=2, engine="auto") == chosen(CHANCE)


@pytest.mark.parametrize(
    ("keys", "match"),
    [
        ({"policies": ("hypercall", "bare-metal")}, "fewer than two"),
        ({"indifference": "soon"}, "no indifference"),
        ({"indifference": "1 us", "metric": "exits"}, "exits is none"),
        ({"indifference": 0.0}, "not an indifference"),
        ({"budget": 5}, "budget"),
        ({"metric": "aded"}, "did you mean 'added'"),
        ({"first": 1}, "too few"),
    ],
)
def test_what_does_not_fit_is_refused(keys: dict[str, Any], match: str) -> None:
    with pytest.raises(InputError, match=match):
        chosen(CHANCE, **keys)
