"""What importing a log of KVM's trace events holds to."""

from __future__ import annotations

import contextlib
import gzip
import json
import lzma
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vmexit_sim import catalog
from vmexit_sim.cli import main
from vmexit_sim.device import load_devices
from vmexit_sim.errors import InputError
from vmexit_sim.guest import access_log
from vmexit_sim.guest.known_addresses import MEMORY, PORTS
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
from vmexit_sim.guest.kvm_trace import read_kvm_trace
from vmexit_sim.guest.qemu_trace import Trace
from vmexit_sim.guest.table import Agent, Flag, Kind, Phase, Space
from vmexit_sim.guest.table_file import check_table, load_table
from vmexit_sim.guest.trace_formats import is_kvm_log, read_any_trace
from vmexit_sim.guest.trace_info import trace_info
from vmexit_sim.guest.workload import Recorded
from vmexit_sim.hypervisor.platform import load_platform
from vmexit_sim.opened import cached_trace
from vmexit_sim.policy import Policy
from vmexit_sim.study.simulate import simulate

CATALOG = load_devices()
USER = UserSpace("KVM_EXIT_IO")


class Log:
    """Writes a log by hand: 100 ns in the guest, then an exit of 50 ns, unless said otherwise."""

    def __init__(self) -> None:
        self.events = [Event(0, 1_000_000, 77, Entry(0))]
        self.now = 1_000_000

    def exit(
        self, *inside: What, reason: str = "IO_INSTRUCTION", cpu: int = 0, guest: int = 100,
        lasts: int = 50, info: tuple[int, int] | None = None,
    ) -> Log:  # fmt: skip
        thread = 77 + cpu
        if not any(event.thread == thread for event in self.events):
            self.events.append(Event(0, self.now, thread, Entry(cpu)))
        self.now += guest
        self.events.append(Event(0, self.now, thread, Exit(cpu, reason, info)))
        self.events += [Event(0, self.now + n, thread, what) for n, what in enumerate(inside, 1)]
        self.now += lasts
        self.events.append(Event(0, self.now, thread, Entry(cpu)))
        return self

    def out(self, port: int, value: int = 0, size: int = 1, items: int = 1, **more) -> Log:
        return self.exit(Port(True, port, size, items, value), USER, **more)

    def into(self, port: int, value: int = 0, size: int = 1, items: int = 1, **more) -> Log:
        return self.exit(USER, Port(False, port, size, items, value), **more)

    def memory(self, write: bool, address: int, value: int = 0, size: int = 4, **more) -> Log:
        asked = [] if write else [Memory(False, True, address, size, 0)]
        done = Memory(write, False, address, size, value)
        return self.exit(*asked, done, USER, reason="EPT_MISCONFIG", **more)

    def config(self, index: int, *data: tuple[str, int], cpu: int = 0) -> Log:
        """Dwords through ports: ("r" or "w", value)."""
        for kind, value in data:
            self.out(0xCF8, index, 4, cpu=cpu)
            if kind == "w":
                self.out(0xCFC, value, 4, cpu=cpu)
            else:
                self.into(0xCFC, value, 4, cpu=cpu)
        return self

    def text(self, style="perf --ns") -> str:
        return "".join(event_line(event, style) + "\n" for event in self.events)

    def read(self, tmp_path: Path, **options) -> Trace:
        (tmp_path / "log").write_text(self.text())
        trace = read_kvm_trace(tmp_path / "log", CATALOG, **options)
        check_table(trace.table)
        return trace


def device_names(trace: Trace) -> list[str]:
    return [trace.table.devices[number] for number in trace.table.device]


# ---- One rule each


def test_port_accesses_become_rows_in_program_order(tmp_path) -> None:
    table = Log().out(0x3F8, 0x41).into(0x3FD, 0x60).read(tmp_path, strict=True).table
    assert table.space.tolist() == [Space.PORT_IO] * 2
    assert table.write.tolist() == [True, False]
    assert table.address.tolist() == [0x3F8, 0x3FD]
    assert table.size.tolist() == [1, 1]


def test_compute_is_the_time_in_the_guest_since_the_access_before(tmp_path) -> None:
    log = Log().out(0x3F8).exit(reason="EXTERNAL_INTERRUPT", guest=300, lasts=7_000)
    table = log.out(0x3F8, guest=40).read(tmp_path, strict=True).table
    assert table.compute.tolist() == [100_000, 340_000]


