"""Where bars and dots lie."""

import math
from itertools import pairwise

import pytest

from vmexit_sim.explorer.charts import ROOM, Axis, dots, stacked
from vmexit_sim.statistics import Estimate, exact, mean

ORDER = ["world switch", "decode", "waiting"]


def test_a_bar_is_as_long_as_its_parts_and_they_lie_end_to_end() -> None:
    drawn = stacked(["a", "b"], [{"decode": 3e6, "world switch": 1e6}, {"waiting": 2e6}], ORDER,
                    str.upper)  # fmt: skip
    first, second = drawn.bars
    assert [part.name for part in first.parts] == ["world switch", "decode"]
    assert first.parts[0].at == 0
    assert first.parts[0].width == pytest.approx(ROOM / 4)
    assert first.parts[1].at == pytest.approx(first.parts[0].width)
    assert first.parts[1].at + first.parts[1].width == pytest.approx(ROOM)
    assert second.parts[0].width == pytest.approx(ROOM / 2)
    assert first.text == "4 µs"
    assert drawn.legend == tuple((name, name.upper()) for name in ORDER)


def test_a_bar_of_nothing_has_no_parts() -> None:
    (bar,) = stacked(["a"], [{}], ORDER, str).bars
    assert bar.parts == ()
    assert bar.text == "0"


@pytest.mark.parametrize("most", [1.0, 999.0, 3.7e6, 5.0e9, 2.0e13])
def test_ticks_of_a_linear_axis_are_round_and_lie_on_it(most: float) -> None:
    ticks = Axis([most, most / 3]).ticks
    assert 2 <= len(ticks) <= 6
    assert ticks[0].at == 0
    assert ticks[0].text == "0"
    assert all(0 <= tick.at <= ROOM for tick in ticks)
    gaps = [b.at - a.at for a, b in pairwise(ticks)]
    assert max(gaps) == pytest.approx(min(gaps), abs=0.01)


def test_an_axis_is_logarithmic_where_values_lie_far_apart() -> None:
    near, far = Axis([1e6, 5e6], log=True), Axis([1e4, 5e6], log=True)
    assert not near.is_log
    assert far.is_log
    assert far.at(1e5) - far.at(1e4) == pytest.approx(far.at(1e6) - far.at(1e5), abs=0.01)
    assert [tick.text for tick in far.ticks] == ["10 ns", "100 ns", "1 µs", "10 µs"]
    assert far.at(0) == far.at(1e4)


def test_dots_stand_between_the_ends_of_their_intervals() -> None:
    sampled = mean([1e6, 1.2e6, 1.1e6])
    own: dict[str, Estimate] = {"p50": exact(1e6), "mean": sampled, "p99": exact(3e6)}
    drawn = dots("Stall", "stall", [("a", own)])
    p50, middle, p99 = drawn.rows[0].dots
    assert middle.low < middle.at < middle.high
    assert (p50.low, p50.high) == (p50.at, p50.at)
    assert p50.at < middle.at < p99.at
    assert len({dot.lane for dot in drawn.rows[0].dots}) == 3
    assert drawn.rows[0].mean == middle.text


def test_an_unknown_interval_is_not_drawn_and_what_is_no_number_is_left_out() -> None:
    lonely = mean([1e6])
    assert math.isinf(lonely.half_width)
    own = {"p50": lonely, "mean": lonely, "p99": exact(float("nan"))}
    row = dots("Stall", "stall", [("a", own)]).rows[0]
    assert [dot.which for dot in row.dots] == ["p50", "mean"]
    assert row.dots[0].low == row.dots[0].high
