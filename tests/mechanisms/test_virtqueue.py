"""Virtqueues: who kicks whom when, what a request waits for, and what the guest waits for."""

from __future__ import annotations

from typing import Any

import pytest

from vmexit_sim.analytic import producer_consumer
from vmexit_sim.configuration import checked
from vmexit_sim.errors import InputError
from vmexit_sim.guest.table import NEVER, Flag, Space, make_table
from vmexit_sim.guest.workload import Recorded
from vmexit_sim.hypervisor.idle import Idle
from vmexit_sim.hypervisor.platform import load_platform
from vmexit_sim.mechanisms import make_mechanism
from vmexit_sim.policy import Match, Policy, Rule
from vmexit_sim.study.simulate import simulate

US = 1_000_000
COSTS = {
    "gather": "1 us", "world_switch_out": "10 us", "dispatch_mmio": "20 us", "signal": "2 us",
    "world_switch_in": "30 us", "thread_wake_up": "40 us", "pick_up": "3 us", "injection": "7 us",
    "eoi": "5 us", "posted_injection": "6 us", "decode_mmio": "100 us", "dispatch_port": "200 us",
    "decode_port_out": "400 us", "to_user": "1 ms", "to_kernel": "2 ms", "complete_mmio": "4 ms",
    "vcpu_wake_up": "50 us", "dispatch_halt": "4 us", "state_change": "60 us",
}  # fmt: skip
KICK = 62 * US  # out, dispatch, signal, in
KICKED = {"world switch out": 10 * US, "dispatch": 20 * US, "eventfd signal": 2 * US,
          "world switch in": 30 * US}  # fmt: skip


def virtqueue(**parameters: Any) -> dict[str, Any]:
    return {"name": "virtqueue", "completions": "none", **parameters}


@pytest.fixture
def posted(run_by: Any) -> Any:
    """Ring doorbells of a virtqueue, on the made-up costs above."""

    def run(n: int, parameters: dict[str, Any] | None = None, **columns: Any) -> Any:
        columns = {"space": Space.DOORBELL, "write": 1, "costs": COSTS, **columns}
        return run_by(virtqueue(**parameters or {}), n, platform="ideal", **columns)

    return run


def test_a_request_to_a_sleeping_back_end_by_hand(posted: Any) -> None:
    # Written by 1; exit and dispatch until 31, signal until 33, in the guest again at 63. The back
    # end has woken up at 73, and is done at 78.
    ran = posted(1, emulate=5 * US)
    assert ran.column("posted") == [1 * US]
    assert ran.column("done") == [78 * US]
    assert ran.column("stall") == [1 * US + KICK]
    assert ran.stages() == {
        "gather": 1 * US, **KICKED,
        "wait in ring": 32 * US, "back end wake-up": 40 * US, "back end emulation": 5 * US,
    }  # fmt: skip
    assert ran.exits == {"EPT_MISCONFIG": 1}


def test_what_is_posted_while_the_back_end_wakes_or_works_costs_no_exit(posted: Any) -> None:
    ran = posted(3, emulate=5 * US)
    assert ran.exits == {"EPT_MISCONFIG": 1}
    assert ran.column("stall") == [1 * US + KICK, 1 * US, 1 * US]
    assert ran.column("done") == [78 * US, 83 * US, 88 * US]
    assert ran.stages(2) == {
        "gather": 1 * US, "wait in ring": 18 * US, "back end emulation": 5 * US,
    }  # fmt: skip


def test_a_back_end_that_has_gone_to_sleep_is_kicked_again(posted: Any) -> None:
    ran = posted(2, emulate=5 * US, compute=[0, 500 * US])
    assert ran.exits == {"EPT_MISCONFIG": 2}
    assert ran.column("done") == [78 * US, (564 + 77) * US]


@pytest.mark.parametrize(("notify", "kicks"), [("always", 4), ("flag", 2), ("event_idx", 1)])
def test_what_each_way_of_asking_costs_in_kicks(posted: Any, notify: str, kicks: int) -> None:
    # The back end wakes up from 33 to 103. The second request is posted at 64: by the flag, which
    # the back end clears only when it runs, it is a second kick; the index has moved on already.
    costs = {**COSTS, "thread_wake_up": "70 us"}
    ran = posted(4, {"notify": notify}, emulate=1000 * US, costs=costs)
    assert ran.exits == {"EPT_MISCONFIG": kicks}


