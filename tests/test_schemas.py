"""A schema accepts what is loaded, refuses what it can, and explains every key."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable, Iterator
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft7Validator

import vmexit_sim as vs
from vmexit_sim import catalog, units
from vmexit_sim.cli import main
from vmexit_sim.device import load_devices
from vmexit_sim.errors import InputError
from vmexit_sim.hypervisor.platform import load_platform
from vmexit_sim.mechanisms import MECHANISMS
from vmexit_sim.opened import load_workload
from vmexit_sim.policy import load_policy
from vmexit_sim.present.schema_writer import attributes, summary
from vmexit_sim.present.schemas import SCHEMAS, schema
from vmexit_sim.scenario import load_scenario
from vmexit_sim.study.sweep.study_file import load_study, plan

KINDS = {"scenario": "scenarios", "workload": "workloads", "policy": "policies",
         "platform": "platforms", "devices": "devices", "study": "studies"}  # fmt: skip
"""What is written by hand, by the folder of its shipped models."""

Data = dict[str, Any]


@cache
def validator(name: str) -> Draft7Validator:
    return Draft7Validator(schema(name))


def complaints(name: str, data: Any) -> list[str]:
    return [f"{error.json_path}: {error.message}"[:300]
            for error in validator(name).iter_errors(data)]  # fmt: skip


@cache
def shipped(kind: str) -> dict[str, Data]:
    found = catalog.names(KINDS[kind]).items()
    return {name: tomllib.loads(path.read_text(encoding="utf-8")) for name, path in found}


def load_whole_scenario(path: Path) -> None:
    scenario = load_scenario(path)
    load_platform(scenario.platform, path, scenario.costs, path)


def load_whole_study(path: Path) -> None:
    study, _ = load_study(str(path))
    plan(study, path)


LOAD: dict[str, Callable[[Path], object]] = {
    "scenario": load_whole_scenario,
    "workload": lambda path: load_workload(str(path)),
    "policy": lambda path: load_policy(str(path)),
    "platform": lambda path: load_platform(str(path)),
    "devices": load_devices,
    "study": load_whole_study,
}


def toml(value: Any) -> str:
    """A value of TOML, tables inline."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(k)} = {toml(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    if isinstance(value, str):
        return json.dumps(value).replace("\x7f", "\\u007f")
    return str(value).lower() if isinstance(value, bool) else repr(value)


def loads(kind: str, data: Data, folder: Path) -> bool:
    path = folder / f"{kind}.toml"
    path.write_text("\n".join(f"{json.dumps(key)} = {toml(value)}" for key, value in data.items()),
                    encoding="utf-8")  # fmt: skip
    try:
        LOAD[kind](path)
    except InputError:
        return False
    return True


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_schema_is_one_of_draft_7(name: str) -> None:
    made = schema(name)
    Draft7Validator.check_schema(made)
    assert made["$schema"] == Draft7Validator.META_SCHEMA["$schema"]
    assert not {"$defs", "prefixItems", "discriminator"} & set(
        re.findall(r'"([\w$]+)":', json.dumps(made))
    )


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_key_is_explained_and_every_reference_leads_somewhere(name: str) -> None:
    made = schema(name)
    parts = [("", made), *made["definitions"].items()]
    bare = [
        f"{part}.{key}"
        for part, stated in parts
        for key, told in stated.get("properties", {}).items()
        if "const" not in told and not told.get("description")
    ]
    assert bare == []
    wanted = set(re.findall(r"#/definitions/(\w+)", json.dumps(made)))
    assert wanted <= set(made["definitions"])
    assert not [part for part, stated in parts if not stated.get("description")]


@pytest.mark.parametrize(
    ("kind", "name"), [(kind, name) for kind in KINDS for name in catalog.names(KINDS[kind])]
)
def test_every_shipped_model_fits_its_schema(kind: str, name: str) -> None:
    assert complaints(kind, shipped(kind)[name]) == []


def rule(**stated: Any) -> Data:
    return {"rules": [{"side": "host", "mechanism": "hypercall", **stated}]}


def guest(**stated: Any) -> Data:
    whole = {"kind": "spread", "operations": 5, "between": "1 us", "read_share": 0.5,
             "space": "mmio", **stated}  # fmt: skip
    return {"blocks": [{"guest": whole}]}


COST = {"value": "1 us", "mark": "A", "source": "assumed here"}

