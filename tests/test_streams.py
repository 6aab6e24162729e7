"""Streams belong to their names: nothing else moves their draws."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from vmexit_sim.streams import Streams

NAMES = st.text(min_size=1, max_size=12)


def draws(streams: Streams, *name: object, n: int = 8) -> list[int]:
    return streams.named(*name).integers(0, 2**63, n).tolist()


@given(st.integers(0, 2**63), st.integers(0, 10**6), NAMES)
def test_a_stream_is_told_by_root_replication_and_name(root: int, turn: int, name: str) -> None:
    assert draws(Streams(root, turn), name) == draws(Streams(root, turn), name)
    assert draws(Streams(root, turn), name) != draws(Streams(root, turn + 1), name)
    assert draws(Streams(root, turn), name) != draws(Streams(root + 1, turn), name)
    assert draws(Streams(root, turn), name) != draws(Streams(root, turn), name + "x")


@given(st.permutations(["think", "arrival", "emulate/0", "emulate/1"]))
def test_the_order_of_asking_moves_nothing(order: list[str]) -> None:
    streams = Streams(1)
    asked = {name: draws(streams, name) for name in order}
    assert asked == {name: draws(Streams(1), name) for name in asked}


def test_one_streams_draws_do_not_depend_on_how_much_another_draws() -> None:
    streams = Streams(1)
    streams.named("a").random(1000)
    assert draws(streams, "b") == draws(Streams(1), "b")


def test_parts_of_a_name_are_joined() -> None:
    assert draws(Streams(1), "emulate", 3) == draws(Streams(1), "emulate/3")


@settings(max_examples=10)
@given(st.integers(0, 2**32))
def test_streams_are_not_correlated(root: int) -> None:
    one = Streams(root, 0).named("think").standard_normal(2000)
    for other in (
        Streams(root, 1).named("think"),
        Streams(root, 0).named("emulate"),
        Streams(root + 1, 0).named("think"),
    ):
        assert abs(np.corrcoef(one, other.standard_normal(2000))[0, 1]) < 6 / np.sqrt(2000)


def test_another_process_draws_the_same() -> None:
    code = (
        "from vmexit_sim.streams import Streams;"
        "print(Streams(5, 2).named('think', 1).integers(0, 2**63, 8).tolist())"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == str(draws(Streams(5, 2), "think", 1))
