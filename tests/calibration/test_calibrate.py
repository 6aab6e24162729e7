"""From files to a platform: recognised by content, written whole, read back; and what it shows."""

from __future__ import annotations

import gzip
import io
import json
import lzma
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from vmexit_sim.calibration.calibrate import Calibration, calibrate, kind_of, write_calibration
from vmexit_sim.calibration.costs import Calibrated
from vmexit_sim.calibration.measurement import Measurement
from vmexit_sim.calibration.platform_file import platform_text, stated_time, write_platform
from vmexit_sim.errors import InputError
from vmexit_sim.hypervisor.platform import Costs, load_platform
from vmexit_sim.present.calibration_tables import calibration_document, calibration_report, verdict
from vmexit_sim.units import parse_time

REPORT = """
Analyze events for all VMs, all VCPUs:

   VM-EXIT    Samples  Samples%     Time%    Min Time    Max Time         Avg time

IO_INSTRUCTION  55654    78.67%    42.39%      3.54us     74.94us     13.63us ( +-   0.24% )
     MSR_WRITE  10000    17.18%     1.55%      0.60us     20.00us      1.20us ( +-   0.50% )
           HLT   2933     4.15%    56.06%      1.71us  15227.79us    341.97us ( +-   8.91% )

Total Samples:68587, Total events handled time:1773562.03us.
"""
LOG = "vmcall 1181\ninl_from_qemu 6209\ninl_from_kernel 2339\noutl_to_kernel 1391\n"
EVENTS = "".join(
    f" qemu-4242 [001] {100 + i}.000000: kvm_exit: reason IO_INSTRUCTION rip 0x1 info 0 0\n"
    f" qemu-4242 [001] {100 + i}.000004: kvm_userspace_exit: reason KVM_EXIT_IO (2)\n"
    f" qemu-4242 [001] {100 + i}.000009: kvm_pio: pio_write at 0x3f8 size 1 count 1 val 0x0\n"
    f" qemu-4242 [001] {100 + i}.0000{20 + i}: kvm_entry: vcpu 0\n"
    for i in range(5)
)
CLOCK = 3_500_000_000


def put(tmp_path: Path, **texts: str) -> list[Path]:
    paths = []
    for name, text in texts.items():
        path = tmp_path / f"{name}.txt"
        path.write_text(text)
        paths.append(path)
    return paths


@pytest.fixture
def both(tmp_path: Path) -> Calibration:
    return calibrate(put(tmp_path, report=REPORT, log=LOG), clock=CLOCK)


@pytest.mark.parametrize(
    ("text", "kind"),
    [(REPORT, "perf kvm stat"), (LOG, "kvm-unit-tests"), (EVENTS, "KVM events"),
     ("# a comment\n" * 50 + LOG, "kvm-unit-tests")],
)  # fmt: skip
@pytest.mark.parametrize("pack", [bytes, gzip.compress, lzma.compress])
def test_a_file_is_known_by_its_content(tmp_path: Path, text: str, kind: str, pack: Any) -> None:
    path = tmp_path / "whatever"
    path.write_bytes(pack(text.encode()))
    assert kind_of(path) == kind


@pytest.mark.parametrize(
    "content",
    [b"", b"hello\n", b"\x7fELF" + bytes(9999), b"\xfd7zXZ\0rubbish", b"a" * 10**6,
     "vmcall \u0665\n".encode()],
)  # fmt: skip
def test_anything_else_is_refused_with_the_files_name(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "other.bin"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"other\.bin"):
        calibrate([path])
    with pytest.raises(InputError, match="cannot be read"):
        calibrate([tmp_path / "missing"])
    with pytest.raises(InputError, match="cannot be read"):
        calibrate([tmp_path])


def test_what_says_what_it_is_too_late_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "late.txt"
    path.write_text("\n" * 20_000 + LOG)
    with pytest.raises(InputError, match="nothing to calibrate from"):
        calibrate([path], clock=CLOCK)