def test_a_kick_that_comes_late_wakes_up_for_nothing(posted: Any) -> None:
    # Always kicked: the second kick, signalled at 96, finds a back end that had taken the request
    # at 78 and sleeps since 83. It wakes up in vain, and the third, at 127, is posted meanwhile.
    ran = posted(3, {"notify": "always"}, emulate=5 * US)
    assert ran.column("posted") == [1 * US, 64 * US, 127 * US]
    assert ran.column("done") == [78 * US, 83 * US, (96 + 40 + 5) * US]
    assert ran.stages(2)["back end wake-up"] == 9 * US
    assert "wait in ring" not in ran.stages(2)


def test_a_full_ring_makes_the_guest_wait_for_a_descriptor(posted: Any) -> None:
    # Two descriptors: the third request waits from 64 until the first is done at 78.
    ran = posted(4, {"depth": 2}, emulate=50 * US)
    assert ran.column("posted") == [1 * US, 64 * US, 124 * US, 174 * US]
    assert ran.column("done") == [123 * US, 173 * US, 223 * US, 273 * US]
    assert ran.stages(2)["wait: descriptor"] == (123 - 64) * US
    assert "wait: descriptor" not in ran.stages(1)


@pytest.mark.parametrize(
    ("parameters", "space", "stall", "reason"),
    [
        ({}, Space.DOORBELL, 63 * US, "EPT_MISCONFIG"),
        ({"datamatch": True}, Space.DOORBELL, 163 * US, "EPT_MISCONFIG"),
        ({"kick": "user"}, Space.DOORBELL, 7163 * US, "EPT_MISCONFIG"),
        ({}, Space.PORT_IO, 643 * US, "IO_INSTRUCTION"),
        ({"datamatch": True}, Space.PORT_IO, 643 * US, "IO_INSTRUCTION"),
        ({"kick": "user"}, Space.PORT_IO, 3643 * US, "IO_INSTRUCTION"),
    ],
)
def test_what_a_kick_costs(
    posted: Any, parameters: dict[str, Any], space: Space, stall: int, reason: str
) -> None:
    ran = posted(1, parameters, space=space)
    assert ran.column("stall") == [stall]
    assert ran.exits == {reason: 1}


def test_a_kick_by_user_space_waits_for_the_vmms_lock(posted: Any) -> None:
    ran = posted(2, {"kick": "user"}, vcpu=[0, 1])
    assert ran.column("stall") == [7163 * US, 7165 * US]  # it is held for the signal
    assert ran.stages(1)["wait: VMM lock"] == 2 * US


def test_a_needed_result_is_spun_for(posted: Any) -> None:
    # Done at 78, while the vCPU is in the guest again since 63; it sees the result 3 later.
    ran = posted(2, emulate=5 * US, needed_by=[1, NEVER], compute=[0, 10 * US])
    assert ran.column("resume")[0] == 81 * US
    assert ran.stages(0)["wait: completion"] == 15 * US
    assert ran.stages(0)["pick up answer"] == 3 * US
    assert ran.column("start")[1] == 91 * US


def test_a_result_needed_later_is_waited_for_later(posted: Any) -> None:
    # Two requests in flight: before row 2's compute the first must be done, not the second.
    ran = posted(3, emulate=500 * US, needed_by=[2, 3, NEVER])
    assert ran.column("done")[0] == 573 * US
    assert ran.column("resume") == [63 * US, 576 * US, 1076 * US]
    assert ran.stages(1)["wait: completion"] == (573 - 64) * US


def test_one_needed_before_an_earlier_one_is_waited_for_at_once(posted: Any) -> None:
    ran = posted(4, emulate=500 * US, needed_by=[NEVER, 9, 3, NEVER])
    assert ran.column("resume")[:3] == [63 * US, 64 * US, (73 + 1500 + 3) * US]


def test_another_mechanisms_row_waits_for_what_the_next_needs(run_by: Any) -> None:
    ran = run_by(
        virtqueue(), 3, platform="ideal", costs=COSTS, match=Match(space=["doorbell"]),
        space=[Space.DOORBELL, Space.MMIO, Space.MMIO], write=1, emulate=[500 * US, 0, 0],
        needed_by=[2, NEVER, NEVER], location="kernel",
    )  # fmt: skip
    assert ran.column("resume")[0] == 63 * US
    assert ran.stages(1)["wait: completion"] == (573 - 63) * US
    assert "wait: completion" not in ran.stages(2)


