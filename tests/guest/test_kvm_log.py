"""What reading KVM's trace events holds to."""

from __future__ import annotations

import lzma
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vmexit_sim.errors import InputError
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
    What,
)
from vmexit_sim.guest.kvm_exits import MOST_INSIDE, ClosedExit, ExitReader
from vmexit_sim.guest.kvm_log import HIGHEST_VCPU, MOST_ITEMS, MOST_NAMES, KvmLog
from vmexit_sim.guest.kvm_text import event_line
from vmexit_sim.guest.trace_file import LONGEST_LINE

STYLES = ["trace-cmd", "perf", "perf --ns", "ftrace"]


def read(*lines: str, strict: bool = True) -> tuple[list[Event], KvmLog]:
    log = KvmLog(Path("log"), strict=strict)
    events = [log.read(number, line.encode()) for number, line in enumerate(lines, 1)]
    return [event for event in events if event is not None], log


def only(line: str) -> What | None:
    (event,), _ = read(line)
    return event.what


def exits(*happened: tuple[int, int, What | None]) -> tuple[list[ClosedExit], ExitReader]:
    """The exits of events given as (time in ns, thread, what)."""
    reader = ExitReader(Path("log"))
    events = [Event(line, *rest) for line, rest in enumerate(happened, 1)]
    return list(reader.exits(events)), reader


# ---- Three ways to print


@pytest.mark.parametrize(
    "line",
    [
        "       CPU 0/KVM-4243  [001]  1588.355648: kvm_entry:            vcpu 2, rip 0xfff0",
        "       CPU 0/KVM-4243  [001] d..1.  1588.355648: kvm_entry: vcpu 2",
        "       CPU 0/KVM-4243  [001]  1588.355648000: kvm_entry: vcpu 2, rip 0xfff0",
        "       CPU 0/KVM-4243  ( 4242) [001] d..2.  1588.355648: kvm_entry: vcpu 2, rip 0xfff0",
        "       CPU 0/KVM-4243  (-----) [001] ....  1588.355648: kvm_entry: vcpu 2, rip 0xfff0",
        "           <...>-4243  [001] d..2.  1588.355648: kvm_entry: vcpu 2, rip 0xfff0",
        "       CPU 0/KVM  4243 [001]  1588.355648:  kvm:kvm_entry: vcpu 2, rip 0xfff0",
        "       CPU 0/KVM  4242/4243 [001]  1588.355648:  kvm:kvm_entry: vcpu 2, rip 0xfff0",
        "       CPU 0/KVM  4243 [001]  1588.355648000:   1 kvm:kvm_entry: vcpu 2, rip 0xfff0",
        "   a: b-1 [2] c:  4243 [001]  1588.355648:  kvm:kvm_entry: vcpu 2, rip 0xfff0",
        "     qemu-1 [0] x-4243 [001]  1588.355648: kvm_entry: vcpu 2, rip 0xfff0",
        "qemu:kvm-4243 [001] 1588.355648: kvm_entry: vcpu 2, rip 0xfff0 intr_info 0x0",
    ],
)
def test_every_prefix_gives_thread_and_time(line: str) -> None:
    (event,), _ = read(line)
    assert event == Event(1, 1_588_355_648_000, 4243, Entry(2))


names = st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=15).map(
    str.strip
)
words = st.integers(0, 2**64 - 1)
addresses = st.integers(0, 2**63 - 1)
sizes = st.sampled_from([1, 2, 4, 8])
vcpus = st.integers(0, HIGHEST_VCPU)
whats = st.one_of(
    st.builds(
        Exit,
        st.none() | vcpus,
        st.sampled_from(["IO_INSTRUCTION", "io", "EXIT_IOIO", "UNKNOWN (77)", "0x4d",
                         "EPT_VIOLATION FAILED_VMENTRY", "HLT"]),
        st.none() | st.tuples(words, words),
    ),
    st.builds(Entry, vcpus),
    st.builds(Port, st.booleans(), st.integers(0, 0xFFFF), st.sampled_from([1, 2, 4]),
              st.integers(1, MOST_ITEMS), st.none() | st.integers(0, 2**32 - 1)),
    st.builds(Memory, st.just(True), st.just(False), addresses, sizes, words),
    st.builds(Memory, st.just(False), st.booleans(), addresses, sizes, words),
    st.builds(FastMemory, addresses),
    st.builds(Msr, st.booleans(), st.integers(0, 2**32 - 1), words),
    st.builds(UserSpace, st.sampled_from(["KVM_EXIT_IO", "KVM_EXIT_MMIO", "restart", "error"])),
    st.builds(Hypercall, words),
    st.builds(Interrupt, st.integers(0, 255)),
    st.builds(EndOfInterrupt, st.integers(0, 255)),
)  # fmt: skip
moments = st.integers(0, 10**15)


