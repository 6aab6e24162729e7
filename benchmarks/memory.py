"""How much memory a long run takes: flat, since accesses pass through a window.

    python benchmarks/memory.py [--engine simpy|compiled] [--accesses N ...]

Each length runs in a process of its own; its peak resident memory is printed, and the time an
access took.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time


def measure(accesses: int, engine: str) -> None:
    """Run once in this process and print accesses, peak MiB, ns an access."""
    from workload import lowered, workload

    from vmexit_sim.engine import run
    from vmexit_sim.streams import Streams

    small = workload(4_000)
    run(lowered(small), small, Streams(1), engine=engine)  # type: ignore[arg-type]
    guest = workload(accesses)
    begin = time.perf_counter()
    run(lowered(guest), guest, Streams(1), engine=engine)  # type: ignore[arg-type]
    each = (time.perf_counter() - begin) / accesses
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"| {engine} | {accesses:,} | {peak:,.0f} | {each * 1e9:,.0f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--engine", choices=["simpy", "compiled"], default="simpy")
    parser.add_argument("--accesses", type=int, nargs="+", default=[100_000, 2_000_000])
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.here:
        measure(options.accesses[0], options.engine)
        return
    print("| engine | accesses | peak MiB | ns an access |\n|---|---:|---:|---:|", flush=True)
    for accesses in options.accesses:
        command = [sys.executable, __file__, "--here", "--engine", options.engine]
        subprocess.run([*command, "--accesses", str(accesses)], check=True)


if __name__ == "__main__":
    main()
