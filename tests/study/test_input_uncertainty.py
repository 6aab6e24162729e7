"""A verdict on a calibrated platform is as sure as its measurements, and no surer."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from vmexit_sim.configuration import checked
from vmexit_sim.errors import InputError
from vmexit_sim.opened import open_scenario
from vmexit_sim.scenario import Scenario
from vmexit_sim.study.compare import compare
from vmexit_sim.study.input_uncertainty import InputUncertainty, input_uncertainty

US = 1_000_000
N = 100
CALM = {"kind": "spread", "operations": N, "between": "1 us", "read_share": 1, "space": "mmio"}
CHANCE = {**CALM, "read_share": 0.5, "emulate": {"kind": "exponential", "mean": "1 us"}}

CALIBRATED = """
extends = "ideal"
title = "t"
about = "t"

[measurements.whole]
mean = "1 us"
error = "{error}"
n = 30

[measurements.decoding]
mean = "500 ns"
error = "{error}"
n = 30

[costs.world_switch_out]
value = "1 us"
mark = "H"
source = "measured for this test"
from = {{ whole = 1.0 }}

[costs.decode_mmio]
value = "500 ns"
mark = "H"
source = "measured for this test"
from = {{ decoding = 1.0 }}
"""


def uncertain(
    folder: Path, guest: dict[str, Any] = CALM, *, error: str = "20 ns", draws: int = 400,
    policies: tuple[str, ...] = ("mmio-first", "hypercall"), **keys: Any,
) -> InputUncertainty:  # fmt: skip
    path = folder / "host.toml"
    path.write_text(CALIBRATED.format(error=error))
    stated = {"platform": str(path), "policies": list(policies), "blocks": [{"guest": guest}],
              "replications": 8, **keys}  # fmt: skip
    return input_uncertainty(compare(open_scenario(checked(Scenario, stated))), draws=draws)


def test_what_one_measurement_carries_cancels_in_a_difference(tmp_path: Path) -> None:
    """The switch is paid alike by both: only the decoding's error is left, N times."""
    (block,) = uncertain(tmp_path).blocks
    trap, call = block.policies
    spread = 1.96 * 20_000 * N  # of one cost, in ps
    assert call.difference.value == -N * US / 2
    assert call.difference.half_width == pytest.approx(spread, rel=0.15)
    assert call.added.half_width == pytest.approx(spread, rel=0.15)
    assert trap.added.half_width == pytest.approx(math.sqrt(2) * spread, rel=0.15)
    assert call.sampling.half_width == 0
    assert (trap.best, call.best) == (0, 1)


def test_a_poor_calibration_leaves_the_verdict_open(tmp_path: Path) -> None:
    (block,) = uncertain(tmp_path, error="400 ns").blocks
    trap, call = block.policies
    assert call.difference.low < 0 < call.difference.high or call.best < 1
    assert 0.7 < call.best < 1  # the decoding is above 0 in 0.89 of the draws
    assert trap.best == pytest.approx(1 - call.best)


def test_sampling_and_calibration_add_up(tmp_path: Path) -> None:
    """Independent errors: squares of half-widths add, within what 400 draws and t allow."""
    sure, unsure = (
        uncertain(tmp_path, CHANCE, error=error, policies=("mmio-first",)).blocks[0].policies[0]
        for error in ("1 ns", "50 ns")
    )
    by_costs = 1.96 * math.sqrt(2) * 50_000 * N
    assert sure.added.half_width > 0
    assert unsure.added.half_width == pytest.approx(
        math.hypot(sure.added.half_width, by_costs), rel=0.2
    )


def test_the_same_seed_gives_the_same_intervals(tmp_path: Path) -> None:
    assert uncertain(tmp_path, draws=50) == uncertain(tmp_path, draws=50)
    assert uncertain(tmp_path, draws=50) != uncertain(tmp_path, draws=50, seed=2)


def test_costs_that_were_not_measured_are_named(tmp_path: Path) -> None:
    found = uncertain(tmp_path, draws=50)
    assert found.drawn == ["world_switch_out", "decode_mmio"]
    assert "to_user" in found.fixed


def test_a_platform_that_says_nothing_of_errors_is_refused() -> None:
    stated = {"platform": "kvm-2017", "policies": ["hypercall"], "blocks": [{"guest": CALM}]}
    with pytest.raises(InputError, match="says nothing of its costs' errors"):
        input_uncertainty(compare(open_scenario(checked(Scenario, stated))))


def test_too_few_draws_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="give 40 or more"):
        uncertain(tmp_path, draws=39)


def test_with_the_calibration_no_interval_is_narrower_than_without(tmp_path: Path) -> None:
    """Resampled means vary as Student's t says, not as the normal: four replications show it."""
    (policy,) = (
        uncertain(
            tmp_path, CHANCE, error="1 ns", policies=("mmio-first",), replications=4, draws=1000
        )
        .blocks[0]
        .policies
    )
    stated = {"platform": str(tmp_path / "host.toml"), "policies": ["mmio-first"],
              "blocks": [{"guest": CHANCE}], "replications": 4}  # fmt: skip
    alone = compare(open_scenario(checked(Scenario, stated))).blocks[0].policies[0].hypervisor_time
    assert policy.added.half_width == pytest.approx(alone.half_width, rel=0.15)


def test_a_cost_with_one_error_unknown_is_not_drawn(tmp_path: Path) -> None:
    """A sum is known no better than its parts: the rest's error would be a claim too small."""
    path = tmp_path / "host.toml"
    lines = CALIBRATED.format(error="20 ns").replace(
        "from = { decoding = 1.0 }", "from = { decoding = 1.0, other = 1.0 }"
    )
    path.write_text(f'{lines}\n[measurements.other]\nmean = "0 ns"\n')
    stated = {"platform": str(path), "policies": ["mmio-first"], "blocks": [{"guest": CALM}]}
    found = input_uncertainty(compare(open_scenario(checked(Scenario, stated))), draws=50)
    assert found.drawn == ["world_switch_out"]
    assert "decode_mmio" in found.fixed


def test_few_samples_make_it_less_sure(tmp_path: Path) -> None:
    """Two samples: t with one degree of freedom reaches 6.5 times as far as the normal."""
    path = tmp_path / "host.toml"
    widths = []
    for n in (2, 10_000):
        path.write_text(CALIBRATED.format(error="1 ns").replace("n = 30", f"n = {n}"))
        stated = {"platform": str(path), "policies": ["mmio-first"], "blocks": [{"guest": CALM}]}
        found = input_uncertainty(compare(open_scenario(checked(Scenario, stated))), draws=1000)
        widths.append(found.blocks[0].policies[0].added.half_width)
    assert widths[0] > 4 * widths[1]


def test_errors_beyond_all_measure_are_refused_with_the_cost(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="so uncertain"):
        uncertain(tmp_path, error="4000000 s", draws=50)
