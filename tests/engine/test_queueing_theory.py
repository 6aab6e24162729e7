"""Both engines against exact queueing theory, at fixed seeds.

Every interval is Student's t over independent replications, with 99.9 % confidence, and must hold
the exact value. What is simulated at length is also narrow; the reference engine runs less, and
must agree with the other on every wait instead, so that what is shown of one is shown of both.

Queues begin empty. Means over accesses leave out the first tenth of each run: two of a queue's
relaxation times at least, 1 / (1 - sqrt(rho))^2 services for M/M/1, and eighty in the long runs.
Closed networks are watched between two fixed moments, after the first tenth and before any vCPU is
through. Only what a resource adds up covers a whole run. What is missing there at the beginning is
known from the queue's Markov chain (100 items times services for M/M/1 at a load of 0.8), and less
than a tenth of the interval's half-width; in the long runs a sixtieth.
"""

from __future__ import annotations

from binascii import crc32
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
import pytest

from vmexit_sim import analytic
from vmexit_sim.configuration import checked
from vmexit_sim.device import load_devices
from vmexit_sim.distributions import Distribution
from vmexit_sim.engine import EngineName, run
from vmexit_sim.guest.generators import Spread
from vmexit_sim.guest.table import Space, make_table
from vmexit_sim.guest.workload import Recorded, Workload
from vmexit_sim.hypervisor.access_class import AccessClass
from vmexit_sim.hypervisor.host import Host
from vmexit_sim.hypervisor.platform import Platform, load_platform
from vmexit_sim.hypervisor.stages import EMULATE, WAIT_VMM_LOCK
from vmexit_sim.lowering import lower
from vmexit_sim.measure.records import ResourceUse, RunResult
from vmexit_sim.mechanisms import Mechanism, make_mechanism
from vmexit_sim.mechanisms.base import SideActor
from vmexit_sim.mechanisms.ioeventfd import HANDLER, WAIT_FOR_THREAD
from vmexit_sim.policy import Policy, Rule
from vmexit_sim.statistics import mean
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

US = 1_000_000
CONFIDENCE = 0.999
CUT = 0.1
QUANTILES = 0.9, 0.99

Times = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Effort:
    """How much an engine simulates, and how narrow its intervals are then.

    Attributes:
        replications: independent runs.
        accesses: of a run of an open queue, about.
        rounds: of each vCPU of a closed network, while it is watched.
        open: half-widths of an open queue's estimates, as parts of them.
        closed: half-widths of a closed network's.
    """

    replications: int
    accesses: int
    rounds: int
    open: float
    closed: float


EFFORT: dict[EngineName, Effort] = {
    "compiled": Effort(replications=20, accesses=60_000, rounds=1000, open=0.05, closed=0.03),
    "simpy": Effort(replications=16, accesses=1500, rounds=120, open=0.5, closed=0.1),
}
ENGINES = pytest.mark.parametrize("engine", list(EFFORT))


@cache
def free() -> Platform:
    """A host on which nothing takes time but what a device does."""
    return load_platform("ideal", changes={"world_switch_out": "0 ns"})


def exponential(mean_us: float) -> dict[str, str]:
    return {"kind": "exponential", "mean": f"{round(mean_us * US)} ps"}


def replications(
    name: str, mechanism: Mechanism, guest: Callable[[int], Workload], engine: EngineName
) -> Iterator[RunResult]:
    """Independent runs; the reference engine's are the other's, to the last bit.

    Args:
        name: of the case, which has draws of its own.
        mechanism: how the queue is reached.
        guest: who asks for service, by replication.
        engine: what runs it.
    """
    policy = Policy(title=name, rules=[Rule(side="host", mechanism=mechanism)])
    for replication in range(EFFORT[engine].replications):
        workload = guest(replication)
        lowered = lower(policy, free(), load_devices(), workload)
        streams = Streams(crc32(name.encode()), replication)
        result = run(lowered, workload, streams, engine=engine, keep_rows=True)
        if engine == "simpy":
            other = run(lowered, workload, streams, engine="compiled", keep_rows=True)
            assert result.resources == other.resources
            done, same = (each.to_columns()["done"] for each in (result, other))
            assert np.array_equal(done, same)
        yield result


