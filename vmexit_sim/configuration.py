"""Reading TOML into typed, frozen, checked data.

A file is read whole, checked whole, and every mistake in it is reported together, each with its
key, its value and the mend. Nothing is guessed: an unknown key is an error that suggests the
nearest name.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    ValidationError,
    ValidationInfo,
)

from vmexit_sim.errors import InputError, InputErrors, nearest
from vmexit_sim.units import parse_frequency, parse_size, parse_time

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


Time = Annotated[int, BeforeValidator(_time)]
"""A time, in picoseconds; in files text with a unit."""

Size = Annotated[int, BeforeValidator(_size)]
"""A size, in bytes; in files text with a unit."""

Frequency = Annotated[int, BeforeValidator(_frequency)]
"""A clock, in hertz; in files text with a unit."""


def misfit(problem: str, *, value: object = None, mend: str | None = None) -> ValueError:
    """An error for use in a pydantic validator, reported like any other misfit of the file."""
    return _Misfit(InputError(problem, value=value, mend=mend))


def read_toml(path: Path) -> dict[str, Any]:
    """A TOML file as a dictionary.

    Raises:
        InputError: it cannot be read, is too large, or is not TOML (with the line).
    """
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST_FILE + 1)
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", file=path) from None
    if len(content) > LARGEST_FILE:
        raise InputError("is larger than 16 MiB", file=path, mend="is it the right file?")
    try:
        return tomllib.loads(content.decode("utf-8"))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise InputError(f"is not TOML: {error}", file=path) from None


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
        raise InputErrors(
            [_explained(model, dict(item), file, key) for item in failure.errors()]
        ) from None


def _explained(
    model: type[BaseModel], item: dict[str, Any], file: object, key: str | None
) -> InputError:
    prefix = [] if key is None else [key]
    place = ".".join([*prefix, *map(str, item["loc"])]) or None
    cause = item.get("ctx", {}).get("error")
    if isinstance(cause, _Misfit):
        return cause.error.located(file=file, key=place)
    if item["type"] == "extra_forbidden":
        known = _keys_at(model, item["loc"][:-1])
        mend = nearest(str(item["loc"][-1]), known) if known else None
        return InputError("is no key here", file=file, key=place, mend=mend)
    if item["type"] == "missing":
        return InputError("is missing", file=file, key=place)
    message = str(item["msg"])
    value = item["input"] if not isinstance(item["input"], (dict, list)) else None
    return InputError(f"does not fit: {message[0].lower()}{message[1:]}",
                      file=file, key=place, value=value)  # fmt: skip


def _keys_at(model: type[BaseModel], path: tuple[int | str, ...]) -> list[str]:
    """The keys that a model knows at a place; empty where that cannot be told."""
    current: Any = model
    for part in path:
        fields = getattr(current, "model_fields", None)
        if fields is None or part not in fields:
            return []
        current = fields[part].annotation
    return sorted(getattr(current, "model_fields", {}))
