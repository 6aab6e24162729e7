"""The Python interface: it answers what the command line answers, and shows it."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure
from rich.console import Console, Group
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

import vmexit_sim
import vmexit_sim as vs
from vmexit_sim import api
from vmexit_sim.api.html import html_of
from vmexit_sim.api.shown import Shown
from vmexit_sim.cli import main
from vmexit_sim.cli.changes import Changes as CommandLineChanges
from vmexit_sim.configuration import read_toml
from vmexit_sim.engine import EngineName
from vmexit_sim.guest.table import Space
from vmexit_sim.guest.table_file import save_table
from vmexit_sim.study.stated import Changes, stated
from vmexit_sim.units import MICROSECOND, NANOSECOND

MODELS = Path(__file__).parents[1] / "models"
POLICIES = ["linux-default", "hypercall", "batched-recorded"]
ENGINES: tuple[EngineName, ...] = ("simpy", "compiled")
SMALL = {"blocks.0.guest.operations": 40}


def said(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """What the command line prints."""
    with pytest.raises(SystemExit) as ended:
        main(list(words))
    printed = capsys.readouterr()
    assert ended.value.code == 0, printed.err
    return printed.out


@pytest.fixture(scope="module")
def scan() -> vs.ComparisonResult:
    return vs.compare("pci-scan-q35", policies=POLICIES, only=["pci_config"])


@pytest.fixture(scope="module")
def crossing() -> vs.CrossoverResult:
    return vs.crossover(
        "spread-or-batched-waiting", between=("hypercall", "batched-full"), reps=6,
        along="blocks.0.guest.between.mean", low="100ns", high="20us", points=5,
        metric="burden.mean", set={"blocks.0.guest.operations": 2000},
    )  # fmt: skip


def study(**factors: Any) -> dict[str, Any]:
    changes = {"policies": ["hypercall", "batched-recorded"], "replications": 2, **SMALL}
    return {"name": "small", "scenario": "spread", "set": changes, "factors": factors}


class TestImporting:
    def test_importing_the_package_loads_nothing_else(self) -> None:
        code = (
            "import sys; before = set(sys.modules); import vmexit_sim; vmexit_sim.__version__; "
            "print([m for m in set(sys.modules) - before if m.split('.')[0] in "
            "('vmexit_sim', 'numpy', 'pandas', 'rich', 'pydantic', 'scipy', 'matplotlib')])"
        )
        ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert ended.stdout.strip() == "['vmexit_sim']", ended.stderr

    def test_every_public_name_is_there_and_is_the_interfaces(self) -> None:
        for name in vs.__all__:
            if name != "__version__":
                assert getattr(vs, name) is getattr(api, name)
        assert sorted(vs.__all__) == sorted([*api.__all__, "__version__"])
        assert set(vs.__all__) <= set(dir(vs))

    def test_type_checkers_are_told_the_same_names(self) -> None:
        stub = Path(vmexit_sim.__file__).with_suffix(".pyi")
        tree = ast.parse(stub.read_text(encoding="utf-8"))
        imported = {alias.name for node in tree.body if isinstance(node, ast.ImportFrom)
                    for alias in node.names}  # fmt: skip
        (listed,) = (ast.literal_eval(node.value) for node in tree.body
                     if isinstance(node, ast.Assign))  # fmt: skip
        assert imported == set(api.__all__)
        assert sorted(listed) == sorted(vs.__all__)

    def test_what_is_not_there_is_an_attribute_error(self) -> None:
        with pytest.raises(AttributeError, match="no attribute 'comparison'"):
            vs.comparison  # type: ignore[attr-defined]  # noqa: B018

    def test_every_public_name_is_documented(self) -> None:
        for name in api.__all__:
            assert getattr(api, name).__doc__, name


class TestComparing:
    def test_each_of_so_many_calls_costs_one_exit_on_an_ideal_host(self) -> None:
        result = vs.compare("spread", platform="ideal", policies=["hypercall"], reps=2, set=SMALL)
        added, exits = (result.estimate(metric, "hypercall") for metric in ("added", "exits"))
        assert (added.value, added.low, added.high) == (40 * MICROSECOND,) * 3
        assert (exits.value, exits.unit, exits.n) == (40, "1", 2)

    def test_costs_come_on_top_of_those_that_the_scenario_states(self) -> None:
        scenario = {"platform": "ideal", "policies": ["hypercall"], "replications": 2,
                    "costs": {"to_user": "1us", "to_kernel": "7us"},
                    "blocks": [{"guest": {"workload": "spread"}}]}  # fmt: skip
        result = vs.compare(scenario, set=SMALL, costs={"to_kernel": "2us"})
        assert result.estimate("added", "hypercall").value == 40 * (1 + 1 + 2) * MICROSECOND

    def test_it_prints_what_the_command_line_prints(
        self, scan: vs.ComparisonResult, capsys: pytest.CaptureFixture[str]
    ) -> None:
        out = said(capsys, "compare", "pci-scan-q35", "--only", "pci_config", "--policy", *POLICIES)
        assert str(scan).splitlines() == [line.rstrip() for line in out.rstrip().splitlines()]

    def test_its_estimates_are_the_command_lines_to_the_last_bit(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        words = ["--policy", *POLICIES, "--reps", "3", "--seed", "9", "--cost", "to_user=1us",
                 "--set", "blocks.0.guest.operations=40"]  # fmt: skip
        document = json.loads(said(capsys, "compare", "spread", "--json", *words))
        result = vs.compare("spread", policies=POLICIES, reps=3, seed=9, set=SMALL,
                            costs={"to_user": "1us"})  # fmt: skip
        for policy in document["policies"]:
            told = policy["intervals"]
            for metric, name in (("added", "hypervisor_time_ps"), ("ratio", "ratio_to_first"),
                                 ("effect.p99", "effect_ps.p99"), ("exits", "exits")):  # fmt: skip
                assert result.estimate(metric, policy["policy"]).as_json() == told[name]

    def test_the_verdict_stands_at_the_end_of_what_is_printed(
        self, scan: vs.ComparisonResult
    ) -> None:
        assert " ".join(str(scan).split()).endswith(scan.verdict)

    def test_of_several_guests_each_has_its_verdict(self) -> None:
        result = vs.compare(policies=["linux-default", "hypercall"])
        names = [block.name for block in result.outcomes]
        assert len(names) == 2
        lines = result.verdict.splitlines()
        assert all(line.startswith(name) for line, name in zip(lines, names, strict=True))
        titles = [axes.get_title(loc="left") or axes.get_title() for axes in result.plot().axes]
        assert [" ".join(title.split()) for title in titles] == names
        with pytest.raises(vs.InputError, match="several guests; choose one"):
            result.estimate("added", "hypercall")
        assert result.estimate("exits", "hypercall", names[1]).value == 495

    @settings(max_examples=8)
    @given(policies=st.permutations(POLICIES), seed=st.integers(0, 2**31))
    def test_a_frame_has_one_row_for_each_guest_policy_and_metric(
        self, policies: list[str], seed: int
    ) -> None:
        frame = vs.compare("spread", policies=policies, seed=seed, reps=3, set=SMALL).to_frame()
        assert not frame.duplicated(["block", "policy", "metric"]).any()
        assert list(frame["policy"].unique()) == policies
        wide = frame.pivot(index="policy", columns="metric", values="value")
        first = wide.loc[policies[0]]
        assert (first["ratio"], first["difference"]) == (1, 0)
        least = (wide["added"] - first["added"] - wide["difference"]).abs().max()
        assert least <= 1e-9 * wide["added"].max()
        known = frame.dropna(subset="value")
        assert ((known["low"] <= known["value"]) & (known["value"] <= known["high"])).all()

    def test_engines_give_the_same_frame(self) -> None:
        one, other = (
            vs.compare("spread", policies=POLICIES, reps=2, set=SMALL, engine=engine).to_frame()
            for engine in ENGINES
        )
        assert one.equals(other)

    def test_a_scenario_may_be_data(self) -> None:
        data = {**read_toml(MODELS / "scenarios" / "spread-or-batched-waiting.toml"),
                "replications": 2}  # fmt: skip
        named = vs.compare("spread-or-batched-waiting", reps=2, policies=["hypercall"])
        assert vs.compare(data, policies=["hypercall"]).to_frame().equals(named.to_frame())

    def test_it_goes_on_until_a_precision_is_reached(self) -> None:
        result = vs.compare("spread", policies=["linux-default"], precision="1%", set=SMALL,
                            budget=2000, reps=2)  # fmt: skip
        added = result.estimate("added", "linux-default")
        assert result.outcomes[0].reached
        assert added.half_width <= 0.01 * added.value

    def test_figures_have_a_bar_for_each_policy(self, scan: vs.ComparisonResult) -> None:
        for figure in (scan.plot(), scan.plot(log=True), scan.plot("stages"), scan.plot("tail")):
            labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
            assert labels == POLICIES

    def test_figures_that_run_the_guest_again_name_each_policy(
        self, scan: vs.ComparisonResult
    ) -> None:
        curves = scan.plot("latency", of="effect").legends[0].get_texts()
        assert [text.get_text() for text in curves] == POLICIES
        lanes = scan.plot("waterfall", access="7").axes[0].texts
        assert [text.get_text() for text in lanes] == POLICIES
        with pytest.raises(vs.InputError, match="did you mean 'latency'"):
            scan.plot("latencies")  # type: ignore[arg-type]


class TestRunning:
    def test_front_stages_of_every_access_sum_to_its_stall(self) -> None:
        ran = vs.run("pci-scan-q35", policy="hypercall", only=["pci_config"])
        frame = ran.to_frame()
        (result,) = ran.results
        front = [f"stage: {stage.name}" for stage in result.summary.stages if stage.is_front]
        assert len(frame) == result.summary.accesses == 10_103
        assert (frame[front].sum(axis=1) == frame["stall"]).all()

    def test_engines_agree_on_every_record(self) -> None:
        one, other = (
            vs.run("request-response", policy="vhost", engine=engine).to_frame()
            for engine in ENGINES
        )
        assert len(one) > 100
        assert one.equals(other)

    def test_it_prints_what_the_command_line_prints(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        out = said(capsys, "run", "net-e1000", "--policy", "hypercall", "--during", "job")
        ran = vs.run("net-e1000", policy="hypercall", during=["job"])
        assert str(ran).splitlines() == [line.rstrip() for line in out.rstrip().splitlines()]

    def test_of_several_guests_all_records_are_there(self) -> None:
        ran = vs.run(policy="batched-idioms")
        frame = ran.to_frame()
        assert list(frame["block"].value_counts()) == [10_103, 495]
        assert not frame.isna().any().any()
        assert len(ran.plot().axes[0].get_yticklabels()) == 2

    def test_exits_and_resources_are_drawn_over_time(self) -> None:
        ran = vs.run("spread", policy="hypercall", set=SMALL)
        (ax,) = ran.plot("exits").axes
        assert ax.get_title(loc="left") == f"hypercall: {ran.results[0].summary.exits:,} exits"
        assert len(ran.plot("resources").axes) == 2
        with pytest.raises(vs.InputError, match="is no kind of figure"):
            ran.plot("policies")  # type: ignore[arg-type]

    def test_records_that_were_not_kept_are_told_to_be_missing(self) -> None:
        ran = vs.run("spread", policy="hypercall", records=False, set=SMALL)
        with pytest.raises(vs.InputError, match="records=True"):
            ran.to_frame()


class TestCrossing:
    def test_it_finds_where_theory_puts_the_break_even(self, crossing: vs.CrossoverResult) -> None:
        (at,) = crossing.at  # batches of 4 pay up to a spacing of 2/4 us, on an ideal host
        assert at.holds(500 * NANOSECOND)
        assert at.half_width < 25 * NANOSECOND
        assert crossing.verdict.startswith("batched-full is better below")
        (flip,) = crossing.outcomes
        assert flip.at == at

    def test_its_frame_holds_what_was_simulated(self, crossing: vs.CrossoverResult) -> None:
        frame = crossing.to_frame()
        assert frame["in_scan"].sum() == 5
        assert frame["value"].is_monotonic_increasing
        assert (frame["n"] == 6).all()
        assert isinstance(crossing.plot(), Figure)

    def test_ends_may_be_numbers(self) -> None:
        found = vs.crossover(
            "spread", between=("hypercall", "batched-recorded"), reps=2, points=3, low=0.0,
            high=1.0, along="blocks.0.guest.read_share", set=SMALL,
        )  # fmt: skip
        assert [found.crossover.range.low.number, found.crossover.range.high.number] == [0, 1]


class TestSweeping:
    def test_what_is_stored_is_not_run_again(self, tmp_path: Path) -> None:
        stated_study = study(**{"blocks.0.guest.read_share": [0.0, 1.0]})
        first = vs.sweep(stated_study, folder=tmp_path)
        again = vs.sweep(stated_study, folder=tmp_path)
        assert (first.outcome.computed, again.outcome.computed, again.outcome.stored) == (2, 0, 2)
        assert first.to_frame().equals(again.to_frame())

    def test_a_figure_has_a_line_for_each_policy(self, tmp_path: Path) -> None:
        swept = vs.sweep(study(share={"place": "blocks.0.guest.read_share",
                                      "values": [0.0, 0.5, 1.0]}), folder=tmp_path)  # fmt: skip
        axes = swept.plot("ratio").axes[0]
        assert axes.get_xlabel() == "share (1)"
        assert {len(line.get_xdata()) for line in axes.get_lines()} >= {3}  # type: ignore[arg-type]
        with pytest.raises(vs.InputError, match="is no factor"):
            swept.plot(along="shares")
        with pytest.raises(vs.InputError, match="is no metric"):
            swept.plot("aded")

    def test_of_several_factors_one_must_be_chosen(self, tmp_path: Path) -> None:
        swept = vs.sweep(study(hosts={"place": "costs.to_user", "values": ["1 us", "2 us"]},
                               share={"place": "blocks.0.guest.read_share", "values": [0.0, 1.0]}),
                         folder=tmp_path)  # fmt: skip
        with pytest.raises(vs.InputError, match="several factors"):
            swept.plot()
        assert len(swept.plot(along="share", panels="hosts").axes) == 2
        with pytest.raises(vs.InputError, match="is no other factor"):
            swept.plot(along="share", panels="share")

    def test_points_that_fail_are_an_error_and_the_others_stay(self, tmp_path: Path) -> None:
        wanted = study(**{"blocks.0.guest.read_share": [0.0, 2.0]})
        with pytest.raises(vs.VmexitError, match="1 of 2 points failed"):
            vs.sweep(wanted, folder=tmp_path)
        good = study(**{"blocks.0.guest.read_share": [0.0]})
        assert vs.sweep(good, folder=tmp_path).outcome.stored == 1


class TestTracing:
    def test_it_counts_what_the_command_line_counts(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        document = json.loads(said(capsys, "trace", "info", "pci-scan-q35", "--json"))
        found = vs.trace("pci-scan-q35")
        assert found.info == document
        frame = found.to_frame()
        assert len(frame) == len(found.table)
        agents = frame["agent"].value_counts()
        assert {name: count for name, count in agents.items() if count} == document["agents"]

    def test_a_frame_names_what_codes_stand_for(self) -> None:
        found = vs.trace("net-e1000")
        frame, table = found.to_frame(), found.table
        assert "flags" not in frame
        config = frame[frame["space"] == "pci_config"]
        assert len(config) == int((table.space == Space.PCI_CONFIG).sum()) > 0
        named = [table.devices[n] if n >= 0 else "" for n in table.device[:1000]]
        assert list(frame["device"][:1000]) == named
        assert not frame[["space", "agent", "phase", "kind", "device"]].isna().any().any()

    def test_a_saved_table_is_the_same_guest(self, tmp_path: Path) -> None:
        found = vs.trace("pci-scan-q35")
        path = tmp_path / "scan.parquet"
        save_table(found.table, path)
        assert vs.trace(path).to_frame().equals(found.to_frame())


def test_models_are_those_of_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    document = json.loads(said(capsys, "models", "list", "--json"))
    frame = vs.models().to_frame()
    listed = {(kind, name, title) for kind, titles in document.items()
              for name, title in titles.items()}  # fmt: skip
    assert listed == set(frame.itertuples(index=False, name=None))


SHOWN: dict[str, Callable[[Path], Shown]] = {
    "compare": lambda _: vs.compare("spread", policies=POLICIES, reps=3, set=SMALL),
    "crossover": lambda _: vs.crossover(
        "spread", between=("hypercall", "batched-recorded"), reps=2, points=3, low=0, high=1,
        along="blocks.0.guest.read_share", set=SMALL,
    ),
    "run": lambda _: vs.run("spread", policy="hypercall", set=SMALL),
    "sweep": lambda folder: vs.sweep(study(platform=["kvm-2013", "kvm-2017"]), folder=folder),
    "trace": lambda _: vs.trace("pci-scan-q35"),
    "models": lambda _: vs.models(),
}  # fmt: skip


class Tables(HTMLParser):
    """Counts tables and rows, and insists that what is opened is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.open.append(tag)
        self.seen.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.mark.parametrize("what", SHOWN)
