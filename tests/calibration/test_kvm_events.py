"""What durations taken from KVM's trace events hold to."""

from __future__ import annotations

import lzma
import math
import tracemalloc
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vmexit_sim.calibration import kvm_events
from vmexit_sim.calibration.kvm_events import KEPT, Tally, read_events, read_kvm_events
from vmexit_sim.calibration.measurement import Measurement
from vmexit_sim.errors import InputError
from vmexit_sim.guest.kvm_event import (
    Entry,
    Event,
    Exit,
    FastMemory,
    Hypercall,
    Memory,
    Msr,
    Port,
    UserSpace,
    What,
)
from vmexit_sim.guest.kvm_text import event_line

USER = UserSpace("KVM_EXIT_IO")
Happened = tuple[str, int, list[What]]


def lines(happened: Iterable[Happened], style="perf --ns", info=None) -> list[str]:
    """A log of exits, each (reason, duration in ns, what happened inside), 1 µs apart."""
    events, now = [Event(0, 0, 7, Entry(0))], 0
    for reason, duration, inside in happened:
        now += 1_000
        events.append(Event(0, now, 7, Exit(0, reason, info)))
        events += [Event(0, now, 7, what) for what in inside]
        now += duration
        events.append(Event(0, now, 7, Entry(0)))
    return [event_line(event, style) for event in events]


def measured(tmp_path: Path, happened: Iterable[Happened], **more) -> dict[str, Measurement]:
    (tmp_path / "log").write_text("\n".join(lines(happened, **more)) + "\n")
    return {m.name: m for m in read_events(tmp_path / "log", strict=True)}


def tally(durations: Iterable[int]) -> Measurement:
    made = Tally()
    for duration in durations:
        made.add(duration)
    return made.measurement("x", "log")


# ---- Which exit is a sample of what


def test_an_exits_duration_runs_from_exit_to_entry(tmp_path) -> None:
    got = measured(tmp_path, [("CPUID", 700, []), ("CPUID", 900, [])])["CPUID"]
    assert (got.mean, got.n, got.least, got.greatest) == (800_000, 2, 700_000, 900_000)
    assert got.sd == pytest.approx(math.sqrt(2) * 100_000)
    assert got.error == pytest.approx(100_000)
    assert got.samples is not None
    assert got.samples.tolist() == [700_000, 900_000]


def test_user_space_and_kernel_are_told_apart_by_the_return_between(tmp_path) -> None:
    write = Port(True, 0x3F8, 1, 1, 0)
    got = measured(
        tmp_path, [("IO_INSTRUCTION", 1_000, [write]), ("IO_INSTRUCTION", 5_000, [write, USER])]
    )
    for what in ("IO_INSTRUCTION", "port write", "port 0x3f8 write"):
        assert got[what].mean == 3_000_000
        assert got[f"{what} in kernel"].mean == 1_000_000
        assert got[f"{what} to user space"].mean == 5_000_000


def test_a_port_read_lasts_from_its_exit_not_from_its_completion(tmp_path) -> None:
    read = Port(False, 0x71, 1, 1, 0)
    got = measured(tmp_path, [("IO_INSTRUCTION", 6_000, [USER, read])])
    assert got["port 0x71 read to user space"].mean == 6_000_000


@pytest.mark.parametrize("reason", ["IO_INSTRUCTION", "io", "EXIT_IOIO"])
def test_without_the_port_event_the_processor_says_which_port(tmp_path, reason) -> None:
    word = 0x0071_0008 if reason == "IO_INSTRUCTION" else 0x0071_0211
    got = measured(tmp_path, [(reason, 6_000, [USER])], info=(word, 0))
    assert got["port 0x71 read to user space"].n == 1
    string = 0x0071_0018 if reason == "IO_INSTRUCTION" else 0x0071_0215
    assert "port read" not in measured(tmp_path, [(reason, 6_000, [USER])], info=(string, 0))


