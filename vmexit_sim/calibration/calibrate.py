"""A calibration: from files that users have to a platform of their own host.

What a file is, its content says: a report of ``perf kvm stat``, a log of kvm-unit-tests' vmexit, or
KVM's raw trace events. Several of them go together: unit tests give the world switch that events
lack, events what the host's own guests do.
"""

from __future__ import annotations

from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal

from vmexit_sim.calibration.base import check_base
from vmexit_sim.calibration.costs import Calibrated
from vmexit_sim.calibration.decompose import decompose
from vmexit_sim.calibration.fit import Fit, fit
from vmexit_sim.calibration.gaps import NOT_USED
from vmexit_sim.calibration.kvm_events import KERNEL, USER, read_kvm_events
from vmexit_sim.calibration.measurement import Measurement
from vmexit_sim.calibration.observations import Evidence, Mixture
from vmexit_sim.calibration.perf_stat import PerfTable, is_heading, missing_column, read_perf_stat
from vmexit_sim.calibration.platform_file import write_platform
from vmexit_sim.calibration.unit_tests import UnitTests, check_clock, is_result, read_unit_tests
from vmexit_sim.errors import InputError
from vmexit_sim.guest.trace_file import log_lines
from vmexit_sim.hypervisor.platform import Costs, Platform, load_platform

FileKind = Literal["perf kvm stat", "kvm-unit-tests", "KVM events"]

RECOGNISED_WITHIN = 10_000
"""So many lines of a file may stand before the first that says what it is."""

MOST_FITS = 100

_EVENTS = (b"kvm_exit: ", b"kvm_entry: ", b"kvm:kvm_exit: ", b"kvm:kvm_entry: ")


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """A platform's costs from a host's measurements.

    Attributes:
        files: what was read, and as what.
        base: the platform that gave what was not measured.
        clock: the host's clock in Hz, where one was stated or found; None: not known.
        clock_source: where it is known from; "" if it is not.
        measurements: everything that was measured.
        fits: a distribution for each measurement whose spread is known; of many, for those that
            costs come from and those of the longest total.
        costs: the calibrated costs.
        notes: what a user must know.
        unidentified: costs that the measurements do not identify, each with why, and what was
            taken instead.
        assumed: what intervals take as known: the shares of mixtures; each is among the notes.
    """

    files: tuple[tuple[str, FileKind], ...]
    base: Platform
    clock: int | None
    clock_source: str
    measurements: tuple[Measurement, ...]
    fits: tuple[Fit, ...]
    costs: tuple[Calibrated, ...]
    notes: tuple[str, ...]
    unidentified: Mapping[str, str]
    assumed: tuple[str, ...] = ()

    @property
    def caution(self) -> str:
        """What must be said with every result on the calibrated platform."""
        measured = (
            f"{self.measured} of {len(Costs.model_fields)} costs were measured; the others are "
            f"those of {self.base.name}, or contained in measured ones"
        )
        return "; ".join([measured, *self.assumed])

    @property
    def measured(self) -> int:
        """How many costs were derived from measurements."""
        return sum(bool(cost.combination) for cost in self.costs)


