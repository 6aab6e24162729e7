"""How long something takes: a constant, or a distribution with a unit.

In a file a duration is text (``"5 us"``: constant) or a table::

    {kind = "exponential", mean = "10 us"}
    {kind = "lognormal", mean = "13.6 us", cv = 0.57, shift = "3.54 us"}
    {kind = "uniform", low = "1 us", high = "2 us"}
    {kind = "empirical", file = "samples.parquet", column = "latency_ps"}

`mean` is that of the whole, shift included; `cv` is the whole's standard deviation over its mean;
`shift` is the smallest value. Draws are whole picoseconds.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
from pydantic import Discriminator, Field, Tag, ValidationInfo, model_validator

from vmexit_sim.configuration import Configured, Time, misfit
from vmexit_sim.errors import InputError, nearest
from vmexit_sim.parquet_file import read_parquet
from vmexit_sim.units import LONGEST_PS, format_time

LARGEST_SAMPLES = 2**28
"""Largest file of samples that is read, in bytes."""

Times = npt.NDArray[np.int64]
"""Picoseconds, one per draw."""


class Duration(Protocol):
    """What every distribution of times can do."""

    @property
    def mean_ps(self) -> float:
        """Expected value, in picoseconds."""

    @property
    def is_constant(self) -> bool:
        """Whether every draw is the same."""

    def draw(self, rng: np.random.Generator, n: int) -> Times:
        """`n` draws, in whole picoseconds.

        Drawing n and then m gives what drawing n + m gives, so a long run may be drawn in blocks.
        """


class Constant(Configured):
    """Always the same time.

    Attributes:
        value: the time.
    """

    kind: Literal["constant"] = "constant"
    value: Time

    @property
    def mean_ps(self) -> float:
        """The value."""
        return float(self.value)

    @property
    def is_constant(self) -> bool:
        """Always true."""
        return True

    def draw(self, rng: np.random.Generator, n: int) -> Times:
        """`n` times the value; draws nothing from `rng`."""
        return np.full(n, self.value, np.int64)


class _Random(Configured):
    @property
    def is_constant(self) -> bool:
        """Never: a distribution without spread should be written as a constant."""
        return False


class Uniform(_Random):
    """Anything between `low` and `high`, equally likely.

    Attributes:
        low: the shortest time.
        high: the longest time, above `low`.
    """

    kind: Literal["uniform"]
    low: Time
    high: Time

    @model_validator(mode="after")
    def _ordered(self) -> Uniform:
        if self.high <= self.low:
            raise misfit("has its high end not above its low end", mend="swap low and high")
        return self

    @property
    def mean_ps(self) -> float:
        """Half-way between the ends."""
        return (self.low + self.high) / 2

    def draw(self, rng: np.random.Generator, n: int) -> Times:
        """Whole picoseconds in ``low .. high``, both included."""
        return _whole(self.low + (self.high - self.low) * rng.random(n), self)


class _Shifted(_Random):
    """A distribution of the part of a time above its smallest value.

    Attributes:
        mean: of the whole time, `shift` included.
        shift: the smallest value; below the mean.
    """

    mean: Time
    shift: Time = 0

    @model_validator(mode="after")
    def _above_shift(self) -> _Shifted:
        if self.mean <= self.shift:
            raise misfit("has its mean not above its shift", mend="lower the shift")
        return self

    @property
    def mean_ps(self) -> float:
        """The mean, shift included."""
        return float(self.mean)


class Exponential(_Shifted):
    """Memoryless, above `shift`."""

    kind: Literal["exponential"]

    def draw(self, rng: np.random.Generator, n: int) -> Times:
        """Exponential draws."""
        return _whole(self.shift + (self.mean - self.shift) * rng.standard_exponential(n), self)


class _Spread(_Shifted):
    """A shifted distribution whose spread is free.

    Attributes:
        cv: the standard deviation of the whole time over its mean.
    """

    cv: Annotated[float, Field(gt=0, le=100, allow_inf_nan=False)]

    @property
    def _excess_cv(self) -> float:
        """Coefficient of variation of the part above the shift."""
        return self.cv * self.mean / (self.mean - self.shift)


class Lognormal(_Spread):
    """Lognormal above `shift`: the usual shape of an exit's handling time."""

    kind: Literal["lognormal"]

    def draw(self, rng: np.random.Generator, n: int) -> Times:
        """Lognormal draws."""
        variance = math.log1p(self._excess_cv**2)
        centre = math.log(self.mean - self.shift) - variance / 2
        return _whole(
            self.shift + np.exp(centre + math.sqrt(variance) * rng.standard_normal(n)), self
        )


