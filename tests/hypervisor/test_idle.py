"""Idle: what waiting costs, by hand arithmetic; who wakes when, and the same on both engines."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vmexit_sim.configuration import checked
from vmexit_sim.device import load_devices
from vmexit_sim.errors import InputErrors
from vmexit_sim.guest.table import NEVER as NEVER_DUE
from vmexit_sim.guest.table import AccessTable, Flag, Space, make_table
from vmexit_sim.guest.workload import Recorded
from vmexit_sim.hypervisor.host import Host
from vmexit_sim.hypervisor.idle import Idle
from vmexit_sim.hypervisor.platform import Platform, load_platform
from vmexit_sim.lowering import HostCpus, lower
from vmexit_sim.measure.records import RunResult
from vmexit_sim.mechanisms import Mechanism
from vmexit_sim.mechanisms.base import SideActor
from vmexit_sim.policy import Policy, Rule, load_policy
from vmexit_sim.steps import (
    NOBODY,
    Column,
    Moment,
    Queue,
    Register,
    Role,
    Stage,
    Steps,
    let,
    loop,
    put,
    spend,
    stamp,
    take,
)
from vmexit_sim.study.idling import IDLERS

US = 1_000_000
OUT, DISPATCH, IN, WAKE = 2 * US, 1 * US, 3 * US, 5 * US
NEVER: dict[str, Any] = {"guest": "halt"}
ALWAYS: dict[str, Any] = {"guest": "halt", "host_poll": {"window": "always", "longest": "50 us"}}
DYNAMIC: dict[str, Any] = {
    "guest": "halt",
    "host_poll": {"window": "dynamic", "longest": "50 us", "grow_start": "10 us"},
}
GUEST: dict[str, Any] = {
    "guest": "halt",
    "guest_poll": {"window": "dynamic", "longest": "80 us", "grow_start": "20 us"},
}


@pytest.fixture(scope="module")
def platform() -> Platform:
    """Nothing costs anything but what a halt costs."""
    costs = {"world_switch_out": "2 us", "dispatch_halt": "1 us", "world_switch_in": "3 us",
             "vcpu_wake_up": "5 us"}  # fmt: skip
    return load_platform("ideal", changes=costs)


def policy(idle: dict[str, Any], mechanism: Any = "native") -> Policy:
    return checked(
        Policy,
        {"title": "idle", "idle": idle, "rules": [{"side": "host", "mechanism": mechanism}]},
    )


def waits(*us: float) -> AccessTable:
    """One vCPU that waits so long before each of its accesses, which cost nothing."""
    return make_table(
        len(us), space=Space.MMIO, write=True, flags=Flag.WAITED, compute=[int(t * US) for t in us]
    )


Ran = Callable[..., RunResult]


@pytest.fixture(scope="module")
def ran(platform: Platform, on_both_engines: Any) -> Ran:
    """Run a guest on both engines, idle as told."""

    def run(idle: dict[str, Any], table: AccessTable) -> RunResult:
        workload = Recorded(table)
        return on_both_engines(lower(policy(idle), platform, load_devices(), workload), workload)

    return run


def stages(result: RunResult, row: int) -> dict[str, float]:
    """The stages of one access that took time, in us."""
    columns = result.to_columns()
    return {
        name.removeprefix("stage: "): column[row] / US
        for name, column in columns.items()
        if name.startswith("stage: ") and column[row]
    }


def late(result: RunResult) -> list[float]:
    """How late the guest went on after each of its waits, in us."""
    columns = result.to_columns()
    named = {f"stage: {s.name}" for s in result.summary.stages if s.role is Role.DELAY}
    return [sum(columns[name][row] for name in named) / US for row in range(len(columns["due"]))]


def test_who_never_polls_is_woken_each_time(ran: Ran) -> None:
    result = ran(NEVER, waits(20))
    assert stages(result, 0) == {
        "halt exit": 3, "guest idle": 17, "vCPU wake-up": 5, "halt entry": 3
    }  # fmt: skip
    assert result.finish == [28 * US]
    assert [(t.reason, t.samples, t.total) for t in result.exits] == [("HLT", 1, 28 * US)]
    assert result.hypervisor_time == 8 * US
    assert result.to_columns()["stall"].tolist() == [0]
    assert result.idle_burnt == pytest.approx(3 / 20)
    assert result.cpu_share == pytest.approx(11 / 28)


def test_who_always_polls_sees_the_event_while_it_polls(ran: Ran) -> None:
    result = ran(ALWAYS, waits(20, 53, 54))
    assert stages(result, 0) == {"halt exit": 3, "host poll": 17, "halt entry": 3}
    assert stages(result, 1) == {"halt exit": 3, "host poll": 50, "halt entry": 3}
    assert stages(result, 2) == {
        "halt exit": 3, "host poll": 50, "guest idle": 1, "vCPU wake-up": 5, "halt entry": 3
    }  # fmt: skip


def test_idle_poll_never_leaves_the_guest(ran: Ran) -> None:
    result = ran({"guest": "poll"}, waits(20, 5_000))
    assert [stages(result, row) for row in (0, 1)] == [{"guest poll": 20}, {"guest poll": 5_000}]
    assert (result.exits, result.idle_burnt, result.cpu_share) == ([], 1.0, 1.0)


def test_an_event_during_the_exit_delays_the_guest_by_what_is_left_of_it(
    ran: Ran,
) -> None:
    for idle in (NEVER, ALWAYS, DYNAMIC):
        result = ran(idle, waits(1, 3))
        assert stages(result, 0) == {
            "halt exit": 1, "halt exit, after the event": 2, "halt entry": 3
        }  # fmt: skip
        assert stages(result, 1) == {"halt exit": 3, "halt entry": 3}
        assert result.finish == [12 * US]


def test_who_does_not_wait_does_not_halt(ran: Ran) -> None:
    for idle in (NEVER, ALWAYS, GUEST, {"guest": "poll"}):
        assert ran(idle, waits(0, 0)).finish == [0]


def test_the_hosts_window_grows_until_it_holds_the_wait(ran: Ran) -> None:
    """A halt lasts 25 - 3 + 5 = 27 us: 0, 10, 20 are too short, 40 is not."""
    result = ran(DYNAMIC, waits(*[25] * 6))
    polled = [stages(result, row).get("host poll", 0) for row in range(6)]
    assert polled == [0, 10, 20, 22, 22, 22]
    assert late(result) == [8, 8, 8, 3, 3, 3]


def test_the_hosts_window_stops_at_its_longest(ran: Ran) -> None:
    """A halt of 44 to 49 us makes the window grow: 10, 20, 40, 50."""
    result = ran(DYNAMIC, waits(*[46.5] * 5, 90, 25))
    polled = [stages(result, row).get("host poll", 0) for row in range(7)]
    assert polled == [0, 10, 20, 40, 43.5, 50, 0]  # 90: too long, so back to nothing


@pytest.mark.parametrize(
    ("shrink", "polled"),
    [(0, [40, 0]), (1, [40, 40]), (2, [40, 20]), (4, [40, 10]), (5, [40, 0])],
)
def test_the_hosts_window_shrinks_as_it_is_told(shrink: int, polled: list[int], ran: Ran) -> None:
    """Up to 40 us, then two long waits; below 10 us, where growing starts, it becomes nothing."""
    idle = {**DYNAMIC, "host_poll": {**DYNAMIC["host_poll"], "shrink": shrink}}
    result = ran(idle, waits(25, 25, 25, 200, 200))
    assert [stages(result, row).get("host poll", 0) for row in (3, 4)] == polled


def test_a_halt_as_long_as_the_longest_window_changes_nothing_in_the_host(
    ran: Ran,
) -> None:
    """48 us: the halt lasts 48 - 3 + 5 = 50."""
    result = ran(DYNAMIC, waits(48, 48))
    assert [stages(result, row).get("host poll", 0) for row in (0, 1)] == [0, 0]


def test_the_guests_window_grows_after_halts_and_spares_exits(ran: Ran) -> None:
    """Only time in the halt counts, exit and entry included: 38, then 40 + 8, then 20 + 8 us."""
    result = ran(GUEST, waits(30, 15, 60, 60))
    assert [stages(result, row).get("guest poll", 0) for row in range(4)] == [0, 15, 20, 40]
    assert stages(result, 1) == {"guest poll": 15}
    assert [t.samples for t in result.exits] == [3]


def test_the_guests_window_halves_after_long_halts(ran: Ran) -> None:
    result = ran(GUEST, waits(30, 200, 200, 200))
    assert [stages(result, row).get("guest poll", 0) for row in range(4)] == [0, 20, 10, 5]
    kept = {**GUEST, "guest_poll": {**GUEST["guest_poll"], "shrink": 1}}
    result = ran(kept, waits(30, 200, 200, 200))
    assert [stages(result, row).get("guest poll", 0) for row in range(4)] == [0, 20, 20, 20]


def test_windows_are_each_vcpus_own(ran: Ran) -> None:
    table = make_table(
        8, vcpu=[0] * 4 + [1] * 4, space=Space.MMIO, write=True, flags=Flag.WAITED,
        compute=[25 * US] * 4 + [4000 * US] * 4,
    )  # fmt: skip
    result = ran(DYNAMIC, table)
    assert [stages(result, row).get("host poll", 0) for row in range(8)] == [
        0,
        10,
        20,
        22,
        *[0] * 4,
    ]


def test_an_arrival_is_not_put_off_by_waking_late(ran: Ran) -> None:
    table = make_table(3, space=Space.MMIO, write=True, arrival=[20 * US, 21 * US, 100 * US])
    columns = ran(NEVER, table).to_columns()
    assert (columns["resume"] - columns["due"]).tolist() == [8 * US, 7 * US, 8 * US]


class Ringer(Mechanism):
    """Interrupts its vCPU 30 us after each access; the service takes 2 us."""

    @property
    def interrupts(self) -> bool:
        return True

    def access(self, host: Host, access: Any) -> Steps:
        yield stamp(Moment.DONE)
        yield put(RUNG, 0)

    def serve_interrupt(self, host: Host) -> Steps:
        yield spend(SERVICE, 2 * US)

    def actors(self, host: Host) -> list[SideActor]:
        ring = [take(RUNG, BELL), spend(BELL, 30 * US), host.interrupt(self)]
        return [SideActor("bell", True, _loop(ring), is_thread=False)]


RUNG = Queue("rung", per_vcpu=True)
BELL = Stage("bell", Role.GUEST)
BUSY = Stage("busy", Role.GUEST)
SERVICE = Stage("service", Role.DELAY)


def _loop(body: list[Any]) -> Steps:
    yield loop(body)


@pytest.mark.parametrize(
    ("idle", "expected"),
    [
        (NEVER, {"halt exit": 6, "guest idle": 27 + 57, "vCPU wake-up": 10}),
        (ALWAYS, {"halt exit": 6, "host poll": 27 + 50, "guest idle": 12}),
        ({"guest": "poll"}, {"guest poll": 30 + 68}),
    ],
)
def test_an_interrupt_ends_every_phase_and_the_moment_stays_where_it_was(
    idle: dict[str, Any], expected: dict[str, int], platform: Platform, on_both_engines: Any
) -> None:
    """The bell rings 30 us into a wait of 100; the guest serves it and waits on, until 100."""
    made = Policy(title="bell", idle=checked(Idle, idle),
                  rules=[Rule(side="host", mechanism=Ringer())])  # fmt: skip
    table = make_table(2, space=Space.MMIO, write=True, flags=[0, Flag.WAITED],
                       compute=[0, 100 * US])  # fmt: skip
    workload = Recorded(table)
    result = on_both_engines(lower(made, platform, load_devices(), workload), workload)
    found = stages(result, 1)
    assert found.pop("service") == 2
    assert {name: found.get(name, 0) for name in expected} == expected
    assert result.finish == [(100 if idle["guest"] == "poll" else 108) * US]


class Completer(Mechanism):
    """A request whose completion, 40 us later, the guest waits for between accesses.

    Attributes:
        busy: compute before it waits (us).
    """

    busy: int = 0

    def access(self, host: Host, access: Any) -> Steps:
        yield stamp(Moment.DONE)
        yield put(REQUESTED, Column("vcpu"))
        yield stamp(Moment.RESUME)
        yield spend(BUSY, self.busy * US)
        yield from host.idle.wait(host, COMPLETED, into=COMPLETION)
        yield stamp(Moment.START)

    def actors(self, host: Host) -> list[SideActor]:
        work = [
            *host.sleep_on(REQUESTED, BELL, into=ASKER), spend(BELL, 40 * US),
            put(COMPLETED.of(ASKER), 7), let(ASKER, NOBODY),
        ]  # fmt: skip
        return [SideActor("completer", False, host.thread(_loop(work)))]


REQUESTED = Queue("requested")
COMPLETED = Queue("completed", per_vcpu=True)
ASKER = Register("asker")
COMPLETION = Register("completion")


@pytest.mark.parametrize(
    ("idle", "each", "on_one_cpu"),
    [(NEVER, 48, 51), (ALWAYS, 43, 51), ({"guest": "poll"}, 40, 1_040), ({}, 40, 40)],
)
def test_a_completion_is_waited_for_through_the_same_phases(
    idle: dict[str, Any], each: int, on_one_cpu: int, platform: Platform, on_both_engines: Any
) -> None:
    """On one CPU the thread that completes waits for it.

    For the halt's exit (3 us) only, since the host does not poll while a thread waits for a CPU; a
    guest that polls keeps its CPU for a whole slice.
    """
    made = Policy(title="completion", idle=checked(Idle, idle),
                  rules=[Rule(side="host", mechanism=Completer())])  # fmt: skip
    workload = Recorded(make_table(3, space=Space.MMIO, write=True))
    for cpus, time in ((None, each), (HostCpus(2), each), (HostCpus(1, 1_000 * US), on_one_cpu)):
        lowered = lower(made, platform, load_devices(), workload, cpus)
        assert on_both_engines(lowered, workload).finish == [3 * time * US]


@pytest.mark.parametrize("idle", [NEVER, ALWAYS, GUEST, {"guest": "poll"}, {}])
def test_who_finds_its_completion_there_does_not_wait_for_it(
    idle: dict[str, Any], platform: Platform, on_both_engines: Any
) -> None:
    made = Policy(title="completion", idle=checked(Idle, idle),
                  rules=[Rule(side="host", mechanism=Completer(busy=60))])  # fmt: skip
    workload = Recorded(make_table(3, space=Space.MMIO, write=True))
    result = on_both_engines(lower(made, platform, load_devices(), workload), workload)
    assert (result.finish, result.exits) == ([3 * 60 * US], [])


@st.composite
def tied_guests(draw: st.DrawFn) -> AccessTable:
    """vCPUs that compute, wait and wait for arrivals, all on a coarse grid of times."""
    rows = draw(st.lists(st.integers(1, 12), min_size=1, max_size=5))
    n = sum(rows)

    def column(values: list[int]) -> np.ndarray:
        return np.array(draw(st.lists(st.sampled_from(values), min_size=n, max_size=n)))

    arrives = column([0, 0, 1]) == 1
    return make_table(
        n, vcpu=np.repeat(np.arange(len(rows)), rows), space=Space.MMIO, write=True,
        devices=(draw(st.sampled_from(["nvme", "pit"])),), flags=column([0, Flag.WAITED]),
        compute=column([0, 1, 4, 30, 300]) * US // 2,
        arrival=np.where(arrives, np.arange(n) * draw(st.integers(0, 20)) * US, NEVER_DUE),
        emulate=column([0, 1, 4]) * US // 2,
    )  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(
    table=tied_guests(),
    name=st.sampled_from([*IDLERS, "linux-default"]),
    cpus=st.sampled_from([None, 1, 2, 3]),
    wake=st.sampled_from(["0 ns", "500 ns", "5 us"]),
    mechanism=st.sampled_from(
        ["trap_mmio", {"name": "batched_hypercall", "max_wait": "2 us", "max_batch": 3}]
    ),
)
def test_engines_agree_however_the_guest_waits(
    table: AccessTable,
    name: str,
    cpus: int | None,
    wake: str,
    mechanism: Any,
    on_both_engines: Any,
) -> None:
    host = load_platform("ideal", changes={"vcpu_wake_up": wake, "world_switch_in": "500 ns",
                                           "dispatch_halt": "500 ns"})  # fmt: skip
    made = policy({}, mechanism).model_copy(update={"idle": load_policy(name).idle})
    workload = Recorded(table)
    limited = None if cpus is None else HostCpus(cpus, 2 * US)
    result = on_both_engines(lower(made, host, load_devices(), workload, limited), workload)
    if name == "idle-poll":
        assert result.asleep == 0


def test_polling_before_a_halt_needs_a_guest_that_halts() -> None:
    with pytest.raises(InputErrors, match='set guest = "halt"'):
        checked(Idle, {"guest": "poll", "host_poll": {"window": "always"}})
