"""Identity: what a point's result depends on, as one key.

A stored result may be used again as long as nothing has changed that it depends on:

* the effective configuration: every cost, rule, device and guest parameter that takes part, and
  the content of recordings. Titles, sources and file names that no result shows are left out;
* the code that computes it: every module of this package that takes part, without its comments,
  docstrings and layout; of the mechanisms and generators those alone that the point uses;
* NumPy's version, since its generators draw, and Python's, by whose grammar code is read.

So another comment invalidates nothing, and another mechanism's code only the points that use it.
"""

from __future__ import annotations

import ast
import inspect
import json
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from hashlib import file_digest, sha256
from importlib.util import find_spec
from pathlib import Path
from textwrap import dedent
from typing import Any

import numpy as np

from vmexit_sim import catalog
from vmexit_sim.device import load_devices
from vmexit_sim.errors import InputError
from vmexit_sim.hypervisor.platform import load_platform
from vmexit_sim.mechanisms import Mechanism, name_of
from vmexit_sim.mechanisms.as_recorded import AsRecorded
from vmexit_sim.opened import file_of, guest_stated_in, load_workload
from vmexit_sim.policy import load_policy
from vmexit_sim.scenario import Scenario, TableGuest, TraceGuest, WorkloadGuest

PACKAGE = "vmexit_sim"
ROOT = f"{PACKAGE}.study.sweep.work"
"""The module that computes a point; all it imports takes part."""

REGISTRIES = (f"{PACKAGE}.mechanisms", f"{PACKAGE}.guest.generators")
"""Packages that import all of their kind only to know them by name."""

FOR_PEOPLE = frozenset({"title", "about", "source", "mark", "stated", "caution", "clock_source",
                        "clock_mark", "exits_source", "emulate_source", "question"})  # fmt: skip
"""Keys that no result depends on."""


class Identity:
    """Gives points their keys; models are looked at once, as they are when it first meets them."""

    def __init__(self) -> None:
        self._known: dict[tuple[object, ...], Any] = {}

    def key(
        self, scenario: Scenario, path: Path | None, elsewhere: Mapping[str, Path | None]
    ) -> str:
        """The key of a scenario's results: 32 hexadecimal digits.

        Args:
            scenario: the point.
            path: the file that the scenario came from, if any.
            elsewhere: as for `open_scenario`.

        Raises:
            InputError: something named is not there, or does not fit.
        """

        def beside(key: str) -> Path | None:
            return elsewhere.get(key, path)

        policies = [
            self._once(_policy, name, beside("policies"), _text(scenario.parameters.get(name, {})))
            for name in dict.fromkeys(scenario.policies)
        ]
        guests = [
            _guest(block.guest, guest_stated_in(number, block.guest, path, elsewhere))
            for number, block in enumerate(scenario.blocks)
        ]
        modules = {
            ROOT,
            AsRecorded.__module__,
            *(module for _, used in policies for module in used),
            *(module for _, module in guests if module is not None),
        }
        run = {"cpus", "time_slice", "seed", "replications", "study", "name"}
        stated = {
            "platform": self._once(
                _platform,
                scenario.platform,
                beside("platform"),
                _text(scenario.costs),
                beside("costs"),
            ),
            "policies": [content for content, _ in policies],
            "devices": self._once(_devices, scenario.devices, beside("devices")),
            "guests": [content for content, _ in guests],
            "blocks": [
                block.model_dump(mode="json", exclude={"guest"}) for block in scenario.blocks
            ],
            "run": scenario.model_dump(mode="json", include=run),
            "code": self._once(code_digest, frozenset(modules)),
            "numpy": np.__version__,
        }
        return _digest(stated)[:32]

    def _once(self, work: Callable[..., Any], *arguments: object) -> Any:
        key = (work, *arguments)
        if key not in self._known:
            self._known[key] = work(*arguments)
        return self._known[key]


def _platform(name: str, beside: Path | None, costs: str, stated_in: Path | None) -> str:
    platform = load_platform(name, beside, json.loads(costs), stated_in)
    return _digest(_essence(platform.model_dump(mode="json")))