def test_a_halt_is_waiting_before_the_next_access(tmp_path) -> None:
    for reason in ("HLT", "hlt", "EXIT_HLT"):
        log = Log().out(0x3F8).exit(reason=reason, guest=20, lasts=5_000).out(0x3F8, guest=30)
        table = log.out(0x3F8).read(tmp_path, strict=True).table
        assert table.compute.tolist() == [100_000, 5_050_000, 100_000]
        assert table.has(Flag.WAITED).tolist() == [False, True, False]


def test_a_string_instruction_is_as_many_accesses_as_it_has_items(tmp_path) -> None:
    table = Log().into(0x1F0, 7, size=2, items=256).out(0x3F8).read(tmp_path).table
    assert len(table) == 257
    assert table.address[:256].tolist() == [0x1F0] * 256
    assert table.compute.tolist() == [100_000, *[0] * 255, 100_000]


def test_config_index_and_data_are_one_row(tmp_path) -> None:
    trace = Log().config(0x80001090, ("r", 0x1234)).read(tmp_path, strict=True)
    assert trace.table.space.tolist() == [Space.PCI_CONFIG]
    assert trace.table.address.tolist() == [2 << 15 | 0x90]
    assert trace.table.compute.tolist() == [100_000]
    assert (trace.values[0], device_names(trace)) == (0x1234, ["pci-conf-data"])
    assert trace_info(trace)["config"]["port_exits"] == 2


def test_a_config_read_of_ones_is_absent(tmp_path) -> None:
    trace = Log().config(0x80001000, ("r", 0xFFFFFFFF), ("w", 1)).read(tmp_path)
    assert trace.table.has(Flag.ABSENT).tolist() == [True, False]


def test_each_vcpu_follows_its_own_last_index(tmp_path) -> None:
    log = Log().out(0xCF8, 0x80001000, 4, cpu=0).out(0xCF8, 0x80001808, 4, cpu=1)
    table = log.into(0xCFC, 1, 4, cpu=0).into(0xCFC, 1, 4, cpu=1).read(tmp_path).table
    assert table.vcpu.tolist() == [0, 1]
    assert table.address.tolist() == [2 << 15, 3 << 15 | 8]


def test_bar_sizing_is_recognised(tmp_path) -> None:
    sizing = [("r", 0xFE000000), ("w", 0xFFFFFFFF), ("r", 0xFFFFF000), ("w", 0xFE000000)]
    table = Log().config(0x80001010, *sizing).read(tmp_path, strict=True).table
    assert table.kind.tolist() == [Kind.BAR_SIZING] * 4


def test_a_byte_at_0xcf9_is_the_reset_register(tmp_path) -> None:
    trace = Log().out(0xCF9, 6).out(0xCFB, 1).read(tmp_path)
    assert trace.table.space.tolist() == [Space.PORT_IO, Space.PCI_CONFIG]
    assert trace.table.has(Flag.INDEX_ONLY).tolist() == [False, True]


def test_memory_is_named_by_its_page(tmp_path) -> None:
    trace = Log().memory(False, 0xFE003010).memory(True, 0xFE003FFC).read(tmp_path, strict=True)
    assert trace.table.space.tolist() == [Space.MMIO] * 2
    assert trace.table.address.tolist() == [0xFE003010, 0xFE003FFC]
    assert device_names(trace) == ["mmio 0xfe003000"] * 2


def test_what_stayed_in_the_kernel_is_emulated_there(tmp_path) -> None:
    log = Log().exit(Memory(True, False, 0xFE003000, 4, 1), reason="EPT_MISCONFIG")
    trace = log.memory(True, 0xFE003000).read(tmp_path, strict=True)
    assert device_names(trace) == ["mmio 0xfe003000 (kernel)", "mmio 0xfe003000"]
    assert [CATALOG.of(name).location for name in device_names(trace)] == ["kernel", "user"]


def test_a_log_without_returns_to_user_space_says_nothing_of_the_kernel(tmp_path) -> None:
    log = Log().exit(Port(True, 0x1234, 1, 1, 0)).exit(Port(False, 0x1234, 1, 1, 0))
    log.exit(Port(True, 0x3F8, 1, 1, 0))
    trace = log.read(tmp_path, strict=True)
    assert device_names(trace) == ["port 0x1234", "port 0x1234", "serial"]
    assert trace.lines.by_device == {"port 0x1234": (1, 1), "serial": (0, 1)}
    assert any("kvm_userspace_exit" in note for note in trace.table.notes)