RIGHT: list[tuple[str, str, Data]] = [
    ("policy", "hypercall", rule(mechanism={"name": "virtqueue", "interrupt_timer": "5 us",
                                            "interrupt_count": 2})),
    ("policy", "hypercall", {"extends": "vhost", "rules": []}),
    ("policy", "hypercall", rule(mechanism={"name": "batched_hypercall", "max_wait": "1e-3 ms"})),
    ("platform", "kvm-2017", {"costs": {"item": COST}, "extends": "kvm-2013"}),
    ("platform", "kvm-2013", {"clock": "+3_000 MHz"}),
    ("scenario", "bunched-and-spread", {"costs": {"item": "30 cycles"}}),
    ("scenario", "bunched-and-spread", {"cpus": 2, "time_slice": "3 ms"}),
    ("scenario", "bunched-and-spread", guest(between={"value": "1 us"})),
    ("workload", "spread", {"about": "more", "between": {"kind": "constant", "value": "-0 s"}}),
    ("study", "spacing", {"scenario": {"platform": "kvm-2017", **guest()},
                          "set": {"policies": ["hypercall"]}, "factors": {"cpus": [1, 2]}}),
    ("study", "spacing", {"factors": {"both": {"place": ["costs.to_user", "costs.to_kernel"],
                                               "values": ["1 us", "2 us", 3, "log"]}}}),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "base", "change"), RIGHT)
def test_what_is_right_is_loaded_and_fits(
    kind: str, base: str, change: Data, tmp_path: Path
) -> None:
    data = {**shipped(kind)[base], **change}
    assert loads(kind, data, tmp_path)
    assert complaints(kind, data) == []


WRONG: list[tuple[str, str, Data]] = [
    ("policy", "hypercall", {"tilte": "x"}),
    ("policy", "hypercall", {"title": 5}),
    ("policy", "hypercall", {"extends": 1}),
    ("policy", "hypercall", {"idle": {"guest": "nap"}}),
    ("policy", "hypercall", rule(mechanism="teleport")),
    ("policy", "hypercall", rule(mechanism={"name": "teleport"})),
    ("policy", "hypercall", rule(mechanism={"max_batch": 3})),
    ("policy", "hypercall", rule(mechanism={"name": "batched_hypercall", "max_bacth": 3})),
    ("policy", "hypercall", rule(mechanism={"name": "batched_hypercall", "max_batch": 0})),
    ("policy", "hypercall", rule(mechanism={"name": "batched_hypercall", "max_batch": 2.5})),
    ("policy", "hypercall", rule(mechanism={"name": "batched_hypercall", "max_wait": 5})),
    ("policy", "hypercall", rule(mechanism={"name": "batched_hypercall", "max_wait": "5"})),
    ("policy", "hypercall", rule(mechanism={"name": "batched_hypercall", "max_wait": "5 ks"})),
    ("policy", "hypercall", rule(mechanism={"name": "batched_hypercall", "max_wait": "5 cycles"})),
    ("policy", "hypercall", rule(side="both")),
    ("policy", "hypercall", rule(match={"space": ["moon"]})),
    ("policy", "hypercall", rule(match={"registers": [[0, 4, 8]], "window": "4 KiB"})),
    ("policy", "hypercall", rule(match={"registers": [[0, 4]], "window": 4096})),
    ("platform", "kvm-2013", {"costs": {"item": COST}}),
    ("platform", "kvm-2017", {"costs": {"item": {"value": "1 us", "mark": "A"}},
                              "extends": "kvm-2013"}),
    ("platform", "kvm-2013", {"costs": {"item": {**COST, "mark": "X"}}, "extends": "kvm-2013"}),
    ("platform", "kvm-2013", {"costs": {"item": {**COST, "value": "-1 us"}},
                              "extends": "kvm-2013"}),
    ("platform", "kvm-2013", {"costs": {"item": {**COST, "from": {"x": "much"}}},
                              "extends": "kvm-2013"}),
    ("platform", "kvm-2013", {"clock": 3}),
    ("platform", "kvm-2013", {"clock": "3 m"}),
    ("platform", "kvm-2013", {"vmm_lock": {"discipline": "lifo"}}),
    ("scenario", "bunched-and-spread", {"blocks": []}),
    ("scenario", "bunched-and-spread", {"policies": []}),
    ("scenario", "bunched-and-spread", {"seed": -1}),
    ("scenario", "bunched-and-spread", {"replications": 1.5}),
    ("scenario", "bunched-and-spread", {"cpus": True}),
    ("scenario", "bunched-and-spread", {"cpus": 2, "time_slice": "3 cycles"}),
    ("scenario", "bunched-and-spread", {"costs": {"itme": "1 us"}}),
    ("scenario", "bunched-and-spread", {"costs": {"item": {"kind": "normal", "mean": "1 us"}}}),
    ("scenario", "bunched-and-spread", {"costs": {"item": {"kind": "exponential"}}}),
    ("scenario", "bunched-and-spread", {"blocks": [{"guest": {}}]}),
    ("scenario", "bunched-and-spread", {"blocks": [{"guest": {"trace": "a", "table": "b"}}]}),
    ("scenario", "bunched-and-spread", {"blocks": [{"guest": {"trace": "a"}, "think_scales": []}]}),
    ("scenario", "bunched-and-spread", guest(kind="spraed")),
    ("scenario", "bunched-and-spread", guest(title="no text for people here")),
    ("workload", "spread", {"read_share": 2}),
    ("workload", "spread", {"vcpus": 0}),
    ("workload", "spread", {"title": ["x"]}),
    ("workload", "spread", {"between": {"kind": "lognormal", "mean": "1 us", "cv": 0}}),
    ("workload", "spread", {"between": {"kind": "empirical", "samples": [1, 2]}}),
    ("workload", "interrupted", {"main": "spread"}),
    ("devices", "qemu", {"default": {"name": "x", "source": "y", "location": "moon"}}),
    ("devices", "qemu", {"devices": [{"name": "x"}]}),
    ("devices", "qemu", {"devices": [{"name": "", "source": "y"}]}),
    ("study", "spacing", {"factors": {}}),
    ("study", "spacing", {"factors": {"platform": []}}),
    ("study", "spacing", {"factors": {"value": {"place": "seed", "values": [1, 2]}}}),
    ("study", "spacing", {"factors": {"seed": {"place": "seed"}}}),
    ("study", "spacing", {"design": {"kind": "guess"}}),
    ("study", "spacing", {"seeds": "none"}),
    ("study", "spacing", {"scenario": {"platform": 7, **guest()}}),
    ("study", "spacing", {"scenario": {"platfrom": "x", **guest()}}),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "base", "change"), WRONG)
