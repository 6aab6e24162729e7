"""Both engines against exact queueing theory, at fixed seeds.

The queues and networks are those of `vmexit_sim.validation`. Every interval is Student's t over
independent replications, with 99.9 % confidence, and must hold the exact value. What is simulated
at length is also narrow; the reference engine runs less, and must agree with the other on every
moment of every access instead, so that what is shown of one is shown of both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from vmexit_sim import analytic
from vmexit_sim.engine import EngineName
from vmexit_sim.measure.records import RunResult
from vmexit_sim.statistics import mean
from vmexit_sim.validation.closed_networks import NETWORKS, circling, watched
from vmexit_sim.validation.open_queues import QUEUES, posted, seen
from vmexit_sim.validation.replications import Effort

CONFIDENCE = 0.999

EFFORT: dict[EngineName, Effort] = {
    "compiled": Effort(replications=20, accesses=60_000, rounds=1000, engine="compiled"),
    "simpy": Effort(replications=16, accesses=1500, rounds=120, engine="simpy"),
}
OPEN: dict[EngineName, float] = {"compiled": 0.05, "simpy": 0.5}
"""Half-widths of an open queue's estimates, as parts of them."""

CLOSED: dict[EngineName, float] = {"compiled": 0.03, "simpy": 0.1}
"""Half-widths of a closed network's."""

ENGINES = pytest.mark.parametrize("engine", list(EFFORT))


def runs(
    of: Callable[[str, Effort], Iterator[RunResult]], name: str, engine: EngineName
) -> Iterator[RunResult]:
    """Replications; the reference engine's are the other's, to the last bit."""
    effort = EFFORT[engine]
    if engine == "compiled":
        yield from of(name, effort)
        return
    others = of(name, replace(effort, engine="compiled"))
    for result, other in zip(of(name, effort), others, strict=True):
        assert result.resources == other.resources
        done, same = (each.to_columns()["done"] for each in (result, other))
        assert np.array_equal(done, same)
        yield result


def holds(name: str, values: Sequence[float], exact: float, within: float) -> None:
    """Theory lies in the interval, which is not wide."""
    estimate = mean(values, confidence=CONFIDENCE, unit="1")
    ends = f"{name}: {estimate.value:.5g} ± {estimate.half_width:.2g}, exact {exact:.5g}"
    assert estimate.holds(exact), ends
    assert estimate.half_width < within * exact, ends


@cache
def seen_of(name: str, engine: EngineName) -> dict[str, list[float]]:
    """What each replication of an open queue comes to."""
    return seen(name, runs(posted, name, engine))


@ENGINES
@pytest.mark.parametrize("name", QUEUES)
def test_an_open_queue_waits_as_theory_has_it(name: str, engine: EngineName) -> None:
    queue, within, found = QUEUES[name], OPEN[engine], seen_of(name, engine)
    holds("wait", found["wait"], queue.wait, within)
    holds("utilisation", found["utilisation"], queue.load, within / 2)
    holds("number there", found["number there"], queue.rate * (queue.wait + 1), within)
    if queue.delayed is not None:
        holds("delayed", found["delayed"], queue.delayed, within)
    assert all(found["Little"])  # over the run, to the picosecond


@ENGINES
def test_one_response_in_ten_and_in_a_hundred_is_beyond_m_m_1s_quantile(
    engine: EngineName,
) -> None:
    within, found = OPEN[engine], seen_of("M/M/1, half busy", engine)
    holds("beyond nine in ten", found["beyond 0.9"], 0.1, within)
    holds("beyond 99 in a hundred", found["beyond 0.99"], 0.01, 2 * within)


@ENGINES
@pytest.mark.parametrize("name", NETWORKS)
def test_a_closed_network_does_what_mean_value_analysis_says(name: str, engine: EngineName) -> None:
    network, within = NETWORKS[name], CLOSED[engine]
    exact, bounds = network.exact, network.bounds
    found = watched(name, EFFORT[engine], runs(circling, name, engine))
    assert all(found.lawful)  # what a centre adds up itself is what its customers do
    holds("throughput", found.rounds, exact.throughput, within)
    holds("response", found.responses, exact.response, 1.5 * within)
    for k, centre in enumerate(network.centres):
        holds(f"utilisation of the {centre}", found.busy[k], exact.utilisations[k], within)
        holds(f"number at the {centre}", found.queues[k], exact.queues[k], 2 * within)
    assert bounds.throughput_low < np.mean(found.rounds) < bounds.throughput_high
    if len(network.demands) == 1:
        lone = analytic.repairman(network.n, network.think, network.demands[0])
        holds("the repairman's throughput", found.rounds, lone, within)
