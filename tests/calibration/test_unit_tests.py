"""Logs of kvm-unit-tests' vmexit: cycles, the clock, repetitions, and anything else."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmexit_sim.calibration.unit_tests import is_result, read_unit_tests
from vmexit_sim.errors import InputError

LOG = """\
timeout -k 1s --foreground 90s qemu-kvm -kernel x86/vmexit.flat
enabling apic
paging enabled
cr0 = 80010011
cr3 107f000
cpuid 1291
vmcall 1181
mov_from_cr8 11
mov_to_cr8 16
inl_from_pmtimer 6457
inl_from_qemu 6209
inl_from_kernel 2339
outl_to_kernel 1391
self_ipi_sti_nop (skipped)
x2apic_self_ipi_tpr_sti_hlt 14881
mmio-no-eventfd:pci-mem 8796
PASS vmexit_vmcall
"""


def write(tmp_path: Path, text: str | bytes) -> Path:
    path = tmp_path / "vmexit.log"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_cycles_become_times_of_the_stated_clock(tmp_path: Path) -> None:
    tests = read_unit_tests(write(tmp_path, LOG), 3_500_000_000)
    found = {measurement.name: measurement for measurement in tests.measurements}
    assert found["inl_from_qemu"].mean == pytest.approx(6209 / 3.5e9 * 1e12)
    assert list(found) == [
        "cpuid", "vmcall", "mov_from_cr8", "mov_to_cr8", "inl_from_pmtimer", "inl_from_qemu",
        "inl_from_kernel", "outl_to_kernel", "x2apic_self_ipi_tpr_sti_hlt",
        "mmio-no-eventfd:pci-mem",
    ]  # fmt: skip
    assert found["vmcall"].row == "line 7"


@pytest.mark.parametrize("clock", [0, -1, 5, 99_999_999, 10**11 + 1, 10**20])
def test_a_clock_that_is_no_cpus_is_refused(tmp_path: Path, clock: int) -> None:
    with pytest.raises(InputError, match=r"clock.*is no CPU's clock"):
        read_unit_tests(write(tmp_path, LOG), clock)


def test_a_byte_order_mark_hides_no_result(tmp_path: Path) -> None:
    (vmcall,) = read_unit_tests(write(tmp_path, b"\xef\xbb\xbfvmcall 1181\n"), 10**9).measurements
    assert (vmcall.name, vmcall.row) == ("vmcall", "line 1")
    assert is_result(b"\xef\xbb\xbfvmcall 1181")


def test_one_number_says_nothing_of_its_spread(tmp_path: Path) -> None:
    tests = read_unit_tests(write(tmp_path, LOG), 10**9)
    for measurement in tests.measurements:
        assert (measurement.n, measurement.sd, measurement.error) == (None, None, None)
        assert not math.isfinite(measurement.estimate().half_width)
    assert any("how sure they are is not known" in note for note in tests.notes)


def test_repetitions_of_a_test_have_a_mean_and_an_interval(tmp_path: Path) -> None:
    path = write(tmp_path, "vmcall 1180\nvmcall 1190\nvmcall 1200\n")
    (vmcall,) = read_unit_tests(path, 10**9).measurements
    assert (vmcall.n, vmcall.mean, vmcall.least) == (3, 1_190_000, 1_180_000)
    assert vmcall.sd == pytest.approx(10_000)
    assert vmcall.error == pytest.approx(math.hypot(10_000 / 3**0.5, 1000 / 12**0.5))


@pytest.mark.parametrize(
    ("line", "clock"),
    [
        ("[    0.000000] tsc: Detected 3400.000 MHz processor", 3_400_000_000),
        ("tsc: Refined TSC clocksource calibration: 2594.106 MHz", 2_594_106_000),
        ("tsc_khz: 2100000", 2_100_000_000),
        ("model name : Intel(R) Xeon(R) CPU E5-2450 0 @ 2.10GHz", 2_100_000_000),
    ],
)
def test_a_log_may_say_its_clock(tmp_path: Path, line: str, clock: int) -> None:
    tests = read_unit_tests(write(tmp_path, f"{line}\n{LOG}"))
    assert tests.clock == clock
    assert "found in" in tests.clock_source
    stated = read_unit_tests(write(tmp_path, f"{LOG}{line}\n"), 1_000_000_000)
    assert stated.clock == 1_000_000_000
    assert any("the log says" in note for note in stated.notes)


def test_the_surest_statement_of_the_clock_counts(tmp_path: Path) -> None:
    lines = "model name : CPU @ 2.10GHz\ntsc: Detected 2095.000 MHz processor\n"
    assert read_unit_tests(write(tmp_path, lines + LOG)).clock == 2_095_000_000


def test_without_a_clock_cycles_are_refused(tmp_path: Path) -> None:
    for text in (LOG, "tsc_khz: 1\n" + LOG, "tsc_khz: 999999999\n" + LOG):
        with pytest.raises(InputError, match=r"vmexit\.log: is in cycles.*--clock"):
            read_unit_tests(write(tmp_path, text))


@pytest.mark.parametrize(
    "line",
    ["cr3 107f000", "vmcall", "vmcall -5", "vmcall 1.5", "vmcall nan", "vmcall 12 13", "x 5",
     "PASS vmcall", "vmcall \u0661\u0662", "vmcall 1" + "0" * 30, "cpu 5", "self 1"],
)  # fmt: skip
def test_what_is_no_result_is_none(line: str) -> None:
    assert not is_result(line.encode())


def test_a_file_without_results_is_refused(tmp_path: Path) -> None:
    for text in ("", "hello\n", b"\x7fELF\0" * 1000, "a" * 3_000_000):
        with pytest.raises(InputError, match="has no result of kvm-unit-tests"):
            read_unit_tests(write(tmp_path, text), 10**9)
    with pytest.raises(InputError, match=r"line 1: 999999999999999999 is longer than 53 days"):
        read_unit_tests(write(tmp_path, "vmcall " + "9" * 18), 10**8)


def test_a_log_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vmexit_sim.calibration.unit_tests.MOST_LINES", 100)
    monkeypatch.setattr("vmexit_sim.calibration.unit_tests.MOST_REPETITIONS", 50)
    with pytest.raises(InputError, match="more than 100 lines"):
        read_unit_tests(write(tmp_path, "\n" * 101), 10**9)
    with pytest.raises(InputError, match="repeats a test more than 50 times"):
        read_unit_tests(write(tmp_path, "vmcall 1\n" * 60), 10**9)


@given(st.dictionaries(
    st.sampled_from(["vmcall", "cpuid", "inl_from_qemu", "outl_to_kernel", "wr_tsc_adjust_msr"]),
    st.integers(0, 10**12), min_size=1,
))  # fmt: skip
def test_what_is_printed_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, cycles: dict[str, int]
) -> None:
    path = tmp_path_factory.getbasetemp() / "vmexit.log"
    path.write_text("".join(f"{name} {count}\n" for name, count in cycles.items()))
    tests = read_unit_tests(path, 10**9)
    assert {m.name: m.mean for m in tests.measurements} == {
        name: pytest.approx(count * 1000) for name, count in cycles.items()
    }


@given(st.lists(st.one_of(
    st.binary(max_size=120), st.sampled_from([line.encode() for line in LOG.splitlines()])
), max_size=12))  # fmt: skip
def test_no_file_makes_anything_but_an_input_error(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes]
) -> None:
    path = tmp_path_factory.getbasetemp() / "vmexit.log"
    path.write_bytes(b"\n".join(lines))
    try:
        found, refused = read_unit_tests(path, 2 * 10**9).measurements, None
    except InputError as error:
        found, refused = (), str(error)
    assert (refused is None) == bool(found)
    assert refused is None or str(path) in refused
