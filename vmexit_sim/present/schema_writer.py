"""Writing JSON Schemas: from the models that read a file to what an editor is told of it.

::

    model ──► pydantic's schema ──► keys explained by docstrings ──► what TOML cannot say left out
              (`_Files`)            (`attributes`)                   (`_plain`, draft 7)

A schema accepts whatever the model loads, and refuses what a schema can: unknown keys, missing
ones, wrong types, numbers out of bounds, quantities without a unit. What takes arithmetic (a range
whose ends are swapped) is left to the model. Draft 7, since every editor reads that.

Source: JSON Schema draft 7, json-schema.org/draft-07.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from typing import Any

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import core_schema

from vmexit_sim.calibration.platform_file import stated_time
from vmexit_sim.configuration import Time
from vmexit_sim.distributions import ConstantText, Distribution, Empirical
from vmexit_sim.hypervisor.platform import Costs
from vmexit_sim.mechanisms import MECHANISMS, Mechanism
from vmexit_sim.policy import Rule
from vmexit_sim.scenario import Scenario
from vmexit_sim.study.sweep.study_file import COLUMNS, Study
from vmexit_sim.units import FREQUENCY_PATTERN, PLAIN_TIME_PATTERN, SIZE_PATTERN, TIME_PATTERN

Schema = dict[str, Any]

DIALECT = "http://json-schema.org/draft-07/schema#"

DURATION = "Duration"
"""The definition of a time or a distribution of times."""

NULL = {"type": "null"}

_ATTRIBUTE = re.compile(r"^ {4}(\w+): (.*?)(?=^ {4}\w+: |\Z)", re.M | re.S)
_UNIT = re.compile(r" \((?:ps|bytes)\)|, in (?:ps|Hz|bytes)\b")
_ALIAS = re.compile(r"^\(`\w+`\) ")
_NONE = re.compile(r"\bNone\b")
_DROPPED = ("title", "discriminator", "exclusiveMinimum", "gt", "default")


def schema_of(
    annotation: Any, *, title: str, about: str, in_result: bool = False, has_clock: bool = False
) -> Schema:
    """The JSON Schema of what a file says, or of a part of it.

    Args:
        annotation: a model, or a union of some.
        title: what it is.
        about: the same in a sentence.
        in_result: it is a part of a JSON document that was written from models, which has null
            where nothing is, and the samples of a resampled cost in place of their file.
        has_clock: a clock is known to it, or to a part of it, so that times may be in cycles.
    """
    writer = _Results if in_result else _Files
    made = TypeAdapter(annotation).json_schema(
        schema_generator=writer, ref_template="#/definitions/{model}", mode="validation"
    )
    definitions = made.pop("$defs", {})
    made = _plain({**made, "definitions": definitions}, keep_null=in_result)
    _share_durations(made)
    if not has_clock:
        _without_cycles(made)
    whole = {key: value for key, value in made.items() if key not in ("title", "description")}
    definitions = whole.pop("definitions")
    return {"$schema": DIALECT, "title": title, "description": about, **whole,
            "definitions": dict(sorted(definitions.items()))}  # fmt: skip


def attributes(model: type) -> dict[str, str]:
    """What a class and those it comes from say of their attributes, by name, on one line each."""
    found: dict[str, str] = {}
    for each in reversed(model.__mro__):
        section = inspect.cleandoc(each.__doc__ or "").partition("Attributes:\n")[2]
        section = section.partition("\n\n")[0]
        found |= {name: " ".join(text.split()) for name, text in _ATTRIBUTE.findall(section)}
    return found


def summary(model: type) -> str:
    """What a class is: its docstring without what it says of attributes."""
    text = inspect.cleandoc(model.__doc__ or "").partition("Attributes:")[0]
    return " ".join(text.split()).replace("``", "`")


class _Files(GenerateJsonSchema):
    """pydantic's schemas of models, as a file may be written."""

    schema_dialect = DIALECT
    from_file = True
    nothing = "left out"

    def model_schema(self, schema: core_schema.ModelSchema) -> Schema:
        """A model's, with every key explained, and with what its validators accept besides."""
        cls: type[BaseModel] = schema["cls"]
        made = super().model_schema(schema)
        made["description"] = summary(cls)
        told = attributes(cls)
        aliases = {field.alias or name: name for name, field in cls.model_fields.items()}
        for key, part in made.get("properties", {}).items():
            if text := told.get(aliases[key], ""):
                part["description"] = self.told(text)
        if issubclass(cls, Mechanism) and cls in MECHANISMS.values():
            made["properties"] = {"name": {"const": name_of_class(cls)},
                                  **made.get("properties", {})}  # fmt: skip
            made["required"] = ["name", *made.get("required", [])]
        amend = _AMENDED.get(cls)
        return made if amend is None else amend(self, made)

    def told(self, text: str) -> str:
        """What a docstring says of an attribute, as a file's reader needs it."""
        return _NONE.sub(self.nothing, _ALIAS.sub("", text.replace("``", "`")))

    def inner(self, annotation: Any) -> Schema:
        """The schema of something else, for use inside this one."""
        adapter: TypeAdapter[Any] = TypeAdapter(annotation)
        return self.generate_inner(adapter.core_schema)


