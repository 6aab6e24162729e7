"""Reports of perf kvm stat: both layouts, all views, and whatever else a file may hold."""

from __future__ import annotations

import lzma
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmexit_sim.calibration.calibrate import kind_of
from vmexit_sim.calibration.perf_stat import (
    PerfTable,
    is_heading,
    missing_column,
    read_perf_stat,
)
from vmexit_sim.errors import InputError

OLD_HEADING = (
    "             VM-EXIT    Samples  Samples%     Time%    Min Time    Max Time         Avg time"
)
NEW_HEADING = (
    "     Event name    Samples   Sample%     Time (ns)    Time%   Max Time (ns)   Min Time (ns)"
    "  Mean Time (ns)"
)
OLD = f"""
Analyze events for all VMs, all VCPUs:

{OLD_HEADING}

      IO_INSTRUCTION      55654    78.67%    42.39%      3.54us     74.94us     13.63us ( +-   0.24% )
                 HLT       2933     4.15%    56.06%      1.71us  15227.79us    341.97us ( +-   8.91% )

Total Samples:58587, Total events handled time:1761562.03us.
"""  # noqa: E501


def read(tmp_path: Path, text: str | bytes) -> list[PerfTable]:
    path = tmp_path / "report.txt"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_perf_stat(path)


def test_the_reference_rows_give_the_standard_deviations_computed_by_hand(tmp_path: Path) -> None:
    (table,) = read(tmp_path, OLD)
    io, halt = table.measurements
    assert io.sd is not None
    assert io.sd == pytest.approx(0.0024 * 13.63e6 * math.sqrt(55_654))
    assert io.sd / 1e6 == pytest.approx(7.7, abs=0.05)
    assert io.sd / io.mean == pytest.approx(0.57, abs=0.005)
    assert halt.sd == pytest.approx(0.0891 * 341.97e6 * math.sqrt(2933))
    assert (io.name, io.n, io.mean, io.least, io.greatest) == (
        "IO_INSTRUCTION", 55_654, 13_630_000, 3_540_000, 74_940_000,
    )  # fmt: skip
    assert io.row == "line 6"
    assert table.view == "vmexit"
    assert not table.is_simulated
    assert table.notes == ()


def test_what_rounding_hides_is_part_of_the_standard_error(tmp_path: Path) -> None:
    (table,) = read(tmp_path, OLD)
    # 0.24 % of 13.63 µs, and a uniform error of 0.01 µs.
    by_hand = math.hypot(0.0024 * 13_630_000, 10_000 / math.sqrt(12))
    assert table.measurements[0].error == pytest.approx(by_hand)
    constant = OLD.replace("( +-   0.24% )", "( +-   0.00% )")
    (table,) = read(tmp_path, constant)
    row = table.measurements[0]
    assert row.sd is None  # too little to be printed is not nothing
    assert row.error == pytest.approx(math.hypot(0.00005 * 13_630_000, 10_000 / math.sqrt(12)))


def test_one_sample_has_no_spread(tmp_path: Path) -> None:
    line = "  NMI    1   100.00%   100.00%    2.00us    2.00us    2.00us ( +-   0.00% )\n"
    (table,) = read(tmp_path, f"{OLD_HEADING}\n{line}")
    (row,) = table.measurements
    assert (row.n, row.sd, row.error) == (1, None, None)
    assert not math.isfinite(row.estimate().half_width)


def test_the_newer_layout_has_other_columns_in_another_order_and_no_spread(tmp_path: Path) -> None:
    (table,) = read(tmp_path, f"""{NEW_HEADING}

            HLT       2933     4.15%    1002998010   56.06%        15227790            1710          341970
 IO_INSTRUCTION      55654    78.67%     758564020   42.39%           74940            3540           13630
""")  # noqa: E501  # fmt: skip
    halt, io = table.measurements
    assert (halt.name, halt.mean, halt.greatest, halt.least) == (
        "HLT", 341_970_000, 15_227_790_000, 1_710_000,
    )  # fmt: skip
    assert (io.n, io.mean, io.sd, io.error) == (55_654, 13_630_000, None, None)
    assert table.notes == ("the line of totals is missing: the report may be cut short",)


