"""Identity: a point's key changes with what its result depends on, and with nothing else."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from linecache import clearcache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vmexit_sim import catalog
from vmexit_sim.errors import InputError
from vmexit_sim.guest.table import make_table
from vmexit_sim.guest.table_file import save_table
from vmexit_sim.hypervisor.platform import load_platform
from vmexit_sim.mechanisms import MECHANISMS, register
from vmexit_sim.mechanisms.hypercall import Hypercall
from vmexit_sim.scenario import checked_scenario
from vmexit_sim.study.sweep import identity
from vmexit_sim.study.sweep.identity import Identity, code_digest

GUEST = {"kind": "spread", "operations": 5, "between": "1 us", "read_share": 1, "space": "mmio"}
POLICY = """
title = "mine"
about = "about"
source = "nowhere"
[[rules]]
side = "host"
match = { write = true }
mechanism = { name = "batched_hypercall", max_batch = 8, needs = "oracle" }
"""


def key(path: Path | None = None, elsewhere: dict[str, Path | None] | None = None,
        **changes: Any) -> str:  # fmt: skip
    stated = {"platform": "kvm-2017", "policies": ["linux-default"], "blocks": [{"guest": GUEST}],
              **changes}  # fmt: skip
    return Identity().key(checked_scenario(stated, path), path, elsewhere or {})


def test_a_key_is_32_digits_and_the_same_each_time() -> None:
    assert key() == key()
    assert len(key()) == 32
    assert set(key()) <= set("0123456789abcdef")


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 2}, {"replications": 3}, {"cpus": 2}, {"cpus": 2, "time_slice": "1 ms"},
        {"study": "steady-state"}, {"name": "other"}, {"platform": "kvm-2013"},
        {"costs": {"to_user": "1 us"}}, {"policies": ["hypercall"]},
        {"policies": ["linux-default", "hypercall"]},
        {"policies": ["linux-default"], "blocks": [{"guest": {**GUEST, "operations": 6}}]},
        {"blocks": [{"guest": {**GUEST, "between": "2 us"}}]},
        {"blocks": [{"guest": GUEST, "name": "b"}]}, {"blocks": [{"guest": GUEST}] * 2},
        {"blocks": [{"guest": GUEST, "think_scales": [0.5]}]},
    ],
    ids=str,
)  # fmt: skip
def test_what_a_result_depends_on_changes_its_key(changes: dict[str, Any]) -> None:
    assert key(**changes) != key()


@pytest.mark.parametrize("changes", [{"title": "other"}, {"question": "Why?"}])
def test_what_is_for_people_does_not(changes: dict[str, Any]) -> None:
    assert key(**changes) == key()


def test_the_order_of_policies_counts_and_a_repetition_does_not() -> None:
    one = key(policies=["linux-default", "hypercall"])
    assert one != key(policies=["hypercall", "linux-default"])
    assert one == key(policies=["linux-default", "hypercall", "linux-default"])


def test_a_parameter_counts_only_where_it_changes_something() -> None:
    batched = {"policies": ["batched-oracle"]}
    plain = key(**batched)
    assert key(**batched, parameters={"batched-oracle": {"max_batch": 8}}) != plain
    assert key(**batched, parameters={"batched-oracle": {"max_batch": 32}}) == plain


def test_a_cost_stated_as_it_is_anyway_changes_nothing() -> None:
    """783 cycles of a clock are so many picoseconds, whoever says so and why."""
    cost = load_platform("kvm-2017").costs.to_user.value
    assert key(costs={"to_user": f"{cost.mean_ps:.0f} ps"}) == key()


def rewritten(tmp_path: Path, name: str, text: str, *edits: tuple[str, str]) -> Iterator[str]:
    """The keys of a scenario that uses a file, as it is and after each edit."""
    for number, (old, new) in enumerate([("", ""), *edits]):
        assert old in text
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / f"{name}.toml").write_text(text.replace(old, new, 1))
        file = f"./{name}.toml"
        stated: dict[str, dict[str, Any]] = {
            "policy": {"policies": [file]},
            "platform": {"platform": file},
            "devices": {"devices": file},
            "workload": {"blocks": [{"guest": {"workload": file}, "name": "b"}]},
        }
        yield key(folder / "scenario.toml", **stated[name])


def test_of_a_policy_only_what_acts_counts(tmp_path: Path) -> None:
    first, title, source, comment, mechanism, side, idle = rewritten(
        tmp_path, "policy", POLICY, ('"mine"', '"yours"'), ('"nowhere"', '"somewhere"'),
        ("[[rules]]", "# a comment\n[[rules]]"), ("max_batch = 8", "max_batch = 9"),
        ('side = "host"', 'side = "guest"'), ("[[rules]]", '[idle]\nguest = "poll"\n[[rules]]'),
    )  # fmt: skip
    assert first == title == source == comment
    assert len({first, mechanism, side, idle}) == 4


def test_of_a_platform_only_costs_count(tmp_path: Path) -> None:
    text = 'extends = "kvm-2017"\nname = "p"\ntitle = "t"\nabout = "a"\n'
    first, title, cost = rewritten(
        tmp_path, "platform", text, ('"t"', '"u"'),
        ('about = "a"', 'about = "b"\n[costs.to_user]\nvalue = "9 us"\nmark = "A"\n'
         'source = "a mere guess"'),
    )  # fmt: skip
    assert first == title != cost


def test_of_devices_how_long_they_take_counts(tmp_path: Path) -> None:
    text = catalog.names("devices")["qemu"].read_text()
    time = next(line for line in text.splitlines() if line.startswith("emulate = "))
    first, comment, slower = rewritten(
        tmp_path, "devices", text, ("", "# a comment\n"), (time, 'emulate = "77 us"')
    )
    assert first == comment != slower


def test_of_a_workload_file_its_parameters_count(tmp_path: Path) -> None:
    text = 'title = "t"\n' + catalog.names("workloads")["spread"].read_text().split("\n", 1)[1]
    first, title, more = rewritten(tmp_path, "workload", text, ('"t"', '"u"'), ("20000", "20001"))
    assert first == title != more


def test_of_a_recording_the_content_counts_and_not_its_name(tmp_path: Path) -> None:
    def saved(name: str, address: int) -> str:
        save_table(make_table(3, space=2, address=address), tmp_path / name)
        return key(blocks=[{"guest": {"table": str(tmp_path / name)}, "name": "b"}])

    one, same, other = saved("a.parquet", 1), saved("b.parquet", 1), saved("c.parquet", 2)
    assert one == same != other
    assert saved("a.parquet", 2) == other  # changed in place


def test_measured_costs_are_known_by_what_was_measured(tmp_path: Path) -> None:
    cost = {"item": {"kind": "empirical", "file": "times.csv", "column": "ps"}}

    def measured(folder: str, times: str) -> str:
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "times.csv").write_text(times)
        return key(elsewhere={"costs": tmp_path / folder / "study.toml"}, costs=cost)

    assert measured("a", "ps\n5\n7\n") == measured("b", "what,ps\nx,5\ny,7\n")
    assert measured("c", "ps\n5\n8\n") != measured("d", "ps\n5\n9\n")


def test_names_are_looked_up_where_they_were_stated(tmp_path: Path) -> None:
    for folder, size in (("a", 8), ("b", 9)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "policy.toml").write_text(
            POLICY.replace("max_batch = 8", f"max_batch = {size}")
        )
    path, study = tmp_path / "a/scenario.toml", tmp_path / "b/study.toml"
    own = key(path, policies=["./policy.toml"])
    assert own != key(path, {"policies": study}, policies=["./policy.toml"])
    assert own == key(path, {"platform": study}, policies=["./policy.toml"])


@pytest.mark.parametrize(
    "changes",
    [{"policies": ["hypercal"]}, {"platform": "kvm-2018"}, {"devices": "qem"},
     {"blocks": [{"guest": {"trace": "boot"}}]}, {"costs": {"to_usr": "1 us"}},
     {"parameters": {"linux-default": {"max_batch": 3}}}],
    ids=str,
)  # fmt: skip
def test_what_is_not_there_has_no_key(changes: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        key(**changes)


def test_a_recording_that_cannot_be_read_is_an_input_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_table(make_table(3, space=2), tmp_path / "a.parquet")

    def refuse(self: Path, *_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(InputError, match=r"a\.parquet: cannot be read: Permission denied"):
        key(blocks=[{"guest": {"table": str(tmp_path / "a.parquet")}}])


def test_another_numpy_is_another_result(monkeypatch: pytest.MonkeyPatch) -> None:
    before = key()
    monkeypatch.setattr(np, "__version__", "99.0")
    assert key() != before


# What the code has to do with it: a module's text is edited in memory.

Edit = Callable[[str, Callable[[str], str]], None]


@pytest.fixture
def edit(monkeypatch: pytest.MonkeyPatch) -> Iterator[Edit]:
    read = Path.read_text
    edits: dict[Path, Callable[[str], str]] = {}

    def edited(self: Path, *args: Any, **keys: Any) -> str:
        text = read(self, *args, **keys)
        return edits[self](text) if self in edits else text

    def forget() -> None:
        for cached in (identity._module, identity.code_digest):
            cached.cache_clear()

    def change(module: str, how: Callable[[str], str]) -> None:
        spec = identity.find_spec(module)
        assert spec is not None
        assert spec.origin is not None
        edits[Path(spec.origin)] = how
        forget()

    monkeypatch.setattr(Path, "read_text", edited)
    forget()
    yield change
    monkeypatch.undo()
    forget()


def appended(line: str) -> Callable[[str], str]:
    return lambda text: f"{text}\n{line}\n"


CODE = "vmexit_sim.mechanisms.batched_hypercall"
BATCHED = {"policies": ["linux-default", "batched-oracle"]}


@pytest.mark.parametrize(
    "how",
    [
        lambda text: f"# a comment\n\n\n{text}",
        lambda text: text.replace('"""', '"""Said otherwise. ', 1),
        lambda text: text.replace("\n", "\n\n", 30) if '"""' not in text[:5] else text + "\n\n\n",
        appended('"""Text that belongs to nothing."""'),
    ],
    ids=["comment", "docstring", "layout", "text"],
)
def test_code_said_otherwise_is_the_same_code(edit: Edit, how: Callable[[str], str]) -> None:
    before = key(**BATCHED)
    edit(CODE, how)
    assert key(**BATCHED) == before


