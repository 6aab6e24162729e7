"""Whatever a text file holds, its reader ends with a result or with an `InputError`.

Coverage-guided fuzzing of every reader of text that users bring::

    pip install --target FOLDER atheris          # Atheris 3: CPython 3.11 to 3.13, Linux
    PYTHONPATH=FOLDER nice -n 19 python benchmarks/fuzz_parsers.py --seconds 600
    PYTHONPATH=FOLDER python benchmarks/fuzz_parsers.py --only kvm_trace --seconds 60

Atheris is no dependency of the project: it is built for single versions of Python, and the property
tests hold the same readers to the same rule. What it finds is written to ``--findings`` (a file
each) and belongs into the tests of that reader. A case that takes more than a second of CPU time
counts as found, too.

Each reader gets its share of the time in a process of its own, since libFuzzer ends the process
when its time is over.
"""

from __future__ import annotations

import argparse
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

SLOW = 1.0
"""CPU seconds beyond which a case is found."""

LONGEST = 16_384
"""Longest case, in bytes."""

_NUMBER = re.compile(rb"0x[0-9a-f]+|[0-9a-f]*[0-9][0-9a-f]*")
_NUMBERS = [
    b"0", b"1", b"3", b"-1", b"255", b"256", b"4097", b"65535", b"65536", b"99999", b"999999999999",
    b"18446744073709551616", b"1e308", b"nan", b"0x0", b"0xcf8", b"0xcfb", b"0xcfc", b"0xffff",
    b"0x10000", b"0xb0000001", b"0x29c08086", b"0x7fffffffffffffff", b"0xffffffffffffffff",
]  # fmt: skip

AT = "CPU 0/KVM-42 [001] 1.{:06}: "
KVM = "\n".join(
    AT.format(number) + said
    for number, said in enumerate((
        "kvm_entry: vcpu 0, rip 0xfff0",
        "kvm_exit: reason IO_INSTRUCTION rip 0xfff0 info cf80002 0",
        "kvm_pio: pio_write at 0xcf8 size 4 count 1 val 0x80000000",
        "kvm_userspace_exit: reason KVM_EXIT_IO (2)",
        "kvm_entry: vcpu 0",
        "kvm_exit: vcpu 0 reason io rip 0x1 info1 0x0cfc0241 info2 0x0 intr_info 0x0",
        "kvm_pio: pio_read at 0xcfc size 4 count 1 val 0x29c08086",
        "kvm_entry: vcpu 0",
        "kvm_exit: reason EPT_MISCONFIG rip 0x1 info 0 0",
        "kvm_mmio: mmio unsatisfied-read len 4 gpa 0xfe003000 val 0x0",
        "kvm_mmio: mmio read len 4 gpa 0xfe003000 val 0x7",
        "kvm_fast_mmio: fast mmio at gpa 0xfe004000",
        "kvm_entry: vcpu 0",
        "kvm_exit: reason HLT rip 0x1 info 0 0",
        "kvm_msr: msr_write 6e0 = 0x1fb",
        "kvm_hypercall: nr 0x5 a0 0x1 a1 0x2 a2 0x0 a3 0x0",
        "kvm_inj_virq: IRQ 0xec",
        "kvm_eoi: apicid 0 vector 236",
        "kvm_entry: vcpu 0",
    ))
)  # fmt: skip
QEMU = """77@1.000001:memory_region_ops_write cpu 0 mr 0x5 addr 0xcf8 value 0x80001000 size 4 \
name 'pci-conf-idx'
77@1.000002:pci_cfg_read nvme 00:02.0 @0x0 -> 0x1
77@1.000003:memory_region_ops_read cpu 0 mr 0x5 addr 0xcfc value 0x1 size 4 name 'pci-conf-data'
77@1.000004:memory_region_ops_read cpu 0 mr 0x5 addr 0x10000 value 0x0 size 4 name 'nvme'
"""
PERF = """             VM-EXIT    Samples  Samples%     Time%    Min Time    Max Time         Avg time

      IO_INSTRUCTION       1000    78.67%    42.39%      3.54us     74.94us     13.63us ( +-   0.24% )
                 HLT         33    21.33%    57.61%      1.71us  15227.79us    341.97us ( +-   8.91% )

Total Samples:1033, Total events handled time:24915.01us.
"""  # noqa: E501
PERF_NEW = """          Event name    Samples    Sample%     Time (ns)    Time%  Max Time (ns)  Min Time (ns)  Mean Time (ns)
      IO_INSTRUCTION       1000     78.67%      13630000   42.39%          74940           3540           13630
"""  # noqa: E501
PERF_PORTS = PERF.replace("VM-EXIT", "IO Port Access").replace("IO_INSTRUCTION", "0xcf8:POUT")
UNIT = "tsc: Detected 2400.000 MHz\ncpuid 1291\nvmcall 1181\ninl_from_qemu 6209\ncpuid 1300\n"