def holds(name: str, values: Sequence[float], exact: float, within: float) -> None:
    """Theory lies in the interval, which is not wide."""
    estimate = mean(values, confidence=CONFIDENCE, unit="1")
    ends = f"{name}: {estimate.value:.5g} ± {estimate.half_width:.2g}, exact {exact:.5g}"
    assert estimate.holds(exact), ends
    assert estimate.half_width < within * exact, ends


def resource(result: RunResult, name: str) -> ResourceUse:
    """The queue whose name begins so."""
    (found,) = [use for use in result.resources if use.name.startswith(name)]
    return found


# Open queues: one vCPU posts an access at each moment of a Poisson stream, and goes on at once.

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
        return ROOM.tokens

    def access(self, host: Host, access: AccessClass) -> Steps:
        yield acquire(ROOM, POSTING)
        yield stamp(Moment.POSTED)
        yield put(JOBS, ACCESS)

    def actors(self, host: Host) -> Iterable[SideActor]:
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


def thread() -> Mechanism:
    """One server: the thread that waits for an eventfd, with a run of its handler a signal."""
    return make_mechanism({"name": "ioeventfd", "merge": False, "depth": ROOM.tokens})


@dataclass(frozen=True, kw_only=True)
class Open:
    """An open queue, and what is known of it; services last 1 us on average.

    Attributes:
        load: share of their time in which the servers are busy.
        wait: mean wait, in us.
        service: how services are distributed.
        servers: how many serve.
        sizes: accesses that come together, all equally likely.
    """

    load: float
    wait: float
    service: object
    servers: int = 1
    sizes: tuple[int, ...] = (1,)

    @property
    def rate(self) -> float:
        """Accesses in a microsecond."""
        return self.load * self.servers

    @property
    def batch(self) -> float:
        """Accesses that come together, on average."""
        return sum(self.sizes) / len(self.sizes)


MEMORYLESS = exponential(1.0)
QUEUES = {
    "M/M/1, half busy": Open(load=0.5, service=MEMORYLESS, wait=analytic.mm1_wait(0.5, 1.0)),
    "M/M/1": Open(load=0.8, service=MEMORYLESS, wait=analytic.mm1_wait(0.8, 1.0)),
    "M/D/1": Open(load=0.8, service="1 us", wait=analytic.md1_wait(0.8, 1.0)),
    "M/G/1, gamma": Open(
        load=0.6, service={"kind": "gamma", "mean": "1 us", "cv": 1.5},
        wait=analytic.mg1_wait(0.6, 1.0, 1 + 1.5**2),
    ),
    "M/G/1, lognormal": Open(
        load=0.7, service={"kind": "lognormal", "mean": "1 us", "cv": 0.7, "shift": "300 ns"},
        wait=analytic.mg1_wait(0.7, 1.0, 1 + 0.7**2),
    ),
    "M/M/2": Open(
        load=0.8, service=MEMORYLESS, servers=2, wait=analytic.mmc_wait(1.6, 1.0, 2)
    ),
    "M/M/4": Open(
        load=0.8, service=MEMORYLESS, servers=4, wait=analytic.mmc_wait(3.2, 1.0, 4)
    ),
    "M^[4]/M/1": Open(
        load=0.6, service=MEMORYLESS, sizes=(4,), wait=analytic.bulk_mm1_wait(0.15, 1.0, 4, 16)
    ),
    "M^[1 to 7]/M/1": Open(
        load=0.6, service=MEMORYLESS, sizes=(1, 2, 3, 4, 5, 6, 7),
        wait=analytic.bulk_mm1_wait(0.15, 1.0, 4, 20),
    ),
}  # fmt: skip


