"""Places in nested data: ``blocks.0.guest.between.mean``.

A place is a path of keys, joined by dots. A number is a place in a list, ``*`` all of a list's
places. A key that holds dots stands in double quotes: ``parameters."./mine.toml".max_batch``.
"""

from __future__ import annotations

import re
from copy import deepcopy
from typing import Any

from vmexit_sim.errors import InputError, nearest

_PART = re.compile(r'"([^"]+)"|([^."]+)')
LONGEST = 200
"""Most characters that a place may have."""


def parts_of(place: str) -> list[str]:
    """The keys that a place is made of.

    Raises:
        InputError: it is no place: empty, or with empty parts.
    """
    parts: list[str] = []
    end = 0
    for match in _PART.finditer(place[:LONGEST]):
        if match.start() != end:
            break
        parts.append(match[1] or match[2].strip())
        end = match.end()
        if place[end : end + 1] != ".":
            break
        end += 1
    if not parts or end != len(place) or place.endswith(".") or not all(parts):
        raise InputError("is no place", value=place,
                         mend="write keys joined by dots, like costs.to_user")  # fmt: skip
    return parts


def with_value(data: dict[str, Any], place: str, value: Any) -> dict[str, Any]:
    """Nested data as it is, but that a place holds another value.

    Tables that the place leads through are made if they are not there; lists are not. What the
    place does not lead through is shared with `data`, which is not changed.

    Raises:
        InputError: the place leads through something that has no such part.
    """
    changed: dict[str, Any] = _with(data, parts_of(place), 0, value, place)
    return changed


def _with(holder: Any, parts: list[str], depth: int, value: Any, place: str) -> Any:
    """A holder in which the place that begins at `depth` holds the value."""
    key = parts[depth]
    walked = ".".join(parts[:depth]) or None

    def inner(part: Any) -> Any:
        if depth + 1 == len(parts):
            return deepcopy(value)
        return _with(part, parts, depth + 1, value, place)

    if isinstance(holder, dict):
        return {**holder, key: inner(holder.get(key, {}))}
    if isinstance(holder, list):
        meant = _indices(holder, key, walked, place)
        changed = list(holder)
        for number in meant:
            changed[number] = inner(holder[number])
        return changed
    raise _dead_end(holder, key, walked, place)


def _indices(holder: list[Any], key: str, walked: str | None, place: str) -> list[int]:
    """The places in a list that a key means."""
    if key == "*" and holder:
        return list(range(len(holder)))
    if not (key.isascii() and key.isdigit() and len(key) < 6 and int(key) < len(holder)):
        known = [str(number) for number in range(len(holder))] + ["*"]
        raise InputError(f"leads nowhere: {walked or 'it'} is a list of {len(holder)}",
                         key=place, value=key, mend=nearest(key, known))  # fmt: skip
    return [int(key)]


def _dead_end(holder: Any, key: str, walked: str | None, place: str) -> InputError:
    shown = repr(holder)
    shown = shown if len(shown) <= 60 else f"{shown[:59]}…"
    return InputError(f"leads nowhere: {walked} is {shown}, which has no parts", key=place,
                      value=key, mend="write it as a table, like {kind = …}")  # fmt: skip
