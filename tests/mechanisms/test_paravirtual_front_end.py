"""A split driver: the front end exits once, then spins for the back end's answer."""

from __future__ import annotations

from typing import Any

import pytest

from vmexit_sim.guest.table import Flag

US = 1_000_000
COSTS = {
    "gather": "1 us", "world_switch_out": "2 us", "dispatch_hypercall": "3 us",
    "world_switch_in": "4 us", "pick_up": "5 us", "thread_wake_up": "20 us",
}  # fmt: skip


@pytest.mark.parametrize("location", ["user", "kernel"])
@pytest.mark.parametrize("write", [0, 1])
def test_one_request_by_hand(run_by: Any, location: str, write: int) -> None:
    # The request stands at 1 + 2 + 3 = 6; the back end wakes for 20 and works for 7, so it answers
    # at 33. The front end spins from 10, and has picked the answer up at 38.
    ran = run_by("paravirtual_front_end", platform="ideal", costs=COSTS, location=location,
                 write=write, emulate=7 * US)  # fmt: skip
    assert ran.stages() == {
        "gather": US,
        "world switch out": 2 * US,
        "dispatch": 3 * US,
        "world switch in": 4 * US,
        "wait: back end": 23 * US,
        "pick up answer": 5 * US,
        "back end wake-up": 20 * US,
        "back end emulation": 7 * US,
    }
    assert ran.column("stall") == [38 * US]
    assert ran.column("done") == [33 * US]
    assert ran.column("posted") == [-1]
    assert ran.exits == {"VMCALL": 1}


def test_an_answer_that_is_there_first_is_not_waited_for(run_by: Any) -> None:
    quick = {**COSTS, "thread_wake_up": "1 us"}
    ran = run_by("paravirtual_front_end", platform="ideal", costs=quick)
    assert "wait: back end" not in ran.stages()
    assert ran.column("stall") == [15 * US]
    assert ran.column("done") == [7 * US]


def test_the_front_end_holds_its_lock_until_it_has_the_answer(run_by: Any) -> None:
    ran = run_by("paravirtual_front_end", 2, vcpu=[0, 1], platform="ideal", costs=COSTS)
    alone = 31 * US  # answered at 26, picked up at 31
    assert ran.column("resume") == [alone, 2 * alone]
    assert ran.stages(1)["wait: front-end lock"] == alone


def test_turning_decoding_on_is_the_back_ends_work(run_by: Any) -> None:
    costs = {**COSTS, "state_change": "50 us"}
    ran = run_by("paravirtual_front_end", platform="ideal", costs=costs, write=1,
                 flags=Flag.DECODE_TOGGLE)  # fmt: skip
    assert ran.stages()["back end state change"] == 50 * US
    assert ran.column("stall") == [81 * US]


def test_the_back_ends_idling_is_on_no_access(run_by: Any) -> None:
    ran = run_by("paravirtual_front_end", 2, platform="ideal", costs=COSTS, compute=100 * US)
    assert "back end idle" not in ran.stages(0, guest=True)
