"""A producer that kicks its consumer only if that sleeps, at constant speeds.

::

    producer   item item item │kick│ item item item        a kick takes the producer's time
    consumer   … asleep ………………………  │wake up│ through with one after the other, and asleep again

What notification suppression is for: the more items one kick brings, the less each costs. Since
the speeds are constant, how many that are is arithmetic.
"""

from __future__ import annotations

import math
from typing import NamedTuple


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