class Gamma(_Spread):
    """Gamma above `shift`; with cv = 1/sqrt(k) and no shift an Erlang-k."""

    kind: Literal["gamma"]

    def draw(self, rng: np.random.Generator, n: int) -> Times:
        """Gamma draws."""
        shape = self._excess_cv**-2
        scale = (self.mean - self.shift) / shape
        return _whole(self.shift + scale * rng.standard_gamma(shape, n), self)


Sample = Annotated[int, Field(ge=0, le=LONGEST_PS)]
"""A measured time, in picoseconds."""


class Empirical(_Random):
    """Resampled from a column of measured times (in picoseconds) of a Parquet or CSV file.

    Attributes:
        samples: the times, in ps.
    """

    kind: Literal["empirical"]
    samples: Annotated[tuple[Sample, ...], Field(min_length=1)]

    @model_validator(mode="before")
    @classmethod
    def _loaded(cls, data: Any, info: ValidationInfo) -> Any:
        if not isinstance(data, dict):
            return data
        if info.mode == "json":  # a saved result's, which names no file
            held = data.get("samples")
            return {**data, "samples": tuple(held) if isinstance(held, list) else held}
        if "file" not in data:
            return data
        rest = {key: value for key, value in data.items() if key not in ("file", "column")}
        beside = (info.context or {}).get("file") if info.context else None
        try:
            return {**rest, "samples": _read_column(data["file"], data.get("column"), beside)}
        except InputError as error:
            raise misfit(error.problem, value=error.value, mend=error.mend) from None

    @property
    def mean_ps(self) -> float:
        """The samples' mean."""
        return float(np.mean(self.samples))

    def draw(self, rng: np.random.Generator, n: int) -> Times:
        """Samples, drawn with replacement."""
        samples = np.asarray(self.samples, np.int64)
        return samples[(rng.random(n) * len(samples)).astype(np.int64)]


def _kind(value: Any) -> str:
    if isinstance(value, (str, int, float)):
        return "text"
    if isinstance(value, dict):
        return str(value.get("kind", "constant"))
    return str(getattr(value, "kind", "text"))


class ConstantText(Constant):
    """A constant written as bare text, ``"5 us"``."""

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, data: Any) -> Any:
        return data if isinstance(data, dict) else {"value": data}


Distribution = Annotated[
    Annotated[ConstantText, Tag("text")]
    | Annotated[Constant, Tag("constant")]
    | Annotated[Uniform, Tag("uniform")]
    | Annotated[Exponential, Tag("exponential")]
    | Annotated[Lognormal, Tag("lognormal")]
    | Annotated[Gamma, Tag("gamma")]
    | Annotated[Empirical, Tag("empirical")],
    Discriminator(_kind),
]
"""A duration as files state it: text for a constant, or a table with a `kind`."""


def _whole(times: npt.NDArray[np.float64], drawn_from: Duration) -> Times:
    if (times > LONGEST_PS).any():
        kind = type(drawn_from).__name__.lower()
        raise InputError("draws a time longer than 53 days",
                         key=f"{kind} distribution of mean {format_time(drawn_from.mean_ps)}",
                         mend="shorten its mean or its cv")  # fmt: skip
    return np.rint(times).astype(np.int64)


def _read_column(file: object, column: object, beside: Path | None) -> tuple[int, ...]:
    """A column of times in picoseconds out of a Parquet or CSV file."""
    if not isinstance(file, str) or not isinstance(column, str):
        raise InputError("needs text for `file` and `column`")
    path = Path(file) if beside is None else beside.parent / file
    folder = Path() if beside is None else beside.parent
    if not path.resolve().is_relative_to(folder.resolve()):
        raise InputError("leaves the folder of the file that names it", value=file)
    import pandas as pd
    import pyarrow as pa

    try:
        if path.stat().st_size > LARGEST_SAMPLES:
            raise ValueError(f"it is larger than {LARGEST_SAMPLES >> 20} MiB")
        if path.suffix == ".parquet":
            frame = read_parquet(path).to_pandas()
        else:
            frame = pd.read_csv(path, compression=None)
    except InputError as error:
        raise InputError(error.problem, value=file, mend=error.mend) from None
    except (OSError, pa.ArrowException, ValueError) as error:
        raise InputError(f"cannot be read: {error}", value=file) from None
    if column not in frame:
        raise InputError(f"has no column {column!r}", value=file,
                         mend=nearest(column, map(str, frame.columns)))  # fmt: skip
    values = np.zeros(0)
    if not isinstance(frame[column].dtype, pd.CategoricalDtype):  # text, of a Parquet file
        try:
            values = pd.to_numeric(frame[column], errors="coerce").to_numpy(np.float64)
        except OverflowError:  # a whole number of hundreds of digits
            values = np.array([math.inf])
    if not len(values) or not ((values >= 0) & (values <= LONGEST_PS)).all():
        problem = f"has a column {column!r} that is not times of 0 ps or more, up to 53 days"
        raise InputError(problem, value=file)
    return tuple(int(value) for value in np.rint(values))
