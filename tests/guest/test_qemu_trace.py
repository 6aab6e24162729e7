"""What importing a QEMU trace log holds to."""

from __future__ import annotations

import gzip
import itertools
import json
import lzma
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vmexit_sim.catalog import names
from vmexit_sim.device import load_devices
from vmexit_sim.errors import InputError
from vmexit_sim.guest.operations import bar_sizings
from vmexit_sim.guest.qemu_trace import Trace, read_trace
from vmexit_sim.guest.table import NEVER, Agent, Flag, Kind, Phase, Space
from vmexit_sim.guest.table_file import check_table, load_table, save_table
from vmexit_sim.guest.trace_info import table_info, trace_info

CATALOG = load_devices()


class Log:
    """Writes a log by hand: one microsecond passes with each line unless said otherwise."""

    def __init__(self) -> None:
        self.text: list[str] = []
        self.now = 1_000_000

    def wait(self, us: int) -> Log:
        self.now += us - 1
        return self

    def op(
        self, kind: str, name: str, address: int, value: int = 0, size: int = 4, cpu: int = 0
    ) -> Log:
        self.now += 1
        self.text.append(
            f"{77 + cpu}@{self.now // 10**6}.{self.now % 10**6:06}:memory_region_ops_{kind} "
            f"cpu {cpu} mr 0x55 addr {address:#x} value {value:#x} size {size} name '{name}'"
        )
        return self

    def names(self, kind: str, what: str, cpu: int = 0) -> Log:
        stamp = f"{self.now // 10**6}.{self.now % 10**6:06}"
        arrow = "->" if kind == "read" else "<-"
        self.text.append(f"{77 + cpu}@{stamp}:pci_cfg_{kind} {what} {arrow} 0x0")
        return self

    def index(self, value: int, cpu: int = 0) -> Log:
        return self.op("write", "pci-conf-idx", 0xCF8, value, cpu=cpu)

    def data(self, kind: str, value: int = 0, size: int = 4, low: int = 0, cpu: int = 0) -> Log:
        return self.op(kind, "pci-conf-data", 0xCFC + low, value, size, cpu)

    def read(self, tmp_path: Path, *, strict: bool = True) -> Trace:
        path = tmp_path / "log"
        path.write_text("\n".join(self.text) + "\n")
        trace = read_trace(path, CATALOG, strict=strict)
        check_table(trace.table)
        return trace


def functions(trace: Trace) -> list[str]:
    return [trace.table.devices[number] for number in trace.table.device]


@pytest.fixture(scope="session")
def recorded() -> Callable[[str], Trace]:
    known: dict[str, Trace] = {}

    def get(name: str) -> Trace:
        if name not in known:
            known[name] = read_trace(names("traces")[name], CATALOG, strict=True)
        return known[name]

    return get


RECORDED = ["boot-pc", "boot-q35", "pci-scan-q35", "net-e1000", "net-virtio", "blk-ide"]


# ---- Recorded guests


@pytest.mark.parametrize("name", RECORDED)
def test_a_recorded_guest_imports_without_a_bad_line(recorded, name: str) -> None:
    trace = recorded(name)
    check_table(trace.table)
    info = trace_info(trace)
    assert info["bad_lines"] == 0
    assert info["vcpu_accesses"] == sum(info["vcpus"].values())
    assert info["vcpu_accesses"] == sum(
        counts["read"] + counts["write"] for counts in info["by_device"].values()
    )
    assert info["vcpu_accesses"] == sum(phase["accesses"] for phase in info["phases"])
    pio, ecam = info["config"]["pio"], info["config"]["ecam"]
    assert sum(p["config"] for p in info["phases"]) == sum([*pio.values(), *ecam.values()])
    json.dumps(info)


def test_the_bus_scan_makes_16320_port_exits(recorded) -> None:
    scan, without = recorded("pci-scan-q35"), recorded("pci-scan-q35-lastbus0")
    exits = [trace_info(trace)["config"]["port_exits"] for trace in (scan, without)]
    assert exits[0] - exits[1] == 16_320


