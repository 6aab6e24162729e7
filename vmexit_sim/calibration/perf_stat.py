"""What ``perf kvm stat report`` prints: how often a guest exits, and how long that takes.

Two layouts exist, and three views of either::

    VM-EXIT  Samples  Samples%  Time%  Min Time  Max Time  Avg time
     CPUID        12    78.67% 42.39%    3.54us   74.94us  13.63us ( +-   0.24% )

    Event name  Samples  Sample%  Time (ns)  Time%  Max Time (ns)  Min Time (ns)  Mean Time (ns)

``--event=vmexit`` has a row for each exit reason, ``--event=ioport`` for each port and direction
(``0xcf8:POUT``), ``--event=mmio`` for each guest address (``0xfec00000:W``), ``--event=msr`` for
each register. Columns are found by their headings, so their order does not matter.

``+-`` is the standard error of the mean in percent: perf divides the spread by the root of the
number of samples (tools/perf/util/stat.c, stddev_stats). So a row's standard deviation is
pct / 100 · mean · √n. The newer layout prints none, and the spread is then unknown.

Printed numbers are rounded. What that may hide of the mean is part of its standard error, as of a
uniform error of one unit of the last digit.

AMD's exit reasons get the names of Intel's (`vmexit_sim.guest.kvm_reasons`).

Where the intervals begin and end (tools/perf/arch/x86/util/kvm-stat.c): a VM exit from kvm_exit to
kvm_entry; a port access from kvm_pio to kvm_entry; a memory write from kvm_mmio to kvm_entry, a read
from kvm_exit to kvm_mmio; an MSR access from kvm_msr to kvm_entry. The hardware's own transition is
in none of them.
"""  # noqa: E501

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vmexit_sim.calibration.measurement import Measurement
from vmexit_sim.errors import InputError
from vmexit_sim.guest.kvm_reasons import canonical
from vmexit_sim.guest.trace_file import log_lines
from vmexit_sim.units import LONGEST_PS, MICROSECOND, MILLISECOND, NANOSECOND, SECOND

View = Literal["vmexit", "ioport", "mmio", "msr"]

MOST_LINES = 1_000_000
"""A report beyond so many lines is surely something else."""

MOST_ROWS = 20_000
"""Most rows of one table: a guest does not touch more registers than that."""

NULL_CALLS = b"simulated: hypercalls stay in the kernel, and nothing is charged beyond the exit"
"""The line by which a simulated table says that its hypercalls give the world switch."""

SIMULATED = b"simulated: times include the world switch"
"""The line by which vmexit-sim's own tables say that they differ from perf's in that."""

_UNITS = {b"ns": NANOSECOND, b"us": MICROSECOND, b"ms": MILLISECOND, b"s": SECOND}
_HEADINGS = re.compile(
    rb"(?P<name>VM-EXIT|Event name|IO Port Access|MMIO Access|MSR Access)|(?P<share>Samples?%)"
    rb"|(?P<n>Samples)|(?P<time>Time%)|(?P<least>Min Time)|(?P<greatest>Max Time)"
    rb"|(?P<mean>Avg time|Mean Time)|(?P<total>Time(?= *\())|\((?P<unit>ns|us|ms|s)\)",
    re.IGNORECASE,
)
_VIEWS: dict[bytes, View] = {
    b"vm-exit": "vmexit", b"io port access": "ioport", b"mmio access": "mmio", b"msr access": "msr",
}  # fmt: skip
_SPREAD = re.compile(rb"\(\s*\+-\s*([0-9]{1,12}(?:\.[0-9]{1,6})?)%\s*\)\s*$")
_TIME = re.compile(rb"([0-9]{1,18})(?:\.([0-9]{1,9}))?(ns|us|ms|s)?")
_COUNT = re.compile(rb"[0-9]{1,18}")
_TOTAL = re.compile(rb"[0-9]{1,20}(?:\.[0-9]{1,9})?(?:ns|us|ms|s)?")
_SHARE = re.compile(rb"[0-9]{1,6}(?:\.[0-9]{1,6})?%")
_TOTALS = re.compile(
    rb"Total Samples:\s*([0-9]{1,18}),\s*Total events handled time:\s*"
    rb"([0-9]{1,18}(?:\.[0-9]{1,9})?)(ns|us|ms|s)"
)
_LOST = re.compile(rb"Lost events:\s*([0-9]{1,18})")


@dataclass(frozen=True, kw_only=True)
class PerfTable:
    """One table of a report.

    Attributes:
        view: what its rows are: VM exits, ports, guest addresses or MSRs.
        measurements: one for each row that could be read, in order; times in ps.
        is_simulated: whether vmexit-sim wrote it, so that its times include the world switch.
        has_null_calls: whether a simulated table's hypercalls did nothing, so that they last as
            long as the world switch.
        notes: what a user must know of it: rows that could not be read, totals that do not agree,
            lost events.
    """

    view: View
    measurements: tuple[Measurement, ...]
    is_simulated: bool = False
    has_null_calls: bool = False
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class _Row:
    measurement: Measurement
    rounding: float


