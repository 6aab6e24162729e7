"""A measurement: how long something took on a real host, and how sure that is.

What a log tells differs: ``perf kvm stat`` gives mean, standard error and extremes of many exits,
a raw event log gives every one of them, kvm-unit-tests one mean without a spread. A `Measurement`
holds whatever there is, and leaves the rest None: a spread that was not measured is not zero.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from vmexit_sim.errors import InputError
from vmexit_sim.statistics.estimate import CONFIDENCE, Estimate, unbounded
from vmexit_sim.units import LONGEST_PS

METHOD = "calibration"


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """How long something took on a host.

    Attributes:
        name: what was measured: an exit reason ("IO_INSTRUCTION"), a test's name
            ("inl_from_qemu"), or words ("port write to user space").
        mean: its mean, in ps.
        error: standard error of the mean, in ps; None: not known.
        n: how many samples it rests on; None: not known.
        sd: standard deviation of one sample, in ps; None: not known.
        least: the shortest, in ps; None: not known.
        greatest: the longest, in ps; None: not known.
        degrees: degrees of freedom of the standard error, where it comes of fewer numbers than the
            samples (of batch means); None: n - 1.
        samples: the samples themselves, in ps, or a fair selection of them; None: not kept.
        file: the file it was read from; "" if none.
        row: where it stands there: a line's number or a row's name, as text.
    """

    name: str
    mean: float
    error: float | None = None
    n: int | None = None
    sd: float | None = None
    least: float | None = None
    greatest: float | None = None
    degrees: int | None = None
    samples: npt.NDArray[np.int64] | None = field(default=None, compare=False, repr=False)
    file: str = ""
    row: str = ""

    def __post_init__(self) -> None:
        """Refuse what no clock can have measured.

        Raises:
            InputError: a time that is negative, not finite, or longer than 53 days; no samples,
                or degrees of freedom that so many samples do not have.
        """
        for what in ("mean", "error", "sd", "least", "greatest"):
            value = getattr(self, what)
            if value is not None and not 0 <= value <= LONGEST_PS:
                raise InputError(f"is no {what} of a time", file=self.file or None,
                                 key=self.row or self.name, value=value)  # fmt: skip
        if self.n is not None and self.n < 1:
            raise InputError("is no number of samples", file=self.file or None,
                             key=self.row or self.name, value=self.n)  # fmt: skip
        most = math.inf if self.n is None else self.n - 1
        if self.degrees is not None and not 1 <= self.degrees <= most:
            raise InputError("is no number of degrees of freedom", file=self.file or None,
                             key=self.row or self.name, value=self.degrees)  # fmt: skip

    @property
    def freedom(self) -> int | None:
        """Degrees of freedom of the standard error; None: not known."""
        if self.degrees is not None or self.n is None:
            return self.degrees
        return self.n - 1

    @classmethod
    def of_samples(
        cls, name: str, samples: npt.NDArray[np.int64], *, file: str = "", row: str = ""
    ) -> Measurement:
        """A measurement from independent samples, in ps.

        Raises:
            InputError: no samples, or one that is no time.
        """
        if not len(samples):
            raise InputError("has no samples", file=file or None, key=row or name)
        n = len(samples)
        sd = float(samples.std(ddof=1)) if n > 1 else None
        return cls(
            name=name,
            mean=float(samples.mean()),
            error=None if sd is None else sd / math.sqrt(n),
            n=n,
            sd=sd,
            least=float(samples.min()),
            greatest=float(samples.max()),
            samples=samples,
            file=file,
            row=row,
        )

    def estimate(self, confidence: float = CONFIDENCE) -> Estimate:
        """The mean with its interval, in ps: Student's t where n is known, else normal.

        Without a standard error the interval is unbounded; n is 0 where it is not known.
        """
        n = self.n or 0
        if self.error is None or n == 1:
            return unbounded(self.mean, n, METHOD, confidence, "ps")
        half = quantile(self.freedom, confidence) * self.error
        return Estimate(self.mean, self.mean - half, self.mean + half, n, METHOD, confidence)


def quantile(degrees: int | None, confidence: float = CONFIDENCE) -> float:
    """How many standard errors a two-sided interval of that confidence reaches.

    Args:
        degrees: Student's t with so many degrees of freedom, one or more; None: normal.
        confidence: nominal coverage.
    """
    from scipy.special import ndtri, stdtrit

    upper = 0.5 + confidence / 2
    return float(ndtri(upper) if degrees is None else stdtrit(degrees, upper))