def test_the_scan_guest_sizes_119_base_address_registers(recorded) -> None:
    trace = recorded("pci-scan-q35")
    sizings = list(bar_sizings(trace.table, trace.values))
    agent = [trace.table.agent[sizing.rows[0]] for sizing in sizings]
    assert len(sizings) == trace_info(trace)["operations"]["bar_sizing"] == 119
    assert len({sizing.function for sizing in sizings}) == 8
    assert (agent.count(Agent.FIRMWARE), agent.count(Agent.KERNEL)) == (63, 56)
    assert sum(sizing.toggled for sizing in sizings) == 41
    assert sum(not sizing.exists for sizing in sizings) == 81


def test_the_scan_is_one_absent_run_of_8160_reads(recorded) -> None:
    scan, without = (
        trace_info(recorded(name)) for name in ("pci-scan-q35", "pci-scan-q35-lastbus0")
    )
    assert scan["operations"]["absent_run"] - without["operations"]["absent_run"] == 1
    assert scan["longest_operations"]["absent_run"] == 8_160


def test_the_e1000_guest_has_72_services_and_4_bit_bang_runs(recorded) -> None:
    info = trace_info(recorded("net-e1000"))
    assert info["operations"] == {
        "bar_sizing": 74, "absent_run": 10, "interrupt_service": 72, "bit_bang": 4,
    }  # fmt: skip
    assert info["operation_accesses"]["bit_bang"] == 11_363


def test_phases_of_the_e1000_guest_are_all_met_in_order(recorded) -> None:
    trace = recorded("net-e1000")
    assert [phase for phase, _, _ in trace.lines.phases] == list(Phase)
    assert (np.diff(trace.table.phase) >= 0).all()
    early = trace.table.agent == Agent.EARLY_KERNEL
    assert (trace.table.phase[early] == Phase.EARLY_KERNEL).all()


def test_only_the_q35_guests_can_reach_ecam(recorded) -> None:
    assert [recorded(name).table.has_ecam for name in ("pci-scan-q35", "net-e1000")] == [
        True,
        False,
    ]


def test_a_saved_table_tells_the_same_of_config_accesses_and_operations(recorded, tmp_path) -> None:
    trace = recorded("pci-scan-q35")
    save_table(trace.table, tmp_path / "t.parquet")
    told, lines = table_info(load_table(tmp_path / "t.parquet")), trace_info(trace)
    assert told.keys() == lines.keys()
    assert told["operations"] == lines["operations"]
    assert told["config"] == lines["config"]
    assert [p["config"] for p in told["phases"]] == [p["config"] for p in lines["phases"]]


# ---- One rule each


def test_index_and_data_are_one_row_of_the_function_that_answers(tmp_path) -> None:
    log = Log().index(0x80001090).names("read", "nvme 00:02.0 @0x92")
    trace = log.data("read", 0x1234, size=2, low=2).read(tmp_path)
    assert len(trace.table) == 1
    assert functions(trace) == ["nvme"]
    assert trace.table.space[0] == Space.PCI_CONFIG
    assert trace.table.address[0] == 2 << 15 | 0x92
    assert trace.values[0] == 0x1234
    assert trace_info(trace)["config"]["port_exits"] == 2


def test_a_read_that_nobody_answers_is_absent_and_masked_to_its_size(tmp_path) -> None:
    trace = Log().index(0x80001000).data("read", 0xFFFFFFFF, size=2).read(tmp_path)
    assert trace.table.has(Flag.ABSENT).all()
    assert functions(trace) == ["absent"]
    assert trace.values[0] == 0xFFFF
    assert trace.lines.absent_reads == 1


def test_a_write_is_named_by_the_line_after_it(tmp_path) -> None:
    log = Log().index(0x80001004).data("write", 3, size=2).names("write", "nvme 00:02.0 @0x4")
    trace = log.index(0x80001004).data("write", 3, size=2).read(tmp_path)
    assert functions(trace) == ["nvme", "absent"]
    assert trace.table.has(Flag.ABSENT).tolist() == [False, True]


def test_each_vcpu_follows_its_own_last_index(tmp_path) -> None:
    log = Log().index(0x80001000, cpu=0).index(0x80001808, cpu=1)
    log.names("read", "a 00:02.0 @0x0", cpu=0).data("read", cpu=0)
    log.names("read", "b 00:03.0 @0x8", cpu=1).data("read", cpu=1)
    trace = log.read(tmp_path)
    assert trace.table.vcpu.tolist() == [0, 1]
    assert trace.table.address.tolist() == [2 << 15, 3 << 15 | 8]
    assert functions(trace) == ["a", "b"]


