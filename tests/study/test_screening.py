"""Screening: on a host where an exit costs 1 µs, influences and thresholds follow by hand."""

from __future__ import annotations

import math
import pickle
import sys
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vmexit_sim.errors import InputError
from vmexit_sim.study.influence import share_of
from vmexit_sim.study.screening import Screening, screen
from vmexit_sim.study.template import Run, sample, template
from vmexit_sim.study.tuning import tune

US = 1_000_000
ACCESSES = 20
GUEST = {"kind": "spread", "operations": 4, "accesses_per_operation": 5, "between": "1 us",
         "read_share": 1, "space": "pci_config"}  # fmt: skip
PORTS, CALL = "linux-default", "hypercall"
QUICK: dict[str, Any] = {"trajectories": 2, "points": 4, "top": 1, "engine": "simpy"}


def scenario(**keys: Any) -> dict[str, Any]:
    return {"name": "s", "platform": "ideal", "policies": [PORTS], "blocks": [{"guest": GUEST}],
            **keys}  # fmt: skip


def screened(first: str = PORTS, second: str = CALL, /, **keys: Any) -> Screening:
    return screen(scenario(), first, second, **{**QUICK, **keys})


@pytest.fixture(scope="module")
def by_hand() -> Screening:
    ranges = {"to_user": ("0 ns", "2 us"), "world_switch_out": ("500 ns", "1500 ns", "linear"),
              "dispatch_hypercall": ("0 ns", "3 us")}  # fmt: skip
    return screened(ranges=ranges, points=20, trajectories=3, top=5)


def test_the_influence_of_a_cost_that_adds_up_is_its_count_times_its_range(
    by_hand: Screening,
) -> None:
    found = {each.name: each for each in by_hand.influences}
    saved = ACCESSES  # two exits by ports, one by a call
    assert found["to_user"].mu_star.value == pytest.approx(saved * 2 * US)
    assert found["world_switch_out"].mu_star.value == pytest.approx(saved * US)
    assert found["dispatch_hypercall"].mu_star.value == pytest.approx(ACCESSES * 3 * US)
    assert found["to_user"].mu == pytest.approx(-saved * 2 * US)
    assert found["dispatch_hypercall"].mu == pytest.approx(ACCESSES * 3 * US)
    for each in found.values():
        assert each.sigma == pytest.approx(0, abs=1)
        assert each.mu_star.half_width == pytest.approx(0, abs=1)


def test_influences_come_largest_first_and_their_shares_make_one(by_hand: Screening) -> None:
    sizes = [each.mu_star.value for each in by_hand.influences]
    assert sizes == sorted(sizes, reverse=True)
    assert sum(each.share for each in by_hand.influences) == pytest.approx(1)


def test_a_cost_in_no_program_is_left_out_by_name(by_hand: Screening) -> None:
    names = {each.name for each in by_hand.influences}
    assert {"gather", "page_load", "decode_mmio", "injection"} <= set(by_hand.unused)
    assert not names & set(by_hand.unused)
    assert len(names) + len(by_hand.unused) == 33


def test_a_cost_that_both_policies_pay_alike_has_no_influence() -> None:
    same = screened(CALL, "batched-recorded")  # every read is waited for: batches of one
    found = {each.name: each for each in same.influences}
    assert found["world_switch_out"].mu_star.value == 0
    assert found["item"].mu_star.value > 0


def test_the_difference_at_the_ends_of_a_range_is_that_of_hand_arithmetic(
    by_hand: Screening,
) -> None:
    found = {each.name: each for each in by_hand.influences}
    assert by_hand.difference.value == -ACCESSES * US
    assert found["dispatch_hypercall"].at_low.value == -ACCESSES * US
    assert found["dispatch_hypercall"].at_high.value == 2 * ACCESSES * US
    assert found["world_switch_out"].at_low.value == -ACCESSES * US / 2
    assert found["world_switch_out"].at_high.value == -ACCESSES * US * 3 / 2


def test_the_threshold_is_the_root_of_the_difference(by_hand: Screening) -> None:
    found = {each.name: each for each in by_hand.thresholds}
    assert by_hand.better == CALL
    at = found["dispatch_hypercall"].above
    assert at is not None
    assert at.value == pytest.approx(US, abs=1)
    assert at.is_exact
    assert found["dispatch_hypercall"].below is None
    assert found["to_user"].found == []
    assert [each.name for each in by_hand.deciding] == ["dispatch_hypercall"]


def test_a_verdict_that_no_range_can_turn_stands_at_every_point() -> None:
    found = screened(ranges={"dispatch_hypercall": ("0 ns", "1 ps")}, points=10)
    assert (found.agrees.value, found.reverses.value) == (1, 0)
    assert found.agrees.low == pytest.approx(0.025 ** (1 / 10))
    assert all(each.flips.value == 0 for each in found.influences)


def test_a_verdict_that_is_often_turned_is_told_as_such() -> None:
    found = screened(ranges={"dispatch_hypercall": ("0 ns", "20 us")}, points=20, trajectories=4)
    assert 0 < found.reverses.value < 1
    assert found.agrees.value + found.reverses.value == 1
    turns = {each.name: each.flips.value for each in found.influences}
    assert turns["dispatch_hypercall"] == max(turns.values()) > 0


def test_the_order_of_the_policies_turns_signs_and_nothing_else(by_hand: Screening) -> None:
    ranges = {"dispatch_hypercall": ("0 ns", "3 us")}
    one, other = screened(ranges=ranges), screened(CALL, PORTS, ranges=ranges)
    assert one.difference.value == -other.difference.value
    assert one.better == other.better
    assert one.thresholds == other.thresholds
    assert [(e.place, e.mu_star, -e.mu) for e in one.influences] == [
        (e.place, e.mu_star, e.mu) for e in other.influences
    ]
    assert (one.agrees, one.reverses) == (other.agrees, other.reverses)


