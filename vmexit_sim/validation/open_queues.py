"""Open queues with exact means: one vCPU posts accesses at the moments of a Poisson stream.

::

    vCPU     post … post …… post           and goes on at once
    servers        └─► serve ┘             one queue for all of them

Queues begin empty. Means over accesses leave out the first tenth of each run: two of a queue's
relaxation times at least, 1 / (1 - sqrt(rho))^2 services for M/M/1, and eighty in the long runs.
What a resource adds up covers a whole run; what is missing there at the beginning is known from the
queue's Markov chain (100 items times services for M/M/1 at a load of 0.8), and less than a tenth of
the interval's half-width; in the long runs a sixtieth.
"""

from __future__ import annotations

from binascii import crc32
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from vmexit_sim import analytic
from vmexit_sim.configuration import checked
from vmexit_sim.guest.generators import Spread
from vmexit_sim.guest.table import Space, make_table
from vmexit_sim.guest.workload import Recorded, Workload
from vmexit_sim.hypervisor.access_class import AccessClass
from vmexit_sim.hypervisor.host import Host
from vmexit_sim.measure.records import RunResult
from vmexit_sim.mechanisms import Mechanism, make_mechanism
from vmexit_sim.mechanisms.base import SideActor
from vmexit_sim.mechanisms.ioeventfd import HANDLER, WAIT_FOR_THREAD
from vmexit_sim.steps import (
    ACCESS,
    Clock,
    Column,
    Moment,
    PostedAt,
    Queue,
    Register,
    Role,
    Stage,
    Steps,
    acquire,
    book,
    let,
    loop,
    put,
    release,
    spend,
    stamp,
    take,
)
from vmexit_sim.streams import Streams
from vmexit_sim.units import MICROSECOND
from vmexit_sim.validation.replications import CUT, Effort, exponential, replications, resource

QUANTILES = 0.9, 0.99

ROOM = Queue("room for signals", tokens=4096)
JOBS = Queue("signals of all")
JOB = Register("job")
WAITED = Register("job waited")
POSTING = Stage("wait: room", Role.WAIT)
IDLE = Stage("server idle", Role.BACK)
SERVING = Stage("server busy", Role.BACK)


class Servers(Mechanism):
    """Accesses are posted to servers that share one queue, as to ioeventfd's thread, which is one.

    Attributes:
        servers: how many.
    """

    servers: int

    @property
    def outstanding(self) -> int:
        """All that there is room for."""
        return ROOM.tokens

    def access(self, host: Host, access: AccessClass) -> Steps:
        """Post, and go on."""
        yield acquire(ROOM, POSTING)
        yield stamp(Moment.POSTED)
        yield put(JOBS, ACCESS)

    def actors(self, host: Host) -> Iterable[SideActor]:
        """The servers."""
        return [SideActor(f"server {n}", False, self._life()) for n in range(self.servers)]

    def _life(self) -> Steps:
        yield loop(
            [
                take(JOBS, IDLE, into=JOB),
                let(WAITED, Clock(), "-", PostedAt(JOB)),
                book(WAIT_FOR_THREAD, WAITED, JOB),
                spend(SERVING, Column("emulate", JOB)),
                book(HANDLER, Column("emulate", JOB), JOB),
                stamp(Moment.DONE, JOB),
                release(ROOM),
            ]
        )


@dataclass(frozen=True, kw_only=True)
class Open:
    """An open queue, and what is known of it; services last 1 us on average.

    Attributes:
        load: share of their time in which the servers are busy.
        wait: mean wait, in us.
        service: how services are distributed.
        servers: how many serve.
        sizes: accesses that come together, all equally likely.
        delayed: the share of accesses that wait at all; None: not known here.
        law: the formula's name.
    """

    load: float
    wait: float
    service: object
    servers: int = 1
    sizes: tuple[int, ...] = (1,)
    delayed: float | None = None
    law: str

    @property
    def rate(self) -> float:
        """Accesses in a microsecond."""
        return self.load * self.servers

    @property
    def batch(self) -> float:
        """Accesses that come together, on average."""
        return sum(self.sizes) / len(self.sizes)


def _erlang_c(offered: float, servers: int) -> float:
    """The share of arrivals that find all servers busy: the mean wait's other factor."""
    return analytic.mmc_wait(offered, 1.0, servers) * (servers - offered)