@pytest.mark.parametrize(("base", "says"), [
    ("bare-metal-2022", "no hypervisor"), ("kvm-nested-2017", "a hypervisor below its own"),
    ("kvm-2071", "did you mean 'kvm-2017'"),
])  # fmt: skip
def test_a_base_must_be_one_hypervisor_on_a_host(tmp_path: Path, base: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        calibrate(put(tmp_path, log=LOG), base=base, clock=CLOCK)


def test_nothing_and_what_is_measured_twice_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no file to calibrate from"):
        calibrate([])
    with pytest.raises(InputError, match=r"'IO_INSTRUCTION' is measured in .*a\.txt and in .*b"):
        calibrate(put(tmp_path, a=REPORT, b=REPORT))
    only = re.sub("IO_INSTR.*|MSR_.*", "", REPORT)
    with pytest.raises(InputError, match="measures nothing that a platform charges"):
        calibrate(put(tmp_path, only=only))


def test_what_no_cost_follows_from_makes_no_platform(tmp_path: Path) -> None:
    files = put(tmp_path, log="vmcall 0\noutl_to_kernel 0\n")
    with pytest.raises(InputError, match="charges: vmcall leaves nothing for world_switch_out"):
        calibrate(files, clock=CLOCK)


@pytest.mark.parametrize("clock", [5, 10**13])
def test_a_clock_that_is_no_cpus_is_refused_whatever_the_files(tmp_path: Path, clock: int) -> None:
    for files in (put(tmp_path, report=REPORT), put(tmp_path, log=LOG)):
        with pytest.raises(InputError, match=r"is no CPU's clock.*0\.1 to 100 GHz"):
            calibrate(files, clock=clock)


def test_a_report_without_a_column_is_told_which(tmp_path: Path) -> None:
    cut = re.sub(r" +(Avg time|\d\S* \( \+-.*)$", "", REPORT, flags=re.MULTILINE)
    assert "Avg" not in cut
    with pytest.raises(InputError, match=r"report\.txt: .*without the column Avg time"):
        calibrate(put(tmp_path, report=cut))


@pytest.mark.parametrize(("coding", "mark"), [("utf-16-le", "ff fe"), ("utf-16-be", "fe ff")])
def test_utf_16_is_named_by_its_byte_order_mark(tmp_path: Path, coding: str, mark: str) -> None:
    for text in (REPORT, LOG, EVENTS):
        path = tmp_path / "wide.txt"
        path.write_bytes(f"\ufeff{text}".encode(coding))
        with pytest.raises(InputError, match=f"is UTF-16.* mark {mark}.*iconv"):
            calibrate([path], clock=CLOCK)


AMD = (("IO_INSTRUCTION", "io", "EXIT_IOIO"), ("EPT_MISCONFIG", "npf", "EXIT_NPF"),
       ("MSR_WRITE", "msr", "EXIT_MSR"), ("VMCALL", "vmmcall", "EXIT_VMMCALL"),
       ("CPUID", "cpuid", "EXIT_CPUID"), ("HLT", "hlt", "EXIT_HLT"))  # fmt: skip


def on_amd(text: str, who: int) -> str:
    """A text of Intel's as the kernel (1) or trace-cmd (2) prints it on AMD's."""
    for names in AMD:
        text = text.replace(names[0], names[who])
    return text


def all_kinds(rounds: int = 30) -> str:
    """Exits of every kind, in the kernel and to user space, none as long as another."""
    lines, now = [], 10**9
    user = "kvm_userspace_exit: reason KVM_EXIT_IO (2)"
    kinds = (
        ("IO_INSTRUCTION", ["kvm_pio: pio_write at 0x20 size 1 count 1 val 0x0"], 900),
        ("IO_INSTRUCTION", ["kvm_pio: pio_write at 0x3f8 size 1 count 1 val 0x0", user], 4000),
        ("IO_INSTRUCTION", [user, "kvm_pio: pio_read at 0x3f8 size 1 count 1 val 0x0"], 5000),
        ("EPT_MISCONFIG", ["kvm_mmio: mmio write len 4 gpa 0xfe003000 val 0x1", user], 7000),
        ("EPT_MISCONFIG", ["kvm_fast_mmio: fast mmio at gpa 0xfe004000"], 1200),
        ("MSR_WRITE", ["kvm_msr: msr_write 6e0 = 0x1"], 600),
        ("VMCALL", [], 400), ("CPUID", [], 700), ("HLT", [], 90_000),
    )  # fmt: skip
    for place in range(rounds):
        for reason, inside, time in kinds:
            end = now + time + 13 * (place * place % 7)
            for at, said in (
                (now, f"kvm_exit: vcpu 0 reason {reason} rip 0x1"),
                *((now + 100, each) for each in inside),
                (end, "kvm_entry: vcpu 0, rip 0x1"),
            ):
                lines.append(f"qemu 4242 [001] {at // 10**9}.{at % 10**9:09}: kvm:{said}")
            now = end + 1000
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("who", [1, 2])
def test_the_same_log_of_amds_and_intels_gives_the_same_costs(tmp_path: Path, who: int) -> None:
    for spread in (True, False):
        one = calibrate(put(tmp_path, log=all_kinds()), spread=spread)
        other = calibrate(put(tmp_path, log=on_amd(all_kinds(), who)), spread=spread)
        assert other.costs == one.costs
        assert other.measurements == one.measurements
        assert other.notes == one.notes
    assert one.measured == 9
    assert "log.txt: HLT is not used: its time is the guest's idling, and no exit handling" in (
        one.notes
    )
    assert "not used, since no cost follows from them: CPUID" in one.notes


FULL_REPORT = REPORT.replace(
    "           HLT",
    """ EPT_MISCONFIG  9000     9.00%     9.00%      2.00us     20.00us      9.20us ( +-   0.50% )
        VMCALL   5000     5.00%     0.50%      0.30us      2.00us      0.50us ( +-   0.50% )
         CPUID   5000     5.00%     0.50%      0.50us      2.00us      0.90us ( +-   0.50% )
           HLT""",
)


def test_the_same_reports_of_amds_and_intels_give_the_same_costs(tmp_path: Path) -> None:
    # Nested page faults hold more than memory accesses: that row has no twin.
    intel = re.sub(".*EPT_MISCONFIG.*\n", "", FULL_REPORT)
    for log in ("", "cpuid 1291\n" + LOG):
        more = {"tests": log} if log else {}
        one = calibrate(put(tmp_path, report=intel, **more), clock=CLOCK)
        amd_tests = {name: text.replace("vmcall", "vmmcall") for name, text in more.items()}
        other = calibrate(put(tmp_path, report=on_amd(intel, 1), **amd_tests), clock=CLOCK)
        assert [(c.name, c.value, c.low, c.high) for c in other.costs] == [
            (c.name, c.value, c.low, c.high) for c in one.costs
        ]
    amd = calibrate(put(tmp_path, report=on_amd(FULL_REPORT, 1)))
    assert any(note.startswith("npf is not used: nested page faults") for note in amd.notes)


def test_events_take_the_place_of_perfs_rows_on_amds_as_on_intels(tmp_path: Path) -> None:
    for log, report in ((all_kinds(), FULL_REPORT),
                        (on_amd(all_kinds(), 1), on_amd(FULL_REPORT, 1))):  # fmt: skip
        found = calibrate(put(tmp_path, log=log, report=report))
        used = {name for cost in found.costs for name in cost.combination}
        assert not used & {"IO_INSTRUCTION", "EPT_MISCONFIG", "MSR_WRITE", "VMCALL"}
        assert found.measured == 9


def test_events_and_perf_of_one_host_go_together(tmp_path: Path) -> None:
    slower = REPORT.replace("13.63us", "73.63us")
    found = calibrate(put(tmp_path, events=EVENTS, report=slower))
    costs = {cost.name: cost for cost in found.costs}
    assert costs["to_user"].combination.keys() == {"port write to user space"}
    assert costs["dispatch_msr"].combination == {"MSR_WRITE": 1.0}
    assert {kind for _, kind in found.files} == {"KVM events", "perf kvm stat"}
    mean = next(m.mean for m in found.measurements if m.name == "port write to user space")
    assert mean == pytest.approx(22e6)


def test_the_platform_file_is_read_back_with_all_its_measurements(
    tmp_path: Path, both: Calibration
) -> None:
    path = tmp_path / "my-host.toml"
    write_calibration(path, both, "my-host")
    host = load_platform(str(path))
    assert (host.name, host.clock, host.clock_mark) == ("my-host", CLOCK, "H")
    assert "of 33 costs were measured" in host.caution
    assert host.measurements["IO_INSTRUCTION"].sd == pytest.approx(7_717_121, abs=1)
    assert host.measurements["IO_INSTRUCTION"].n == 55_654
    assert host.measurements["vmcall"].sd is None
    for cost in both.costs:
        read = getattr(host.costs, cost.name)
        assert read.mark == cost.mark
        assert read.combination == cost.combination
        derived = sum(w * host.measurements[name].mean for name, w in read.combination.items())
        assert read.value.mean_ps == pytest.approx(derived, abs=4)
        assert (read.interval is None) == (cost.low is None)
    untouched = load_platform("kvm-2017").costs.deliver_ipi
    assert host.costs.deliver_ipi.value.mean_ps == untouched.value.mean_ps
    assert host.costs.deliver_ipi.mark == "A"
    assert host.costs.deliver_ipi.source.startswith("as on kvm-2017 (1665 cycles): ")


def test_a_platform_may_extend_a_calibrated_one(tmp_path: Path, both: Calibration) -> None:
    write_calibration(tmp_path / "my-host.toml", both, "my-host")
    (tmp_path / "other.toml").write_text('extends = "my-host.toml"\ntitle = "the same"\n')
    assert load_platform(str(tmp_path / "other.toml")).measurements.keys() >= {"vmcall"}


def test_a_cost_derived_from_no_measurement_is_refused(tmp_path: Path, both: Calibration) -> None:
    path = tmp_path / "my-host.toml"
    write_calibration(path, both, "my-host")
    path.write_text(path.read_text().replace('[measurements."vmcall"]', "[measurements.vmcal]"))
    with pytest.raises(InputError, match="'vmcall' is what cost world_switch_out is derived from"):
        load_platform(str(path))
    turned = '\ninterval = ["2 us", "1 us"]\nmark = "A"'
    path.write_text(platform_of().replace('\nmark = "A"', turned, 1))
    with pytest.raises(InputError, match="low end above its high end"):
        load_platform(str(path))


def platform_of(
    costs: tuple[Calibrated, ...] = (), measurements: tuple[Measurement, ...] = (), **more: Any
) -> str:
    arguments: dict[str, Any] = {
        "name": "x", "title": "t", "about": "a", "base": load_platform("kvm-2017"), **more,
    }  # fmt: skip
    return platform_text(costs=costs, measurements=measurements, **arguments)


def test_names_must_be_costs_and_differ() -> None:
    cost = Calibrated(name="to_user", value="1 us", source="from nowhere")
    with pytest.raises(InputError, match="'to_user' is the name of 2 costs"):
        platform_of((cost, cost))
    with pytest.raises(InputError, match="'to_usr' is no cost"):
        platform_of((Calibrated(name="to_usr", value="1 us", source="from nowhere"),))
    measured = Measurement(name="a", mean=1.0)
    with pytest.raises(InputError, match="'a' is the name of 2 measurements"):
        platform_of((), (measured, measured))


def test_a_file_that_would_not_be_read_back_is_not_written(tmp_path: Path) -> None:
    path = tmp_path / "host.toml"
    path.write_text("before")
    lost = Calibrated(name="to_user", value="1 us", combination={"gone": 1.0}, source="from gone")
    with pytest.raises(InputError, match="'gone' is what cost to_user is derived from"):
        write_platform(path, name="x", title="t", about="a", base=load_platform("kvm-2017"),
                       costs=[lost], measurements=[])  # fmt: skip
    assert path.read_text() == "before"


@given(name=st.text(min_size=1), about=st.text(), time=st.floats(0, 4e18))
def test_any_text_and_time_survive_the_file(
    tmp_path_factory: pytest.TempPathFactory, name: str, about: str, time: float
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.toml"
    measured = Measurement(name=name, mean=time, file=about, row=name)
    cost = Calibrated(name="item", value=stated_time(time), combination={name: 1.0},
                      low=-1.0, high=time + 1, source=f"source: {about}")  # fmt: skip
    write_platform(path, name=name, title=name, about=about, base=load_platform("kvm-2017"),
                   costs=[cost], measurements=[measured])  # fmt: skip
    host = load_platform(str(path))
    clean = name.encode("utf-8", "replace").decode()
    assert host.name == clean
    assert host.measurements[clean].mean == round(time)
    assert host.costs.item.interval == (0, round(time + 1))


@given(st.integers(0, 2**62))
def test_a_stated_time_is_exact(time: int) -> None:
    assert parse_time(stated_time(time)) == time


@given(
    rows=st.lists(
        st.tuples(
            st.sampled_from(["IO_INSTRUCTION", "EPT_MISCONFIG", "MSR_WRITE", "MSR_READ", "VMCALL",
                             "HLT", "UNKNOWN", "io", "npf"]),
            st.integers(1, 10**15), st.integers(1, 10**9), st.integers(0, 9999),
        ),
        min_size=1, unique_by=lambda row: row[0],
    ),
    tests=st.dictionaries(st.sampled_from(LOG.split()[::2]), st.integers(0, 10**12)),
    simulated=st.booleans(), spread=st.booleans(),
)  # fmt: skip
def test_any_readable_numbers_make_a_platform_or_an_input_error(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[tuple[str, int, int, int]],
    tests: dict[str, int],
    simulated: bool,
    spread: bool,
) -> None:
    folder = tmp_path_factory.getbasetemp()
    body = [
        f"{name} {n} 1.00% 1.00% {mean // 2}ns {mean * 2}ns {mean}ns ( +- {pct / 100:.2f}% )"
        for name, mean, n, pct in rows
    ]
    mark = "# simulated: times include the world switch" * simulated
    report = "\n".join([mark, REPORT.splitlines()[3], *body])
    log = "\n".join(f"{name} {cycles}" for name, cycles in tests.items())
    texts = {"report": report} | ({"log": log} if tests else {})
    try:
        found = calibrate(put(folder, **texts), clock=CLOCK, spread=spread)
        write_calibration(folder / "made.toml", found, "made")
    except InputError as error:
        assert re.search("measures nothing|longer than 53 days|can be read", str(error))  # noqa: PT017
        return
    host = load_platform(str(folder / "made.toml"))
    assert host.measurements.keys() == {measurement.name for measurement in found.measurements}


def test_what_is_shown_holds_every_estimate_its_interval_and_its_doubts(both: Calibration) -> None:
    screen = io.StringIO()
    Console(file=screen, width=200).print(calibration_report(both))
    text = screen.getvalue()
    for part in ("13.630 ± 0.064 µs", "55,654", "7.717 µs", "668.3 ns ± ?", "by moments",
                 "contained in vmcall: 0 here", "HLT is not used", "3.5 GHz (stated)"):  # fmt: skip
        assert part in text, part
    assert verdict(both).startswith("7 of 33 costs come from measurements, 3 of them identified")
    for name in Costs.model_fields:
        assert name in text, name


def test_the_document_is_json_and_holds_the_same(both: Calibration) -> None:
    document = json.loads(json.dumps(calibration_document(both), allow_nan=False))
    assert document["verdict"] == verdict(both)
    first = next(m for m in document["measurements"] if m["name"] == "IO_INSTRUCTION")
    assert first["mean"]["method"] == "calibration"
    assert first["n"] == first["mean"]["n"] == 55_654
    unknown = next(m for m in document["measurements"] if m["name"] == "vmcall")
    assert (unknown["n"], unknown["mean"]["low"]) == (None, None)
    assert {cost["name"] for cost in document["costs"]} == {cost.name for cost in both.costs}
