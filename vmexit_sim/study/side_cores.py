"""Side cores: the exits that they spare, and how long requests wait for one that many queues share.

The guest is an open loop: every vCPU makes requests at the moments of a Poisson process, so that
the queues' waiting times are those of a polling system.
"""

from __future__ import annotations

from dataclasses import dataclass

from vmexit_sim import statistics
from vmexit_sim.analytic import polling_cycle, polling_wait
from vmexit_sim.configuration import checked
from vmexit_sim.guest.generators import Spread
from vmexit_sim.hypervisor.platform import load_platform
from vmexit_sim.hypervisor.stages import EOI_EXIT, INTERRUPT_EXIT, MMIO_EXIT
from vmexit_sim.measure.records import RunResult
from vmexit_sim.mechanisms.side_core import SideCore
from vmexit_sim.policy import Policy, Rule, load_policy
from vmexit_sim.statistics import Estimate
from vmexit_sim.study.simulate import simulate
from vmexit_sim.units import MICROSECOND, SECOND


def requests(*, vcpus: int, rate: float, service: int, number: int) -> Spread:
    """Requests of vCPUs that wait for nothing.

    Args:
        vcpus: how many.
        rate: requests of each, per second.
        service: time that serving one takes (ps).
        number: requests of all vCPUs together.
    """
    return checked(Spread, {
        "kind": "spread", "operations": max(number // vcpus, 1), "vcpus": vcpus, "between": "0 s",
        "arrivals": {"kind": "exponential", "mean": f"{round(SECOND / rate)} ps"}, "read_share": 0,
        "space": "doorbell", "emulate": f"{service} ps",
    })  # fmt: skip


def share_of(result: RunResult, ending: str) -> float:
    """The utilisation of the resource whose name ends like this; 0 if there is none."""
    return next((use.utilisation for use in result.resources if use.name.endswith(ending)), 0.0)


@dataclass(frozen=True, kw_only=True)
class ExitRates:
    """What a guest with one vCPU comes to under a policy.

    Attributes:
        kicks: exits by doorbells, per second.
        injections: exits by interrupts for the guest, per second.
        ends: exits by their ends, per second.
        total: all exits per second.
        busy: the share of its time that a side core is on.
        at_work: the share of its time that it serves requests.
    """

    kicks: Estimate
    injections: Estimate
    ends: Estimate
    total: Estimate
    busy: Estimate
    at_work: Estimate

    @property
    def rates(self) -> tuple[Estimate, ...]:
        """Kicks, injections, ends and all exits."""
        return self.kicks, self.injections, self.ends, self.total

    @property
    def thousands(self) -> tuple[float, float, float]:
        """All exits, in thousands per second, with the ends of the interval."""
        return self.total.value / 1e3, self.total.low / 1e3, self.total.high / 1e3


WAYS = {
    "kicks": ("vhost", "exit"),
    "kicks, posted": ("vhost", "posted"),
    "side core": ("spdk-like", "exit"),
    "side core, posted": ("spdk-like", "posted"),
}
"""Ways to notify and to interrupt: a shipped policy, and how interrupts are delivered."""


def exit_rates(way: str, platform: str, guest: Spread, *, replications: int) -> ExitRates:
    """Exits per second, and what a side core does meanwhile.

    Args:
        way: one of `WAYS`.
        platform: a shipped platform's name.
        guest: its requests.
        replications: how many.
    """
    name, delivery = WAYS[way]
    policy = load_policy(name).model_copy(update={"delivery": delivery})
    host = load_platform(platform)
    runs = [
        simulate(policy, host, guest, replication=replication)
        for replication in range(replications)
    ]

    def of(values: list[float]) -> Estimate:
        return statistics.mean(values, unit="1")

    def rate(reason: str) -> Estimate:
        return of([run.exits_of(reason) * SECOND / run.completion for run in runs])

    return ExitRates(
        kicks=rate(MMIO_EXIT),
        injections=rate(INTERRUPT_EXIT),
        ends=rate(EOI_EXIT),
        total=of([run.summary.exits * SECOND / run.completion for run in runs]),
        busy=of([share_of(run, ": core") for run in runs]),
        at_work=of([share_of(run, ": core at work") for run in runs]),
    )


@dataclass(frozen=True, kw_only=True)
class Polled:
    """A side core that polls some queues, simulated beside exact; times in ps.

    Attributes:
        queues: how many.
        load: the share of its time that the core must work.
        wait: mean time from a request until the core begins to serve it.
        exact_wait: the same, by theory.
        cycle: mean time from one visit of a queue to the next.
        exact_cycle: the same, by theory.
    """

    queues: int
    load: float
    wait: Estimate
    exact_wait: float
    cycle: Estimate
    exact_cycle: float

    @property
    def microseconds(self) -> tuple[float, float, float]:
        """The simulated wait, in µs, with the ends of the interval."""
        wait = self.wait
        return wait.value / MICROSECOND, wait.low / MICROSECOND, wait.high / MICROSECOND

    @property
    def told(self) -> list[str]:
        """For people: exact and simulated wait, how far off, exact and simulated cycle, in µs."""
        wait, cycle = (
            f"{each.value / MICROSECOND:.4g} ± {each.half_width / MICROSECOND:.1g}"
            for each in (self.wait, self.cycle)
        )
        off = f"{self.wait.value / self.exact_wait - 1:+.1%}"
        exact = (f"{time / MICROSECOND:.4g}" for time in (self.exact_wait, self.exact_cycle))
        return [next(exact), wait, off, next(exact), cycle]


def polled(
    queues: int, rate: float, service: int, look: int, *, number: int, replications: int
) -> Polled:
    """A side core with so many queues, each with Poisson requests and constant service.

    Args:
        queues: one of each vCPU.
        rate: requests to each, per second.
        service: time of one (ps).
        look: time that the core takes from one queue to the next (ps).
        number: requests of all vCPUs together, in one replication.
        replications: how many.
    """
    platform = load_platform("ideal", changes={"poll_queue": f"{look} ps"})
    policy = Policy(title="polled", rules=[
        Rule(side="host", mechanism=SideCore(completions="none", depth=4096))
    ])  # fmt: skip
    guest = requests(vcpus=queues, rate=rate, service=service, number=number)
    waits, cycles = [], []
    for replication in range(replications):
        rows = simulate(policy, platform, guest, replication=replication, keep_rows=True)
        columns = rows.to_columns()
        # Steady from a tenth on, until the first vCPU has made its last request.
        end = min(columns["posted"][columns["vcpu"] == vcpu].max() for vcpu in range(queues))
        begin = end // 10
        steady = (columns["posted"] >= begin) & (columns["posted"] < end)
        waits.append(columns["stage: wait in ring"][steady].mean())
        # Whatever time is no work is looks.
        looking = 1 - steady.sum() * service / (end - begin)
        cycles.append(queues * look / looking)
    each = rate / SECOND
    return Polled(
        queues=queues,
        load=queues * each * service,
        wait=statistics.mean(waits),
        exact_wait=polling_wait(queues, each, service, look),
        cycle=statistics.mean(cycles),
        exact_cycle=polling_cycle(queues, each, service, look),
    )
