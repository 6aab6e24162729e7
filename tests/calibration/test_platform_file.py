"""A calibrated platform's file carries over from its base whatever was not measured."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from vmexit_sim.calibration.platform_file import platform_text, write_platform
from vmexit_sim.errors import InputError
from vmexit_sim.hypervisor.platform import Platform, load_platform


def text_on(base: Platform) -> dict[str, Any]:
    text = platform_text(name="n", title="t", about="a", base=base, costs=[], measurements=[])
    return tomllib.loads(text)


def test_a_nested_base_is_carried_over_with_its_levels(tmp_path: Path) -> None:
    base = load_platform("kvm-nested-2017")
    path = tmp_path / "mine.toml"
    write_platform(path, name="mine", title="t", about="a", base=base, costs=[], measurements=[])
    made = load_platform(str(path))
    assert base.nesting is not None
    assert made.nesting is not None
    assert (made.nesting.exits, made.nesting.user_exits) == (1, 23)
    assert made.nesting.exits_source.startswith("as on kvm-nested-2017: one: ")
    for part in ("forward", "l1_exit"):
        own, there = (getattr(nesting, part) for nesting in (made.nesting, base.nesting))
        assert own.value == there.value
        assert own.mark == "A", "on this host it is assumed"
        assert own.source.startswith(f"as on kvm-nested-2017 ({there.stated}): ")


@pytest.mark.parametrize(
    ("stated", "written"),
    [
        ("2 us", "2000 ns"),
        ({"kind": "exponential", "mean": "3 us", "shift": "1 us"},
         {"kind": "exponential", "mean": "3000 ns", "shift": "1000 ns"}),
        ({"kind": "uniform", "low": "1 us", "high": "40 us"},
         {"kind": "uniform", "low": "1000 ns", "high": "40 us"}),
        ({"kind": "lognormal", "mean": "3 us", "cv": 0.5},
         {"kind": "lognormal", "mean": "3000 ns", "cv": 0.5, "shift": "0 ns"}),
    ],
)  # fmt: skip
def test_a_cost_that_spreads_is_carried_over_with_its_shape(stated: Any, written: Any) -> None:
    base = load_platform("ideal", changes={"to_user": stated})
    cost = text_on(base)["costs"]["to_user"]
    assert cost["value"] == written
    again = load_platform("ideal", changes={"to_user": written})
    assert again.costs.to_user.value == base.costs.to_user.value


def test_a_resampled_cost_cannot_be_carried_over() -> None:
    base = load_platform("ideal")
    resampled = load_platform(
        "ideal", changes={"to_user": {"kind": "empirical", "samples": (1000, 2000)}}
    ).costs.to_user
    costs = base.costs.model_copy(update={"to_user": resampled})
    with pytest.raises(InputError, match="cannot be carried over; name another base"):
        text_on(base.model_copy(update={"costs": costs}))
