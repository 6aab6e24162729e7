"""The closed loop: vCPUs that compute, access, and compute again.

A vCPU is a customer, a lock a centre, compute and what an access does without a lock the thinking.

Sources: P. J. Denning and J. P. Buzen, The operational analysis of queueing network models, ACM
Computing Surveys 10 (1978), for bounds and the response-time law; F. Baskett, K. M. Chandy,
R. R. Muntz and F. G. Palacios, Open, closed, and mixed networks of queues with different classes of
customers, J. ACM 22 (1975), for what makes a network's formula exact.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from vmexit_sim.analytic import asymptotic_bounds, mva, repairman
from vmexit_sim.demand import Sum
from vmexit_sim.distributions import Exponential
from vmexit_sim.guest.generators import RequestResponse, Spread
from vmexit_sim.guest.workload import Scaled, Workload
from vmexit_sim.measure.records import RunResult
from vmexit_sim.study.twin.case import Case, Said, average, equal, none
from vmexit_sim.units import SECOND

LEAST_ROUNDS = 200
"""So many operations of a vCPU make the first tenth, which is left out, long against one round."""


def closed_loop(case: Case) -> Iterator[Said]:
    """What theory says of vCPUs that wait for no arrival."""
    completion = case.sampled("completion")
    if case.vcpus == 1:
        busy = average([draws.compute + draws.stall for draws in case.own])
        surely = case.surely_free and not case.refills
        yield {
            "quantity": "completion", "simulated": completion, "low": busy,
            "high": busy if surely else math.inf, "law": "sum of costs",
            "standing": "identity" if surely else "bound",
            "assumes": "one vCPU computes or stalls; nothing else takes its time" if surely
            else "compute and stalls, nobody waiting, at least",
        }  # fmt: skip
        return
    if not all(run.completion for run in case.runs):
        return  # an ideal host and a guest that computes nothing: there is no rate
    yield from _bounds(case)
    if not case.refills:
        simulated = [run.summary.latencies["stall"].mean for run in case.runs]
        stalls = [
            (sum(run.finish[: run.vcpus]) - draws.compute) / draws.accesses
            for run, draws in zip(case.runs, case.own, strict=True)
        ]
        yield equal(
            average(stalls), quantity="stall of an access", law="response-time law",
            simulated=case.estimate(simulated, "ps"), standing="identity",
            assumes="R = N/X - Z: until it halts, a vCPU computes or stalls",
        )  # fmt: skip
    if any(draws.locked.total() for draws in case.own):
        yield _network(case)


def _bounds(case: Case) -> Iterator[Said]:
    """Bounds on throughput that hold for each run, since all they use are its own sums.

    The upper one is for the throughput up to the last vCPU's end, which is at most that of the
    mean end. The lower one is for accesses per vCPU and time until it halts: at any moment at which
    anyone waits for a lock, some lock's holder works.
    """
    lows, highs = [], []
    for draws in case.own:
        n, locked = draws.accesses, draws.locked
        spent = (draws.compute + draws.stall) / n
        free = asymptotic_bounds([], spent, case.vcpus).throughput_high
        longest = max((draws.holds[name] / case.servers[name] for name in case.locks), default=0)
        highs.append(min(free, n / longest if longest else math.inf) * SECOND)
        demands = [time / n for time in locked.values()]
        bounds = asymptotic_bounds(demands, max(spent - sum(demands), 0.0), case.vcpus)
        lows.append(bounds.throughput_low * SECOND)
    accesses = [draws.accesses for draws in case.own]
    whole = [n * SECOND / run.completion for n, run in zip(accesses, case.runs, strict=True)]
    yield {
        "quantity": "throughput", "simulated": case.estimate(whole, "1/s"), "low": 0.0,
        "high": average(highs), "law": "asymptotic bound", "standing": "bound",
        "assumes": "at best nobody waits, or the busiest lock never rests",
    }  # fmt: skip
    if case.posts or case.refills or case.by_others & set(case.locks):
        return
    alive = [
        n * case.vcpus * SECOND / sum(run.finish[: run.vcpus])
        for n, run in zip(accesses, case.runs, strict=True)
    ]
    yield {
        "quantity": "throughput, by vCPUs' own time", "simulated": case.estimate(alive, "1/s"),
        "low": average(lows), "high": math.inf, "law": "asymptotic bound", "standing": "bound",
        "assumes": "at worst everybody waits for all others at every lock",
    }  # fmt: skip


def _network(case: Case) -> Said:
    """One lock: the machine repairman; several: mean value analysis."""
    quantity = "throughput while all run"
    if max(case.servers.values()) > 1:
        return none(quantity, "a lock that several can hold at a time is no centre of one server")
    if not all(run.summary.keep_rows for run in case.runs):
        return none(quantity, "there are too many accesses to keep the moment of each")
    if not all(min(run.finish[: run.vcpus]) for run in case.runs):
        return none(quantity, "some vCPU has nothing to do")
    simulated = case.estimate([while_all_run(run) * SECOND for run in case.runs], "1/s")
    n = sum(draws.accesses for draws in case.own)
    stations = list(dict.fromkeys(name for draws in case.own for name in draws.locked))
    demands = [sum(draws.locked[name] for draws in case.own) / n for name in stations]
    spent = sum(draws.compute + draws.stall for draws in case.own) / n
    think = max(spent - sum(demands), 0.0)
    why_not = _no_product_form(case, stations)
    one = len(stations) == 1 and think > 0
    throughput = (
        repairman(case.vcpus, think, demands[0])
        if one
        else mva(demands, think, case.vcpus).throughput
    )
    return equal(
        throughput * SECOND, quantity=quantity, simulated=simulated,
        law="machine repairman" if one else "mean value analysis",
        standing="approximation" if why_not else "exact",
        assumes=why_not
        or "exponential holds, first come first served, any thinking; means as drawn, long run",
    )  # fmt: skip


def _no_product_form(case: Case, stations: list[str]) -> str:
    """Why a network of locks is no product-form one; empty: it is."""
    if case.refills:
        return "exits lengthen the compute of the next access"
    if case.posts or case.by_others & set(stations):
        return "others than the vCPUs use a lock, or work is left behind"
    guest = _bare(case)
    if not isinstance(guest, (Spread, RequestResponse)):
        return "accesses come in a pattern, not independently of each other"
    rounds = guest.operations if isinstance(guest, Spread) else guest.requests
    if rounds < LEAST_ROUNDS:
        return f"with fewer than {LEAST_ROUNDS} rounds a vCPU, how the run starts matters"
    nested = {
        hold.queue.name for demand in case.demands.values() for hold in demand.holds if hold.within
    }
    if nested & set(stations):
        return "a lock is held while its holder waits for another"
    for name in stations:
        laws_of_hold = {
            _law_of_hold(case, demand.locked[name])
            for demand in case.demands.values()
            if name in demand.locked
        }
        if len(laws_of_hold) != 1 or None in laws_of_hold:
            return f"{name} is not held for exponential times of one law"
    return ""


def _bare(case: Case) -> Workload:
    """The guest, whatever its compute is multiplied by."""
    guest = case.workload
    while isinstance(guest, Scaled):
        guest = guest.workload
    return guest


def _law_of_hold(case: Case, hold: Sum) -> str | None:
    """The name and law of a hold that is exponential; None: it is not."""
    if hold.constant or len(hold.terms) != 1 or hold.terms[0][1] != 1:
        return None
    column = hold.terms[0][0]
    draw = case.lowered.program.draws.get(str(column))
    guest = _bare(case)
    of_guest = getattr(guest, "emulate", getattr(guest, "service", None))
    duration = draw.duration if draw else of_guest if column == "emulate" else None
    if isinstance(duration, Exponential) and duration.shift == 0:
        return f"{duration.mean}"
    return None


def while_all_run(result: RunResult, skipped: float = 0.1) -> float:
    """Accesses per ps that vCPUs went on from while none of them had halted yet.

    Throughput from the completion time would be too low: in the end only the slowest run.

    Args:
        result: of a run that kept its rows.
        skipped: the share of this time that is left out at the start, where all still think.
    """
    end = min(result.finish[: result.vcpus])
    begin = skipped * end
    resumed: Sequence[int] = [
        int(((begin < block.resume) & (block.resume <= end)).sum()) for block in result.summary.rows
    ]
    return sum(resumed) / (end - begin)