def test_a_fast_write_is_a_doorbell_that_the_kernel_answers(tmp_path) -> None:
    trace = Log().exit(FastMemory(0xFE003000), reason="EPT_MISCONFIG").out(0x3F8).read(tmp_path)
    assert trace.table.space[0] == Space.DOORBELL
    assert trace.table.write[0]
    assert CATALOG.of(device_names(trace)[0]).location == "kernel"
    assert "1 doorbells of unknown size; taken as 2 bytes" in trace.table.notes


def test_registers_are_named_by_their_number_and_stay_in_the_kernel(tmp_path) -> None:
    log = Log().exit(Msr(True, 0x6E0, 5), reason="MSR_WRITE")
    log.exit(Msr(True, 0x830, 5), reason="MSR_WRITE").exit(Msr(False, 0x1B, 5), reason="MSR_READ")
    table = log.read(tmp_path, strict=True).table
    assert table.space.tolist() == [Space.MSR] * 3
    assert table.address.tolist() == [0x6E0, 0x830, 0x1B]
    assert table.write.tolist() == [True, True, False]
    assert table.has(Flag.TIMER).tolist() == [True, False, False]
    assert table.has(Flag.IRQCHIP).tolist() == [False, True, False]
    assert {CATALOG.of(name).location for name in table.devices[1:]} == {"kernel"}


def test_known_addresses_have_the_names_of_the_catalog(tmp_path) -> None:
    log = Log().memory(True, 0xFEE000B0).into(0x40).into(0x61).out(0x20, 0x20)
    trace = log.read(tmp_path)
    assert device_names(trace) == ["apic-msi", "pit", "pcspk", "pic"]
    assert trace.table.has(Flag.IRQCHIP).tolist() == [True, False, False, True]
    assert trace.table.has(Flag.SIDE_EFFECT).tolist() == [False, True, False, False]
    for windows in (PORTS, MEMORY):
        ends = [end for first, last, _ in windows for end in (first, last)]
        assert ends == sorted(ends)


def test_config_space_in_memory_is_known_from_the_guests_own_writes(tmp_path) -> None:
    log = Log().memory(False, 0xB0100004).config(0x80000000, ("r", 0x29C08086))
    log.config(0x80000064, ("w", 0)).config(0x80000060, ("w", 0xB0000001))
    trace = log.memory(False, 0xB0100004, 7).memory(False, 0xC0000000).read(tmp_path, strict=True)
    assert trace.table.has(Flag.ECAM).tolist() == [False] * 4 + [True, False]
    assert (trace.table.address[4], trace.table.space[4]) == (0x100004, Space.PCI_CONFIG)
    assert trace.table.has_ecam


@pytest.mark.parametrize(
    ("low", "last"),
    [(0xB0000001, 0xBFFFFFFC), (0xB0000003, 0xB7FFFFFC), (0xB4000005, 0xB7FFFFFC), (0xB0000000, 0),
     (0xB0000007, 0)],
)  # fmt: skip
def test_the_host_bridge_says_how_far_config_space_reaches(tmp_path, low: int, last: int) -> None:
    log = Log().config(0x80000000, ("r", 0x29C08086)).config(0x80000060, ("w", low))
    if last:
        log.memory(False, last, 7).memory(False, last + 4, 7)
        log.config(0x80000060, ("w", low - 1)).memory(False, last, 7)
        table = log.read(tmp_path).table
        assert table.has(Flag.ECAM).tolist() == [False, False, True, False, False, False]
        assert table.address[2] == last - (low & 0xFC000000)
    else:
        assert not log.memory(False, 0xB0000000, 7).read(tmp_path).table.has_ecam


@pytest.mark.parametrize("host_bridge", [0x12378086, 0xFFFFFFFF])
def test_other_host_bridges_say_nothing_of_config_space_in_memory(tmp_path, host_bridge) -> None:
    log = Log().config(0x80000000, ("r", host_bridge)).config(0x80000060, ("w", 0xB0000001))
    trace = log.memory(False, 0xB0100004, 7).read(tmp_path)
    assert not trace.table.has_ecam


def test_config_space_in_memory_can_be_told(tmp_path) -> None:
    log = Log().memory(False, 0xE0100004, 7)
    table = log.read(tmp_path, ecam=0xE0000000).table
    assert (table.address[0], table.space[0]) == (0x100004, Space.PCI_CONFIG)
    with pytest.raises(InputError, match="multiple of 1 MiB"):
        log.read(tmp_path, ecam=0xE0000001)


