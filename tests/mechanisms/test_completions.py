"""Completions: when the guest is interrupted, what it reaps, and what holds interrupts back."""

from __future__ import annotations

from typing import Any

import pytest

from vmexit_sim.errors import InputError
from vmexit_sim.guest.table import Space, make_table
from vmexit_sim.guest.workload import Recorded
from vmexit_sim.hypervisor.platform import load_platform
from vmexit_sim.mechanisms import make_mechanism
from vmexit_sim.policy import Policy, Rule
from vmexit_sim.study.simulate import simulate

US = 1_000_000
COSTS = {"pick_up": "3 us", "injection": "7 us", "eoi": "5 us", "posted_injection": "6 us",
         "world_switch_out": "10 us", "world_switch_in": "30 us", "poll_queue": "0 s"}  # fmt: skip
SERVICE = 7 * US + 45 * US  # delivery, and an EOI that exits; without the elements


def polled(**parameters: Any) -> dict[str, Any]:
    """A side core that looks all the time: requests are done `emulate` after they are posted."""
    return {"name": "side_core", **parameters}


@pytest.fixture
def completed(run_by: Any) -> Any:
    """Post requests that nobody kicks for, on the made-up costs above."""

    def run(n: int, parameters: dict[str, Any] | None = None, **columns: Any) -> Any:
        columns = {"space": Space.DOORBELL, "write": 1, "costs": COSTS, **columns}
        return run_by(polled(**parameters or {}), n, platform="ideal", **columns)

    return run


def interrupts(ran: Any) -> int:
    exits = ran.exits
    assert exits.get("EXTERNAL_INTERRUPT", 0) == exits.get("APIC_ACCESS", 0)
    return int(exits.get("EXTERNAL_INTERRUPT", 0))


def test_an_interrupt_makes_the_guest_late_and_stalls_nobody(completed: Any) -> None:
    # Posted at 0, done at 5; the next row's compute of 100 is interrupted for 7 + 3 + 45.
    ran = completed(2, emulate=5 * US, compute=[0, 100 * US])
    assert ran.column("start") == [0, 155 * US]
    assert ran.stages(1)["interrupt delivery"] == 55 * US
    assert ran.column("stall") == [0, 0]
    assert ran.column("exits") == [0, 2]
    assert ran.result.hypervisor_time == 55 * US


def test_posted_delivery_needs_no_exit() -> None:
    policy = Policy(title="posted", delivery="posted",
                    rules=[Rule(side="host", mechanism=polled())])  # fmt: skip
    table = make_table(2, space=Space.DOORBELL, write=1, emulate=5 * US, compute=[0, 100 * US])
    result = simulate(policy, load_platform("ideal", changes=COSTS), Recorded(table),
                      keep_rows=True, engine="simpy")  # fmt: skip
    assert result.summary.exits == 0
    assert result.to_columns()["start"].tolist() == [0, 109 * US]


def test_the_handler_reaps_all_that_is_there_before_it_asks_again(completed: Any) -> None:
    # Done at 5, 10, 15, 20: delivery ends at 12, when two elements are there; reaping these takes
    # until 18, and meanwhile come the others.
    ran = completed(5, emulate=5 * US, compute=[0, 0, 0, 0, 200 * US])
    assert interrupts(ran) == 1
    assert ran.stages(4)["interrupt delivery"] == SERVICE + 4 * 3 * US


def test_completions_apart_interrupt_one_by_one(completed: Any) -> None:
    ran = completed(4, emulate=200 * US, compute=[0, 0, 0, 2000 * US])
    assert interrupts(ran) == 3
    assert ran.stages(3)["interrupt delivery"] == 3 * (SERVICE + 3 * US)


def test_always_means_an_interrupt_while_the_handler_runs(completed: Any) -> None:
    # Done at 5 and 15; the handler runs from 12 to 60 and reaps both. Unable to say that it needs
    # no second interrupt, it gets one, for nothing.
    columns = {"emulate": [5 * US, 10 * US, 0], "compute": [0, 0, 300 * US]}
    ran = completed(3, {"notify": "always"}, **columns)
    assert interrupts(ran) == 2
    assert ran.stages(2)["interrupt delivery"] == 2 * SERVICE + 2 * 3 * US
    for notify in ("flag", "event_idx"):
        assert interrupts(completed(3, {"notify": notify}, **columns)) == 1


def test_a_guest_that_reaps_as_it_posts_is_not_interrupted(completed: Any) -> None:
    ran = completed(3, {"completions": "polled"}, emulate=5 * US, compute=[0, 0, 100 * US])
    assert ran.exits == {}
    assert ran.stages(2) == {"reap": 6 * US, "back end emulation": 5 * US}


def test_a_guest_that_looks_at_nothing_pays_nothing(completed: Any) -> None:
    ran = completed(3, {"completions": "none"}, emulate=5 * US, compute=[0, 0, 100 * US])
    assert ran.exits == {}
    assert ran.column("stall") == [0, 0, 0]


