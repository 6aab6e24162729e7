"""`InterruptService`: a status read that must trap, then what it asks for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmexit_sim.configuration import checked
from vmexit_sim.errors import InputError
from vmexit_sim.guest.generators import InterruptService
from vmexit_sim.guest.table import NEVER, Agent, Flag, Kind, Space, concatenate
from vmexit_sim.guest.table_file import check_table
from vmexit_sim.guest.workload import whole_table
from vmexit_sim.streams import Streams

US = 1_000_000
POISSON = {"kind": "exponential", "mean": "50 us"}


def service(**keys: Any) -> InterruptService:
    plain = {"services": 2, "interarrival": "50 us", "accesses": 3, "read_share": 0}
    return checked(InterruptService, {"kind": "interrupt_service", **plain, **keys})


def test_each_service_begins_with_a_status_read() -> None:
    made = service(within="1 us", emulate="2 us")
    table = whole_table(made, Streams(1))
    assert not made.is_random
    assert table.write.tolist() == [False, True, True] * 2
    assert table.has(Flag.SIDE_EFFECT).tolist() == [True, False, False] * 2
    assert table.needed_by.tolist() == [1, NEVER, NEVER, 4, NEVER, NEVER]
    assert table.arrival.tolist() == [50 * US, NEVER, NEVER, 100 * US, NEVER, NEVER]
    assert table.compute.tolist() == [0, US, US] * 2
    assert table.operation.tolist() == [0, 0, 0, 1, 1, 1]
    assert set(table.kind) == {Kind.INTERRUPT_SERVICE}
    assert set(table.space) == {Space.MMIO}
    assert set(table.agent) == {Agent.DRIVER}
    assert set(table.emulate) == {2 * US}


def test_each_read_is_needed_by_the_next_row() -> None:
    table = whole_table(service(read_share=1), Streams(1))
    assert table.needed_by.tolist() == [1, 2, 3, 4, 5, 6]


@given(rows=st.integers(1, 200), accesses=st.integers(1, 7))
def test_rows_are_the_same_whatever_the_block_size(rows: int, accesses: int) -> None:
    made = service(services=30, accesses=accesses, interarrival=POISSON, read_share=0.5,
                   within={"kind": "gamma", "mean": "1 us", "cv": 2.0})  # fmt: skip
    blocks = list(made.blocks(0, Streams(2), rows))
    for block in blocks:
        check_table(block)
    joined, whole = concatenate(blocks), whole_table(made, Streams(2))
    for name, column in whole.columns.items():
        assert np.array_equal(joined.columns[name], column), name


def test_replications_and_vcpus_are_interrupted_at_other_times() -> None:
    made = service(services=50, interarrival=POISSON, vcpus=2)
    table, again = (whole_table(made, Streams(2, replication)) for replication in (0, 1))
    check_table(table)
    assert made.is_random
    assert not np.array_equal(table.arrival, again.arrival)
    assert not np.array_equal(table.of_vcpu(0).arrival, table.of_vcpu(1).arrival)


def test_the_mean_time_between_interrupts_is_the_one_asked_for() -> None:
    table = whole_table(service(services=40_000, interarrival=POISSON, accesses=1), Streams(5))
    gaps = np.diff(table.arrival, prepend=0)
    assert abs(gaps.mean() - 50 * US) < 5 * 50 * US / np.sqrt(len(gaps))
    assert (gaps >= 0).all()


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"read_share": -1}, "read_share"),
        ({"accesses": 0}, "accesses"),
        ({"space": "doorbell"}, "space"),
        ({"interarival": "1 us"}, "did you mean 'interarrival'"),
        ({"services": 10**12, "interarrival": "1 s"}, "53 days"),
    ],
)
def test_what_cannot_be_is_refused(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        service(**keys)
