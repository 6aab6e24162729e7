"""Every format that a user's file may have: what sound files of it look like, how it is mutated,
and how the program loads it and goes on with it.

::

    seed files ──► mutate ──► case ──► load ──┬─► VmexitError that names file and place
                                              └─► run: bounded, on both engines

A case ends in one of two ways, *loaded* or *refused*; anything else is a `Finding`.
"""

from __future__ import annotations

import gzip
import io
import json
import lzma
import os
import re
import resource
import signal
import time
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache, partial
from itertools import count, islice
from math import prod
from pathlib import Path
from random import Random
from typing import Any, Literal

import mutators
from mutators import of_bytes, of_lines, of_tree, one_of
from rich.console import Console

from vmexit_sim.catalog import models_directory
from vmexit_sim.errors import InputError, InputErrors, SimulationError, VmexitError

SECONDS = 5.0
"""CPU time that a case may take: loading it, and running what loads."""

MEMORY = 2**30
"""Bytes of address space that a case may take beyond what the process has."""

ROWS = 48
"""Accesses of each vCPU that are run of a file that loads."""

VCPUS = 8
"""Guests of more vCPUs are loaded, and not run."""

MANY_POINTS = 500
"""A study of more points is loaded, and its points are not worked out: that takes as long as it
takes, some 0.1 ms a point, up to the bound of a million."""

POINTS = 4
"""Points of a study that are opened and run."""

Mutator = Callable[[bytes, Random], bytes]


class Finding(AssertionError):
    """What must not happen."""


@dataclass(frozen=True, kw_only=True)
class Format:
    """A format of file.

    Attributes:
        name: for people.
        file: the name of the case's file; what mutations may name, too.
        seeds: sound files.
        mutate: makes a case of a seed.
        load: what the program does with such a file; returns what can be run of it.
        beside: files that lie beside the case.
        whole: problems that are of the file as a whole, so that no place in it can be named.
    """

    name: str
    file: str
    seeds: Callable[[], list[bytes]]
    mutate: Mutator
    load: Callable[[Path], list[Any]]
    beside: dict[str, Callable[[], bytes]] = field(default_factory=dict)
    whole: str = "$^"


def case(of: Format, seed: int) -> bytes:
    """A mutated file; the same for the same number."""
    draw = Random(f"{of.name}/{seed}")
    return of.mutate(draw.choice(seeds(of.name)), draw)


_STAMPS = count(1_000_000_000_000_000_000)


@cache
def seeds(name: str) -> list[bytes]:
    return FORMATS[name].seeds()


def attempt(
    of: Format, data: bytes, folder: Path, *, run: bool = True
) -> Literal["loaded", "refused"]:
    """Load a case, and run it if it loads.

    Raises:
        Finding: another error than those that are meant, one that names no file or no place, too
            much time, or too much memory.
    """
    path = folder / of.file
    path.write_bytes(data)
    stamp = next(_STAMPS)  # two cases of equal length within a tick of the clock are two files
    os.utime(path, ns=(stamp, stamp))
    for name, content in of.beside.items():
        if not (folder / name).exists():
            (folder / name).write_bytes(content())
    begun = time.process_time()
    try:
        with bounded():
            loaded = of.load(path)
            for each in loaded if run else ():
                each.run()
    except VmexitError as error:
        _check(error, of, folder)
        return "refused"
    except Finding:
        raise
    except BaseException as error:
        raise Finding(f"{type(error).__name__}: {error}"[:500]) from error
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    if (took := time.process_time() - begun) > SECONDS:
        raise Finding(f"took {took:.1f} s of CPU time")
    return "loaded"


@contextmanager
def bounded() -> Iterator[None]:
    """Bound the CPU time and the address space of what runs inside."""

    def stop(*_: object) -> None:
        raise Finding(f"took more than {SECONDS} s of CPU time")

    before = signal.signal(signal.SIGPROF, stop)
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY, hard))
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
        signal.signal(signal.SIGPROF, before)


PLACE = re.compile(r"line \d+|column \d+|row \d+|position \d+|byte \d+|at end of document")