def test_spinning_for_one_result_reaps_the_others_and_needs_no_interrupt(completed: Any) -> None:
    # Done at 5, 10, 15; the guest spins for the third from 0 on, and reaps three. The fourth, done
    # at 29, interrupts it again.
    ran = completed(5, emulate=5 * US, needed_by=[-1, -1, 3, -1, -1], compute=[0] * 4 + [100 * US])
    assert ran.stages(2) == {
        "wait: completion": 15 * US, "pick up answer": 9 * US,
        "wait in ring": 10 * US, "back end emulation": 5 * US,
    }  # fmt: skip
    assert interrupts(ran) == 1
    assert ran.stages(4)["interrupt delivery"] == SERVICE + 3 * US


def test_so_many_elements_make_one_interrupt(completed: Any) -> None:
    columns = {"emulate": 100 * US, "compute": [0] * 8 + [5000 * US]}
    assert interrupts(completed(9, **columns)) == 8
    assert interrupts(completed(9, {"interrupt_count": 4}, **columns)) == 2
    assert interrupts(completed(9, {"interrupt_count": 3}, **columns)) == 2  # two are left over


def test_the_first_element_held_back_starts_the_timer(completed: Any) -> None:
    # Done at 100, 200, …: the timer fires 250 later, with three elements there.
    columns = {"emulate": 100 * US, "compute": [0] * 4 + [5000 * US]}
    held = {"interrupt_count": 100, "interrupt_timer": "250 us"}
    ran = completed(5, held, **columns)
    assert interrupts(ran) == 2  # at 350 for three, at 650 for the fourth
    assert ran.stages(4)["interrupt delivery"] == 2 * SERVICE + 4 * 3 * US


def test_a_timer_overtaken_by_the_count_fires_for_nobody(completed: Any) -> None:
    columns = {"emulate": 100 * US, "compute": [0] * 4 + [5000 * US]}
    held = {"interrupt_count": 2, "interrupt_timer": "150 us"}
    assert interrupts(completed(5, held, **columns)) == 2


def test_a_sleeping_guest_waits_as_long_as_its_interrupt_is_held_back(completed: Any) -> None:
    held = {"interrupt_count": 8, "interrupt_timer": "400 us", "waiting": "sleep"}
    ran = completed(1, held, emulate=100 * US, needed_by=[1])
    assert ran.column("done") == [100 * US]
    assert ran.stages(0)["wait: completion"] == (500 - 10) * US  # ideal: out costs 10


@pytest.mark.parametrize(
    ("in_flight", "share"),
    [(3, 1), (6, 4 / 5), (10, 3 / 4), (14, 2 / 3), (16, 1 / 2), (32, 1 / 4), (64, 1 / 8)],
)
def test_the_more_is_in_flight_the_fewer_completions_interrupt(
    completed: Any, in_flight: int, share: float
) -> None:
    # A full ring: whenever one is done the guest posts the next, so that after each completion as
    # many are in flight as there are descriptors. Service of an interrupt is without cost.
    n = 20 * in_flight + 241
    free = {**COSTS, "injection": "0 s", "pick_up": "0 s", "world_switch_out": "0 s",
            "world_switch_in": "0 s", "eoi": "0 s"}  # fmt: skip
    ran = completed(
        n, {"depth": in_flight, "interrupt_ratio": "commands_in_flight", "notify": "always"},
        emulate=10 * US, costs=free,
    )  # fmt: skip
    full = n - in_flight
    assert interrupts(ran) == pytest.approx(share * full, abs=1 + 0.01 * full)


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        ({"interrupt_count": 0}, "interrupt_count"),
        ({"interrupt_timer": "5 us"}, "not held back"),
        ({"interrupt_count": 4, "interrupt_timer": "0 s"}, "interrupt_timer"),
        ({"interrupt_count": 4, "waiting": "sleep"}, "sleep for ever"),
        ({"completions": "polled", "waiting": "sleep"}, "never comes"),
        ({"interrupt_count": 4, "interrupt_ratio": "commands_in_flight"}, "by count and by ratio"),
    ],
)
def test_parameters_that_do_not_fit_are_refused(parameters: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        make_mechanism(polled(**parameters))


@pytest.mark.parametrize("queues", ["vcpu", "guest"])
def test_a_vcpu_that_sleeps_is_interrupted_whatever_others_have_in_flight(
    run_by: Any, queues: str
) -> None:
    # One vCPU waits for each of its six requests; the other keeps the ring of eight full. Were all
    # eight counted, one of four completions would not interrupt.
    mechanism = polled(
        queues=queues, depth=8, waiting="sleep", interrupt_ratio="commands_in_flight"
    )
    n = 6 + 200
    ran = run_by(mechanism, n, platform="ideal", costs=COSTS, space=Space.DOORBELL, write=1,
                 vcpu=[0] * 6 + [1] * 200, emulate=100 * US,
                 needed_by=[1, 2, 3, 4, 5, 6] + [-1] * 200)  # fmt: skip
    assert len(ran.column("done")) == n
