"""A call that means a whole operation: its first access pays, the others cost nothing."""

from __future__ import annotations

from typing import Any

import pytest

from vmexit_sim.configuration import checked
from vmexit_sim.guest.generators import BarSizing
from vmexit_sim.guest.table import Flag


@pytest.mark.parametrize("location", ["user", "kernel"])
def test_the_first_access_makes_the_call(run_by: Any, location: str) -> None:
    here = {"location": location, "emulate": 90}
    ran = run_by("operation_hypercall", 3, operation=0, **here)
    assert ran.stages(0) == run_by("hypercall", **here).stages()
    assert ran.stages(1) == ran.stages(2) == {}
    assert ran.exits == {"VMCALL": 1}
    assert ran.column("exits") == [1, 0, 0]


def test_each_operation_makes_its_own_call(run_by: Any) -> None:
    ran = run_by("operation_hypercall", 5, operation=[0, 0, 1, 2, 2], platform="ideal")
    assert ran.column("exits") == [1, 0, 1, 1, 0]


def test_unrelated_rows_in_between_do_not_break_an_operation(run_by: Any) -> None:
    ran = run_by("operation_hypercall", 5, operation=[0, 1, 0, 1, 0], platform="ideal")
    assert ran.column("exits") == [1, 1, 0, 0, 0]


def test_operations_of_two_vcpus_are_two(run_by: Any) -> None:
    ran = run_by("operation_hypercall", 4, vcpu=[0, 0, 1, 1], operation=[0, 0, 1, 1],
                 platform="ideal")  # fmt: skip
    assert ran.column("exits") == [1, 0, 1, 0]


def test_decoding_is_not_toggled(run_by: Any) -> None:
    toggles = {"write": 1, "flags": Flag.DECODE_TOGGLE, "costs": {"state_change": "9 us"}}
    ran = run_by("operation_hypercall", 2, operation=0, **toggles)
    assert "state change" not in ran.stages(0)
    assert ran.stages(1) == {}


def test_one_32_bit_bar_is_one_exit(run_by: Any) -> None:
    bar = checked(BarSizing, {"kind": "bar_sizing", "sequence": "bare", "bars32": 1})
    assert run_by("operation_hypercall", workload=bar).exits == {"VMCALL": 1}


def test_an_access_of_no_operation_still_makes_a_call(run_by: Any) -> None:
    assert run_by("operation_hypercall", 2, operation=-1).exits == {"VMCALL": 2}
