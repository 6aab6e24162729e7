"""A saved result tells what the comparison told, and a file that is not sound is refused."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from copy import deepcopy
from hashlib import sha256
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import vmexit_sim as vs
from vmexit_sim import catalog
from vmexit_sim.cli import main
from vmexit_sim.configuration import AS_STATED, checked, checked_json
from vmexit_sim.hypervisor.platform import Platform, load_platform
from vmexit_sim.opened import open_scenario
from vmexit_sim.policy import Policy, load_policy
from vmexit_sim.present import documents
from vmexit_sim.present import report as page
from vmexit_sim.scenario import Scenario
from vmexit_sim.study import result_file
from vmexit_sim.study.compare import compare
from vmexit_sim.study.input_uncertainty import input_uncertainty
from vmexit_sim.study.outcome import Comparison
from vmexit_sim.study.result_file import Result, load_result, save_result

GUEST = {
    "kind": "spread", "operations": 60, "read_share": 0.5, "space": "pci_config",
    "between": {"kind": "exponential", "mean": "1 us"},
}  # fmt: skip
POLICIES = ["linux-default", "hypercall", "batched-recorded", "bare-metal"]
CALIBRATED = """
extends = 'kvm-2017'
name = 'mine'
[costs.to_user]
value = '1 us'
mark = 'H'
source = 'measured on this host'
interval = ['900 ns', '1100 ns']
"""


def compared(**stated: Any) -> Comparison:
    whole = {"name": "NAME", "title": "TITLE", "question": "QUESTION", "platform": "kvm-2017",
             "policies": POLICIES, "replications": 4,
             "blocks": [{"name": "BLOCK", "guest": GUEST}], **stated}  # fmt: skip
    return compare(open_scenario(checked(Scenario, whole)))


CASES: dict[str, Callable[[], Comparison]] = {
    "random": lambda: compared(
        costs={"to_user": {"kind": "lognormal", "mean": "2 us", "cv": 0.5, "shift": "1 us"}}
    ),
    "exact": lambda: compared(
        blocks=[{"guest": {"kind": "bar_sizing", "sequence": "old", "bars32": 2},
                 "think_scales": [0.5, 1.0]}]
    ),
    "one long run": lambda: compared(
        study="steady-state", replications=1, policies=POLICIES[:2],
        blocks=[{"guest": {**GUEST, "operations": 4000}}],
    ),
    "scarce CPUs": lambda: compared(
        cpus=1, time_slice="1 ms", blocks=[{"guest": {**GUEST, "vcpus": 2}}],
        policies=["halt-poll-dynamic", "halt-poll-never"],
    ),
    "nested, two guests": lambda: compared(
        platform="kvm-nested-2017", parameters={"batched-recorded": {"max_batch": 4}},
        blocks=[{"name": name, "guest": GUEST} for name in ("µ", 'b "quoted"')],
    ),
    "in-kernel and rings": lambda: compared(
        policies=["qemu-kvm", "vhost", "spdk-like"],
        blocks=[{"guest": {"kind": "request_response", "requests": 60, "think": "5 us"}}],
    ),
}  # fmt: skip


@pytest.fixture
def no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """For what figures have no part in: they take most of a report's time."""
    monkeypatch.setattr(page, "MOST_FIGURES", 0)


def through(comparison: Comparison, folder: Path) -> Comparison:
    path = folder / "result.json"
    save_result(Result(comparison=comparison), path)
    return load_result(path).comparison


