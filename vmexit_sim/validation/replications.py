"""Independent runs of a system that theory knows, and how much is simulated of it."""

from __future__ import annotations

from binascii import crc32
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache

from vmexit_sim.device import load_devices
from vmexit_sim.engine import EngineName, run
from vmexit_sim.guest.workload import Workload
from vmexit_sim.hypervisor.platform import Platform, load_platform
from vmexit_sim.lowering import lower
from vmexit_sim.measure.records import ResourceUse, RunResult
from vmexit_sim.mechanisms import Mechanism
from vmexit_sim.policy import Policy, Rule
from vmexit_sim.streams import Streams
from vmexit_sim.units import MICROSECOND

CUT = 0.1
"""The part of a run that is left out at its beginning, where queues are still empty."""


@dataclass(frozen=True, kw_only=True)
class Effort:
    """How much is simulated.

    Attributes:
        replications: independent runs.
        accesses: of a run of an open queue, about.
        rounds: of each vCPU of a closed network, while it is watched.
        engine: what runs it.
    """

    replications: int
    accesses: int
    rounds: int
    engine: EngineName = "auto"


FULL = Effort(replications=20, accesses=60_000, rounds=1000)
QUICK = Effort(replications=10, accesses=6_000, rounds=200)


@cache
def free() -> Platform:
    """A host on which nothing takes time but what a device does."""
    return load_platform("ideal", changes={"world_switch_out": "0 ns"})


def exponential(mean_us: float) -> dict[str, str]:
    """An exponential time, as files state it."""
    return {"kind": "exponential", "mean": f"{round(mean_us * MICROSECOND)} ps"}


def replications(
    name: str, mechanism: Mechanism, guest: Callable[[int], Workload], effort: Effort
) -> Iterator[RunResult]:
    """Independent runs of one mechanism on a free host, with their rows.

    Args:
        name: of the case, which has draws of its own.
        mechanism: how the queue is reached.
        guest: who asks for service, by replication.
        effort: how many runs, and by which engine.
    """
    policy = Policy(title=name, rules=[Rule(side="host", mechanism=mechanism)])
    for replication in range(effort.replications):
        workload = guest(replication)
        lowered = lower(policy, free(), load_devices(), workload)
        streams = Streams(crc32(name.encode()), replication)
        yield run(lowered, workload, streams, engine=effort.engine, keep_rows=True)


def resource(result: RunResult, name: str) -> ResourceUse:
    """The queue whose name begins so."""
    (found,) = [use for use in result.resources if use.name.startswith(name)]
    return found
