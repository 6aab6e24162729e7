"""Distributions for what was measured."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from vmexit_sim.calibration.fit import Fit, family_of, fit, quantiles, write_samples
from vmexit_sim.calibration.measurement import Measurement
from vmexit_sim.configuration import checked
from vmexit_sim.distributions import Duration
from vmexit_sim.errors import InputError
from vmexit_sim.hypervisor.platform import Cost


def stated(table: Any, file: Path | None = None) -> Duration:
    data = {"value": table, "mark": "H", "source": "a measurement"}
    return checked(Cost, data, context={"file": file}).value


def fitted(measurement: Measurement) -> Fit:
    found = fit(measurement)
    assert found is not None
    return found


def drawn(kind: str, n: int = 5000, seed: int = 1) -> np.ndarray:
    duration = stated({"kind": kind, "mean": "13.6 us", "cv": 0.57, "shift": "3.5 us"})
    return duration.draw(np.random.default_rng(seed), n)


@pytest.mark.parametrize("kind", ["lognormal", "gamma"])
def test_samples_of_a_family_are_given_back_to_it(kind: str) -> None:
    found = fitted(Measurement.of_samples("x", drawn(kind)))
    assert found.kind == kind
    assert found.p_value is not None
    assert found.p_value > 0.01
    assert found.log_likelihood.keys() == {"lognormal", "gamma"}
    again = stated(found.table).draw(np.random.default_rng(2), 400_000)
    assert again.mean() == pytest.approx(found.measurement.mean, rel=0.01)
    assert again.std() == pytest.approx(found.measurement.sd, rel=0.02)
    assert again.min() >= found.least - 1


def test_samples_of_neither_family_stand_for_themselves(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    samples = np.concatenate([rng.normal(2e6, 1e4, 2000), rng.normal(9e6, 1e4, 1000)])
    measurement = Measurement.of_samples("IO, odd", samples.astype(np.int64))
    found = fitted(measurement)
    assert found.kind == "empirical"
    assert found.distance is not None
    assert found.distance > 0.2
    assert write_samples(tmp_path / "host.csv", [found]) == ["IO, odd"]
    table = {"kind": "empirical", "file": "host.csv", "column": "IO, odd"}
    resampled = stated(table, tmp_path / "host.toml")
    assert resampled.mean_ps == pytest.approx(measurement.mean, rel=0.002)
    few = fitted(Measurement.of_samples("x", samples[1800:2200].astype(np.int64)))
    assert few.kind != "empirical"


def test_without_empirical_fits_nothing_is_written(tmp_path: Path) -> None:
    assert write_samples(tmp_path / "x.csv", [fitted(Measurement.of_samples("x", drawn("gamma")))
                                              ]) == []  # fmt: skip
    assert not (tmp_path / "x.csv").exists()
    twice = [fitted(Measurement.of_samples("x", np.repeat([10, 10**6], 900)))] * 2
    assert twice[0].kind == "empirical"
    with pytest.raises(InputError, match="two columns of one name"):
        write_samples(tmp_path / "x.csv", twice)


@pytest.mark.parametrize("kind", ["lognormal", "gamma"])
def test_the_longest_of_many_tells_the_families_apart_by_moments(kind: str) -> None:
    picked = []
    for seed in range(20):
        samples = drawn(kind, 50_000, seed)
        picked.append(family_of(float(samples.mean()), float(samples.std()), 3.5e6,
                                float(samples.max()), len(samples))[0])  # fmt: skip
    assert picked.count(kind) >= 17


def test_the_reference_row_is_fitted_by_its_moments() -> None:
    found = fitted(Measurement(name="IO_INSTRUCTION", mean=13.63e6, n=55_654, sd=7.717e6,
                               error=32_712.0, least=3.54e6))  # fmt: skip
    assert found.table == {"kind": "lognormal", "mean": "13.63 us", "shift": "3540 ns",
                           "cv": pytest.approx(0.566, abs=0.001)}  # fmt: skip
    assert (found.distance, found.p_value, found.log_likelihood) == (None, None, {})
    assert "longest is not known" in found.chosen_by


def test_what_has_no_spread_is_a_constant_and_what_has_none_known_has_no_fit() -> None:
    assert fit(Measurement(name="x", mean=5e6)) is None
    assert fit(Measurement(name="x", mean=5e6, n=1, sd=1.0)) is None
    found = fitted(Measurement(name="x", mean=5e6, n=9, sd=0.0))
    assert (found.kind, found.table, found.sd) == ("constant", "5000 ns", 0.0)
    found = fitted(Measurement(name="x", mean=5e6, n=9, sd=1e9))
    assert (found.kind, found.chosen_by) == (
        "constant", "the standard deviation is beyond 100 times the mean",
    )  # fmt: skip


@example(mean=1.0, cv=33.0, share=0.0, n=2, reach=2.0)  # half of such a gamma is 0 to a double
@given(
    mean=st.floats(1, 1e15), cv=st.floats(1e-6, 99), share=st.floats(0, 1),
    n=st.integers(2, 10**9), reach=st.one_of(st.none(), st.floats(1, 1e3)),
)  # fmt: skip
def test_any_moments_make_a_distribution_that_a_file_can_state(
    mean: float, cv: float, share: float, n: int, reach: float | None
) -> None:
    measurement = Measurement(name="x", mean=mean, sd=cv * mean, n=n, least=share * mean,
                              greatest=None if reach is None else mean * reach)  # fmt: skip
    found = fitted(measurement)
    duration = stated(found.table)
    assert duration.mean_ps == pytest.approx(mean, abs=0.51)
    if found.kind != "constant":
        assert math.isclose(found.sd, cv * mean)


@given(st.lists(st.integers(0, 10**15), min_size=2, max_size=40))
def test_any_samples_make_a_distribution_that_a_file_can_state(samples: list[int]) -> None:
    measurement = Measurement.of_samples("x", np.array(samples))
    found = fitted(measurement)
    assert stated(found.table).mean_ps == pytest.approx(measurement.mean, abs=0.51)
    assert (np.diff(quantiles(np.array(samples))) >= 0).all()
