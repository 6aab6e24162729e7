"""Schemas: of every file that a person writes, and of the JSON that is written.

An editor that knows a file's schema completes keys, explains them, and marks mistakes while they
are made. `schema_writer` makes them from the models that read the files, so they cannot say
anything else; what this module adds is what a file may say beside its model: ``extends``, and
titles of workloads.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from vmexit_sim.device import DeviceCatalog
from vmexit_sim.errors import InputError, nearest
from vmexit_sim.guest.generators import Generator
from vmexit_sim.hypervisor.platform import Platform
from vmexit_sim.policy import Policy
from vmexit_sim.present.document_shapes import ComparisonDocument, RunDocuments
from vmexit_sim.present.schema_writer import Schema, schema_of, summary
from vmexit_sim.scenario import Scenario
from vmexit_sim.study.result_file import FORMAT, VERSION
from vmexit_sim.study.result_format import Saved
from vmexit_sim.study.sweep.study_file import Study

ENDING = ".schema.json"
"""What a schema's file is called: the name of what it describes, and this."""


class Described(NamedTuple):
    """Something that has a schema.

    Attributes:
        about: what it is, in a clause.
        where: where such files are, or what writes them.
        write: makes the schema.
    """

    about: str
    where: str
    write: Callable[[str, str], Schema]


def schema(name: str) -> Schema:
    """The JSON Schema of one kind of file.

    Raises:
        InputError: there is no such kind.
    """
    if name not in SCHEMAS:
        raise InputError("is nothing that has a schema", value=name, mend=nearest(name, SCHEMAS))
    found = SCHEMAS[name]
    return found.write(f"vmexit-sim {name}", f"{found.about[0].upper()}{found.about[1:]}.")


def _of(model: Any, **more: bool) -> Callable[[str, str], Schema]:
    return lambda title, about: schema_of(model, title=title, about=about, **more)


def _platform(title: str, about: str) -> Schema:
    """A platform that extends another states what differs, any other one everything."""
    made = _extending(schema_of(Platform, title=title, about=about, has_clock=True), "platform")
    costs = made["definitions"]["Costs"]
    made["if"] = {"required": ["extends"]}
    made["else"] = {
        "required": made.pop("required"),
        "properties": {"costs": {"required": costs.pop("required")}},
    }
    return made


def _policy(title: str, about: str) -> Schema:
    return _extending(schema_of(Policy, title=title, about=about), "policy")


def _extending(made: Schema, kind: str) -> Schema:
    told = f"Another {kind}, by name or path: what is not stated here is as there."
    made["properties"] = {"extends": {"type": "string", "description": told}, **made["properties"]}
    return made


def _workload(title: str, about: str) -> Schema:
    """A generator's parameters; only at the top of a file stand texts for people."""
    made = schema_of(Generator, title=title, about=about)
    for_people = {"title": {"type": "string", "description": "one line for people."},
                  "about": {"type": "string", "description": "more for people."}}  # fmt: skip
    kinds = []
    for each in made.pop("oneOf"):
        model = made["definitions"][each["$ref"].rpartition("/")[2]]
        kinds.append({**model, "properties": {**for_people, **model["properties"]}})
    return {**made, "oneOf": kinds}


def _result(title: str, about: str) -> Schema:
    """The document around a result's content."""
    made = schema_of(Saved, title=title, about=about, in_result=True)
    content = {key: made.pop(key) for key in ("type", "properties", "required",
                                              "additionalProperties")}  # fmt: skip
    properties = {
        "format": {"const": FORMAT, "description": "what this is."},
        "version": {"const": VERSION, "description": "of the format."},
        "checksum": {"type": "string", "pattern": "^sha256:[0-9a-f]{64}$",
                     "description": "of the content, written without spaces."},
        "content": {"allOf": [{"$ref": "#/definitions/Saved"}],
                    "description": "the comparison."},
    }  # fmt: skip
    made["definitions"] = {"Saved": {"description": summary(Saved), **content},
                           **made["definitions"]}  # fmt: skip
    return {**made, "type": "object", "properties": properties, "required": list(properties)}


SCHEMAS: dict[str, Described] = {
    "scenario": Described(
        "guests, a platform and policies to compare",
        "models/scenarios",
        _of(Scenario, has_clock=True),
    ),
    "workload": Described(
        "a synthetic guest: a generator's parameters", "models/workloads", _workload
    ),
    "policy": Described("which access goes by which mechanism", "models/policies", _policy),
    "platform": Described(
        "what each part of an exit costs on one host", "models/platforms", _platform
    ),
    "devices": Described("what is known of devices", "models/devices", _of(DeviceCatalog)),
    "study": Described(
        "a scenario, and what is varied in it", "models/studies", _of(Study, has_clock=True)
    ),
    "result": Described("a saved comparison", "compare --output", _result),
    "comparison": Described(
        "a comparison's estimates", "compare --json", _of(ComparisonDocument, in_result=True)
    ),
    "run": Described("one policy, run once", "run --json", _of(RunDocuments, in_result=True)),
}
"""What has a schema, by name."""
