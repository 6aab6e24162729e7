"""What is large still works: time and peak memory of four loads, each in a process of its own.

    python benchmarks/load.py [points] [table] [vcpus] [log] [--scale 1]

points   a study of 10,000 points, on two worker processes, stored, then read again as a table
table    an access table of 100,000,000 rows in a Parquet file, compared under two policies
vcpus    1,024 vCPUs that share 16 CPUs' worth of devices, 10,000 accesses each
log      logs of 10,000,000 lines, QEMU's and KVM's: what is in them, and imported as a table

`--scale 0.01` makes each a hundredth as large. Memory is the peak resident set of the largest
process; times are what a clock on the wall says.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

CLI = [sys.executable, "-m", "vmexit_sim.cli"]
TABLE_ROWS = 100_000_000
LOG_LINES = 10_000_000
POINTS = 10_000
VCPUS = 1024


def points(folder: Path, scale: float) -> None:
    """A study whose points are many and small."""
    side = round((POINTS * scale) ** 0.5)
    study = folder / "many.toml"
    study.write_text(
        f"""
name = "many points"
[scenario]
platform = "kvm-2017"
policies = ["linux-default", "batched-recorded"]
replications = 5
[[scenario.blocks]]
guest = {{ kind = "spread", operations = 500, read_share = 0.5, space = "mmio", between = {{ kind = "exponential", mean = "5 us" }} }}
[factors]
"costs.to_user" = ["1 us", "50 us", {side}, "log"]
"costs.decode_mmio" = ["100 ns", "5 us", {side}, "log"]
"""  # noqa: E501
    )
    out = folder / "out"
    command(f"sweep of {side * side:,} points", "sweep", str(study), "-o", str(out), "--jobs", "2")
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    files = sum(1 for path in out.rglob("*") if path.is_file())
    print(f"|   stored: {files:,} files | | {size / 2**20:,.0f} |", flush=True)
    command("the same again: all stored", "sweep", str(study), "-o", str(out), "--jobs", "2")


def table(folder: Path, scale: float) -> None:
    """A table on disk that is a recorded download, over and over."""
    path = folder / "long.parquet"
    rows = round(TABLE_ROWS * scale)
    child(f"making a table of {rows:,} rows", "make_table", str(path), str(rows))
    print(f"|   the file | | {path.stat().st_size / 2**20:,.0f} |", flush=True)
    command(f"trace info of {rows:,} rows", "trace", "info", str(path))
    asked = ("compare", str(path), "--platform", "kvm-2013", "--policy", "linux-default",
             "hypercall", "--json")  # fmt: skip
    command(f"compare, two policies on {rows:,} rows", *asked, "--timers")
    command("the same without the timers' rows, as by default", *asked)


def make_table(path: Path, rows: int) -> None:
    """Write the rows of net-e1000 as often as it takes."""
    from dataclasses import replace

    import numpy as np

    from vmexit_sim.catalog import models_directory
    from vmexit_sim.device import load_devices
    from vmexit_sim.guest.qemu_trace import read_trace
    from vmexit_sim.guest.table_file import save_table

    once = read_trace(models_directory() / "traces" / "net-e1000.trace.xz", load_devices())
    at = np.arange(rows) % len(once.table)
    columns = {name: column[at] for name, column in once.table.columns.items()}
    # An operation, or a result that is waited for, in one turn is not that of another.
    turn = np.arange(rows) // len(once.table)
    for name in ("operation", "needed_by", "needed_idiom"):
        step = int(once.table.operation.max()) + 1 if name == "operation" else len(once.table)
        columns[name] = np.where(columns[name] < 0, columns[name], columns[name] + turn * step)
    save_table(replace(once.table, **columns), path)


def vcpus(folder: Path, scale: float) -> None:
    """A guest with as many vCPUs as Linux's KVM allows by default on x86."""
    count = max(round(VCPUS * scale), 2)
    guest = folder / "wide.toml"
    guest.write_text(
        f"""
platform = "kvm-2017"
policies = ["linux-default", "hypercall"]
replications = 1
[[blocks]]
guest = {{ kind = "spread", vcpus = {count}, operations = 10_000, read_share = 0.5, space = "mmio", between = {{ kind = "exponential", mean = "20 us" }} }}
"""  # noqa: E501
    )
    command(f"compare, two policies on {count:,} vCPUs", "compare", str(guest), "--json")


def log(folder: Path, scale: float) -> None:
    """Logs as QEMU and the kernel write them."""
    lines = round(LOG_LINES * scale)
    for kind, write in (("QEMU", qemu_log), ("KVM", kvm_log)):
        path = folder / f"{kind.lower()}.log"
        write(path, lines)
        print(f"|   {kind}'s log of {lines:,} lines | | {path.stat().st_size / 2**20:,.0f} |")
        command(f"trace info of {kind}'s log", "trace", "info", str(path))
        command(f"trace import of {kind}'s log", "trace", "import", str(path),
                "-o", str(folder / f"{kind}.parquet"))  # fmt: skip
        path.unlink()


def qemu_log(path: Path, lines: int) -> None:
    """A recorded download's lines, over and over, their times going on."""
    import lzma
    import re

    from vmexit_sim.catalog import models_directory

    with lzma.open(models_directory() / "traces" / "net-e1000.trace.xz", "rt") as file:
        recorded = file.readlines()
    stamp = re.compile(r"@(\d+)\.(\d+):")
    timed = [(line, found) for line in recorded if (found := stamp.search(line))]
    begin, end = (int(found[1]) * 10**6 + int(found[2]) for _, found in (timed[0], timed[-1]))
    with path.open("w") as out:
        for n in range(lines):
            turn, which = divmod(n, len(timed))
            line, found = timed[which]
            now = int(found[1]) * 10**6 + int(found[2]) + turn * (end - begin + 1)
            seconds, us = divmod(now, 10**6)
            out.write(f"{line[: found.start()]}@{seconds}.{us:06}:{line[found.end() :]}")


def kvm_log(path: Path, lines: int) -> None:
    """Port writes, a microsecond between two events."""
    from kvm_log import write

    write(path, lines)


def command(what: str, *arguments: str) -> None:
    """Time a command of the product's in a process of its own."""
    timed(what, [*CLI, *arguments])


def child(what: str, *arguments: str) -> None:
    """Time one of this file's functions in a process of its own."""
    timed(what, [sys.executable, __file__, "--here", *arguments])


def timed(what: str, words: list[str]) -> None:
    """Print what a process took: seconds and peak memory, its own children's included."""
    begin = time.perf_counter()
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=said)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        said.seek(0)
        if process.returncode:
            sys.exit(f"{what}: ended with {process.returncode}: {said.read()[-2000:]}")
    took = time.perf_counter() - begin
    print(f"| {what} | {took:,.1f} | {used.ru_maxrss / 1024:,.0f} |", flush=True)


LOADS: dict[str, Callable[[Path, float], None]] = {
    "points": points, "table": table, "vcpus": vcpus, "log": log,
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("loads", nargs="*", help=f"of {', '.join(LOADS)}; default: all")
    parser.add_argument("--scale", type=float, default=1.0)
    options = parser.parse_args()
    print("| load | s | MiB |\n|---|---:|---:|", flush=True)
    for name in options.loads or LOADS:
        with tempfile.TemporaryDirectory() as folder:
            LOADS[name](Path(folder), options.scale)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--here"]:
        make_table(Path(sys.argv[3]), int(sys.argv[4]))
    else:
        main()