def test_what_stands_below_an_attribute_is_a_docstring_too(edit: Edit) -> None:
    module = "vmexit_sim.scenario"
    before = key()
    edit(module, lambda text: text.replace("Replications of a random scenario", "Repetitions"))
    assert key() == before
    edit(module, lambda text: text.replace("RANDOM_REPLICATIONS = 10", "RANDOM_REPLICATIONS = 11"))
    assert key() != before


def test_a_mechanisms_code_counts_where_it_is_used(edit: Edit) -> None:
    used, unused = key(**BATCHED), key()
    edit(CODE, appended("STRANGE = 1"))
    assert key(**BATCHED) != used
    assert key() == unused


def test_a_generators_code_counts_where_it_is_used(edit: Edit) -> None:
    other = {"blocks": [{"guest": {"workload": "bar-sizing"}}]}
    used, unused = key(**other), key()
    edit("vmexit_sim.guest.generators.bar_sizing", appended("STRANGE = 1"))
    assert key(**other) != used
    assert key() == unused


@pytest.mark.parametrize(
    "module",
    ["vmexit_sim.engine.kernel", "vmexit_sim.statistics.quantiles", "vmexit_sim.study.compare",
     "vmexit_sim.study.sweep.work", "vmexit_sim.lowering", "vmexit_sim.opened",
     "vmexit_sim.guest.generators.stream", "vmexit_sim.mechanisms.base",
     "vmexit_sim.hypervisor.stages", "vmexit_sim.engine"],
)  # fmt: skip
def test_all_that_computes_a_point_counts(edit: Edit, module: str) -> None:
    before = key()
    edit(module, appended("STRANGE = 1"))
    assert key() != before