class TestTheSameAgain:
    @pytest.mark.usefixtures("no_figures")
    @pytest.mark.parametrize("case", CASES)
    def test_everything_that_is_told_of_it(self, case: str, tmp_path: Path) -> None:
        before = vs.ComparisonResult(comparison=CASES[case]())
        before.save(tmp_path / "kept.json")
        after = vs.load(tmp_path / "kept.json")
        assert str(after) == str(before)
        assert (repr(after), after.verdict) == (repr(before), before.verdict)
        pd.testing.assert_frame_equal(after.to_frame(), before.to_frame(), check_exact=True)
        ours, its = before.comparison, after.comparison
        assert json.dumps(documents.comparison(its)) == json.dumps(documents.comparison(ours))
        assert page.report(its, "command") == page.report(ours, "command")

    def test_a_file_saved_again_is_the_same_file(self, tmp_path: Path) -> None:
        first, second = tmp_path / "first.json", tmp_path / "second.json"
        save_result(Result(comparison=CASES["random"](), command="how"), first)
        save_result(load_result(first), second)
        assert second.read_bytes() == first.read_bytes()

    def test_figures_too(self, tmp_path: Path) -> None:
        before = compared(policies=POLICIES[:2])
        after = through(before, tmp_path)
        assert page.report(after, "command") == page.report(before, "command")

    def test_the_calibrations_uncertainty(self, tmp_path: Path) -> None:
        (tmp_path / "mine.toml").write_text(CALIBRATED, encoding="utf-8")
        comparison = compared(platform=str(tmp_path / "mine.toml"))
        uncertainty = input_uncertainty(comparison, draws=40)
        save_result(Result(comparison=comparison, uncertainty=uncertainty), tmp_path / "r.json")
        found = load_result(tmp_path / "r.json")
        assert found.uncertainty == uncertainty
        assert "40 draws" in str(vs.load(tmp_path / "r.json"))

    @pytest.mark.parametrize("name", catalog.names("policies"))
    def test_every_shipped_policy(self, name: str) -> None:
        policy = load_policy(name)
        text = policy.model_dump_json(by_alias=True, context=AS_STATED)
        assert checked_json(Policy, text) == policy

    @pytest.mark.parametrize("name", catalog.names("platforms"))
    def test_every_shipped_platform(self, name: str) -> None:
        platform = load_platform(name)
        text = platform.model_dump_json(by_alias=True, context=AS_STATED)
        assert checked_json(Platform, text).model_dump() == platform.model_dump()

    def test_samples_of_a_resampled_cost(self, tmp_path: Path) -> None:
        (tmp_path / "times.csv").write_text("t\n1000\n2500\n9000\n", encoding="utf-8")
        (tmp_path / "mine.toml").write_text(
            "extends = 'kvm-2017'\n[costs.item]\nmark = 'H'\nsource = 'measured here'\n"
            "value = { kind = 'empirical', file = 'times.csv', column = 't' }\n", encoding="utf-8",
        )  # fmt: skip
        before = compared(platform=str(tmp_path / "mine.toml"))
        after = through(before, tmp_path).opened.platform.costs.item.value
        assert after == before.opened.platform.costs.item.value
        assert after.samples == (1000, 2500, 9000)  # type: ignore[union-attr]

    def test_but_it_cannot_be_run_on(self, tmp_path: Path) -> None:
        with pytest.raises(vs.InputError, match="was read from a file"):
            input_uncertainty(through(CASES["random"](), tmp_path))