def test_memory_is_measured_by_page_and_direction(tmp_path) -> None:
    asked, answer = Memory(False, True, 0xFE003010, 4, 0), Memory(False, False, 0xFE003010, 4, 7)
    got = measured(
        tmp_path,
        [
            ("EPT_MISCONFIG", 8_000, [asked, USER, answer]),
            ("EPT_MISCONFIG", 4_000, [Memory(True, False, 0xFE003FF0, 4, 7), USER]),
            ("EPT_MISCONFIG", 1_000, [FastMemory(0xFE004000)]),
        ],
    )
    assert got["mmio 0xfe003000 read to user space"].mean == 8_000_000
    assert got["mmio 0xfe003000 write to user space"].mean == 4_000_000
    assert got["mmio 0xfe004000 write in kernel"].mean == 1_000_000
    assert got["mmio write"].n == 2


def test_registers_are_measured_by_number(tmp_path) -> None:
    got = measured(tmp_path, [("MSR_WRITE", 900, [Msr(True, 0x6E0, 1)])])
    assert got["MSR_WRITE"].mean == 900_000
    # Nobody went to user space in this log, so it does not tell the two ways apart.
    assert "msr 0x6e0 write" in got
    assert not any(name.endswith((" in kernel", " to user space")) for name in got)


@pytest.mark.parametrize("reason", ["restart", "error", "KVM_EXIT_INTR"])
def test_an_exit_that_a_signal_interrupted_went_neither_way(tmp_path, reason) -> None:
    write, signal = Port(True, 0x20, 1, 1, 0), UserSpace(reason)
    happened: list[Happened] = [
        ("IO_INSTRUCTION", 1_000, [write]),
        ("IO_INSTRUCTION", 90_000, [write, signal]),
        ("IO_INSTRUCTION", 95_000, [write, USER, signal]),
        ("IO_INSTRUCTION", 5_000, [write, USER]),
    ]
    (tmp_path / "log").write_text("\n".join(lines(happened)))
    got = read_kvm_events(tmp_path / "log", strict=True)
    assert (got.interrupted, got.knows_user_space) == (2, True)
    means = {m.name: (m.n, m.mean) for m in got.measurements}
    assert means["port write in kernel"] == (1, 1_000_000)
    assert means["port write to user space"] == (1, 5_000_000)
    assert means["port write"] == means["IO_INSTRUCTION"] == (4, 47_750_000)


def test_a_log_with_interruptions_alone_still_tells_the_ways_apart(tmp_path) -> None:
    write = Port(True, 0x20, 1, 1, 0)
    interrupted = [write, UserSpace("restart")]
    got = measured(
        tmp_path, [("IO_INSTRUCTION", 1_000, [write]), ("IO_INSTRUCTION", 9_000, interrupted)]
    )
    assert got["port write in kernel"].mean == 1_000_000
    assert "port write to user space" not in got


@pytest.mark.parametrize(
    "inside",
    [
        [Port(True, 0x3F8, 1, 16, 0)],
        [Port(True, 0x3F8, 1, 1, 0), Port(True, 0x3F8, 1, 1, 0)],
        [Memory(True, False, 0x1000, 8, 0), Memory(True, False, 0x1008, 8, 0)],
        [Memory(False, True, 0x1000, 8, 0)],
        [Memory(False, True, 0x1000, 8, 0), Port(True, 0x3F8, 1, 1, 0)],
        [Hypercall(5)],
    ],
)
def test_only_an_exit_with_one_access_is_a_sample_of_it(tmp_path, inside) -> None:
    got = measured(tmp_path, [("IO_INSTRUCTION", 9_000, inside)])
    assert list(got) == ["IO_INSTRUCTION"]


def test_halts_stand_apart(tmp_path) -> None:
    (tmp_path / "log").write_text("\n".join(lines([("HLT", 10**6, []), ("CPUID", 700, [])])))
    got = read_kvm_events(tmp_path / "log")
    assert [m.name for m in got.measurements] == ["CPUID"]
    assert [(m.name, m.mean) for m in got.halts] == [("HLT", 1e9)]
    assert got.exits == 2