def is_heading(line: bytes) -> bool:
    """Whether a line is the heading of such a table."""
    return _columns(line) is not None


def missing_column(line: bytes) -> str:
    """The column that a line lacks to be a table's heading; "" if it is one, or none at all."""
    kinds, _, _ = _kinds(line)
    if kinds[:1] != ["name"] or len(kinds) < 3:
        return ""
    return next((_COLUMNS[kind] for kind in _COLUMNS if kind not in kinds), "")


_COLUMNS = {"n": "Samples", "mean": "Avg time (or Mean Time)"}
"""Columns that a table must have, as they are headed."""


def read_perf_stat(path: Path) -> list[PerfTable]:
    """The tables of a report.

    Raises:
        InputError: the file cannot be read, holds no such table or no row that can be read, is far
            longer than a report, or has two tables of one view (of two virtual CPUs, or of a live
            display).
    """
    tables = list(_tables(path))
    for table in tables:
        if sum(other.view == table.view for other in tables) > 1:
            raise InputError(f"has more than one table of the {table.view} view", file=path,
                             mend="keep one of them")  # fmt: skip
    if not any(table.measurements for table in tables):
        problem = "has no row that can be read" if tables else "has no table of perf kvm stat"
        raise InputError(problem, file=path, mend="give the output of `perf kvm stat report`")
    return tables


def _tables(path: Path) -> Iterator[PerfTable]:
    table: _Table | None = None
    is_simulated = has_null_calls = False
    for number, line in enumerate(log_lines(path), 1):
        if number > MOST_LINES:
            raise InputError(f"has more than {MOST_LINES:,} lines", file=path,
                             mend="is it a report of perf kvm stat?")  # fmt: skip
        is_simulated = is_simulated or SIMULATED in line
        has_null_calls = has_null_calls or NULL_CALLS in line
        columns = _columns(line)
        if columns is not None:
            if table is not None:
                yield table.finished(is_simulated, has_null_calls)
            table = _Table(path, columns)
        elif table is not None:
            table.read(number, line)
    if table is not None:
        yield table.finished(is_simulated, has_null_calls)


@dataclass(frozen=True, kw_only=True)
class _Columns:
    """What the cells behind a row's name are, in order, and the unit that the heading gives."""

    view: View | None
    names: tuple[str, ...]
    unit: int | None


def _columns(line: bytes) -> _Columns | None:
    kinds, view, unit = _kinds(line)
    is_table = kinds[:1] == ["name"] and _COLUMNS.keys() <= set(kinds)
    if not is_table or len(set(kinds)) < len(kinds):
        return None
    return _Columns(view=view, names=tuple(kinds[1:]), unit=unit)


def _kinds(line: bytes) -> tuple[list[str], View | None, int | None]:
    """The kinds of a heading's columns, the view that it states and its unit; none: no heading."""
    kinds: list[str] = []
    view: View | None = None
    unit: int | None = None
    if len(line) > 1000:
        return [], None, None
    for match in _HEADINGS.finditer(line):
        kind = str(match.lastgroup)
        if kind == "name":
            if kinds:
                return [], None, None
            view = _VIEWS.get(match["name"].lower())
        elif kind == "unit":
            unit = _UNITS[match["unit"].lower()]
            continue
        kinds.append(kind)
    return kinds, view, unit


