"""Host CPUs: who has one when, by hand arithmetic; and what holds for every guest."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vmexit_sim import catalog
from vmexit_sim.configuration import checked
from vmexit_sim.device import load_devices
from vmexit_sim.errors import InputError
from vmexit_sim.guest.table import NEVER, AccessTable, Flag, Space, make_table
from vmexit_sim.guest.workload import Recorded
from vmexit_sim.hypervisor.platform import Platform, load_platform
from vmexit_sim.hypervisor.stages import IDLE, STEAL, WAIT_CPU, WAIT_VMM_LOCK
from vmexit_sim.lowering import HostCpus, lower
from vmexit_sim.measure.records import ResourceUse, RunResult
from vmexit_sim.policy import Policy, load_policy

US = 1_000_000


@pytest.fixture(scope="module")
def free_exits() -> Platform:
    """Nothing costs anything but what the guest and its devices do."""
    return load_platform("ideal", changes={"world_switch_out": "0 ns"})


def by(mechanism: Any) -> Policy:
    rule = {"side": "host", "mechanism": mechanism}
    return checked(Policy, {"title": "one mechanism", "rules": [rule]})


def guest(vcpus: list[list[tuple[int, int]]], **columns: Any) -> AccessTable:
    """Each vCPU's accesses as (compute, emulation), in us."""
    rows = [row for vcpu in vcpus for row in vcpu]
    compute, emulate = np.array(rows).T * US
    stated = {"space": Space.MMIO, "write": True, "devices": ("nvme", "pit"), **columns}
    vcpu = np.repeat(np.arange(len(vcpus)), [len(vcpu) for vcpu in vcpus])
    return make_table(len(rows), vcpu=vcpu, compute=compute, emulate=emulate, **stated)


def stage(result: RunResult, name: str) -> list[float]:
    """One stage of every access, in us."""
    return [time / US for time in result.to_columns()[f"stage: {name}"].tolist()]


def finish(result: RunResult) -> list[float]:
    return [time / US for time in result.finish]


def cpu_use(result: RunResult) -> ResourceUse:
    use = result.resource("CPUs")
    assert use is not None
    return use


Run = Any


@pytest.fixture(scope="module")
def ran(free_exits: Platform, on_both_engines: Any) -> Run:
    """Run a guest on so many CPUs, on both engines."""

    def run(
        table: AccessTable, cpus: int, slice_us: int, mechanism: Any = "trap_mmio"
    ) -> RunResult:
        workload = Recorded(table)
        limit = HostCpus(cpus, slice_us * US)
        lowered = lower(by(mechanism), free_exits, load_devices(), workload, limit)
        return on_both_engines(lowered, workload)

    return run


def test_two_vcpus_take_turns_on_one_cpu(ran: Run) -> None:
    """0 has it from 0 to 4 and from 8 to 12, 1 from 4 to 8 and from 12 to 16."""
    result = ran(guest([[(4, 0), (4, 0)]] * 2), 1, 3)
    assert finish(result) == [16, 16]
    assert stage(result, "steal") == [4, 4, 8, 0]
    assert (cpu_use(result).utilisation, cpu_use(result).busy) == (1, 16 * US)


def test_a_slice_is_looked_at_where_compute_ends(ran: Run) -> None:
    """Three times 1 us make a slice of 3; whoever has not had it yet goes on."""
    result = ran(guest([[(1, 0)] * 4, [(2, 0)]]), 1, 3)
    assert result.to_columns()["start"].tolist() == [1 * US, 2 * US, 5 * US, 6 * US, 5 * US]
    assert stage(result, "steal") == [0, 0, 2, 0, 3]


def test_hypervisor_and_device_work_is_not_preempted(ran: Run) -> None:
    """Emulation of 50 us does not count against a slice of 3 us until compute ends again."""
    result = ran(guest([[(1, 50), (1, 0)], [(2, 0)]], device=1), 1, 3)
    assert finish(result) == [54, 54]
    assert stage(result, "steal") == [0, 2, 52]


