"""Trace files: what a viewer relies on, and that the file says what the timeline says."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from decimal import Decimal
from functools import cache
from inspect import signature
from pathlib import Path
from typing import Any

import pytest

from vmexit_sim.cli import main, timelines
from vmexit_sim.cli.changes import Changes
from vmexit_sim.errors import InputError
from vmexit_sim.guest.kvm_event import Entry, Event, Exit
from vmexit_sim.guest.kvm_text import event_line
from vmexit_sim.present.timeline_file import save_timelines, title
from vmexit_sim.present.timeline_summary import summary, summary_document
from vmexit_sim.steps import Role
from vmexit_sim.study.timeline import MOST_EVENTS, AccessFacts, Timeline, exits_beside, timeline_of

US = 1_000_000
REQUESTS = "blocks.0.guest.requests=60"
CASES = {
    "side core": ("request-response", "spdk-like", Changes(set_=[REQUESTS]), {}),
    "thread": ("request-response", "vhost", Changes(set_=[REQUESTS]), {}),
    "scarce CPUs": ("request-response", "vhost", Changes(cpus=1, set_=[REQUESTS]), {}),
    "window": (
        "request-response",
        "vhost",
        Changes(set_=[REQUESTS]),
        {"begin": 30 * US, "end": 201 * US + 7},
    ),
    "cut": ("request-response", "vhost", Changes(set_=[REQUESTS]), {"most": 500}),
    "interrupts": (
        "interrupted",
        "batched-oracle",
        Changes(set_=["blocks.0.guest.services.services=30", "blocks.0.guest.main.operations=60"]),
        {},
    ),
    "ports": ("bar-sizing", "linux-default", Changes(), {}),
}  # fmt: skip


@cache
def timeline(name: str) -> Timeline:
    workload, policy, changes, window = CASES[name]
    opened = changes.opened(workload, [policy])
    return timeline_of(opened, opened.blocks[0], opened.policies[0], **window)


def written(path: Path, *timelines: Timeline, **beside: Any) -> dict[str, Any]:
    file = path / "timeline.json"
    count = save_timelines(timelines, file, **beside)
    document: dict[str, Any] = json.loads(file.read_text("utf-8"), parse_float=Decimal)
    assert len(document["traceEvents"]) == count
    return document


def ps(event: dict[str, Any]) -> int:
    """When, in ps; all decimals are there."""
    time = Decimal(event["ts"]) * US
    assert time == int(time)
    return int(time)


def slices(events: list[dict[str, Any]]) -> list[tuple[dict[str, Any], int, list[str]]]:
    """Begin events, their ends, and the names of what they are in, as a viewer pairs them."""
    found: list[tuple[dict[str, Any], int, list[str]]] = []
    open_: dict[tuple[int, int], list[dict[str, Any]]] = defaultdict(list)
    last: dict[tuple[int, int], int] = {}
    for event in events:
        if event["ph"] not in "BE":
            continue
        thread = event["pid"], event["tid"]
        assert ps(event) >= last.get(thread, 0), "a thread's events are in order of time"
        last[thread] = ps(event)
        if event["ph"] == "B":
            open_[thread].append(event)
        else:
            begin = open_[thread].pop()
            found.append((begin, ps(event), [each["name"] for each in open_[thread]]))
    assert not any(open_.values()), "what begins ends"
    return found


def thread_names(events: list[dict[str, Any]]) -> dict[int, str]:
    return {e["tid"]: e["args"]["name"] for e in events if e.get("name") == "thread_name"}


@pytest.mark.parametrize("name", CASES)
def test_every_event_has_what_its_phase_asks_for(name: str, tmp_path: Path) -> None:
    needs = {
        "M": {"name", "args"}, "B": {"name", "cat", "ts", "tid", "args"}, "E": {"ts", "tid"},
        "s": {"name", "cat", "id", "ts", "tid"}, "f": {"name", "cat", "id", "ts", "tid", "bp"},
        "b": {"name", "cat", "id2", "ts", "args"}, "e": {"name", "cat", "id2", "ts"},
        "C": {"name", "ts", "args"},
    }  # fmt: skip
    document = written(tmp_path, timeline(name))
    assert document["displayTimeUnit"] == "ns"
    named: set[tuple[int, int]] = set()
    for event in document["traceEvents"]:
        assert needs[event["ph"]] | {"ph", "pid"} <= set(event)
        if event["ph"] == "M" and event["name"] == "thread_name":
            named.add((event["pid"], event["tid"]))
        if event["ph"] in "BE":
            assert (event["pid"], event["tid"]) in named
        if event["ph"] == "C":
            assert all(value >= 0 for value in event["args"].values())


@pytest.mark.parametrize("name", CASES)
def test_slices_are_those_of_the_timeline(name: str, tmp_path: Path) -> None:
    shown = timeline(name)
    events = written(tmp_path, shown)["traceEvents"]
    found, names = slices(events), thread_names(events)
    actors, recorder = shown.recorder.program.actors, shown.recorder
    expected = Counter(
        (actors[each.actor].name, each.begin, each.end)
        for each in shown.slices()
        if each.kind != "stage"
        or actors[each.actor].is_vcpu
        or recorder.stage(each.what).role is not Role.GUEST
    )
    drawn = [(begin, end) for begin, end, _ in found if begin["cat"] != "flow"]
    assert Counter((names[begin["tid"]], ps(begin), end) for begin, end in drawn) == expected
    for begin, end in drawn:  # what the window does not clip has its own length
        if ps(begin) > shown.begin and end < shown.end:
            assert begin["args"]["ps"] == end - ps(begin)


def test_stages_lie_in_the_exit_and_the_exit_in_the_access(tmp_path: Path) -> None:
    found = slices(written(tmp_path, timeline("ports"))["traceEvents"])
    dispatched = [around for begin, _, around in found if begin["name"] == "dispatch"]
    assert dispatched
    for access, reason in dispatched:
        assert "pci_config" in access
        assert reason == "IO_INSTRUCTION"


@pytest.mark.parametrize("name", CASES)
def test_flows_have_both_ends_each_in_a_slice(name: str, tmp_path: Path) -> None:
    events = written(tmp_path, timeline(name))["traceEvents"]
    depth: Counter[tuple[int, int]] = Counter()
    ends: dict[str, dict[str, dict[str, Any]]] = defaultdict(dict)
    for event in events:
        if event["ph"] in "BE":
            depth[event["pid"], event["tid"]] += 1 if event["ph"] == "B" else -1
        elif event["ph"] in "sf":
            assert depth[event["pid"], event["tid"]] > 0
            assert 0 < int(event["id"], 16) < 2**64  # other names are refused
            assert event["ph"] not in ends[event["id"]]
            ends[event["id"]][event["ph"]] = event
    assert bool(ends) == (name != "ports")
    for both in ends.values():
        assert ps(both["s"]) <= ps(both["f"])


@pytest.mark.parametrize("name", ["side core", "thread", "scarce CPUs"])
def test_flows_go_from_the_vcpu_to_who_emulates(name: str, tmp_path: Path) -> None:
    events = written(tmp_path, timeline(name))["traceEvents"]
    names = thread_names(events)
    flows = {phase: {names[e["tid"]] for e in events if e["ph"] == phase} for phase in "sf"}
    assert flows["s"] == {"vCPU 0"}
    assert flows["f"] == {"side core" if name == "side core" else "back end of vCPU 0"}


@pytest.mark.parametrize("name", ["side core", "window", "cut", "interrupts"])
def test_what_is_outstanding_is_what_began_and_has_not_ended(name: str, tmp_path: Path) -> None:
    shown = timeline(name)
    events = written(tmp_path, shown)["traceEvents"]
    counted = [e for e in events if e["ph"] == "C" and e["name"] == "posted, not done"]
    assert counted
    posts = list(shown.posts())
    for event in counted:
        now = ps(event)
        outstanding = sum(p.at <= now and (p.by is None or p.done > now) for p in posts)
        assert event["args"] == {"accesses": outstanding}
    begins = {e["id2"]["local"]: ps(e) for e in events if e["ph"] == "b"}
    ends = {e["id2"]["local"]: ps(e) for e in events if e["ph"] == "e"}
    assert set(begins) == set(ends)
    assert all(shown.begin <= begins[key] <= ends[key] <= shown.end for key in begins)


def test_with_one_cpu_somebody_waits_for_it(tmp_path: Path) -> None:
    events = written(tmp_path, timeline("scarce CPUs"))["traceEvents"]
    assert any(e["ph"] == "C" and e["name"] == "CPUs" and e["args"]["waiting"] for e in events)


def test_several_guests_and_a_real_one_are_processes_of_their_own(tmp_path: Path) -> None:
    log = tmp_path / "kvm.log"
    port = Exit(None, "IO_INSTRUCTION", None)
    happened = [(5000, 7, port), (9000, 7, Entry(3)), (9500, 7, port), (9900, 7, Entry(3))]
    lines = [event_line(Event(n, *each), "perf --ns") for n, each in enumerate(happened, 1)]
    log.write_text("".join(f"{line}\n" for line in lines))
    beside = exits_beside(log, length=None)
    window = timeline("window")
    events = written(tmp_path, window, timeline("ports"), beside=beside)["traceEvents"]
    processes = {e["pid"]: e["args"]["name"] for e in events if e.get("name") == "process_name"}
    assert processes == {
        1: "request-response, by vhost", 2: "bar-sizing, by linux-default",
        3: "real guest: kvm.log",
    }  # fmt: skip
    threads = [(e["pid"], e["tid"]) for e in events if e.get("name") == "thread_name"]
    tids = [tid for _, tid in threads]
    assert len(set(tids)) == len(tids)
    assert not {pid for pid, _ in threads} & set(tids)
    real = [(ps(b), end) for b, end, _ in slices(events) if b["pid"] == 3]
    # The first simulated event of all is at 0: that of the timeline that has no window.
    assert real == [(0, 4 * US), (4_500_000, 4_900_000)]


def test_what_was_cut_is_said() -> None:
    text = summary([timeline("cut")], Path("x.json"), 500)
    assert "cut there for want of room" in text
    assert f"{timeline('cut').omitted:,} later events" in text
    (guest,) = summary_document([timeline("cut")], Path("x.json"), 500)["guests"]
    assert guest["cut"]
    assert guest["end_ps"] == timeline("cut").end
    assert "cut" not in summary([timeline("thread")], Path("x.json"), 500)


def test_a_file_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no existing folder"):
        save_timelines([timeline("ports")], tmp_path / "none" / "x.json")
    assert not list(tmp_path.iterdir())


def test_the_command_writes_a_window_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "x.json"
    arguments = ["timeline", "bar-sizing", "--policy", "hypercall", "--from", "1 us"]
    with pytest.raises(SystemExit) as ended:
        main([*arguments, "--to", "9 us", "-o", str(file)])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert "bar-sizing, by hypercall: 1 µs to 9 µs" in text
    document = json.loads(file.read_text("utf-8"), parse_float=Decimal)
    begun = [begin for begin, _, _ in slices(document["traceEvents"])]
    assert {begin["cat"] for begin in begun} >= {"access", "exit", "hypervisor", "guest"}

    with pytest.raises(SystemExit) as ended:
        main([*arguments, "--to", "9", "-o", str(file)])
    assert ended.value.code == 2
    assert "--to: '9' has no unit" in capsys.readouterr().err


def test_the_command_leaves_as_much_room_as_the_study() -> None:
    assert signature(timelines.timeline).parameters["most"].default == MOST_EVENTS


def test_a_title_says_device_space_direction_and_register() -> None:
    facts = AccessFacts(
        vcpu=0, row=0, space="pci_config", write=True, size=4,
        address=2 << 20 | 31 << 15 | 3 << 12 | 0x10, device="nvme", operation=0, kind="none",
    )  # fmt: skip
    assert title(facts) == "nvme: pci_config write 02:1f.3+0x10"
    assert title(facts._replace(space="mmio", write=False, address=0xFEB0)) == (
        "nvme: mmio read 0xfeb0"
    )
