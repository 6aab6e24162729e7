"""Sums: a time as a constant and so many times each of some columns of an access."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vmexit_sim.distributions import Constant, Duration, Empirical, Uniform


@dataclass(frozen=True)
class Unknown:
    """What a walk cannot know: something that earlier accesses or others left behind.

    Attributes:
        what: for people.
        number: tells it from other unknowns.
    """

    what: str
    number: int


@dataclass(frozen=True)
class Moments:
    """Mean and variance of a time, in ps and ps²."""

    mean: float
    variance: float = 0.0

    @property
    def second(self) -> float:
        """The second moment, E[S²]."""
        return self.variance + self.mean**2

    def __add__(self, other: Moments) -> Moments:
        """Of the sum of two independent times."""
        return Moments(self.mean + other.mean, self.variance + other.variance)

    def __mul__(self, factor: float) -> Moments:
        """Of a multiple of the time."""
        return Moments(self.mean * factor, self.variance * factor**2)


@dataclass(frozen=True)
class Sum:
    """A time: a constant, and columns of the access, each so many times.

    Attributes:
        constant: in ps.
        terms: columns and their coefficients, in the order of their names; none is 0.
    """

    constant: int = 0
    terms: tuple[tuple[str | Unknown, int], ...] = ()

    @property
    def unknown(self) -> str | None:
        """The first thing in it that is no column; None: it is a sum of columns."""
        return next((name.what for name, _ in self.terms if isinstance(name, Unknown)), None)

    def __add__(self, other: Sum) -> Sum:
        """The two together."""
        terms = dict(self.terms)
        for name, coefficient in other.terms:
            terms[name] = terms.get(name, 0) + coefficient
        kept = sorted((pair for pair in terms.items() if pair[1]), key=lambda pair: str(pair[0]))
        return Sum(self.constant + other.constant, tuple(kept))

    def __sub__(self, other: Sum) -> Sum:
        """The first less the second."""
        return self + other * -1

    def __mul__(self, factor: int) -> Sum:
        """A multiple."""
        terms = ((name, coefficient * factor) for name, coefficient in self.terms)
        return Sum(self.constant * factor, tuple(terms) if factor else ())

    def of(self, columns: Mapping[str, npt.NDArray[np.int64]], n: int) -> npt.NDArray[np.int64]:
        """Its value for each of n accesses, in ps.

        Args:
            columns: the accesses' columns, shape (n,) each.
            n: how many accesses.
        """
        total = np.full(n, self.constant, np.int64)
        for name, coefficient in self.terms:
            assert isinstance(name, str)
            total += coefficient * columns[name]
        return total

    def moments(self, of: Callable[[str], Moments]) -> Moments:
        """Its mean and variance, if columns are independent of each other.

        Args:
            of: the moments of a column.
        """
        total = Moments(self.constant)
        for name, coefficient in self.terms:
            assert isinstance(name, str)
            total += of(name) * coefficient
        return total


NOTHING = Sum()
"""No time at all."""


def moments_of(duration: Duration) -> Moments:
    """Mean and variance of a duration; rounding to whole picoseconds is left out.

    Raises:
        ValueError: the variance of such a distribution is not known.
    """
    mean = duration.mean_ps
    if isinstance(duration, Constant) or duration.is_constant:
        return Moments(mean)
    if isinstance(duration, Uniform):
        return Moments(mean, (duration.high - duration.low) ** 2 / 12)
    if isinstance(duration, Empirical):
        return Moments(mean, float(np.var(duration.samples)))
    kind, parameters = getattr(duration, "kind", ""), vars(duration)
    if kind == "exponential":
        return Moments(mean, (mean - parameters["shift"]) ** 2)
    if "cv" in parameters:
        return Moments(mean, (parameters["cv"] * mean) ** 2)
    raise ValueError(f"the variance of {duration} is not known")
