"""Plausible ranges follow a cost's mark, unless a range is asked for."""

from __future__ import annotations

from typing import Any

import pytest

from vmexit_sim.errors import InputError
from vmexit_sim.hypervisor.platform import load_platform
from vmexit_sim.study.plausible import FACTORS, Plausible, parse_range, plausible
from vmexit_sim.study.template import template

GUEST = {"kind": "spread", "operations": 4, "between": "1 us", "read_share": 1,
         "space": "pci_config"}  # fmt: skip


def ranges_of(
    platform: str = "kvm-2017", costs: dict[str, Any] | None = None, **ranges: Any
) -> dict[str, Plausible]:
    stated = {"platform": platform, "policies": ["hypercall"], "blocks": [{"guest": GUEST}],
              "costs": costs or {}}  # fmt: skip
    return {each.name: each for each in plausible(template(stated), ranges)}


def test_every_cost_of_every_platform_has_a_range_that_holds_it() -> None:
    for platform in ("ideal", "kvm-2013", "kvm-2017", "vmware-2022", "kvm-nested-2017"):
        for each in ranges_of(platform).values():
            low, high = each.range.low.number, each.range.high.number
            assert low <= each.base.number <= high
            assert low < high


def test_the_mark_decides_how_wide_a_range_is() -> None:
    found = ranges_of()
    for name, cost in load_platform("kvm-2017").costs.items():
        if cost.value.mean_ps:
            factor = FACTORS[cost.mark]
            ends = found[name].range
            assert ends.high.number / ends.low.number == pytest.approx(factor**2, rel=1e-3)
            assert ends.scale == "log"
    assert FACTORS["R"] < FACTORS["R2"] < FACTORS["D"] < FACTORS["M"] < FACTORS["A"]


def test_a_cost_of_0_has_a_linear_range_with_a_stated_end() -> None:
    found = ranges_of()
    switch = found["world_switch_out"].base.number + found["world_switch_in"].base.number
    ends = {name: found[name].range.high.number for name in
            ("state_change", "refill", "dispatch_hypercall")}  # fmt: skip
    assert ends["state_change"] == 100_000_000
    assert ends["refill"] == pytest.approx(10 * switch, rel=1e-5)
    assert ends["dispatch_hypercall"] == pytest.approx(switch / 10, rel=1e-4)  # contained [D]
    assert found["refill"].range.scale == "linear"
    assert ranges_of("ideal")["to_user"].range.high.number == 1_000_000  # a world switch [A]


def test_a_nested_platforms_own_costs_have_ranges_and_can_be_set() -> None:
    found = ranges_of("kvm-nested-2017")
    assert found["nesting.forward"].mark == "D"
    assert "nesting.forward" not in ranges_of("kvm-2017")
    made = template({"platform": "kvm-nested-2017", "policies": ["hypercall"],
                     "blocks": [{"guest": GUEST}]})  # fmt: skip
    nesting = made.opened({"nesting.l1_exit": "7 ns"}).platform.nesting
    assert nesting is not None
    assert nesting.l1_exit.value.mean_ps == 7_000


def test_a_cost_that_a_scenario_sets_counts_as_assumed() -> None:
    found = ranges_of(costs={"to_user": "1 us"})["to_user"]
    assert (found.mark, found.base.number) == ("A", 1_000_000)
    assert (found.range.low.number, found.range.high.number) == (100_000, 10_000_000)


def test_a_distribution_keeps_its_shape() -> None:
    costs = {"to_user": {"kind": "lognormal", "mean": "1 us", "cv": 0.5, "shift": "200 ns"}}
    found = ranges_of(costs=costs)["to_user"]
    stated = found.stated(2_000_000)
    assert (stated["mean"], stated["shift"], stated["cv"]) == ("2000000 ps", "400000 ps", 0.5)
    made = template({"policies": ["hypercall"], "blocks": [{"guest": GUEST}], "costs": costs})
    value = made.opened({"costs.to_user": stated}).platform.costs.to_user.value
    assert value.mean_ps == 2_000_000


def test_a_range_that_is_asked_for_takes_the_place_of_the_tables() -> None:
    found = ranges_of(to_user=("200 cycles", "5 us"))["to_user"]
    assert found.range.low.number == round(200 / 3.5 * 1000)
    assert (found.range.scale, found.is_own) == ("log", True)
    assert ranges_of(to_user=("0 ns", "5 us"))["to_user"].range.scale == "linear"


def test_values_at_the_ends_are_the_ends() -> None:
    found = ranges_of(to_user=("200 ns", "5 us"))["to_user"]
    assert (found.at(0.0), found.at(1.0)) == ("200000 ps", "5000000 ps")
    assert found.at(0.5) == "1000000 ps"  # half-way on a log scale


@pytest.mark.parametrize(
    ("ranges", "match"),
    [
        ({"to_user": ("5 us", "1 us")}, "lower one first"),
        ({"to_user": ("5 us",)}, "no range"),
        ({"to_user": ("0 ns", "1 us", "log")}, "begins at 0"),
        ({"to_user": (1, 2)}, "no unit"),
        ({"costs.to_usr": ("1 us", "2 us")}, "did you mean 'to_user'"),
        ({"blocks.0.guest.between": ("1 KiB", "2 KiB")}, "another unit"),
        ({"blocks.0.guest.readshare": (0.1, 0.2)}, "no number"),
    ],
)
def test_a_range_that_does_not_fit_is_refused(ranges: dict[str, Any], match: str) -> None:
    with pytest.raises(InputError, match=match):
        ranges_of(**ranges)


@pytest.mark.parametrize(
    ("text", "name", "values"),
    [
        ("to_user=200ns..5us", "to_user", ("200ns", "5us")),
        ("costs.refill = 0ns .. 5us,linear", "costs.refill", ("0ns", "5us", "linear")),
        ("blocks.0.guest.read_share=0.1..1", "blocks.0.guest.read_share", (0.1, 1)),
    ],
)
def test_a_range_is_read_as_the_command_line_has_it(
    text: str, name: str, values: tuple[Any, ...]
) -> None:
    assert parse_range(text) == (name, values)


@pytest.mark.parametrize("text", ["to_user", "to_user=1us", "=1us..2us", "to_user=1us..2us,cubic"])
def test_text_that_is_no_range_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="is no range"):
        parse_range(text)
