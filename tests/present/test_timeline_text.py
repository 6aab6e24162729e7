"""Listings: everything a timeline holds, once, in order of time, with exact times."""

from __future__ import annotations

import re
from collections import Counter
from decimal import Decimal
from functools import cache
from pathlib import Path

import pytest

from vmexit_sim.cli import main
from vmexit_sim.cli.changes import Changes
from vmexit_sim.present.timeline_file import is_gap
from vmexit_sim.present.timeline_text import listing
from vmexit_sim.study.timeline import Timeline, timeline_of

US = 1_000_000
REQUESTS = "blocks.0.guest.requests=40"
CASES = {
    "a thread": ("request-response", "vhost", [REQUESTS], {}),
    "a window": ("request-response", "vhost", [REQUESTS], {"begin": 30 * US, "end": 90 * US + 7}),
    "a cut": ("request-response", "spdk-like", [REQUESTS], {"most": 200}),
    "contexts": (
        "interrupted", "batched-oracle",
        ["blocks.0.guest.services.services=10", "blocks.0.guest.main.operations=20"], {},
    ),
    "ports": ("bar-sizing", "linux-default", [], {}),
}  # fmt: skip
LINE = re.compile(r" *(?P<time>[0-9.]+)  (?P<who>\S.*?)  +(?P<what>\S.*)")


@cache
def listed(name: str) -> tuple[Timeline, list[str]]:
    workload, policy, set_, window = CASES[name]
    opened = Changes(set_=set_).opened(workload, [policy])
    timeline = timeline_of(opened, opened.blocks[0], opened.policies[0], **window)
    return timeline, list(listing([timeline], opened.scenario))


def happenings(name: str) -> list[tuple[int, str, str]]:
    """Time in ps, who, and what."""
    found = [LINE.fullmatch(line) for line in listed(name)[1] if line[0] != "#" and "what" not in
             line.split()[-1:]]  # fmt: skip
    assert all(found)
    return [(int(Decimal(m["time"]) * US), m["who"], m["what"]) for m in found if m is not None]


@pytest.mark.parametrize("name", CASES)
def test_lines_are_in_order_of_time_and_within_the_window(name: str) -> None:
    timeline, _ = listed(name)
    times = [time for time, _, _ in happenings(name)]
    assert times == sorted(times)
    assert timeline.begin <= times[0]
    assert times[-1] <= timeline.end


@pytest.mark.parametrize("name", CASES)
def test_every_slice_post_and_change_has_its_lines(name: str) -> None:
    timeline, _ = listed(name)
    recorder, found = timeline.recorder, happenings(name)
    whole = {each.opened: each for each in recorder.slices}
    expected: Counter[str] = Counter()
    for piece in timeline.slices():
        if is_gap(timeline, piece):
            continue
        expected[piece.kind] += 1
        is_over = whole[piece.opened].end == piece.end
        is_vcpu = recorder.program.actors[piece.actor].is_vcpu
        expected[f"{piece.kind} over"] += is_over and (piece.kind == "exit" or is_vcpu)
    said = [what for _, _, what in found]
    assert sum(" after the exit" in what for what in said) == expected["exit over"]
    assert sum(what.startswith("goes on after ") for what in said) == expected["access over"]
    assert sum(bool(re.match("(… )?exit [A-Z]", what)) for what in said) == expected["exit"]
    stages = {stage.name for stage in recorder.program.stages}
    named = [re.sub("^… | [0-9.]+$", "", what) for what in said]
    assert sum(each in stages for each in named) == expected["stage"]
    posts = list(timeline.posts())
    assert sum(w.startswith("posted: ") for w in said) == sum(
        post.at >= timeline.begin for post in posts
    )
    assert sum(w.startswith("done: ") for w in said) == sum(p.by is not None for p in posts)
    assert sum(who == "queue" for _, who, _ in found) == len(list(timeline.changes()))


def test_durations_are_exact_and_those_of_the_whole() -> None:
    timeline, _ = listed("a window")
    recorder = timeline.recorder
    expected = Counter(
        f"{recorder.stage(each.what).name} {each.end - each.begin}"
        for each in recorder.slices
        if each.kind == "stage" and not is_gap(timeline, each) and each.end > each.begin
    )
    found: Counter[str] = Counter()
    for _, _, what in happenings("a window"):
        stage, _, time = what.removeprefix("… ").rpartition(" ")
        if stage in {each.name for each in recorder.program.stages}:
            found[f"{stage} {int(Decimal(time) * US)}"] += 1
    assert found == expected
    assert any(what.startswith("… ") for _, _, what in happenings("a window"))


def test_a_listing_says_what_was_cut() -> None:
    timeline, lines = listed("a cut")
    assert f"# cut there for want of room: {timeline.omitted:,} later events left out" in lines


def test_the_command_says_what_is_missing_or_too_much(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments, told in (
        ([], "--output: is missing"),
        (["--text", "--json"], "choose one"),
        (["--text", "--beside", "x.log"], "is for a trace file"),
    ):
        with pytest.raises(SystemExit) as ended:
            main(["timeline", "bar-sizing", *arguments])
        assert ended.value.code == 2
        assert told in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