def calibrate(
    files: Iterable[Path | str],
    *,
    base: str | Platform = "kvm-2017",
    clock: int | None = None,
    mixture: Mixture | None = None,
    spread: bool = True,
) -> Calibration:
    """A platform's costs from files.

    Args:
        files: reports of perf kvm stat, logs of kvm-unit-tests, logs of KVM's events; plain, xz or
            gzip. What two of them measure under one name is refused, but for exits that both perf
            and events measured: those of the events are taken.
        base: the platform, or its name, that gives what was not measured.
        clock: the host's time-stamp counter, in Hz; None: a log of unit tests says it.
        mixture: what exit reasons consist of; None: as `Mixture` has it.
        spread: whether costs get the spread of exits; else they are constants, and what is
            simulated is exact.

    Raises:
        InputError: no file, a file that cannot be read or is none of these, something measured
            twice, nothing that a cost follows from, a clock that is no CPU's, or a base that is
            nested or has no hypervisor.
    """
    platform = load_platform(base) if isinstance(base, str) else base
    check_base(platform)
    check_clock(clock)
    paths = [Path(file) for file in files]
    if not paths:
        raise InputError("no file to calibrate from", mend="name a report or a log")
    kinds = [(path, kind_of(path)) for path in paths]
    unit_tests = [read_unit_tests(path, clock) for path, kind in kinds if kind == "kvm-unit-tests"]
    reports = [(path, read_perf_stat(path)) for path, kind in kinds if kind == "perf kvm stat"]
    events = [_events(path) for path, kind in kinds if kind == "KVM events"]
    notes = [note for tests in unit_tests for note in tests.notes]
    notes += [
        f"{path.name}: {note}" for path, tables in reports for each in tables for note in each.notes
    ]
    notes += [note for log in events for note in log.notes]
    from_events = {name for log in events for name in log.reasons}
    tables = [_without(each, from_events) for _, report in reports for each in report]
    evidence = Evidence(
        unit_tests=[measured for tests in unit_tests for measured in tests.measurements],
        tables=[*tables, *(log.mixtures for log in events)],
        events=[measured for log in events for measured in log.kinds],
        mixture=mixture or Mixture(),
    )
    _refuse_twice(evidence.measurements)
    found = decompose(evidence, platform, spread=spread)
    if not any(cost.combination for cost in found.costs):
        why = f": {found.notes[0]}" if found.notes else ""
        mend = "give VM exits (perf kvm stat report --event=vmexit) or unit tests"
        raise InputError(f"measures nothing that a platform charges{why}", file=paths[0], mend=mend)
    used, source = _clock(unit_tests, clock)
    taken = {name for cost in found.costs for name in cost.combination}
    order = sorted(evidence.measurements, key=lambda m: (m.name not in taken, -m.mean * (m.n or 1)))
    fits = (fit(measurement) for measurement in order[:MOST_FITS])
    return Calibration(
        files=tuple((str(path), kind) for path, kind in kinds),
        base=platform,
        clock=used,
        clock_source=source,
        measurements=tuple(evidence.measurements),
        fits=tuple(each for each in fits if each is not None),
        costs=found.costs,
        notes=(*notes, *found.notes),
        unidentified=found.unidentified,
        assumed=found.assumed,
    )


def kind_of(path: Path) -> FileKind:
    """What a file is, by its first line that says so.

    Raises:
        InputError: it cannot be read, is UTF-16, or none of its first lines says so.
    """
    missing = ""
    for number, line in enumerate(islice(log_lines(path), RECOGNISED_WITHIN)):
        if not number and line.startswith((BOM_UTF16_LE, BOM_UTF16_BE)):
            raise InputError(f"is UTF-16: it begins with the byte-order mark {line[:2].hex(' ')}",
                             file=path, mend="iconv -f UTF-16 -t UTF-8")  # fmt: skip
        if is_heading(line):
            return "perf kvm stat"
        if any(event in line for event in _EVENTS):
            return "KVM events"
        if is_result(line):
            return "kvm-unit-tests"
        missing = missing or missing_column(line)
    if missing:
        raise InputError(f"is a table of perf kvm stat without the column {missing}", file=path,
                         mend="give all that `perf kvm stat report` prints")  # fmt: skip
    raise InputError(
        "is nothing to calibrate from", file=path,
        mend="give a report of perf kvm stat, a log of kvm-unit-tests' vmexit, or KVM trace events",
    )  # fmt: skip