def test_a_sleeping_guest_is_woken_by_the_interrupt(posted: Any) -> None:
    # In the guest at 63; out, halt dispatched at 77; done at 123, awake at 173, in the guest at
    # 203, the element reaped at 206, its EOI an exit of 45.
    waits = {"completions": "interrupt", "waiting": "sleep"}
    ran = posted(1, waits, emulate=50 * US, needed_by=[1])
    assert ran.column("done") == [123 * US]
    assert ran.column("stall") == [251 * US]
    assert ran.stages() == {
        "gather": US, "world switch out": 20 * US, "dispatch": 24 * US, "eventfd signal": 2 * US,
        "world switch in": 60 * US, "wait: completion": 46 * US, "wait: vCPU wake-up": 50 * US,
        "pick up answer": 3 * US, "end of interrupt": 45 * US,
        "wait in ring": 32 * US, "back end wake-up": 40 * US, "back end emulation": 50 * US,
    }  # fmt: skip
    assert ran.exits == {"EPT_MISCONFIG": 1, "HLT": 1, "APIC_ACCESS": 1}


def test_a_guest_whose_interrupt_is_there_before_it_halts_does_not_halt(posted: Any) -> None:
    # The back end is done at 38, in the middle of the kick: the interrupt is let in at 63.
    waits = {"completions": "interrupt", "waiting": "sleep"}
    ran = posted(1, waits, emulate=5 * US, needed_by=[1], costs={**COSTS, "thread_wake_up": "0 s"})
    assert ran.exits == {"EPT_MISCONFIG": 1, "EXTERNAL_INTERRUPT": 1, "APIC_ACCESS": 1}
    assert ran.column("stall") == [(63 + 7 + 3 + 45) * US]


def test_an_interrupt_on_the_way_to_the_halt_is_not_lost(posted: Any) -> None:
    # Done at 75, while the exit of the halt goes on from 63 until 77: it does not block.
    waits = {"completions": "interrupt", "waiting": "sleep"}
    ran = posted(1, waits, emulate=2 * US, needed_by=[1])
    assert ran.column("done") == [75 * US]
    assert ran.column("stall") == [(77 + 30 + 3 + 45) * US]
    assert ran.exits == {"EPT_MISCONFIG": 1, "HLT": 1, "APIC_ACCESS": 1}


@pytest.mark.parametrize(
    ("idle", "stall", "exits"),
    [
        # Done at 123, in the guest since 63; without polling it is through at 251.
        ({"guest": "halt"}, 251, {"EPT_MISCONFIG": 1, "HLT": 1, "APIC_ACCESS": 1}),
        # The host polls from 77 on: no wake-up.
        ({"guest": "halt", "host_poll": {"window": "always", "longest": "50 us"}},
         123 + 30 + 3 + 45, {"EPT_MISCONFIG": 1, "HLT": 1, "APIC_ACCESS": 1}),
        ({"guest": "halt", "host_poll": {"window": "always", "longest": "40 us"}},
         251, {"EPT_MISCONFIG": 1, "HLT": 1, "APIC_ACCESS": 1}),
        # The guest polls from 63 on: no halt, and the interrupt is let in by an exit.
        ({"guest": "halt", "guest_poll": {"window": "always", "longest": "70 us"}},
         123 + 7 + 3 + 45, {"EPT_MISCONFIG": 1, "EXTERNAL_INTERRUPT": 1, "APIC_ACCESS": 1}),
        ({"guest": "poll"},
         123 + 7 + 3 + 45, {"EPT_MISCONFIG": 1, "EXTERNAL_INTERRUPT": 1, "APIC_ACCESS": 1}),
        # Its window is over at 83: out and dispatched at 97.
        ({"guest": "halt", "guest_poll": {"window": "always", "longest": "20 us"}},
         251, {"EPT_MISCONFIG": 1, "HLT": 1, "APIC_ACCESS": 1}),
    ],
)  # fmt: skip
def test_a_sleeping_guest_polls_as_the_policy_idles(
    idle: dict[str, Any], stall: int, exits: dict[str, int]
) -> None:
    table = make_table(1, space=Space.DOORBELL, write=1, emulate=50 * US, needed_by=[1])
    rules = [Rule(side="host", mechanism=virtqueue(completions="interrupt", waiting="sleep"))]
    policy = Policy(title="idles", idle=checked(Idle, idle), rules=rules)
    result = simulate(policy, load_platform("ideal", changes=COSTS), Recorded(table),
                      keep_rows=True, engine="simpy")  # fmt: skip
    assert result.to_columns()["stall"].tolist() == [stall * US]
    assert {tally.reason: tally.samples for tally in result.exits} == exits


