"""How the compiled engine scales, and what a whole job takes.

    python benchmarks/scaling.py [--longest N] [--out benchmarks/RESULTS.md]

Time an access against a run's length and against the number of vCPUs (with as many handlers and
devices for each); replaying a whole recorded boot, timers included, under eight policies; the
command line as whole processes, caches warm.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path

from memory import __file__ as memory_script
from workload import lowered, scaled_to, workload

from vmexit_sim.configuration import checked
from vmexit_sim.device import load_devices
from vmexit_sim.engine import run
from vmexit_sim.engine.compiled_engine import prepare
from vmexit_sim.hypervisor.platform import load_platform
from vmexit_sim.opened import load_block
from vmexit_sim.policy import load_policy
from vmexit_sim.scenario import Block
from vmexit_sim.streams import Streams
from vmexit_sim.study.simulate import simulate

POLICIES = ("linux-default", "mmio-first", "read-only-pages", "absent-page", "hypercall",
            "batched-recorded", "batched-idioms", "size-bar-hypercall")  # fmt: skip


def per_access(accesses: int, vcpus: int) -> float:
    """ns an access, the best of three runs, accesses drawn as they are wanted."""
    guest = workload(accesses, vcpus)
    program = lowered(guest, *scaled_to(vcpus))
    best = float("inf")
    for _ in range(3):
        begin = time.perf_counter()
        run(program, guest, Streams(1), engine="compiled")
        best = min(best, time.perf_counter() - begin)
    return best / accesses * 1e9


def boot() -> tuple[int, float]:
    """Rows of boot-q35, timers included, and the seconds that eight policies take on it."""
    block = {"guest": {"trace": "boot-q35"}, "timers": True, "think_scales": [1.0]}
    guest = load_block(checked(Block, block), load_devices())
    platform, devices = load_platform("kvm-2013"), load_devices()
    begin = time.perf_counter()
    for name in POLICIES:
        simulate(load_policy(name), platform, guest.workloads[1.0], devices=devices,
                 engine="compiled")  # fmt: skip
    return len(guest.table), time.perf_counter() - begin


def command(*arguments: str) -> float:
    """Seconds of a whole process, the median of five."""
    times = []
    for _ in range(5):
        begin = time.perf_counter()
        subprocess.run([sys.executable, "-m", "vmexit_sim.cli", *arguments], check=True,
                       capture_output=True)  # fmt: skip
        times.append(time.perf_counter() - begin)
    return statistics.median(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--longest", type=int, default=10**8)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    prepare()
    lines = ["| vCPUs (servers in proportion) | ns an access |", "|---:|---:|"]
    lines += [
        f"| {vcpus:,} | {per_access(2_000_000, vcpus):,.0f} |"
        for vcpus in (1, 4, 16, 64, 256, 1024)
    ]
    lengths = [10**power for power in range(4, 9) if 10**power <= options.longest]
    memory = subprocess.run(
        [sys.executable, memory_script, "--engine", "compiled", "--accesses", *map(str, lengths)],
        check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    rows, seconds = boot()
    whole = {
        "`vmexit-sim --help`": command("--help"),
        "`vmexit-sim compare`": command("compare"),
    }
    text = "\n".join(
        [
            *lines, "", memory,
            f"boot-q35, {rows:,} accesses, timers included, {len(POLICIES)} policies: "
            f"{seconds:.2f} s after start-up.", "",
            *(f"{name}, a whole process, caches warm: {took:.2f} s." for name, took in
              whole.items()), "",
        ]
    )  # fmt: skip
    print(text)
    if options.out:
        keep = options.out.read_text(encoding="utf-8") if options.out.exists() else ""
        head, _, tail = keep.partition("<!-- scaling -->")
        _, _, tail = tail.partition("<!-- /scaling -->")
        options.out.write_text(f"{head}<!-- scaling -->\n{text}<!-- /scaling -->{tail}",
                               encoding="utf-8")  # fmt: skip


if __name__ == "__main__":
    main()
