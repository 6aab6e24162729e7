"""A report is one whole, well-formed page that loads nothing, hides nothing and escapes all."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmexit_sim.cli import main
from vmexit_sim.cli import reports as _registered  # noqa: F401
from vmexit_sim.configuration import checked
from vmexit_sim.opened import open_scenario
from vmexit_sim.present import report as page
from vmexit_sim.present.report_costs import meaning
from vmexit_sim.present.report_figures import LONGEST_LABEL, labels_of
from vmexit_sim.present.report_tables import basis, estimate_text, stage_table
from vmexit_sim.present.verdicts import verdict
from vmexit_sim.scenario import Scenario
from vmexit_sim.statistics import Estimate, exact
from vmexit_sim.study.compare import compare
from vmexit_sim.study.input_uncertainty import input_uncertainty
from vmexit_sim.study.outcome import Comparison

VOID = {"meta", "br", "hr", "img", "input", "link", "base", "col", "source", "wbr"}
HOSTILE = "$\\frac{1$ 中 \u202e</td><script>alert(1)</script>\"'&amp; {{ 7 * 7 }} <!--"
GUEST = {
    "kind": "spread", "operations": 60, "read_share": 0.5, "space": "pci_config",
    "between": {"kind": "exponential", "mean": "1 us"},
}  # fmt: skip
COMMAND = "vmexit-sim report NAME"


class Page(HTMLParser):
    """A parsed page: elements with their text, and every complaint about nesting."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.complaints: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[list[str]] = []
        self.rows: list[list[str]] = []
        self.pieces: list[str] = []
        self._inside: list[int] = []
        self.feed(html)
        self.close()
        self.complaints += [f"{tag} is never closed" for tag in self.open]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self.texts.append([])
        if len(dict(attrs)) != len(attrs):
            self.complaints.append(f"{tag} has an attribute twice")
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if tag not in VOID:
            self.open.append(tag)
            self._inside.append(len(self.elements) - 1)

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open[-1] != tag:
            self.complaints.append(f"{tag} ends inside {self.open[-1:]}")
            return
        self.open.pop()
        self._inside.pop()

    def handle_data(self, data: str) -> None:
        self.pieces.append(data)
        for place in self._inside:
            self.texts[place].append(data)
        if self.open and self.open[-1] in ("td", "th"):
            self.rows[-1][-1] += data

    def handle_comment(self, data: str) -> None:
        self.complaints.append(f"a comment: {data[:40]}")

    def named(self, tag: str) -> list[str]:
        return ["".join(text) for (name, _), text in zip(self.elements, self.texts, strict=True)
                if name == tag]  # fmt: skip

    def values(self, attribute: str) -> list[str]:
        return [attrs[attribute] or "" for _, attrs in self.elements if attribute in attrs]


def compared(replications: int = 6, **stated: Any) -> Comparison:
    costs = {"to_user": {"kind": "exponential", "mean": "1 us"}}
    whole = {"name": "NAME", "title": "TITLE", "question": "QUESTION", "platform": "kvm-2017",
             "policies": ["linux-default", "hypercall", "batched-recorded", "bare-metal"],
             "costs": costs, "replications": replications,
             "blocks": [{"name": "BLOCK", "guest": GUEST}], **stated}  # fmt: skip
    return compare(open_scenario(checked(Scenario, whole)))


@pytest.fixture
def no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """For what figures have no part in: they take most of a report's time."""
    monkeypatch.setattr(page, "MOST_FIGURES", 0)


@pytest.fixture(scope="module")
def result() -> Comparison:
    return compared(blocks=[{"name": name, "guest": GUEST} for name in ("BLOCK", "OTHER")])


@pytest.fixture(scope="module")
def html(result: Comparison) -> str:
    return page.report(result, COMMAND)


