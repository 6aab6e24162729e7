"""The same workload as anybody would write it in SimPy: processes, and `Resource` in `with`.

It draws as it goes and records nothing but the mean latency.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

import simpy


def mean_latency_us(accesses: int, vcpus: int = 4, seed: int = 1) -> float:
    """Run it; returns the mean time from the exit to being back in the guest, in us."""
    env = simpy.Environment()
    handlers = simpy.Resource(env, capacity=2)
    devices = simpy.Resource(env, capacity=2)
    draw = random.Random(seed).expovariate
    total = 0.0

    def vcpu(env: simpy.Environment, n: int) -> Iterator[simpy.Event]:
        nonlocal total
        for _ in range(n):
            yield env.timeout(draw(1 / 10))
            begin = env.now
            yield env.timeout(1)
            with handlers.request() as handler:
                yield handler
                yield env.timeout(2)
                with devices.request() as device:
                    yield device
                    yield env.timeout(draw(1 / 5))
            yield env.timeout(0.5)
            total += env.now - begin

    for _ in range(vcpus):
        env.process(vcpu(env, accesses // vcpus))
    env.run()
    return total / (accesses // vcpus * vcpus)
