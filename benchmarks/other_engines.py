"""The same workload in other Python simulators, as their documentation would write it.

Each function runs it and returns the mean time from the exit to being back in the guest, in us.
None of them records stages.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any


def salabim_mean_latency_us(accesses: int, vcpus: int = 4, seed: int = 1) -> float:
    """salabim: a component per vCPU, resources requested and released."""
    import salabim as sim

    sim.yieldless(False)
    env = sim.Environment(trace=False, random_seed=seed)
    handlers = sim.Resource("handlers", capacity=2)
    devices = sim.Resource("devices", capacity=2)
    draw = random.Random(seed).expovariate
    total = 0.0

    class Vcpu(sim.Component):  # type: ignore[misc]
        def process(self) -> Iterator[Any]:
            nonlocal total
            for _ in range(accesses // vcpus):
                yield self.hold(draw(1 / 10))
                begin = env.now()
                yield self.hold(1)
                yield self.request(handlers)
                yield self.hold(2)
                yield self.request(devices)
                yield self.hold(draw(1 / 5))
                self.release(devices)
                self.release(handlers)
                yield self.hold(0.5)
                total += env.now() - begin

    for _ in range(vcpus):
        Vcpu()
    env.run()
    return total / (accesses // vcpus * vcpus)


def ciw_mean_latency_us(accesses: int, vcpus: int = 4, seed: int = 1) -> float:
    """Ciw: a closed network of think, exit, handler with device, and entry.

    Ciw's nodes hold one server each. As there are as many devices as handlers, who has a handler
    never waits for a device, so that both together are one node.
    """
    import ciw

    network = ciw.create_network(
        arrival_distributions=[
            ciw.dists.Sequential([0.0] * vcpus + [float("inf")]), None, None, None
        ],
        service_distributions=[
            ciw.dists.Exponential(1 / 10),
            ciw.dists.Deterministic(1),
            ciw.dists.Deterministic(2) + ciw.dists.Exponential(1 / 5),
            ciw.dists.Deterministic(0.5),
        ],
        routing=[[0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0],
                 [1.0, 0.0, 0.0, 0.0]],
        number_of_servers=[float("inf"), float("inf"), 2, float("inf")],
    )  # fmt: skip
    ciw.seed(seed)
    simulation = ciw.Simulation(network)
    simulation.simulate_until_max_time(accesses / vcpus * 19.73)  # about so many accesses
    records = simulation.get_all_records()
    away = sum(record.exit_date - record.arrival_date for record in records if record.node != 1)
    return float(away / sum(1 for record in records if record.node == 4))