class TestFromTheCommandLine:
    WORDS = ("spread", "--set", "blocks.0.guest.operations=60", "--policy", *POLICIES[:3],
             "--reps", "3")  # fmt: skip

    @staticmethod
    def ended(*words: str) -> int:
        with pytest.raises(SystemExit) as ended:
            main(list(words))
        return int(ended.value.code or 0)

    @pytest.mark.usefixtures("no_figures")
    def test_a_report_of_a_result_is_that_of_the_scenario_but_for_the_command(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.chdir(tmp_path)
        assert self.ended("compare", *self.WORDS, "-o", "r.json") == 0
        assert "r.json: " in capsys.readouterr().out
        assert self.ended("report", *self.WORDS, "-o", "direct.html") == 0
        assert self.ended("report", "r.json", "-o", "later.html") == 0
        direct, later = (Path(n).read_text("utf-8") for n in ("direct.html", "later.html"))
        command = vs.load("r.json").command
        assert command.startswith("vmexit-sim compare spread --policy=linux-default ")
        own = "vmexit-sim report r.json --output later.html"
        assert f"{command}\n{own}" in later
        wanted = command.replace("compare", "report", 1).replace("r.json", "direct.html")
        assert later.replace(f"{command}\n{own}", wanted) == direct

    def test_with_json_the_document_alone_is_printed(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        path = tmp_path / "r.json"
        assert self.ended("compare", *self.WORDS, "--json", "-o", str(path)) == 0
        printed = json.loads(capsys.readouterr().out)
        assert printed == json.loads(json.dumps(documents.comparison(load_result(path).comparison)))

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            (["compare", "spread", "-o", "r.txt"], "--output: 'r.txt' is no result file's name"),
            (["compare", "spread", "-o", "none/r.json"], "is in no existing folder"),
            (["compare", "r.json"], "is a result's name, and a result is not run"),
            (["report", "r.json", "-o", "r.html"], "r.json: cannot be read: No such file"),
            (["report", "r.json", "-o", "r.html", "--seed", "3"], "--seed: asks for another run"),
            (["report", "r.json", "-o", "r.html", "--policy", "vhost"], "--policy: asks for"),
        ],
    )
    def test_what_cannot_be_is_refused_before_anything_is_run(
        self, words: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:  # fmt: skip
        monkeypatch.chdir(tmp_path)
        assert self.ended(*words) == 2
        assert said in capsys.readouterr().err
        assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("kept") / "r.json"
    save_result(Result(comparison=compared(policies=POLICIES[:2], replications=2)), path)
    return path


def signed(document: dict[str, Any]) -> bytes:
    """A document with the checksum that its content calls for."""
    content = json.dumps(document["content"], separators=(",", ":"), ensure_ascii=False)
    digest = sha256(content.encode("utf-8", "replace")).hexdigest()
    whole = {**document, "checksum": f"sha256:{digest}"}
    return json.dumps(whole, ensure_ascii=False).encode("utf-8", "replace")


def refusal(path: Path) -> str:
    with pytest.raises(vs.InputError) as refused:
        load_result(path)
    return str(refused.value)


def places(value: Any, way: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in nested data."""
    if way:
        yield way
    for key, part in value.items() if isinstance(value, dict) else (
        enumerate(value) if isinstance(value, list) else ()
    ):  # fmt: skip
        yield from places(part, (*way, key))


class TestRefused:
    @pytest.mark.parametrize(
        ("content", "said"),
        [
            (b"", "is no JSON, or not all of it"),
            (b"\xff\xfe", "is no JSON"),
            (b"[" * 100_000, "is no JSON"),
            (b'{"format": NaN}', "NaN is no number in JSON"),
            (b"[]", "is no saved result; compare and save it again"),
            (b'{"format": "another"}', "is no saved result"),
            (b'{"blocks": [], "configuration": {}}', "is what `compare --json` printed"),
            (b'{"format": "vmexit-sim result"}', "version: is no version"),
            (b'{"format": "vmexit-sim result", "version": true}', "version: True is no version"),
            (b'{"format": "vmexit-sim result", "version": 1}', "its checksum is another's"),
            (b'{"format": "vmexit-sim result", "version": 1, "content": [1e999]}', "too large"),
            (b'{"format": "vmexit-sim result", "version": 2, "content": '
             b'{"made_with": {"vmexit-sim": "7.5"}}}', "newer format by vmexit-sim 7.5"),
        ],
    )  # fmt: skip
    def test_what_is_no_result_of_this_format(
        self, content: bytes, said: str, tmp_path: Path
    ) -> None:
        path = tmp_path / "r.json"
        path.write_bytes(content)
        assert said in refusal(path)

    @settings(max_examples=20)
    @given(data=st.data())
    def test_a_file_with_a_byte_changed_or_an_end_missing(
        self, kept: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
    ) -> None:
        raw = kept.read_bytes()
        place = data.draw(st.integers(0, len(raw) - 2))
        byte = data.draw(st.integers(0x30, 0x7A).filter(lambda b: b != raw[place]))
        torn = data.draw(st.booleans())
        path = tmp_path_factory.getbasetemp() / "damaged.json"
        path.write_bytes(raw[:place] if torn else raw[:place] + bytes([byte]) + raw[place + 1 :])
        if torn or raw[place : place + 1] not in b" \n":
            assert str(path) in refusal(path)

    @pytest.mark.parametrize(
        ("place", "value", "said"),
        [
            (("guests", 0, "outcomes", 0, "samples", "added"), [1], "metric with 2 values"),
            (("guests", 0, "outcomes", 0, "samples", "added"), [1, None], "lacks a metric"),
            (("guests", 0, "outcomes", 0, "samples", "added", 0), "1", "samples.added.0"),
            (("guests", 0, "outcomes", 0, "samples", "added", 0), 1e308, "less than or equal"),
            (("guests", 0, "outcomes", 0, "samples", "accesses", 0), -1, "less than no accesses"),
            (("guests", 0, "accesses"), -1, "guests.0.accesses"),
            (("guests", 0, "outcomes"), [], "at least 1 item"),
            (("guests", 0, "outcomes", 0, "stages", 0, "role"), "idle", "role"),
            (("guests", 0, "reached"), "yes", "reached"),
            (("policies",), [], "policies"),
            (("policies", 0, "rules"), [{"side": "host", "mechanism": "teleport"}], "mechanism"),
            (("platform", "clock"), 3, "has no unit"),
            (("platform", "costs", "item", "value"), "-5 ns", "is negative"),
            (("platform", "costs", "item", "value"),
             {"kind": "empirical", "file": "times.csv", "column": "t"}, "file: is no key here"),
            (("platform", "costs", "item", "value"),
             {"kind": "empirical", "samples": [-1]}, "samples.0: -1 does not fit"),
            (("scenario", "seed"), -1, "seed"),
            (("is_random",), False, "leaves nothing to chance"),
            (("made_with",), {}, "which version it was made with"),
            (("more",), 1, "is no key here"),
        ],
    )  # fmt: skip
    def test_content_that_does_not_fit_though_its_checksum_does(
        self, place: tuple[Any, ...], value: Any, said: str, kept: Path, tmp_path: Path
    ) -> None:
        document = json.loads(kept.read_bytes())
        at = document["content"]
        for key in place[:-1]:
            at = at[key]
        at[place[-1]] = value
        path = tmp_path / "r.json"
        path.write_bytes(signed(document))
        assert said in refusal(path)

    @pytest.mark.usefixtures("no_figures")
    @settings(max_examples=25)
    @given(data=st.data())
    def test_whatever_content_says_is_refused_or_told(
        self, kept: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
    ) -> None:
        document = json.loads(kept.read_bytes())
        whole = deepcopy(document)
        way = data.draw(st.sampled_from(list(places(whole["content"]))))
        at = whole["content"]
        for key in way[:-1]:
            at = at[key]
        if isinstance(at, dict) and data.draw(st.booleans()):
            del at[way[-1]]
        else:
            at[way[-1]] = data.draw(
                st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False)
                | st.text(max_size=8) | st.just([]) | st.just({})
            )  # fmt: skip
        path = tmp_path_factory.getbasetemp() / "changed.json"
        try:
            path.write_bytes(signed(whole))
            found = vs.load(path)
        except vs.InputError:
            return
        assert found.verdict
        assert str(found)
        assert page.report(found.comparison, "command")

    def test_a_file_that_is_too_large_is_neither_read_nor_written(
        self, kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        found = load_result(kept)
        monkeypatch.setattr(result_file, "LARGEST", 2**12)
        assert "is larger than" in refusal(kept)
        with pytest.raises(vs.InputError, match="would be larger than"):
            save_result(found, tmp_path / "r.json")
        assert list(tmp_path.iterdir()) == []

    def test_what_was_there_stays_if_a_result_cannot_be_written(self, kept: Path) -> None:
        before = kept.read_bytes()
        with pytest.raises(vs.InputError, match=r"end it with \.json"):
            save_result(load_result(kept), kept.with_suffix(".toml"))
        assert kept.read_bytes() == before

    @pytest.mark.usefixtures("no_figures")
    def test_a_report_names_the_versions_that_the_numbers_come_from(self, kept: Path) -> None:
        document = json.loads(kept.read_bytes())
        document["content"]["made_with"] |= {"vmexit-sim": "0.0.9", "numpy": "1.99"}
        path = kept.with_name("older.json")
        path.write_bytes(signed(document))
        shown = page.report(load_result(path).comparison, "command")
        assert "<dt>vmexit-sim</dt><dd>0.0.9</dd>" in shown
        assert "<dt>numpy</dt><dd>1.99</dd>" in shown
        assert f"<dt>this page: vmexit-sim</dt><dd>{vs.__version__}</dd>" in shown
