"""Durations: their moments are those asked for, and their draws do not depend on blocks."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vmexit_sim.configuration import Configured, checked
from vmexit_sim.distributions import Constant, Distribution, Duration
from vmexit_sim.errors import InputError

US = 1_000_000
N = 100_000


class Held(Configured):
    time: Distribution


def duration(stated: Any, beside: Path | None = None) -> Duration:
    context = {"file": beside} if beside else None
    return checked(Held, {"time": stated}, context=context).time


def drawn(stated: Any, n: int = N, seed: int = 7) -> np.ndarray:
    return duration(stated).draw(np.random.default_rng(seed), n)


RANDOM = [
    {"kind": "uniform", "low": "1 us", "high": "3 us"},
    {"kind": "exponential", "mean": "10 us"},
    {"kind": "exponential", "mean": "10 us", "shift": "4 us"},
    {"kind": "lognormal", "mean": "13.6 us", "cv": 0.57},
    {"kind": "lognormal", "mean": "13.6 us", "cv": 0.57, "shift": "3.54 us"},
    {"kind": "gamma", "mean": "10 us", "cv": 0.5},
    {"kind": "gamma", "mean": "10 us", "cv": 1.5, "shift": "2 us"},
]


def deviation(stated: dict[str, Any]) -> float:
    """The standard deviation by theory, in ps."""
    made: Any = duration(stated)
    if stated["kind"] == "uniform":
        return float((made.high - made.low) / math.sqrt(12))
    if stated["kind"] == "exponential":
        return float(made.mean - made.shift)
    return float(made.cv * made.mean)


@pytest.mark.parametrize(
    "stated", ["5 us", {"value": "5 us"}, {"kind": "constant", "value": "5 us"}]
)
def test_a_constant_is_always_the_same_and_draws_nothing(stated: Any) -> None:
    rng = np.random.default_rng(1)
    before = rng.bit_generator.state
    made = duration(stated)
    assert made.draw(rng, 3).tolist() == [5 * US] * 3
    assert rng.bit_generator.state == before
    assert made.is_constant
    assert made.mean_ps == 5 * US


@pytest.mark.parametrize("stated", RANDOM, ids=str)
def test_the_mean_is_that_of_the_whole(stated: dict[str, Any]) -> None:
    values = drawn(stated)
    assert abs(values.mean() - duration(stated).mean_ps) < 5 * deviation(stated) / math.sqrt(N)
    assert not duration(stated).is_constant


@pytest.mark.parametrize("stated", RANDOM, ids=str)
def test_the_spread_is_that_of_the_whole(stated: dict[str, Any]) -> None:
    assert drawn(stated).std() == pytest.approx(deviation(stated), rel=0.05)


@pytest.mark.parametrize("stated", [s for s in RANDOM if "shift" in s], ids=str)
def test_nothing_falls_below_the_shift_and_something_comes_near(stated: dict[str, Any]) -> None:
    shift: int = duration(stated).shift  # type: ignore[attr-defined]
    least = drawn(stated).min()
    assert shift <= least < shift + 0.1 * (duration(stated).mean_ps - shift) + US


def test_a_uniform_time_stays_between_its_ends() -> None:
    values = drawn({"kind": "uniform", "low": "0 ps", "high": "3 ps"}, 1000)
    assert set(values.tolist()) == {0, 1, 2, 3}


@settings(max_examples=30)
@given(
    st.sampled_from(RANDOM),
    st.lists(st.integers(0, 300), min_size=1, max_size=6),
    st.integers(0, 2**32),
)
def test_drawing_in_blocks_is_drawing_at_once(stated: Any, blocks: list[int], seed: int) -> None:
    made = duration(stated)
    rng = np.random.default_rng(seed)
    parts = np.concatenate([made.draw(rng, n) for n in blocks])
    assert parts.dtype == np.int64
    assert np.array_equal(parts, made.draw(np.random.default_rng(seed), sum(blocks)))


@pytest.mark.parametrize(
    ("stated", "says"),
    [
        (5, "time.*5 has no unit"),
        ({"kind": "exponential", "mean": 5}, "mean: 5 has no unit"),
        ({"kind": "exponential"}, "mean: is missing"),
        ({"kind": "exponental", "mean": "1 us"}, "'exponential'"),
        ({"kind": "uniform", "low": "2 us", "high": "1 us"}, "swap low and high"),
        ({"kind": "uniform", "low": "2 us", "high": "2 us"}, "swap low and high"),
        ({"kind": "gamma", "mean": "1 us", "cv": 0.0}, "cv: 0.0 does not fit"),
        ({"kind": "gamma", "mean": "1 us", "cv": math.nan}, "cv"),
        ({"kind": "gamma", "mean": "1 us", "cv": math.inf}, "cv"),
        ({"kind": "lognormal", "mean": "1 us", "cv": 1.0, "shift": "1 us"}, "lower the shift"),
        ({"kind": "exponential", "mean": "1 us", "shift": "2 us"}, "lower the shift"),
        ({"kind": "exponential", "mean": "1 us", "cv": 2.0}, "cv: is no key here"),
        ({"kind": "empirical"}, "samples: is missing"),
        (None, "time"),
        ([], "time"),
    ],
)
def test_what_is_no_duration_is_refused(stated: Any, says: str) -> None:
    with pytest.raises(InputError, match=says):
        duration(stated)


@pytest.mark.parametrize("name", ["times.csv", "times.parquet"])
def test_measured_times_are_drawn_from_their_file(tmp_path: Path, name: str) -> None:
    frame = pd.DataFrame({"latency_ps": [10, 20, 90], "other": [1, 2, 3]})
    frame.to_csv(tmp_path / "times.csv")
    frame.to_parquet(tmp_path / "times.parquet")
    made = duration(
        {"kind": "empirical", "file": name, "column": "latency_ps"}, tmp_path / "host.toml"
    )
    assert made.mean_ps == 40
    values = made.draw(np.random.default_rng(3), 30_000)
    shares = np.unique(values, return_counts=True)
    assert shares[0].tolist() == [10, 20, 90]
    assert np.allclose(shares[1] / 30_000, 1 / 3, atol=0.02)
    rng = np.random.default_rng(3)
    assert np.array_equal(np.concatenate([made.draw(rng, n) for n in (7, 29_993)]), values)


@pytest.mark.parametrize(
    ("file", "column", "says"),
    [
        ("gone.csv", "a", "cannot be read"),
        ("times.csv", "b", "has no column 'b'; .*'a'|known"),
        ("times.csv", "text", "not times of 0 ps or more"),
        ("times.csv", "negative", "not times of 0 ps or more"),
        ("times.csv", "gap", "not times of 0 ps or more"),
        ("empty.csv", "a", "cannot be read|not times"),
        ("junk.parquet", "a", "cannot be read"),
        ("../times.csv", "a", "leaves the folder"),
        ("sub/../../times.csv", "a", "leaves the folder"),
        ("/etc/passwd", "a", "leaves the folder"),
        (5, "a", "needs text"),
        ("times.csv", None, "needs text"),
    ],
)
def test_a_file_that_does_not_serve_is_refused(
    tmp_path: Path, file: object, column: object, says: str
) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    text = "a,text,negative,gap\n1,x,-1,\n2,y,2,2\n"
    (folder / "times.csv").write_text(text)
    (tmp_path / "times.csv").write_text(text)
    (folder / "empty.csv").write_text("")
    (folder / "junk.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(InputError, match=says):
        duration({"kind": "empirical", "file": file, "column": column}, folder / "host.toml")


def test_equal_durations_are_equal_and_may_be_keys() -> None:
    for stated in RANDOM:
        assert duration(stated) == duration(stated)
        assert len({duration(stated), duration(stated)}) == 1
    assert Constant(value="5 us") != Constant(value="6 us")


def test_a_draw_longer_than_any_stated_time_may_be_is_refused() -> None:
    with pytest.raises(InputError, match="longer than 53 days; shorten its mean"):
        drawn({"kind": "exponential", "mean": "40000 min"}, 10_000)
