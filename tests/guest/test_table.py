"""Access tables keep their meaning when cut, joined, thinned out, saved and read back."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmexit_sim.errors import InputError
from vmexit_sim.guest import table_file
from vmexit_sim.guest.table import (
    COLUMN_TYPES,
    NEVER,
    AccessTable,
    Flag,
    Space,
    concatenate,
    make_table,
)
from vmexit_sim.guest.table_file import check_table, load_table, save_table

ROW = st.tuples(
    st.integers(0, 2), st.sampled_from(list(Space)), st.booleans(), st.integers(0, 99),
    st.integers(0, 4), st.integers(0, 255), st.integers(0, 1),
)  # fmt: skip


def table_of(rows: list[tuple[Any, ...]]) -> AccessTable:
    rows = sorted(rows, key=lambda row: row[0])
    n = len(rows)
    vcpu, space, write, compute, ahead, flags, device = (
        list(column) for column in zip(*rows, strict=True)
    )
    needed = np.where(np.array(ahead) > 0, np.arange(n) + ahead, NEVER)
    return make_table(
        n, vcpu=vcpu, space=space, write=write, compute=compute, needed_by=needed, flags=flags,
        device=device, devices=("a", "b"), operation=np.arange(n) // 2, origin="drawn",
        address=np.arange(n),
    )  # fmt: skip


TABLES = st.lists(ROW, min_size=1, max_size=20).map(table_of)
CHOSEN = TABLES.flatmap(
    lambda t: st.tuples(st.just(t), st.lists(st.booleans(), min_size=len(t), max_size=len(t)))
)


def same(one: AccessTable, other: AccessTable, *aside: str) -> bool:
    """Whether two tables hold the same; a consumer beyond the end is as good as any other."""
    a, b = ({**table.columns} for table in (one, other))
    for columns, n in ((a, len(one)), (b, len(other))):
        for name in ("needed_by", "needed_idiom"):
            columns[name] = np.minimum(columns[name], n)
    return all(np.array_equal(column, b[name]) for name, column in a.items() if name not in aside)


def test_an_ordinary_read_blocks_and_a_write_does_not() -> None:
    table = make_table(3, space=Space.MMIO, write=[0, 1, 0])
    assert table.needed_by.tolist() == table.needed_idiom.tolist() == [1, NEVER, 3]
    assert table.vcpus == 1
    assert {name: c.dtype for name, c in table.columns.items()} == COLUMN_TYPES


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ({}, "no `space`"),
        ({"space": [0, 0], "spcae": 1}, "spcae"),
        ({"space": [0, 0, 0]}, "space: column has"),
        ({"space": [0, 0], "compute": [[1, 2]]}, "compute: column has"),
        ({"space": [0, 0], "vcpu": [1, 0]}, "not grouped by vCPU"),
    ],
)
def test_columns_that_do_not_fit_are_refused(columns: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        make_table(2, **columns)


@given(TABLES, st.integers(1, 25))
def test_blocks_put_together_are_the_table(table: AccessTable, rows: int) -> None:
    joined = concatenate(list(table.in_blocks(rows)))
    assert same(joined, table, "operation")  # its numbers are told apart by vCPU
    assert np.array_equal(joined.of_vcpu(0).operation, table.of_vcpu(0).operation)
    for block in table.in_blocks(rows):
        check_table(block)


@given(TABLES)
def test_the_tables_of_all_vcpus_put_together_are_the_table(table: AccessTable) -> None:
    parts = [table.of_vcpu(vcpu) for vcpu in range(table.vcpus)]
    assert sum(map(len, parts)) == len(table)
    joined = concatenate(parts)
    for name in ("vcpu", "compute", "needed_by", "address", "device"):
        assert np.array_equal(getattr(joined, name), getattr(table, name))


def test_operations_of_different_vcpus_are_kept_apart() -> None:
    one = make_table(2, space=0, operation=[0, 1], devices=("x",))
    two = make_table(2, space=0, vcpu=1, operation=[0, -1], devices=("y", "x"), device=[0, 1])
    joined = concatenate([one, two])
    assert joined.operation.tolist() == [0, 1, 2, -1]
    assert [joined.devices[d] for d in joined.device] == ["x", "x", "y", "x"]
    assert len(concatenate([])) == 0


@given(CHOSEN)
def test_a_consumer_is_always_the_next_kept_row(chosen: tuple[AccessTable, list[bool]]) -> None:
    table, keep = chosen
    thinned = table.only(np.array(keep))
    check_table(thinned)
    kept = np.flatnonzero(keep)
    for new, old in enumerate(kept):
        needed = table.needed_by[old]
        if needed == NEVER:
            assert thinned.needed_by[new] == NEVER
        else:
            assert min(thinned.needed_by[new], len(kept)) == np.searchsorted(kept, needed)


@given(CHOSEN)
def test_compute_is_kept_up_to_each_vcpus_last_kept_row(
    chosen: tuple[AccessTable, list[bool]],
) -> None:
    table, keep = chosen
    thinned = table.only(np.array(keep))
    for vcpu in range(table.vcpus):
        own = np.flatnonzero(table.vcpu == vcpu)
        kept = [row for row in own if keep[row]]
        expected = table.compute[own[own <= kept[-1]]].sum() if kept else 0
        assert thinned.compute[thinned.vcpu == vcpu].sum() == expected
    bare = table.only(np.array(keep), with_compute=False)
    assert np.array_equal(bare.compute, table.compute[keep])


@given(TABLES)
def test_keeping_all_changes_nothing_and_thinning_twice_is_thinning_once(
    table: AccessTable,
) -> None:
    n = len(table)
    assert same(table.only(np.ones(n, np.bool_)), table)
    third, half = np.arange(n) % 3 != 0, np.arange(n) % 2 == 0
    assert same(table.only(third).only(half[third]), table.only(third & half))


def test_flags_are_told_apart() -> None:
    table = make_table(3, space=0, flags=[Flag.ABSENT, Flag.WAITED | Flag.ECAM, 0])
    assert table.has(Flag.ECAM).tolist() == [False, True, False]
    assert table.has(Flag.ABSENT | Flag.WAITED).tolist() == [True, True, False]


@given(TABLES, st.floats(0, 100))
def test_scaling_compute_rounds_to_picoseconds(table: AccessTable, scale: float) -> None:
    scaled = table.with_think_scale(scale)
    assert np.abs(scaled.compute - table.compute * scale).max() <= 0.5
    assert np.array_equal(scaled.needed_by, table.needed_by)


@given(table=TABLES)
def test_a_saved_table_comes_back(
    tmp_path_factory: pytest.TempPathFactory, table: AccessTable
) -> None:
    path = tmp_path_factory.mktemp("saved") / "t.parquet"
    save_table(table, path)
    back = load_table(path)
    assert same(back, table)
    assert (back.devices, back.origin, back.has_ecam, back.notes) == (("a", "b"), "drawn", True, ())
    assert [p.name for p in path.parent.iterdir()] == ["t.parquet"]


def test_a_table_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="in no existing folder"):
        save_table(make_table(1, space=0), tmp_path / "gone" / "t.parquet")
    with pytest.raises(InputError, match="is no regular file"):
        save_table(make_table(1, space=0), tmp_path)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("vcpu", -1), ("vcpu", 70_000), ("agent", 9), ("phase", -1), ("kind", 99), ("space", 7),
        ("device", 1), ("device", -1), ("compute", -1), ("arrival", -2), ("emulate", -5),
        ("compute", 2**62 + 1), ("arrival", 2**63 - 1), ("emulate", 2**63 - 1),
        ("targets", -1), ("needed_by", 1), ("needed_by", 0), ("needed_by", -2), ("needed_idiom", 1),
    ],
)  # fmt: skip
def test_what_no_guest_could_do_is_refused(tmp_path: Path, column: str, value: int) -> None:
    table = make_table(3, space=0, vcpu=[0, 0, 70_000] if value == 70_000 else 0)
    changed = table.columns[column].copy()
    changed[1 if value != 70_000 else 2] = value
    table = replace(table, **{column: changed})
    path = tmp_path / "t.parquet"
    save_table(table, path)
    with pytest.raises(InputError, match=column):
        load_table(path)


def rewritten(path: Path, about: Any = None, **columns: Any) -> None:
    arrow = pq.read_table(path)
    meta = arrow.schema.metadata
    for name, values in columns.items():
        place = arrow.column_names.index(name)
        arrow = arrow.remove_column(place)
        if values is not None:
            arrow = arrow.add_column(place, name, [values])
    meta = {"vmexit-sim access table": json.dumps(about)} if about is not None else meta
    pq.write_table(arrow.replace_schema_metadata(meta), path)


@pytest.mark.parametrize(
    "columns",
    [{"space": None}, {"space": [0.5, 0, 0]}, {"space": ["a", "b", "c"]}, {"space": [1, None, 1]},
     {"compute": pa.array([2**64 - 1] * 3, pa.uint64())}, {"write": [0, 1, 2]}],
    ids=["missing", "fractions", "texts", "gaps", "beyond int64", "no truth values"],
)  # fmt: skip
def test_columns_of_another_kind_are_refused(tmp_path: Path, columns: dict[str, Any]) -> None:
    path = tmp_path / "t.parquet"
    save_table(make_table(3, space=0), path)
    rewritten(path, **columns)
    with pytest.raises(InputError, match="is no access table"):
        load_table(path)


def test_a_column_that_came_later_may_be_missing(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    save_table(make_table(3, space=0, targets=[1, 2, 3]), path)
    assert load_table(path).targets.tolist() == [1, 2, 3]
    rewritten(path, targets=None)
    old = load_table(path)
    assert old.targets.tolist() == [0, 0, 0]
    assert old.targets.dtype == np.int32


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1 nonsense PAR1", b"a,b\n1,2\n"])
def test_another_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "t.parquet"
    path.write_bytes(content)
    with pytest.raises(InputError, match="is no access table"):
        load_table(path)
    with pytest.raises(InputError, match="is no access table"):
        load_table(tmp_path / "gone.parquet")


@given(place=st.integers(0, 10**6), value=st.integers(0, 255))
def test_a_damaged_file_is_refused_or_still_a_possible_table(
    tmp_path_factory: pytest.TempPathFactory, place: int, value: int
) -> None:
    path = tmp_path_factory.mktemp("damaged") / "t.parquet"
    save_table(make_table(5, space=0), path)
    content = bytearray(path.read_bytes())
    content[place % len(content)] = value
    path.write_bytes(bytes(content))
    try:
        check_table(load_table(path))
    except InputError as error:
        assert error.file == path  # noqa: PT017


@pytest.mark.parametrize("about", [5, ["a"], {"devices": 5}, {"devices": [1]}], ids=str)
def test_metadata_of_another_shape_is_refused(tmp_path: Path, about: Any) -> None:
    path = tmp_path / "t.parquet"
    save_table(make_table(3, space=0), path)
    rewritten(path, about)
    with pytest.raises(InputError, match="is no access table"):
        load_table(path)


@pytest.mark.parametrize("at_a_time", [1, 2, 3, 100])
@given(data=st.data())
def test_what_is_impossible_is_found_whatever_is_checked_at_a_time(
    at_a_time: int, data: st.DataObject
) -> None:
    table = data.draw(TABLES)
    row = data.draw(st.integers(0, len(table) - 1))
    name, value = data.draw(st.sampled_from([
        ("needed_by", 0), ("needed_by", row), ("needed_idiom", max(row - 1, 0)), ("compute", -1),
        ("vcpu", -1), ("device", 2), ("agent", 99), ("operation", -2),
    ]))  # fmt: skip
    column = getattr(table, name).copy()
    column[row] = value
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(table_file, "CHECKED_ROWS", at_a_time)
        check_table(table)
        with pytest.raises(InputError, match=f"{name}, row {row}"):
            check_table(replace(table, **{name: column}))