@pytest.mark.parametrize(
    "module",
    ["vmexit_sim.study.sweep.store", "vmexit_sim.study.sweep.workers", "vmexit_sim.study.sweep.run",
     "vmexit_sim.present.tables", "vmexit_sim.cli.running", "vmexit_sim.study.break_even"],
)  # fmt: skip
def test_what_only_stores_or_shows_does_not(edit: Edit, module: str) -> None:
    before = key()
    edit(module, appended("STRANGE = 1"))
    assert key() == before


def test_everything_imported_to_compute_a_point_is_counted() -> None:
    """The closure is worked out from text; Python itself says what it leaves out."""
    loaded = subprocess.run(
        [sys.executable, "-c", "import sys, vmexit_sim.study.sweep.work; print(*sys.modules)"],
        capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    ours = {name for name in loaded if name.split(".")[0] == "vmexit_sim"}
    ours -= {name for name in ours if name.startswith("vmexit_sim.study.sweep")}
    empty = {name for name in ours if identity._module(name)[0] == identity._plain("")}
    reached: set[str] = set()
    ahead = [
        identity.ROOT,
        *(kind.__module__ for kind in MECHANISMS.values()),
        *(name for name in ours if name.startswith("vmexit_sim.guest.generators.")),
    ]
    while ahead:
        name = ahead.pop()
        if name not in reached and name not in identity.REGISTRIES:
            reached.add(name)
            ahead.extend(identity._module(name)[1])
    assert ours - reached - empty == set(identity.REGISTRIES)


def test_no_module_of_the_package_hides_an_import() -> None:
    """Relative or computed imports would not be seen."""
    for path in Path(identity.__file__).parents[2].rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            assert not (isinstance(node, ast.ImportFrom) and node.level), path
            assert not (isinstance(node, ast.Name) and node.id == "__import__"), path
            assert not (isinstance(node, ast.alias) and node.name.startswith("importlib")
                        and node.name != "importlib"), path  # fmt: skip


def test_a_users_own_mechanism_is_known_by_its_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "policy.toml").write_text(
        'title = "t"\n[[rules]]\nside = "host"\nmechanism = "mine"\n'
    )
    text = """
from vmexit_sim.mechanisms import register
from vmexit_sim.mechanisms.hypercall import Hypercall

@register("mine")
class Mine(Hypercall):
    def also(self):
        return {}
"""
    keys = []
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    try:
        for value in ("{}", "{}  # a comment", "{1: 1}"):
            (tmp_path / "mechanism_of_mine.py").write_text(text.replace("{}", value))
            sys.modules.pop("mechanism_of_mine", None)
            clearcache()
            import_module("mechanism_of_mine")
            keys.append(key(tmp_path / "scenario.toml", policies=["./policy.toml"]))
            del MECHANISMS["mine"]
    finally:
        MECHANISMS.pop("mine", None)
    assert keys[0] == keys[1] != keys[2]


