"""Exact and textbook results to hold the simulator against.

Times come in one unit and go out in the same (rates are per that unit). Each function names its
source; the mapping of formulas to batching is derived in the docstrings.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from scipy.optimize import brentq
from scipy.special import gammainc


def md1_wait(rate: float, service: float) -> float:
    """Mean waiting time of M/D/1 (Pollaczek-Khinchine with constant service).

    Source: any queueing text, e.g. Kleinrock vol. 1, section 5.6.

    Raises:
        ValueError: the queue is not stable.
    """
    load = _stable(rate * service)
    return load * service / (2 * (1 - load))


def mm1_wait(rate: float, service: float) -> float:
    """Mean waiting time of M/M/1 with mean service time `service`.

    Raises:
        ValueError: the queue is not stable.
    """
    load = _stable(rate * service)
    return load * service / (1 - load)


def erlang_d1_wait(rate: float, service: float, k: int) -> float:
    """Mean waiting time of E_k/D/1: service is constant, arrivals are every k-th of a Poisson one.

    Spitzer's identity for a queue that starts empty long ago: the mean wait is the sum over n of
    E[(S_n)+]/n, where S_n is n service times less n interarrival times. With Erlang
    interarrivals the latter sum is a gamma variable of nk phases, and E[(c - G)+] is a
    combination of incomplete gamma functions.

    Args:
        rate: of the Poisson arrivals; a batch arrives at rate / k.
        service: of one batch.
        k: arrivals in a batch.

    Raises:
        ValueError: the queue is not stable.
    """
    _stable(rate * service / k)
    wait = 0.0
    for n in range(1, 100_000):
        c, a = n * service, n * k
        term = float(c * gammainc(a, rate * c) - a / rate * gammainc(a + 1, rate * c)) / n
        wait += term
        if term < 1e-13 * service:
            break
    return wait


def fill_wait(rate: float, k: int) -> float:
    """Mean time that a Poisson arrival waits for its batch of `k` to fill: (k - 1) / (2 rate).

    The N-policy; the first of a batch waits for k - 1 arrivals, the last for none.
    """
    return (k - 1) / (2 * rate)


def batching_pays_from(exit_cost: float, k: int) -> float:
    """The rate beyond which filling batches of `k` lowers vCPU time plus waiting.

    A single exit costs t an access; in a batch an access costs t/k and waits (k - 1)/(2 rate). So
    batching pays if (1 - 1/k) t > (k - 1)/(2 rate): beyond rate = k / (2 t).
    """
    return k / (2 * exit_cost)


def latency_break_even(k: int) -> float:
    """The load (rate x exit cost) at which batches of `k` have the mean effect latency of singles.

    Singles are M/D/1; batches are E_k/D/1 whose items also wait to fill; both have constant
    service 1. Solved numerically: about 0.63 for k = 2 and 0.79 for k = 4.
    """

    def excess(load: float) -> float:
        return erlang_d1_wait(load, 1.0, k) + fill_wait(load, k) - md1_wait(load, 1.0)

    return float(brentq(excess, 1e-3, 1 - 1e-6, xtol=1e-12))


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


class Notified(NamedTuple):
    """What a producer that kicks a sleeping consumer comes to in the long run.

    Attributes:
        throughput: items per unit of time.
        items_per_kick: items that one kick brings; None: the consumer never sleeps again.
    """

    throughput: float
    items_per_kick: int | None


def producer_consumer(
    produce: float, consume: float, *, kick: float, signalled: float, wake_up: float
) -> Notified:
    """A producer and a consumer of constant speed, with notifications only to one that sleeps.

    A kick keeps the producer for N, and reaches the consumer at s within it, which wakes up for u.
    Counted from the item that kicked, item j + 1 is there at N + j P and the consumer is through
    with j items at s + u + j C. It sleeps again after the least j with s + u + j C <= N + j P,
    and these j items took N + j P.

    * s + u + C <= N + P: it sleeps each time. Throughput 1/(P + N), whatever C.
    * otherwise, C >= P: it never sleeps. Throughput 1/C.
    * otherwise it catches up after j = (s + u - N)/(P - C) items, rounded up. The faster it is, the
      fewer these are, and the lower the throughput: from 1/P at C = P down to C = 0 or to the first
      case.

    An item that comes at the very instant at which the consumer is through counts as late.

    Args:
        produce: time P between items.
        consume: time C that an item takes.
        kick: time N that a kick takes the producer.
        signalled: time s from when the item is there until the consumer begins to wake up.
        wake_up: time u that waking up takes.
    """
    behind = signalled + wake_up - kick
    if behind + consume <= produce:
        return Notified(1 / (produce + kick), 1)
    if consume >= produce:
        return Notified(1 / consume, None)
    items = math.ceil(behind / (produce - consume))
    return Notified(items / (kick + items * produce), items)


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


def _stable(load: float) -> float:
    if not 0 < load < 1:
        raise ValueError(f"a load of {load:.4g} is not stable; it must lie between 0 and 1")
    return load
