"""Reading TOML into typed, frozen, checked data.

A file is read whole, checked whole, and every mistake in it is reported together, each with its
key, its value and the mend. Nothing is guessed: an unknown key is an error that suggests the
nearest name.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from copy import deepcopy
from functools import lru_cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    PlainSerializer,
    SerializationInfo,
    Tag,
    ValidationError,
    ValidationInfo,
    WithJsonSchema,
)

from vmexit_sim.catalog import find
from vmexit_sim.errors import InputError, InputErrors, nearest
from vmexit_sim.units import (
    FREQUENCY_PATTERN,
    LONGEST_TEXT,
    SIZE_PATTERN,
    TIME_PATTERN,
    parse_frequency,
    parse_size,
    parse_time,
)

LARGEST_FILE = 16 * 2**20
"""A configuration file beyond this size (bytes) is refused: it is surely something else."""


class Configured(BaseModel):
    """Base of everything read from a file: frozen, keyword-only, no unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


M = TypeVar("M", bound=BaseModel)


class _Misfit(ValueError):
    """Carries an `InputError` through pydantic."""

    def __init__(self, error: InputError) -> None:
        self.error = error
        super().__init__(str(error))


def _time(value: object, info: ValidationInfo) -> object:
    clock = (info.context or {}).get("clock_hz") if isinstance(info.context, dict) else None
    try:
        return parse_time(value, clock)
    except InputError as error:
        raise _Misfit(error) from None


def _size(value: object) -> object:
    try:
        return parse_size(value)
    except InputError as error:
        raise _Misfit(error) from None


def _frequency(value: object) -> object:
    try:
        return parse_frequency(value)
    except InputError as error:
        raise _Misfit(error) from None


AS_STATED = {"as_stated": True}
"""Context for ``model_dump``: quantities as a file states them, so that what is dumped loads."""


def _with_unit(unit: str) -> PlainSerializer:
    def stated(value: int, info: SerializationInfo) -> int | str:
        wanted = isinstance(info.context, dict) and info.context.get("as_stated")
        return f"{value} {unit}" if wanted else value

    return PlainSerializer(stated)


def quantity_schema(pattern: str, *examples: str) -> WithJsonSchema:
    """How a JSON Schema has a quantity: text that looks like it."""
    return WithJsonSchema({"type": "string", "pattern": pattern, "maxLength": LONGEST_TEXT,
                           "examples": list(examples)})  # fmt: skip


Time = Annotated[
    int, BeforeValidator(_time), _with_unit("ps"),
    quantity_schema(TIME_PATTERN, "2.5 us", "300 ns", "1181 cycles"),
]  # fmt: skip
"""A time, in picoseconds; in files text with a unit."""

Size = Annotated[
    int, BeforeValidator(_size), _with_unit("B"), quantity_schema(SIZE_PATTERN, "4 KiB", "2 MiB")
]
"""A size, in bytes; in files text with a unit."""

Frequency = Annotated[
    int, BeforeValidator(_frequency), _with_unit("Hz"),
    quantity_schema(FREQUENCY_PATTERN, "3.5 GHz"),
]  # fmt: skip
"""A clock, in hertz; in files text with a unit."""


def misfit(
    problem: str, *, key: str | None = None, value: object = None, mend: str | None = None
) -> ValueError:
    """An error for use in a pydantic validator, reported like any other misfit of the file."""
    return _Misfit(InputError(problem, key=key, value=value, mend=mend))


def read_toml(path: Path) -> dict[str, Any]:
    """A TOML file as a dictionary.

    Raises:
        InputError: it cannot be read, is too large, or is not TOML (with the line).
    """
    try:
        stat = path.stat()
        return deepcopy(_parsed(path, stat.st_mtime_ns, stat.st_size, stat.st_ino))
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", file=path) from None


@lru_cache(maxsize=256)
def _parsed(path: Path, *version: int) -> dict[str, Any]:
    """A TOML file as it was when it last changed: a study opens the same models many times."""
    with path.open("rb") as file:
        content = file.read(LARGEST_FILE + 1)
    if len(content) > LARGEST_FILE:
        raise InputError("is larger than 16 MiB", file=path, mend="is it the right file?")
    try:
        return tomllib.loads(content.decode("utf-8"))
    except RecursionError:
        raise InputError("is not TOML, or nested too deeply", file=path,
                         mend="is it the right file?") from None  # fmt: skip
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"is not TOML: {error}", file=path) from None
    except ValueError as error:  # a whole number that Python does not read: it has no place
        raise InputError(f"is not TOML: {error}", file=path, key=_longest_line(content)) from None


def _longest_line(content: bytes) -> str:
    """Where a file's longest line stands."""
    lines = content.split(b"\n")
    return f"line {max(range(len(lines)), key=lambda number: len(lines[number])) + 1}"


Merge = Callable[[dict[str, Any], dict[str, Any], Path], dict[str, Any]]
"""Makes one of what a file states, what it extends, and the file that the latter stands in."""


