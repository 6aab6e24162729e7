"""Queues with Poisson arrivals that wait for nobody, and what an arrival waits on average.

::

    arrivals ──►  ▯▯▯▯  ──► server ──►      waiting: from arrival until service begins
                  queue

Service is first come first served unless said otherwise. The *load* is the share of their time in
which the servers are busy; at 1 and beyond no queue has a mean, and every function refuses it.

Source, where a function names none: L. Kleinrock, Queueing Systems, vol. 1 (1975), chapters 3
and 5.
"""

from __future__ import annotations

import math


def mm1_wait(rate: float, service: float) -> float:
    """Mean waiting time of M/M/1 with mean service time `service`.

    Raises:
        ValueError: the queue is not stable.
    """
    load = _stable(rate * service)
    return load * service / (1 - load)


def mm1_quantile(rate: float, service: float, q: float) -> float:
    """The `q`-quantile of the time from arrival to departure in M/M/1, which is exponential.

    Args:
        rate: of arrivals.
        service: mean service time.
        q: from 0 up to, but not including, 1.

    Raises:
        ValueError: the queue is not stable, or there is no such quantile.
    """
    load = _stable(rate * service)
    if not 0 <= q < 1:
        raise ValueError(f"there is no {q:.4g}-quantile; give 0 or more, and less than 1")
    return -math.log1p(-q) * service / (1 - load)


def md1_wait(rate: float, service: float) -> float:
    """Mean waiting time of M/D/1: half of M/M/1's.

    Raises:
        ValueError: the queue is not stable.
    """
    load = _stable(rate * service)
    return load * service / (2 * (1 - load))


def mg1_wait(rate: float, mean: float, second_moment: float) -> float:
    """Mean waiting time of M/G/1: lambda E[S^2] / (2 (1 - rho)), of Pollaczek and Khinchine.

    Args:
        rate: of arrivals, lambda.
        mean: of the service time, E[S].
        second_moment: of the service time, E[S^2]: its variance and its mean's square.

    Raises:
        ValueError: the queue is not stable, or no time has these moments.
    """
    load = _stable(rate * mean)
    _moments(mean, second_moment)
    return rate * second_moment / (2 * (1 - load))


def mmc_wait(rate: float, service: float, servers: int) -> float:
    """Mean waiting time of M/M/c: the chance of having to wait, by c mu - lambda.

    That chance is Erlang's C. It comes from his B, whose recursion over servers adds only positive
    numbers, and so loses no digits.

    Args:
        rate: of arrivals, to all servers together.
        service: mean service time at one server.
        servers: c, all alike, with one queue.

    Source: R. B. Cooper, Introduction to Queueing Theory (1981), sections 3.3 and 3.4.

    Raises:
        ValueError: the queue is not stable, or has no server.
    """
    if servers < 1:
        raise ValueError(f"{servers} servers serve nobody; give 1 or more")
    offered = rate * service
    load = _stable(offered / servers)
    blocked = 1.0  # Erlang's B: the chance that an arrival finds all servers busy, without a queue
    for busy in range(1, servers + 1):
        blocked = offered * blocked / (busy + offered * blocked)
    delayed = blocked / (1 - load * (1 - blocked))
    return delayed * service / (servers * (1 - load))


def bulk_mm1_wait(
    rate: float, service: float, mean_batch: float, second_moment_batch: float
) -> float:
    """Mean waiting time of an item in M^[X]/M/1, where X items arrive together.

    A batch is a customer of M/G/1, whose service is X exponential times; that is what its first
    item waits. An item then waits for those of its own batch before it, of which it has
    (E[X^2] - E[X]) / (2 E[X]) on average, for an item is likelier to be of a large batch. Together
    ``S (E[X^2] + E[X]) / (2 E[X] (1 - rho)) - S``.

    Args:
        rate: at which batches arrive.
        service: mean service time S of one item.
        mean_batch: E[X].
        second_moment_batch: E[X^2]; its mean's square if all batches have one size.

    Source: D. Gross and C. M. Harris, Fundamentals of Queueing Theory (1985), section 3.1.

    Raises:
        ValueError: the queue is not stable, or no whole numbers of items have these moments.
    """
    load = _stable(rate * mean_batch * service)
    _moments(mean_batch, second_moment_batch)
    if mean_batch < 1:
        raise ValueError(f"batches of {mean_batch:.4g} on average; each has an item at least")
    first = rate * service**2 * (mean_batch + second_moment_batch) / (2 * (1 - load))
    return first + service * (second_moment_batch / mean_batch - 1) / 2


def erlang_d1_wait(rate: float, service: float, k: int) -> float:
    """Mean waiting time of E_k/D/1: service is constant, arrivals are every k-th of a Poisson one.

    If k servers take Poisson arrivals in turn, each is such a queue, and since all take equally
    long, in turn is first come first served: the wait is that of M/D/k. With a arrivals in a
    service's time, its mean queue is a/(2(k - a)) - (k - 1 + a)/2 + the sum of 1/(1 - z) over the
    roots of z^k = exp(a (z - 1)) inside the unit circle; Lambert's W gives each. The error is
    about k times that of rounding, as a part of the service time.

    Args:
        rate: of the Poisson arrivals; a batch arrives at rate / k.
        service: of one batch.
        k: arrivals in a batch.

    Source: C. D. Crommelin, Delay probability formulae when the holding times are constant (1932);
    A. J. E. M. Janssen and J. S. H. van Leeuwaarden, Analytic computation schemes for the
    discrete-time bulk service queue, Queueing Systems 50 (2005), for the mean.

    Raises:
        ValueError: the queue is not stable, or a batch has no arrival.
    """
    import numpy as np
    from scipy.special import lambertw

    if k < 1:
        raise ValueError(f"batches of {k}; each has an arrival at least")
    per_service = rate * service
    share = _stable(per_service / k)
    unity = np.exp(2j * np.pi * np.arange(1, k) / k)
    roots = -lambertw(-share * unity * math.exp(-share)) / share
    inside = float((1 / (1 - roots)).real.sum())
    queue = per_service / (2 * (k - per_service)) - (k - 1 + per_service) / 2 + inside
    return max(queue, 0.0) / rate


def polling_wait(queues: int, rate: float, service: float, look: float) -> float:
    """Mean wait in a symmetric polling system with exhaustive service and constant times.

    ``(q lambda S^2 + r (q - rho)) / (2 (1 - rho))`` with rho = q lambda S. One queue is M/D/1 with
    vacations: r/2 more than without.

    Args:
        queues: q, visited in turn.
        rate: of Poisson arrivals to each queue, lambda.
        service: constant service time S.
        look: constant time r from one queue to the next.

    Source: H. Takagi, Analysis of Polling Systems (1986), symmetric exhaustive service.

    Raises:
        ValueError: the queues are not stable.
    """
    load = _stable(queues * rate * service)
    return (load * service + look * (queues - load)) / (2 * (1 - load))


def polling_cycle(queues: int, rate: float, service: float, look: float) -> float:
    """Mean time from one visit of a queue to the next: q r / (1 - rho).

    Raises:
        ValueError: the queues are not stable.
    """
    return queues * look / (1 - _stable(queues * rate * service))


def _stable(load: float) -> float:
    if not 0 < load < 1:
        raise ValueError(f"a load of {load:.4g} is not stable; it must lie between 0 and 1")
    return load


def _moments(mean: float, second: float) -> None:
    """Refuse moments that leave no variance; rounding may take a little of none."""
    if not second >= mean**2 * (1 - 1e-12):
        raise ValueError(
            f"a second moment of {second:.4g} is below the mean's square, {mean**2:.4g}"
        )
