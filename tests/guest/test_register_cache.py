"""Which config reads a cache answers: held against a dictionary that is asked access by access."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmexit_sim.guest.register_cache import RegisterCache
from vmexit_sim.guest.table import AccessTable, Flag, Space, make_table

F, G = 1 << 12, 2 << 12


def cache(**parameters: Any) -> RegisterCache:
    plain = {"line": 4, "invalidate": "register", "exclude": (), "volatile": False}
    return RegisterCache(**{**plain, **parameters})


def accesses(*made: tuple[str, int, int], flags: int = 0) -> AccessTable:
    """Config accesses: (r or w, address, size)."""
    kind, address, size = zip(*made, strict=True)
    return make_table(len(made), space=Space.PCI_CONFIG, write=[k == "w" for k in kind],
                      address=address, size=size, flags=flags)  # fmt: skip


def hits(table: AccessTable, **parameters: Any) -> list[int]:
    every = np.ones(len(table), np.bool_)
    return np.flatnonzero(cache(**parameters).hits(table, every)).tolist()


def test_a_read_hits_from_the_second_on_until_the_register_is_written() -> None:
    r, w = ("r", F | 0x34, 4), ("w", F | 0x34, 4)
    assert hits(accesses(r, r, r, w, r, r)) == [1, 2, 5]


def test_a_byte_hits_after_its_dword_and_a_dword_after_its_byte_if_lines_are_dwords() -> None:
    byte, word, dword = ("r", F | 0x35, 1), ("r", F | 0x36, 2), ("r", F | 0x34, 4)
    assert hits(accesses(dword, byte, word)) == [1, 2]
    assert hits(accesses(byte, dword)) == [1]
    assert hits(accesses(byte, dword, word), line=1) == [2]
    assert hits(accesses(byte, word, ("r", F | 0x34, 1), dword), line=1) == [3]


def test_writing_one_byte_forgets_its_line() -> None:
    dword, low, high = ("r", F | 0x3C, 4), ("w", F | 0x3C, 1), ("r", F | 0x3D, 1)
    assert hits(accesses(dword, low, high)) == []
    assert hits(accesses(dword, low, high), line=1) == [2]


def test_an_access_across_two_lines_needs_both() -> None:
    across, second = ("r", F | 0x32, 4), ("r", F | 0x34, 4)
    assert hits(accesses(second, across, across)) == [2]


def test_a_write_forgets_its_register_or_its_whole_function() -> None:
    made = accesses(("r", F, 4), ("r", F | 8, 4), ("r", G, 4), ("w", F | 8, 4), ("r", F, 4),
                    ("r", F | 8, 4), ("r", G, 4))  # fmt: skip
    assert hits(made) == [4, 6]
    assert hits(made, invalidate="function") == [6]


def test_excluded_side_effect_and_volatile_registers_never_hit() -> None:
    made = accesses(*[("r", F | 6, 2)] * 2, *[("r", F | 4, 4)] * 2, *[("r", F | 2, 2)] * 2)
    assert hits(made, exclude=((4, 7),)) == [5]
    assert hits(accesses(*[("r", F | 0x34, 4)] * 2, flags=Flag.SIDE_EFFECT)) == []
    volatile = accesses(*[("r", F | 0x44, 4)] * 2, flags=Flag.VOLATILE)
    assert hits(volatile) == []
    assert hits(volatile, volatile=True) == [1]


def test_only_own_reads_fill_and_hit_but_every_write_forgets() -> None:
    r, w = ("r", F | 0x34, 4), ("w", F | 0x34, 4)
    made = accesses(r, r, r, w, r)
    own = np.array([False, True, True, False, True])
    assert np.flatnonzero(cache().hits(made, own)).tolist() == [2]


def test_other_spaces_and_lone_index_accesses_are_not_config_registers() -> None:
    made = make_table(4, space=[2, 2, 0, 0], address=F, flags=[0, 0, 16, 16])
    assert hits(made) == []


def _one_by_one(table: AccessTable, own: list[bool], line: int, by_function: bool) -> list[bool]:
    there: set[int] = set()
    found = []
    for row, (address, size, write) in enumerate(
        zip(table.address.tolist(), table.size.tolist(), table.write.tolist(), strict=True)
    ):
        lines = {(address + byte) // line for byte in range(size)}
        found.append(own[row] and not write and lines <= there)
        if write and by_function:
            there = {
                one for one in there if one * line >> 12 not in {n * line >> 12 for n in lines}
            }
        elif write:
            there -= lines
        elif own[row]:
            there |= lines
    return found


@given(
    rows=st.lists(
        st.tuples(
            st.booleans(), st.integers(0, 2), st.integers(0, 9), st.sampled_from([1, 2, 4]),
            st.sampled_from([True, True, False]),
        ),
        max_size=40,
    ),
    line=st.sampled_from([1, 4]),
    invalidate=st.sampled_from(["register", "function"]),
    block=st.integers(1, 9),
)  # fmt: skip
def test_blocks_of_any_size_hit_what_one_by_one_hits(
    rows: list[tuple[bool, int, int, int, bool]], line: int, invalidate: str, block: int
) -> None:
    table = accesses(*(("w" if w else "r", f << 12 | r, size) for w, f, r, size, _ in rows)) if (
        rows) else make_table(0, space=[])  # fmt: skip
    own = np.array([mine for *_, mine in rows], np.bool_)
    kept = cache(line=line, invalidate=invalidate)
    found = [
        hit
        for begin in range(0, len(rows), block)
        for hit in kept.hits(
            table.block(begin, min(begin + block, len(rows))), own[begin : begin + block]
        ).tolist()
    ]
    assert found == _one_by_one(table, own.tolist(), line, invalidate == "function")


@pytest.mark.parametrize("invalidate", ["register", "function"])
def test_what_is_remembered_does_not_grow_with_the_stream(invalidate: str) -> None:
    kept = cache(invalidate=invalidate)
    table = accesses(*[("r", F | 4 * n, 4) for n in range(50)])
    for _ in range(100):
        kept.hits(table, np.ones(50, np.bool_))
    assert len(kept._there) == 50