def test_a_log_that_joins_a_running_guest_is_in_reach_of_its_kernel_and_drivers(tmp_path) -> None:
    """No mark of a boot: nothing of it is firmware's, which no guest-side rule reaches."""
    recorded = cached_trace(catalog.names("traces")["boot-q35"], CATALOG)
    _, text = written(recorded, 200)
    (tmp_path / "log").write_text(text)
    table = read_any_trace(tmp_path / "log", CATALOG).table
    assert set(table.phase.tolist()) == {Phase.USER}
    assert (table.agent >= Agent.KERNEL).all()


def test_phases_follow_the_same_marks_as_in_other_logs(tmp_path) -> None:
    log = Log().into(0x61).out(0xF0, 0).into(0x61).out(0xCFB, 1).into(0x61).out(0x80, 0xA1)
    trace = log.into(0x61).read(tmp_path)
    assert trace.table.phase.tolist() == [
        Phase.FIRMWARE, Phase.EARLY_KERNEL, Phase.EARLY_KERNEL, Phase.KERNEL, Phase.KERNEL,
        Phase.USER, Phase.USER,
    ]  # fmt: skip
    assert trace.table.agent[0] == Agent.FIRMWARE
    info = trace_info(trace)
    assert info["vcpu_accesses"] == sum(phase["accesses"] for phase in info["phases"]) == 7
    json.dumps(info)


@pytest.mark.parametrize(
    ("log", "why"),
    [
        (Log().exit(Port(True, 0x3F8, 1, 1, None)), "has no value"),
        (Log().into(0xCFC, 1, 4), "has written no index"),
        (Log().out(0xCF8, 0, 4, items=2), "is a string of config accesses"),
        (Log().exit(Memory(False, True, 4096, 4, 0)), "ends a read"),
    ],
)
def test_what_cannot_be_a_row_is_counted_and_left_out(tmp_path, log: Log, why: str) -> None:
    trace = log.out(0x3F8).read(tmp_path)
    assert (len(trace.table), trace.lines.bad) == (1, 1)
    assert why in trace.bad_lines[0][1]
    with pytest.raises(InputError, match=why):
        log.read(tmp_path, strict=True)


def test_notes_say_what_is_not_in_the_table(tmp_path) -> None:
    log = Log().exit(reason="EXTERNAL_INTERRUPT", lasts=700).exit(Hypercall(5), reason="VMCALL")
    log.exit(info=(0x3F80000, 0)).out(0x3F8)
    log.events.append(Event(0, 0, 0, None))
    notes = log.read(tmp_path).table.notes
    assert "3 exits without an access, 800 ns in all, are no rows" in notes
    assert "1 exits by port I/O without kvm_pio were left out" in notes
    assert "1 events were lost while recording" in notes


def test_several_guests_are_refused(tmp_path) -> None:
    log = Log().out(0x3F8)
    log.events += [Event(0, event.time, 500, event.what) for event in log.events]
    with pytest.raises(InputError, match="threads 77 and 500 both run vCPU 0"):
        log.read(tmp_path)