class _Table:
    """A table as it is read, line by line."""

    def __init__(self, path: Path, columns: _Columns) -> None:
        self.path, self.columns = path, columns
        self.rows: dict[str, _Row] = {}
        self.notes: list[str] = []
        self.unread: list[int] = []
        self.totals: tuple[int, float, float] | None = None

    def read(self, number: int, line: bytes) -> None:
        """Take up one line behind the heading."""
        if (lost := _LOST.search(line)) is not None:
            if int(lost[1]):
                self.notes.append(f"perf lost {int(lost[1]):,} events: shares and means may be off")
        elif self.totals is not None or not line.strip():
            return
        elif (totals := _TOTALS.search(line)) is not None:
            scale = _UNITS[totals[3]]
            digits = len(totals[2].partition(b".")[2])
            self.totals = int(totals[1]), float(totals[2]) * scale, scale / 10**digits
        elif not self._read_row(number, line):
            self.unread.append(number)
        if len(self.rows) > MOST_ROWS or len(self.unread) > MOST_ROWS:
            raise InputError(f"has more than {MOST_ROWS:,} rows", file=self.path,
                             key=f"line {number}")  # fmt: skip

    def _read_row(self, number: int, line: bytes) -> bool:
        spread = _SPREAD.search(line)
        cells = line[: spread.start() if spread else None].split()
        names = self.columns.names
        if len(cells) <= len(names) or len(line) > 1000:
            return False
        printed = b" ".join(cells[: -len(names)]).decode("ascii", "replace")
        name = canonical(printed)
        found: dict[str, tuple[float, float]] = {}
        for kind, cell in zip(names, cells[-len(names) :], strict=True):
            value = self._cell(kind, cell)
            if value is None:
                return False
            found[kind] = value
        if not name.isascii() or not name.isprintable() or name in self.rows:
            return False
        row = _row(found, None if spread is None else spread[1], name,
                   str(self.path), f"line {number}")  # fmt: skip
        if row is None:
            return False
        self.rows[name] = row
        if printed != name == "MSR_WRITE":
            self.notes.append(f"{printed} holds reads and writes of registers: taken as {name}")
        return True

    def _cell(self, kind: str, cell: bytes) -> tuple[float, float] | None:
        """A cell's value and the unit of its last digit, times in ps."""
        if kind == "n":
            return (float(cell), 1.0) if _COUNT.fullmatch(cell) else None
        if kind in ("share", "time", "total"):  # say nothing that the others do not
            pattern = _TOTAL if kind == "total" else _SHARE
            return (0.0, 0.0) if pattern.fullmatch(cell) else None
        match = _TIME.fullmatch(cell)
        if match is None:
            return None
        unit = self.columns.unit if match[3] is None else _UNITS[match[3]]
        if unit is None:
            return None
        value = float(match[1] + b"." + (match[2] or b"0")) * unit
        return (value, unit / 10 ** len(match[2] or b"")) if value <= LONGEST_PS else None

    def finished(self, is_simulated: bool, has_null_calls: bool) -> PerfTable:
        """All of the table, once its last line has been read."""
        return PerfTable(
            view=self.columns.view or _view_of(list(self.rows)),
            measurements=tuple(row.measurement for row in self.rows.values()),
            is_simulated=is_simulated,
            has_null_calls=is_simulated and has_null_calls,
            notes=(*self.notes, *self._unread(), *self._mismatch()),
        )

    def _unread(self) -> Iterator[str]:
        if self.unread:
            first = f"line {self.unread[0]}" + ", …" * (len(self.unread) > 1)
            yield f"{len(self.unread):,} rows could not be read and were left out ({first})"

    def _mismatch(self) -> Iterator[str]:
        """How the rows' sums differ from what perf says they are."""
        if self.totals is None:
            yield "the line of totals is missing: the report may be cut short"
            return
        samples, time, digit = self.totals
        rows = [row for row in self.rows.values() if row.measurement.n is not None]
        counted = sum(row.measurement.n or 0 for row in rows)
        if counted != samples:
            yield f"rows add up to {counted:,} samples, and the totals say {samples:,}"
        summed = sum(row.measurement.mean * (row.measurement.n or 0) for row in rows)
        slack = sum(row.rounding / 2 * (row.measurement.n or 0) for row in rows) + digit
        if abs(summed - time) > slack + 1e-9 * time:
            yield (
                f"rows add up to {summed / MICROSECOND:,.2f} µs, and the totals say "
                f"{time / MICROSECOND:,.2f} µs"
            )


def _row(
    found: dict[str, tuple[float, float]], spread: bytes | None, name: str, file: str, row: str
) -> _Row | None:
    """A row's measurement; None if its numbers cannot belong together."""
    n = int(found["n"][0])
    mean, digit = found["mean"]
    least, greatest = (found[kind][0] if kind in found else None for kind in ("least", "greatest"))
    slack = 1.5 * max(found[kind][1] for kind in ("least", "greatest", "mean") if kind in found)
    if n < 1 or (least is not None and least > mean + slack):
        return None
    if greatest is not None and greatest < mean - slack:
        return None
    sd = error = None
    if spread is not None:
        share, last = float(spread) / 100, 10.0 ** -len(spread.partition(b".")[2]) / 100
        if share > 100:
            return None
        # The root of twelve: the standard deviation of what rounding has taken.
        error = math.hypot((share or last / 2) * mean * (n > 1), digit / math.sqrt(12))
        if share and n > 1:
            sd = share * mean * math.sqrt(n)
        if n == 1:
            error = None
        if max(sd or 0.0, error or 0.0) > LONGEST_PS:
            return None
    measurement = Measurement(name=name, mean=mean, error=error, n=n, sd=sd, least=least,
                              greatest=greatest, file=file, row=row)  # fmt: skip
    return _Row(measurement=measurement, rounding=digit)


def _view_of(names: list[str]) -> View:
    """The view that rows belong to, where the heading does not say it."""
    ends: tuple[tuple[tuple[str, ...], View], ...] = (
        ((":PIN", ":POUT"), "ioport"), ((":R", ":W"), "mmio"),
    )  # fmt: skip
    for ending, view in ends:
        if names and all(name.startswith("0x") and name.endswith(ending) for name in names):
            return view
    return "vmexit"