def test_each_vcpu_has_a_queue_and_a_thread_or_they_share_one(posted: Any) -> None:
    columns = {"vcpu": [0, 1], "emulate": 100 * US}
    assert posted(2, **columns).column("done") == [173 * US] * 2
    ran = posted(2, {"queues": "guest"}, **columns)
    assert ran.column("done") == [173 * US, 273 * US]
    assert ran.exits == {"EPT_MISCONFIG": 1}


def test_rules_with_labels_have_queues_of_their_own(run_by: Any) -> None:
    table = make_table(2, space=Space.DOORBELL, write=1, device=[0, 1], devices=("net", "blk"),
                       emulate=500 * US)  # fmt: skip
    rules = [
        Rule(side="host", match=Match(device=[name]), mechanism=virtqueue(label=name))
        for name in ("net", "blk")
    ]
    result = simulate(Policy(title="two", rules=rules), load_platform("ideal", changes=COSTS),
                      Recorded(table), keep_rows=True, engine="simpy")  # fmt: skip
    assert result.to_columns()["done"].tolist() == [573 * US, (63 + 573) * US]


def test_a_state_change_costs_the_back_end_its_time(posted: Any) -> None:
    ran = posted(1, space=Space.PCI_CONFIG, flags=Flag.DECODE_TOGGLE)
    assert ran.stages()["back end state change"] == 60 * US


def test_the_back_end_is_a_resource_that_is_busy_while_it_works(posted: Any) -> None:
    ran = posted(3, {"depth": 1}, emulate=500 * US)
    (back_end,) = [use for use in ran.result.resources if use.name.endswith(": back end")]
    assert back_end.takes == 2  # the third is still to come when the vCPU halts
    assert back_end.busy == 1000 * US


def test_the_index_formula_holds_where_sixteen_bits_wrap() -> None:
    # The back end is asleep at each request, so each kicks, the 65,537th too.
    n = 2**16 + 3
    table = make_table(n, space=Space.DOORBELL, write=1, compute=200 * US)
    policy = Policy(title="one", rules=[Rule(side="host", mechanism=virtqueue(depth=2))])
    result = simulate(policy, load_platform("ideal", changes=COSTS), Recorded(table))
    assert result.summary.exits == n


@pytest.mark.parametrize(
    ("think", "service", "wake_up"),
    [
        (50, 5, 40), (50, 20, 40), (50, 40, 40), (50, 47, 40), (50, 48, 40), (50, 52, 40),
        (50, 90, 40), (20, 60, 40), (3, 7, 40), (50, 51, 40), (50, 1, 0), (50, 60, 0), (50, 80, 0),
        (50, 82, 0), (50, 51, 200), (10, 9, 200),
    ],
)  # fmt: skip
def test_throughput_and_kicks_are_those_of_the_deterministic_formula(
    posted: Any, think: int, service: int, wake_up: int
) -> None:
    costs = {**COSTS, "thread_wake_up": f"{wake_up} us"}
    want = producer_consumer(1 + think, service, kick=62, signalled=32, wake_up=wake_up)
    n = 60 * (want.items_per_kick or 1) + 1
    ran = posted(n, {"depth": 2048}, compute=think * US, emulate=service * US, costs=costs)
    done = ran.column("done")
    assert ran.exits == {"EPT_MISCONFIG": 1 if want.items_per_kick is None else 61}
    assert (done[-1] - done[0]) / US / (n - 1) == pytest.approx(1 / want.throughput, rel=1e-12)


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        ({"depth": 0}, "depth: 0 does not fit"),
        ({"depth": 32_769}, "depth"),
        ({"notify": "event"}, "notify"),
        ({"kick": "usr"}, "kick"),
        ({"waiting": "sleep"}, "an interrupt that never comes"),
        ({"dpeth": 3}, "did you mean 'depth'"),
    ],
)
def test_parameters_that_do_not_fit_are_refused(parameters: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        make_mechanism(virtqueue(**parameters))
