"""Timelines: what is recorded of a run is all of it, in order, and the run is what it always is."""

from __future__ import annotations

from collections import Counter, defaultdict
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vmexit_sim import catalog
from vmexit_sim.cli.changes import Changes
from vmexit_sim.device import load_devices
from vmexit_sim.engine.simpy_engine import Simulation
from vmexit_sim.engine.window import Window
from vmexit_sim.errors import InputError
from vmexit_sim.guest.kvm_event import Entry, Event, Exit
from vmexit_sim.guest.kvm_text import event_line
from vmexit_sim.guest.table import AccessTable, Flag, Space, make_table
from vmexit_sim.guest.workload import Recorded
from vmexit_sim.hypervisor.platform import load_platform
from vmexit_sim.lowering import VCPU_SHIFT, HostCpus, lower
from vmexit_sim.measure.recorder import Recorder
from vmexit_sim.measure.records import RunResult
from vmexit_sim.measure.tracer import EVENTS, SEVERAL, Slice
from vmexit_sim.opened import Opened
from vmexit_sim.policy import Policy, load_policy
from vmexit_sim.steps import NOBODY, Role
from vmexit_sim.streams import Streams
from vmexit_sim.study.replication import lowered_for, run_once
from vmexit_sim.study.timeline import Timeline, exits_beside, in_order, timeline_of

US = 1_000_000
PLENTY = 10**9
TIMED = Policy.model_validate(
    {
        "title": "batches with a timer",
        "rules": [
            {
                "side": "guest",
                "mechanism": {
                    "name": "batched_hypercall",
                    "max_batch": 8,
                    "max_wait": "20 us",
                    "needs": "oracle",
                    "flush_at_operation_end": False,
                },
            }
        ],
    }
)
REQUESTS = "blocks.0.guest.requests=150"

CASES: dict[str, tuple[str, str | Policy, Changes]] = {
    "two exits under a lock": ("bar-sizing", "linux-default", Changes()),
    "an interrupt context": (
        "interrupted",
        "linux-default",
        Changes(set_=["blocks.0.guest.services.services=60", "blocks.0.guest.main.operations=150"]),
    ),
    "batches with a timer": ("spread", TIMED, Changes(set_=["blocks.0.guest.operations=200"])),
    "a side core": ("request-response", "spdk-like", Changes(set_=[REQUESTS])),
    "a thread": ("request-response", "vhost", Changes(set_=[REQUESTS])),
    "scarce CPUs": ("request-response", "vhost", Changes(cpus=1, set_=[REQUESTS])),
    "a back end": ("bar-sizing", "xen-front-end", Changes()),
    "halts": (
        "interrupt-service",
        "halt-poll-dynamic",
        Changes(set_=["blocks.0.guest.services=100"]),
    ),
    "multicast": ("ipi", "pv-ipi", Changes(set_=["blocks.0.guest.multicasts=5"])),
    "nested": ("bar-sizing", "linux-default", Changes(platform="kvm-nested-2017")),
}


@cache
def case(name: str) -> tuple[Opened, Policy]:
    workload, policy, changes = CASES[name]
    opened = changes.opened(workload, [policy] if isinstance(policy, str) else None)
    return opened, opened.policies[0] if isinstance(policy, str) else policy


@cache
def timeline(name: str) -> Timeline:
    opened, policy = case(name)
    return timeline_of(opened, opened.blocks[0], policy, most=PLENTY)


def stages(slices: list[Slice]) -> list[Slice]:
    return [each for each in slices if each.kind == "stage"]


def by_actor(slices: list[Slice]) -> dict[int, list[Slice]]:
    found: dict[int, list[Slice]] = defaultdict(list)
    for each in sorted(slices, key=lambda each: each.opened):
        found[each.actor].append(each)
    return found


