"""How long exits took on a host, from a log of KVM's trace events.

::

    kvm_exit IO_INSTRUCTION ── kvm_userspace_exit ── kvm_pio ──► kvm_entry
    └──────────────────────── one sample ─────────────────────────┘  of
        "IO_INSTRUCTION", "IO_INSTRUCTION to user space",
        "port read to user space", "port 0x71 read to user space"

A sample is the time from ``kvm_exit`` to ``kvm_entry`` of one thread, so it holds neither the
processor's way out of the guest nor its way back in. A port read's ``kvm_pio`` fires when the read
is complete, so nothing is measured from it; it only says which port. An exit counts under its port
or page if it holds just one access there. Halts are kept apart: their time is the guest's.

Mean, standard deviation, extremes and number are exact however long the log is. What follows each
other in a log is no independent sample, so a mean's standard error comes from the means of 20 to 39
batches of consecutive samples where there are enough (and is never less than that of independent
samples); it has as many degrees of freedom as there are batches, less one. An exit during which a
signal called the thread to user space counts under its reason, port or page, but under neither way.
Of the samples themselves, `KEPT` of each measurement are kept, each as likely as another.

Sources: K.-H. Li, "Reservoir-sampling algorithms of time complexity O(n(1 + log(N/n)))", ACM TOMS
20 (1994), algorithm L; Schmeiser, "Batch size effects in the analysis of simulation output",
Operations Research 30 (1982).
"""

from __future__ import annotations

import math
import random
from array import array
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TypeAlias

import numpy as np

from vmexit_sim.calibration.measurement import Measurement
from vmexit_sim.errors import InputError
from vmexit_sim.guest.known_addresses import PAGE
from vmexit_sim.guest.kvm_event import FastMemory, Hypercall, Memory, Msr, Port
from vmexit_sim.guest.kvm_exits import ClosedExit, ExitReader
from vmexit_sim.guest.kvm_log import KvmLog
from vmexit_sim.units import LONGEST_PS, NANOSECOND

KEPT = 4_096
"""Most samples that a measurement keeps."""

MOST_NAMES = 2_000
"""Most measurements of one log; exits of further ports and pages count under what they share."""

USER, KERNEL = " to user space", " in kernel"
"""What a name ends in, where the log says which way an exit went."""

_BATCHES = 20

Access: TypeAlias = tuple[str, int, bool]
"""An access of an exit: kind ("port", "mmio", "msr"); port, page or register; whether a write."""


@dataclass(frozen=True, kw_only=True)
class KvmEvents:
    """What a log of KVM's events measured.

    Attributes:
        measurements: durations of exits, by name; reasons first, then kinds, ports and pages.
        halts: the same of exits whose time was waiting.
        exits: exits with both their ends, halts included.
        lost: events that the log says were lost while recording.
        unpaired: exits, entries and accesses without a partner, or with an impossible length.
        unnamed: exits left out of a measurement of their own since there were too many names.
        interrupted: exits during which a signal or an error called the thread to user space.
        bad: lines refused.
        bad_lines: the first of them: (line number, reason).
        knows_user_space: whether the log says which exits went to user space.
    """

    measurements: tuple[Measurement, ...]
    halts: tuple[Measurement, ...]
    exits: int
    lost: int
    unpaired: int
    unnamed: int
    interrupted: int
    bad: int
    bad_lines: tuple[tuple[int, str], ...]
    knows_user_space: bool


class Tally:
    """Durations in ns, one after the other, in bounded memory.

    Args:
        seed: chooses which samples are kept, if not all can be.
    """

    def __init__(self, seed: int = 0) -> None:
        self.n = 0
        self._total = self._squares = 0  # integers, so exact
        self._least, self._greatest = LONGEST_PS, 0
        self._kept = array("q")
        self._random = random.Random(seed)
        self._next, self._threshold = KEPT, 1.0  # the next sample to keep; algorithm L's W
        self._batches: list[int] = []  # sums of `_size` consecutive samples each
        self._size, self._open, self._open_n = 1, 0, 0

    def add(self, duration: int) -> None:
        """Take a duration, in ns."""
        n = self.n = self.n + 1
        self._total += duration
        self._squares += duration * duration
        if duration < self._least:
            self._least = duration
        if duration > self._greatest:
            self._greatest = duration
        if n >= self._next:
            self._keep(duration)
        elif n < KEPT:
            self._kept.append(duration)
        self._open += duration
        self._open_n += 1
        if self._open_n == self._size:
            self._close_batch()

    def _keep(self, duration: int) -> None:
        """Let a sample take the place of a kept one, and choose how many to skip before another."""
        if self.n == KEPT:
            self._kept.append(duration)
        else:
            self._kept[self._random.randrange(KEPT)] = duration
        self._threshold *= math.exp(math.log(1.0 - self._random.random()) / KEPT)
        skipped = math.log(1.0 - self._random.random()) / math.log1p(-self._threshold)
        self._next = self.n + math.floor(skipped) + 1

    def _close_batch(self) -> None:
        self._batches.append(self._open)
        self._open = self._open_n = 0
        if len(self._batches) == 2 * _BATCHES:
            pairs = zip(self._batches[::2], self._batches[1::2], strict=True)
            self._batches = [first + second for first, second in pairs]
            self._size *= 2

    def sd(self) -> float | None:
        """Standard deviation of one sample, in ns; None: one sample has none."""
        if self.n < 2:
            return None
        return math.sqrt((self.n * self._squares - self._total**2) / (self.n * (self.n - 1)))

    def error(self) -> float | None:
        """Standard error of the mean, in ns; None: one sample tells nothing of it."""
        sd = self.sd()
        if sd is None:
            return None
        alone = sd / math.sqrt(self.n)
        if self._size == 1:
            return alone
        means = np.array(self._batches, np.float64) / self._size
        return max(alone, float(means.std(ddof=1)) / math.sqrt(len(means)))

    def degrees(self) -> int | None:
        """Degrees of freedom of the standard error if it comes of batch means; None: n - 1."""
        return None if self._size == 1 else len(self._batches) - 1

    def measurement(self, name: str, file: str) -> Measurement:
        """What was measured, in ps."""
        error, sd = self.error(), self.sd()
        return Measurement(
            name=name,
            mean=self._total * NANOSECOND / self.n,
            error=None if error is None else error * NANOSECOND,
            n=self.n,
            sd=None if sd is None else sd * NANOSECOND,
            least=float(self._least * NANOSECOND),
            greatest=float(self._greatest * NANOSECOND),
            degrees=self.degrees(),
            samples=np.array(self._kept, np.int64) * NANOSECOND,
            file=file,
            row=name,
        )