def _check(error: VmexitError, of: Format, folder: Path) -> None:
    """Each message names a file that is there, and a place in it."""
    if isinstance(error, SimulationError):  # of a run, and says which access or who waits
        return
    errors = error.errors if isinstance(error, InputErrors) else [error]
    for each in errors:
        text = str(each)
        names = [of.file, *of.beside, f"policy {Path(of.file).stem} "]  # once loaded, by its name
        drawn = "draws a time longer" in text  # while it runs: it says from which distribution
        if not (drawn or any(name in text for name in names) or _shipped(text)):
            raise Finding(f"names no file: {text[:300]}")
        has_key = isinstance(each, InputError) and each.key is not None
        if not (has_key or PLACE.search(text) or re.search(of.whole, text)):
            raise Finding(f"names no place: {text[:300]}")


def _shipped(text: str) -> bool:
    return str(models_directory()) in text


class Runnable:
    """A scenario that has been opened, and what to run of it."""

    def __init__(self, opened: Any) -> None:
        self.opened = opened

    def run(self) -> None:
        """Compare its policies on the first accesses, on both engines, which must agree.

        The SimPy engine comes first, since it can be stopped.
        """
        from vmexit_sim.study.compare import compare
        from vmexit_sim.study.sweep.work import rows

        blocks = []
        for block in self.opened.blocks[:2]:
            if any(workload.vcpus > VCPUS for workload in block.workloads.values()):
                continue
            scale = block.main_scale
            short = {scale: _First(block.workloads[scale])}
            blocks.append(replace(block, workloads=short))
        if not blocks:
            return
        scenario = self.opened.scenario.model_copy(update={"replications": 1})
        opened = replace(self.opened, blocks=blocks, scenario=scenario,
                         policies=self.opened.policies[:3])  # fmt: skip
        one = repr(list(rows(compare(opened, engine="simpy"))))
        other = repr(list(rows(compare(opened, engine="compiled"))))
        if one != other:
            raise Finding("the engines disagree")


@dataclass(frozen=True)
class _First:
    """A workload's first `ROWS` accesses of each vCPU."""

    workload: Any

    def __getattr__(self, name: str) -> Any:
        return getattr(self.workload, name)

    def blocks(self, vcpu: int, streams: Any, rows: int = 0) -> Iterator[Any]:
        """One block."""
        for block in islice(self.workload.blocks(vcpu, streams, max(rows, ROWS)), 1):
            yield block.block(0, min(ROWS, len(block)))


# TOML: what states a scenario, and what one names


def _toml(kind: str, names: tuple[str, ...] = ()) -> Callable[[], list[bytes]]:
    def seeds() -> list[bytes]:
        files = sorted((models_directory() / kind).glob("*.toml"))
        return [path.read_bytes() for path in files if not names or path.stem in names]

    return seeds


def _tree_or_text(keys: tuple[str, ...]) -> Mutator:
    def structure(data: bytes, draw: Random) -> bytes:
        return mutators.toml(of_tree(tomllib.loads(data.decode()), draw, keys), draw)

    return one_of(structure, structure, structure, of_lines, of_bytes)


def _opened(name: str, **changes: Any) -> list[Any]:
    from vmexit_sim.study.stated import stated

    policies = changes.pop("policies", None)
    return [Runnable(stated(name, policies, changes=changes, where="command line").opened())]