def test_a_result_shows_itself_everywhere(what: str, tmp_path: Path) -> None:
    result = SHOWN[what](tmp_path)
    assert "\n" not in repr(result)
    assert repr(result).startswith(f"<{type(result).__name__}: ")
    assert "\x1b" not in str(result)
    assert len(result.to_frame()) > 0
    page = Tables()
    page.feed(result._repr_html_())
    assert page.open == []
    assert page.seen.count("table") >= 1


def test_html_holds_every_cell_and_escapes_it() -> None:
    table = Table(title="a < b", caption="c & d")
    table.add_column("x", justify="right")
    table.add_column(Text("y"))
    table.add_row("1", Text("<script>", style="dim"))
    found = html_of(Group(Text("bold", style="bold"), Text(), table))
    assert '<p style="margin: 0.2em 0"><b>bold</b></p>' in found
    assert "a &lt; b" in found
    assert "c &amp; d" in found
    assert '<td style="text-align: right">1</td>' in found
    assert '<td style="text-align: left">&lt;script&gt;</td>' in found
    assert found.count("<p") == 2, "nothing is shown of an empty line"


def test_html_of_what_is_no_text_or_table_is_refused() -> None:
    with pytest.raises(TypeError, match="Progress"):
        html_of(Progress(console=Console(quiet=True)))
    table = Table("x")
    table.add_row(Table("y"))
    with pytest.raises(TypeError, match="in a table"):
        html_of(table)