def read_events(path: Path | str, *, strict: bool = False) -> list[Measurement]:
    """The durations of a log's exits, halts left out: see `read_kvm_events`.

    Raises:
        InputError: as there.
    """
    return list(read_kvm_events(path, strict=strict).measurements)


def read_kvm_events(path: Path | str, *, strict: bool = False) -> KvmEvents:
    """The durations of a log's exits, and what could not be used.

    Args:
        path: what ``trace-cmd report`` or ``perf script`` printed, or ftrace's ``trace`` file;
            plain, xz or gzip. Several guests may be in it.
        strict: refuse a log with any bad line.

    Raises:
        InputError: the file cannot be read or unpacked, or holds no exit with both its ends; with
            `strict` also the first bad line, by its number.
    """
    path = Path(path)
    log, reader = KvmLog(path, strict=strict), ExitReader(path)
    tallies: dict[str, Tally] = {}
    halts: dict[str, Tally] = {}
    exits = unnamed = interrupted = 0
    for closed in reader.exits(log):
        exits += 1
        into = halts if closed.is_halt else tallies
        way = "" if closed.interrupted else USER if closed.user else KERNEL
        interrupted += closed.interrupted > 0
        for name in _names(closed.name, way, _access(closed)):
            tally = into.get(name)
            if tally is None:
                if len(into) >= MOST_NAMES:
                    unnamed += 1
                    continue
                tally = into[name] = Tally(len(into))
            tally.add(closed.duration)
    if not exits:
        raise InputError("holds no exit with both its ends", file=path,
                         mend="record kvm_exit and kvm_entry, on x86")  # fmt: skip
    return KvmEvents(
        measurements=_measured(tallies, path, reader.returns),
        halts=_measured(halts, path, reader.returns),
        exits=exits,
        lost=log.lost,
        unpaired=reader.unpaired + reader.dropped + reader.backward,
        unnamed=unnamed,
        interrupted=interrupted,
        bad=log.bad,
        bad_lines=tuple(log.bad_lines),
        knows_user_space=reader.returns,
    )


def _measured(
    tallies: dict[str, Tally], path: Path, knows_user_space: bool
) -> tuple[Measurement, ...]:
    """All measurements, those of whole reasons first; without the ways if nobody recorded them."""
    kept = {
        name: tally
        for name, tally in tallies.items()
        if knows_user_space or not name.endswith((USER, KERNEL))
    }
    order = sorted(kept, key=lambda name: (_rank(name), name))
    return tuple(kept[name].measurement(name, str(path)) for name in order)


def _rank(name: str) -> int:
    if name.startswith(("port 0x", "mmio 0x", "msr 0x")):
        return 2
    return 1 if name.startswith(("port ", "mmio ", "msr ")) else 0


@lru_cache(maxsize=4 * MOST_NAMES)
def _names(reason: str, way: str, access: Access | None) -> tuple[str, ...]:
    """Every measurement that an exit is a sample of."""
    of = [reason]
    if access is not None:
        kind, where, write = access
        direction = "write" if write else "read"
        of += [f"{kind} {direction}", f"{kind} {where:#x} {direction}"]
    return (*of, *(name + way for name in of)) if way else tuple(of)


def _access(closed: ClosedExit) -> Access | None:
    """The only access of an exit; None: it holds none, or not just one."""
    inside = [what for _, what in closed.inside if not isinstance(what, Hypercall)]
    if closed.open_reads or len(inside) > 1:
        return None
    if not inside:
        stated = closed.port
        if stated is None or stated.is_string:
            return None
        return "port", stated.port, stated.write
    what = inside[0]
    if isinstance(what, Port):
        return None if what.items > 1 else ("port", what.port, what.write)
    if isinstance(what, Memory):
        return "mmio", what.address // PAGE * PAGE, what.write
    if isinstance(what, FastMemory):
        return "mmio", what.address // PAGE * PAGE, True
    return ("msr", what.register, what.write) if isinstance(what, Msr) else None