def test_several_guests_are_measured_together(tmp_path) -> None:
    both = [*lines([("CPUID", 700, [])]), *lines([("CPUID", 900, [])])]
    text = "\n".join(both).replace("      7 [", "     12 [", 3)
    (tmp_path / "log").write_text(text)
    (got,) = read_events(tmp_path / "log")
    assert (got.n, got.mean) == (2, 800_000)


def test_what_lost_its_partner_is_counted_and_measured_nowhere(tmp_path) -> None:
    log = lines([("CPUID", 700, [])] * 3)
    del log[2]  # the first entry: two exits in a row
    log.insert(4, "CPU:0 [LOST 9 EVENTS]")
    log += ["hello", event_line(Event(0, 10**6, 7, Exit(0, "HLT", None)), "perf --ns")]
    (tmp_path / "log").write_text("\n".join(log))
    got = read_kvm_events(tmp_path / "log")
    assert [(m.name, m.n) for m in got.measurements] == [("CPUID", 2)]
    assert (got.lost, got.unpaired, got.bad, got.exits) == (9, 2, 1, 2)
    assert got.bad_lines[0][1] == "is no trace event"
    with pytest.raises(InputError, match="is no trace event"):
        read_kvm_events(tmp_path / "log", strict=True)


def test_a_gap_in_the_log_ends_what_was_open(tmp_path) -> None:
    log = lines([("CPUID", 700, [])] * 2)
    log.insert(2, "CPU:0 [12 EVENTS DROPPED]")
    (tmp_path / "log").write_text("\n".join(log))
    got = read_kvm_events(tmp_path / "log")
    assert (got.lost, got.unpaired, got.exits) == (12, 1, 1)


# ---- Sums, spreads, samples


durations = st.lists(st.integers(0, 10**9), min_size=2, max_size=200)


@given(durations)
def test_mean_spread_and_extremes_are_those_of_all_samples(values) -> None:
    got = tally(values)
    assert got.n == len(values)
    assert got.mean == pytest.approx(1_000 * np.mean(values), rel=1e-12)
    assert got.sd == pytest.approx(1_000 * np.std(values, ddof=1), rel=1e-9, abs=1e-3)
    assert (got.least, got.greatest) == (1_000 * min(values), 1_000 * max(values))
    assert got.samples is not None
    assert got.samples.tolist() == [1_000 * value for value in values]


@given(durations)
def test_no_mean_is_claimed_to_be_surer_than_independent_samples_make_it(values) -> None:
    got = tally(values)
    assert got.sd is not None
    assert got.error is not None
    assert got.error >= got.sd / math.sqrt(got.n) * (1 - 1e-9)


def test_one_sample_has_no_spread() -> None:
    got = tally([700])
    assert (got.n, got.mean, got.error, got.sd) == (1, 700_000, None, None)
    assert got.estimate().low == -math.inf


def test_samples_that_follow_each_other_widen_the_interval() -> None:
    # First-order autoregression with correlation 0.95: the variance of a long mean is
    # (1 + 0.95) / (1 - 0.95) = 39 times that of independent samples.
    rng = np.random.default_rng(5)
    noise, value, values = rng.normal(size=200_000), 0.0, []
    for step in noise:
        value = 0.95 * value + step
        values.append(int(10_000 + 100 * value))
    got = tally(values)
    assert got.sd is not None
    assert got.error is not None
    ratio = got.error / (got.sd / math.sqrt(got.n))
    assert math.sqrt(39) * 0.6 < ratio < math.sqrt(39) * 1.5


