"""Calibrating: a platform of one's own host from measurements, from Python."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vmexit_sim.api.shown import Shown
from vmexit_sim.calibration.calibrate import Calibration, write_calibration
from vmexit_sim.calibration.calibrate import calibrate as calibrated
from vmexit_sim.calibration.observations import Mixture
from vmexit_sim.errors import InputError
from vmexit_sim.units import parse_frequency

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import RenderableType


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class CalibrationResult(Shown):
    """A host's costs, from what was measured on it.

    Attributes:
        calibration: measurements, fits, costs, and what they do not identify.
    """

    calibration: Calibration

    @property
    def verdict(self) -> str:
        """How much of the platform was measured."""
        from vmexit_sim.present.calibration_tables import verdict

        return verdict(self.calibration)

    def to_frame(self) -> pd.DataFrame:
        """One row for each cost.

        Columns: `cost`, `value` (as a platform file states it), `low` and `high` (95 % interval of
        its mean, in ps; missing: not known), `measured`, `mark`, `source`, and `unidentified`: why
        the measurements do not identify it by itself ("": they do).
        """
        import pandas as pd

        return pd.DataFrame([
            {"cost": cost.name, "value": cost.value, "low": cost.low, "high": cost.high,
             "measured": bool(cost.combination), "mark": cost.mark, "source": cost.source,
             "unidentified": self.calibration.unidentified.get(cost.name, "")}
            for cost in self.calibration.costs
        ])  # fmt: skip

    def save(self, path: str | Path, name: str | None = None) -> Path:
        """Write it as a platform file, which every `platform` takes by its path.

        Args:
            path: the file; it ends in ".toml".
            name: what the platform calls itself; None: as its file.

        Raises:
            InputError: the file cannot be written, or has another ending.
        """
        path = Path(path)
        if path.suffix != ".toml":
            raise InputError("is no platform file's name", key="path", value=str(path),
                             mend="end it with .toml")  # fmt: skip
        write_calibration(path, self.calibration, name or path.stem)
        return path

    def _report(self) -> RenderableType:
        from vmexit_sim.present.calibration_tables import calibration_report

        return calibration_report(self.calibration)

    def _summary(self) -> str:
        return f"{', '.join(file for file, _ in self.calibration.files)}: {self.verdict}"


def calibrate(
    *files: str | Path,
    base: str = "kvm-2017",
    clock: str | None = None,
    constant: bool = False,
    port_reads: float | None = None,
    port_user: float = 1.0,
    mmio_user: float = 1.0,
) -> CalibrationResult:
    """Make a platform from measurements: ``vmexit-sim calibrate``.

    Args:
        *files: reports of ``perf kvm stat``, logs of kvm-unit-tests' vmexit, logs of KVM's events;
            plain, .gz or .xz.
        base: the platform that gives what was not measured.
        clock: the host's time-stamp counter ("3.5 GHz"), where a log does not say it.
        constant: leave out the spread of exits: costs are their means.
        port_reads: the share of reads among port exits (0 … 1), where no file tells it; None: a
            half.
        port_user: the share of port exits that user space handles (0 … 1).
        mmio_user: the same of memory exits.

    Raises:
        InputError: a file cannot be read or is none of these, or nothing that a cost follows from.
    """
    hertz = None if clock is None else parse_frequency(clock)
    mixture = Mixture(port_reads=port_reads, port_user=port_user, mmio_user=mmio_user)
    found = calibrated(files, base=base, clock=hertz, mixture=mixture, spread=not constant)
    return CalibrationResult(calibration=found)