def test_a_name_belongs_to_the_access_of_its_own_thread(tmp_path) -> None:
    log = Log().index(0x80001000, cpu=0).index(0x80001800, cpu=1)
    log.names("read", "a 00:02.0 @0x0", cpu=0).names("read", "b 00:03.0 @0x0", cpu=1)
    trace = log.data("read", cpu=1).data("read", cpu=0).read(tmp_path)
    assert functions(trace) == ["a", "b"]


def test_lone_index_accesses_are_rows_of_their_own(tmp_path) -> None:
    log = Log().op("write", "pci-conf-idx", 0xCFB, 1, size=1)
    log.op("read", "pci-conf-idx", 0xCF8).index(0x80000000).op("read", "pci-conf-idx", 0xCF8)
    trace = log.index(0).read(tmp_path)
    assert len(trace.table) == 5
    assert trace.table.has(Flag.INDEX_ONLY).all()
    assert trace.table.write.tolist() == [True, False, True, False, True]
    info = trace_info(trace)
    assert info["config"]["port_exits"] == 5
    assert table_info(trace.table)["config"]["port_exits"] == 5


def test_ecam_takes_the_function_from_the_address(tmp_path) -> None:
    log = Log().names("read", "nvme 02:00.0 @0x100")
    trace = log.op("read", "pcie-mmcfg-mmio", 0xB0200100, 7).read(tmp_path)
    assert trace.table.has(Flag.ECAM).all()
    assert trace.table.address[0] == 0x200100
    assert trace.table.has_ecam


def test_compute_leaves_out_the_time_between_index_and_data(tmp_path) -> None:
    log = Log().op("read", "nvme", 0xFD600000).wait(10).index(0x80001000)
    log.wait(3).data("read", 0xFFFFFFFF).wait(5).op("read", "nvme", 0xFD600000)
    assert log.read(tmp_path).table.compute.tolist() == [0, 10_000_000, 5_000_000]


def test_spaces_follow_the_address_and_the_catalog(tmp_path) -> None:
    log = Log().op("write", "serial", 0x3F8, size=1).op("read", "nvme", 0xFD600000)
    log.op("write", "virtio-pci-notify-virtio-net", 0xFEBFF000, size=2)
    assert log.read(tmp_path).table.space.tolist() == [Space.PORT_IO, Space.MMIO, Space.DOORBELL]


def test_reads_block_and_writes_are_waited_for_by_nobody(tmp_path) -> None:
    log = Log().op("read", "nvme", 0xFD600000).op("write", "nvme", 0xFD600000)
    assert log.read(tmp_path).table.needed_by.tolist() == [1, NEVER]


def test_messages_are_counted_but_are_no_rows(tmp_path) -> None:
    log = Log().op("read", "nvme", 0xFD600000)
    for address in (0xFEE01004, 0xFEE00000):
        log.op("write", "apic-msi", address, 0x8028)
    log.op("write", "apic-msi", 0xFEE000B0).op("read", "apic-msi", 0xFEE00000)
    trace = log.read(tmp_path)
    assert (len(trace.table), trace.lines.accesses, trace.lines.messages) == (3, 3, 2)
    assert trace.table.has(Flag.IRQCHIP).tolist() == [False, True, True]


def test_timers_carry_their_flag(tmp_path) -> None:
    log = Log().op("read", "hpet", 0xFED000F0).op("read", "pit", 0x42, size=1)
    assert log.read(tmp_path).table.has(Flag.TIMER).all()


def test_a_gap_ended_by_another_threads_message_was_waiting(tmp_path) -> None:
    log = Log().op("read", "nvme", 0xFD600000)
    log.op("write", "apic-msi", 0xFEE01004, 0x8028, cpu=-1).op("read", "nvme", 0xFD600000)
    log.op("write", "apic-msi", 0xFEE01004, 0x8028, cpu=0).op("read", "nvme", 0xFD600000)
    log.op("write", "apic-msi", 0xFEE02004, 0x8028, cpu=-1).op("read", "nvme", 0xFD600000)
    assert log.read(tmp_path).table.has(Flag.WAITED).tolist() == [False, True, False, False]