SMALL = b"""policies = ["linux-default"]
[[blocks]]
guest = { kind = "spread", operations = 5, between = "1 us", read_share = 0.5, space = "mmio" }
"""
GUESTS = b"""policies = ["hypercall", "qemu-kvm"]
devices = "qemu"
[costs]
to_user = { kind = "gamma", mean = "2 us", cv = 0.5 }
item = { kind = "empirical", file = "times.csv", column = "ps" }
[[blocks]]
only = ["pci_config", "*"]
during = ["firmware"]
guest = { table = "table.parquet" }
[[blocks]]
think_scales = [0.5, 1.0]
guest = { kind = "interrupt_service", services = 9, interarrival = "9 us", accesses = 3, \
within = "1 us", read_share = 0.5 }
[parameters.hypercall]
"idle.host_poll.longest" = "9 us"
"""
WIDE = b"""policies = ["linux-default", "hypercall", "batched-recorded"]
[[blocks]]
guest = { kind = "spread", operations = 40, between = { kind = "exponential", mean = "1 us" }, \
read_share = 0.5, space = "mmio" }
"""
OTHER = b"""cpus = 2
time_slice = "3 ms"
study = "steady-state"
seed = 7
replications = 3
platform = "kvm-nested-2017"
policies = ["vhost", "batched-full", "spdk-like", "./policy.toml"]
[[blocks]]
guest = { kind = "request_response", requests = 200, in_flight = 4, \
think = { kind = "exponential", mean = "5 us" }, \
service = { kind = "lognormal", mean = "2 us", cv = 1.0 } }
"""
POLICY = b"""extends = "linux-default"
title = "own"
[idle]
guest = "halt"
guest_poll = { window = "always", longest = "50 us" }
[[rules]]
side = "host"
match = { space = ["mmio"], write = true, device = ["*"] }
mechanism = { name = "batched_hypercall", max_batch = 4 }
"""
TIMES = b"ps\n1000000\n2000000\n2500000\n"


def _scenario_seeds() -> list[bytes]:
    return [SMALL, GUESTS, OTHER]


def _all_policies(path: Path) -> list[Any]:
    return _opened(str(path.parent / "small.toml"), policies=["linux-default", str(path)])


def _platform(path: Path) -> list[Any]:
    """A platform by itself; one without a hypervisor takes the policy that never traps."""
    from vmexit_sim.hypervisor.platform import load_platform

    policies = ["bare-metal"] if load_platform(str(path)).native_only else None
    return _opened(str(path.parent / "small.toml"), platform=str(path), policies=policies)


def _extended(path: Path) -> list[Any]:
    """A platform and a policy that other files extend."""
    kind = "platform" if "world_switch_out" in path.read_text("utf-8", "replace") else "policies"
    by = str(path.parent / "by.toml")
    return _opened(str(path.parent / "small.toml"), **{kind: by if kind == "platform" else [by]})


def _devices(path: Path) -> list[Any]:
    return _opened(str(path.parent / "small.toml"), set={"devices": str(path)})


def _levels(factor: Any) -> int:
    """How many values a factor has, about; a range of a sampled design says none."""
    try:
        return len(factor.levels())
    except InputError:
        return 1


def _study(path: Path) -> list[Any]:
    from vmexit_sim.study.sweep import load_study, plan

    study, where = load_study(str(path))
    points = study.design.points or prod(map(_levels, study.factors.values()))
    if points > MANY_POINTS:
        return []
    planned = plan(study, where)
    return [Runnable(planned.opened(point)) for point in planned.points[:POINTS]]


def _study_seeds() -> list[bytes]:
    return [*_toml("studies")(), STUDY]


STUDY = b"""scenario = "./small.toml"
metric = "effect.mean"
lockstep = [["cpus", "ops"]]
constraints = ["cpus <= 4", "2 * cpus >= 1"]
seeds = "own"
[set]
replications = 2
[factors]
cpus = [1, 2, 3]
[factors.ops]
place = ["blocks.0.guest.operations"]
values = [3, 4, 5]
[factors."costs.to_user"]
place = "costs.to_user"
values = ["1 us", "1 ms", 3, "log"]
"""

# Parquet


def _table_seeds() -> list[bytes]:
    from vmexit_sim.guest.selection import select
    from vmexit_sim.guest.table_file import load_table, save_table

    table = select(_trace("pci-scan-q35").table)
    made = []
    folder = Path(_scratch())
    for begin, end in ((0, 60), (2_000, 2_300)):
        path = folder / "seed.parquet"
        save_table(table.only(_between(begin, end, len(table))), path)
        load_table(path)
        made.append(path.read_bytes())
    return made


def _between(begin: int, end: int, n: int) -> Any:
    import numpy as np

    rows = np.arange(n)
    return (begin <= rows) & (rows < end)