def assert_complete(recorder: Recorder, result: RunResult) -> None:
    """Everything that a run recorded follows from its slices and bookings."""
    program = recorder.program
    spent: Counter[tuple[int, int]] = Counter()
    for each in stages(recorder.slices):
        assert each.what != SEVERAL
        spent[each.access, each.what] += each.end - each.begin
    for _, access, stage, amount in recorder.bookings:
        spent[access, stage] += amount
    columns = result.to_columns()
    numbers = columns["vcpu"] * 2**VCPU_SHIFT + columns["row"]
    for number, stage in enumerate(program.stages):
        recorded = [spent[access, number] for access in numbers.tolist()]
        assert recorded == columns[f"stage: {stage.name}"].tolist(), stage

    # The stalls of an access add up to its stall, and the front stages in them to them.
    stall: Counter[int] = Counter()
    for each in recorder.slices:
        if each.kind == "access" and program.actors[each.actor].is_vcpu:
            stall[each.access] += each.end - each.begin
    assert [stall[access] for access in numbers.tolist()] == columns["stall"].tolist()

    # Exits are those tallied.
    exits = defaultdict(list)
    for each in recorder.slices:
        if each.kind == "exit":
            exits[program.reasons[each.what]].append(each.end - each.begin)
    tallied = {t.reason: (t.samples, t.total, t.least, t.greatest) for t in result.exits}
    assert {r: (len(x), sum(x), min(x), max(x)) for r, x in exits.items()} == tallied

    # Posted accesses are those posted, then and until then.
    was_posted = columns["posted"] >= 0
    posted = dict(zip(numbers[was_posted].tolist(), columns["posted"][was_posted], strict=True))
    done = dict(zip(numbers[was_posted].tolist(), columns["done"][was_posted], strict=True))
    assert {post.access: post.at for post in recorder.posts} == posted
    assert {post.access: post.done for post in recorder.posts} == done


def assert_in_order(slices: list[Slice]) -> None:
    """On a thread stages do not overlap, and everything nests."""
    for own in by_actor(slices).values():
        for one, other in pairwise(stages(own)):
            assert one.end <= other.begin
        around: list[Slice] = []
        for each in own:
            while around and around[-1].closed < each.opened:
                around.pop()
            if around:
                assert around[-1].begin <= each.begin
                assert each.end <= around[-1].end
                assert each.closed < around[-1].closed
            if each.kind != "stage":
                around.append(each)


@pytest.mark.parametrize("name", CASES)
def test_slices_add_up_to_what_an_untraced_run_records(name: str) -> None:
    opened, policy = case(name)
    block = opened.blocks[0]
    plain = run_once(opened, lowered_for(opened, policy, block), block, keep_rows=True)
    traced = timeline(name)
    assert_complete(traced.recorder, plain)
    assert_in_order(traced.recorder.slices)
    assert (traced.result.finish, traced.result.exits) == (plain.finish, plain.exits)
    assert (traced.result.resources, traced.result.reach) == (plain.resources, plain.reach)


@pytest.mark.parametrize("name", CASES)
def test_a_vcpu_is_never_without_a_stage(name: str) -> None:
    traced = timeline(name)
    for vcpu, own in by_actor(stages(traced.recorder.slices)).items():
        if vcpu < len(traced.result.finish):
            assert own[0].begin == 0
            assert all(one.end == other.begin for one, other in pairwise(own))
            assert own[-1].end == traced.result.finish[vcpu]


def test_the_stages_of_an_exit_come_in_the_order_of_the_path() -> None:
    """One MMIO write to a device in user space: the path that the design names."""
    table = make_table(1, space=Space.MMIO, write=True, emulate=2 * US, devices=("nvme",))
    recorder, _ = recorded(load_policy("mmio-first"), table, "kvm-2013")
    named = [recorder.stage(each.what).name for each in stages(recorder.slices)]
    assert named == [
        "world switch out", "dispatch", "decode", "to user space", "device emulation",
        "back to kernel", "back to kernel", "world switch in",
    ]  # fmt: skip


def test_a_flush_by_the_timer_is_a_second_stall_of_its_last_item() -> None:
    slices = timeline("batches with a timer").recorder.slices
    stalls = Counter(each.access for each in slices if each.kind == "access")
    assert set(stalls.values()) == {1, 2}


