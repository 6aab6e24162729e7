"""What kvm-unit-tests' ``vmexit`` prints: cycles per operation, a line each.

::

    cpuid 1291
    vmcall 1181
    inl_from_qemu 6209
    self_ipi_sti_nop (skipped)

A number is the mean over so many iterations as take long enough, and comes without a spread: n and
interval are unknown. A log that holds a test's line several times has repetitions of it, and then
their mean has both.

Cycles are those of the time-stamp counter (x86/vmexit.c reads it around the loop), so the clock
wanted is the TSC's, which need not be what the CPU runs at.
"""

from __future__ import annotations

import math
import re
from codecs import BOM_UTF8
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vmexit_sim.calibration.measurement import Measurement
from vmexit_sim.errors import InputError
from vmexit_sim.guest.trace_file import log_lines
from vmexit_sim.units import LONGEST_PS, SECOND

MOST_LINES = 1_000_000
"""A log beyond so many lines is surely something else."""

MOST_REPETITIONS = 100_000

SLOWEST, FASTEST = 10**8, 10**11
"""Clocks in Hz beyond which a number in a log is no CPU's."""

_RESULT = re.compile(
    rb"\s*(cpuid|vmcall|vmmcall|mov_(?:from|to)_cr8|mov_dr|inl_from_\w{1,40}|outl_to_\w{1,40}"
    rb"|(?:x2apic_)?self_ipi\w{0,40}|ipi(?:[_+]halt)?|ple_round_robin|loadiwkey"
    rb"|(?:wr|rd)_\w{1,40}|tscdeadline\w{0,20}"
    rb"|(?:mmio|portio)-[\w-]{1,40}:pci-(?:mem|io))[ \t]+([0-9]{1,18})\s*",
    re.ASCII,
)
_CLOCKS = (
    (re.compile(rb"Refined TSC clocksource calibration:\s*([0-9]{1,6}(?:\.[0-9]{1,6})?)\s*MHz"), 6),
    (re.compile(rb"tsc: Detected ([0-9]{1,6}(?:\.[0-9]{1,6})?) MHz"), 6),
    (re.compile(rb"tsc_khz\s*[:=]?\s*([0-9]{1,9})"), 3),
    (re.compile(rb"model name.{0,200}@\s*([0-9]{1,3}(?:\.[0-9]{1,3})?)\s*GHz"), 9),
)
"""Where logs say how fast the TSC counts, the surest first, and in which power of ten of Hz."""


@dataclass(frozen=True, kw_only=True)
class UnitTests:
    """A log of the vmexit tests.

    Attributes:
        measurements: one for each test; times in ps.
        clock: what its cycles were converted with, in Hz.
        clock_source: where that is known from.
        notes: what a user must know of the log.
    """

    measurements: tuple[Measurement, ...]
    clock: int
    clock_source: str
    notes: tuple[str, ...] = ()


def is_result(line: bytes) -> bool:
    """Whether a line is a test's result."""
    return len(line) < 200 and _RESULT.fullmatch(line.removeprefix(BOM_UTF8)) is not None


def check_clock(clock: int | None) -> None:
    """Refuse what is no CPU's clock, in Hz; None is fine.

    Raises:
        InputError: it is below `SLOWEST` or above `FASTEST`.
    """
    if clock is not None and not SLOWEST <= clock <= FASTEST:
        raise InputError("is no CPU's clock, in Hz", key="clock", value=clock,
                         mend=f"give {SLOWEST / 1e9:g} to {FASTEST / 1e9:g} GHz")  # fmt: skip


def read_unit_tests(path: Path, clock: int | None = None) -> UnitTests:
    """The results in a log.

    Args:
        path: the log.
        clock: the TSC's clock, in Hz; None: the log says it.

    Raises:
        InputError: the file cannot be read, holds no result, is far longer than such a log, or
            does not say the clock, which was not given; or the clock given is no CPU's.
    """
    check_clock(clock)
    cycles: dict[str, list[int]] = {}
    lines: dict[str, int] = {}
    said: dict[int, int] = {}
    for number, line in enumerate(log_lines(path), 1):
        if number > MOST_LINES:
            raise InputError(f"has more than {MOST_LINES:,} lines", file=path,
                             mend="is it a log of kvm-unit-tests' vmexit?")  # fmt: skip
        if len(line) > 1000:
            continue
        match = _RESULT.fullmatch(line.removeprefix(BOM_UTF8))
        if match is None:
            _note_clock(line, said)
            continue
        name = match[1].decode()
        values = cycles.setdefault(name, [])
        values.append(int(match[2]))
        lines.setdefault(name, number)
        if len(values) > MOST_REPETITIONS:
            raise InputError(f"repeats a test more than {MOST_REPETITIONS:,} times", file=path,
                             key=f"line {number}", value=name)  # fmt: skip
    if not cycles:
        raise InputError("has no result of kvm-unit-tests' vmexit", file=path,
                         mend="give its output, lines such as `vmcall 1181`")  # fmt: skip
    found = said[min(said)] if said else None
    if clock is None and found is None:
        raise InputError("is in cycles, and does not say of which clock", file=path,
                         mend='state the TSC\'s, like --clock "3.5 GHz"')  # fmt: skip
    notes = []
    used = clock or found or 0
    if found is not None and abs(used - found) > 0.01 * found:
        notes.append(f"the log says {found / 1e9:g} GHz, and {used / 1e9:g} GHz was stated: taken")
    measured = [
        _measured(name, values, used, str(path), lines[name]) for name, values in cycles.items()
    ]
    if any(m.n is None for m in measured):
        notes.append("a test's cycles are a mean without a spread: how sure they are is not known")
    return UnitTests(
        measurements=tuple(measured),
        clock=used,
        clock_source="stated" if clock is not None else f"found in {path}",
        notes=tuple(notes),
    )


def _note_clock(line: bytes, said: dict[int, int]) -> None:
    """Remember what a line says of the clock, by how sure it is; the first of a kind counts."""
    for rank, (pattern, power) in enumerate(_CLOCKS):
        match = pattern.search(line)
        if match is not None:
            clock = round(float(match[1]) * 10**power)
            if SLOWEST <= clock <= FASTEST:
                said.setdefault(rank, clock)


def _measured(name: str, cycles: list[int], clock: int, file: str, line: int) -> Measurement:
    times = np.asarray(cycles, np.float64) * (SECOND / clock)
    if times.max() > LONGEST_PS:
        raise InputError("is longer than 53 days", file=file, key=f"line {line}",
                         value=max(cycles))  # fmt: skip
    mean = float(times.mean())
    if len(cycles) == 1:
        return Measurement(name=name, mean=mean, file=file, row=f"line {line}")
    sd = float(times.std(ddof=1))
    # A result is cut to a whole cycle: the root of twelve is the spread of what that takes.
    error = math.hypot(sd / math.sqrt(len(cycles)), SECOND / clock / math.sqrt(12))
    return Measurement(name=name, mean=mean, error=error, n=len(cycles), sd=sd,
                       least=float(times.min()), greatest=float(times.max()), file=file,
                       row=f"lines {line} …, {len(cycles)} repetitions")  # fmt: skip