def test_an_end_of_interrupt_without_a_message_was_waited_for(tmp_path) -> None:
    log = Log().op("read", "nvme", 0xFD600000).op("write", "apic-msi", 0xFEE000B0)
    log.op("write", "apic-msi", 0xFEE01004, 0x8028, cpu=0).op("write", "apic-msi", 0xFEE000B0)
    log.op("read", "apic-msi", 0xFEE00190).op("write", "apic-msi", 0xFEE000B0)
    waited = log.read(tmp_path).table.has(Flag.WAITED)
    assert waited.tolist() == [False, True, False, False, False]


def test_turning_decoding_off_and_on_is_flagged_other_command_bits_are_not(tmp_path) -> None:
    log = Log().index(0x80001004).names("read", "nvme 00:02.0 @0x4").data("read", 0x3, size=2)
    for value in (0x407, 0x404, 0x407):
        log.index(0x80001004).data("write", value, size=2).names("write", "nvme 00:02.0 @0x4")
    toggles = log.read(tmp_path).table.has(Flag.DECODE_TOGGLE)
    assert toggles.tolist() == [False, False, True, True]


def test_reading_a_cleared_on_read_register_is_a_side_effect(tmp_path) -> None:
    log = Log().op("read", "e1000-mmio", 0xFEBC00C0).op("read", "e1000-mmio", 0xFEBC0008)
    log.op("write", "e1000-mmio", 0xFEBC00C0).op("read", "e1000-mmio", 0xFEBC4124)
    flagged = log.read(tmp_path).table.has(Flag.SIDE_EFFECT)
    assert flagged.tolist() == [True, False, False, True]


def test_phases_begin_at_their_markers(tmp_path) -> None:
    log = Log().op("write", "ioport80", 0x80, 0x33, size=1).op("read", "nvme", 0xFD600000)
    log.op("write", "ioport80", 0x80, size=1).op("write", "ioportF0", 0xF0, size=1)
    log.op("write", "pci-conf-idx", 0xCFB, 1, size=1).op("read", "nvme", 0xFD600000)
    for mark in (0xA1, 0xA2, 0xA3, 0xA4, 0xA1):
        log.op("write", "ioport80", 0x80, mark, size=1)
    table = log.read(tmp_path).table
    assert table.phase.tolist() == [0, 0, 1, 1, 2, 2, 3, 4, 5, 6, 6]
    assert table.agent.tolist()[:6] == [
        Agent.FIRMWARE, Agent.FIRMWARE, Agent.EARLY_KERNEL, Agent.EARLY_KERNEL,
        Agent.KERNEL, Agent.DRIVER,
    ]  # fmt: skip


# ---- Files


@pytest.mark.parametrize("pack", [gzip.compress, lzma.compress, lambda data: data])
def test_packed_and_plain_logs_give_the_same_table(tmp_path, pack) -> None:
    log = Log()
    for n in range(50):
        log.index(0x80001000 + 4 * n).data("read", 0xFFFFFFFF).op("read", "nvme", 0xFD600000)
    want = log.read(tmp_path)
    (tmp_path / "packed").write_bytes(pack((tmp_path / "log").read_bytes()))
    got = read_trace(tmp_path / "packed", CATALOG)
    assert got.lines == want.lines
    for name, column in want.table.columns.items():
        assert np.array_equal(got.table.columns[name], column), name


@pytest.mark.parametrize("pack", [gzip.compress, lzma.compress])
def test_packed_data_cut_short_or_damaged_are_refused(tmp_path, pack) -> None:
    Log().op("read", "nvme", 0xFD600000).read(tmp_path)
    packed = pack((tmp_path / "log").read_bytes() * 100)
    (tmp_path / "cut").write_bytes(packed[:-12])
    with pytest.raises(InputError, match=r"cut short"):
        read_trace(tmp_path / "cut", CATALOG)
    (tmp_path / "bad").write_bytes(packed[:12] + b"\xff" * 8 + packed[20:])
    with pytest.raises(InputError):
        read_trace(tmp_path / "bad", CATALOG)


GOOD = "77@1.000001:memory_region_ops_read cpu 0 mr 0x5 addr 0x10000 value 0x0 size 4 name 'nvme'"


