"""`Spread` makes the rows its parameters say, whatever the block size."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from vmexit_sim.configuration import checked
from vmexit_sim.errors import InputError
from vmexit_sim.guest.generators import BarSizing, Generator, Spread
from vmexit_sim.guest.table import NEVER, AccessTable, Agent, Flag, Phase, Space, concatenate
from vmexit_sim.guest.table_file import check_table
from vmexit_sim.guest.workload import whole_table
from vmexit_sim.streams import Streams

US = 1_000_000
EVERYTHING_RANDOM = {
    "accesses_per_operation": 3,
    "operations": 40,
    "within": {"kind": "lognormal", "mean": "1 us", "cv": 0.5},
    "between": {"kind": "gamma", "mean": "20 us", "cv": 0.7},
    "arrivals": {"kind": "exponential", "mean": "30 us"},
    "emulate": {"kind": "uniform", "low": "1 us", "high": "2 us"},
    "read_share": 0.6,
    "needed_share": 0.5,
    "absent_share": 0.3,
    "space": "pci_config",
}


def spread(**keys: Any) -> Spread:
    plain = {"operations": 5, "between": "10 us", "read_share": 1, "space": "mmio"}
    return checked(Spread, {"kind": "spread", **plain, **keys})


def differing(one: AccessTable, other: AccessTable) -> list[str]:
    return [
        name for name, column in one.columns.items()
        if not np.array_equal(column, other.columns[name])
    ]  # fmt: skip


def test_compute_stands_between_and_inside_operations() -> None:
    table = whole_table(spread(operations=2, accesses_per_operation=3, within="1 us"), Streams(1))
    assert table.compute.tolist() == [10 * US, US, US, 10 * US, US, US]
    assert table.operation.tolist() == [0, 0, 0, 1, 1, 1]
    assert table.arrival.tolist() == [NEVER] * 6
    assert table.needed_by.tolist() == [1, 2, 3, 4, 5, 6]
    assert set(table.phase) == {Phase.JOB}


def test_arrivals_add_up_on_first_accesses() -> None:
    made = spread(operations=3, accesses_per_operation=2, arrivals="7 us")
    arrival = whole_table(made, Streams(1)).arrival
    assert arrival.tolist() == [7 * US, NEVER, 14 * US, NEVER, 21 * US, NEVER]


def test_arrivals_stay_exact_beyond_what_a_double_holds() -> None:
    step = 10**18 + 1
    made = spread(operations=3, arrivals=f"{step} ps", between="0 s")
    joined = concatenate(list(made.blocks(0, Streams(1), 1)))
    assert joined.arrival.tolist() == [step, 2 * step, 3 * step]


@pytest.mark.parametrize(
    ("space", "agent"),
    [("pci_config", Agent.KERNEL), ("mmio", Agent.DRIVER), ("port_io", Agent.DRIVER)],
)
def test_the_kernel_reaches_config_space_and_drivers_the_rest(space: str, agent: Agent) -> None:
    table = whole_table(spread(space=space), Streams(1))
    assert set(table.agent) == {agent}
    assert set(table.space) == {Space[space.upper()]}


@pytest.mark.parametrize("share", [0, 1])
def test_a_share_of_none_or_all_is_exact_and_not_random(share: int) -> None:
    made = spread(read_share=share, needed_share=0)
    table = whole_table(made, Streams(1))
    assert not made.is_random
    assert table.write.tolist() == [share == 0] * 5
    assert (table.needed_by == NEVER).all()


@given(rows=st.integers(1, 130), seed=st.integers(0, 5))
def test_rows_are_the_same_whatever_the_block_size(rows: int, seed: int) -> None:
    made = spread(**EVERYTHING_RANDOM)
    blocks = list(made.blocks(0, Streams(seed), rows))
    assert max(map(len, blocks)) <= rows
    for block in blocks:
        check_table(block)
    assert differing(concatenate(blocks), whole_table(made, Streams(seed))) == []


def test_same_seed_same_rows_and_other_replication_other_rows() -> None:
    made = spread(**EVERYTHING_RANDOM)
    assert made.is_random
    table = whole_table(made, Streams(3, 0))
    assert differing(table, whole_table(made, Streams(3, 0))) == []
    assert {"compute", "arrival", "emulate", "write"} <= set(
        differing(table, whole_table(made, Streams(3, 1)))
    )


def test_vcpus_draw_for_themselves() -> None:
    table = whole_table(spread(**EVERYTHING_RANDOM, vcpus=2), Streams(3))
    check_table(table)
    assert not np.array_equal(table.of_vcpu(0).compute, table.of_vcpu(1).compute)
    assert len(np.unique(table.operation)) == 80


def test_another_column_being_random_moves_no_other_column() -> None:
    calm = whole_table(spread(**{**EVERYTHING_RANDOM, "emulate": "0 s"}), Streams(3))
    assert differing(calm, whole_table(spread(**EVERYTHING_RANDOM), Streams(3))) == ["emulate"]


def test_means_and_shares_are_those_asked_for() -> None:
    made = spread(**{**EVERYTHING_RANDOM, "operations": 20_000})
    table = whole_table(made, Streams(11))
    first = table.arrival != NEVER
    reads = ~table.write

    def near(sample: Any, mean: float, deviation: float) -> bool:
        """Within five standard errors of theory."""
        return bool(abs(np.mean(sample) - mean) < 5 * deviation / np.sqrt(len(sample)))

    assert near(table.compute[first], 20 * US, 0.7 * 20 * US)
    assert near(table.compute[~first], US, 0.5 * US)
    assert near(np.diff(table.arrival[first]), 30 * US, 30 * US)
    assert near(table.emulate, 1.5 * US, US / np.sqrt(12))
    assert near(reads, 0.6, 0.5)
    assert near(table.needed_by[reads] != NEVER, 0.5, 0.5)
    assert near(table.has(Flag.ABSENT)[reads], 0.3, 0.5)
    assert (table.needed_by[table.write] == NEVER).all()
    assert not table.has(Flag.ABSENT)[table.write].any()


def test_two_million_rows_need_the_memory_of_a_block() -> None:
    made = spread(operations=500_000, accesses_per_operation=4, arrivals="10 us", read_share=0.5)
    first = next(made.blocks(0, Streams(1)))
    block_bytes = sum(column.nbytes for column in first.columns.values())
    tracemalloc.start()
    try:
        rows = sum(len(block) for block in made.blocks(0, Streams(1)))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert rows == 2_000_000
    assert peak < 6 * block_bytes


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"read_share": -0.1}, "read_share: -0.1 does not fit: .*greater than or equal to 0"),
        ({"needed_share": 1.5}, "needed_share: 1.5 does not fit: .*less than or equal to 1"),
        ({"read_share": float("nan")}, "read_share"),
        ({"operations": 0}, "operations"),
        ({"within": "5"}, "no unit"),
        ({"needed_shar": 1}, "needed_shar: is no key here; did you mean 'needed_share'"),
        ({"absent_share": 0.5}, 'space = "pci_config"'),
        ({"space": "doorbell"}, "read_share = 0"),
        ({"space": "msr"}, "space"),
        ({"arrivals": "20 days"}, "unknown unit"),
        ({"arrivals": "1 s", "operations": 5_000_000}, "53 days"),
    ],
)
def test_what_cannot_be_is_refused_with_its_mend(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        spread(**keys)


def test_the_kind_says_which_generator() -> None:
    adapter: TypeAdapter[Any] = TypeAdapter(Generator)
    made = adapter.validate_python({"kind": "bar_sizing", "sequence": "bare", "bars32": 1})
    assert isinstance(made, BarSizing)