@cache
def _scratch() -> str:
    import atexit
    import shutil
    import tempfile

    folder = tempfile.mkdtemp(prefix="vmexit-formats-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@cache
def _trace(name: str) -> Any:
    from vmexit_sim.device import load_devices
    from vmexit_sim.guest.trace_formats import read_any_trace

    return read_any_trace(models_directory() / "traces" / f"{name}.trace.xz", load_devices())


_ABOUT = ("devices", "origin", "has_ecam", "notes", "name", "question", "factors")


def _columns(data: bytes, draw: Random) -> bytes:
    """A Parquet file with other columns, values, types, or metadata."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pq.read_table(io.BytesIO(data))
    meta = dict(table.schema.metadata or {})
    columns: dict[str, Any] = {name: table.column(name) for name in table.column_names}
    for _ in range(draw.randint(1, 3)):
        name = draw.choice(list(columns) or ["x"])
        match draw.randrange(8):
            case 0:
                columns.pop(name, None)
            case 1:
                columns[draw.choice(("x", name + "s", "vcpu", "targets"))] = columns.pop(name, [])
            case 2:
                value = draw.choice((-(2**63), -1, 0, 1, 127, 2**15, 2**31, 2**62, 2**63 - 1))
                values = columns.get(name)
                if values is not None and len(values):
                    with_one = values.to_pylist()
                    with_one[draw.randrange(len(with_one))] = value
                    columns[name] = _array(with_one)
            case 3:
                n = table.num_rows
                columns[name] = draw.choice((
                    pa.array(["x"] * n), pa.array([None] * n, pa.int64()), pa.array([b"\0"] * n),
                    pa.array([float("nan")] * n), pa.array([[1]] * n), pa.array([1.5] * n),
                    pa.array(np.zeros(n, np.uint64) + 2**63), pa.array([{"a": 1}] * n),
                    pa.array([True] * n), pa.array(["x"] * n).dictionary_encode(),
                ))  # fmt: skip
            case 4 if meta:
                key = next(iter(meta))
                try:
                    about = json.loads(meta[key])
                except ValueError:
                    about = {}
                changed = of_tree({"about": about}, draw, _ABOUT)
                meta[key] = json.dumps(changed.get("about")).encode()
            case 5:
                meta = draw.choice(({}, {b"x": b"\xff"}, dict.fromkeys(meta, b"{" * 10000)))
            case 6:
                keep = draw.randrange(table.num_rows + 1)
                columns = {key: column[:keep] if len(column) >= keep else column
                           for key, column in columns.items()}  # fmt: skip
            case _:
                columns = dict(draw.sample(list(columns.items()), len(columns)))
    longest = min((len(column) for column in columns.values()), default=0)
    columns = {name: column[:longest] for name, column in columns.items()}
    sink = io.BytesIO()
    arrow = pa.table(columns).replace_schema_metadata(meta)
    try:
        pq.write_table(arrow, sink, compression=draw.choice(("zstd", "snappy", "gzip", "none")))
    except pa.ArrowException:  # such a column no file can hold
        return of_bytes(data, draw)
    return sink.getvalue()


def _array(values: list[Any]) -> Any:
    """Values as a column of the narrowest integers that hold them."""
    import numpy as np
    import pyarrow as pa

    if not all(isinstance(value, int | float) for value in values):
        return pa.array([str(value) for value in values])
    return pa.array(np.asarray(values, np.float64 if isinstance(values[0], float) else np.int64))


def _load_scenario(path: Path) -> list[Any]:
    return _opened(str(path))


# Logs

SHORT = b"""\
77@1.000001:memory_region_ops_write cpu 0 mr 0x5 addr 0xcf8 value 0x80001000 size 4 name 'pci-conf-idx'
77@1.000002:pci_cfg_read nvme 00:02.0 @0x0 -> 0x1
77@1.000003:memory_region_ops_read cpu 0 mr 0x5 addr 0x10000 value 0x0 size 4 name 'nvme'
"""  # noqa: E501


def _qemu_seeds() -> list[bytes]:
    lines = lzma.decompress((models_directory() / "traces/net-e1000.trace.xz").read_bytes())
    parts = lines.split(b"\n")
    at = len(parts) // 2
    return [b"\n".join(parts[:80]), b"\n".join(parts[at : at + 120]), SHORT]


def _kvm_seeds(style: str) -> list[bytes]:
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
    )  # fmt: skip
    from vmexit_sim.guest.kvm_text import event_line

    said: list[Any] = [
        Entry(0), Exit(0, "IO_INSTRUCTION", (0xCF80002, 0)), Port(True, 0xCF8, 4, 1, 0x80000000),
        UserSpace("KVM_EXIT_IO"), Entry(0), Exit(0, "IO_INSTRUCTION", (0xCFC0241, 0)),
        Port(False, 0xCFC, 4, 1, 0x29C08086), Entry(0), Exit(0, "EPT_MISCONFIG", (0, 0)),
        Memory(False, True, 0xFE003000, 4, 0), Memory(False, False, 0xFE003000, 4, 7),
        UserSpace("KVM_EXIT_MMIO"), Entry(0), Exit(0, "EPT_MISCONFIG", None),
        FastMemory(0xFE004000), Entry(0), Exit(0, "HLT", (0, 0)), Msr(True, 0x6E0, 0x1FB),
        Hypercall(5), Interrupt(0xEC), EndOfInterrupt(236), Entry(0),
    ]  # fmt: skip
    lines = [
        event_line(Event(number, 1_000_000_000 + 3_000 * number, 42, what), style)  # type: ignore[arg-type]
        for number, what in enumerate(said)
    ]
    more = "\n".join([*lines, "CPU:0 [LOST 4 EVENTS]", *lines])
    return ["\n".join(lines).encode(), more.encode()]


def _packed(how: Callable[[bytes], bytes], text: Callable[[], list[bytes]]) -> tuple[Any, Mutator]:
    """Seeds that are packed, and a mutator of what is inside or of the packed bytes."""
    unpack = lzma.decompress if how is lzma.compress else gzip.decompress

    def inside(data: bytes, draw: Random) -> bytes:
        return how(one_of(of_lines, of_bytes)(unpack(data), draw))

    return (lambda: [how(each) for each in text()]), one_of(inside, of_bytes)


def _load_trace(path: Path) -> list[Any]:
    from vmexit_sim.device import load_devices
    from vmexit_sim.guest.table_file import check_table
    from vmexit_sim.guest.trace_formats import read_any_trace

    check_table(read_any_trace(path, load_devices()).table, path)
    return _opened(str(path), policies=["linux-default", "hypercall"], timers=True)


def _calibrated(path: Path) -> list[Any]:
    """Calibrate, write the platform, and run it."""
    from vmexit_sim.calibration.calibrate import calibrate, write_calibration

    written = path.with_name("calibrated.toml")
    write_calibration(written, calibrate([path], clock=2_400_000_000), "calibrated")
    return _opened(str(path.parent / "small.toml"), platform=str(written))


OLD_PERF = b"""             VM-EXIT    Samples  Samples%     Time%    Min Time    Max Time         Avg time

      IO_INSTRUCTION       1000    78.67%    42.39%      3.54us     74.94us     13.63us ( +-   0.24% )
        EPT_MISCONFIG        33    21.33%    57.61%      1.71us  15227.79us    341.97us ( +-   8.91% )

Total Samples:1033, Total events handled time:24915.01us.
"""  # noqa: E501
NEW_PERF = b"""          Event name    Samples    Sample%     Time (ns)    Time%  Max Time (ns)  Min Time (ns)  Mean Time (ns)
      IO_INSTRUCTION       1000     78.67%      13630000   42.39%          74940           3540           13630
"""  # noqa: E501
PORTS = OLD_PERF.replace(b"VM-EXIT", b"IO Port Access").replace(b"IO_INSTRUCTION", b"0xcf8:POUT")
UNIT_TESTS = b"""tsc: Detected 2400.000 MHz
cpuid 1291
vmcall 1181
inl_from_qemu 6209
inl_from_kernel 2339
outl_to_kernel 1391
cpuid 1300
mmio-no-eventfd:pci-mem 8796
"""

# Results


def _results(path: Path) -> list[Any]:
    from vmexit_sim.study.sweep import open_results

    found = open_results(path)
    for name in list(found.frame["metric"].unique())[:2]:
        found.of(name)
    return []


def _results_seeds() -> list[bytes]:
    return [(_swept() / "results.parquet").read_bytes()]


@cache
def _swept() -> Path:
    """A finished sweep of three points."""
    from vmexit_sim.study.sweep import load_study, plan, run_study

    folder = Path(_scratch())
    (folder / "small.toml").write_bytes(SMALL)
    path = folder / "study.toml"
    path.write_text('scenario = "./small.toml"\n[factors]\ncpus = [1, 2, 3]\n')
    run_study(plan(load_study(str(path))[0], path), folder / "swept")
    return folder / "swept"


@dataclass(frozen=True)
class _Told:
    """A saved result, and all that can be made of it."""

    result: Any

    def run(self) -> None:
        """Tell it as `report` and `compare --json` do."""
        from vmexit_sim.present import documents, report, tables

        json.dumps(documents.comparison(self.result.comparison), allow_nan=False)
        console = Console(file=io.StringIO(), width=100)
        console.print(tables.comparison(self.result.comparison))
        report.report(self.result.comparison, self.result.command, self.result.uncertainty)


def _saved(path: Path) -> list[Any]:
    from vmexit_sim.study.result_file import load_result

    return [_Told(load_result(path))]


def _saved_seeds() -> list[bytes]:
    """A constant and a random comparison, as `compare --output` saves them."""
    from vmexit_sim.study.compare import compare
    from vmexit_sim.study.result_file import Result, save_result

    folder = Path(_scratch())
    made = []
    for name, content in (("small", SMALL), ("wide", WIDE)):
        (folder / f"{name}.toml").write_bytes(content)
        (one,) = _opened(str(folder / f"{name}.toml"), reps=3)
        save_result(Result(comparison=compare(one.opened), command="vmexit-sim compare"),
                    folder / "saved.json")  # fmt: skip
        made.append((folder / "saved.json").read_bytes())
    return made


def _resealed(data: bytes, draw: Random) -> bytes:
    """A saved result that says something else, with the checksum of what it says."""
    from vmexit_sim.study.result_file import _canonical, _checksum

    document = json.loads(data)
    if draw.random() < 0.1:
        return json.dumps(of_tree(document, draw, ("format", "version", "checksum"))).encode()
    content = of_tree(document["content"], draw, KEYS)
    document["content"] = content
    try:
        document["checksum"] = _checksum(_canonical(content))
    except ValueError:  # not a number
        document["checksum"] = "sha256:0"
    return json.dumps(document).encode("utf-8", "replace")


def _point(path: Path) -> list[Any]:
    """A stored point: damage is told by its checksum, so that the store does not hold it."""
    from vmexit_sim.study.sweep.store import Store

    store = Store(path.parent / "swept")
    with store.locked():
        sound = next(iter(_points()))
        name = sound.name
        (store.points / name).write_bytes(path.read_bytes())
        store._files = {name.partition("-")[0]: store.points / name}
        if store.holds(name.partition("-")[0]):
            store.table(name.partition("-")[0])
        elif (store.points / name).exists():
            raise Finding("a damaged point is still among the sound ones")
    return []


def _points() -> list[Path]:
    return sorted((_swept() / "points").glob("*.arrow"))


def _point_seeds() -> list[bytes]:
    return [path.read_bytes() for path in _points()]


KEYS = (
    "kind", "extends", "name", "title", "platform", "policies", "devices", "costs", "parameters",
    "blocks", "guest", "trace", "table", "workload", "only", "during", "operations", "between",
    "mean", "cv", "shift", "low", "high", "file", "column", "value", "mark", "source", "clock",
    "nesting", "rules", "match", "mechanism", "side", "idle", "delivery", "vcpus", "think_scales",
    "registers", "window", "class", "location", "emulate", "service", "factors", "design", "place",
    "values", "seed", "replications", "cpus", "time_slice", "needs", "max_batch", "x",
)  # fmt: skip
"""Keys that files of any kind may have."""

BESIDE = {"small.toml": lambda: SMALL, "policy.toml": lambda: POLICY, "times.csv": lambda: TIMES,
          "table.parquet": lambda: seeds("table")[0]}  # fmt: skip
DEEP = "nested too deeply|nests too deeply|larger than 16 MiB"
PACKED = "cannot be unpacked|is cut short"
NO_ACCESS = f"holds no access|holds several guests|is no access table|leaves no access|{PACKED}"
NO_MEASUREMENT = (
    "is UTF-16|nothing to calibrate|measures nothing|without the column|has more than one table"
    f"|holds no exit|has no row|{PACKED}"
)
NO_RESULT = "is no JSON|is no saved result|was damaged or changed|nests too deeply"


def _formats() -> Iterator[Format]:
    toml = partial(Format, file="case.toml", mutate=_tree_or_text(KEYS), beside=BESIDE,
                   whole=DEEP)  # fmt: skip
    yield toml(name="scenario", seeds=_scenario_seeds, load=_load_scenario)
    yield toml(name="study", seeds=_study_seeds, load=_study)
    yield toml(name="platform", seeds=_toml("platforms"), load=_platform)
    yield toml(name="policy", seeds=lambda: [*_toml("policies")(), POLICY], load=_all_policies)
    yield toml(name="what is extended", seeds=lambda: [*_toml("platforms")()[2:4], POLICY],
               load=_extended, beside={**BESIDE, "by.toml": lambda: b'extends = "./case.toml"\n'
               b'title = "by"\n'})  # fmt: skip
    yield toml(name="devices", seeds=_toml("devices"), load=_devices)
    yield toml(name="workload", seeds=_toml("workloads"), load=_load_scenario)
    yield Format(name="times", file="times.csv", seeds=lambda: [TIMES],
                 mutate=one_of(of_lines, of_bytes),
                 load=lambda path: _opened(str(path.parent / "timed.toml")),
                 beside={"timed.toml": lambda: b'costs = { item = { kind = "empirical", '
                         b'file = "times.csv", column = "ps" } }\n' + SMALL})  # fmt: skip
    yield Format(name="table", file="case.parquet", seeds=_table_seeds,
                 mutate=one_of(_columns, _columns, of_bytes), load=_load_scenario,
                 whole=NO_ACCESS)  # fmt: skip
    trace = partial(Format, load=_load_trace, whole=NO_ACCESS)
    yield trace(name="QEMU log", file="case.log", seeds=_qemu_seeds,
                mutate=one_of(of_lines, of_lines, of_bytes))  # fmt: skip
    for name, how in (("gz", gzip.compress), ("xz", lzma.compress)):
        seeds, mutate = _packed(how, _qemu_seeds)
        yield trace(name=f"QEMU log .{name}", file=f"case.log.{name}", seeds=seeds, mutate=mutate)
    for style in ("trace-cmd", "perf", "perf --ns", "ftrace"):
        yield trace(name=f"KVM log, {style}", file="case.log", seeds=partial(_kvm_seeds, style),
                    mutate=one_of(of_lines, of_lines, of_bytes))  # fmt: skip
    measured = partial(Format, file="case.txt", load=_calibrated, beside=BESIDE,
                       whole=NO_MEASUREMENT,
                       mutate=one_of(of_lines, of_lines, of_bytes))  # fmt: skip
    yield measured(name="perf kvm stat", seeds=lambda: [OLD_PERF, NEW_PERF, PORTS])
    yield measured(name="kvm-unit-tests", seeds=lambda: [UNIT_TESTS])
    yield measured(name="KVM events measured", seeds=partial(_kvm_seeds, "perf --ns"))
    yield Format(name="results", file="case.parquet", seeds=_results_seeds,
                 mutate=one_of(_columns, _columns, of_bytes), load=_results,
                 whole="is no table of results")  # fmt: skip
    yield Format(name="saved result", file="case.json", seeds=_saved_seeds,
                 mutate=one_of(_resealed, _resealed, _resealed, of_bytes), load=_saved,
                 whole=NO_RESULT)  # fmt: skip
    yield Format(name="stored point", file="case.arrow", seeds=_point_seeds, mutate=of_bytes,
                 load=_point)  # fmt: skip


FORMATS = {each.name: each for each in _formats()}
