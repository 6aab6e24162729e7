"""Closed networks with exact means: vCPUs compute, need a centre or two, and compute again.

They are watched between two fixed moments, after the first tenth and before any vCPU is through.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vmexit_sim import analytic
from vmexit_sim.analytic import Bounds, Mva
from vmexit_sim.configuration import checked
from vmexit_sim.distributions import Distribution
from vmexit_sim.guest.generators import Spread
from vmexit_sim.hypervisor.access_class import AccessClass
from vmexit_sim.hypervisor.host import Host
from vmexit_sim.hypervisor.stages import EMULATE, WAIT_VMM_LOCK
from vmexit_sim.measure.records import RunResult
from vmexit_sim.mechanisms import Mechanism, make_mechanism
from vmexit_sim.steps import (
    Column,
    Moment,
    Queue,
    Role,
    Stage,
    Steps,
    acquire,
    release,
    spend,
    stamp,
)
from vmexit_sim.units import MICROSECOND
from vmexit_sim.validation.replications import CUT, Effort, exponential, replications, resource

FIRST = Queue("first centre", tokens=1)
SECOND = Queue("second centre", tokens=1)
LINES = Stage("wait: first centre", Role.WAIT), Stage("wait: second centre", Role.WAIT)
WORKS = Stage("at first centre", Role.HYPERVISOR), Stage("at second centre", Role.HYPERVISOR)

Times = npt.NDArray[np.int64]


class Tandem(Mechanism):
    """Two centres, one after the other.

    Attributes:
        second: time at the second one; at the first it is the device's.
    """

    second: Distribution

    def access(self, host: Host, access: AccessClass) -> Steps:
        """Wait and be served, twice."""
        times = Column("emulate"), self.second
        for centre, line, work, time in zip((FIRST, SECOND), LINES, WORKS, times, strict=True):
            yield acquire(centre, line)
            yield spend(work, time)
            yield release(centre)
        yield stamp(Moment.DONE)


@dataclass(frozen=True, kw_only=True)
class Closed:
    """A closed network; times in us.

    Attributes:
        n: vCPUs.
        think: mean compute between accesses.
        demands: mean time at each centre.
        mechanism: how the centres are reached.
        stages: in which waiting and being served at each centre are booked.
        centres: the queues' names.
    """

    n: int
    think: float
    demands: tuple[float, ...]
    mechanism: Callable[[], Mechanism]
    stages: tuple[tuple[Stage, Stage], ...]
    centres: tuple[str, ...]

    @property
    def exact(self) -> Mva:
        """What mean value analysis says."""
        return analytic.mva(self.demands, self.think, self.n)

    @property
    def bounds(self) -> Bounds:
        """Between what its results lie, whatever the distributions."""
        return analytic.asymptotic_bounds(self.demands, self.think, self.n)


def _repairman(n: int) -> Closed:
    """The VMM's lock is the repairman: whoever is at the device holds it."""
    return Closed(
        n=n, think=8.0, demands=(2.0,), mechanism=lambda: make_mechanism("hypercall"),
        stages=((WAIT_VMM_LOCK, EMULATE),), centres=("VMM lock",),
    )  # fmt: skip


def _tandem(n: int, think: float, first: float, second: float) -> Closed:
    """Two first-come-first-served exponential centres."""
    return Closed(
        n=n, think=think, demands=(first, second),
        mechanism=lambda: checked(Tandem, {"second": exponential(second)}),
        stages=tuple(zip(LINES, WORKS, strict=True)), centres=(FIRST.name, SECOND.name),
    )  # fmt: skip


NETWORKS = {
    "repairman, 3 machines": _repairman(3),
    "repairman, 8 machines": _repairman(8),
    "two centres": _tandem(4, 5.0, 2.0, 1.0),
    "two centres, one nearly saturated": _tandem(6, 4.0, 1.0, 2.0),
}
"""Closed networks by name."""


@dataclass(frozen=True, kw_only=True)
class Watched:
    """What each replication of a closed network comes to.

    Attributes:
        rounds: rounds in a microsecond, of all vCPUs.
        responses: mean time of a round without the thinking, in us.
        busy: for each centre, the share of time that it is busy.
        queues: for each centre, how many vCPUs are there.
        lawful: whether each centre's own account is what its customers did, to the picosecond.
    """

    rounds: list[float]
    responses: list[float]
    busy: list[list[float]]
    queues: list[list[float]]
    lawful: list[bool]


def circling(name: str, effort: Effort) -> Iterator[RunResult]:
    """Replications of a closed network."""
    network = NETWORKS[name]
    guest = checked(
        Spread,
        {
            "kind": "spread", "operations": effort.rounds + round(8 * effort.rounds**0.5),
            "vcpus": network.n, "between": exponential(network.think),
            "emulate": exponential(network.demands[0]), "space": "mmio", "read_share": 1.0,
        },
    )  # fmt: skip
    return replications(name, network.mechanism(), lambda _: guest, effort)


def watched(name: str, effort: Effort, results: Iterable[RunResult]) -> Watched:
    """Watch a closed network from the first tenth on, until long before any vCPU's last round.

    Args:
        name: of the network, in `NETWORKS`.
        effort: how many rounds are watched.
        results: its replications, as `circling` yields them.
    """
    network = NETWORKS[name]
    late = round(effort.rounds * network.n / network.exact.throughput * MICROSECOND)
    moments = round(CUT * late), late
    found = Watched(
        rounds=[], responses=[], lawful=[],
        busy=[[] for _ in network.centres], queues=[[] for _ in network.centres],
    )  # fmt: skip
    for result in results:
        columns = result.to_columns()
        done, at = columns["done"], columns["start"]
        inside = (done > moments[0]) & (done <= late)
        found.rounds.append(float(inside.sum()) / (late - moments[0]) * MICROSECOND)
        found.responses.append(float((done - at)[inside].mean()) / MICROSECOND)
        lawful = min(result.finish) > late
        for k, ((line, work), centre) in enumerate(
            zip(network.stages, network.centres, strict=True)
        ):
            waited, served = columns[f"stage: {line.name}"], columns[f"stage: {work.name}"]
            found.queues[k].append(_present(at, at + waited + served, moments))
            found.busy[k].append(_present(at + waited, at + waited + served, moments))
            at = at + waited + served
            use = resource(result, centre)
            own = (use.busy, use.waiting, use.takes)
            lawful &= own == (int(served.sum()), int(waited.sum()), len(done))
        found.lawful.append(lawful and np.array_equal(at, done))
    return found


def _present(begin: Times, end: Times, moments: tuple[int, int]) -> float:
    """How many intervals there are at a time, on average between two moments."""
    early, late = moments
    overlap = np.minimum(end, late) - np.maximum(begin, early)
    return float(np.maximum(overlap, 0).sum()) / (late - early)