def test_reports_of_perf_without_extremes_are_read(tmp_path: Path) -> None:
    (table,) = read(tmp_path, """
             VM-EXIT    Samples  Samples%     Time%         Avg time

         APIC_ACCESS      65381    66.58%     5.95%     37.72us ( +-   6.54% )
""")  # fmt: skip
    (row,) = table.measurements
    assert (row.mean, row.least, row.greatest) == (37_720_000, None, None)


@pytest.mark.parametrize(
    ("heading", "rows", "view"),
    [
        ("IO Port Access", ("0xcf8:POUT", "0xcfc:PIN"), "ioport"),
        ("MMIO Access", ("0xfee000b0:W", "0xfec00010:R"), "mmio"),
        ("MSR Access", ("0x6e0:W", "0x3b:R"), "msr"),
        ("VM-EXIT", ("VMCALL", "UNKNOWN"), "vmexit"),
        ("vm-exit", ("DIAG (0x44) voluntary release", "IO_INSTRUCTION"), "vmexit"),
    ],
)
def test_every_view_is_recognised(
    tmp_path: Path, heading: str, rows: tuple[str, ...], view: str
) -> None:
    body = "\n".join(
        f"  {name}   10   50.00%   50.00%   1.00us   3.00us   2.00us ( +-  3.45% )" for name in rows
    )
    (table,) = read(tmp_path, f"{OLD_HEADING.replace('VM-EXIT', heading)}\n\n{body}\n")
    assert table.view == view
    assert tuple(measurement.name for measurement in table.measurements) == rows


@pytest.mark.parametrize(("rows", "view"), [
    (("0xcf8:POUT", "0xcfc:PIN"), "ioport"), (("0xfee000b0:W",), "mmio"), (("HLT",), "vmexit"),
])  # fmt: skip
def test_the_newer_heading_says_no_view_so_rows_do(
    tmp_path: Path, rows: tuple[str, ...], view: str
) -> None:
    body = "\n".join(f"{name} 10 50.00% 20000 50.00% 3000 1000 2000" for name in rows)
    (table,) = read(tmp_path, f"{NEW_HEADING}\n{body}\n")
    assert table.view == view


def table_of(*names: str) -> str:
    body = [f"{name} 10 50.00% 50.00% 1.00us 3.00us 2.00us ( +-  3.45% )" for name in names]
    return "\n".join([OLD_HEADING, *body, ""])


@pytest.mark.parametrize(("amd", "intel"), [
    ("io", "IO_INSTRUCTION"), ("vmmcall", "VMCALL"), ("hypercall", "VMCALL"), ("hlt", "HLT"),
    ("cpuid", "CPUID"), ("interrupt", "EXTERNAL_INTERRUPT"), ("vintr", "INTERRUPT_WINDOW"),
    ("npf", "npf"),
])  # fmt: skip
def test_amds_reasons_have_intels_names(tmp_path: Path, amd: str, intel: str) -> None:
    (table,) = read(tmp_path, table_of(amd))
    assert [measurement.name for measurement in table.measurements] == [intel]
    assert not any("reads and writes" in note for note in table.notes)


def test_amds_registers_are_taken_as_written_and_it_is_said(tmp_path: Path) -> None:
    (table,) = read(tmp_path, table_of("msr"))
    assert table.measurements[0].name == "MSR_WRITE"
    assert "msr holds reads and writes of registers: taken as MSR_WRITE" in table.notes
    (table,) = read(tmp_path, table_of("MSR_WRITE"))
    assert not any("reads and writes" in note for note in table.notes)


def test_one_exit_by_two_names_is_read_once(tmp_path: Path) -> None:
    (table,) = read(tmp_path, table_of("io", "IO_INSTRUCTION"))
    assert len(table.measurements) == 1
    assert any("could not be read" in note for note in table.notes)


@pytest.mark.parametrize(("gone", "missing"), [
    ("Avg time", "Avg time"), ("   Samples ", "Samples"), ("VM-EXIT", ""), ("Max Time", ""),
])  # fmt: skip
def test_a_heading_without_a_column_says_which(gone: str, missing: str) -> None:
    assert gone in OLD_HEADING
    lacks = missing_column(OLD_HEADING.replace(gone, "").encode())
    assert lacks.startswith(missing)
    assert bool(lacks) == bool(missing)
    assert missing_column(b"VM-EXIT happened") == missing_column(b"x" * 2000) == ""


