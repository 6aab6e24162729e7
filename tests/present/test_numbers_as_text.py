"""Numbers, answers without a number, and basis sentences, as tables and figures show them."""

from __future__ import annotations

import io
import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console, RenderableType

from vmexit_sim.cli.picture import Picture, trust
from vmexit_sim.configuration import checked
from vmexit_sim.guest.table import make_table
from vmexit_sim.guest.workload import Recorded
from vmexit_sim.hypervisor.platform import load_platform
from vmexit_sim.measure.records import RunResult
from vmexit_sim.opened import Opened, open_scenario
from vmexit_sim.policy import load_policy
from vmexit_sim.present import run_tables, terminal
from vmexit_sim.present.report_tables import _marks
from vmexit_sim.present.screening_tables import measure_text
from vmexit_sim.present.tables import comparison
from vmexit_sim.present.text import share_estimate_text, time_text
from vmexit_sim.present.timeline_file import title
from vmexit_sim.present.timeline_summary import summary, summary_document
from vmexit_sim.present.timeline_text import _number
from vmexit_sim.present.uncertainty_tables import document, uncertainty_report
from vmexit_sim.scenario import Scenario
from vmexit_sim.statistics import Estimate, exact
from vmexit_sim.statistics.text import with_half_width
from vmexit_sim.study.compare import compare
from vmexit_sim.study.input_uncertainty import InputUncertainty, Uncertain, UncertainBlock
from vmexit_sim.study.simulate import simulate
from vmexit_sim.study.tail import Tail
from vmexit_sim.study.timeline import AccessFacts, Beside

GUEST = {"kind": "spread", "operations": 5, "between": "1 us", "read_share": 1, "space": "mmio"}
CHANCE = {**GUEST, "between": {"kind": "exponential", "mean": "1 us"}}
NAN, INF = math.nan, math.inf


def opened(guest: dict[str, Any], **keys: Any) -> Opened:
    plain = {"platform": "ideal", "policies": ["linux-default"], "blocks": [{"guest": guest}]}
    return open_scenario(checked(Scenario, {**plain, **keys}))


def shown(what: RenderableType) -> str:
    console = Console(width=150, file=io.StringIO())
    console.print(what)
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


# ----------------------------------------------------------------------------------- estimates


def test_what_has_no_value_is_a_dash_and_what_has_no_interval_says_so() -> None:
    assert time_text(Estimate(NAN, NAN, NAN, 4, "t")) == "-"
    assert time_text(Estimate(2e6, -INF, INF, 1, "one replication")) == "2 µs ± ?"
    assert share_estimate_text(Estimate(0.25, -INF, INF, 1, "one replication")) == "25.0 % ± ?"
    assert share_estimate_text(Estimate(0.25, 0.24, 0.26, 8, "t")) == "25.0 ± 1.0 %"


@pytest.mark.parametrize(
    ("unit", "said"), [("ps", "2 µs"), ("1", "2,000,000"), ("1/s", "2,000,000 1/s")]
)
def test_a_measure_is_told_with_its_unit_unless_that_is_one(unit: str, said: str) -> None:
    assert measure_text(exact(2e6, unit)) == said


def test_an_interval_without_width_takes_no_logarithm() -> None:
    assert with_half_width(2.5, 0.0) == "2.5 ± 0"
    assert with_half_width(2.51, 0.2) == "2.51 ± 0.20"


# ------------------------------------------------------------------------------------- widths


