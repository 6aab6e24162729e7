"""`RequestResponse`: a closed loop of doorbells with so many in flight."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmexit_sim.configuration import checked
from vmexit_sim.errors import InputError
from vmexit_sim.guest.generators import RequestResponse
from vmexit_sim.guest.table import NEVER, Agent, Space, concatenate
from vmexit_sim.guest.table_file import check_table
from vmexit_sim.guest.workload import whole_table
from vmexit_sim.hypervisor.platform import load_platform
from vmexit_sim.mechanisms import make_mechanism
from vmexit_sim.policy import Policy, Rule
from vmexit_sim.streams import Streams
from vmexit_sim.study.simulate import simulate

US = 1_000_000


def loop(**keys: Any) -> RequestResponse:
    plain = {"kind": "request_response", "requests": 4, "think": "3 us", "service": "2 us"}
    return checked(RequestResponse, plain | keys)


def test_a_response_is_needed_by_the_request_that_takes_its_place() -> None:
    table = whole_table(loop(in_flight=3), Streams(1))
    assert table.needed_by.tolist() == [3, 4, 5, 6]
    assert table.write.all()
    assert set(table.space) == {Space.DOORBELL}
    assert set(table.agent) == {Agent.DRIVER}
    assert set(table.compute) == {3 * US}
    assert set(table.emulate) == {2 * US}
    assert table.operation.tolist() == [0, 1, 2, 3]


def test_a_guest_may_wait_for_no_response() -> None:
    stated = {"requests": 4, "think": "3 us", "kind": "request_response", "in_flight": None}
    table = whole_table(checked(RequestResponse, stated), Streams(1))
    assert set(table.needed_by) == {NEVER}


@pytest.mark.parametrize(
    ("in_flight", "service", "period"), [(1, 5, 9), (2, 5, 5), (8, 5, 5), (1, 3, 7), (2, 3, 4)]
)
def test_with_more_in_flight_the_slower_of_guest_and_device_sets_the_pace(
    in_flight: int, service: int, period: int
) -> None:
    # Thinking and writing the descriptor take 4; the side core sees it at once.
    mechanism = make_mechanism({"name": "side_core", "completions": "none"})
    policy = Policy(title="polled", rules=[Rule(side="host", mechanism=mechanism)])
    platform = load_platform("ideal", changes={"gather": "1 us"})
    guest = loop(requests=201, in_flight=in_flight, service=f"{service} us")
    result = simulate(policy, platform, guest, keep_rows=True, engine="simpy")
    done = result.to_columns()["done"]
    assert (done[200] - done[100]) / 100 == period * US


@given(rows=st.integers(1, 200), in_flight=st.integers(1, 40))
def test_rows_are_the_same_whatever_the_block_size(rows: int, in_flight: int) -> None:
    made = loop(requests=90, in_flight=in_flight, think={"kind": "exponential", "mean": "3 us"},
                service={"kind": "gamma", "mean": "1 us", "cv": 2.0})  # fmt: skip
    blocks = list(made.blocks(0, Streams(2), rows))
    for block in blocks:
        check_table(block)
    joined, whole = concatenate(blocks), whole_table(made, Streams(2))
    for name, column in whole.columns.items():
        assert np.array_equal(joined.columns[name], column), name


def test_it_is_random_if_a_time_is() -> None:
    assert not loop().is_random
    assert loop(think={"kind": "exponential", "mean": "3 us"}).is_random
    assert loop(service={"kind": "exponential", "mean": "3 us"}).is_random


@pytest.mark.parametrize("keys", [{"in_flight": 0}, {"in_flight": 257}, {"requests": 0}])
def test_numbers_that_do_not_fit_are_refused(keys: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=next(iter(keys))):
        loop(**keys)
