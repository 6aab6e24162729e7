"""Exact results of queueing theory: queues, networks, pollers, batches and notification.

What is constant is compared as it is, what is random by the interval of independent replications.
"""

from __future__ import annotations

from collections.abc import Iterator

from vmexit_sim import analytic
from vmexit_sim.configuration import checked
from vmexit_sim.guest.generators import Spread
from vmexit_sim.mechanisms import make_mechanism
from vmexit_sim.mechanisms.batched_hypercall import WAIT_IN_BATCH
from vmexit_sim.statistics import Estimate, exact, mean
from vmexit_sim.statistics.text import number
from vmexit_sim.study.break_even import EFFECT, WAITING, break_even
from vmexit_sim.study.notification import by_speed
from vmexit_sim.study.side_cores import polled
from vmexit_sim.units import MICROSECOND, NANOSECOND, format_time
from vmexit_sim.validation.claim import FLOATING, ROW_CONFIDENCE, Claim, Expected, in_row
from vmexit_sim.validation.closed_networks import NETWORKS, circling, watched
from vmexit_sim.validation.open_queues import QUEUES, posted, seen
from vmexit_sim.validation.replications import CUT, FULL, QUICK, Effort, exponential, replications

KLEINROCK = "Kleinrock, Queueing Systems 1 (1975)"
LITTLE = "Little (1961)"
MVA = "Reiser and Lavenberg, J. ACM 27 (1980)"
DENNING = "Denning and Buzen, ACM Computing Surveys 10 (1978)"
WOLFF = "Wolff, Operations Research 30 (1982)"
SOURCES = {
    "Erlang C": "Cooper, Introduction to Queueing Theory (1981), 3.3",
    "M^[X]/M/1": "Gross and Harris, Fundamentals of Queueing Theory (1985), 3.1",
}
"""Where the laws stand that `KLEINROCK` does not cover here."""

SPINNERS = "two vCPUs at the config lock"


def queueing_claims(*, quick: bool) -> Iterator[Claim]:
    """A claim for each quantity of each system that theory knows.

    Args:
        quick: simulate less, so that intervals are wider.
    """
    effort = QUICK if quick else FULL
    yield from _open_queues(effort)
    yield from _closed_networks(effort)
    yield from _pollers(quick=quick)
    yield from _batches(effort, quick=quick)
    yield from _notification()


def _theory(
    group: str, claim: str, source: str, value: float, simulated: Estimate, tolerance: float = 0.0
) -> Claim:
    text = format_time(value, 4) if simulated.unit == "ps" else number(value, 4)
    return Claim(
        kind="queueing", group=group, claim=claim, source=source, role="theory",
        expected=Expected.exactly(value, text), simulated=simulated, tolerance=tolerance,
    )  # fmt: skip


def _mean(values: list[float], unit: str = "1") -> Estimate:
    return mean(values, confidence=ROW_CONFIDENCE, unit=unit)


def _times(values: list[float]) -> Estimate:
    """Of times in us."""
    return _mean([value * MICROSECOND for value in values], "ps")


def _open_queues(effort: Effort) -> Iterator[Claim]:
    lawful: list[float] = []
    for name, queue in QUEUES.items():
        found = seen(name, posted(name, effort))
        lawful += found["Little"]
        source = SOURCES.get(queue.law, KLEINROCK)
        group = f"{name}, {queue.load:.0%} busy".replace(", half busy", "")
        yield _theory(group, f"mean wait: {queue.law}", source, queue.wait * MICROSECOND,
                      _times(found["wait"]))  # fmt: skip
        yield _theory(group, "mean number there: Little's law", LITTLE,
                      queue.rate * (queue.wait + 1), _mean(found["number there"]))  # fmt: skip
        yield _theory(group, "utilisation of the servers: lambda S / c", DENNING, queue.load,
                      _mean(found["utilisation"]))  # fmt: skip
        if queue.delayed is not None:
            law, where = ("PASTA", WOLFF) if queue.servers == 1 else ("Erlang C", source)
            yield _theory(group, f"share of arrivals that find all servers busy: {law}",
                          where, queue.delayed,
                          _mean(found["delayed"]))  # fmt: skip
        if name == "M/M/1, half busy":
            for q in (0.9, 0.99):
                yield _theory(
                    group,
                    f"share of responses beyond the {q:g}-quantile of the exponential",
                    KLEINROCK,
                    1 - q,
                    _mean(found[f"beyond {q}"]),
                )
    yield _theory("all open queues", "share of runs that obey Little's law to the picosecond",
                  LITTLE, 1.0, exact(sum(lawful) / len(lawful), unit="1"))  # fmt: skip


