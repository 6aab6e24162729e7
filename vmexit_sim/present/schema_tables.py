"""Schemas as tables for people: every key of a file, what may stand there, and what it means."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from typing import Any

from vmexit_sim.present.schema_writer import DURATION, NULL, Schema
from vmexit_sim.units import FREQUENCY_PATTERN, PLAIN_TIME_PATTERN, SIZE_PATTERN, TIME_PATTERN

QUANTITIES = {
    TIME_PATTERN: "a time",
    PLAIN_TIME_PATTERN: "a time",
    SIZE_PATTERN: "a size",
    FREQUENCY_PATTERN: "a clock",
}

SIMPLE = {"string": "text", "integer": "whole number", "number": "number",
          "boolean": "true or false", "null": "null"}  # fmt: skip


def key_tables(made: Schema, known: Collection[str] = ()) -> str:
    """Markdown: a table for the file itself, and one for each kind of table in it.

    Args:
        made: a schema.
        known: tables that were explained before, by name.
    """
    made = _with_values(made, made["definitions"])
    parts = [part for name, stated in described(made) if name not in known
             for part in _section(name, stated, made)]  # fmt: skip
    return "\n".join(parts).rstrip() + "\n"


def _with_values(node: Any, definitions: dict[str, Schema]) -> Any:
    """A schema in which what has no keys (one of some names) stands where it is referred to."""
    if isinstance(node, list):
        return [_with_values(each, definitions) for each in node]
    if not isinstance(node, dict):
        return node
    name = _name(node) if isinstance(node.get("$ref"), str) else ""
    if name and name != DURATION and "type" in (stated := definitions[name]):
        return node if "properties" in stated or stated["type"] == "object" else stated
    return {key: _with_values(value, definitions) for key, value in node.items()}


def described(made: Schema) -> Iterator[tuple[str, Schema]]:
    """What has keys: the file itself, if it is one table, and every table that may be in it."""
    if "properties" in made:
        yield "", made
    for name, stated in made["definitions"].items():
        if stated.get("properties"):
            yield name, stated


def _section(name: str, stated: Schema, made: Schema) -> Iterator[str]:
    if name:
        yield f"**{name}**: {_cell(stated['description'])}\n"
    yield "| key | value | default | meaning |"
    yield "|---|---|---|---|"
    required = {*stated.get("required", ()), *made.get("else", {}).get("required", ())}
    for key, told in stated["properties"].items():
        default = "required" if key in required else _default(told)
        yield f"| `{key}` | {_cell(value_text(told))} | {default} | {_cell(_meaning(told))} |"
    yield ""


def _meaning(told: Schema) -> str:
    return str(told.get("description", "which of these it is"))


def _default(told: Schema) -> str:
    if "default" not in told:
        return ""
    return f"`{json.dumps(told['default'], ensure_ascii=False)}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def value_text(node: Schema) -> str:
    """What may stand at a key, in words."""
    if "$ref" in node:
        name = _name(node)
        return "a duration" if name == DURATION else name
    if "allOf" in node:
        return value_text(node["allOf"][0])
    choices = _choices(node)
    if choices:
        return " or ".join(dict.fromkeys(value_text(each) for each in choices if each != NULL))
    if "const" in node:
        return f"`{json.dumps(node['const'])}`"
    if "enum" in node:
        return ", ".join(f"`{json.dumps(each)}`" for each in node["enum"])
    if node.get("pattern") in QUANTITIES:
        return QUANTITIES[node["pattern"]]
    kind = node.get("type")
    if kind == "array":
        return _array_text(node)
    if kind == "object":
        return _object_text(node)
    if kind in SIMPLE:
        return SIMPLE[kind] + _bounds(node)
    return "anything"


def _choices(node: Schema) -> list[Schema]:
    return list(node.get("oneOf") or node.get("anyOf") or ())


def _name(node: Schema) -> str:
    return str(node["$ref"]).rpartition("/")[2] if "$ref" in node else ""


def _array_text(node: Schema) -> str:
    items = node.get("items", {})
    if isinstance(items, list):
        return f"[{', '.join(value_text(each) for each in items)}]"
    inner = value_text(items)
    return f"list of {inner}" if " or " not in inner else f"list of ({inner})"


def _object_text(node: Schema) -> str:
    if "properties" in node:
        return "a table"
    values = node.get("additionalProperties", {})
    return f"names with {value_text(values)}" if isinstance(values, dict) else "a table"


def _bounds(node: Schema) -> str:
    """The ends of a number's range; those nobody would reach are left out."""
    low, high = node.get("minimum", node.get("exclusiveMinimum")), node.get("maximum")
    if high is not None and high >= 10**12:
        high = None
    above = "above " * ("exclusiveMinimum" in node)
    if low is not None and high is not None:
        return f", {above}{low:,} to {high:,}"
    return "" if low is None else f", {above}{low:,}" + " or more" * (not above)