def batches_of_many_sizes(queue: Open, accesses: int, name: str, replication: int) -> Recorded:
    """Accesses of exponential times, whose batches differ in size."""
    rng = Streams(crc32(name.encode()), replication).named("batches")
    sizes = rng.choice(queue.sizes, round(accesses / queue.batch))
    moments = np.cumsum(rng.exponential(queue.batch / queue.rate * US, len(sizes)))
    emulate = np.rint(rng.exponential(US, sizes.sum())).astype(np.int64)
    return Recorded(
        make_table(
            len(emulate), arrival=np.rint(np.repeat(moments, sizes)).astype(np.int64),
            space=Space.DOORBELL, write=1, emulate=emulate,
        )
    )  # fmt: skip


def posted(name: str, engine: EngineName) -> Iterator[RunResult]:
    """Replications of an open queue."""
    queue, accesses = QUEUES[name], EFFORT[engine].accesses

    def guest(replication: int) -> Workload:
        if len(queue.sizes) > 1:
            return batches_of_many_sizes(queue, accesses, name, replication)
        (batch,) = queue.sizes
        return checked(
            Spread,
            {
                "kind": "spread", "operations": accesses // batch, "accesses_per_operation": batch,
                "between": "0 ps", "arrivals": exponential(batch / queue.rate),
                "emulate": queue.service, "space": "doorbell", "read_share": 0.0,
            },
        )  # fmt: skip

    mechanism = thread() if queue.servers == 1 else Servers(servers=queue.servers)
    return replications(name, mechanism, guest, engine)


@cache
def seen_of(name: str, engine: EngineName) -> dict[str, list[float]]:
    """What each replication of an open queue comes to; times in us."""
    queue = QUEUES[name]
    seen: defaultdict[str, list[float]] = defaultdict(list)
    for result in posted(name, engine):
        columns = result.to_columns()
        room, jobs = resource(result, "room"), resource(result, "signals of")
        # Little's law over the run, exactly: who is there, added up over time and over accesses.
        assert room.busy == int((np.minimum(columns["done"], room.span) - columns["due"]).sum())
        later = slice(int(CUT * len(columns["due"])), None)
        responses = (columns["done"] - columns["due"])[later] / US
        seen["wait"].append(float(columns[f"stage: {WAIT_FOR_THREAD.name}"][later].mean()) / US)
        seen["utilisation"].append(1 - jobs.mean_queue / queue.servers)  # a server waits for jobs
        seen["number there"].append(room.busy / room.span)
        for q in QUANTILES:
            beyond = responses > analytic.mm1_quantile(queue.load, 1.0, q)
            seen[f"beyond {q}"].append(float(beyond.mean()))
    return seen


@ENGINES
@pytest.mark.parametrize("name", QUEUES)
def test_an_open_queue_waits_as_theory_has_it(name: str, engine: EngineName) -> None:
    queue, within, seen = QUEUES[name], EFFORT[engine].open, seen_of(name, engine)
    holds("wait", seen["wait"], queue.wait, within)
    holds("utilisation", seen["utilisation"], queue.load, within / 2)
    holds("number there", seen["number there"], queue.rate * (queue.wait + 1), within)


@ENGINES
def test_one_response_in_ten_and_in_a_hundred_is_beyond_m_m_1s_quantile(
    engine: EngineName,
) -> None:
    within, seen = EFFORT[engine].open, seen_of("M/M/1, half busy", engine)
    holds("beyond nine in ten", seen["beyond 0.9"], 0.1, within)
    holds("beyond 99 in a hundred", seen["beyond 0.99"], 0.01, 2 * within)


# Closed networks: each vCPU computes for an exponential time, and then needs one centre or two.

FIRST = Queue("first centre", tokens=1)
SECOND = Queue("second centre", tokens=1)
LINES = Stage("wait: first centre", Role.WAIT), Stage("wait: second centre", Role.WAIT)
WORKS = Stage("at first centre", Role.HYPERVISOR), Stage("at second centre", Role.HYPERVISOR)


class Tandem(Mechanism):
    """Two centres, one after the other.

    Attributes:
        second: time at the second one; at the first it is the device's.
    """

    second: Distribution

    def access(self, host: Host, access: AccessClass) -> Steps:
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


