"""A side core: where it is when, whom it serves next, what it spends, and when it goes off."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vmexit_sim.device import load_devices
from vmexit_sim.engine import run
from vmexit_sim.errors import InputError
from vmexit_sim.guest.table import NEVER, AccessTable, Space, make_table
from vmexit_sim.guest.workload import Recorded
from vmexit_sim.hypervisor.host import Host
from vmexit_sim.hypervisor.platform import load_platform
from vmexit_sim.lowering import lower
from vmexit_sim.mechanisms import make_mechanism
from vmexit_sim.mechanisms.side_core import POLLING, SideCore
from vmexit_sim.policy import Policy, Rule
from vmexit_sim.steps import Queue, Steps, spend
from vmexit_sim.streams import Streams

US = 1_000_000
COSTS = {
    "gather": "1 us", "poll_queue": "10 us", "world_switch_out": "10 us", "dispatch_mmio": "20 us",
    "signal": "2 us", "world_switch_in": "30 us", "thread_wake_up": "40 us",
}  # fmt: skip


def side_core(**parameters: Any) -> dict[str, Any]:
    return {"name": "side_core", "completions": "none", **parameters}


@pytest.fixture
def polled(run_by: Any) -> Any:
    """Post requests that a side core looks for, on the made-up costs above."""

    def run(n: int, parameters: dict[str, Any] | None = None, **columns: Any) -> Any:
        columns = {"space": Space.DOORBELL, "write": 1, "costs": COSTS, **columns}
        return run_by(side_core(**parameters or {}), n, platform="ideal", **columns)

    return run


def use(ran: Any, ending: str) -> Any:
    (found,) = [use for use in ran.result.resources if use.name.endswith(ending)]
    return found


def test_a_request_waits_for_the_next_look_and_costs_no_exit(polled: Any) -> None:
    # Looks end at 10, 20, 30, …; what is posted at 26 is seen at 30.
    ran = polled(1, compute=25 * US, emulate=5 * US)
    assert ran.column("posted") == [26 * US]
    assert ran.column("done") == [35 * US]
    assert ran.column("stall") == [1 * US]
    assert ran.exits == {}
    assert ran.stages() == {"gather": US, "wait in ring": 4 * US, "back end emulation": 5 * US}


@pytest.mark.parametrize(
    ("posted", "seen"), [(1, 10), (9, 10), (10, 20), (11, 20), (10_000, 10_010)]
)
def test_a_look_sees_what_was_posted_before_it_ended(polled: Any, posted: int, seen: int) -> None:
    ran = polled(1, compute=(posted - 1) * US)
    assert ran.column("done") == [seen * US]


def test_queues_are_looked_at_in_turn(polled: Any) -> None:
    # Queue 0 is looked at until 10, 40, 70; queue 1 until 20, 50; queue 2 until 30, 60. Posted at
    # 35, 33 and 38, they are seen at 40, at 50 after 3 of work, and at 60 after 3 more.
    ran = polled(3, vcpu=[0, 1, 2], compute=[34 * US, 32 * US, 37 * US], emulate=3 * US)
    assert ran.column("done") == [43 * US, 56 * US, 69 * US]
    assert ran.exits == {}


def test_one_queue_for_the_guest_is_looked_at_each_time(polled: Any) -> None:
    ran = polled(3, {"queues": "guest"}, vcpu=[0, 1, 2], compute=[34 * US, 32 * US, 37 * US],
                 emulate=3 * US)  # fmt: skip
    assert ran.column("done") == [46 * US, 43 * US, 49 * US]


def test_a_queue_is_served_until_it_is_empty_or_in_bursts(polled: Any) -> None:
    columns = {"vcpu": [0, 0, 0, 0, 1], "emulate": 5 * US, "compute": [0, 0, 0, 0, 0]}
    # Queue 0 from 10 on: what was posted at 1, 2, 3, 4; then queue 1 at 40.
    assert polled(5, **columns).column("done") == [15 * US, 20 * US, 25 * US, 30 * US, 45 * US]
    assert polled(5, {"burst": 2}, **columns).column("done") == [
        15 * US, 20 * US, 50 * US, 55 * US, 35 * US,
    ]  # fmt: skip


def test_where_looking_costs_nothing_a_request_is_seen_at_once(polled: Any) -> None:
    costs = {**COSTS, "poll_queue": "0 s"}
    ran = polled(4, vcpu=[0, 1, 2, 3], compute=[9 * US, 8 * US, 7 * US, 8 * US], costs=costs)
    assert ran.column("done") == ran.column("posted")


def test_the_core_is_spent_and_its_work_is_told_apart(polled: Any) -> None:
    ran = polled(4, emulate=25 * US, compute=99 * US)
    assert use(ran, ": core").utilisation == 1
    assert use(ran, ": core at work").busy == 75 * US  # the fourth comes after the run's end
    assert ran.result.finish == [400 * US]


def test_a_core_without_work_goes_off_and_is_kicked_on(polled: Any) -> None:
    # Off at 50. Posted at 101, signalled at 133, awake at 173, looking until 183.
    ran = polled(1, {"idle_off": "50 us"}, compute=100 * US, emulate=5 * US)
    assert ran.column("done") == [188 * US]
    assert ran.exits == {"EPT_MISCONFIG": 1}
    assert ran.stages()["back end wake-up"] == 40 * US
    assert ran.stages()["wait in ring"] == 42 * US
    assert use(ran, ": core").busy == 50 * US  # the run ends at 163, before it is on again


def test_a_core_that_was_kicked_on_goes_off_again_after_the_same_time(polled: Any) -> None:
    # On from 173 as above, at work until 188, off at 238; the second kick comes at 595.
    ran = polled(2, {"idle_off": "50 us"}, compute=[100 * US, 400 * US], emulate=5 * US)
    assert ran.exits == {"EPT_MISCONFIG": 2}
    assert use(ran, ": core").busy == (50 + 65) * US


def test_a_core_is_called_what_it_is(polled: Any) -> None:
    assert use(polled(1), ": core").name.startswith("side core")


@pytest.mark.parametrize(("per_second", "kicks"), [(1_000, 1), (20_000, 5)])
def test_a_core_is_turned_on_by_kicks_that_come_fast_enough(
    polled: Any, per_second: int, kicks: int
) -> None:
    # One request every 100 us or so: 10,000 kicks a second turn it on, or do not.
    adaptive = {"idle_off": "500 us", "on_above": per_second}
    ran = polled(5, adaptive, compute=100 * US, emulate=5 * US)
    assert ran.exits == {"EPT_MISCONFIG": kicks}
    busy = use(ran, ": core").busy
    assert (busy > 200 * US) == (kicks == 1)


def test_a_core_that_finds_work_in_time_stays_on(polled: Any) -> None:
    ran = polled(3, {"idle_off": "50 us"}, compute=40 * US, emulate=5 * US)
    assert ran.exits == {}


def test_a_request_needed_by_the_next_row_is_spun_for(polled: Any) -> None:
    ran = polled(2, compute=0, emulate=5 * US, needed_by=[1, NEVER])
    assert ran.column("resume")[0] == 15 * US
    assert ran.stages(0)["wait: completion"] == 14 * US


def test_looks_at_irregular_intervals_are_refused(polled: Any) -> None:
    with pytest.raises(InputError, match=r"poll_queue: is random, .* regular intervals"):
        polled(1, costs={"poll_queue": {"kind": "exponential", "mean": "1 us"}})


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        ({"burst": 0}, "burst"),
        ({"idle_off": "0 s"}, "idle_off"),
        ({"idle_of": "1 s"}, "idle_off"),
        ({"on_above": 10}, "never goes off"),
    ],
)
def test_parameters_that_do_not_fit_are_refused(parameters: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        make_mechanism(side_core(**parameters))


class Spinner(SideCore):
    """A core that really makes an event of each look, as long as the run lasts."""

    def _through_empty_queues(self, host: Host, core: Queue, look: int, queues: int) -> Steps:
        yield spend(POLLING, look)


@st.composite
def posts(draw: st.DrawFn) -> AccessTable:
    """Requests at odd times, which meet no look's end: there the two may differ."""
    vcpus = draw(st.integers(1, 4))
    rows = draw(st.lists(st.integers(1, 8), min_size=vcpus, max_size=vcpus))
    n = sum(rows)
    gaps = np.array(draw(st.lists(st.integers(0, 40), min_size=n, max_size=n)))
    work = np.array(draw(st.lists(st.integers(0, 9), min_size=n, max_size=n)))
    return make_table(
        n, space=Space.DOORBELL, write=1, vcpu=np.repeat(np.arange(vcpus), rows),
        compute=gaps * US + 1, emulate=work * US,
    )  # fmt: skip


@settings(max_examples=40)
@given(table=posts())
def test_a_core_that_skips_empty_looks_is_where_one_would_be_that_makes_them(
    table: AccessTable,
) -> None:
    import simpy

    platform = load_platform("ideal", changes={"poll_queue": "10 us"})

    def done(mechanism: SideCore) -> list[int]:
        policy = Policy(title="one", rules=[Rule(side="host", mechanism=mechanism)])
        lowered = lower(policy, platform, load_devices(), Recorded(table))
        # The spinner would look for ever: the world ends when all must be done.
        until = int(table.compute.sum() + table.emulate.sum()) + 1000 * US
        actual = simpy.Environment.run
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(simpy.Environment, "run", lambda env: actual(env, until=until))
            result = run(lowered, Recorded(table), Streams(1), engine="simpy", keep_rows=True)
        return list(result.to_columns()["done"].tolist())

    assert done(SideCore(completions="none")) == done(Spinner(completions="none"))
