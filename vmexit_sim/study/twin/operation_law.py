"""The operation's law: how long a synthetic guest's operation keeps its vCPU, as a distribution.

Generators say with what probability an access is a read, a write, an absent one. Each such flavour
is one class, whose demand is a sum of constants and independent random columns; so the mean and
the variance of a whole operation follow without drawing anything::

    arrival ── between ── access ── within ── access ── within ── access
               '------------------ service ----------------------'
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from vmexit_sim.classes import unpacked
from vmexit_sim.demand import Demand, Moments, moments_of
from vmexit_sim.distributions import Duration, Exponential
from vmexit_sim.guest.generators import InterruptService, Spread
from vmexit_sim.guest.generators.stream import ZERO
from vmexit_sim.guest.workload import Scaled, Workload
from vmexit_sim.hypervisor.access_class import AccessClass
from vmexit_sim.lowering import Lowered
from vmexit_sim.study.twin.own_draws import Demands

NO_LAW = "only the guests spread and interrupt_service state the laws of their accesses"


class NoLawError(Exception):
    """Why there is no law; its words are a sentence's end."""


@dataclass(frozen=True, kw_only=True)
class OperationLaw:
    """The distribution of an operation of one vCPU; times in ps.

    Attributes:
        service: from where its turn comes until its last access is through, compute included.
        before: mean compute before its first access.
        stall: of all its accesses together.
        accesses: how many it has.
        operations: how many of them a vCPU makes.
        interarrival: mean time between arrivals, if they are a Poisson process; None: the loop is
            closed.
    """

    service: Moments
    before: float
    stall: Moments
    accesses: int
    operations: int
    interarrival: float | None


@dataclass(frozen=True)
class _Flavour:
    """Accesses of an operation that are alike: their facts, how likely they are."""

    probability: float
    facts: dict[str, bool]


def operation_law(lowered: Lowered, demands: Demands, workload: Workload) -> OperationLaw:
    """The law of a synthetic guest's operations.

    Args:
        lowered: the program.
        demands: of those classes whose accesses have been seen.
        workload: the guest.

    Raises:
        NoLawError: this guest states none, or its accesses do not follow it independently.
    """
    scale = 1.0
    while isinstance(workload, Scaled):
        scale *= workload.scale
        workload = workload.workload
    if isinstance(workload, Spread):
        arrivals, between, operations = workload.arrivals, workload.between, workload.operations
        accesses = workload.accesses_per_operation
    elif isinstance(workload, InterruptService):
        arrivals, between, operations = workload.interarrival, ZERO, workload.services
        accesses = workload.accesses
    else:
        raise NoLawError(NO_LAW)
    if arrivals is not None and not (isinstance(arrivals, Exponential) and arrivals.shift == 0):
        raise NoLawError("arrivals are no Poisson process")
    classes = _classes(lowered, demands, workload)
    stall = within = Moments(0.0)
    for flavours, number in _places(workload, accesses):
        one = _mixture(flavours, classes, lowered, workload.emulate)
        stall += Moments(one.mean * number, one.variance * number)
    gap = _moments(workload.within) * scale
    within = Moments(gap.mean * (accesses - 1), gap.variance * (accesses - 1))
    before = _moments(between) * scale
    return OperationLaw(
        service=before + within + stall,
        before=before.mean,
        stall=stall,
        accesses=accesses,
        operations=operations,
        interarrival=None if arrivals is None else arrivals.mean_ps,
    )


def _classes(
    lowered: Lowered, demands: Demands, workload: Spread | InterruptService
) -> list[tuple[AccessClass, Demand]]:
    """The classes that have been seen, and their demands."""
    devices = workload.examples().devices
    if any(known for _, known in demands):
        raise NoLawError("the path depends on a column whose law is not known")
    return [
        (unpacked(int(lowered.codes[number]), devices)[1], demand)
        for (number, _), demand in demands.items()
    ]


def _places(
    workload: Spread | InterruptService, accesses: int
) -> Iterator[tuple[list[_Flavour], int]]:
    """The accesses of an operation: what each may be, and how many are alike."""
    first, last = True, accesses == 1
    yield _flavours(workload, first=first, last=last), 1
    if accesses > 2:
        yield _flavours(workload, first=False, last=False), accesses - 2
    if accesses > 1:
        yield _flavours(workload, first=False, last=True), 1


def _flavours(workload: Spread | InterruptService, *, first: bool, last: bool) -> list[_Flavour]:
    read = workload.read_share
    if isinstance(workload, Spread):
        absent = workload.absent_share
        is_open = first and workload.arrivals is not None
        return [
            _Flavour(1 - read, {"write": True, "absent": False, "open_loop": is_open}),
            _Flavour(read * (1 - absent), {"write": False, "absent": False, "open_loop": is_open}),
            _Flavour(read * absent, {"write": False, "absent": True, "open_loop": is_open}),
        ]
    facts = {
        "side_effect": first, "open_loop": first,
        "interrupt": first and workload.delivered,
        "end_of_interrupt": last and workload.delivered,
    }  # fmt: skip
    if first:
        return [_Flavour(1.0, {**facts, "write": False})]
    return [_Flavour(1 - read, {**facts, "write": True}), _Flavour(read, {**facts, "write": False})]


def _mixture(
    flavours: list[_Flavour],
    classes: list[tuple[AccessClass, Demand]],
    lowered: Lowered,
    emulate: Duration,
) -> Moments:
    """The stall of an access that is one of some flavours."""

    def column(name: str) -> Moments:
        draw = lowered.program.draws.get(name)
        if draw is None and name != "emulate":
            raise NoLawError(f"the law of column {name!r} is not known")
        return _moments(emulate if draw is None else draw.duration)

    mean = second = 0.0
    for flavour in flavours:
        if not flavour.probability:
            continue
        of_it = {
            demand.stall
            for access, demand in classes
            if all(getattr(access, fact) == value for fact, value in flavour.facts.items())
        }
        if len(of_it) != 1:
            raise NoLawError("what an access costs depends on the accesses before it")
        one = of_it.pop().moments(column)
        mean += flavour.probability * one.mean
        second += flavour.probability * one.second
    return Moments(mean, max(second - mean**2, 0.0))


def _moments(duration: Duration) -> Moments:
    try:
        return moments_of(duration)
    except ValueError as error:
        raise NoLawError(str(error)) from None
