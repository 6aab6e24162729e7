"""A read-only page: reads are loads; writes, and reads with side effects, still trap."""

from __future__ import annotations

from typing import Any

import pytest

from vmexit_sim.configuration import checked
from vmexit_sim.guest.generators import BarSizing
from vmexit_sim.guest.table import Flag


@pytest.mark.parametrize("location", ["user", "kernel"])
@pytest.mark.parametrize("flags", [0, Flag.ABSENT, Flag.ECAM])
def test_a_read_is_a_load(run_by: Any, location: str, flags: int) -> None:
    ran = run_by("read_only_page", location=location, flags=flags, emulate=500)
    assert ran.stages() == {"page load": ran.cost["page_load"]}
    assert ran.exits == {}
    assert ran.column("done") == ran.column("resume")


@pytest.mark.parametrize("location", ["user", "kernel"])
def test_a_read_with_a_side_effect_traps_like_memory(run_by: Any, location: str) -> None:
    here = {"location": location, "flags": Flag.SIDE_EFFECT, "emulate": 500}
    ran = run_by("read_only_page", **here)
    assert ran.stages() == run_by("trap_mmio", **here).stages()
    assert ran.exits == {"EPT_MISCONFIG": 1}


@pytest.mark.parametrize("location", ["user", "kernel"])
def test_a_write_traps_like_memory_and_refreshes_the_page(run_by: Any, location: str) -> None:
    here = {"location": location, "write": 1, "emulate": 500}
    ran = run_by("read_only_page", **here)
    trapped = run_by("trap_mmio", **here).stages()
    assert ran.stages() == {**trapped, "page refresh": ran.cost["refresh_page"]}
    assert ran.exits == {"EPT_VIOLATION": 1}


def test_the_page_is_refreshed_under_the_vmms_lock(run_by: Any) -> None:
    ran = run_by("read_only_page", write=1, costs={"refresh_page": "7 us"}, emulate=500)
    (lock,) = [use for use in ran.result.resources if use.name == "VMM lock"]
    assert lock.busy == 500 + 7_000_000


def test_turning_decoding_on_costs_its_state_change(run_by: Any) -> None:
    ran = run_by(
        "read_only_page", write=1, flags=Flag.DECODE_TOGGLE, costs={"state_change": "2 us"}
    )
    assert ran.stages()["state change"] == 2_000_000


def test_one_32_bit_bar_is_two_exits(run_by: Any) -> None:
    bar = checked(BarSizing, {"kind": "bar_sizing", "sequence": "bare", "bars32": 1})
    assert run_by("read_only_page", workload=bar).exits == {"EPT_VIOLATION": 2}