def readers() -> dict[str, tuple[Callable[[Path], object], list[str]]]:
    """Each reader by name, with what it should understand."""
    from vmexit_sim.calibration.calibrate import kind_of
    from vmexit_sim.calibration.kvm_events import read_kvm_events
    from vmexit_sim.calibration.perf_stat import read_perf_stat
    from vmexit_sim.calibration.unit_tests import read_unit_tests
    from vmexit_sim.device import load_devices
    from vmexit_sim.guest.kvm_trace import read_kvm_trace
    from vmexit_sim.guest.qemu_trace import Trace, read_trace
    from vmexit_sim.guest.table_file import check_table
    from vmexit_sim.guest.trace_formats import read_any_trace

    devices = load_devices()

    def checked(trace: Trace) -> None:
        check_table(trace.table)

    return {
        "qemu_trace": (lambda path: checked(read_trace(path, devices)), [QEMU]),
        "kvm_trace": (lambda path: checked(read_kvm_trace(path, devices)), [KVM]),
        "any_trace": (lambda path: checked(read_any_trace(path, devices)), [KVM, QEMU]),
        "kvm_events": (read_kvm_events, [KVM]),
        "perf_stat": (read_perf_stat, [PERF, PERF_NEW, PERF_PORTS]),
        "unit_tests": (read_unit_tests, [UNIT]),
        "kind_of": (kind_of, [PERF, UNIT, KVM]),
    }


def fuzz(name: str, seconds: int, findings: Path) -> None:
    """Fuzz one reader; does not return."""
    import atheris

    with atheris.instrument_imports(include=["vmexit_sim.guest", "vmexit_sim.calibration"]):
        read, seeds = readers()[name]
    from vmexit_sim.errors import InputError

    folder = Path(tempfile.mkdtemp(prefix=f"fuzz-{name}-"))
    corpus = folder / "corpus"
    corpus.mkdir()
    for number, seed in enumerate(seeds):
        (corpus / f"seed-{number}").write_text(seed)
    case = folder / "case"
    words = sorted({word for seed in seeds for word in seed.split() if len(word) < 60})
    (folder / "words").write_text("".join(f'"{_escaped(word)}"\n' for word in words))

    def one(data: bytes) -> None:
        case.write_bytes(data)
        begin = time.process_time()
        try:
            read(case)
        except InputError:
            pass
        except BaseException:
            (findings / f"{name}-{abs(hash(data)):016x}").write_bytes(data)
            raise
        if time.process_time() - begin > SLOW:
            (findings / f"{name}-slow-{abs(hash(data)):016x}").write_bytes(data)
            raise TimeoutError(f"took more than {SLOW} s of CPU time")

    def mutate(data: bytes, longest: int, seed: int) -> bytes:
        """Half of the time bytes, as libFuzzer does; else whole lines and numbers in them."""
        draw = random.Random(seed)
        if draw.random() < 0.5 or not data:
            return atheris.Mutate(data, longest)
        lines = data.split(b"\n")
        for _ in range(draw.randint(1, 4)):
            place, other = draw.randrange(len(lines)), draw.randrange(len(lines))
            match draw.randrange(5):
                case 0:
                    lines.insert(place, lines[other])
                case 1:
                    lines[place], lines[other] = lines[other], lines[place]
                case 2 if len(lines) > 1:
                    del lines[place]
                case 3:
                    lines[place] = lines[place][: draw.randint(0, len(lines[place]))]
                case _:
                    numbers = list(_NUMBER.finditer(lines[place]))
                    if numbers:
                        at = draw.choice(numbers)
                        lines[place] = (
                            lines[place][: at.start()] + draw.choice(_NUMBERS)
                            + lines[place][at.end() :]
                        )  # fmt: skip
        return b"\n".join(lines)[:longest]

    arguments = [
        sys.argv[0], f"-max_total_time={seconds}", f"-max_len={LONGEST}", "-timeout=30",
        f"-dict={folder / 'words'}", f"-artifact_prefix={findings / name}-", "-print_final_stats=1",
        "-rss_limit_mb=4096", str(corpus),
    ]  # fmt: skip
    atheris.Setup(arguments, one, custom_mutator=mutate)
    atheris.Fuzz()


def _escaped(word: str) -> str:
    return word.replace("\\", r"\\").replace('"', r"\"")


def main() -> int:
    """Fuzz every reader in turn."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--seconds", type=int, default=600, help="time for all readers together")
    parser.add_argument("--only", help="one reader's name")
    parser.add_argument("--findings", type=Path, default=Path("fuzz-findings"))
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.findings.mkdir(parents=True, exist_ok=True)
    if options.here:
        fuzz(options.only, options.seconds, options.findings.resolve())
    chosen = [options.only] if options.only else list(readers())
    failed = 0
    for name in chosen:
        share = max(options.seconds // len(chosen), 1)
        command = [sys.executable, __file__, "--here", "--only", name, "--seconds", str(share),
                   "--findings", str(options.findings)]  # fmt: skip
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
        said = [line for line in ended.stderr.splitlines() if "stat::" in line or "DONE" in line]
        print(f"{name}: exit {ended.returncode}; " + "; ".join(said[:3]), flush=True)
        if ended.returncode:
            failed += 1
            print(ended.stderr[-4_000:], flush=True)
    print(f"{failed} of {len(chosen)} readers failed; findings in {options.findings}")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