def repairman(n: int) -> Closed:
    """The VMM's lock is the repairman: whoever is at the device holds it."""
    return Closed(
        n=n, think=8.0, demands=(2.0,), mechanism=lambda: make_mechanism("hypercall"),
        stages=((WAIT_VMM_LOCK, EMULATE),), centres=("VMM lock",),
    )  # fmt: skip


def tandem(n: int, think: float, first: float, second: float) -> Closed:
    """Two first-come-first-served exponential centres."""
    return Closed(
        n=n, think=think, demands=(first, second),
        mechanism=lambda: checked(Tandem, {"second": exponential(second)}),
        stages=tuple(zip(LINES, WORKS, strict=True)), centres=(FIRST.name, SECOND.name),
    )  # fmt: skip


NETWORKS = {
    "repairman, 3 machines": repairman(3),
    "repairman, 8 machines": repairman(8),
    "two centres": tandem(4, 5.0, 2.0, 1.0),
    "two centres, one nearly saturated": tandem(6, 4.0, 1.0, 2.0),
}


def present(begin: Times, end: Times, moments: tuple[int, int]) -> float:
    """How many intervals there are at a time, on average between two moments."""
    early, late = moments
    overlap = np.minimum(end, late) - np.maximum(begin, early)
    return float(np.maximum(overlap, 0).sum()) / (late - early)


@ENGINES
@pytest.mark.parametrize("name", NETWORKS)
def test_a_closed_network_does_what_mean_value_analysis_says(name: str, engine: EngineName) -> None:
    network, effort = NETWORKS[name], EFFORT[engine]
    exact = analytic.mva(network.demands, network.think, network.n)
    bounds = analytic.asymptotic_bounds(network.demands, network.think, network.n)
    # Watched from the first tenth on, and until long before any vCPU has made its last round.
    late = round(effort.rounds * network.n / exact.throughput * US)
    moments = round(CUT * late), late
    guest = checked(
        Spread,
        {
            "kind": "spread", "operations": effort.rounds + round(8 * effort.rounds**0.5),
            "vcpus": network.n, "between": exponential(network.think),
            "emulate": exponential(network.demands[0]), "space": "mmio", "read_share": 1.0,
        },
    )  # fmt: skip
    rounds, responses = [], []
    busy: list[list[float]] = [[] for _ in network.centres]
    queues: list[list[float]] = [[] for _ in network.centres]
    for result in replications(name, network.mechanism(), lambda _: guest, engine):
        assert min(result.finish) > late
        columns = result.to_columns()
        done = columns["done"]
        inside = (done > moments[0]) & (done <= late)
        rounds.append(float(inside.sum()) / (late - moments[0]) * US)
        responses.append(float((done - columns["start"])[inside].mean()) / US)
        at = columns["start"]
        for k, ((line, work), centre) in enumerate(
            zip(network.stages, network.centres, strict=True)
        ):
            waited, served = columns[f"stage: {line.name}"], columns[f"stage: {work.name}"]
            queues[k].append(present(at, at + waited + served, moments))
            busy[k].append(present(at + waited, at + waited + served, moments))
            at = at + waited + served
            # What a centre adds up itself is what its customers do: Little's law, exactly.
            use = resource(result, centre)
            assert (use.busy, use.waiting) == (int(served.sum()), int(waited.sum()))
            assert use.mean_queue == int(waited.sum()) / result.completion
            assert use.takes == len(done)
        assert np.array_equal(at, done)
    within = effort.closed
    holds("throughput", rounds, exact.throughput, within)
    holds("response", responses, exact.response, 1.5 * within)
    for k, centre in enumerate(network.centres):
        holds(f"utilisation of the {centre}", busy[k], exact.utilisations[k], within)
        holds(f"number at the {centre}", queues[k], exact.queues[k], 2 * within)
    assert bounds.throughput_low < np.mean(rounds) < bounds.throughput_high
    if len(network.demands) == 1:
        lone = analytic.repairman(network.n, network.think, network.demands[0])
        holds("the repairman's throughput", rounds, lone, within)