def test_a_cpu_that_nobody_else_wants_is_kept(ran: Run) -> None:
    result = ran(guest([[(4, 0)] * 3, [(1, 0)]]), 1, 3)
    assert stage(result, "steal") == [1, 0, 0, 4]


def test_idling_gives_the_cpu_up(ran: Run) -> None:
    flags = [Flag.WAITED, Flag.NONE]
    result = ran(guest([[(5, 0)], [(5, 0)]], flags=flags), 1, 3)
    assert finish(result) == [5, 5]
    assert cpu_use(result).busy == 5 * US


def test_who_wakes_while_another_computes_waits_for_the_cpu(ran: Run) -> None:
    """An arrival at 2 us finds the CPU taken until 5; the delay is in its response.

    Then the other waits for the 1 us that this one computes.
    """
    result = ran(guest([[(1, 0)], [(5, 0)]], arrival=[2 * US, NEVER]), 1, 3)
    assert stage(result, "steal") == [3, 1]
    columns = result.to_columns()
    assert (columns["resume"] - columns["due"]).tolist() == [3 * US, 0]


def test_who_waits_for_the_vmm_lock_sleeps(ran: Run) -> None:
    """Both CPUs are wanted by three: 1 sleeps on the lock, and 2 has its CPU at once."""
    result = ran(guest([[(0, 10)], [(0, 10)], [(4, 0)]], device=[0, 0, 1]), 2, 3)
    assert finish(result) == [10, 20, 4]
    assert stage(result, WAIT_VMM_LOCK.name) == [0, 10, 0]
    assert cpu_use(result).busy == 24 * US


def test_who_gets_the_vmm_lock_may_still_have_to_wait_for_a_cpu(ran: Run) -> None:
    """1 has the lock from 10 on, but 0 and 2 have the CPUs, and 2's slice is looked at at 40."""
    result = ran(guest([[(0, 10), (60, 0)], [(0, 10)], [(40, 0)]], device=[0, 1, 0, 1]), 2, 3)
    assert stage(result, WAIT_CPU.name) == [0, 0, 30, 0]
    assert finish(result) == [70, 50, 50]


def test_a_spinner_burns_its_slice_while_the_holder_of_the_lock_wants_a_cpu(ran: Run) -> None:
    """1 holds the config lock and sleeps on the VMM's lock, which 0 holds until 50.

    Meanwhile 2 spins on the CPU that 1 gave up at 1, until its slice of 100 is over, and 0 goes on
    to compute.
    """
    space = [Space.PORT_IO, Space.PORT_IO, Space.PCI_CONFIG, Space.PCI_CONFIG]
    table = guest([[(0, 50), (200, 0)], [(1, 5)], [(1, 5)]], device=[0, 1, 0, 0], space=space)
    result = ran(table, 2, 100, "trap_pio")
    assert stage(result, "wait: config lock") == [0, 0, 0, 99]
    assert stage(result, WAIT_CPU.name) == [0, 0, 51, 5]
    assert finish(result) == [250, 106, 111]


def test_a_front_end_spins_while_its_back_end_wants_the_cpu(ran: Run) -> None:
    """It has a whole slice before the back end runs; with a CPU for each it does not wait."""
    table = guest([[(0, 10)]])
    result = ran(table, 1, 100, "paravirtual_front_end")
    assert finish(result) == [110]
    assert (stage(result, "wait: back end"), stage(result, WAIT_CPU.name)) == ([100], [10])
    assert finish(ran(table, 2, 100, "paravirtual_front_end")) == [10]


def test_a_guest_that_polls_lets_others_on_after_its_slice(
    free_exits: Platform, on_both_engines: Any
) -> None:
    """idle=poll looks like compute: slices of 3 us each, until the moment."""
    table = guest([[(7, 0)], [(4, 0)]], flags=[Flag.WAITED, Flag.NONE])
    made = by("trap_mmio").model_copy(update={"idle": load_policy("idle-poll").idle})
    workload = Recorded(table)
    lowered = lower(made, free_exits, load_devices(), workload, HostCpus(1, 3 * US))
    result = on_both_engines(lowered, workload)
    assert stage(result, "guest poll") == [3, 0]
    assert finish(result) == [7, 7]