def test_work_on_a_side_core_happens_there_and_not_on_the_vcpu() -> None:
    traced = timeline("a side core")
    names = [actor.name for actor in traced.recorder.program.actors]
    assert {names[post.by] for post in traced.recorder.posts} == {"side core"}
    assert {names[post.actor] for post in traced.recorder.posts} == {"vCPU 0"}


def test_facts_are_those_of_the_guest() -> None:
    opened, _ = case("two exits under a lock")
    table = opened.blocks[0].table
    facts = timeline("two exits under a lock").facts
    assert len(facts) == len(table)
    for row, fact in facts.items():
        assert (fact.row, fact.vcpu) == (row, 0)
        assert (fact.address, fact.write) == (table.address[row], table.write[row])
        assert fact.device == table.devices[table.device[row]]


# ---- Windows, and how much there is room for


@pytest.mark.parametrize("name", ["a thread", "batches with a timer", "scarce CPUs"])
def test_a_window_shows_what_the_whole_shows_there(name: str) -> None:
    opened, policy = case(name)
    whole = timeline(name)
    begin, end = whole.end // 3, whole.end // 2
    part = timeline_of(opened, opened.blocks[0], policy, begin=begin, end=end, most=PLENTY)

    def seen(each: Slice) -> tuple[object, ...]:
        return each.actor, each.kind, each.access, max(each.begin, begin), min(each.end, end)

    expected = [seen(each) for each in whole.slices() if each.end > begin and each.begin < end]
    assert [seen(each) for each in part.slices() if each.end > each.begin] == expected
    assert all(begin <= each.begin <= each.end <= end for each in part.slices())
    assert all(begin <= change.time <= end for change in part.changes())
    assert not part.cut


@pytest.mark.parametrize("most", [1, 10, 333, 2000])
@pytest.mark.parametrize("name", ["a thread", "an interrupt context", "multicast"])
def test_until_a_cut_all_is_there_and_the_rest_is_counted(name: str, most: int) -> None:
    opened, policy = case(name)
    whole = timeline(name)
    part = timeline_of(opened, opened.blocks[0], policy, most=most)
    assert part.cut
    assert part.omitted > 0
    assert part.end < whole.end

    def seen(each: Slice) -> tuple[object, ...]:
        return each.actor, each.kind, each.access, each.begin, min(each.end, part.end)

    expected = [seen(each) for each in whole.slices() if each.begin < part.end]
    assert [seen(each) for each in part.slices()] == expected
    assert_in_order(list(part.slices()))
    kept = [EVENTS["slice"]] * len(part.recorder.slices)
    kept += [EVENTS["posted"]] * len(part.recorder.posts)
    kept += [EVENTS["change"]] * len(part.recorder.changes)
    assert sum(kept) <= most
    everything = [EVENTS["slice"]] * len(whole.recorder.slices)
    everything += [EVENTS["posted"]] * len(whole.recorder.posts)
    everything += [EVENTS["change"]] * len(whole.recorder.changes)
    assert part.omitted == sum(everything) - sum(kept)


def test_a_queue_has_the_length_at_a_windows_begin_that_it_had_before() -> None:
    opened, policy = case("a thread")
    whole = timeline("a thread")
    begin = next(each.time for each in whole.changes() if each.length == 1) + 1
    part = timeline_of(opened, opened.blocks[0], policy, begin=begin, most=PLENTY)
    first = next(iter(part.changes()))
    assert (first.time, first.length) == (begin, 1)


def test_an_empty_window_is_refused() -> None:
    opened, policy = case("nested")
    with pytest.raises(InputError, match="no time after"):
        timeline_of(opened, opened.blocks[0], policy, begin=US, end=US)
    with pytest.raises(InputError, match="after the end"):
        timeline_of(opened, opened.blocks[0], policy, begin=10**18)


# ---- Any guest