@given(what=whats, us=moments, thread=st.integers(1, 2**22), name=names, cpu=st.integers(0, 9999),
       style=st.sampled_from(STYLES))  # fmt: skip
def test_an_event_written_in_any_style_is_read_back_equal(what, us, thread, name, cpu, style):
    event = Event(1, us * 1_000, thread, what)
    events, log = read(event_line(event, style, name=name, cpu=cpu))
    assert events == [event]
    assert (log.bad, log.other) == (0, {})


@given(what=whats, ns=moments, name=names)
def test_nanoseconds_are_kept(what, ns, name) -> None:
    event = Event(1, ns, 7, what)
    assert read(event_line(event, "perf --ns", name=name))[0] == [event]


# ---- One format each


AT = "qemu-42 [001] 1.000000: "


@pytest.mark.parametrize(
    ("said", "what"),
    [
        ("kvm_exit: reason IO_INSTRUCTION rip 0xfff0 info 3f80008 0",
         Exit(None, "IO_INSTRUCTION", (0x3F80008, 0))),
        ("kvm_exit: reason IO_INSTRUCTION rip 0xfff0", Exit(None, "IO_INSTRUCTION", None)),
        ("kvm_exit: vcpu 3 reason EPT_MISCONFIG rip 0xfff0 info 0 0",
         Exit(3, "EPT_MISCONFIG", (0, 0))),
        ("kvm_exit: vcpu 3 reason npf rip 0x10 info1 0x0000000100000006 info2 0x00000000fe003000 "
         "intr_info 0x00000000 error_code 0x00000000 requests 0x0000000000000000",
         Exit(3, "npf", (0x1_0000_0006, 0xFE003000))),
        ("kvm_exit: reason UNKNOWN (77) rip 0xfff0 info 0 0", Exit(None, "UNKNOWN (77)", (0, 0))),
        ("kvm_pio: pio_write at 0x3f8 size 1 count 1 val 0x0", Port(True, 0x3F8, 1, 1, 0)),
        ("kvm_pio: pio_write at 0x3f8 size 1 count 1", Port(True, 0x3F8, 1, 1, None)),
        ("kvm_pio: pio_read at 0x1f0 size 2 count 256 val 0x5a (...)",
         Port(False, 0x1F0, 2, 256, 0x5A)),
        ("kvm_mmio: mmio unsatisfied-read len 4 gpa 0xfe003000 val 0x0",
         Memory(False, True, 0xFE003000, 4, 0)),
        ("kvm_mmio: mmio write len 1 gpa 0x10000 val 0xff", Memory(True, False, 0x10000, 1, 255)),
        ("kvm_fast_mmio: fast mmio at gpa 0xfe003000", FastMemory(0xFE003000)),
        ("kvm_msr: msr_write 6e0 = 0x1fb", Msr(True, 0x6E0, 0x1FB)),
        ("kvm_msr: msr_read c0000080 = 0x0 (#GP)", Msr(False, 0xC0000080, 0)),
        ("kvm_userspace_exit: reason KVM_EXIT_MMIO (6)", UserSpace("KVM_EXIT_MMIO")),
        ("kvm_userspace_exit: reason restart (4)", UserSpace("restart")),
        ("kvm_hypercall: nr 0x5 a0 0x1 a1 0x2 a2 0x0 a3 0x0", Hypercall(5)),
        ("kvm_inj_virq: irq 239", Interrupt(239)),
        ("kvm_inj_virq: IRQ 0xec [reinjected]", Interrupt(0xEC)),
        ("kvm_eoi: apicid 1 vector 236", EndOfInterrupt(236)),
        ("kvm_pv_eoi: apicid 1 vector 236", EndOfInterrupt(236)),
    ],
)  # fmt: skip
def test_each_format_means_what_the_kernel_prints(said: str, what: What) -> None:
    assert only(AT + said) == what