def test_a_guest_of_too_many_accesses_is_refused(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(access_log, "MOST_ROWS", 100)
    with pytest.raises(InputError, match="more than 100 accesses"):
        Log().into(0x1F0, items=101).read(tmp_path)


def test_a_guest_of_too_many_pages_is_refused(tmp_path) -> None:
    log = Log()
    for page in range(32_768):
        log.exit(Memory(True, False, page * 4096, 4, 0), reason="EPT_MISCONFIG")
    with pytest.raises(InputError, match="32,767 devices"):
        log.read(tmp_path)


def test_a_log_that_lasts_too_long_is_refused(tmp_path) -> None:
    log = Log()
    for _ in range(3):
        log.out(0x3F8, guest=2**41 * 1000)
    with pytest.raises(InputError, match="53 days"):
        log.read(tmp_path)


# ---- Files


@pytest.mark.parametrize("pack", [gzip.compress, lzma.compress, lambda data: data])
@pytest.mark.parametrize("style", ["trace-cmd", "perf", "ftrace"])
def test_packed_logs_of_every_tool_give_the_same_accesses(tmp_path, pack, style) -> None:
    log = Log().config(0x80001090, ("r", 0x1234)).memory(True, 0xFE003000).out(0x3F8, 65)
    want = log.read(tmp_path).table
    (tmp_path / "packed").write_bytes(pack(log.text(style).encode()))
    got = read_any_trace(tmp_path / "packed", CATALOG, strict=True).table
    for name in ("vcpu", "space", "write", "size", "address", "flags", "kind"):
        assert np.array_equal(got.columns[name], want.columns[name]), name


@pytest.mark.parametrize(
    "content", [b"", b"\n", b"\x00" * 10_000, b"\xfd7zXZ\x00", b"x" * 10**6, b"a,b\n1,2\n"]
)
def test_a_foreign_file_is_refused(tmp_path, content: bytes) -> None:
    (tmp_path / "log").write_bytes(content)
    for read in (read_kvm_trace, read_any_trace):
        with pytest.raises(InputError):
            read(tmp_path / "log", CATALOG)


def test_logs_are_told_apart_by_their_first_event(tmp_path) -> None:
    kvm = "# tracer: nop\nqemu-1 [000] 1.000000: sched_switch: x\n" + Log().text("ftrace")
    qemu = (
        "77@1.000001:memory_region_ops_read cpu 0 mr 0x5 addr 0x10000 value 0x0 size 4 name 'a'\n"
    )
    for content, is_kvm in ((kvm, True), (qemu + kvm, False), (kvm + qemu, True), ("", False)):
        (tmp_path / "log").write_text(content)
        assert is_kvm_log(tmp_path / "log") is is_kvm
    (tmp_path / "log").write_text(qemu)
    assert len(read_any_trace(tmp_path / "log", CATALOG).table) == 1


def test_the_command_line_takes_a_kvm_log_through_the_same_door(tmp_path, capsys) -> None:
    log = Log().config(0x80001000, *[("r", 0x1234)] * 5).out(0x3F8)
    (tmp_path / "a.log").write_text(log.text("trace-cmd"))
    made = tmp_path / "a.parquet"
    for command in (
        ["trace", "import", str(tmp_path / "a.log"), "-o", str(made), "--strict"],
        ["trace", "info", str(tmp_path / "a.log"), "--json"],
        ["compare", str(tmp_path / "a.log"), "--json"],
    ):
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(command)
        assert ended.value.code in (0, None), command
        if command[1] == "info":
            assert json.loads(capsys.readouterr().out)["config"]["port_exits"] == 10
    assert len(load_table(made)) == 6


# ---- Whatever a log says

insides = st.one_of(
    st.builds(Port, st.booleans(), st.sampled_from([0xCF8, 0xCF9, 0xCFC, 0xCFE, 0x80, 0x3F8]),
              st.sampled_from([1, 2, 4]), st.integers(1, 3),
              st.none() | st.sampled_from([0, 0x80000000, 0x80000060, 0xB0000001, 0x29C08086])),
    st.builds(Memory, st.booleans(), st.just(False), st.integers(0, 2**63 - 1),
              st.sampled_from([1, 2, 4, 8]), st.integers(0, 2**64 - 1)),
    st.builds(FastMemory, st.integers(0, 2**63 - 1)),
    st.builds(Msr, st.booleans(), st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1)),
    st.just(USER),
)  # fmt: skip


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(st.lists(insides, max_size=3), st.integers(0, 2), st.sampled_from(["HLT", "io"])),
        max_size=30,
    )
)
def test_any_log_gives_a_table_that_a_guest_could_have_made(tmp_path, happened) -> None:
    log = Log()
    for inside, cpu, reason in happened:
        log.exit(*inside, cpu=cpu, reason=reason)
    try:
        trace = log.read(tmp_path)
    except InputError as error:
        assert "no access" in str(error)  # noqa: PT017
        return
    info = trace_info(trace)
    assert info["vcpu_accesses"] == sum(
        counts["read"] + counts["write"] for counts in info["by_device"].values()
    )
    for vcpu in range(trace.table.vcpus):
        elapsed = (log.now - log.events[0].time) * 1_000
        assert trace.table.compute[trace.table.vcpu == vcpu].sum() <= elapsed


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(st.data())
def test_a_damaged_log_gives_a_table_or_an_input_error(tmp_path, data) -> None:
    log = Log().config(0x80001090, ("r", 0x1234)).memory(False, 0xFE003000).out(0x3F8, 65)
    text = bytearray(log.text(data.draw(st.sampled_from(["trace-cmd", "perf", "ftrace"]))).encode())
    for _ in range(data.draw(st.integers(1, 8))):
        place = data.draw(st.integers(0, len(text) - 1))
        text[place : place + data.draw(st.integers(0, 30))] = data.draw(st.binary(max_size=3))
        text = text or bytearray(b"x")
    (tmp_path / "log").write_bytes(text)
    with contextlib.suppress(InputError):
        check_table(read_any_trace(tmp_path / "log", CATALOG).table)