@pytest.mark.parametrize(
    "line",
    [
        "",
        "hello",
        GOOD[:-8],
        GOOD.replace("size 4", "size 3"),
        GOOD.replace("addr 0x10000", "addr 0xffffffffffffffff"),
        GOOD.replace("cpu 0", "cpu 70000"),
        GOOD.replace("1.000001", "99999999999.000001"),
        GOOD.replace("nvme", "pci-conf-data"),
        GOOD.replace("nvme", "n\u00e9"),
        "77@1.000001:pci_cfg_read nvme 02:00.0 @0x90 -> 0x0",
        "77@1.000001:pci_cfg_write nvme 02:00.0 @0x90 <- 0x0",
        "77@1.000001:pci_cfg_read nvme 02:20.0 @0x90 -> 0x0",
        "77@1.000001:kvm_vcpu_ioctl cpu 0",
        "x" * 100_000,
    ],
)
def test_a_bad_line_is_counted_with_its_number_and_left_out(tmp_path, line: str) -> None:
    path = tmp_path / "log"
    path.write_text(f"{GOOD}\n{line}\n{GOOD}\n")
    trace = read_trace(path, CATALOG)
    assert (len(trace.table), trace.lines.bad) == (2, 1)
    assert trace.bad_lines[0][0] == 2
    with pytest.raises(InputError, match=r"log: line 2: "):
        read_trace(path, CATALOG, strict=True)


def test_only_the_first_20_bad_lines_are_kept(tmp_path) -> None:
    (tmp_path / "log").write_text(f"{GOOD}\n" + "hello\n" * 30)
    trace = read_trace(tmp_path / "log", CATALOG)
    assert trace.lines.bad == 30
    assert [line for line, _ in trace.bad_lines] == list(range(2, 22))


@pytest.mark.parametrize("content", [b"", b"\n", b"a,b\n1,2\n", b"\x00" * 10_000, b"\xfd7zXZ\x00"])
def test_a_foreign_file_is_refused(tmp_path, content: bytes) -> None:
    (tmp_path / "log").write_bytes(content)
    with pytest.raises(InputError):
        read_trace(tmp_path / "log", CATALOG)


def test_a_missing_file_is_refused(tmp_path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_trace(tmp_path / "none", CATALOG)


def test_without_the_events_that_name_functions_no_write_is_called_absent(tmp_path) -> None:
    trace = (
        Log().index(0x80001004).data("write", 7).index(0x80001004).data("read", 7).read(tmp_path)
    )
    assert functions(trace) == ["pci-conf-data", "pci-conf-data"]
    assert not trace.table.has(Flag.ABSENT).any()


def _sample() -> bytes:
    log = Log().index(0x80001010)
    for value in (0, 0xFFFFFFFF):
        log.names("read", "nvme 00:02.0 @0x10").data("read", value, cpu=0)
        log.data("write", 0xFFFFFFFF - value).names("write", "nvme 00:02.0 @0x10")
    log.op("read", "e1000-mmio", 0xFEBC00C0).op("write", "e1000-mmio", 0xFEBC00D0)
    log.op("read", "e1000-mmio", 0xFEBC0008).op("write", "apic-msi", 0xFEE02004, cpu=-1)
    log.index(0x80001000, cpu=1).data("read", 0xFFFFFFFF, cpu=1).op("read", "pit", 0x42, cpu=1)
    return ("\n".join(log.text) + "\n").encode()


SAMPLE = _sample()
counter = itertools.count()


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    cut=st.integers(0, len(SAMPLE)),
    edits=st.lists(st.tuples(st.integers(0, len(SAMPLE) - 1), st.integers(0, 255)), max_size=8),
    swaps=st.lists(st.tuples(st.integers(0, 99), st.integers(0, 99)), max_size=4),
    packed=st.booleans(),
)
def test_a_damaged_log_gives_a_possible_table_or_an_input_error(
    tmp_path_factory, cut, edits, swaps, packed
) -> None:
    lines = SAMPLE.splitlines(keepends=True)
    for a, b in swaps:
        a, b = a % len(lines), b % len(lines)
        lines[a], lines[b] = lines[b], lines[a]
    damaged = bytearray(b"".join(lines)[:cut])
    if packed:
        damaged = bytearray(gzip.compress(bytes(damaged)))
    for at, byte in edits:
        if damaged:
            damaged[at % len(damaged)] = byte
    path = tmp_path_factory.getbasetemp() / f"damaged-{next(counter)}"
    path.write_bytes(bytes(damaged))
    try:
        trace = read_trace(path, CATALOG)
    except InputError:
        return
    finally:
        path.unlink()
    check_table(trace.table)
    assert len(trace.values) == len(trace.table)
    assert trace.table.kind.min() >= Kind.NONE
    json.dumps(trace_info(trace))
