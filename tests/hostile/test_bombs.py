"""Small files that stand for much: refused, or read in bounded memory."""

from __future__ import annotations

import gzip
import lzma
import resource
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vmexit_sim import parquet_file
from vmexit_sim.calibration.calibrate import kind_of
from vmexit_sim.configuration import read_toml
from vmexit_sim.device import load_devices
from vmexit_sim.distributions import Empirical
from vmexit_sim.errors import InputError
from vmexit_sim.guest import table_file, trace_file
from vmexit_sim.guest.table import Space, make_table
from vmexit_sim.guest.table_file import load_table, save_table
from vmexit_sim.guest.trace_formats import read_any_trace
from vmexit_sim.study.sweep import open_results

MIB = 2**20
MEMORY = 112 * MIB
"""Bytes of address space that a file may take; each of these stands for more."""


@contextmanager
def bounded() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + MEMORY, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def zeros(kind: str, mebibytes: int) -> bytes:
    """So much of nothing, packed."""
    made: list[bytes] = []
    if kind == "gz":
        packer = zlib.compressobj(9, zlib.DEFLATED, 31)
        made = [packer.compress(b"\0" * 2**20) for _ in range(mebibytes)]
        return b"".join([*made, packer.flush()])
    one = lzma.compress(b"\0" * 2**20 * 16, preset=1)  # members that follow each other are one
    return one * (mebibytes // 16)


@pytest.mark.parametrize("kind", ["gz", "xz"])
def test_a_log_that_unpacks_to_more_than_the_bound_is_refused(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / f"bomb.{kind}"
    path.write_bytes(zeros(kind, 160))
    assert path.stat().st_size < MIB
    monkeypatch.setattr(trace_file, "LARGEST_LOG", 128 * MIB)
    with (
        bounded(),
        pytest.raises(InputError, match=r"bomb\..z: unpacks to more than 4 GiB; cut the log"),
    ):
        read_any_trace(path, load_devices())


@pytest.mark.parametrize("kind", ["gz", "xz"])
def test_a_log_of_one_endless_line_is_read_in_bounded_memory(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"bomb.{kind}"
    path.write_bytes(zeros(kind, 128))
    with bounded(), pytest.raises(InputError, match=r"bomb\..z: holds no access"):
        read_any_trace(path, load_devices())
    with bounded(), pytest.raises(InputError, match=r"bomb\..z: is nothing to calibrate from"):
        kind_of(path)


def test_an_xz_file_that_wants_gigabytes_to_unpack_is_refused(tmp_path: Path) -> None:
    made = bytearray(lzma.compress(b"x" * 100))
    header = made[12 : 12 + 4 * (made[12] + 1)]
    assert header[2:4] == bytes([lzma.FILTER_LZMA2, 1])
    header[4] = 40  # a dictionary of 4 GiB
    header[-4:] = zlib.crc32(header[:-4]).to_bytes(4, "little")
    made[12 : 12 + len(header)] = header
    path = tmp_path / "case.xz"
    path.write_bytes(made)
    with pytest.raises(InputError, match=r"case\.xz: cannot be unpacked: Memory usage limit"):
        read_any_trace(path, load_devices())


def test_zstd_is_no_log(tmp_path: Path) -> None:
    path = tmp_path / "case.zst"
    path.write_bytes(pa.compress(b"\0" * 2**27, codec="zstd", asbytes=True))
    with pytest.raises(InputError, match=r"case\.zst: holds no access"):
        read_any_trace(path, load_devices())


def test_gzip_in_gzip_is_unpacked_once(tmp_path: Path) -> None:
    path = tmp_path / "case.gz"
    path.write_bytes(gzip.compress(gzip.compress(b"line\n")))
    assert next(trace_file.log_lines(path)).startswith(b"\x1f\x8b")


TEXT = "x" * 2**20


def texts(path: Path, **more: object) -> None:
    """A table whose columns are a MiB of text in every row; as a file it is small."""
    column = pa.DictionaryArray.from_arrays(pa.array([0] * 100_000, pa.int32()), pa.array([TEXT]))
    table = pa.table({"vcpu": column, "ps": column, "metric": column}).replace_schema_metadata(
        {"vmexit-sim access table": "{}", "vmexit-sim study": "{}"}
    )
    pq.write_table(table, path, store_schema=False)  # so that it says to be plain text
    assert path.stat().st_size < 10 * 2**20


def test_a_text_in_every_row_of_a_table_is_in_memory_once(tmp_path: Path) -> None:
    path = tmp_path / "bomb.parquet"
    texts(path)
    with bounded(), pytest.raises(InputError, match=r"bomb\.parquet: is no access table"):
        load_table(path)
    with bounded(), pytest.raises(InputError, match=r"bomb\.parquet: is no table of results"):
        open_results(path)
    with bounded(), pytest.raises(ValueError, match="not times of 0 ps"):
        Empirical.model_validate(
            {"kind": "empirical", "file": path.name, "column": "ps"},
            context={"file": tmp_path / "scenario.toml"},
        )


def test_a_table_that_unpacks_to_more_than_the_bound_is_refused_unread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "guest.parquet"
    save_table(make_table(20_000, space=Space.MMIO, compute=1_000), path)
    assert len(load_table(path)) == 20_000
    assert path.stat().st_size < 2**18
    monkeypatch.setattr(parquet_file, "LARGEST_TABLE", 2**20)
    with pytest.raises(InputError, match=r"guest\.parquet: unpacks to more than .* GiB"):
        load_table(path)
    with pytest.raises(InputError, match=r"guest\.parquet: unpacks to more than .* GiB"):
        open_results(path)


def test_a_table_of_narrow_columns_is_measured_by_what_it_comes_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "guest.parquet"
    save_table(make_table(20_000, space=Space.MMIO), path)
    whole = pq.read_table(path)
    narrow = whole.cast(pa.schema([(name, pa.int8()) for name in whole.column_names],
                                  whole.schema.metadata), safe=False)  # fmt: skip
    pq.write_table(narrow, path)
    monkeypatch.setattr(parquet_file, "LARGEST_TABLE", 2**20)
    monkeypatch.setattr(table_file, "LARGEST_TABLE", 2**20)
    with pytest.raises(InputError, match=r"guest\.parquet: unpacks to more than .* GiB"):
        load_table(path)


def test_metadata_without_end_are_no_table_s(tmp_path: Path) -> None:
    path = tmp_path / "guest.parquet"
    save_table(make_table(1, space=Space.MMIO), path)
    deep = {"vmexit-sim access table": "[" * 200_000}
    pq.write_table(pq.read_table(path).replace_schema_metadata(deep), path)
    with pytest.raises(InputError, match=r"guest\.parquet: is no access table"):
        load_table(path)


def test_columns_of_lists_and_tables_are_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "case.parquet"
    for column in (pa.array([[1]] * 3), pa.array([{"a": 1}] * 3)):
        pq.write_table(pa.table({"ps": column}), path)
        with pytest.raises(InputError, match=r"case\.parquet: column ps: holds .* no table"):
            parquet_file.read_parquet(path)


def test_samples_in_a_packed_csv_file_are_not_unpacked(tmp_path: Path) -> None:
    (tmp_path / "times.csv.gz").write_bytes(gzip.compress(b"ps\n5\n"))
    with pytest.raises(ValueError, match="cannot be read"):
        Empirical.model_validate(
            {"kind": "empirical", "file": "times.csv.gz", "column": "ps"},
            context={"file": tmp_path / "scenario.toml"},
        )


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a = 1\nx = " + "[" * 50_000, "case.toml: is not TOML, or nested too deeply"),
        ("a = 1\nx = " + "1" * 5_000, "case.toml: line 2: is not TOML: .*digits"),
        ("x = 'a'\n" * 3_000_000, "case.toml: is larger than 16 MiB"),
    ],
)
def test_toml_without_measure_is_refused(text: str, says: str, tmp_path: Path) -> None:
    path = tmp_path / "case.toml"
    path.write_text(text)
    with pytest.raises(InputError, match=says):
        read_toml(path)
