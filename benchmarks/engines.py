"""How fast the engines are: ratios on one closed workload, all measured in one run.

    python benchmarks/engines.py [--accesses N] [--rounds R] [--out benchmarks/RESULTS.md]

Competitors that are not installed (salabim, Ciw; a C++ compiler) are left out and said to be. Every
mean latency must agree within 1 %. Rounds are interleaved; a ratio is the median over the rounds of
what was measured side by side in one of them.
"""

from __future__ import annotations

import argparse
import datetime
import gc
import importlib.metadata
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from other_engines import ciw_mean_latency_us, salabim_mean_latency_us
from plain_simpy import mean_latency_us
from workload import lowered, workload

from vmexit_sim.engine import run
from vmexit_sim.engine.compiled_engine import prepare
from vmexit_sim.streams import Streams

HERE = Path(__file__).parent
Timed = tuple[float, float]  # seconds an access, mean latency in us


class PreDrawn:
    """The program with its accesses drawn beforehand, so that only the engine is timed."""

    def __init__(self, accesses: int, vcpus: int, *, interruptible: bool = False) -> None:
        self.guest = workload(accesses, vcpus)
        self.lowered = lowered(self.guest, interruptible=interruptible)
        self.program, self.outstanding = self.lowered.program, self.lowered.outstanding
        self.reach = self.lowered.reach
        self.blocks = {
            vcpu: list(self.lowered.feed(self.guest, Streams(1), vcpu, 16384))
            for vcpu in range(vcpus)
        }

    def feed(self, _w: Any, _s: Any, vcpu: int, _rows: int) -> Iterator[Any]:
        return iter(self.blocks[vcpu])


def timed(call: Callable[[], float], accesses: int) -> Timed:
    gc.collect()  # what the one before left behind is not this one's cost
    begin = time.perf_counter()
    latency = call()
    return (time.perf_counter() - begin) / accesses, latency


def ours(source: Any, guest: Any, engine: Any) -> float:
    result = run(source, guest, Streams(1), engine=engine)
    return result.summary.latencies["stall"].mean / 1e6


def cpp(drawn: PreDrawn, accesses: int, vcpus: int, folder: Path) -> Callable[[str], Timed] | None:
    """The hand-written loop, compiled here and now; it times itself, without reading its file.

    What is returned wants to know what to record: "lean" or "full".
    """
    compiler = shutil.which("g++")
    if compiler is None:
        return None
    program = folder / "event_loop"
    flags = ["-O3", "-march=native", "-std=c++17"]
    subprocess.run([compiler, *flags, "-o", program, HERE / "event_loop.cpp"], check=True)
    draws = folder / "draws"
    with draws.open("wb") as file:
        for name in ("compute", "emulate"):
            for vcpu in range(vcpus):
                file.write(np.concatenate([b[name] for b in drawn.blocks[vcpu]]).tobytes())

    def once(records: str) -> Timed:
        command = [program, str(vcpus), str(accesses // vcpus), draws, "1", records]
        out = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
        return float(out[1]) / accesses, float(out[0]) / 1e6

    return once


def competitors(accesses: int, folder: Path) -> dict[str, Callable[[], Timed]]:
    drawn, ready = PreDrawn(accesses, 4), PreDrawn(accesses, 4, interruptible=True)
    native = cpp(drawn, accesses, 4, folder)
    few, slow = accesses // 10, accesses // 20
    small = workload(few)
    contenders: dict[str, Callable[[], Timed] | None] = {
        "plain SimPy": lambda: timed(lambda: mean_latency_us(few), few),
        "vmexit-sim, SimPy engine": lambda: timed(
            lambda: ours(lowered(small), small, "simpy"), few
        ),
        "vmexit-sim, compiled engine, drawing included": lambda: timed(
            lambda: ours(drawn.lowered, drawn.guest, "compiled"), accesses
        ),
        "vmexit-sim, compiled engine, drawn beforehand": lambda: timed(
            lambda: ours(drawn, drawn.guest, "compiled"), accesses
        ),
        "vmexit-sim, the same, compute interruptible": lambda: timed(
            lambda: ours(ready, ready.guest, "compiled"), accesses
        ),
        "C++ event loop, drawn beforehand": native and partial(native, "lean"),
        "C++ event loop, recording what ours records": native and partial(native, "full"),
        "salabim": lambda: timed(lambda: salabim_mean_latency_us(slow), slow),
        "Ciw": lambda: timed(lambda: ciw_mean_latency_us(slow), slow),
    }
    for name, package in (("salabim", "salabim"), ("Ciw", "ciw")):
        try:
            importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            contenders[name] = None
    missing = [name for name, call in contenders.items() if call is None]
    if missing:
        print(f"left out, not installed: {', '.join(missing)}", file=sys.stderr)
    return {name: call for name, call in contenders.items() if call is not None}


def table(times: dict[str, list[float]], latencies: dict[str, float]) -> str:
    plain = times["plain SimPy"]
    lines = ["| engine | accesses/s | × plain SimPy | × C++ | mean latency |",
             "|---|---:|---:|---:|---:|"]  # fmt: skip
    native = times.get("C++ event loop, drawn beforehand")
    for name, own in times.items():
        ratio = statistics.median(p / t for p, t in zip(plain, own, strict=True))
        to_cpp = "-"
        if native:
            to_cpp = f"{statistics.median(c / t for c, t in zip(native, own, strict=True)):.2g}"
        speed = 1 / statistics.median(own)
        lines.append(
            f"| {name} | {speed:,.0f} | {ratio:.3g} | {to_cpp} | {latencies[name]:.3f} µs |"
        )
    return "\n".join(lines)


def cpu() -> str:
    try:
        info = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor()
    return next((line.split(":")[1].strip() for line in info.splitlines() if "model name" in line),
                platform.processor())  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--accesses", type=int, default=2_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    prepare()
    times: dict[str, list[float]] = {}
    latencies: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        calls = competitors(options.accesses, Path(folder))
        for round_ in range(options.rounds + 1):  # the first one warms up
            for name, call in calls.items():
                seconds, latencies[name] = call()
                if round_:
                    times.setdefault(name, []).append(seconds)
    spread = max(latencies.values()) / min(latencies.values())
    if spread > 1.01:
        sys.exit(f"mean latencies differ by {spread - 1:.1%}: {latencies}")
    versions = ", ".join(
        f"{name} {importlib.metadata.version(name)}" for name in ("simpy", "numpy", "numba")
    )
    about = (
        f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}, {cpu()}, {os.cpu_count()} CPUs, "
        f"Python {platform.python_version()}, {versions}; {options.accesses:,} accesses (a tenth "
        f"for SimPy, a twentieth for salabim and Ciw), median of {options.rounds} rounds."
    )
    text = f"{about}\n\n{table(times, latencies)}\n"
    print(text)
    if options.out:
        keep = options.out.read_text(encoding="utf-8") if options.out.exists() else ""
        head, _, tail = keep.partition("<!-- engines -->")
        _, _, tail = tail.partition("<!-- /engines -->")
        options.out.write_text(f"{head}<!-- engines -->\n{text}<!-- /engines -->{tail}",
                               encoding="utf-8")  # fmt: skip


if __name__ == "__main__":
    main()
