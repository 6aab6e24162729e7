"""What a sweep shows before it starts, and when it is through."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console, RenderableType

from vmexit_sim.configuration import checked
from vmexit_sim.present.sweep_tables import duration_text, failed, listing, report
from vmexit_sim.study.sweep import Outcome, Plan, Study, plan, run_study
from vmexit_sim.study.sweep.run import Listing

GUEST = {"kind": "spread", "operations": 4, "between": "1 us", "read_share": 1, "space": "mmio"}
SCENARIO = {"platform": "ideal", "policies": ["linux-default", "hypercall"],
            "blocks": [{"guest": GUEST, "name": "b"}]}  # fmt: skip
FOLDER = Path("out")


def planned(points: int = 3, **keys: Any) -> Plan:
    costs = [f"{number} us" for number in range(1, points + 1)]
    stated = {"name": "mine", "scenario": SCENARIO, "factors": {"costs.to_user": costs}, **keys}
    return plan(checked(Study, stated))


def listed(asked: Plan, stored: int = 0, bad: dict[int, str] | None = None,
           seconds: float | None = 10.0) -> Listing:  # fmt: skip
    return Listing(points=asked.points, stored=frozenset(range(stored)), bad=bad or {},
                   seconds=seconds)  # fmt: skip


def shown(what: RenderableType) -> str:
    console = Console(width=150, file=io.StringIO())
    console.print(what)
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


def numbers(asked: Plan) -> list[str]:
    """What stands in the first column of the listed points."""
    lines = [line.split() for line in shown(listing(asked, listed(asked), FOLDER, 1)).splitlines()]
    begin = next(number for number, line in enumerate(lines) if line[:1] == ["point"])
    return [line[0] for line in lines[begin + 1 : lines.index([], begin)]]


def test_few_points_are_all_listed_and_of_many_the_ends() -> None:
    assert numbers(planned(20)) == [str(number) for number in range(20)]
    assert numbers(planned(30)) == [*map(str, range(10)), "…", *map(str, range(20, 30))]


@pytest.mark.parametrize(
    ("seconds", "jobs", "said"),
    [
        (120.0, 2, "0 stored in out, 3 to run\nabout 60 s on 2 cores, going by three of them"),
        (120.0, 1, "0 stored in out, 3 to run\nabout 2 min on 1 core, going by three of them"),
        (None, 1, "3 to run\nthree of them took too long to tell how long all will take\n"),
    ],
)
def test_a_listing_says_how_long_it_will_take_or_that_it_cannot_tell(
    seconds: float | None, jobs: int, said: str
) -> None:
    asked = planned()
    text = shown(listing(asked, listed(asked, seconds=seconds), FOLDER, jobs))
    assert said in "\n".join(line.rstrip() for line in text.splitlines()) + "\n"


def test_a_study_that_is_through_is_told_no_time() -> None:
    asked = planned()
    text = shown(listing(asked, listed(asked, stored=3, seconds=0.0), FOLDER, 1))
    assert text.rstrip().endswith("3 stored in out, 0 to run")


def test_points_that_do_not_fit_are_counted_apart_with_the_first_reason() -> None:
    asked = planned()
    found = listed(asked, stored=1, bad={1: "no such host", 2: "no such guest"})
    text = shown(listing(asked, found, FOLDER, 1))
    assert "1 stored in out, 0 to run" in text
    assert "2 do not fit, the first: no such host" in text
    assert text.count("does not fit") == 2


def outcome(failures: int, points: int) -> Outcome:
    why = {number: f"Traceback\n  line\nwhy {number}\n" for number in range(failures)}
    return Outcome(folder=FOLDER, points=points, computed=points - failures, stored=0,
                   failures=why, seconds=100.0)  # fmt: skip


def test_only_the_first_failures_are_told_and_how_many_more_there_are() -> None:
    text = failed(outcome(7, 9)).splitlines()
    assert text[0].startswith("7 of 9 points failed")
    assert text[1:] == [*(f"  point {n}: why {n}" for n in range(5)), "  and 2 more"]
    assert "more" not in failed(outcome(5, 9))


def test_a_study_of_which_nothing_ran_has_no_winners() -> None:
    text = shown(report(planned(), outcome(3, 3)))
    assert "best at" not in text
    assert "0 computed in 2 min, 0 were stored; all in out" in text


def test_a_policy_that_no_guest_could_use_wins_nowhere_and_is_marked(tmp_path: Path) -> None:
    asked = planned(2, set={"policies": ["linux-default", "hypercall", "bare-metal"]})
    text = shown(report(asked, run_study(asked, tmp_path, engine="simpy")))
    marked = next(line.split() for line in text.splitlines() if line.startswith("bare-metal°"))
    assert marked[1] == "-"
    assert "hypercall°" not in text
    assert "° a bound, or nothing that this guest could use" in text
    both = run_study(planned(2), tmp_path / "both", engine="simpy")
    assert "°" not in shown(report(planned(2), both))


@pytest.mark.parametrize(
    ("policies", "metric"), [(["bare-metal"], "added"), (["bare-metal", "hypercall"], "ratio")]
)
def test_where_nobody_can_win_the_table_says_so_and_ends_well(
    tmp_path: Path, policies: list[str], metric: str
) -> None:
    """All are bounds; or all is told as a ratio to nothing, which is no number."""
    asked = planned(2, set={"policies": policies}, metric=metric)
    text = shown(report(asked, run_study(asked, tmp_path, engine="simpy")))
    rows = [line.split() for line in text.splitlines() if line.startswith(tuple(policies))]
    assert [row[1:] for row in rows] == [
        ["-" if name == "bare-metal" else "0", *["points"] * (name != "bare-metal"), "-", "-", "-"]
        for name in policies
    ]
    assert "2 computed in" in text


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.125, "0.12 s"), (89.4, "89 s"), (90, "2 min"), (5340, "89 min"), (5400, "1.5 h"),
     (36_000, "10.0 h")],
)  # fmt: skip
def test_a_time_to_wait_is_told_in_the_unit_that_people_wait_in(seconds: float, said: str) -> None:
    assert duration_text(seconds) == said