@pytest.mark.parametrize(
    ("reason", "word", "port", "size", "write", "string"),
    [
        ("IO_INSTRUCTION", 0x03F8_0000, 0x3F8, 1, True, False),
        ("IO_INSTRUCTION", 0x0CFC_000B, 0xCFC, 4, False, False),
        ("IO_INSTRUCTION", 0x01F0_0039, 0x1F0, 2, False, True),
        ("io", 0x03F8_0210, 0x3F8, 1, True, False),
        ("EXIT_IOIO", 0x0CFC_0241, 0xCFC, 4, False, False),
        ("io", 0x01F0_022D, 0x1F0, 2, False, True),
    ],
)
def test_the_processor_says_which_port(reason, word, port, size, write, string) -> None:
    (closed,), _ = exits((0, 1, Entry(0)), (1, 1, Exit(None, reason, (word, 0))), (2, 1, Entry(0)))
    assert closed.port == (port, size, write, string)


# ---- What is no event


@pytest.mark.parametrize(
    "line",
    [
        "hello",
        "\x00\x01\x02",
        "kvm_exit: vcpu 0 reason HLT rip 0x1",
        "qemu-42 [001] 1588: kvm_entry: vcpu 0",
        "qemu-42 [001] 1.0000: kvm_entry: vcpu 0",
        "qemu-42 [001] 1,000000: kvm_entry: vcpu 0",
        "qemu-42 [001] \u0661.000000: kvm_entry: vcpu 0",
        "qemu-42 [001] -1.000000: kvm_entry: vcpu 0",
        "qemu-42  1d...  1.000000: kvm_entry: vcpu 0",
        AT + "kvm_entry: vcpu 65536",
        AT + "kvm_entry: PC: 0x1000",
        AT + "kvm_exit: reason",
        AT + "kvm_exit: vcpu 65536 reason HLT rip 0x1",
        AT + "kvm_exit: TRAP: HSR_EC: 0x0024 (DABT_LOW), PC: 0x1000",
        AT + "kvm_pio: pio_write at 0x10000 size 1 count 1 val 0x0",
        AT + "kvm_pio: pio_write at 0x3f8 size 3 count 1 val 0x0",
        AT + "kvm_pio: pio_write at 0x3f8 size 1 count 0 val 0x0",
        AT + "kvm_pio: pio_write at 0x3f8 size 1 count 4097 val 0x0",
        AT + "kvm_pio: pio_write at 0x3f8 size 1 count -1 val 0x0",
        AT + "kvm_mmio: mmio write len 3 gpa 0x0 val 0x0",
        AT + "kvm_mmio: mmio write len 16 gpa 0x0 val 0x0",
        AT + "kvm_mmio: mmio write len 4 gpa 0xffffffffffffffff val 0x0",
        AT + "kvm_fast_mmio: fast mmio at gpa 0xffffffffffffffff",
        "x" * 100_000,
        " " * LONGEST_LINE + "-" * 50,
    ],
)
def test_what_cannot_be_understood_is_refused_with_its_number(line: str) -> None:
    events, log = read("#", line, strict=False)
    assert (events, log.bad, log.bad_lines[0][0]) == ([], 1, 2)
    with pytest.raises(InputError, match=r"^log: line 2: "):
        read("#", line)


def test_a_tools_own_lines_are_no_mistakes() -> None:
    events, log = read(
        "# tracer: nop", "#", "", "version = 6", "cpus=4", "CPU 3 is empty",
        "#           TASK-PID     CPU#  |||||  TIMESTAMP  FUNCTION",
    )  # fmt: skip
    assert (events, log.bad) == ([], 0)


def test_other_events_are_counted_by_name() -> None:
    events, log = read(
        AT + "kvm_cr: cr_write 3 = 0x1", AT + "sched_switch: prev_comm=a prev_pid=1",
        "qemu 42 [001] 1.000000: sched:sched_switch: prev_comm=a", AT + "kvm_cr: ",
    )  # fmt: skip
    assert events == []
    assert log.other == {"kvm_cr": 2, "sched_switch": 2}