@pytest.mark.parametrize(("unit", "scale"), [("ns", 1e3), ("us", 1e6), ("ms", 1e9), ("s", 1e12)])
def test_times_may_have_any_unit(tmp_path: Path, unit: str, scale: float) -> None:
    row = f"X 2 100.00% 100.00% 1.25{unit} 1.75{unit} 1.50{unit} ( +- 1.00% )"
    (table,) = read(tmp_path, f"{OLD_HEADING}\n{row}\n")
    assert table.measurements[0].mean == 1.5 * scale


def test_totals_that_do_not_agree_with_the_rows_are_said(tmp_path: Path) -> None:
    (table,) = read(tmp_path, OLD.replace("58587", "58588").replace("1761562.03us", "17616.03us"))
    assert table.notes == (
        "rows add up to 58,587 samples, and the totals say 58,588",
        "rows add up to 1,761,562.03 µs, and the totals say 17,616.03 µs",
    )
    (table,) = read(tmp_path, OLD + "\nLost events: 12\n\nLost events: 0\n")
    assert table.notes == ("perf lost 12 events: shares and means may be off",)


@pytest.mark.parametrize(
    "row",
    [
        "X nan 1.00% 1.00% 1.00us 2.00us 1.50us ( +- 1.00% )",
        "X -5 1.00% 1.00% 1.00us 2.00us 1.50us ( +- 1.00% )",
        "X 0 1.00% 1.00% 1.00us 2.00us 1.50us ( +- 1.00% )",
        "X 5 1.00% 1.00% 1,00us 2,00us 1,50us ( +- 1.00% )",
        "X 5 1.00% 1.00% 1.00us 2.00us nanus ( +- 1.00% )",
        "X 5 1.00% 1.00% 1.00us 2.00us 1.50us ( +- nan% )",
        "X 5 1.00% 1.00% 1.00us 2.00us 9.50us ( +- 1.00% )",
        "X 5 1.00% 1.00% 1.00us 2.00us 0.50us ( +- 1.00% )",
        "X 5 1.00% 1.00% 1.00us 2.00us 1.50us ( +- 99999999.00% )",
        "X 5 1.00% 1.00% 1.00us 2.00us 1.50 ( +- 1.00% )",
        "X 5 1.00% 1.00% 1.00us 2.00us 999999999999999999s ( +- 1.00% )",
        "X \u0665 1.00% 1.00% 1.00us 2.00us 1.50us ( +- 1.00% )",
        "5 1.00% 1.00% 1.00us 2.00us 1.50us ( +- 1.00% )",
        "IO_INSTRUCTION 5 1.00% 1.00% 1.00us 2.00us 1.50us ( +- 1.00% )",
        "X\x00 5 1.00% 1.00% 1.00us 2.00us 1.50us ( +- 1.00% )",
        "X\xff 5 1.00% 1.00% 1.00us 2.00us 1.50us ( +- 1.00% )",
    ],
)
def test_a_row_that_cannot_be_read_is_left_out_and_counted(tmp_path: Path, row: str) -> None:
    (table,) = read(
        tmp_path, OLD.replace("\n                 HLT", f"\n{row}\n                 HLT")
    )
    assert [measurement.name for measurement in table.measurements] == ["IO_INSTRUCTION", "HLT"]
    assert table.notes == ("1 rows could not be read and were left out (line 7)",)


def test_a_file_without_a_table_or_with_two_of_one_view_is_refused(tmp_path: Path) -> None:
    for text in ("", "hello\n", "vmcall 5\n", b"\x7fELF\x00\x01" * 999):
        with pytest.raises(InputError, match=r"report\.txt: has no table of perf kvm stat"):
            read(tmp_path, text)
    with pytest.raises(InputError, match="has no row that can be read"):
        read(tmp_path, OLD_HEADING + "\nnothing here\n")
    with pytest.raises(InputError, match="more than one table of the vmexit view; keep one"):
        read(tmp_path, OLD + OLD)
    with pytest.raises(InputError, match="cannot be read"):
        read_perf_stat(tmp_path / "none")


