"""The shipped models as tables: what there is, and where every number comes from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from vmexit_sim import catalog
from vmexit_sim.configuration import read_toml
from vmexit_sim.errors import InputError, nearest
from vmexit_sim.hypervisor.platform import MARKS, Nesting, Platform, load_platform
from vmexit_sim.mechanisms import name_of
from vmexit_sim.policy import Policy, load_policy
from vmexit_sim.present.documents import cost_value
from vmexit_sim.present.terminal import rows
from vmexit_sim.units import format_time


def model_titles() -> dict[str, dict[str, str]]:
    """Every shipped model's title, by kind and name."""
    return {
        kind: {name: _title(path) for name, path in catalog.names(kind).items()}
        for kind in catalog.SUFFIXES
    }


def model_list() -> RenderableType:
    """All models, kind by kind."""
    parts: list[RenderableType] = []
    for kind, titles in model_titles().items():
        table = Table(title=kind, title_justify="left", title_style="bold", box=None,
                      show_header=False, pad_edge=False, padding=(0, 2, 0, 0))  # fmt: skip
        table.add_column(no_wrap=True)
        table.add_column()
        for name, title in titles.items():
            table.add_row(name, title)
        parts += [table, Text()]
    return Group(*parts, Text("vmexit-sim models show NAME tells more of one."))


def model_report(name: str) -> RenderableType:
    """One model, whole."""
    parts: list[RenderableType] = []
    for kind, path in _found(name):
        if kind == "platforms":
            parts.append(_platform(load_platform(name)))
        elif kind == "policies":
            parts.append(_policy(load_policy(name)))
        elif kind == "traces":
            parts.append(Text(f"{name}: a recorded guest; vmexit-sim trace info {name} tells more"))
        else:
            parts.append(Text(path.read_text(encoding="utf-8").rstrip()))
    return Group(*parts)


def model_document(name: str) -> dict[str, Any]:
    """One model as data; costs carry value (ps), mark and source."""
    document: dict[str, Any] = {}
    for kind, path in _found(name):
        if kind == "platforms":
            platform = load_platform(name)
            stated = platform.model_dump(mode="json", exclude={"costs"})
            stated["costs"] = {
                cost_name: {"stated": cost.stated, "mean_ps": cost.value.mean_ps, "unit": "ps",
                            "value": cost.value.model_dump(mode="json"),
                            "mark": cost.mark, "source": cost.source}
                for cost_name, cost in platform.costs.items()
            }  # fmt: skip
            document["platform"] = stated
        elif kind == "policies":
            policy = load_policy(name)
            document["policy"] = {
                **policy.model_dump(mode="json", exclude={"rules"}),
                "rules": [_rule(policy, number) for number in range(len(policy.rules))],
            }
        elif kind == "traces":
            document["trace"] = {"name": name, "file": path.name}
        else:
            document[_ONE.get(kind, kind.removesuffix("s"))] = read_toml(path)
    return document


def _found(name: str) -> list[tuple[str, Path]]:
    """The models of that name, or the platform or policy at that path."""
    found = [(kind, catalog.names(kind)[name]) for kind in catalog.SUFFIXES
             if name in catalog.names(kind)]  # fmt: skip
    path = Path(name)
    if not found and path.is_file() and path.suffix == ".toml":
        data = read_toml(path)
        kind = next((k for key, k in _KEYS.items() if key in data), "workloads")
        found = [(kind, path)]
    if not found:
        known = [model for kind in catalog.SUFFIXES for model in catalog.names(kind)]
        raise InputError("is no model", value=name, mend=nearest(name, known))
    return found


_KEYS = {
    "costs": "platforms", "rules": "policies", "extends": "policies", "blocks": "scenarios",
    "factors": "studies", "devices": "devices",
}  # fmt: skip
"""A key that tells a file's kind."""

_ONE = {"studies": "study"}
"""What a document calls one of a kind, where leaving out the s does not say it."""


def _title(path: Path) -> str:
    if path.suffix != ".toml":
        return "recorded guest"
    data = read_toml(path)
    return str(data.get("title", ""))


def _platform(platform: Platform) -> RenderableType:
    costs = platform.costs.items()
    nesting = platform.nesting
    if nesting is not None:
        costs += [("L0: forward", nesting.forward), ("L0: one exit of L1", nesting.l1_exit)]
    body = []
    for name, cost in costs:
        value, unit = cost_value(cost)
        body.append([name, value, unit, cost.mark, cost.source])
    table = rows("Costs", ["cost", "value", "unit", "mark", "source"], body)
    table.columns[3].justify = "center"
    table.columns[4].justify = "left"
    table.columns[2].justify = "left"
    clock = f"{platform.clock / 1e9:g} GHz [{platform.clock_mark}] {platform.clock_source}"
    return Group(
        Text(f"{platform.name}: {platform.title}", style="bold"),
        Text(platform.about.strip()),
        Text(),
        Text(f"clock: {clock}"),
        Text(f"VMM lock: {platform.vmm_lock.discipline}; {platform.vmm_lock.source}"),
        *([] if nesting is None else [Text(_nesting(nesting))]),
        Text(),
        table,
        Text(),
        *(Text(f"[{mark}] {meaning}") for mark, meaning in MARKS.items()),
    )


def _nesting(nesting: Nesting) -> str:
    return (
        f"nested: for each exit of the guest L1 exits {nesting.exits} times to L0, and "
        f"{nesting.user_exits} more if it goes to user space; {nesting.exits_source}"
    )


def _policy(policy: Policy) -> RenderableType:
    body = []
    for number in range(len(policy.rules)):
        rule = _rule(policy, number)
        matches = "; ".join(f"{key} = {value}" for key, value in rule["match"].items())
        parameters = ", ".join(f"{key} = {value}" for key, value in rule["parameters"].items())
        body.append([str(number + 1), rule["side"], matches or "everything",
                     rule["mechanism"] + (f" ({parameters})" if parameters else "")])  # fmt: skip
    table = rows("Rules; the first that matches decides, the rest goes as recorded",
                 ["", "side", "accesses", "mechanism"], body)  # fmt: skip
    for column in table.columns:
        column.justify = "left"
    return Group(
        Text(f"{policy.name}: {policy.title}", style="bold"),
        Text(policy.about.strip()),
        Text(f"source: {policy.source}"),
        *([Text("interrupts: posted, without exits")] if policy.delivery == "posted" else []),
        *_idle(policy),
        Text(),
        table,
    )


def _idle(policy: Policy) -> list[Text]:
    """How the guest waits, unless that is free."""
    idle = policy.idle
    if idle.is_free:
        return []
    lines = [Text(f"idle: the guest {'halts' if idle.guest == 'halt' else 'polls'}")]
    for side, polling in (("guest", idle.guest_poll), ("host", idle.host_poll)):
        if polling.window == "always":
            lines.append(Text(f"the {side} polls for {format_time(polling.longest)} before it"))
        elif polling.window == "dynamic":
            shrink = f"divided by {polling.shrink}" if polling.shrink else "to 0"
            lines.append(Text(
                f"the {side} polls before it, up to {format_time(polling.longest)}: grows × "
                f"{polling.grow} from {format_time(polling.grow_start)}, shrinks {shrink}"
            ))  # fmt: skip
    return lines


def _rule(policy: Policy, number: int) -> dict[str, Any]:
    rule = policy.rules[number]
    return {
        "side": rule.side,
        "match": rule.match.model_dump(exclude_none=True),
        "mechanism": name_of(rule.mechanism),
        "parameters": rule.mechanism.model_dump(mode="json"),
    }
