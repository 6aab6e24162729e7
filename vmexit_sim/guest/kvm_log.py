"""KVM's trace events, line by line, as three tools print them.

::

    trace-cmd   CPU 0/KVM-4243  [001] d..1.  1588.355648: kvm_exit: reason IO_INSTRUCTION rip 0x…
    perf        CPU 0/KVM  4243 [001]  1588.355648123:  kvm:kvm_exit: vcpu 0 reason io rip 0x…
    ftrace      CPU 0/KVM-4243 (4242) [001] d..1.  1588.355648: kvm_exit: vcpu 0 reason …
                │         │           │     │      │            │         │
                name      thread      CPU   flags  seconds      event     what it says

A vCPU is a thread. Its number stands in ``kvm_entry``, and in what newer kernels print of
``kvm_exit`` (trace-cmd leaves it out). Events that are none of KVM's, or that nothing here is
learned from, are counted by name. A line that cannot be understood is refused with its number;
nothing is guessed.

Source: the events' print formats in Linux arch/x86/kvm/trace.h and include/trace/events/kvm.h, and
those of libtraceevent's KVM plugin, which trace-cmd prints ``kvm_exit`` by.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

from vmexit_sim.errors import InputError
from vmexit_sim.guest.access_log import KEPT_BAD_LINES
from vmexit_sim.guest.kvm_event import (
    EndOfInterrupt,
    Entry,
    Event,
    Exit,
    FastMemory,
    Hypercall,
    Interrupt,
    Memory,
    Msr,
    Port,
    UserSpace,
    What,
)
from vmexit_sim.guest.trace_file import LONGEST_LINE, log_lines

MOST_NAMES = 256
"""How many names of events that are not read are told apart."""

OTHER_NAMES = "others"
"""The name under which those beyond `MOST_NAMES` are counted."""

MOST_ITEMS = 4096
"""Most items of one string instruction's exit: a page of bytes (arch/x86/kvm/x86.c, pio_data)."""

HIGHEST_VCPU = 65_535
"""The highest number of a vCPU that a table can hold."""

_PREFIX = re.compile(
    rb"(?P<name>.{0,64}?)"
    rb"(?:-(\d{1,10})(?:\s{1,9}+\(\s{0,9}+[-\d]{1,10}\))?|\s{1,99}+(?:\d{1,10}/)?(\d{1,10}))\s{1,99}+"
    rb"\[\d{1,5}\]\s{1,99}+(?:[^\s\d]\S{0,9}\s{1,99}+)?"
    rb"(\d{1,12})\.(\d{9}|\d{6}):\s{1,99}+(?:\d{1,12}\s{1,99}+)?"
    rb"(?:[a-z_0-9]{1,40}:)?([A-Za-z_0-9]{1,60}):\s{0,99}+(.*)"
)
_HEADER = re.compile(
    rb"#.*|version = \d+|cpus=\d+|CPU:? ?\d+ is empty|trace-cmd report.*|=+|"
    rb"Linux \d\.\d.*"
)
_LOST = re.compile(
    rb"(?:CPU:\d{1,5} )?\[(?:LOST (\d{1,18}) EVENTS|(\d{1,18}) EVENTS DROPPED|EVENTS DROPPED)\]"
    rb"|.*PERF_RECORD_LOST(?:_SAMPLES)?:? lost (\d{1,18})"
)
_EXIT = re.compile(
    rb"(?:vcpu (\d{1,5}) )?reason ([!-~]{1,40}(?: [A-Z_]{1,40}){0,3}(?: \(\d{1,10}\))?) {1,3}"
    rb"rip 0x[0-9a-f]{1,16}"
    rb"(?: info1? (?:0x)?([0-9a-f]{1,16}) (?:info2 )?(?:0x)?([0-9a-f]{1,16})(?: [ -~]{0,200})?)?"
)
_ENTRY = re.compile(rb"vcpu (\d{1,5})(?:,? rip 0x[0-9a-f]{1,16}(?: [ -~]{0,200})?)?")
_PORT = re.compile(
    rb"pio_(read|write) at 0x([0-9a-f]{1,4}) size ([124]) count (\d{1,10})"
    rb"(?: val 0x([0-9a-f]{1,8})(?: \(\.\.\.\))?)?"
)
_MEMORY = re.compile(
    rb"mmio (read|write|unsatisfied-read) len (\d{1,4}) gpa 0x([0-9a-f]{1,16}) "
    rb"val 0x([0-9a-f]{1,16})"
)
_FAST = re.compile(rb"fast mmio at gpa 0x([0-9a-f]{1,16})")
_MSR = re.compile(rb"msr_(read|write) ([0-9a-f]{1,8}) = 0x([0-9a-f]{1,16})(?: \(#GP\))?")
_USER = re.compile(rb"reason ([!-~]{1,60}) \((\d{1,10})\)")
_CALL = re.compile(rb"nr 0x([0-9a-f]{1,16}) a0 0x[0-9a-f]{1,16} [ -~]{1,200}")
_INTERRUPT = re.compile(
    rb"(?:irq (\d{1,3})|(?:IRQ|Soft/INTn) 0x([0-9a-f]{1,2}))(?: \[reinjected\])?"
)
_EOI = re.compile(rb"apicid [0-9a-f]{1,8} vector (\d{1,3})")

_Parsed: TypeAlias = "What | str"
"""An event, or what is wrong with it."""

_TOO_HIGH = f"has a vCPU beyond {HIGHEST_VCPU:,}"