@pytest.fixture(scope="module")
def parsed(html: str) -> Page:
    return Page(html)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Page:
    """The same question where whatever a file may say is hostile."""
    folder = tmp_path_factory.mktemp("hostile")
    said = "'''" + HOSTILE + "'''"
    policies = []
    for number, base in enumerate(["linux-default", "hypercall", "batched-recorded", "bare-metal"]):
        path = folder / f"p{number}.toml"
        path.write_text(
            f"extends = '{base}'\nname = '''{number}{HOSTILE}'''\ntitle = {said}\n"
            f"about = {said}\nsource = {said}\nrules = []\n", encoding="utf-8",
        )  # fmt: skip
        policies.append(str(path))
    platform = folder / "platform.toml"
    platform.write_text(
        f"extends = 'kvm-2017'\nname = {said}\ntitle = {said}\nabout = {said}\ncaution = {said}\n"
        f"[costs.refill]\nvalue = '1 ns'\nmark = 'A'\nsource = {said}\n", encoding="utf-8",
    )  # fmt: skip
    blocks = [{"name": HOSTILE, "guest": GUEST}]
    found = compared(policies=policies, platform=str(platform), title=HOSTILE, name=HOSTILE,
                     question=HOSTILE, blocks=blocks)  # fmt: skip
    return Page(page.report(found, f"vmexit-sim report {HOSTILE}"))


def test_elements_nest_and_no_identifier_occurs_twice(parsed: Page, hostile: Page) -> None:
    for each in (parsed, hostile):
        assert not each.complaints
        assert [name for name, times in Counter(each.values("id")).items() if times > 1] == []


def test_every_reference_within_the_page_leads_somewhere(html: str, parsed: Page) -> None:
    known = set(parsed.values("id"))
    wanted = [name for value in parsed.values("aria-labelledby") for name in value.split()]
    wanted += [value.removeprefix("#") for value in parsed.values("href")]
    wanted += re.findall(r"url\(#([^)]+)\)", html)
    assert len(wanted) > 20
    assert set(wanted) <= known


def test_nothing_is_loaded_from_anywhere(html: str, parsed: Page, hostile: Page) -> None:
    for each in (parsed, hostile):
        tags = {tag for tag, _ in each.elements}
        assert not tags & {"script", "link", "img", "iframe", "object", "embed", "base", "image"}
        names = {name for _, attrs in each.elements for name in attrs}
        assert not names & {"src", "srcset", "action", "data", "xlink:href", "background"}
        assert not [name for name in names if name.startswith("on")]
        assert all(value.startswith("#") for value in each.values("href"))
        policy = next(attrs["content"] for _, attrs in each.elements
                      if attrs.get("http-equiv") == "Content-Security-Policy")  # fmt: skip
        assert policy is not None
        assert policy.startswith("default-src 'none'")
    assert "@import" not in html
    assert not re.search(r"url\((?!#)", html)


def test_every_policy_and_every_cost_stands_in_a_row(result: Comparison, parsed: Page) -> None:
    for policy in result.opened.policies:
        rows = [row for row in parsed.rows if row[0].rstrip("°†") == policy.name]
        assert [policy.title] in [row[1:] for row in rows]
        assert len(rows) >= 5 * len(result.blocks)
    by_name = {row[0]: row for row in parsed.rows}
    for name, cost in result.opened.platform.costs.items():
        _, what, value, _, mark, source = by_name[name]
        assert (mark, source) == (cost.mark, cost.source)
        assert what == meaning(name) != ""
        assert value


def test_rows_are_as_long_as_their_headings(parsed: Page) -> None:
    lengths = [len(row) for row in parsed.rows]
    heads = [n for n, row in enumerate(parsed.rows) if row[0] in ("policy", "cost")]
    assert heads[0] == 0
    for start, end in zip(heads, [*heads[1:], len(lengths)], strict=True):
        assert set(lengths[start:end]) == {lengths[start]}
        assert end > start + 1


