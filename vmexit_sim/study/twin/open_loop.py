"""Stated laws: what follows from a synthetic guest's distributions, without a draw.

Where nobody is in an access's way its mean stall is a sum of means. With Poisson arrivals a vCPU is
the server of M/G/1, and an operation its customer.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from vmexit_sim.analytic import mg1_wait
from vmexit_sim.study.twin.case import Case, Said, equal, none
from vmexit_sim.study.twin.operation_law import NoLawError, OperationLaw, operation_law

NEGLIGIBLE = 0.1
"""The share of an interval's half-width that the bias of starting empty may have."""


def stated_laws(case: Case) -> Iterator[Said]:
    """What follows from the laws that a synthetic guest and a platform state, without a draw."""
    if not case.opened.is_random or case.block.is_recorded:
        return
    if case.is_open and not case.surely_free:
        yield none("response of an access", "M/G/1: vCPUs keep each other waiting inside accesses")
    if not case.surely_free:
        return
    stall = case.outcome.estimate("stall.mean")
    if not case.is_open and stall.low == stall.high:
        return
    try:
        law = operation_law(case.lowered, case.demands, case.workload)
    except NoLawError as error:
        if case.is_open:
            yield none("response of an access", str(error))
        return
    if stall.low < stall.high:
        yield equal(
            law.stall.mean / law.accesses, quantity="stall of an access", simulated=stall,
            law="mean of the laws", standing="exact",
            assumes="each cost has its distribution's mean, reads their stated share",
        )  # fmt: skip
    if law.interarrival is not None:
        yield from _pollaczek_khinchine(case, law)


def _pollaczek_khinchine(case: Case, law: OperationLaw) -> Iterator[Said]:
    """M/G/1: the vCPU is the server, an operation the customer."""
    assert law.interarrival is not None
    if case.refills:
        yield none("response of an access", "M/G/1: exits lengthen the compute of the next access")
        return
    rate, service = 1 / law.interarrival, law.service
    load = rate * service.mean
    if load >= 1:
        yield none(
            "response of an access",
            f"M/G/1: at a load of {load:.3g} the backlog never ends growing",
        )
        return
    wait = mg1_wait(rate, service.mean, service.second)
    found = case.outcome.estimate("operation.response.mean")
    biased = _bias(law, load, wait) > NEGLIGIBLE * found.half_width
    said = {
        "law": "M/G/1",
        "standing": "approximation" if biased else "exact",
        "assumes": "Poisson arrivals at a vCPU that nobody delays, in the long run"
        + ("; this run starts empty and is too short for its interval" if biased else ""),
    }
    yield equal(
        wait + service.mean - law.before, quantity="response of an operation", simulated=found,
        **said,
    )  # fmt: skip
    if law.accesses > 1:
        yield equal(
            (wait + law.stall.mean) / law.accesses, quantity="response of an access",
            simulated=case.outcome.estimate("response.mean"), **said,
        )  # fmt: skip


def _bias(law: OperationLaw, load: float, wait: float) -> float:
    """About how much the mean wait of a run is too low for having started empty, in ps.

    The wait approaches its mean by exp(-t/τ), so that a run of length T lacks τ/T of it.
    Source: A. R. Odoni and E. Roth, An empirical investigation of the transient behavior of
    stationary queueing systems, Operations Research 31 (1983).
    """
    assert law.interarrival is not None
    service = law.service
    spread = 1 + service.variance / service.mean**2
    relaxation = spread * service.mean / (2.8 * (1 - math.sqrt(load)) ** 2)
    return wait * relaxation / (law.operations * law.interarrival)
