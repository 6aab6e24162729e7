"""Closed networks: so many customers think, queue at centres, and think again.

::

          ┌────────── think (Z) ◄─────────┐
          └─► ▯▯▯ centre 1 ─► ▯▯▯ centre 2 ┘      n customers go around

A vCPU is a customer, a lock or a thread of the host a centre, guest compute the thinking. A
centre's *demand* is the mean time that a customer needs it for in one round, all visits together,
without waiting.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Mva:
    """What a closed network comes to in the long run.

    Attributes:
        throughput: rounds per unit of time, of all customers together.
        response: mean time of a round without the thinking, in the demands' unit.
        queues: mean number of customers at each centre, in service or waiting.
        utilisations: share of its time that each centre is busy, 0 to 1.
    """

    throughput: float
    response: float
    queues: tuple[float, ...]
    utilisations: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """Between what a closed network's results must lie.

    Attributes:
        throughput_low: rounds per unit of time, at least.
        throughput_high: rounds per unit of time, at most.
        response_low: mean time of a round without the thinking, at least.
        response_high: mean time of a round without the thinking, at most.
    """

    throughput_low: float
    throughput_high: float
    response_low: float
    response_high: float


def mva(demands: Sequence[float], think: float, n: int) -> Mva:
    """Exact mean value analysis of a closed network with one class of customers.

    A customer who arrives finds, on average, what the network with one customer less holds. Exact
    if every centre has one server that is first come first served with exponential times, or shares
    its time among all who are there (processor sharing, any times); thinking may take any times.

    Args:
        demands: mean time at each centre in a round; 0: nobody goes there.
        think: mean time Z away from all centres in a round.
        n: customers.

    Source: M. Reiser and S. S. Lavenberg, Mean-value analysis of closed multichain queuing
    networks, J. ACM 27 (1980).

    Raises:
        ValueError: no customer, a negative time, or a round that takes none.
    """
    _closed(demands, think, n)
    queues = [0.0] * len(demands)
    throughput, response = 0.0, 0.0
    for customers in range(1, n + 1):
        times = [demand * (1 + queue) for demand, queue in zip(demands, queues, strict=True)]
        response = math.fsum(times)
        throughput = customers / (think + response)
        queues = [throughput * time for time in times]
    return Mva(
        throughput=throughput,
        response=response,
        queues=tuple(queues),
        utilisations=tuple(throughput * demand for demand in demands),
    )


def asymptotic_bounds(demands: Sequence[float], think: float, n: int) -> Bounds:
    """Bounds on a closed network that need nothing but means, whatever the distributions.

    At best nobody waits, or the busiest centre never rests; at worst everybody waits for all
    others at every centre. With D the sum of the demands and M the largest:
    ``n / (Z + n D) <= throughput <= min(1 / M, n / (Z + D))`` and
    ``max(D, n M - Z) <= response <= n D``. That is so wherever a customer is at one place at a time
    and each centre works, on one of them, while anyone is there; not for a lock that is held while
    its holder waits for another.

    Args:
        demands: mean time at each centre in a round.
        think: mean time Z away from all centres in a round.
        n: customers.

    Source: P. J. Denning and J. P. Buzen, The operational analysis of queueing network models, ACM
    Computing Surveys 10 (1978); E. D. Lazowska et al., Quantitative System Performance (1984),
    chapter 5.

    Raises:
        ValueError: no customer, a negative time, or a round that takes none.
    """
    _closed(demands, think, n)
    whole, largest = math.fsum(demands), max(demands, default=0.0)
    served = 1 / largest if largest else math.inf
    return Bounds(
        throughput_low=n / (think + n * whole),
        throughput_high=min(served, n / (think + whole)),
        response_low=max(whole, n * largest - think),
        response_high=n * whole,
    )


def utilisation(throughput: float, demand: float, servers: int = 1) -> float:
    """The utilisation law: the share of a centre's time in use is throughput x demand / servers.

    Args:
        throughput: rounds per unit of time.
        demand: mean time that one round needs the centre for.
        servers: how many serve there.

    Source: P. J. Denning and J. P. Buzen, The operational analysis of queueing network models
    (1978).

    Raises:
        ValueError: no centre can serve so much.
    """
    busy = throughput * demand / servers
    if not 0 <= busy <= 1 + 1e-12:
        raise ValueError(f"a utilisation of {busy:.4g} is not possible; it lies between 0 and 1")
    return min(busy, 1.0)


def repairman(n: int, think: float, service: float) -> float:
    """Throughput of the machine-repairman model M/M/1//N.

    Args:
        n: vCPUs.
        think: mean exponential think time.
        service: mean exponential time that the one server is held.

    Source: the closed birth-death chain; p0 = 1 / sum N!/(N-i)! (S/Z)^i.
    """
    term = total = 1.0
    for i in range(1, n + 1):
        term *= (n - i + 1) * service / think
        total += term
    return (1 - 1 / total) / service


def two_spinners(think: float, hold: float) -> float:
    """Throughput of two vCPUs that share a lock held for a constant time, thinking exponentially.

    ``1 / (S + Z/2 · exp(-S/Z))``: when one takes the lock, the other is always thinking. After S it
    still is with probability exp(-S/Z), and then the next request comes after Z/2 on average;
    otherwise it waits, and takes the lock at once.

    Args:
        think: mean think time Z.
        hold: constant time S that the lock is held.
    """
    return 1 / (hold + think / 2 * math.exp(-hold / think))


def _closed(demands: Sequence[float], think: float, n: int) -> None:
    if n < 1:
        raise ValueError(f"a network of {n} customers does nothing; give 1 or more")
    times = (think, *demands)
    if not all(math.isfinite(time) and time >= 0 for time in times):
        raise ValueError(f"think time and demands must be 0 or more, and finite: {times}")
    if not any(times):
        raise ValueError("a round without any time has no throughput")