def test_what_is_wrong_is_refused_by_loader_and_schema(
    kind: str, base: str, change: Data, tmp_path: Path
) -> None:
    data = {**shipped(kind)[base], **change}
    assert not loads(kind, data, tmp_path)
    assert complaints(kind, data)


def places(value: Any, way: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in nested data."""
    if way:
        yield way
    parts = value.items() if isinstance(value, dict) else (
        enumerate(value) if isinstance(value, list) else ()
    )  # fmt: skip
    for key, part in parts:
        yield from places(part, (*way, key))


def quantities() -> st.SearchStrategy[str]:
    known = ["ps", "ns", "us", "µs", "ms", "s", "min", "cycles", "KiB", "GHz", "B", "m", ""]
    number = st.from_regex(r"[+-]?[0-9]{1,3}(\.[0-9]{1,2})?(e[+-]?[0-9])?", fullmatch=True)
    return st.builds("{}{}{}".format, number, st.sampled_from(["", " "]), st.sampled_from(known))


VALUES = (
    st.booleans() | st.integers(-3, 5000) | st.floats(-2, 2, allow_nan=False) | quantities()
    | st.sampled_from(["host", "fifo", "hypercall", "kvm-2017", "spread", "exponential", "always"])
    | st.text("abc_ .-", max_size=4) | st.just([]) | st.just({})
)  # fmt: skip


@settings(max_examples=60)
@given(data=st.data())
def test_what_is_loaded_fits_whatever_was_changed(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    kind = data.draw(st.sampled_from(list(KINDS)))
    stated = deepcopy(data.draw(st.sampled_from(list(shipped(kind).values()))))
    ways = list(places(stated))
    for _ in range(data.draw(st.integers(1, 2))):
        way = data.draw(st.sampled_from(ways))
        at: Any = stated
        try:
            for key in way[:-1]:
                at = at[key]
            old = at[way[-1]]
        except (KeyError, IndexError, TypeError):
            continue
        if isinstance(at, str):
            continue
        if isinstance(at, dict) and data.draw(st.booleans()):
            del at[way[-1]]
        else:
            at[way[-1]] = data.draw(VALUES | st.just(old))
    if loads(kind, stated, tmp_path_factory.getbasetemp()):
        assert complaints(kind, stated) == []


@given(
    text=quantities() | st.from_regex(r"[ +-]?[0-9_.]{1,6}[eE+-]{0,2}[0-9]? ?(ns|us|MiB|GHz)"),
    kind=st.sampled_from([
        (units.PLAIN_TIME_PATTERN, units.parse_time),
        (units.TIME_PATTERN, lambda text: units.parse_time(text, 3_000_000_000)),
        (units.SIZE_PATTERN, units.parse_size),
        (units.FREQUENCY_PATTERN, units.parse_frequency),
    ]),
)  # fmt: skip
def test_a_quantity_that_is_read_looks_like_one(
    text: str, kind: tuple[str, Callable[[str], int]]
) -> None:
    pattern, parse = kind
    looks = re.search(pattern, text) is not None
    try:
        parse(text)
        refused = ""
    except InputError as error:
        refused = error.problem
    beyond = ("is finer", "is longer", "is not a clock", "is not a whole number")
    if looks:
        assert refused == "" or refused.startswith(beyond)
    else:
        assert refused


def test_a_mechanism_of_ones_own_is_in_the_schema(monkeypatch: pytest.MonkeyPatch) -> None:
    from vmexit_sim.mechanisms import Mechanism

    class Own(Mechanism):
        """Something else.

        Attributes:
            speed: how fast it is.
        """

        speed: int

    data = {"title": "t", **rule(mechanism={"name": "own", "speed": 3})}
    assert complaints("policy", data)
    monkeypatch.setitem(MECHANISMS, "own", Own)
    fresh = Draft7Validator(schema("policy"))
    assert not list(fresh.iter_errors(data))
    alone = {"title": "t", **rule(mechanism="own")}
    assert list(fresh.iter_errors(alone)), "it has a parameter without a default"


def test_what_a_class_says_is_told_of_its_attributes_and_those_of_its_bases() -> None:
    class Base:
        """One.

        Attributes:
            first: what it
                says on two lines: in all.
            second: of the base.
        """

    class Derived(Base):
        """Two, and
        more.

        Attributes:
            second: of its own.

        Not part of it: anything.
        """

    assert attributes(Derived) == {
        "first": "what it says on two lines: in all.", "second": "of its own."
    }  # fmt: skip
    assert summary(Derived) == "Two, and more."


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("kept") / "r.json"
    vs.compare("spread", policies=["linux-default", "vhost"], reps=2, cpus=1,
               set={"blocks.0.guest.operations": 20}).save(path)  # fmt: skip
    return path


def test_a_saved_result_fits(compared: Path) -> None:
    document = json.loads(compared.read_bytes())
    assert complaints("result", document) == []
    document["content"]["guests"][0]["outcomes"][0]["samples"]["added"] = []
    assert complaints("result", document)


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("comparison", ["compare", "spread", "--reps", "2"]),
        ("comparison", ["compare", "spread", "--cpus", "1", "--reps", "2", "--precision", "50%",
                        "--policy", "halt-poll-never", "bare-metal"]),
        ("comparison", ["compare", "interrupt-service", "--steady-state", "--reps", "1",
                        "--policy", "linux-default", "--set", "blocks.0.guest.services=400"]),
        ("run", ["run", "spread", "--policy", "idle-poll"]),
        ("run", ["run", "pci-scan-q35", "--only", "pci_config"]),
    ],
)  # fmt: skip
def test_what_is_printed_as_json_fits(
    kind: str, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    if "spread" in words:
        words = [*words, "--set", "blocks.0.guest.operations=40"]
    with pytest.raises(SystemExit):
        main([*words, "--json"])
    assert complaints(kind, json.loads(capsys.readouterr().out)) == []


class TestCommand:
    @staticmethod
    def ended(*words: str) -> int:
        with pytest.raises(SystemExit) as ended:
            main(["schema", *words])
        return int(ended.value.code or 0)

    def test_it_prints_one_and_says_which_there_are(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert self.ended("policy") == 0
        assert json.loads(capsys.readouterr().out) == schema("policy")
        assert self.ended() == 0
        listed = capsys.readouterr().out.splitlines()
        assert [line.split()[0] for line in listed] == list(SCHEMAS)

    def test_it_writes_one_or_all(self, tmp_path: Path) -> None:
        assert self.ended("study", "-o", str(tmp_path / "one.json")) == 0
        assert json.loads((tmp_path / "one.json").read_bytes()) == schema("study")
        (tmp_path / "all").mkdir()
        assert self.ended("--all", "-o", str(tmp_path / "all")) == 0
        written = {
            path.name: json.loads(path.read_bytes()) for path in (tmp_path / "all").iterdir()
        }
        assert written == {f"{name}.schema.json": schema(name) for name in SCHEMAS}

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            (["polcy"], "did you mean 'policy'?"),
            (["--all"], "--all: writes every schema into a folder"),
            (["policy", "--all", "-o", "x"], "--all: writes every schema into a folder"),
            (["-o", "x"], "--output: 'x' has no schema to hold"),
            (["--all", "-o", "nowhere"], "nowhere: is no existing folder"),
        ],
    )
    def test_what_it_cannot_do(
        self, words: list[str], said: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert self.ended(*words) == 2
        assert said in capsys.readouterr().err