class _Results(_Files):
    """The same, as a result file is written."""

    from_file = False
    nothing = "null"


def name_of_class(cls: type[Mechanism]) -> str:
    """The name that a class of mechanisms is registered under."""
    return next(name for name, known in MECHANISMS.items() if known is cls)


def _rule(writer: _Files, made: Schema) -> Schema:
    """A rule's mechanism is a table with its name, or, if that is enough, the name alone."""
    tables = [writer.inner(cls) for _, cls in sorted(MECHANISMS.items())]
    alone = [name for name, cls in sorted(MECHANISMS.items()) if _is_whole(cls)]
    told = made["properties"]["mechanism"]["description"]
    made["properties"]["mechanism"] = {
        "oneOf": [{"enum": alone}, *tables], "description": told
    }  # fmt: skip
    return made


def _is_whole(cls: type[Mechanism]) -> bool:
    """Whether a mechanism can be made without parameters."""
    try:
        cls()
    except ValidationError:
        return False
    return True


def _text_duration(writer: _Files, _: Schema) -> Schema:
    return {**writer.inner(Time), "description": "A constant: a time with its unit."}


def _empirical(writer: _Files, made: Schema) -> Schema:
    """A file names a column of another; only a result holds the samples."""
    kind = made["properties"]["kind"]
    if not writer.from_file:
        return made
    text = {"type": "string"}
    return {
        **made,
        "properties": {
            "kind": kind,
            "file": {**text, "description": "A Parquet or CSV file, relative to this one."},
            "column": {**text, "description": "Its column of times in picoseconds."},
        },
        "required": ["kind", "file", "column"],
    }


def _scenario(writer: _Files, made: Schema) -> Schema:
    """The costs that a scenario may set are those of platforms."""
    if writer.from_file:
        told = attributes(Costs)
        values = writer.inner(Distribution)
        made["properties"]["costs"] |= {
            "properties": {name: {**values, "description": told[name]}
                           for name in Costs.model_fields},
            "additionalProperties": False,
        }  # fmt: skip
    return made


def _study(writer: _Files, made: Schema) -> Schema:
    """A factor may be a bare list; a scenario may be stated in place, and lack what is set."""
    properties = made["properties"]
    factors = properties["factors"]
    values = {"type": "array", "minItems": 1,
              "description": "Values of the key that is the factor's name."}  # fmt: skip
    factors["additionalProperties"] = {"anyOf": [values, factors["additionalProperties"]]}
    factors["propertyNames"] = {"not": {"enum": list(COLUMNS)}}
    found = writer.inner(Scenario)
    stated = dict(writer.get_schema_from_definitions(found["$ref"]) or {})
    stated.pop("required", None)
    properties["scenario"] = {
        "anyOf": [{"type": "string"}, stated],
        "description": properties["scenario"]["description"],
    }
    return made