def _closed_networks(effort: Effort) -> Iterator[Claim]:
    lawful: list[bool] = []
    for name, network in NETWORKS.items():
        found, known, bounds = (
            watched(name, effort, circling(name, effort)),
            network.exact,
            network.bounds,
        )
        lawful += found.lawful
        rounds = _mean(found.rounds, "1/µs")
        if len(network.demands) == 1:
            yield _theory(
                name,
                "throughput: M/M/1//N",
                "the birth-death chain's p0",
                analytic.repairman(network.n, network.think, network.demands[0]),
                rounds,
            )
        else:
            yield _theory(name, "throughput: mean value analysis", MVA, known.throughput, rounds)
        yield _theory(name, "mean response: mean value analysis", MVA,
                      known.response * MICROSECOND, _times(found.responses))  # fmt: skip
        for k, centre in enumerate(network.centres):
            yield _theory(name, f"utilisation of the {centre}: X D", DENNING,
                          known.utilisations[k], _mean(found.busy[k]))  # fmt: skip
            yield _theory(name, f"mean number at the {centre}: mean value analysis", MVA,
                          known.queues[k], _mean(found.queues[k]))  # fmt: skip
        low, high = bounds.throughput_low, bounds.throughput_high
        yield Claim(
            kind="queueing", group=name, claim="throughput within the asymptotic bounds",
            source=DENNING, role="theory", simulated=rounds,
            expected=Expected.between(low, high, f"{number(low)} … {number(high)}"),
        )  # fmt: skip
    yield _theory("all closed networks", "share of runs in which each centre's own account is what "
                  "its customers did, to the picosecond", LITTLE, 1.0,
                  exact(sum(lawful) / len(lawful), unit="1"))  # fmt: skip
    yield _spinners(effort)


def _spinners(effort: Effort) -> Claim:
    think, hold = 4.0, 2.0
    guest = checked(Spread, {
        "kind": "spread", "operations": 4 * effort.rounds, "vcpus": 2, "space": "pci_config",
        "between": exponential(think), "emulate": f"{hold:g} us", "read_share": 1.0,
    })  # fmt: skip
    rates = []
    for result in replications(SPINNERS, make_mechanism("trap_pio"), lambda _: guest, effort):
        done = result.to_columns()["done"]
        late = min(result.finish)
        early = round(CUT * late)
        rates.append(float(((done > early) & (done <= late)).sum()) / (late - early) * MICROSECOND)
    return _theory(
        SPINNERS, "throughput, held for a constant time: 1 / (S + Z/2 exp(-S/Z))",
        "derived in vmexit_sim.analytic.two_spinners", analytic.two_spinners(think, hold),
        _mean(rates, "1/µs"),
    )  # fmt: skip


def _pollers(*, quick: bool) -> Iterator[Claim]:
    number, runs = (12_000, 6) if quick else (120_000, 12)
    for queues in (1, 8, 12):
        found = polled(queues, 30_000, 2 * MICROSECOND, 100 * NANOSECOND, number=number,
                       replications=runs)  # fmt: skip
        group = f"a side core that polls {queues} queue{'s' * (queues > 1)}, {found.load:.0%} busy"
        vacation = " (M/D/1 with vacations)" * (queues == 1)
        yield _theory(group, f"mean wait: (rho S + r (q - rho)) / (2 (1 - rho)){vacation}",
                      "Takagi, Analysis of Polling Systems (1986)", found.exact_wait,
                      in_row(found.wait))  # fmt: skip
        yield _theory(group, "mean cycle: q r / (1 - rho)",
                      "Takagi, Analysis of Polling Systems (1986)", found.exact_cycle,
                      in_row(found.cycle))  # fmt: skip