MISTAKES: list[tuple[Callable[[], object], str]] = [
    (lambda: vs.compare("pci-scan-q36"), "did you mean 'pci-scan-q35'"),
    (lambda: vs.compare("spread", platfrom="x"), "did you mean 'platform'"),  # type: ignore[call-arg]
    (lambda: vs.compare("spread", platform="kvm-2071"), "did you mean 'kvm-2017'"),
    (lambda: vs.compare("spread", policies=["hypercal"]), "did you mean 'hypercall'"),
    (lambda: vs.compare("spread", policies="hypercall"), r"is no list; write \[\"hypercall\"\]"),
    (lambda: vs.compare("spread", policies=[]), "at least 1 item"),
    (lambda: vs.compare("net-e1000", only="mmio"), r"write \[\"mmio\"\]"),
    (lambda: vs.compare("spread", set={"blocks.0.guest.betwen": 1}), "did you mean 'between'"),
    (lambda: vs.compare("spread", costs={"to_usr": "1us"}), "did you mean 'to_user'"),
    (lambda: vs.compare("spread", reps=0), "greater than or equal to 1"),
    (lambda: vs.compare("spread", jobs=0), "jobs: 0 is too few"),
    (lambda: vs.compare("spread", budget=0), "budget: 0 is too few"),
    (lambda: vs.compare("spread", engine="simpi"), "did you mean 'simpy'"),  # type: ignore[arg-type]
    (lambda: vs.compare("spread", precision="much"), "'much' is no precision"),
    (lambda: vs.compare({"blocks": []}), "at least 1 item"),
    (lambda: vs.run("spread", replication=-1), "replication: -1 is too few"),
    (lambda: vs.trace("net-e100"), "did you mean 'net-e1000'"),
    (lambda: vs.sweep("spacings"), "did you mean 'spacing'"),
    (lambda: vs.sweep({"scenario": "spread"}), "factors"),
    (
        lambda: vs.crossover("spread", between=("hypercall", "batched-full"), low="1us", high="2",
                             along="blocks.0.guest.between.mean"),
        "unit",
    ),
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(MISTAKES)))
def test_a_mistake_is_an_error_that_says_the_mend(number: int) -> None:
    mistaken, told = MISTAKES[number]
    with pytest.raises(vs.InputError, match=told):
        mistaken()