def read_extending(
    path: Path, kind: str, merge: Merge, extended_by: tuple[Path, ...] = ()
) -> dict[str, Any]:
    """A model's file, and what it extends: ``extends = "NAME"`` names another model of its kind.

    Args:
        path: the file.
        kind: a key of `catalog.SUFFIXES`.
        merge: how it is merged with the model that it extends, itself whole.
        extended_by: the files on the way to this one.

    Raises:
        InputError: a file that cannot be read, no such model, or models that extend each other in
            a circle.
    """
    data = read_toml(path)
    if "extends" not in data:
        return data
    way = (*extended_by, path.resolve())
    if path.resolve() in extended_by:
        circle = " extends ".join(each.stem for each in way)
        raise InputError(f"goes in a circle: {circle}", file=path, key="extends")
    name = data.pop("extends")
    if not isinstance(name, str):
        raise InputError("is no model's name", file=path, key="extends", value=name,
                         mend="write it as text")  # fmt: skip
    try:
        origin = find(kind, name, path)
    except InputError as error:
        raise error.located(file=path, key="extends") from None
    return merge(data, read_extending(origin, kind, merge, way), origin)


def checked(
    model: type[M],
    data: object,
    *,
    file: object = None,
    key: str | None = None,
    context: dict[str, Any] | None = None,
) -> M:
    """`data` as an instance of `model`.

    Args:
        model: what it should be.
        data: what the file says.
        file: the file's name, for errors.
        key: the key below which `data` stands, for errors.
        context: for validators; ``clock_hz`` gives cycles their length.

    Raises:
        InputErrors: everything that does not fit, each with key, value and mend.
    """
    try:
        return model.model_validate(data, context=context)
    except ValidationError as failure:
        raise _all_of(failure, model, file, key) from None


def checked_json(model: type[M], text: str | bytes, *, file: object = None,
                 key: str | None = None) -> M:  # fmt: skip
    """JSON as an instance of `model`, as `checked`; its arrays may stand for tuples.

    Raises:
        InputErrors: everything that does not fit, each with key, value and mend.
    """
    try:
        return model.model_validate_json(text)
    except ValidationError as failure:
        raise _all_of(failure, model, file, key) from None


def _all_of(
    failure: ValidationError, model: type[BaseModel], file: object, key: str | None
) -> InputErrors:
    return InputErrors([_explained(model, dict(item), file, key) for item in failure.errors()])


def _explained(
    model: type[BaseModel], item: dict[str, Any], file: object, key: str | None
) -> InputError:
    prefix = [] if key is None else [key]
    names, known = _walk(model, item["loc"])
    if prefix and names == ["value"]:  # `key` is the value, whatever it was wrapped in
        names = []
    place = ".".join([*prefix, *names]) or None
    cause = item.get("ctx", {}).get("error")
    if isinstance(cause, _Misfit):
        return cause.error.located(file=file, key=place)
    if item["type"] == "extra_forbidden":
        mend = nearest(str(item["loc"][-1]), known) if known else None
        return InputError("is no key here", file=file, key=place, mend=mend)
    if item["type"] == "union_tag_invalid":
        tags = [tag.strip(" '") for tag in str(item["ctx"]["expected_tags"]).split(",")]
        tag = str(item["ctx"]["tag"])
        written = [known for known in tags if known not in _UNWRITABLE]
        return InputError("is no kind", file=file, key=f"{place}.kind", value=tag,
                          mend=nearest(tag, written))  # fmt: skip
    if item["type"] == "missing":
        return InputError("is missing", file=file, key=place)
    message = str(item["msg"])
    value = item["input"] if not isinstance(item["input"], (dict, list)) else None
    return InputError(f"does not fit: {message[0].lower()}{message[1:]}",
                      file=file, key=place, value=value)  # fmt: skip


_UNWRITABLE = ("text", "trace", "table", "workload", "generator")
"""Tags that tell shapes apart, and are written nowhere."""


def _walk(model: type[BaseModel], path: tuple[int | str, ...]) -> tuple[list[str], list[str]]:
    """A place as the file has it, and the keys that are known where its last part stands.

    pydantic's own path also holds the tags of unions, and whatever stands below a value that was
    rewritten before it was checked; neither is in the file.
    """
    current: Any = model
    names: list[str] = []
    known: list[str] = []
    is_text = False
    for part in path:
        tagged = _tagged(current, part)
        if tagged is not None:
            current, is_text = tagged, part == "text"
            continue
        if is_text and part == "value":  # bare text was made a table of it
            continue
        current = _unwrapped(current)
        fields = _fields(current)
        if isinstance(part, int):
            current = (get_args(current) or (None,))[0]
        elif fields:
            known = sorted(fields)
            current = fields.get(part)
        elif names and part == "value":
            continue
        names.append(str(part) or '""')
    return names, known


def _fields(annotation: Any) -> dict[str, Any]:
    """What a model's keys hold, by the names that files use."""
    fields = getattr(annotation, "model_fields", {})
    return {
        field.alias or name: Annotated[field.annotation, *field.metadata]
        if field.metadata
        else field.annotation
        for name, field in fields.items()
    }


def _unwrapped(annotation: Any) -> Any:
    """An annotation without what decorates it, and without None."""
    while get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if get_origin(annotation) in (Union, UnionType):
        rest = [part for part in get_args(annotation) if part is not NoneType]
        if len(rest) == 1:
            return _unwrapped(rest[0])
    return annotation


def _tagged(annotation: Any, tag: int | str) -> Any:
    """The member of a union that a tag means; None if that is no union, or it has no such tag."""
    union = _unwrapped(annotation)
    if get_origin(union) not in (Union, UnionType):
        return None
    for member in get_args(union):
        if get_origin(member) is Annotated:
            tags = [part.tag for part in get_args(member)[1:] if isinstance(part, Tag)]
            if tag in tags:
                return get_args(member)[0]
        inner = _tagged(member, tag)
        if inner is not None:
            return inner
        kind = getattr(member, "model_fields", {}).get("kind")
        if kind is not None and tag in get_args(kind.annotation):
            return member
    return None