_AMENDED: dict[type, Callable[[_Files, Schema], Schema]] = {
    Rule: _rule,
    ConstantText: _text_duration,
    Empirical: _empirical,
    Scenario: _scenario,
    Study: _study,
}


def _plain(node: Any, *, keep_null: bool) -> Any:
    """A schema in draft 7, without what says nothing to a reader."""
    if isinstance(node, list):
        return [_plain(each, keep_null=keep_null) for each in node]
    if not isinstance(node, dict):
        return node
    made: Schema = {}
    for key, value in node.items():
        if key in ("properties", "definitions"):  # keys of the file, not of the schema
            made[key] = {name: _plain(part, keep_null=keep_null) for name, part in value.items()}
        elif key not in _DROPPED and key not in ("enum", "examples"):
            made[key] = _plain(value, keep_null=keep_null)
        elif key in ("enum", "examples"):
            made[key] = value
    if "exclusiveMinimum" in node and made.get("type") in ("integer", "number"):
        made["exclusiveMinimum"] = node["exclusiveMinimum"]
    if "prefixItems" in made:
        made["items"], made["additionalItems"] = made.pop("prefixItems"), False
    made = _without_null(made) if not keep_null else made
    made |= _default(node, made)
    if made.get("pattern") in (TIME_PATTERN, SIZE_PATTERN, FREQUENCY_PATTERN):
        made = _as_text(made)
    if "$ref" in made and len(made) > 1:  # in draft 7 nothing beside it counts
        made = {"allOf": [{"$ref": made.pop("$ref")}], **made}
    return made


def _without_null(made: Schema) -> Schema:
    """The same without null, which TOML does not have."""
    choices = made.get("anyOf")
    if choices is None or NULL not in choices:
        return made
    rest = [each for each in choices if each != NULL]
    others = {key: value for key, value in made.items() if key != "anyOf"}
    return {**rest[0], **others} if len(rest) == 1 else {"anyOf": rest, **others}


def _default(node: Schema, made: Schema) -> Schema:
    """What holds if a key is left out, as a file would state it; nothing if it cannot."""
    default = node.get("default")
    if default is None or default in ([], {}, ""):
        return {}
    if isinstance(default, dict):
        constant = default.get("kind") == "constant"
        return {"default": stated_time(default["value"])} if constant else {}
    if made.get("pattern") == TIME_PATTERN and isinstance(default, int):
        return {"default": stated_time(default)}
    return {"default": default}


def _as_text(made: Schema) -> Schema:
    """A quantity, whose description is of the text and not of what it is read to."""
    if "description" in made:
        made["description"] = _UNIT.sub("", made["description"])
    return made


def _share_durations(made: Schema) -> None:
    """State once what a duration is, and refer to that."""
    whole = TypeAdapter(Distribution).json_schema(
        schema_generator=_Files, ref_template="#/definitions/{model}"
    )
    choices = _plain(whole, keep_null=False)["oneOf"]
    found = [node for node in _nodes(made) if node.get("oneOf") == choices]
    for node in found:
        del node["oneOf"]
        told = dict(node)
        node.clear()
        reference = {"$ref": f"#/definitions/{DURATION}"}
        node.update({"allOf": [reference], **told} if told else reference)
    if found:
        made["definitions"][DURATION] = {
            "description": "A time with its unit, or a distribution of times.", "oneOf": choices
        }  # fmt: skip


def _without_cycles(made: Schema) -> None:
    for node in _nodes(made):
        if node.get("pattern") == TIME_PATTERN:
            node["pattern"] = PLAIN_TIME_PATTERN
            node["examples"] = [each for each in node["examples"] if "cycles" not in each]


def _nodes(node: Any) -> Iterator[Schema]:
    parts: Any = node.values() if isinstance(node, dict) else node
    if isinstance(node, dict):
        yield node
    if isinstance(node, (dict, list)):
        for part in parts:
            yield from _nodes(part)
