"""Where the winner flips: theory first, hand arithmetic, then what holds of any difference."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from vmexit_sim.errors import InputError
from vmexit_sim.hypervisor.platform import load_platform
from vmexit_sim.scenario import scenario_data
from vmexit_sim.statistics import Estimate, exact
from vmexit_sim.study.contest import stretch
from vmexit_sim.study.crossover import Crossover, crossover
from vmexit_sim.study.flips import Flip, Stretch, find_flips
from vmexit_sim.study.sweep import Factor

GAP = "blocks.0.guest.between.mean"
EXIT = "costs.world_switch_out"
LOOP = {"kind": "spread", "operations": 100, "between": "1 us", "read_share": 0.0, "space": "mmio"}
POLICIES = ("linux-default", "hypercall")


def spread_or_batched(
    which: str, k: int, along: Factor, operations: int, **changes: Any
) -> Crossover:
    data, path = scenario_data(f"spread-or-batched-{which}")
    data["blocks"][0]["guest"]["operations"] = operations
    data["parameters"] = {"batched-full": {"max_batch": k}}
    metric = {"waiting": "burden.mean", "effect": "effect.mean"}[which]
    return crossover(data, path, first="hypercall", second="batched-full", along=along,
                     metric=metric, **changes)  # fmt: skip


def loop(place: str, low: str, high: str, costs: dict[str, str], **changes: Any) -> Crossover:
    """A deterministic loop of writes on the ideal host, where an exit costs 1 us."""
    data = {"platform": "ideal", "costs": costs, "blocks": [{"guest": LOOP}]}
    stated = {"first": POLICIES[0], "second": POLICIES[1], "along": stretch(place, low, high)}
    return crossover(data, **{**stated, **changes})


@pytest.mark.parametrize(("k", "gap"), [(2, 1e6), (4, 5e5), (8, 2.5e5)])
def test_batches_stop_paying_at_a_spacing_of_two_exits_over_k(k: int, gap: float) -> None:
    found = spread_or_batched("waiting", k, stretch(GAP, "100ns", "20us", points=5), 2_400,
                              replications=10)  # fmt: skip
    (flip,) = found.flips
    assert found.sides(flip) == ("batched-full", "hypercall")
    assert flip.at.holds(gap)
    assert flip.at.value == pytest.approx(gap, rel=0.03)
    assert found.exact_of(flip) == pytest.approx(gap, rel=1e-6)


@pytest.mark.parametrize(("k", "load"), [(2, 0.6308), (8, 0.8875)])
def test_effects_come_sooner_in_batches_only_near_saturation(k: int, load: float) -> None:
    along = stretch("blocks.0.guest.arrivals.mean", "1020ns", "20us", points=5)
    found = spread_or_batched("effect", k, along, 12_000, replications=4)
    (flip,) = found.flips
    assert flip.at.holds(1e6 / load)
    assert flip.at.value == pytest.approx(1e6 / load, rel=0.03)
    assert found.exact_of(flip) == pytest.approx(1e6 / load, rel=1e-4)


def test_the_largest_batch_that_pays_lies_between_two_sizes() -> None:
    # An exit takes 1 us, an access comes every 0.45 us: batches pay while k < 2 / 0.45 = 4.4.
    data, path = scenario_data("spread-or-batched-waiting")
    data["blocks"][0]["guest"] = {**data["blocks"][0]["guest"], "between": "450 ns"}
    found = crossover(data, path, first="hypercall", second="batched-full", metric="burden.mean",
                      along=stretch("parameters.batched-full.max_batch", "2", "32"))  # fmt: skip
    (flip,) = found.flips
    assert flip.neighbours == (4, 5)
    assert (flip.at.low, flip.at.high, flip.at.method) == (4, 5, "exact")
    assert found.closed_form is not None
    assert found.closed_form.roots == (4.5,)
    assert [(s.low, s.high) for s in found.stretches] == [(2, 4), (5, 32)]


def test_a_guest_without_chance_has_an_exact_root() -> None:
    # A trap decodes an instruction for 2 us; a call dispatches for as long as the factor says.
    found = loop("costs.dispatch_hypercall", "100ns", "10us", {"decode_mmio": "2 us"})
    (flip,) = found.flips
    assert flip.at == exact(flip.at.value)
    assert flip.at.value == pytest.approx(2e6, rel=found.tolerance)
    assert found.sides(flip) == ("hypercall", "linux-default")
    assert not found.is_random
    assert found.closed_form is None


def test_the_root_moves_with_what_it_is_made_of() -> None:
    # 2 us + 3 us of a trap against 1 us of user space for each: it cancels.
    costs = {"decode_mmio": "2 us", "dispatch_mmio": "3 us", "to_user": "1 us"}
    (flip,) = loop("costs.dispatch_hypercall", "1us", "9us", costs).flips
    assert flip.at.value == pytest.approx(5e6, rel=1e-4)


def test_a_recording_s_root_is_exact_and_has_the_sign_on_either_side() -> None:
    data, path = scenario_data("bunched-and-spread")
    asked: dict[str, Any] = {
        "first": "mmio-first", "second": "hypercall", "along": stretch(
            "costs.dispatch_hypercall", "100ns", "20us", points=5),
        "block": "spread: interrupt services of a recorded e1000 download",
    }  # fmt: skip
    (flip,) = crossover(data, path, **asked).flips
    assert flip.at == exact(flip.at.value)
    # What a call spares: finding the bus, decoding, and completing the instruction.
    costs = load_platform("kvm-2013").costs
    spared = ("dispatch_mmio", "decode_mmio", "complete_mmio")
    by_hand = sum(costs.duration(name).mean_ps for name in spared)
    assert flip.at.value == pytest.approx(by_hand, rel=1e-4)
    assert len(crossover(data, path, **asked).meetings) < 25
    for end, sign in ((0.999, -1), (1.001, 1)):
        at = stretch(
            "costs.dispatch_hypercall", f"{round(flip.at.value * end)}ps", "20us", points=2
        )
        lowest = crossover(data, path, **{**asked, "along": at}).scan[0]
        assert lowest.difference.value * sign > 0


def test_no_root_where_one_is_better_throughout() -> None:
    found = loop(EXIT, "100ns", "10us", {"decode_mmio": "2 us"})
    assert found.flips == ()
    assert [found.winner(s.sign) for s in found.stretches] == ["hypercall"]
    assert [m.difference.value for m in found.scan] == [-200e6] * 11


def test_equal_policies_are_never_told_apart() -> None:
    found = loop(EXIT, "100ns", "10us", {})
    assert found.flips == ()
    assert [(s.low, s.high, s.sign) for s in found.stretches] == [(1e5, 1e7, 0)]


def test_more_throughput_is_better() -> None:
    found = loop("costs.dispatch_hypercall", "100ns", "10us", {"decode_mmio": "2 us"},
                 metric="throughput")  # fmt: skip
    (flip,) = found.flips
    assert found.sides(flip) == ("hypercall", "linux-default")
    assert flip.at.value == pytest.approx(2e6, rel=1e-3)


def test_equal_seeds_find_the_same_and_others_do_not() -> None:
    along = stretch(GAP, "100ns", "2us", points=3)
    one, again = (spread_or_batched("waiting", 4, along, 400, replications=3) for _ in range(2))
    assert one.flips == again.flips
    data, path = scenario_data("spread-or-batched-waiting")
    data["blocks"][0]["guest"]["operations"] = 400
    other = crossover({**data, "seed": 7}, path, first="hypercall", second="batched-full",
                      along=along, metric="burden.mean", replications=3)  # fmt: skip
    assert other.flips != one.flips


def test_parameters_of_policies_that_do_not_meet_are_no_mistake() -> None:
    data = {"platform": "ideal", "parameters": {"batched-oracle": {"max_batch": 2}},
            "policies": ["batched-oracle"], "blocks": [{"guest": LOOP}]}  # fmt: skip
    found = crossover(data, first="linux-default", second="hypercall",
                      along=stretch(EXIT, "1us", "2us", points=2))  # fmt: skip
    assert data["parameters"] == {"batched-oracle": {"max_batch": 2}}
    assert found.first == "linux-default"


def test_a_frame_holds_all_that_was_simulated() -> None:
    found = loop("costs.dispatch_hypercall", "100ns", "10us", {"decode_mmio": "2 us"})
    frame = found.to_frame()
    assert len(frame) == len(found.meetings)
    assert frame["in_scan"].sum() == 11
    assert frame["value"].is_monotonic_increasing
    assert (frame["second"] - frame["first"]).tolist() == frame["difference"].tolist()


def test_one_replication_of_what_is_random_is_refused() -> None:
    with pytest.raises(InputError, match="2 or more"):
        spread_or_batched("waiting", 4, stretch(GAP, "100ns", "2us"), 8, replications=1)


def test_a_policy_against_itself_is_refused() -> None:
    with pytest.raises(InputError, match="needs two"):
        loop(EXIT, "1us", "2us", {}, second=POLICIES[0])


def test_an_unknown_metric_is_refused_with_the_nearest() -> None:
    with pytest.raises(InputError, match=r"burden\.mean"):
        loop(EXIT, "1us", "2us", {}, metric="burden.men")


def test_one_of_several_guests_must_be_chosen() -> None:
    data = {"platform": "ideal", "blocks": [{"name": n, "guest": LOOP} for n in ("a", "b")]}
    pair = {"first": POLICIES[0], "second": POLICIES[1], "along": stretch(EXIT, "1us", "2us")}
    with pytest.raises(InputError, match="choose one"):
        crossover(data, **pair)
    with pytest.raises(InputError, match="no guest"):
        crossover(data, block="c", **pair)
    assert crossover(data, block="b", **pair).block == "b"


def test_a_list_of_values_is_no_range_to_look_along() -> None:
    with pytest.raises(InputError, match="no range"):
        loop(EXIT, "1us", "2us", {}, along=Factor(place=EXIT, values=["1 us", "2 us"]))


@pytest.mark.parametrize("tolerance", [0.0, -1.0, 1.0])
def test_what_is_no_tolerance_is_refused(tolerance: float) -> None:
    with pytest.raises(InputError, match="tolerance"):
        loop(EXIT, "1us", "2us", {}, tolerance=tolerance)


def test_a_wide_stretch_is_logarithmic_and_a_narrow_one_is_not() -> None:
    assert stretch(EXIT, "100ns", "20us").values == ["100ns", "20us", 11, "log"]
    assert stretch(EXIT, "1us", "2us").values[-1] == "linear"
    assert stretch("cpus", "2", "64", scale="linear", points=5).values == [2, 64, 5, "linear"]
    assert stretch("blocks.0.guest.read_share", "0", "1").values == [0, 1, 11, "linear"]


@pytest.mark.parametrize(("low", "high"), [("2us", "1us"), ("1us", "5"), ("few", "many")])
def test_ends_that_make_no_range_are_a_mistake_with_a_mend(low: str, high: str) -> None:
    with pytest.raises(InputError):
        stretch(EXIT, low, high)


def test_what_is_run_is_told() -> None:
    told: list[str] = []
    loop(EXIT, "1us", "2us", {}, progress=told.append)
    assert told[0] == "hypercall against linux-default at 1 µs"


# What holds of any difference.

SPAN = [1 + n * 9 / 8 for n in range(9)]


def looked(value_at: Any, half: float, *, grid: Any = SPAN, whole: bool = False,
           ) -> tuple[list[Stretch], list[Flip]]:  # fmt: skip
    def difference(x: float) -> Estimate:
        y = value_at(x)
        return exact(y, "1") if not half else Estimate(y, y - half, y + half, 20, "paired t")

    return find_flips(difference, grid, tolerance=1e-6, unit="1", whole=whole)


@given(root=st.floats(1.5, 9.5), slope=st.floats(0.1, 50), half=st.floats(1e-3, 5),
       rising=st.booleans())  # fmt: skip
def test_of_a_straight_difference_the_interval_is_its_own_over_the_slope(
    root: float, slope: float, half: float, rising: bool
) -> None:
    steep = slope if rising else -slope
    low, high = root - half / slope, root + half / slope
    assume(abs(low - 1) > 1e-6 and abs(high - 10) > 1e-6)
    _, (flip,) = looked(lambda x: steep * (x - root), half)
    assert flip.at.value == pytest.approx(root, abs=1e-4)
    assert flip.before == (-1 if rising else 1)
    assert flip.is_open_low == (low < 1)
    assert flip.is_open_high == (high > 10)
    if not flip.is_open_low:
        assert flip.at.low == pytest.approx(low, abs=1e-4)
    if not flip.is_open_high:
        assert flip.at.high == pytest.approx(high, abs=1e-4)


@given(root=st.floats(1.2, 29.8), half=st.floats(0, 8))
def test_a_whole_number_factor_flips_between_the_neighbours_of_its_root(
    root: float, half: float
) -> None:
    stretches, flips = looked(lambda x: x - root, half, grid=[1, 3, 8, 30], whole=True)
    (flip,) = flips
    assert flip.neighbours is not None
    low, high = flip.neighbours
    assert low < root < high or (root == int(root) and low + 1 == root == high - 1)
    for value in range(1, 31):  # each has exactly one place, and the sign that it should
        (its,) = (s for s in stretches if s.low <= value <= s.high)
        assert its.sign == (value - root > half) - (root - value > half)


@given(st.floats(0.001, 0.5), st.floats(2, 5), st.floats(6, 9))
def test_two_flips_are_both_found(half: float, one: float, other: float) -> None:
    stretches, flips = looked(lambda x: (x - one) * (x - other) * 4, half)
    assert [flip.before for flip in flips] == [1, -1]
    assert [flip.at.value for flip in flips] == pytest.approx([one, other], abs=1e-4)
    assert [s.sign for s in stretches] == [1, 0, -1, 0, 1]
    edges = [s.low for s in stretches] + [stretches[-1].high]
    assert edges == sorted(edges)
    assert (edges[0], edges[-1]) == (1, 10)


def test_a_difference_that_only_touches_0_has_no_flip() -> None:
    stretches, flips = looked(lambda x: (x - 5.5) ** 2, 1.0)
    assert flips == []
    assert [s.sign for s in stretches] == [1, 0, 1]
    assert (stretches[1].low, stretches[1].high) == pytest.approx((4.5, 6.5), abs=1e-3)


def test_a_step_flips_where_it_is_and_leaves_nothing_untold() -> None:
    _, (flip,) = looked(lambda x: -3.0 if x < 4.2 else 2.0, 0.5)
    assert flip.at.value == pytest.approx(4.2, abs=1e-4)
    assert flip.at.half_width < 1e-5


def test_policies_that_are_equal_for_a_while_flip_somewhere_in_there() -> None:
    _, (flip,) = looked(lambda x: min(x - 3, 0.0) + max(x - 6, 0.0), 0.0)
    assert flip.at.is_exact
    assert (flip.at.low, flip.at.high) == pytest.approx((3, 6), abs=1e-3)


def test_a_difference_lost_in_noise_tells_nothing() -> None:
    stretches, flips = looked(lambda x: 0.1, 1.0)
    assert flips == []
    assert [(s.low, s.high, s.sign) for s in stretches] == [(1, 10, 0)]
