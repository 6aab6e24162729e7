"""Which accesses join the cluster of the one before: held against a count kept by hand."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from vmexit_sim.guest.clusters import Clusters
from vmexit_sim.guest.table import NEVER, Flag, Space, make_table


@given(
    rows=st.lists(
        st.tuples(st.integers(0, 3), st.booleans(), st.sampled_from([0, 0, 0, 1, 2])), max_size=40
    ),
    longest=st.integers(1, 5),
    block=st.integers(1, 9),
)
def test_blocks_of_any_size_join_what_one_by_one_joins(
    rows: list[tuple[int, bool, int]], longest: int, block: int
) -> None:
    compute, own, idles = (list(c) for c in zip(*rows, strict=True)) if rows else ([], [], [])
    table = make_table(
        len(rows), space=np.full(len(rows), Space.MMIO), compute=np.array(compute, np.int64),
        flags=np.where(np.array(idles) == 1, Flag.WAITED, Flag.NONE),
        arrival=np.where(np.array(idles) == 2, 5, NEVER),
    )  # fmt: skip
    clusters, found = Clusters(within=1, longest=longest), []
    for begin in range(0, len(rows), block):
        part = table.block(begin, min(begin + block, len(rows)))
        found += clusters.hits(part, np.array(own[begin : begin + block], np.bool_)).tolist()
    expected, size = [], 0
    for time, mine, idle in rows:
        joins = mine and 0 < size < longest and time <= 1 and not idle
        size = (size + 1 if joins else 1) if mine else 0
        expected.append(joins)
    assert found == expected