def _policy(name: str, beside: Path | None, parameters: str) -> tuple[str, tuple[str, ...]]:
    """A policy's content, and the modules of its mechanisms."""
    policy = load_policy(name, beside, json.loads(parameters))
    rules = [
        {"side": rule.side, "match": rule.match.model_dump(mode="json"),
         "mechanism": _mechanism(rule.mechanism)}
        for rule in policy.rules
    ]  # fmt: skip
    stated = {"name": policy.name, "bound": policy.bound, "delivery": policy.delivery,
              "idle": policy.idle.model_dump(mode="json"), "rules": rules}  # fmt: skip
    modules = tuple(sorted({type(rule.mechanism).__module__ for rule in policy.rules}))
    return _digest(stated), modules


def _mechanism(mechanism: Mechanism) -> dict[str, Any]:
    kind = type(mechanism)
    stated = {"name": name_of(mechanism), **mechanism.model_dump(mode="json")}
    if kind.__module__.partition(".")[0] != PACKAGE:  # a user's own: no module of ours holds it
        try:
            stated["code"] = _plain(inspect.getsource(kind))
        except (OSError, TypeError):  # typed at a prompt
            raise InputError("has no source file, so that its results cannot be told from those of "
                             "another version", value=stated["name"],
                             mend="put the mechanism into a file") from None  # fmt: skip
    return stated


def _devices(name: str, beside: Path | None) -> str:
    devices = load_devices(str(catalog.find("devices", name, beside)))
    return _digest(_essence(devices.model_dump(mode="json")))


def _guest(guest: Any, beside: Path | None) -> tuple[Any, str | None]:
    """A guest's content, and the module of its generator."""
    if isinstance(guest, WorkloadGuest):
        guest = load_workload(guest.workload, beside)
    if isinstance(guest, (TraceGuest, TableGuest)):
        path = file_of(guest.trace if isinstance(guest, TraceGuest) else guest.table, beside)
        stat = path.stat()
        return _content(path, stat.st_mtime_ns, stat.st_size, stat.st_ino), None
    return guest.model_dump(mode="json"), type(guest).__module__


@lru_cache(maxsize=64)
def _content(path: Path, *version: int) -> str:
    """The digest of a file as it was when it last changed."""
    try:
        with path.open("rb") as file:
            return file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", file=path) from None


def _essence(data: Any) -> Any:
    """Nested data without what is for people."""
    if isinstance(data, dict):
        return {key: _essence(part) for key, part in data.items() if key not in FOR_PEOPLE}
    if isinstance(data, list):
        return [_essence(part) for part in data]
    return data


def _text(data: Any) -> str:
    return json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _digest(data: Any) -> str:
    return sha256(_text(data).encode()).hexdigest()


@lru_cache(maxsize=256)
def code_digest(modules: frozenset[str]) -> str:
    """The digest of some modules' code and of all that they import of this package.

    Comments, docstrings and layout are no part of it; nor are the packages `REGISTRIES`, which
    import all mechanisms and generators only to know them.
    """
    reached: set[str] = set()
    ahead = sorted(modules)
    while ahead:
        name = ahead.pop()
        if name in reached or name in REGISTRIES:
            continue
        reached.add(name)
        ahead.extend(_module(name)[1])
    return _digest([(name, _module(name)[0]) for name in sorted(reached)])


@lru_cache(maxsize=1024)
def _module(name: str) -> tuple[str, tuple[str, ...]]:
    """A module's code in its plain form, and the modules of this package that it imports."""
    spec = find_spec(name) if name.partition(".")[0] == PACKAGE else None
    if spec is None or spec.origin is None:
        return "", ()
    return _understood(Path(spec.origin).read_text(encoding="utf-8"))


@lru_cache(maxsize=1024)
def _understood(source: str) -> tuple[str, tuple[str, ...]]:
    tree = ast.parse(source)
    return _bare(tree), tuple(_imports(tree))


def _imports(tree: ast.Module) -> Iterable[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            assert not node.level, "imports are absolute here"
            yield str(node.module)
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name for name in names if _is_module(name))
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


@lru_cache(maxsize=4096)
def _is_module(name: str) -> bool:
    if name.partition(".")[0] != PACKAGE:
        return False
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:  # its parent is no package
        return False


def _plain(source: str) -> str:
    """Code without comments, docstrings and layout."""
    return _bare(ast.parse(dedent(source)))


def _bare(tree: ast.Module) -> str:
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            node.body = [line for line in node.body if not _is_text(line)]
    return ast.dump(tree)


def _is_text(line: ast.stmt) -> bool:
    """Whether a line is a docstring: of what it stands in, or of what stands before it."""
    return (
        isinstance(line, ast.Expr)
        and isinstance(line.value, ast.Constant)
        and isinstance(line.value.value, str)
    )
