"""Packed rows: what went in comes out, at the ends of every field's range as well."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from vmexit_sim.guest.log_rows import LogRows, Row

INT16, INT64 = st.integers(0, 2**15 - 1), st.integers(0, 2**63 - 1)
ROWS = st.lists(
    st.builds(
        Row, line=INT64, vcpu=st.integers(0, 65_535), gap=INT64, space=st.integers(0, 4),
        write=st.booleans(), size=st.sampled_from([1, 2, 4, 8]), address=INT64,
        value=st.integers(0, 2**64 - 1), flags=INT16, device=INT16,
    ),
    min_size=1, max_size=20,
)  # fmt: skip


def packed(rows: list[Row]) -> LogRows:
    made = LogRows()
    for row in rows:
        made.append(row)
    return made


@given(ROWS)
def test_columns_hold_what_was_appended(rows: list[Row]) -> None:
    made = packed(rows)
    assert (len(made), made.last()) == (len(rows), rows[-1])
    columns = made.columns()
    for name in Row._fields:
        assert columns[name].tolist() == [getattr(row, name) for row in rows]


@given(ROWS, INT16, st.data())
def test_a_device_that_is_set_later_changes_nothing_else(
    rows: list[Row], device: int, data: st.DataObject
) -> None:
    made, at = packed(rows), data.draw(st.integers(0, len(rows) - 1))
    made.answered_by(at, device)
    rows[at] = rows[at]._replace(device=device)
    assert packed(rows).columns()["device"].tolist() == made.columns()["device"].tolist()
    assert made.last() == rows[-1]
    new = list(reversed(range(2**15)))
    made.renumber_devices(new)
    assert made.columns()["device"].tolist() == [new[row.device] for row in rows]
    assert made.columns()["value"].tolist() == [row.value for row in rows]