def test_two_views_in_one_file_are_two_tables(tmp_path: Path) -> None:
    other = OLD.replace("VM-EXIT", "IO Port Access").replace("HLT", "0xcf8:POUT")
    assert [table.view for table in read(tmp_path, OLD + other)] == ["vmexit", "ioport"]


def test_a_report_without_end_is_refused_in_bounded_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vmexit_sim.calibration.perf_stat.MOST_LINES", 1000)
    monkeypatch.setattr("vmexit_sim.calibration.perf_stat.MOST_ROWS", 500)
    with pytest.raises(InputError, match="more than 1,000 lines"):
        read(tmp_path, "\n" * 1001)
    with pytest.raises(InputError, match=r"line 502: has more than 500 rows"):
        read(tmp_path, OLD_HEADING + "\nrubbish" * 600)


def test_one_line_of_many_megabytes_is_not_a_table(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no table"):
        read(tmp_path, OLD_HEADING.encode() * 100_000)
    path = tmp_path / "bomb.xz"
    path.write_bytes(lzma.compress(b"\0" * 20_000_000, preset=1))
    with pytest.raises(InputError, match="has no table"):
        read_perf_stat(path)
    with pytest.raises(InputError, match="nothing to calibrate from"):
        kind_of(path)


names = st.from_regex(r"[A-Z][A-Z_0-9]{0,20}", fullmatch=True)
rows = st.lists(
    st.tuples(names, st.integers(2, 10**9), st.integers(1, 10**9), st.integers(0, 9999)),
    min_size=1, max_size=8, unique_by=lambda row: row[0],
)  # fmt: skip


@given(rows)
def test_what_is_printed_in_the_old_layout_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, int, int, int]]
) -> None:
    body = [
        f"{name:>20} {n:>10} {'1.00%':>9} {'2.00%':>9} {mean / 200:>9.2f}us {mean / 50:>9.2f}us "
        f"{mean / 100:>9.2f}us ( +-{spread / 100:>7.2f}% )"
        for name, n, mean, spread in rows
    ]
    text = "\n".join([OLD_HEADING, "", *body, ""])
    (table,) = read(tmp_path_factory.getbasetemp(), text)
    assert len(table.measurements) == len(rows)
    for row, (name, n, mean, spread) in zip(table.measurements, rows, strict=True):
        assert (row.name, row.n) == (name, n)
        assert row.mean == pytest.approx(mean * 10_000)
        if spread:
            assert row.sd == pytest.approx(spread / 10_000 * row.mean * math.sqrt(n))


@given(rows)
def test_what_is_printed_in_the_newer_layout_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, int, int, int]]
) -> None:
    body = [
        f"{name:>15} {n:>10} {'1.00%':>9} {n * mean:>13} {'2.00%':>8} {mean * 2:>15} "
        f"{mean // 2:>15} {mean:>15}"
        for name, n, mean, _ in rows
    ]
    (table,) = read(tmp_path_factory.getbasetemp(), "\n".join([NEW_HEADING, *body]))
    assert [(m.name, m.n, m.mean) for m in table.measurements] == [
        (name, n, mean * 1000.0) for name, n, mean, _ in rows
    ]


@given(st.lists(st.one_of(
    st.binary(max_size=200),
    st.sampled_from([line.encode() for line in OLD.splitlines()] + [NEW_HEADING.encode()]),
), max_size=12))  # fmt: skip
def test_no_file_makes_anything_but_an_input_error(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes]
) -> None:
    path = tmp_path_factory.getbasetemp() / "report.txt"
    path.write_bytes(b"\n".join(lines))
    try:
        tables, refused = read_perf_stat(path), None
    except InputError as error:
        tables, refused = [], str(error)
    assert (refused is None) == bool(tables)
    assert refused is None or str(path) in refused
    assert all(m.mean >= 0 and (m.n or 0) >= 1 for table in tables for m in table.measurements)


@given(st.binary(max_size=300))
def test_any_line_is_a_heading_or_not(line: bytes) -> None:
    assert is_heading(line) in (True, False)