def test_tables_keep_their_width_in_a_pipe_and_take_columns_at_their_word(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert terminal.console().width == terminal.PLAIN_WIDTH
    monkeypatch.setenv("COLUMNS", "77")
    assert terminal.console().width == 77


# ------------------------------------------------------------------------------ a run's tables


def run(vcpus: int, policy: str = "linux-default") -> RunResult:
    table = make_table(vcpus, vcpu=range(vcpus), space=2, devices=("nvme",))
    return simulate(load_policy(policy), load_platform("ideal"), Recorded(table), seed=1)


def test_of_many_vcpus_the_first_are_shown_and_when_the_last_was_done() -> None:
    text = shown(run_tables._vcpus(run(run_tables.SHOWN_VCPUS + 3)))
    last = f"the last of {run_tables.SHOWN_VCPUS + 3}"
    assert last in text
    assert "vCPU 15" in text
    assert "vCPU 16" not in text
    assert "the last of" not in shown(run_tables._vcpus(run(run_tables.SHOWN_VCPUS)))


def test_a_run_without_exits_says_that_there_are_none() -> None:
    row = ["none", "0", "-", "-", "-", "-", "-"]
    lines = [line.split() for line in shown(run_tables._exits(run(1, "bare-metal"))).splitlines()]
    assert row in lines
    assert "none" not in shown(run_tables._exits(run(1)))


# ------------------------------------------------------------------------------- what it rests on


def test_one_random_replication_is_said_to_have_no_intervals() -> None:
    one = opened(CHANCE, replications=1)
    text = shown(comparison(compare(one)))
    assert "1 replication, so no intervals" in text
    assert trust(one) == "1 replication, no intervals"
    assert trust(opened(GUEST)) == "exact"
    two = opened(CHANCE, replications=2)
    assert trust(two) == "means of 2 replications with Student's t intervals at 95 %"


@pytest.mark.parametrize(
    ("is_exact", "n", "end"),
    [
        (True, 1, "exact"),
        (False, 1, "1 replication, no intervals"),
        (False, 8, "means of 8 replications' shares and times, with Student's t intervals at 95 %"),
    ],
)
def test_a_tail_says_what_its_shares_rest_on(is_exact: bool, n: int, end: str) -> None:
    tail = Tail(block="b", which="stall", q=0.99, policies=[], replications=n, is_exact=is_exact)
    assert tail.basis == f"accesses from the p99 of stall on, beside all accesses; {end}"


def test_a_counterfactual_policy_is_explained_where_it_is_marked() -> None:
    asked = open_scenario(
        checked(Scenario, {"platform": "ideal", "policies": ["linux-default", "mmio-first"],
                           "blocks": [{"guest": {**GUEST, "space": "pci_config"}}]})
    )  # fmt: skip
    (block,) = compare(asked).blocks
    assert list(_marks(block)) == []
    policies = [block.policies[0], replace(block.policies[1], counterfactual=True)]
    assert list(_marks(replace(block, policies=policies))) == [
        "† counterfactual: this guest has no ECAM."
    ]


# ---------------------------------------------------------------------------- uncertain verdicts


def uncertain(*best: float | None) -> InputUncertainty:
    policies = [
        Uncertain(policy=f"p{n}", added=exact(2e6), difference=exact(0), sampling=exact(0), best=b)
        for n, b in enumerate(best)
    ]
    return InputUncertainty(blocks=[UncertainBlock(name="b", policies=policies)], drawn=["to_user"],
                            fixed=["gather"], draws=40)  # fmt: skip


@pytest.mark.parametrize(
    ("best", "said"),
    [
        ((None,), "None of these policies is one that this guest could use."),
        ((0.25, 0.75), "p1 adds least in 75.0 % of the draws; else p0."),
        ((1.0, 0.0), "p0 adds least in 100 % of the draws."),
        ((1.0, None), "p0 adds least in 100 % of the draws. °: a bound, or not for this guest."),
    ],
)
def test_the_share_of_draws_that_a_policy_wins_is_the_verdict(
    best: tuple[float | None, ...], said: str
) -> None:
    assert said in shown(uncertainty_report(uncertain(*best))).replace("\n", " ")
    told = document(uncertain(*best))
    assert (told["drawn_costs"], told["fixed_costs"]) == (["to_user"], ["gather"])


# ----------------------------------------------------------------------------------- timelines


def test_an_access_of_which_nothing_is_known_is_just_an_access() -> None:
    assert title(None) == "access"
    assert _number(None, 0) == "an access"
    facts: Any = SimpleNamespace(row=3, vcpu=1)
    assert [_number(facts, actor) for actor in (1, 2)] == ["access 3", "access 3 of vCPU 1"]
    assert {"row", "vcpu"} <= set(AccessFacts.__annotations__)


@pytest.mark.parametrize(
    ("omitted", "bad", "said"),
    [
        (0, 0, []),
        (3, 0, ["3 exits left out (after the end, no room, or the clock went back), 0 malformed "
                "lines"]),
        (0, 2, ["0 exits left out (after the end, no room, or the clock went back), 2 malformed "
                "lines"]),
    ],
)  # fmt: skip
def test_what_of_a_real_guest_stands_beside_is_counted_and_what_does_not(
    omitted: int, bad: int, said: list[str]
) -> None:
    beside = Beside(file=Path("kvm.txt"), exits=[], omitted=omitted, bad=bad)
    lines = summary([], Path("t.json"), 7, beside).splitlines()
    assert lines[1] == "kvm.txt: 0 exits of a real guest"
    assert [line.strip() for line in lines[2:]] == said
    assert summary_document([], Path("t.json"), 7, beside)["beside"] == {
        "file": "kvm.txt", "exits": 0, "left_out": omitted, "bad_lines": bad,
    }  # fmt: skip
    assert "beside" not in summary_document([], Path("t.json"), 7)


# ------------------------------------------------------------------------------------- pictures


def test_a_picture_may_say_its_format_and_end_so_as_well(tmp_path: Path) -> None:
    path = tmp_path / "a.SVG"
    assert Picture(output=path, format="svg").file == path