MEMORYLESS = exponential(1.0)
KHINCHINE = "Pollaczek-Khinchine"
QUEUES = {
    "M/M/1, half busy": Open(
        load=0.5, service=MEMORYLESS, wait=analytic.mm1_wait(0.5, 1.0), delayed=0.5,
        law="rho S / (1 - rho)",
    ),
    "M/M/1": Open(
        load=0.8, service=MEMORYLESS, wait=analytic.mm1_wait(0.8, 1.0), delayed=0.8,
        law="rho S / (1 - rho)",
    ),
    "M/D/1": Open(
        load=0.8, service="1 us", wait=analytic.md1_wait(0.8, 1.0), delayed=0.8,
        law="rho S / (2 (1 - rho))",
    ),
    "M/G/1, gamma": Open(
        load=0.6, service={"kind": "gamma", "mean": "1 us", "cv": 1.5}, delayed=0.6, law=KHINCHINE,
        wait=analytic.mg1_wait(0.6, 1.0, 1 + 1.5**2),
    ),
    "M/G/1, lognormal": Open(
        load=0.7, service={"kind": "lognormal", "mean": "1 us", "cv": 0.7, "shift": "300 ns"},
        delayed=0.7, wait=analytic.mg1_wait(0.7, 1.0, 1 + 0.7**2), law=KHINCHINE,
    ),
    "M/M/2": Open(
        load=0.8, service=MEMORYLESS, servers=2, wait=analytic.mmc_wait(1.6, 1.0, 2),
        delayed=_erlang_c(1.6, 2), law="Erlang C",
    ),
    "M/M/4": Open(
        load=0.8, service=MEMORYLESS, servers=4, wait=analytic.mmc_wait(3.2, 1.0, 4),
        delayed=_erlang_c(3.2, 4), law="Erlang C",
    ),
    "M^[4]/M/1": Open(
        load=0.6, service=MEMORYLESS, sizes=(4,), wait=analytic.bulk_mm1_wait(0.15, 1.0, 4, 16),
        law="M^[X]/M/1",
    ),
    "M^[1 to 7]/M/1": Open(
        load=0.6, service=MEMORYLESS, sizes=(1, 2, 3, 4, 5, 6, 7),
        wait=analytic.bulk_mm1_wait(0.15, 1.0, 4, 20), law="M^[X]/M/1",
    ),
}  # fmt: skip
"""Open queues by name."""


def posted(name: str, effort: Effort) -> Iterator[RunResult]:
    """Replications of an open queue."""
    queue = QUEUES[name]

    def guest(replication: int) -> Workload:
        if len(queue.sizes) > 1:
            return _batches_of_many_sizes(queue, effort.accesses, name, replication)
        (batch,) = queue.sizes
        return checked(
            Spread,
            {
                "kind": "spread", "operations": effort.accesses // batch, "between": "0 ps",
                "accesses_per_operation": batch, "arrivals": exponential(batch / queue.rate),
                "emulate": queue.service, "space": "doorbell", "read_share": 0.0,
            },
        )  # fmt: skip

    return replications(name, _mechanism(queue.servers), guest, effort)


def _mechanism(servers: int) -> Mechanism:
    """One server is the thread that waits for an eventfd, with a run of its handler a signal."""
    if servers == 1:
        return make_mechanism({"name": "ioeventfd", "merge": False, "depth": ROOM.tokens})
    return Servers(servers=servers)


def _batches_of_many_sizes(queue: Open, accesses: int, name: str, replication: int) -> Recorded:
    """Accesses of exponential times, whose batches differ in size."""
    rng = Streams(crc32(name.encode()), replication).named("batches")
    sizes = rng.choice(queue.sizes, round(accesses / queue.batch))
    moments = np.cumsum(rng.exponential(queue.batch / queue.rate * MICROSECOND, len(sizes)))
    emulate = np.rint(rng.exponential(MICROSECOND, sizes.sum())).astype(np.int64)
    return Recorded(
        make_table(
            len(emulate), arrival=np.rint(np.repeat(moments, sizes)).astype(np.int64),
            space=Space.DOORBELL, write=1, emulate=emulate,
        )
    )  # fmt: skip


def seen(name: str, results: Iterable[RunResult]) -> dict[str, list[float]]:
    """What each replication of an open queue comes to.

    Args:
        name: of the queue, in `QUEUES`.
        results: its replications, as `posted` yields them.

    Returns:
        A value for each replication of ``wait`` (us), ``utilisation``, ``number there``,
        ``delayed`` (the share of accesses that wait at all), ``beyond 0.9`` and ``beyond 0.99``
        (the share of responses beyond M/M/1's quantile), and ``Little`` (1: the run obeys his law
        to the picosecond).
    """
    queue = QUEUES[name]
    found: defaultdict[str, list[float]] = defaultdict(list)
    for result in results:
        columns = result.to_columns()
        room, jobs = resource(result, "room"), resource(result, "signals of")
        # Little's law over the run: who is there, added up over time and over accesses.
        there = int((np.minimum(columns["done"], room.span) - columns["due"]).sum())
        found["Little"].append(float(room.busy == there))
        later = slice(int(CUT * len(columns["due"])), None)
        responses = (columns["done"] - columns["due"])[later] / MICROSECOND
        waits = columns[f"stage: {WAIT_FOR_THREAD.name}"][later]
        found["wait"].append(float(waits.mean()) / MICROSECOND)
        found["delayed"].append(float((waits > 0).mean()))
        found["utilisation"].append(1 - jobs.mean_queue / queue.servers)  # a server waits for jobs
        found["number there"].append(room.busy / room.span)
        for q in QUANTILES:
            beyond = responses > analytic.mm1_quantile(queue.load, 1.0, q)
            found[f"beyond {q}"].append(float(beyond.mean()))
    return found
