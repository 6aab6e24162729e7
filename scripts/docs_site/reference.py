"""Reference pages made from the program itself: commands, mechanisms, platforms, policies."""

from __future__ import annotations

import inspect
import re

from vmexit_sim import catalog
from vmexit_sim.cli.running import app  # importing it registers every command
from vmexit_sim.hypervisor.platform import MARKS, Cost, load_platform
from vmexit_sim.mechanisms import MECHANISMS
from vmexit_sim.present.documents import cost_value
from vmexit_sim.present.model_tables import model_document

CHANGES = "Changes to the scenario"
"""The group of options that many commands share; it is shown once."""


def command_line() -> str:
    """Every command, its arguments and options, as the program's own help has them."""
    text = app.generate_docs(output_format="markdown", recursive=True, include_hidden=False)
    sections = re.split(r"^#{2,3} (?=vmexit-sim )", text, flags=re.M)[1:]
    shared = _shared(sections)
    listed, shown, changeable = ["| command | |", "|---|---|"], [], []
    for section in sections:
        heading, _, body = section.partition("\n")
        name = heading.removeprefix("vmexit-sim ").strip()
        anchor = name.strip("-").replace(" ", "-")
        listed.append(f"| [`{name}`](#{anchor}) | {_about(body)} |")
        if shared in body:
            changeable.append(f"[`{name}`](#{anchor})")
            body = body.replace(shared, "Also the [changes to the scenario](#changes).\n\n")
        body = re.sub(r"^\*\*Commands\*\*:\n.*?(?=^\*\*|\Z)", "", body, flags=re.M | re.S)
        shown.append(
            f"{'###' if ' ' in name else '##'} `{name}` {{ #{anchor} }}\n{_readable(body)}"
        )
    options = _readable(shared.partition("\n")[2])
    shown.append(f"## {CHANGES} {{ #changes }}\n\nOptions of {', '.join(changeable)}.\n{options}")
    return "\n\n".join(part.strip() for part in ("\n".join(listed), *shown))


def mechanisms() -> str:
    """Every mechanism that a policy can name, and what it is in a sentence."""
    lines = ["| mechanism | |", "|---|---|"]
    for name in sorted(MECHANISMS):
        about = _sentence(inspect.getdoc(MECHANISMS[name]) or "")
        page = catalog.models_directory().parent / "docs" / "mechanisms" / f"{name}.md"
        lines.append(f"| [{name}]({name}.md) | {about} |" if page.exists()
                     else f"| {name} | {about} |")  # fmt: skip
    return "\n".join(lines)


def platforms() -> str:
    """Every platform: what it is, and each cost with mark and source."""
    parts = ["\n".join(f"* **{mark}**: {meaning}" for mark, meaning in MARKS.items())]
    for name in catalog.names("platforms"):
        platform = load_platform(name)
        costs = list(platform.costs.items())
        if platform.nesting is not None:
            costs += [("L0: forward", platform.nesting.forward),
                      ("L0: one exit of L1", platform.nesting.l1_exit)]  # fmt: skip
        rows = ["| cost | value | mark | source |", "|---|---:|:-:|---|"]
        rows += [_cost(cost_name, cost) for cost_name, cost in costs]
        clock = f"{platform.clock / 1e9:g} GHz [{platform.clock_mark}] {platform.clock_source}"
        parts += [f"## {name}", f"**{platform.title}.** {_cell(platform.about)}",
                  f"Clock: {_cell(clock)}", "\n".join(rows)]  # fmt: skip
    return "\n\n".join(parts)


def policies() -> str:
    """Every policy: what it is, and its rules in the order in which they are asked."""
    parts = []
    for name in catalog.names("policies"):
        policy = model_document(name)["policy"]
        parts += [f"## {name}", f"**{policy['title']}.** {_cell(policy['about'])}".strip()]
        if policy["bound"]:
            parts.append("A bound, not a proposal: it never wins a verdict.")
        if policy["rules"]:
            rows = ["| rules in | accesses | mechanism |", "|---|---|---|"]
            rows += [f"| {rule['side']} | {_match(rule['match'])} | {_mechanism(rule)} |"
                     for rule in policy["rules"]]  # fmt: skip
            parts.append("\n".join(rows))
        delivery = "by exits" if policy["delivery"] == "exit" else policy["delivery"]
        about = f"Interrupts: {delivery}. Idle: {policy['idle']['guest']}."
        parts.append(about + (f" Source: {_cell(policy['source'])}" if policy["source"] else ""))
    return "\n\n".join(parts)


def _shared(commands: list[str]) -> str:
    """The block of options that changes a scenario, as most commands print it."""
    found = [
        block[0]
        for command in commands
        if (block := re.search(rf"^\*\*{CHANGES}\*\*:\n.*?(?=^\*\*|\Z)", command, re.M | re.S))
    ]
    return max(set(found), key=found.count)


def _readable(body: str) -> str:
    """An option a line, its default set off, its text in one piece."""
    body = re.sub(r"\n {4,}(?=\S)", " ", body)
    body = body.replace(" *[default: False]*", "")
    body = re.sub(r"\*\[(default|choices): ([^\]]*)\]\*", r"(\1: \2)", body)
    return re.sub(r"```console\n(.*?)\n```", r"```text\n\1\n```", body, flags=re.S)


def _about(body: str) -> str:
    """The first sentence below a command's usage."""
    text = re.sub(r"```.*?```", "", body, flags=re.S).strip()
    return _cell(text.partition("\n\n")[0])


def _sentence(text: str) -> str:
    return _cell(text.partition("\n\n")[0])


def _cost(name: str, cost: Cost) -> str:
    value, unit = cost_value(cost)
    return f"| `{name}` | {value} {unit} | {cost.mark} | {_cell(cost.source)} |"


def _match(match: dict[str, object]) -> str:
    said = [f"{key.replace('_', ' ')} {_value(value)}"
            for key, value in match.items() if value is not None]  # fmt: skip
    return _cell(", ".join(said)) or "all"


def _mechanism(rule: dict[str, object]) -> str:
    stated = rule["mechanism"]
    if not isinstance(stated, dict):
        return f"[{stated}](../mechanisms/{stated}.md)"
    name = stated["name"]
    rest = ", ".join(f"{key} {_value(value)}" for key, value in stated.items() if key != "name")
    return f"[{name}](../mechanisms/{name}.md)" + (f": {_cell(rest)}" if rest else "")


def _value(value: object) -> str:
    if isinstance(value, list):
        return " or ".join(f"`{one}`" for one in value)
    return ("yes" if value else "no") if isinstance(value, bool) else f"`{value}`"


def _cell(text: str) -> str:
    """Text on one line, safe in a table."""
    return re.sub(r"\s+", " ", text).strip().replace("|", "\\|")