def test_equal_seeds_give_equal_results_whatever_the_global_generator_does() -> None:
    np.random.seed(1)  # noqa: NPY002 - the point of the test
    one = screened()
    np.random.seed(2)  # noqa: NPY002
    before = np.random.get_state()[1].tolist()  # noqa: NPY002
    again = screened()
    assert np.random.get_state()[1].tolist() == before  # noqa: NPY002
    assert one == again


def test_threads_and_other_engines_change_no_number() -> None:
    one = screened()
    with ThreadPoolExecutor(2) as pool:
        assert screened(executor=pool, engine="auto") == one
    assert screened(jobs=2) == one


class Elsewhere(ThreadPoolExecutor):
    """Sends what it runs through pickle and back, as an executor of processes does."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        fn, args, kwargs = pickle.loads(pickle.dumps((fn, args, kwargs)))
        return super().submit(fn, *args, **kwargs)


def test_points_can_be_run_in_other_processes() -> None:
    with Elsewhere(1) as pool:
        assert screened(executor=pool) == screened()
        values = ["kvm-2013", "kvm-2017"]
        tuned = [tune(scenario(), "platform", values, executor=on) for on in (pool, None)]
    assert tuned[0] == tuned[1]


def test_another_place_of_the_scenario_is_varied_beside_the_costs() -> None:
    place = "blocks.0.guest.accesses_per_operation"
    found = screened(ranges={place: (1, 8)}, top=0)
    influence = next(each for each in found.influences if each.place == place)
    assert influence.at_low.value == -4 * US
    assert influence.at_high.value == -4 * 8 * US
    assert influence.mark == ""


def test_a_random_threshold_has_an_interval_that_inverts_the_paired_test() -> None:
    guest = {**GUEST, "operations": 20, "read_share": 0.5}
    stated = scenario(blocks=[{"guest": guest}], replications=8)
    ranges = {"refresh_page": ("100 ns", "5 us")}
    found = screen(stated, "hypercall", "read-only-pages", ranges=ranges,
                   **{**QUICK, "points": 1, "engine": "auto"})  # fmt: skip
    at = next(each for each in found.thresholds if each.name == "refresh_page").above
    assert at is not None
    assert at.low < US < at.high  # reads are as many as writes: one exit saved pays one refresh
    assert at.method == "paired t, inverted"
    made = template(stated, policies=["hypercall", "read-only-pages"])
    for end, sign in ((at.low, -1), (at.high, 1)):
        values = {"costs.refresh_page": f"{round(end)} ps"}
        added = sample(Run(template=made, values=values, metrics=("added",))).policies
        d = np.subtract(added["read-only-pages"]["added"], added["hypercall"]["added"])
        t = d.mean() / (d.std(ddof=1) / math.sqrt(len(d)))
        assert t == pytest.approx(sign * 2.364624, rel=1e-3)  # t(7, 0.975)


def test_nothing_changes_the_verdict_between_policies_that_cost_the_same() -> None:
    found = screened("mmio-first", "absent-page")
    assert found.better is None
    assert found.thresholds == ()
    assert found.agrees.value == 1


def test_another_metric_is_screened() -> None:
    found = screened(metric="stall.mean", ranges={"to_user": ("0 ns", "2 us")})
    influence = next(each for each in found.influences if each.name == "to_user")
    assert influence.mu_star.value == pytest.approx(2 * US)


@pytest.mark.parametrize(
    ("count", "low", "high"), [(0, 0, 0.3085), (5, 0.1871, 0.8129), (10, 0.6915, 1)]
)
def test_a_share_has_clopper_and_pearsons_interval(count: int, low: float, high: float) -> None:
    found = share_of(count, 10)
    assert (found.low, found.high) == (pytest.approx(low, abs=1e-4), pytest.approx(high, abs=1e-4))


def test_without_salib_it_is_said_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "SALib.sample", None)
    with pytest.raises(InputError, match=r"vmexit-sim\[screen\]"):
        screened()


@pytest.mark.parametrize(
    ("keys", "match"),
    [
        ({"ranges": {"to_usr": ("0 ns", "1 us")}}, "did you mean 'to_user'"),
        ({"trajectories": 1}, "too few"),
        ({"points": 0}, "too few"),
        ({"metric": "aded"}, "did you mean 'added'"),
        ({"block": "other"}, "no guest"),
    ],
)
def test_what_does_not_fit_is_refused(keys: dict[str, Any], match: str) -> None:
    with pytest.raises(InputError, match=match):
        screened(**keys)


def test_a_policy_is_not_compared_with_itself() -> None:
    with pytest.raises(InputError, match="itself"):
        screened(PORTS, PORTS)


def test_a_policy_may_be_a_file(tmp_path: Path) -> None:
    path = tmp_path / "call.toml"
    path.write_text('title = "t"\n[[rules]]\nside = "host"\nmechanism = "hypercall"\n')
    found = screened(PORTS, str(path))
    assert (found.better, found.difference.value) == (str(path), -ACCESSES * US)


def test_of_several_guests_one_must_be_chosen() -> None:
    two = scenario(blocks=[{"name": "a", "guest": GUEST},
                           {"name": "b", "guest": {**GUEST, "operations": 8}}])  # fmt: skip
    with pytest.raises(InputError, match="choose of: a, b"):
        screen(two, PORTS, CALL, **QUICK)
    assert screen(two, PORTS, CALL, block="b", **QUICK).difference.value == -2 * ACCESSES * US