def recorded(
    policy: Policy, table: AccessTable, platform: str, cpus: HostCpus | None = None
) -> tuple[Recorder, RunResult]:
    """A traced run, after it has been held against one that is not."""
    workload, host = Recorded(table), load_platform(platform)
    results = []
    for each in (policy, in_order(policy)):
        lowered = lower(each, host, load_devices(), workload, cpus)
        recorder = Recorder(lowered.program, most=PLENTY)
        window = Window(lowered, workload, Streams(1, 0))
        tracer = recorder if each is not policy else None
        results.append(Simulation(lowered, window, keep_rows=True, tracer=tracer).run())
    recorder.finish()
    plain, traced = (result.to_columns() for result in results)
    for name, column in plain.items():
        assert np.array_equal(column, traced[name]), name
    return recorder, results[0]


def guest(rows: list[tuple[int, ...]]) -> AccessTable:
    """A guest from (vCPU, space, write, compute and emulation in us, flags) of each access."""
    vcpu, space, write, compute, emulate, flags = np.array(sorted(rows, key=lambda row: row[0])).T
    return make_table(
        len(rows), vcpu=np.unique(vcpu, return_inverse=True)[1], space=space, write=write == 1,
        compute=compute * US, emulate=emulate * US, flags=flags, devices=("nvme",),
        operation=np.arange(len(rows)) // 2 + 100 * vcpu, address=np.arange(len(rows)) * 4,
    )  # fmt: skip


FLAGS = [0, 0, Flag.DECODE_TOGGLE, Flag.SIDE_EFFECT, Flag.WAITED, Flag.INTERRUPT]
FLAGS += [Flag.END_OF_INTERRUPT, Flag.INTERRUPT | Flag.END_OF_INTERRUPT]
ROW = st.tuples(
    st.integers(0, 2), st.integers(0, 3), st.integers(0, 1), st.integers(0, 4), st.integers(0, 3),
    st.sampled_from([int(flag) for flag in FLAGS]),
)  # fmt: skip
GUESTS = st.lists(ROW, min_size=1, max_size=16).map(guest)


@pytest.mark.parametrize("policy", [*sorted(catalog.names("policies")), "timed"])
@settings(max_examples=6)
@given(table=GUESTS, cpus=st.sampled_from([None, 2]))
def test_slices_add_up_and_nest_for_any_guest(
    policy: str, table: AccessTable, cpus: int | None
) -> None:
    chosen = TIMED if policy == "timed" else load_policy(policy)
    host_cpus = None if cpus is None else HostCpus(cpus)
    recorder, result = recorded(chosen, table, "kvm-2013", host_cpus)
    assert_complete(recorder, result)
    assert_in_order(recorder.slices)
    for each in recorder.slices:
        if each.kind == "access":
            assert each.access != NOBODY
            within = [
                piece for piece in stages(recorder.slices)
                if piece.actor == each.actor and each.opened < piece.opened < each.closed
            ]  # fmt: skip
            assert sum(p.end - p.begin for p in within) == each.end - each.begin
            if recorder.program.actors[each.actor].is_vcpu:
                assert all(recorder.stage(p.what).role is not Role.GUEST for p in within)


# ---- A real guest beside


def log(tmp_path: Path, *happened: tuple[int, int, Exit | Entry]) -> Path:
    path = tmp_path / "kvm.log"
    lines = [event_line(Event(n, *each), "perf --ns") for n, each in enumerate(happened, 1)]
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def test_exits_of_a_log_count_from_its_first_event(tmp_path: Path) -> None:
    port = Exit(None, "IO_INSTRUCTION", None)
    path = log(
        tmp_path, (5000, 7, Entry(0)), (6000, 7, port), (9000, 7, Entry(0)),
        (10_000, 7, port), (12_000, 7, Entry(0)),
    )  # fmt: skip
    beside = exits_beside(path, length=None)
    assert [(each.begin, each.end) for each in beside.exits] == [
        (1_000_000, 4_000_000), (5_000_000, 7_000_000),
    ]  # fmt: skip
    part = exits_beside(path, length=4_500_000)
    assert (len(part.exits), part.omitted) == (1, 1)


def test_a_log_without_a_whole_exit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no exit"):
        exits_beside(log(tmp_path, (5000, 7, Entry(0))), length=None)
