"""How fast a long log of KVM's events is read, and in how much memory.

    python benchmarks/kvm_log.py [--lines N ...]

Each reader and length runs in a process of its own. What is measured needs memory for the log's
names, not for its length; an access table holds every access.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

EACH = (
    "kvm_exit: vcpu 0 reason IO_INSTRUCTION rip 0xffffffff81000000 info1 0x0000000003f80000 "
    "info2 0x0000000000000000 intr_info 0x00000000 error_code 0x00000000",
    "kvm_pio: pio_write at 0x3f8 size 1 count 1 val 0x41 ",
    "kvm_userspace_exit: reason KVM_EXIT_IO (2)",
    "kvm_entry: vcpu 0, rip 0xffffffff81000000",
)
READERS = ("kvm_events", "kvm_trace")


def write(path: Path, lines: int) -> None:
    """A log of port writes, 1 µs between two events."""
    with path.open("w") as file:
        for n in range(lines):
            seconds, us = divmod(n, 1_000_000)
            file.write(f"CPU 0/KVM-4243  [001] d..1. {seconds:5}.{us:06}: {EACH[n % 4]}\n")


def measure(reader: str, lines: int) -> None:
    """Read once in this process and print what it took."""
    from vmexit_sim.calibration.kvm_events import read_kvm_events
    from vmexit_sim.device import load_devices
    from vmexit_sim.guest.kvm_trace import read_kvm_trace

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "log"
        write(path, lines)
        begin = time.process_time()
        if reader == "kvm_events":
            assert read_kvm_events(path).bad == 0
        else:
            assert read_kvm_trace(path, load_devices()).lines.bad == 0
        seconds = time.process_time() - begin
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"| {reader} | {lines:,} | {seconds:,.1f} | {seconds / lines * 1e6:,.1f} | {peak:,.0f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--lines", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--reader", choices=READERS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.reader:
        measure(options.reader, options.lines[0])
        return
    print("| reader | lines | CPU s | µs a line | peak MiB |")
    print("|---|---:|---:|---:|---:|", flush=True)
    for reader in READERS:
        for lines in options.lines:
            command = [sys.executable, __file__, "--reader", reader, "--lines", str(lines)]
            subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