def test_asking_a_comparison_for_what_it_has_not_is_an_error(scan: vs.ComparisonResult) -> None:
    for asked, told in (
        (lambda: scan.estimate("aded", "hypercall"), "did you mean 'added'"),
        (lambda: scan.estimate("added", "hypercal"), "did you mean 'hypercall'"),
        (lambda: scan.plot(block="spread"), "is no guest of this comparison"),
    ):
        with pytest.raises(vs.InputError, match=told):
            asked()


@pytest.mark.parametrize(
    ("words", "changes"),
    [
        ({"platform": "kvm-2017"}, {"platform": Path("kvm-2017")}),
        ({"cost": ["to_user=1us", "to_kernel=2 us"]},
         {"costs": {"to_user": "1us", "to_kernel": "2 us"}}),
        ({"set_": ["blocks.0.timers=true", "seed=3"]},
         {"set": {"blocks.0.timers": True, "seed": 3}}),
        ({"cpus": 2, "time_slice": "3 ms"}, {"cpus": 2, "time_slice": "3 ms"}),
        ({"only": ["mmio"], "during": ["job"]}, {"only": ("mmio",), "during": ["job"]}),
        ({"timers": True, "deliveries": True}, {"timers": True, "deliveries": True}),
        ({"steady_state": True, "reps": 3, "seed": 0},
         {"steady_state": True, "reps": 3, "seed": 0}),
        ({}, dict.fromkeys(("platform", "costs", "set", "cpus", "only", "during", "seed"))),
    ],
)  # fmt: skip
def test_the_command_line_and_python_state_the_same(
    words: dict[str, Any], changes: Changes
) -> None:
    by_words = CommandLineChanges(**words).stated("net-e1000", ["hypercall"])
    by_changes = stated("net-e1000", ["hypercall"], changes=changes)
    assert by_words.data == by_changes.data
    assert (by_words.path, by_words.elsewhere) == (by_changes.path, by_changes.elsewhere)
