"""Constraints: which combinations of values a study leaves out.

A constraint compares two terms, each a factor, a value, or a factor times a number::

    cpus <= vcpus
    spacing > 10 us
    2 * cpus <= vcpus
    platform != "bare-metal-2022"

What it says is data: it is read by this grammar, and nothing is ever evaluated as code.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from vmexit_sim.errors import InputError, nearest
from vmexit_sim.study.sweep.factor import column_value, quantity

RELATIONS: dict[str, Callable[[Any, Any], bool]] = {
    "<=": operator.le, ">=": operator.ge, "==": operator.eq, "!=": operator.ne,
    "<": operator.lt, ">": operator.gt,
}  # fmt: skip
_WHOLE = re.compile(r"(.+?)\s*(<=|>=|==|!=|<|>)\s*(.+)")
_TERM = re.compile(r"(?:([0-9]+(?:\.[0-9]+)?)\s*\*\s*)?(.+)")
_QUOTED = re.compile(r'"([^"]*)"')
LONGEST = 300


@dataclass(frozen=True)
class _Term:
    factor: str | None
    times: float
    value: Any

    def of(self, values: Mapping[str, Any]) -> tuple[Any, str]:
        """Its value at a point, and the value's unit ("" for text)."""
        value, unit = column_value(self.value if self.factor is None else values[self.factor])
        return (self.times * value, unit) if isinstance(value, float) else (value, unit)


@dataclass(frozen=True)
class Constraint:
    """A comparison that every point must pass."""

    text: str
    left: _Term
    relation: str
    right: _Term

    def holds(self, values: Mapping[str, Any]) -> bool:
        """Whether a point's values pass.

        Args:
            values: by factor, as files state them.

        Raises:
            InputError: the two sides cannot be compared: units differ, or one is text.
        """
        (left, unit), (right, other) = self.left.of(values), self.right.of(values)
        ordered = self.relation in ("<", "<=", ">", ">=")
        if unit != other:
            raise InputError(f"compares {left!r} with {right!r}, whose units differ",
                             key="constraints", value=self.text,
                             mend="give both sides one unit")  # fmt: skip
        if ordered and unit == "":
            raise InputError(f"asks which of {left!r} and {right!r} is more, and both are text",
                             key="constraints", value=self.text,
                             mend="compare text with == or !=")  # fmt: skip
        return RELATIONS[self.relation](left, right)


def parse_constraint(text: str, factors: Collection[str]) -> Constraint:
    """A constraint as a study states it.

    Raises:
        InputError: it is none, or speaks of no factor.
    """
    match = _WHOLE.fullmatch(text.strip()) if len(text) <= LONGEST else None
    if match is None:
        raise InputError("is no constraint", key="constraints", value=text,
                         mend='write it like "cpus <= vcpus"')  # fmt: skip
    made = Constraint(text, _term(match[1], factors, text), match[2],
                      _term(match[3], factors, text))  # fmt: skip
    if made.left.factor is None and made.right.factor is None:
        raise InputError("speaks of no factor", key="constraints", value=text,
                         mend=nearest(match[1], factors))  # fmt: skip
    return made


def _term(text: str, factors: Collection[str], whole: str) -> _Term:
    match = _TERM.fullmatch(text)
    assert match is not None, "anything but nothing matches"
    rest = match[2].strip()
    if rest in factors:
        return _Term(rest, float(match[1] or 1), None)
    if quoted := _QUOTED.fullmatch(text.strip()):
        return _Term(None, 1.0, quoted[1])
    value = _bare(text.strip())
    if quantity(value) is None:
        raise InputError(f"speaks of {rest!r}, which is no factor and no value", key="constraints",
                         value=whole, mend=nearest(rest, factors))  # fmt: skip
    return _Term(None, 1.0, value)


def _bare(text: str) -> Any:
    """A bare number as such, anything else as text."""
    try:
        return float(text)
    except ValueError:
        return text
