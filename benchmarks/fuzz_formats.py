"""Ten thousand damaged files of each format: loaded or refused, and nothing else.

::

    python benchmarks/fuzz_formats.py --cases 10000 --run-every 4 | tee fuzz-formats.txt
    python benchmarks/fuzz_formats.py --only "access table" --first 10000 --cases 1000

Formats, mutations and what counts as a finding are those of ``tests/hostile``: another error than
those that are meant, a message without file or place, too much CPU time (a case may take 5 s), or
too much memory (a case may take 1 GiB more address space than the process has). A case is the same
for the same number, so what is found is repeated with ``--only`` and ``--first``, and its file is
written to ``--findings``.

Each format has a process of its own, so that peaks are its own; one that hangs in compiled code is
ended by `faulthandler` after a minute, and counts as found.
"""

from __future__ import annotations

import argparse
import faulthandler
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "hostile"))

import formats

HANGS = 60
"""Seconds after which a case that cannot be interrupted is ended."""

HEAD = ("format", "cases", "loaded", "run", "refused", "found", "slowest", "peak", "grown", "CPU")


def fuzz(name: str, options: argparse.Namespace) -> int:
    """Try one format's cases, and print its row; how many findings there were."""
    of = formats.FORMATS[name]
    fates: Counter[str] = Counter()
    slowest, began, runs = 0.0, time.process_time(), 0
    with tempfile.TemporaryDirectory() as folder:
        for seed in formats.seeds(name):
            formats.attempt(of, seed, Path(folder))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for number in range(options.first, options.first + options.cases):
            data = formats.case(of, number)
            run = number % options.run_every == 0
            faulthandler.dump_traceback_later(HANGS, exit=True)
            begun = time.process_time()
            try:
                fate = formats.attempt(of, data, Path(folder), run=run)
            except formats.Finding as finding:
                fate = "found"
                options.findings.mkdir(parents=True, exist_ok=True)
                (options.findings / f"{name.replace(' ', '-')}-{number}").write_bytes(data)
                print(f"  {name} {number}: {str(finding)[:300]}", file=sys.stderr, flush=True)
            slowest = max(slowest, time.process_time() - begun)
            fates[fate] += 1
            runs += run and fate == "loaded"
        faulthandler.cancel_dump_traceback_later()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    told(
        name, f"{options.cases:,}", f"{fates['loaded']:,}", f"{runs:,}", f"{fates['refused']:,}",
        str(fates["found"]), f"{slowest:.2f} s", f"{peak / 1024:.0f} MiB",
        f"{(peak - before) / 1024:.0f} MiB", f"{time.process_time() - began:.0f} s",
    )  # fmt: skip
    return fates["found"]


def told(*cells: str) -> None:
    """Print a row of the table."""
    print(f"{cells[0]:<22}" + "".join(f"{cell:>10}" for cell in cells[1:]), flush=True)


def main() -> int:
    """Fuzz every format in turn."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--cases", type=int, default=10_000, help="of each format")
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--run-every", type=int, default=4, help="run each so manyth that loads")
    parser.add_argument("--only", choices=formats.FORMATS, help="one format")
    parser.add_argument("--findings", type=Path, default=Path("fuzz-findings"))
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.here:
        return bool(fuzz(options.only, options))
    told(*HEAD)
    failed = 0
    for name in [options.only] if options.only else formats.FORMATS:
        command = [sys.executable, __file__, "--here", "--only", name, *sys.argv[1:]]
        failed += subprocess.run(command, check=False).returncode != 0
    print(f"{failed} formats with findings")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