def test_only_so_many_names_are_told_apart() -> None:
    _, log = read(*(f"{AT}event_{n}: x" for n in range(MOST_NAMES + 50)))
    assert len(log.other) == MOST_NAMES + 1
    assert log.other["others"] == 50


@pytest.mark.parametrize(
    ("line", "lost"),
    [
        ("CPU:1 [LOST 12 EVENTS]", 12),
        ("CPU:1 [12 EVENTS DROPPED]", 12),
        ("CPU:1 [EVENTS DROPPED]", 1),
        ("qemu 42 [001] 1.000000: PERF_RECORD_LOST lost 12", 12),
    ],
)
def test_lost_events_are_counted_and_told(line: str, lost: int) -> None:
    events, log = read(line)
    assert ([event.what for event in events], log.lost, log.bad) == ([None], lost, 0)


@given(st.binary(max_size=300))
def test_no_line_makes_the_reader_fail(text: bytes) -> None:
    log = KvmLog(Path("log"))
    event = log.read(1, text)
    assert event is not None or log.bad + log.other.total() <= 1


@given(what=whats, style=st.sampled_from(STYLES), data=st.data())
def test_no_damaged_line_makes_the_reader_fail(what, style, data) -> None:
    line = bytearray(event_line(Event(1, 1_000, 7, what), style).encode())
    for _ in range(data.draw(st.integers(1, 5))):
        place = data.draw(st.integers(0, len(line) - 1))
        line[place : place + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
        line = line or bytearray(b"x")
    KvmLog(Path("log")).read(1, bytes(line))


@pytest.mark.parametrize(
    "piece", [b" ", b"-1", b" 1", b"a-1 [1] ", b"1.000000:", b"kvm_exit: reason ", b"("]
)
def test_no_line_takes_long(piece: bytes) -> None:
    text = (piece * LONGEST_LINE)[:LONGEST_LINE]
    begin = time.process_time()
    for line in (text, b"a" + text, text + b"a", AT.encode() + b"kvm_exit: reason " + text[:-80]):
        KvmLog(Path("log")).read(1, line)
    assert time.process_time() - begin < 0.5


def test_a_bomb_is_read_a_piece_at_a_time(tmp_path) -> None:
    (tmp_path / "log").write_bytes(lzma.compress(b"\0" * 2**26))
    log = KvmLog(tmp_path / "log")
    assert list(log) == []
    assert (log.bad, log.bad_lines[0][1]) == (1, "is longer than 4096 characters")


# ---- From events to exits


OUT = Exit(0, "IO_INSTRUCTION", None)
WRITE = Port(True, 0x3F8, 1, 1, 0)


def test_an_exit_lasts_from_kvm_exit_to_kvm_entry() -> None:
    (closed,), reader = exits(
        (100, 1, Entry(0)), (350, 1, OUT), (360, 1, WRITE), (400, 1, UserSpace("KVM_EXIT_IO")),
        (950, 1, Entry(0)),
    )  # fmt: skip
    assert (closed.guest, closed.duration, closed.user) == (250, 600, 1)
    assert closed.inside == ((3, WRITE),)
    assert (reader.unpaired, reader.dropped, reader.backward, reader.returns) == (0, 0, 0, True)


@pytest.mark.parametrize("why", ["restart", "error", "KVM_EXIT_INTR"])
def test_a_signal_on_the_way_back_is_no_access_that_user_space_handles(why: str) -> None:
    (closed,), reader = exits(
        (100, 1, Entry(0)), (350, 1, OUT), (360, 1, WRITE), (400, 1, UserSpace(why)),
        (900, 1, Entry(0)),
    )  # fmt: skip
    assert (closed.user, closed.interrupted, closed.duration) == (0, 1, 550)
    assert reader.returns
    (_, closed), _ = exits(
        (100, 1, Entry(0)), (350, 1, OUT), (400, 1, UserSpace(why)), (900, 1, Entry(0)),
        (950, 1, OUT), (960, 1, UserSpace("KVM_EXIT_IO")), (990, 1, Entry(0)),
    )  # fmt: skip
    assert (closed.user, closed.interrupted) == (1, 0)


def test_threads_do_not_mix() -> None:
    closed, _ = exits(
        (0, 1, Entry(0)), (0, 2, Entry(1)), (10, 1, OUT), (15, 2, OUT._replace(vcpu=1)),
        (20, 2, WRITE), (40, 2, Entry(1)), (100, 1, Entry(0)),
    )  # fmt: skip
    assert [(c.vcpu, c.duration, len(c.inside)) for c in closed] == [(1, 25, 1), (0, 90, 0)]


def test_the_first_exit_of_a_log_follows_an_unknown_time() -> None:
    closed, reader = exits((10, 1, OUT), (20, 1, Entry(0)), (25, 1, OUT), (30, 1, Entry(0)))
    assert [c.guest for c in closed] == [None, 5]
    assert reader.unpaired == 0


def test_what_lies_around_lost_events_is_dropped() -> None:
    closed, reader = exits(
        (0, 1, Entry(0)), (10, 1, OUT), (0, 0, None), (20, 1, Entry(0)), (30, 1, OUT),
        (40, 1, Entry(0)), (0, 0, None), (50, 1, OUT), (60, 1, Entry(0)),
    )  # fmt: skip
    assert [(c.guest, c.duration) for c in closed] == [(10, 10), (None, 10)]
    assert (reader.dropped, reader.unpaired) == (1, 0)


@pytest.mark.parametrize(
    "happened",
    [
        [(0, 1, OUT), (1, 1, OUT), (2, 1, Entry(0))],
        [(0, 1, OUT), (1, 1, Entry(0)), (2, 1, Entry(0))],
        [(0, 1, OUT), (1, 1, Entry(0)), (2, 1, OUT)],
        [(0, 1, OUT), (1, 1, Entry(0)), (2, 1, WRITE)],
        [(0, 1, OUT), (1, 1, Entry(0)), (2, 2, WRITE)],
        [(0, 1, OUT), (1, 1, Entry(0)), (2, 1, OUT), (3, 1, Entry(5))],
    ],
)
def test_what_has_no_partner_is_counted(happened) -> None:
    closed, reader = exits(*happened)
    assert (len(closed), reader.unpaired) == (1, 1)


def test_an_exit_that_ends_before_it_begins_is_left_out() -> None:
    closed, reader = exits((50, 1, OUT), (20, 1, Entry(0)), (10, 1, OUT), (15, 1, Entry(0)))
    assert [(c.guest, c.duration) for c in closed] == [(None, 5)]
    assert reader.backward == 2


def test_a_read_that_user_space_satisfies_is_one_access() -> None:
    asked, answered = Memory(False, True, 4096, 4, 0), Memory(False, False, 4096, 4, 7)
    (one, two), _ = exits(
        (0, 1, OUT), (1, 1, asked), (2, 1, answered), (3, 1, Entry(0)),
        (4, 1, OUT), (5, 1, asked), (6, 1, Entry(0)),
    )  # fmt: skip
    assert (one.inside, one.user, one.open_reads) == (((3, answered),), 1, 0)
    assert (two.inside, two.open_reads) == ((), 1)


def test_an_exit_with_endless_accesses_has_lost_its_end() -> None:
    closed, reader = exits(
        (0, 1, OUT), *[(1, 1, WRITE)] * (MOST_INSIDE + 1), (2, 1, Entry(0)), (3, 1, OUT),
        (4, 1, Entry(0)),
    )  # fmt: skip
    assert [c.duration for c in closed] == [1]
    assert reader.unpaired == 1


def test_too_many_threads_are_refused() -> None:
    with pytest.raises(InputError, match="65,536 threads"):
        exits(*((0, thread, OUT) for thread in range(65_537)))
    with pytest.raises(InputError, match="65,536 vCPUs"):
        exits(*((0, thread, Entry(vcpu)) for vcpu in range(9) for thread in range(8_000)))


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(st.integers(0, 50), st.integers(1, 3), st.none() | whats), max_size=60))
def test_exits_are_sound_whatever_the_log_says(happened) -> None:
    closed, reader = exits(*happened)
    left = sum(isinstance(what, Exit) for _, _, what in happened)
    for one in closed:
        assert one.duration >= 0
        assert one.guest is None or one.guest >= 0
        assert all(not isinstance(what, (Exit, Entry)) for _, what in one.inside)
    assert len(closed) <= left <= len(closed) + reader.unpaired + reader.dropped + reader.backward