def test_a_users_own_mechanism_may_stand_in_a_function(tmp_path: Path) -> None:
    (tmp_path / "policy.toml").write_text(
        'title = "t"\n[[rules]]\nside = "host"\nmechanism = "inner"\n'
    )
    try:

        @register("inner")
        class Inner(Hypercall):
            def also(self) -> int:
                return 1

        assert len(key(tmp_path / "scenario.toml", policies=["./policy.toml"])) == 32
    finally:
        MECHANISMS.pop("inner", None)


def test_a_mechanism_without_a_text_has_no_key(tmp_path: Path) -> None:
    (tmp_path / "policy.toml").write_text(
        'title = "t"\n[[rules]]\nside = "host"\nmechanism = "typed"\n'
    )
    try:
        register("typed")(type("Typed", (Hypercall,), {"__module__": "nowhere"}))
        with pytest.raises(InputError, match=r"'typed' has no source file.*into a file"):
            key(tmp_path / "scenario.toml", policies=["./policy.toml"])
    finally:
        MECHANISMS.pop("typed", None)


def test_a_digest_is_of_the_set_of_modules() -> None:
    one, other = "vmexit_sim.units", "vmexit_sim.streams"
    assert code_digest(frozenset([one, other])) == code_digest(frozenset([other, one]))
    assert code_digest(frozenset([one])) != code_digest(frozenset([other]))
