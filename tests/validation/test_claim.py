"""What agreeing means: to the printed digits, by an interval, or within a tolerance."""

from __future__ import annotations

import math
from typing import Any

import pytest

from vmexit_sim.statistics import Estimate, exact, mean
from vmexit_sim.validation.claim import (
    FAMILY,
    MOST_SAMPLED,
    ROW_CONFIDENCE,
    SCATTER,
    Claim,
    Expected,
    Role,
    in_row,
)
from vmexit_sim.validation.published.rows import Published


def claim(expected: Expected, simulated: float | Estimate, **more: Any) -> Claim:
    found = simulated if isinstance(simulated, Estimate) else exact(simulated, unit="1")
    stated: dict[str, Any] = {"kind": "published", "group": "g", "claim": "c", "source": "s",
                              "role": "accounting", **more}  # fmt: skip
    return Claim(expected=expected, simulated=found, **stated)


@pytest.mark.parametrize(
    ("printed", "simulated", "agrees"),
    [
        ("12.809", 12.8094, True), ("12.809", 12.8096, False), ("0.010", 0.0104, True),
        ("0.010", 0.0106, False), ("16,320", 16_320.4, True), ("16,320", 16_321.0, False),
    ],
)  # fmt: skip
def test_a_published_number_may_be_half_a_unit_of_its_last_digit_off(
    printed: str, simulated: float, agrees: bool
) -> None:
    assert claim(Expected.published(printed), simulated).agrees == agrees


def test_a_count_is_meant_as_it_stands() -> None:
    assert claim(Expected.count("16,320"), 16_320).agrees
    assert not claim(Expected.count("16,320"), 16_320.4).agrees


def test_a_sum_is_compared_to_the_picosecond() -> None:
    total = 10**13 + 1  # beyond what single precision or a relative tolerance would tell apart
    assert claim(Expected.exactly(total, ""), total).agrees
    assert not claim(Expected.exactly(total, ""), total + 1).agrees


def test_a_sampled_number_is_judged_by_its_interval() -> None:
    around_3 = mean([2.9, 3.0, 3.1], unit="1")
    assert claim(Expected.exactly(around_3.high - 0.01, ""), around_3).agrees
    assert not claim(Expected.exactly(around_3.high + 0.01, ""), around_3).agrees
    assert claim(Expected.between(around_3.high - 0.01, math.inf, ""), around_3).agrees


@pytest.mark.parametrize(("simulated", "agrees"), [(91.0, True), (109.0, True), (88.0, False)])
def test_a_tolerance_widens_both_ends(simulated: float, agrees: bool) -> None:
    assert claim(Expected.exactly(100, ""), simulated, tolerance=0.1).agrees == agrees


@pytest.mark.parametrize(
    ("role", "fails"),
    [("theory", True), ("path", True), ("accounting", True), ("fit", True), ("prediction", False)],
)
def test_only_a_prediction_may_miss(role: Role, fails: bool) -> None:
    assert claim(Expected.exactly(1, ""), 2, role=role).fails == fails


def test_off_by_counts_from_the_nearer_end() -> None:
    between = Expected.between(2, 4, "")
    assert claim(between, 3).off_by == 0
    assert claim(between, 5).off_by == 0.25
    assert claim(between, 1).off_by == -0.5
    assert claim(Expected.exactly(0, ""), 1).off_by == math.inf


def test_the_intervals_of_all_rows_hold_together() -> None:
    assert pytest.approx(1 - FAMILY) == (1 - ROW_CONFIDENCE) * MOST_SAMPLED


def test_an_interval_is_widened_to_what_it_would_have_been_at_a_rows_confidence() -> None:
    values = [1.0, 2.0, 4.0, 3.0]
    wide, straight = in_row(mean(values)), mean(values, confidence=ROW_CONFIDENCE)
    assert wide.half_width == pytest.approx(straight.half_width)
    assert (wide.confidence, wide.value) == (ROW_CONFIDENCE, straight.value)
    assert in_row(exact(3)) == exact(3)
    with pytest.raises(ValueError, match="order statistics"):
        in_row(Estimate(1, 0, 2, 9, "order statistics"))


def test_only_a_predicted_number_has_slack_of_its_own() -> None:
    def slack(expected: Expected | str, role: Role) -> float:
        return Published("g", "s").row("c", expected, 1.0, "1", role).tolerance

    assert slack("1.0", "prediction") == slack(Expected.count("1"), "prediction") == SCATTER
    assert slack(Expected.between(0, 2, "0 … 2"), "prediction") == 0
    assert slack("1.0", "fit") == slack("1.0", "accounting") == 0
