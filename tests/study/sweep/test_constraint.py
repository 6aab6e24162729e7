"""Constraints: comparisons of factors and values, read and never evaluated."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmexit_sim.errors import InputError
from vmexit_sim.study.sweep.constraint import LONGEST, RELATIONS, parse_constraint

VALUES: dict[str, Any] = {
    "cpus": 2, "vcpus": 4, "spacing": "10 us", "platform": "kvm-2013", "posted": True,
    "costs.to_user": "783 cycles", "blocks.0.guest.size": "4 KiB", "a-b": 1,
}  # fmt: skip


def holds(text: str, **others: Any) -> bool:
    values = {**VALUES, **others}
    return parse_constraint(text, values).holds(values)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cpus <= vcpus", True),
        ("vcpus <= cpus", False),
        ("vcpus<=4", True),
        ("4 > vcpus", False),
        ("2 * cpus == vcpus", True),
        ("2*cpus < vcpus", False),
        ("0.5 * vcpus == cpus", True),
        ("cpus == 0.5 * vcpus", True),
        ("spacing > 9999 ns", True),
        ("spacing == 0.01 ms", True),
        ('spacing == "10 us"', True),
        ("2 * spacing >= 20 us", True),
        ('platform != "bare-metal-2022"', True),
        ('platform == "kvm-2013"', True),
        ('posted == "true"', True),
        ('posted != "true"', False),
        ("costs.to_user < 784 cycles", True),
        ("blocks.0.guest.size >= 4096 B", True),
        ("a-b == 1", True),
    ],
)
def test_a_constraint_says_what_it_looks_like(text: str, expected: bool) -> None:
    assert holds(text) is expected


@given(st.integers(-5, 5), st.integers(-5, 5), st.sampled_from(sorted(RELATIONS)))
def test_a_relation_and_its_opposite_part_all_points(a: int, b: int, relation: str) -> None:
    opposite = {"<=": ">", ">": "<=", "<": ">=", ">=": "<", "==": "!=", "!=": "=="}[relation]
    assert holds(f"cpus {relation} vcpus", cpus=a, vcpus=b) is not holds(
        f"cpus {opposite} vcpus", cpus=a, vcpus=b
    )
    assert holds(f"cpus {relation} {b}", cpus=a) is RELATIONS[relation](a, b)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("cpus", "is no constraint"),
        ("", "is no constraint"),
        ("cpus < ", "is no constraint"),
        ("c" * LONGEST + " < vcpus", "is no constraint"),
        ("cpus < vcpu", "'vcpu', which is no factor and no value; did you mean 'vcpus'"),
        ("cpus < vcpus < 4", "'vcpus < 4', which is no factor and no value"),
        ("1 < 2", "speaks of no factor"),
        ('"kvm-2013" == "kvm-2013"', "speaks of no factor"),
        (". * cpus < vcpus", "is no factor and no value"),
        ("1.2.3 * cpus < vcpus", "is no factor and no value"),
        ("cpus * 2 < vcpus", "is no factor and no value"),
        ("2 * 3 < vcpus", "is no factor and no value"),
        ('platform == "kvm-2013', "is no factor and no value"),
        ("platform == kvm-2013", "is no factor and no value"),
        ("__import__('os').getcwd() == 1", "is no factor and no value"),
        ("cpus =< vcpus", "is no factor and no value"),
    ],
)
def test_what_is_no_constraint_is_refused(text: str, says: str) -> None:
    with pytest.raises(InputError, match=says) as error:
        parse_constraint(text, VALUES)
    assert error.value.key == "constraints"


@pytest.mark.parametrize("text", ["cpus < spacing", "spacing < 5", "platform == 5",
                                  "costs.to_user < 1 us"])  # fmt: skip
def test_sides_of_different_units_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="whose units differ; give both sides one unit"):
        holds(text)


def test_text_has_no_order() -> None:
    with pytest.raises(InputError, match="both are text; compare text with == or !="):
        holds('platform < "kvm-2017"')
