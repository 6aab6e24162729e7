"""Logs of a guest's accesses, told apart by what is in them.

===================  =======================================================================
QEMU's trace log     ``THREAD@SECONDS.MICROSECONDS:EVENT``: see `qemu_trace`
KVM's trace events   as trace-cmd, perf and ftrace print them: see `kvm_trace`
===================  =======================================================================

The first line that is an event of either decides; a file without any is read as QEMU's, and its
reader says what is wrong.
"""

from __future__ import annotations

import re
from itertools import islice
from pathlib import Path

from vmexit_sim.device import DeviceCatalog
from vmexit_sim.guest.kvm_log import is_kvm_event
from vmexit_sim.guest.kvm_trace import read_kvm_trace
from vmexit_sim.guest.qemu_trace import Trace, read_trace
from vmexit_sim.guest.trace_file import log_lines

LINES_LOOKED_AT = 1_000
"""How far into a file its first event is looked for: other events may stand before it."""

_QEMU = re.compile(rb"\d{1,19}@\d{1,12}\.\d{6}:[A-Za-z_]")


def is_kvm_log(path: Path) -> bool:
    """Whether a file is a log of KVM's trace events.

    Raises:
        InputError: it cannot be read or unpacked.
    """
    for text in islice(log_lines(path), LINES_LOOKED_AT):
        if _QEMU.match(text):
            return False
        if is_kvm_event(text):
            return True
    return False


def read_any_trace(path: Path | str, devices: DeviceCatalog, *, strict: bool = False) -> Trace:
    """Import a log of any kind that is known.

    Args:
        path: the log; plain, xz or gzip, whatever its name.
        devices: what is known of devices.
        strict: refuse a log with any bad line.

    Raises:
        InputError: as the log's own reader.
    """
    path = Path(path)
    read = read_kvm_trace if is_kvm_log(path) else read_trace
    return read(path, devices, strict=strict)