def _exit(m: re.Match[bytes]) -> _Parsed:
    vcpu, reason, first, second = m.groups()
    if vcpu is not None and int(vcpu) > HIGHEST_VCPU:
        return _TOO_HIGH
    info = None if first is None else (int(first, 16), int(second, 16))
    return Exit(None if vcpu is None else int(vcpu), reason.decode("ascii"), info)


def _entry(m: re.Match[bytes]) -> _Parsed:
    return Entry(int(m[1])) if int(m[1]) <= HIGHEST_VCPU else _TOO_HIGH


def _port(m: re.Match[bytes]) -> _Parsed:
    kind, port, size, count, value = m.groups()
    items = int(count)
    if not 1 <= items <= MOST_ITEMS:
        return f"has a count that is not 1 to {MOST_ITEMS}"
    known = None if value is None else int(value, 16)
    return Port(kind == b"write", int(port, 16), int(size), items, known)


def _memory(m: re.Match[bytes]) -> _Parsed:
    kind, size, address, value = m.groups()
    at = int(address, 16)
    if at >= 2**63:
        return "has an address beyond 63 bits"
    if int(size) not in (1, 2, 4, 8):
        return "has a size that is not 1, 2, 4 or 8 bytes"
    return Memory(kind == b"write", kind[:1] == b"u", at, int(size), int(value, 16))


def _fast(m: re.Match[bytes]) -> _Parsed:
    at = int(m[1], 16)
    return FastMemory(at) if at < 2**63 else "has an address beyond 63 bits"


def _interrupt(m: re.Match[bytes]) -> _Parsed:
    return Interrupt(int(m[1]) if m[1] else int(m[2], 16))


_READ: dict[bytes, tuple[re.Pattern[bytes], Callable[[re.Match[bytes]], _Parsed]]] = {
    b"kvm_exit": (_EXIT, _exit),
    b"kvm_entry": (_ENTRY, _entry),
    b"kvm_pio": (_PORT, _port),
    b"kvm_mmio": (_MEMORY, _memory),
    b"kvm_fast_mmio": (_FAST, _fast),
    b"kvm_msr": (_MSR, lambda m: Msr(m[1] == b"write", int(m[2], 16), int(m[3], 16))),
    b"kvm_userspace_exit": (_USER, lambda m: UserSpace(m[1].decode("ascii"))),
    b"kvm_hypercall": (_CALL, lambda m: Hypercall(int(m[1], 16))),
    b"kvm_inj_virq": (_INTERRUPT, _interrupt),
    b"kvm_eoi": (_EOI, lambda m: EndOfInterrupt(int(m[1]))),
    b"kvm_pv_eoi": (_EOI, lambda m: EndOfInterrupt(int(m[1]))),
}
"""The events that are read: how each is written, and what it becomes."""


class KvmLog:
    """The events of a log, in its order; what was no event is counted meanwhile.

    Attributes:
        file: the log.
        events: events read, by name.
        other: events that are not read, by name.
        lost: events that the log says were lost; one for a gap of unknown size.
        bad: lines refused.
        bad_lines: the first of them, with the reason.
    """

    def __init__(self, path: Path | str, *, strict: bool = False) -> None:
        self.file, self._strict = Path(path), strict
        self.events: Counter[str] = Counter()
        self.other: Counter[str] = Counter()
        self.lost = self.bad = 0
        self.bad_lines: list[tuple[int, str]] = []

    def __iter__(self) -> Iterator[Event]:
        """The events, once.

        Raises:
            InputError: the log cannot be read or unpacked; if strict also the first bad line.
        """
        for line, text in enumerate(log_lines(self.file), 1):
            event = self.read(line, text)
            if event is not None:
                yield event

    def read(self, line: int, text: bytes) -> Event | None:
        """The event of a line; None: it is counted as something else."""
        if len(text) > LONGEST_LINE:
            self.refuse(line, f"is longer than {LONGEST_LINE} characters")
            return None
        text = text.strip()
        prefix = _PREFIX.fullmatch(text)
        if prefix is None:
            return self._no_event(line, text)
        _, dashed, spaced, seconds, fraction, name, said = prefix.groups()
        known = _READ.get(name)
        if known is None:
            self._other(name.decode("ascii"))
            return None
        match = known[0].fullmatch(said)
        what = known[1](match) if match is not None else f"is damaged: {name.decode('ascii')}"
        if isinstance(what, str):
            self.refuse(line, what)
            return None
        self.events[name.decode("ascii")] += 1
        time = int(seconds) * 1_000_000_000 + int(fraction) * (1 if len(fraction) == 9 else 1_000)
        return Event(line, time, int(dashed or spaced), what)

    def refuse(self, line: int, reason: str) -> None:
        """Count a line as bad, or end reading if strict."""
        if self._strict:
            raise InputError(reason, file=self.file, key=f"line {line}")
        self.bad += 1
        if len(self.bad_lines) < KEPT_BAD_LINES:
            self.bad_lines.append((line, reason))

    def _no_event(self, line: int, text: bytes) -> Event | None:
        lost = _LOST.fullmatch(text)
        if lost is not None:
            self.lost += int(next((n for n in lost.groups() if n), 1))
            return Event(line, 0, 0, None)
        if text and not _HEADER.fullmatch(text):
            self.refuse(line, "is no trace event")
        return None

    def _other(self, name: str) -> None:
        full = len(self.other) >= MOST_NAMES and name not in self.other
        self.other[OTHER_NAMES if full else name] += 1


def is_kvm_event(text: bytes) -> bool:
    """Whether a log's line is an event of KVM."""
    prefix = _PREFIX.fullmatch(text[:LONGEST_LINE].strip())
    return prefix is not None and prefix[6].startswith(b"kvm_")
