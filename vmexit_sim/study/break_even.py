"""Spread or batched: from which access rate on does batching pay?

The thread's last argument, as three questions that have an exact answer each. One vCPU makes
single accesses, an exit takes the constant time t, and batches carry k accesses in one exit::

    singles   ──x──────x────x───────x──       x: an exit, t
    batched   ──o──────o────o───────X──       o: gathers; X: one exit carries all four
                └── waits in the batch ┘

What counts decides where the break-even lies:

`WAITING`
    An access costs its share of exits *and* the time that it waits for its batch: closed loop,
    exponential compute of mean 1/λ between accesses. Batching pays from λ·t = k/2 on.
`EFFECT`
    The mean time until the device has seen an access counts: open loop, Poisson arrivals. Singles
    are an M/D/1 queue; batches an E_k/D/1 queue whose items wait to fill it as well.
`NOBODY_WAITS`
    Only the vCPU's time counts: posted writes. Every batch saves (k - 1)/k of it at every rate;
    there is no break-even.

Rates are given as a *load*: λ·t, accesses in the time of one exit (1). An exit of 1.8 µs and a
load of 2 are 1.1 million accesses a second.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache

from scipy.optimize import brentq

from vmexit_sim.analytic import batching_pays_from, latency_break_even
from vmexit_sim.configuration import checked
from vmexit_sim.device import DeviceCatalog, load_devices
from vmexit_sim.errors import InputError
from vmexit_sim.guest.generators import Spread
from vmexit_sim.hypervisor.platform import Platform, load_platform
from vmexit_sim.measure.records import RunResult
from vmexit_sim.policy import Policy, Rule
from vmexit_sim.statistics import Estimate, mean
from vmexit_sim.study.simulate import simulate
from vmexit_sim.units import MICROSECOND

EXIT = MICROSECOND
"""What an exit takes on the platform ``ideal``, in ps; all results scale with it."""

WAIT_STAGE = "wait in batch"
"""The stage in which a gathered access waits for its batch."""

TOLERANCE = 1e-3
"""A root is found to within this part of the mean time between accesses: far below the noise."""


@dataclass(frozen=True, kw_only=True)
class Criterion:
    """What is to be small, and where batching is then known to begin to pay.

    Attributes:
        name: short and fixed, for tables.
        title: what counts, for people.
        open_loop: accesses arrive whether or not those before are through.
        cost: mean cost of an access of a run, in ps.
        exact: the load at which batches of k cost what singles cost; None: at no load.
        loads: between which loads a break-even is looked for.
    """

    name: str
    title: str
    open_loop: bool
    cost: Callable[[RunResult], float]
    exact: Callable[[int], float | None]
    loads: tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class BreakEven:
    """A break-even, exact beside simulated; None where there is none.

    Attributes:
        criterion: what counts.
        k: accesses in a batch.
        exact: the load from theory.
        simulated: the load over replications, with its interval.
    """

    criterion: Criterion
    k: int
    exact: float | None
    simulated: Estimate | None

    @property
    def error(self) -> float:
        """How far the simulated load is from the exact one, as a part of it; NaN: neither is."""
        if self.exact is None or self.simulated is None:
            return float("nan")
        return self.simulated.value / self.exact - 1


@dataclass(frozen=True, kw_only=True)
class CurvePoint:
    """What an access costs at one load.

    Attributes:
        batch: accesses in a batch; 1: singles.
        load: accesses in the time of one exit.
        cost: mean over replications, in ps.
    """

    batch: int
    load: float
    cost: Estimate


def _waiting(run: RunResult) -> float:
    waited = run.stage_times().get(WAIT_STAGE, 0)
    return _stall(run) + waited / run.summary.accesses


def _stall(run: RunResult) -> float:
    return run.summary.latencies["stall"].mean


def _effect(run: RunResult) -> float:
    return run.summary.latencies["effect"].mean


WAITING = Criterion(
    name="waiting",
    title="vCPU time + wait in batch",
    open_loop=False,
    cost=_waiting,
    exact=lambda k: batching_pays_from(1.0, k),
    loads=(0.05, 100.0),
)

EFFECT = Criterion(
    name="effect",
    title="effect latency",
    open_loop=True,
    cost=_effect,
    exact=latency_break_even,
    loads=(0.3, 0.97),
)

NOBODY_WAITS = Criterion(
    name="nobody waits",
    title="vCPU time alone",
    open_loop=False,
    cost=_stall,
    exact=lambda k: None,
    loads=(0.05, 100.0),
)

CRITERIA = (WAITING, EFFECT, NOBODY_WAITS)


def cost(
    criterion: Criterion,
    batch: int,
    load: float,
    *,
    accesses: int,
    seed: int = 1,
    replication: int = 0,
) -> float:
    """What an access costs, simulated once.

    Equal seeds and replications meet the same draws, scaled to the load, for every batch size.

    Args:
        criterion: what counts.
        batch: accesses in a batch; 1: singles.
        load: accesses in the time of one exit.
        accesses: how many to simulate.
        seed: root of all randomness.
        replication: which repetition.

    Returns:
        The mean cost of an access, in ps.
    """
    platform, devices = _ideal()
    gap = {"kind": "exponential", "mean": f"{round(EXIT / load)} ps"}
    times = {"between": "0 ps", "arrivals": gap} if criterion.open_loop else {"between": gap}
    guest = checked(
        Spread,
        {"kind": "spread", "operations": accesses, "space": "mmio", "read_share": 0.0, **times},
    )
    run = simulate(
        _policy(batch), platform, guest, devices=devices, seed=seed, replication=replication
    )
    return criterion.cost(run)


def crossover(
    criterion: Criterion, k: int, *, accesses: int, seed: int = 1, replication: int = 0
) -> float | None:
    """The load at which batches of `k` cost what singles cost, in one replication.

    Found by Brent's method on the mean time between accesses, in which the cost of waiting is
    linear. None: batches cost less, or more, at all of the criterion's loads.
    """

    @cache  # Brent's method asks for the ends again
    def excess(gap: float) -> float:
        singles, batched = (
            cost(criterion, batch, 1 / gap, accesses=accesses, seed=seed, replication=replication)
            for batch in (1, k)
        )
        return (batched - singles) / EXIT

    lowest, highest = criterion.loads
    ends = 1 / highest, 1 / lowest
    if excess(ends[0]) * excess(ends[1]) > 0:
        return None
    return 1 / float(brentq(excess, *ends, rtol=TOLERANCE))


def break_even(
    criterion: Criterion, k: int, *, accesses: int, replications: int, seed: int = 1
) -> BreakEven:
    """The break-even of batches of `k`: exact, and simulated with Student's t interval.

    Args:
        criterion: what counts.
        k: accesses in a batch, at least 2.
        accesses: how many each run simulates.
        replications: how many independent crossovers are averaged.
        seed: root of all randomness.

    Raises:
        InputError: a batch of fewer than 2, or only some replications cross.
    """
    if k < 2:
        raise InputError("is no batch", key="k", value=k, mend="give 2 or more")
    found = [
        crossover(criterion, k, accesses=accesses, seed=seed, replication=replication)
        for replication in range(replications)
    ]
    loads = [load for load in found if load is not None]
    if loads and len(loads) < len(found):
        raise InputError(f"{len(loads)} of {len(found)} replications cross",
                         key="accesses", value=accesses, mend="simulate more")  # fmt: skip
    simulated = mean(loads, unit="1") if loads else None
    return BreakEven(criterion=criterion, k=k, exact=criterion.exact(k), simulated=simulated)


def curves(
    criterion: Criterion,
    batches: Sequence[int],
    loads: Sequence[float],
    *,
    accesses: int,
    replications: int,
    seed: int = 1,
) -> Iterator[CurvePoint]:
    """Cost over load, for a figure: every batch size at every load, on the same draws."""
    for batch in batches:
        for load in loads:
            costs = [
                cost(criterion, batch, load, accesses=accesses, seed=seed, replication=replication)
                for replication in range(replications)
            ]
            yield CurvePoint(batch=batch, load=load, cost=mean(costs))


@cache
def _ideal() -> tuple[Platform, DeviceCatalog]:
    return load_platform("ideal"), load_devices()


@cache
def _policy(batch: int) -> Policy:
    """Single calls, or batches that only filling up sends off: nobody needs a result."""
    stated: object = "hypercall"
    if batch > 1:
        stated = {
            "name": "batched_hypercall",
            "max_batch": batch,
            "needs": "oracle",
            "flush_at_operation_end": False,
        }
    rule = checked(Rule, {"side": "host", "mechanism": stated})
    return Policy(title="singles" if batch == 1 else f"batches of {batch}", rules=[rule])