def write_calibration(path: Path, calibration: Calibration, name: str) -> None:
    """Write a calibration as a platform file.

    Args:
        path: the file.
        calibration: what it states.
        name: what the platform calls itself.

    Raises:
        InputError: the file cannot be written.
    """
    files = ", ".join(f"{Path(file).name} ({kind})" for file, kind in calibration.files)
    write_platform(
        path,
        name=name,
        title=f"{name}: calibrated from {files}",
        about="\n".join(["Calibrated from measurements of one host.", *calibration.notes]),
        caution=calibration.caution,
        base=calibration.base,
        costs=calibration.costs,
        measurements=calibration.measurements,
        clock=calibration.clock,
    )


def _clock(unit_tests: Sequence[UnitTests], clock: int | None) -> tuple[int | None, str]:
    if clock is not None:
        return clock, "stated"
    return next(((tests.clock, tests.clock_source) for tests in unit_tests), (None, ""))


@dataclass(frozen=True, kw_only=True)
class _Events:
    """What a log of events measured: reasons that stay mixtures, and single kinds of access.

    A reason whose kinds of access are known is no mixture any more.
    """

    reasons: frozenset[str]
    mixtures: PerfTable
    kinds: tuple[Measurement, ...]
    notes: tuple[str, ...]


def _events(path: Path) -> _Events:
    log = read_kvm_events(path)
    kinds = [m for m in log.measurements if _is_kind(m.name)]
    told = {
        reason for reason, word in (("IO_INSTRUCTION", "port "), ("EPT_MISCONFIG", "mmio "),
                                    ("MSR_WRITE", "msr write"), ("VMCALL", "VMCALL "))
        if any(m.name.startswith(word) for m in kinds)
    }  # fmt: skip
    reasons = [
        m for m in log.measurements
        if not m.name.startswith(("port ", "mmio ", "msr "))
        and not m.name.endswith((USER, KERNEL))
    ]  # fmt: skip
    mixtures = tuple(m for m in reasons if m.name not in told)
    notes = []
    counted = (
        (log.lost, "events were lost while recording"),
        (log.unpaired, "exits, entries or accesses have no partner"),
        (log.bad, "lines could not be read"),
        (
            log.interrupted,
            "exits were interrupted by a signal on their way back into the guest; "
            "they count as neither handled in the kernel nor by user space",
        ),
    )
    notes += [f"{path.name}: {count:,} {what}" for count, what in counted if count]
    notes += [f"{path.name}: {m.name} is not used: {NOT_USED[m.name]}" for m in log.halts
              if m.name in NOT_USED]  # fmt: skip
    if not log.knows_user_space:
        notes.append(f"{path.name}: without kvm_userspace_exit it does not say which exits went to "
                     "user space, so reasons are mixtures")  # fmt: skip
    return _Events(
        reasons=frozenset(m.name for m in reasons),
        mixtures=PerfTable(view="vmexit", measurements=mixtures),
        kinds=tuple(kinds),
        notes=tuple(notes),
    )


def _is_kind(name: str) -> bool:
    """Whether a measurement is of one kind of access on one way, whatever its address."""
    if name == "VMCALL" + KERNEL:
        return True
    stem = name.removesuffix(USER).removesuffix(KERNEL)
    return stem != name and stem in {
        "port read", "port write", "mmio read", "mmio write", "msr read", "msr write",
    }  # fmt: skip


def _without(table: PerfTable, names: set[str]) -> PerfTable:
    """A table without the exit reasons that raw events measured as well."""
    if table.view != "vmexit":
        return table
    kept = tuple(m for m in table.measurements if m.name not in names)
    return PerfTable(view=table.view, measurements=kept, is_simulated=table.is_simulated,
                     has_null_calls=table.has_null_calls, notes=table.notes)  # fmt: skip


def _refuse_twice(measurements: Iterable[Measurement]) -> None:
    files: dict[str, str] = {}
    for measurement in measurements:
        name = measurement.name
        if name in files:
            raise InputError(f"is measured in {files[name]} and in {measurement.file}", value=name,
                             mend="give one of them")  # fmt: skip
        files[name] = measurement.file
