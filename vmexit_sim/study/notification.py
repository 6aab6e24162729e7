"""A producer and a consumer around one virtqueue: what notifications cost whom, and when.

Everything is constant, so that `vmexit_sim.analytic.producer_consumer` says exactly what comes out:
a throughput and the number of items that one kick brings.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from vmexit_sim.analytic import Notified, producer_consumer
from vmexit_sim.guest.table import Space, make_table
from vmexit_sim.guest.workload import Recorded
from vmexit_sim.hypervisor.platform import Platform, load_platform
from vmexit_sim.mechanisms.virtqueue import Virtqueue
from vmexit_sim.policy import Policy, Rule
from vmexit_sim.study.simulate import simulate
from vmexit_sim.units import SECOND

ROUNDS = 40
"""Kicks over which a run is measured."""

DEPTH = 4096
"""Descriptors: more than one kick ever brings here."""


@dataclass(frozen=True, kw_only=True)
class Pair:
    """One producer, one consumer, on one host.

    Attributes:
        platform: the host; its wake-up is `wake_up`.
        produce: time from one item to the next, kicks left out (ps).
        consume: time that an item takes the back end (ps).
    """

    platform: Platform
    produce: int
    consume: int

    @classmethod
    def on(cls, platform: str, *, produce: int, consume: int, wake_up: int) -> Pair:
        """A pair on a shipped platform, with another wake-up time (all in ps)."""
        changes = {"thread_wake_up": f"{wake_up} ps"}
        return cls(platform=load_platform(platform, changes=changes), produce=produce,
                   consume=consume)  # fmt: skip

    def _cost(self, *names: str) -> int:
        return sum(round(self.platform.costs.duration(name).mean_ps) for name in names)

    @property
    def kick(self) -> int:
        """What a kick takes the producer (ps)."""
        return self._signalled + self._cost("world_switch_in")

    @property
    def _signalled(self) -> int:
        return self._cost("world_switch_out", "dispatch_mmio", "signal")

    def exact(self) -> Notified:
        """What theory says; items per ps."""
        return producer_consumer(
            self.produce, self.consume, kick=self.kick, signalled=self._signalled,
            wake_up=self._cost("thread_wake_up"),
        )  # fmt: skip

    def simulated(self) -> tuple[float, float]:
        """Items per second, and kicks per item, over a whole number of rounds."""
        items = ROUNDS * (self.exact().items_per_kick or 10)
        guest = make_table(
            items + 1, space=Space.DOORBELL, write=1, emulate=self.consume,
            compute=self.produce - self._cost("gather"),
        )  # fmt: skip
        mechanism = Virtqueue(completions="none", depth=DEPTH)
        policy = Policy(title="one virtqueue", rules=[Rule(side="host", mechanism=mechanism)])
        result = simulate(policy, self.platform, Recorded(guest), keep_rows=True)
        done = result.to_columns()["done"]
        # The first item's kick began before what is measured did.
        return items * SECOND / int(done[-1] - done[0]), (result.summary.exits - 1) / items


@dataclass(frozen=True, kw_only=True)
class Point:
    """A back end of one speed, exact beside simulated.

    Attributes:
        share: its time per item, as a share of the guest's.
        kicks: kicks per item, exact and simulated.
        rate: items per second, exact and simulated.
    """

    share: float
    kicks: tuple[float, float]
    rate: tuple[float, float]


def by_speed(platform: str, *, produce: int, wake_up: int, shares: Iterable[float]) -> list[Point]:
    """Back ends of several speeds, the others' times (ps) held."""
    points = []
    for share in shares:
        pair = Pair.on(platform, produce=produce, consume=round(share * produce), wake_up=wake_up)
        exact, (rate, kicks) = pair.exact(), pair.simulated()
        exact_kicks = 1 / exact.items_per_kick if exact.items_per_kick else 0.0
        points.append(Point(share=share, kicks=(exact_kicks, kicks),
                            rate=(exact.throughput * SECOND, rate)))  # fmt: skip
    return points