# ---- A simulated guest, written as a log and imported


def written(trace: Trace, rows: int) -> tuple[Trace, str]:
    """The first rows of each vCPU, simulated; and the simulation's exits as a log."""
    table = trace.table
    keep = np.concatenate([np.flatnonzero(table.vcpu == v)[:rows] for v in range(table.vcpus)])
    chosen = np.isin(np.arange(len(table)), keep)
    part = replace(trace, table=table.only(chosen), values=trace.values[chosen])
    table = part.table
    run = simulate(
        Policy(title="as recorded"), load_platform("ideal"), Recorded(table), keep_rows=True
    ).to_columns()
    before = [0] * table.vcpus
    events = [Event(0, 0, 100 + v, Entry(v)) for v in range(table.vcpus)]
    for row in range(len(table)):
        v = int(table.vcpu[row])
        start, resume = int(run["start"][row]) // 1_000, int(run["resume"][row]) // 1_000
        if table.flags[row] & Flag.WAITED:
            events.append(Event(0, before[v], 100 + v, Exit(v, "HLT", None)))
            events.append(Event(0, start, 100 + v, Entry(v)))
        pieces = pieces_of(part, row)
        for n, what in enumerate(pieces):
            left = start + n * (resume - start) // len(pieces)
            user = CATALOG.of(table.devices[table.device[row]]).location == "user"
            events.append(Event(0, left, 100 + v, Exit(v, "IO_INSTRUCTION", None)))
            events.append(Event(0, left, 100 + v, what))
            events += [Event(0, left, 100 + v, USER)] if user else []
            events.append(
                Event(0, start + (n + 1) * (resume - start) // len(pieces), 100 + v, Entry(v))
            )
        before[v] = resume
    events.sort(key=lambda event: event.time)
    return part, "".join(event_line(event, "perf --ns") + "\n" for event in events)


def pieces_of(trace: Trace, row: int) -> list[What]:
    """The exits of an access that was recorded."""
    table = trace.table
    write, size = bool(table.write[row]), int(table.size[row])
    value = int(trace.values[row]) & (1 << 8 * size) - 1
    at, flags = int(table.address[row]), int(table.flags[row])
    if table.space[row] == Space.PORT_IO:
        return [Port(write, at, size, 1, value)]
    if table.space[row] != Space.PCI_CONFIG:
        return [Memory(write, False, at, size, value)]
    if flags & Flag.ECAM:
        return [Memory(write, False, 0xB0000000 + at, size, value)]
    if flags & Flag.INDEX_ONLY:
        return [Port(write, 0xCF8 if size == 4 else 0xCFB, size, 1, value)]
    index = 0x80000000 | at >> 12 << 8 | at & 0xFC
    return [Port(True, 0xCF8, 4, 1, index), Port(write, 0xCFC + (at & 3), size, 1, value)]


def test_a_simulated_boot_written_as_a_log_is_imported_as_the_same_guest(tmp_path) -> None:
    recorded = cached_trace(catalog.names("traces")["boot-q35"], CATALOG)
    part, text = written(recorded, 9_000)
    (tmp_path / "log").write_text(text)
    imported = read_any_trace(tmp_path / "log", CATALOG, strict=True)
    got, want = imported.table, part.table
    assert got.vcpus == want.vcpus == 2
    for name in ("vcpu", "write", "size", "address", "compute"):
        assert np.array_equal(got.columns[name], want.columns[name]), name
    memory = np.where(want.space == Space.DOORBELL, Space.MMIO, want.space)
    assert np.array_equal(got.space, memory)
    for flag in (Flag.ECAM, Flag.INDEX_ONLY, Flag.WAITED, Flag.DECODE_TOGGLE):
        assert np.array_equal(got.has(flag), want.has(flag)), flag
    sizings = want.kind == Kind.BAR_SIZING
    assert np.array_equal(got.kind == Kind.BAR_SIZING, sizings)
    assert sizings.any()
    # So short a part holds no mark of a boot: it is taken for one of a guest that was running.
    assert set(want.phase[want.vcpu == 0].tolist()) == {Phase.FIRMWARE}
    assert set(got.phase.tolist()) == {Phase.USER}