@pytest.mark.parametrize("stated", [{"count": 0}, {"count": 1, "time_slice": 0}])
def test_there_must_be_a_cpu_and_a_slice(stated: dict[str, int]) -> None:
    with pytest.raises(InputError, match=r"cpus|time_slice"):
        HostCpus(**stated)


@st.composite
def tied_guests(draw: st.DrawFn) -> AccessTable:
    """vCPUs with config accesses, MMIO and idling, all on a coarse grid of times."""
    rows = draw(st.lists(st.integers(1, 10), min_size=1, max_size=5))
    n = sum(rows)

    def column(*values: int) -> np.ndarray:
        return np.array(draw(st.lists(st.sampled_from(values), min_size=n, max_size=n)))

    space = column(Space.PCI_CONFIG, Space.MMIO, Space.PORT_IO)
    return make_table(
        n, vcpu=np.repeat(np.arange(len(rows)), rows), space=space, write=column(0, 1),
        device=column(0, 0, 1), devices=("nvme", "pit"), flags=column(0, 0, Flag.WAITED),
        compute=column(0, 1, 2, 6) * US, emulate=column(0, 1, 2) * US,
        arrival=np.where(column(0, 0, 1), np.arange(n) * 2 * US, NEVER),
    )  # fmt: skip


POLICIES = sorted(catalog.names("policies"))


@settings(max_examples=40)
@given(
    table=tied_guests(), name=st.sampled_from(POLICIES), cpus=st.integers(1, 6),
    slice_us=st.integers(1, 8), ties=st.booleans(),
)  # fmt: skip
def test_cpus_are_never_busier_than_they_can_be_and_do_all_the_work(
    on_both_engines: Any, table: AccessTable, name: str, cpus: int, slice_us: int, ties: bool
) -> None:
    host = load_platform("ideal" if ties else "kvm-2013")
    workload, devices = Recorded(table), load_devices()
    policy = load_policy(name)
    used = {policy.rules[number].mechanism for number in policy.assign(table) if number >= 0}
    if cpus <= sum(mechanism.cores_spent for mechanism in used):
        with pytest.raises(InputError, match="leaves no CPU for vCPUs"):
            lower(policy, host, devices, workload, HostCpus(cpus, slice_us * US))
        return
    lowered = lower(policy, host, devices, workload, HostCpus(cpus, slice_us * US))
    result = on_both_engines(lowered, workload)
    columns = result.to_columns()
    assert (columns["done"] >= 0).all()
    front = [f"stage: {stage.name}" for stage in result.summary.stages if stage.is_front]
    assert (sum(columns[name] for name in front) == columns["stall"]).all()
    use = result.resource("CPUs")
    if use is None:
        assert cpus >= table.vcpus
        return
    assert use.utilisation <= 1
    if any(stage.name.startswith("back end") for stage in result.summary.stages):
        return  # its work is on a thread that no vCPU's time tells of
    off_cpu = {IDLE, STEAL, WAIT_CPU, WAIT_VMM_LOCK}
    spent = {stage: int(columns[f"stage: {stage.name}"].sum()) for stage in result.summary.stages
             if stage.role.value != "back"}  # fmt: skip
    assert sum(spent.values()) == sum(result.finish)
    assert use.busy == sum(time for stage, time in spent.items() if stage not in off_cpu)


@settings(max_examples=20)
@given(table=tied_guests(), name=st.sampled_from(POLICIES), more=st.integers(0, 3))
def test_with_enough_cpus_nothing_changes(table: AccessTable, name: str, more: int) -> None:
    workload, devices = Recorded(table), load_devices()
    host = load_platform("kvm-2013")
    plain = lower(load_policy(name), host, devices, workload)
    threads = len(plain.program.actors)
    enough = lower(load_policy(name), host, devices, workload, HostCpus(threads + more, US))
    assert enough.program == plain.program