def test_batch_means_have_as_many_degrees_of_freedom_as_batches_less_one() -> None:
    # 39 samples stand for themselves; 40 are 20 batches of 2, 79 are 39, 80 are 20 of 4.
    assert [tally(range(n)).freedom for n in (39, 40, 79, 80)] == [38, 19, 38, 19]
    got = tally(range(100, 100 + 80))
    assert got.error is not None
    half = got.estimate().half_width
    assert half / got.error == pytest.approx(2.093, abs=0.001)  # t, 19 degrees


def test_intervals_of_correlated_samples_cover_the_mean() -> None:
    rng = np.random.default_rng(11)
    covered = 0
    for _ in range(200):
        noise, value, made = rng.normal(size=2_560), 0.0, Tally()
        for step in noise:
            value = 0.8 * value + step
            made.add(int(100_000 + 1_000 * value))
        estimate = made.measurement("x", "").estimate()
        covered += estimate.low <= 100_000_000 - 500 <= estimate.high
    # Binomial: with a true coverage of 0.95 fewer than 175 of 200 come once in 10^5; those of
    # independent samples would cover about 0.49 of the time.
    assert covered >= 175


def test_the_samples_kept_of_many_are_a_fair_choice() -> None:
    got = tally(range(50_000))
    assert got.samples is not None
    assert len(got.samples) == KEPT
    # A mean of 4,096 of 50,000 evenly spread values: standard error 14,434 / 64 = 226.
    assert abs(got.samples.mean() / 1_000 - 24_999.5) < 4 * 226
    assert (got.n, got.mean) == (50_000, 24_999.5 * 1_000)
    again = tally(range(50_000))
    assert again.samples is not None
    assert np.array_equal(got.samples, again.samples)


def test_memory_does_not_grow_with_the_log(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(kvm_events, "KEPT", 64)
    log = lines([("IO_INSTRUCTION", 700, [Port(True, 0x3F8, 1, 1, 0)])] * 100)
    peaks = []
    for times in (12, 48):
        (tmp_path / "log").write_text("\n".join(log * times))
        tracemalloc.start()
        read_events(tmp_path / "log")
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0] + 100_000


def test_only_so_many_names_get_a_measurement(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(kvm_events, "MOST_NAMES", 20)
    happened = [("IO_INSTRUCTION", 700, [Port(True, port, 1, 1, 0), USER]) for port in range(50)]
    (tmp_path / "log").write_text("\n".join(lines(happened)))
    got = read_kvm_events(tmp_path / "log")
    assert len(got.measurements) == 20
    assert got.unnamed == 2 * (50 - 8)
    assert got.measurements[0].n == 50


# ---- Foreign files


@pytest.mark.parametrize("content", [
    b"", b"\0" * 10_000, b"x" * 10**6, b"a,b\n1,2\n", b"\xfd7zXZ\x00", lzma.compress(b"\0" * 2**24),
])  # fmt: skip
def test_a_foreign_file_is_refused(tmp_path, content: bytes) -> None:
    (tmp_path / "log").write_bytes(content)
    with pytest.raises(InputError):
        read_events(tmp_path / "log")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(st.data())
def test_a_damaged_log_gives_measurements_or_an_input_error(tmp_path, data) -> None:
    happened = [("io", 700, [Port(True, 0x3F8, 1, 1, 0), USER]), ("hlt", 900, [])] * 2
    text = bytearray("\n".join(lines(happened, style=data.draw(st.sampled_from(
        ["trace-cmd", "perf", "perf --ns", "ftrace"])))).encode())  # fmt: skip
    for _ in range(data.draw(st.integers(1, 8))):
        place = data.draw(st.integers(0, len(text) - 1))
        text[place : place + data.draw(st.integers(0, 30))] = data.draw(st.binary(max_size=3))
        text = text or bytearray(b"x")
    (tmp_path / "log").write_bytes(text)
    try:
        got = read_kvm_events(tmp_path / "log")
    except InputError as error:
        assert "no exit" in str(error)  # noqa: PT017
        return
    assert sum(m.n or 0 for m in got.measurements if not m.name.startswith("port")) >= 0
    assert got.exits <= 4