def test_each_guest_has_its_verdict_with_the_interval(result: Comparison, parsed: Page) -> None:
    said = parsed.named("p")
    for block in result.blocks:
        assert f"{block.name} {verdict(block)}" in said
        assert "95 %" in verdict(block)


def test_what_a_file_says_is_text_and_never_markup(parsed: Page, hostile: Page) -> None:
    assert hostile.named("h1") == [HOSTILE]
    assert hostile.named("title")[0] == HOSTILE
    assert {tag for tag, _ in hostile.elements} == {tag for tag, _ in parsed.elements} | {"b"}
    texts = "".join(hostile.pieces)
    assert texts.count("<script>alert(1)</script>") > 25
    assert "{{ 7 * 7 }}" in texts  # nothing is rendered twice
    for number in range(4):
        assert any(row[0].startswith(f"{number}{HOSTILE}") for row in hostile.rows)


def test_headings_are_in_order_and_the_language_is_stated(parsed: Page) -> None:
    levels = [int(tag[1]) for tag, _ in parsed.elements if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    assert dict(parsed.elements)["html"] == {"lang": "en"}


def test_figures_are_told_to_those_who_do_not_see_them(result: Comparison, parsed: Page) -> None:
    pictures = [attrs for tag, attrs in parsed.elements if tag == "svg"]
    assert len(pictures) == 3 * len(result.blocks)
    told = {attrs["id"]: "".join(text) for (_, attrs), text
            in zip(parsed.elements, parsed.texts, strict=True) if "id" in attrs}  # fmt: skip
    for attrs in pictures:
        title, description = (told[name] for name in (attrs["aria-labelledby"] or "").split())
        assert attrs["role"] == "img"
        assert len(description) > len(title) > 10


def test_what_scrolls_is_reached_by_keyboard(parsed: Page) -> None:
    boxes = [attrs for _, attrs in parsed.elements if attrs.get("class") in ("scroll", "drawing")]
    assert len(boxes) > 10
    assert all(attrs["tabindex"] == "0" and attrs["role"] == "region" for attrs in boxes)
    assert all("aria-label" in attrs or "aria-labelledby" in attrs for attrs in boxes)


def test_equal_input_gives_equal_bytes() -> None:
    assert page.report(compared(), COMMAND) == page.report(compared(), COMMAND)


def _luminance(colour: str) -> float:
    """Relative luminance (WCAG 2.2, definition of it)."""
    parts = [int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_text_stands_out_from_its_ground_by_day_and_night(html: str) -> None:
    schemes = [dict(re.findall(r"--(\w+): (#\w{6})", part))
               for part in re.findall(r":root \{([^}]+)\}", html)]  # fmt: skip
    schemes = [scheme for scheme in schemes if scheme]
    assert len(schemes) == 2
    for scheme in schemes:
        for text in ("ink", "soft", "link"):
            for ground in ("page", "band"):
                light, dark = sorted((_luminance(scheme[text]), _luminance(scheme[ground])))[::-1]
                assert (light + 0.05) / (dark + 0.05) >= 4.5, (text, ground)
        for ground in ("said", "warn"):
            light, dark = sorted((_luminance(scheme["ink"]), _luminance(scheme[ground])))[::-1]
            assert (light + 0.05) / (dark + 0.05) >= 4.5, ground


@pytest.mark.usefixtures("no_figures")
def test_an_exact_comparison_says_so_and_claims_no_interval() -> None:
    guest = {"kind": "bar_sizing", "sequence": "old"}
    found = compared(costs={}, blocks=[{"name": "b", "guest": guest}], replications=1)
    parsed = Page(page.report(found, COMMAND))
    text = "".join(parsed.pieces)
    assert "nothing is left to chance: exact" in text
    assert "Intervals:" not in text
    assert not any("±" in cell for row in parsed.rows for cell in row)


@pytest.mark.usefixtures("no_figures")
def test_one_replication_has_no_intervals_and_no_pairs() -> None:
    text = "".join(Page(page.report(compared(replications=1), COMMAND)).pieces)
    assert "one replication gives no intervals" in text
    assert "± ?" in text
    assert "variance reduction" not in text


def test_where_nothing_is_added_no_bars_are_drawn() -> None:
    parsed = Page(page.report(compared(policies=["bare-metal"]), COMMAND))
    assert not parsed.complaints
    assert sum(tag == "svg" for tag, _ in parsed.elements) == 2  # stages and stalls


@pytest.mark.usefixtures("no_figures")
def test_scarce_cpus_and_polling_are_told_where_they_matter() -> None:
    parsed = Page(page.report(compared(
        cpus=1, blocks=[{"name": "b", "guest": {**GUEST, "vcpus": 2}}],
        policies=["halt-poll-dynamic", "hypercall"],
    ), COMMAND))  # fmt: skip
    heads = [row for row in parsed.rows if row[0] == "policy"]
    assert ["policy", "asleep", "idle time burnt", "CPU used"] in heads
    assert ["policy", "utilisation (1 = all busy)", "steal", "waited in stalls"] in heads
    assert "slices of 3 ms" in "".join(parsed.pieces)


@pytest.mark.usefixtures("no_figures")
def test_a_nested_platform_shows_what_nesting_adds() -> None:
    found = compared(platform="kvm-nested-2017", costs={})
    rows = {row[0]: row for row in Page(page.report(found, COMMAND)).rows}
    nesting = found.opened.platform.nesting
    assert nesting is not None
    assert rows["nesting: forward"][5] == nesting.forward.source
    assert rows["nesting: exits"][2] == "1; 23 more"


@pytest.mark.usefixtures("no_figures")
def test_a_calibrated_platform_shows_its_intervals_and_what_they_do(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(
        "extends = 'kvm-2017'\n[costs.to_user]\nvalue = '1 us'\nmark = 'H'\n"
        "source = 'measured on this host'\ninterval = ['900 ns', '1100 ns']\n", encoding="utf-8",
    )  # fmt: skip
    found = compared(platform=str(path), costs={})
    uncertain = input_uncertainty(found, draws=40)
    parsed = Page(page.report(found, COMMAND, uncertain))
    assert not parsed.complaints
    assert next(row for row in parsed.rows if row[0] == "to_user")[3] == "900 ns to 1.1 µs"
    assert any("40 draws of 1 cost: to_user." in text for text in parsed.named("p"))
    shares = [row for row in parsed.rows if row[-1].endswith("%") and row[0] == "hypercall"]
    assert len(shares) == len(found.blocks)


def test_the_parts_of_an_exit_are_the_sums_of_their_stages(result: Comparison) -> None:
    """World switches out and in are constant here: each exit has one of both."""
    table = stage_table(result.blocks[0])
    row = next(row for row in table.rows if row[0] == "hypercall")
    costs = result.opened.platform.costs
    both = costs.world_switch_out.value.mean_ps + costs.world_switch_in.value.mean_ps
    exits = result.blocks[0].policies[1].exits.value
    assert row[table.headings.index("world switch")] == estimate_text(exact(exits * both))


def test_a_constant_stage_moves_a_sum_and_leaves_its_interval_as_wide(result: Comparison) -> None:
    """To user space is random here and back is constant; both are one part of an exit."""
    table = stage_table(result.blocks[0])
    times = {s.name: t for s, t in result.blocks[0].policies[1].stage_times.items()}
    there, back = times["to user space"], times["back to kernel"]
    assert there.half_width > 0 == back.half_width
    both = replace(there, value=there.value + back.value, low=there.low + back.value,
                   high=there.high + back.value)  # fmt: skip
    row = next(row for row in table.rows if row[0] == "hypercall")
    assert row[table.headings.index("user space and back")] == estimate_text(both)


@pytest.mark.usefixtures("no_figures")
def test_a_text_without_end_is_cut_and_control_characters_are_replaced() -> None:
    long = "a\x00b\ud800" + "x" * 1_000_000
    html = page.report(compared(title=long, question=long), "c" * 1_000_000)
    parsed = Page(html)
    (title,) = parsed.named("h1")
    assert title == "a\ufffdb\ufffd" + "x" * (page.LONGEST - 5) + "…"
    assert len(html) < 200_000
    html.encode("utf-8")


@given(st.lists(st.text(min_size=1, max_size=60), unique=True, max_size=30))
def test_labels_are_short_printable_and_never_alike(names: list[str]) -> None:
    labels = labels_of(names)
    assert len(set(labels)) == len(labels) == len(names)
    for label in labels:
        assert 0 < len(label) <= LONGEST_LABEL
        assert label.isprintable()
        assert label.strip()


def test_an_estimate_shows_its_interval_and_a_lopsided_one_both_ends() -> None:
    assert estimate_text(Estimate(13_600_000, 13_400_000, 13_800_000, 9, "t")) == "13.60 ± 0.20 µs"
    lopsided = Estimate(13_600_000, 13_400_000, 14_400_000, 9, "order statistics")
    assert estimate_text(lopsided) == "13.60 (13.40 to 14.40) µs"
    small = Estimate(100_000, 100_000, 2_100_000, 9, "order statistics")
    assert estimate_text(small) == "0.1 (0.1 to 2.1) µs"
    assert estimate_text(exact(35_390_000_000)) == "35.39 ms"
    ratio = Estimate(0.5, 0.4, 0.9, 9, "paired ratio", unit="1")
    assert estimate_text(ratio) == "0.50 (0.40 to 0.90)"
    assert estimate_text(Estimate(1e6, float("-inf"), float("inf"), 1, "one replication")) == (
        "1 µs ± ?"
    )


def test_a_note_says_what_intervals_rest_on() -> None:
    sampled = Estimate(10, 9, 11, 7, "t")
    still = Estimate(10, 10, 10, 7, "t")
    assert basis({"a": [sampled], "b": [sampled]}) == "Intervals: a, b: 95 %, n = 7, t"
    assert basis({"a": [sampled, still]}) == (
        "Intervals: a: 95 %, n = 7, t; a number without one: the same in all of n = 7"
    )
    assert basis({"a": [still]}) == "No intervals: the same in all of n = 7"
    assert basis({"a": [exact(1.0)]}) == "Exact: nothing is left to chance"


Cli = Callable[..., int]


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Cli:
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> int:
        with pytest.raises(SystemExit) as ended:
            main(list(arguments))
        return int(ended.value.code or 0)

    return run


def test_the_command_in_a_report_makes_the_same_bytes(cli: Cli, tmp_path: Path) -> None:
    output = tmp_path / "a report.html"
    asked = ["report", "pci-scan-q35", "-o", output.name, "--policy", "linux-default", "hypercall",
             "--cost", "thread_wake_up=8 us", "to_user=1us", "--only", "pci_config",
             "--during", "kernel", "--timers", "--seed", "0", "--precision", "2%",
             "--set", "parameters.hypercall={}", "--reps", "3"]  # fmt: skip
    assert cli(*asked) == 0
    first = output.read_bytes()
    (command,) = (text for text in Page(first.decode()).named("code") if "vmexit-sim " in text)
    output.unlink()
    assert cli(*shlex.split(command)[1:], "--jobs", "1", "--engine", "simpy") == 0
    assert output.read_bytes() == first


def test_a_file_that_is_no_page_is_refused_before_anything_runs(
    cli: Cli, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli("report", "no-such-scenario", "-o", "report.pdf") == 2
    assert "end it with .html" in capsys.readouterr().err
    assert cli("report", "bar-sizing", "-o", "nowhere/report.html", "--policy", "hypercall") == 2