def _batches(effort: Effort, *, quick: bool) -> Iterator[Claim]:
    accesses, runs = (800, 6) if quick else (10_000, 10)
    for criterion, law, source in (
        (WAITING, "k/2", "derived in vmexit_sim.analytic.batching_pays_from"),
        (EFFECT, "M/D/1 against E_k/D/1", "Crommelin (1932), by latency_break_even"),
    ):
        for k in (2, 4, 8) if criterion is WAITING else (2, 4):
            found = break_even(criterion, k, accesses=accesses, replications=runs)
            assert found.exact is not None, "both criteria have a break-even"
            assert found.simulated is not None, "all replications cross"
            yield _theory(
                f"when batches pay: {criterion.title}",
                f"break-even of batches of {k}, in accesses per exit's time: {law}", source,
                found.exact, in_row(found.simulated),
            )  # fmt: skip
    yield from _gathering(effort)


def _gathering(effort: Effort) -> Iterator[Claim]:
    """One access a microsecond on average, on a host where nothing takes time."""
    group, source = "how long accesses gather", "Heyman, Operations Research 16 (1968): N-policy"
    guest = checked(Spread, {
        "kind": "spread", "operations": effort.accesses // 3, "between": exponential(1.0),
        "space": "mmio", "read_share": 0.0,
    })  # fmt: skip

    def gathered(name: str, **parameters: object) -> tuple[Estimate, Estimate]:
        mechanism = make_mechanism({"name": "batched_hypercall", "needs": "oracle",
                                    "flush_at_operation_end": False, **parameters})  # fmt: skip
        sizes, waits = [], []
        for result in replications(name, mechanism, lambda _: guest, effort):
            accesses, batches = result.summary.accesses, result.exits_of("VMCALL")
            sizes.append(accesses / batches)
            waits.append(result.stage_times()[WAIT_IN_BATCH.name] / accesses)
        return _mean(sizes), _mean(waits, "ps")

    _, waits = gathered("eight gather", max_batch=8)
    yield _theory(group, "mean wait until 8 are there: (k - 1) / (2 lambda)", source,
                  analytic.fill_wait(1.0, 8) * MICROSECOND, waits)  # fmt: skip
    timer = 5.0
    sizes, waits = gathered("a timer flushes", max_batch=4096, max_wait=f"{timer:g} us")
    source = "arrivals within T of the first are Poisson's; derived"
    yield _theory(group, "mean size of what a timer T flushes: 1 + lambda T", source, 1 + timer,
                  sizes)  # fmt: skip
    yield _theory(group, "mean wait for the timer: T (1 + lambda T / 2) / (1 + lambda T)", source,
                  timer * (1 + timer / 2) / (1 + timer) * MICROSECOND, waits)  # fmt: skip


def _notification() -> Iterator[Claim]:
    source = "derived in vmexit_sim.analytic.producer_consumer"
    for point in by_speed("kvm-2017", produce=2 * MICROSECOND, wake_up=5 * MICROSECOND,
                          shares=(0.25, 0.9, 1.5)):  # fmt: skip
        group = "a virtqueue's producer and consumer, constant times"
        which = f"consumer at {point.share:g} of the producer's time"
        yield _theory(group, f"{which}: kicks per item", source, point.kicks[0],
                      exact(point.kicks[1], unit="1"), FLOATING)  # fmt: skip
        yield _theory(group, f"{which}: throughput", source, point.rate[0],
                      exact(point.rate[1], unit="1/s"), FLOATING)  # fmt: skip
