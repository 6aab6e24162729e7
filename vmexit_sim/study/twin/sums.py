"""Sums and laws that hold whatever the guest: what paths cost, and what locks see.

Sources: P. J. Denning and J. P. Buzen, The operational analysis of queueing network models, ACM
Computing Surveys 10 (1978), for the utilisation law; J. D. C. Little, A proof for the queuing
formula L = λW, Operations Research 9 (1961).
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from vmexit_sim.analytic import utilisation
from vmexit_sim.program import Op
from vmexit_sim.steps import Role, Stage
from vmexit_sim.study.twin.case import Case, Said, average, equal


def sum_of_costs(case: Case) -> Iterator[Said]:
    """Every access pays its own path; what it pays beyond that is waiting."""
    law = "sum of costs"
    stages = (stage for draws in case.kept for stage in draws.stages)
    for stage in dict.fromkeys([*stages, *case.outcome.stages]):
        if stage.role in (Role.ACCESS, Role.HYPERVISOR):
            yield equal(
                average([draws.stages[stage] for draws in case.kept]),
                quantity=f"time in stage {stage.name}",
                simulated=case.sampled(f"stage.{stage.name}"), law=law, standing="identity",
                assumes="each access spends what its path costs, whoever waits", is_part=True,
            )  # fmt: skip
    yield equal(
        average([draws.exits for draws in case.kept]),
        quantity="VM exits",
        simulated=case.sampled("exits"),
        law=law,
        standing="identity",
        assumes="each access exits as often as its path does",
    )
    least = average([draws.stall / draws.accesses for draws in case.kept])
    stall = case.sampled("stall.mean")
    if not case.surely_free:
        yield {
            "quantity": "stall of an access", "simulated": stall, "low": least, "high": math.inf,
            "law": law, "standing": "bound", "assumes": "nobody waits: a lower bound where some do",
        }  # fmt: skip
    else:
        yield equal(
            least, quantity="stall of an access", simulated=stall, law=law, standing="identity",
            assumes="nobody can be in an access's way",
        )  # fmt: skip
        effects = [draws.effect for draws in case.kept if draws.effect is not None]
        if case.is_open or len(effects) < len(case.kept):
            return
        yield equal(
            average([e / d.accesses for e, d in zip(effects, case.kept, strict=True)]),
            quantity="effect of an access",
            simulated=case.sampled("effect.mean"),
            law=law,
            standing="identity",
            assumes="nobody can be in an access's way",
        )  # fmt: skip


def lock(case: Case, name: str) -> Iterator[Said]:
    """What two laws say of a lock: how busy it is, and how many wait."""
    uses = [run.resource(name) for run in case.runs]
    known = [
        (use, draws)
        for use, draws in zip(uses, case.own, strict=True)
        if use is not None and use.span
    ]
    if len(known) < len(uses):
        return
    by_law = [
        utilisation(
            draws.takes[name] / use.span, draws.holds[name] / max(draws.takes[name], 1), use.tokens
        )
        for use, draws in known
    ]
    waits_inside = any(
        set(hold.around) & case.contended
        for demand in case.demands.values()
        for hold in demand.holds
        if hold.queue.name == name
    )
    is_least = waits_inside or name in case.by_others
    yield {
        "quantity": f"utilisation of {name}",
        "simulated": case.estimate([use.utilisation for use, _ in known], "1"),
        "low": average(by_law),
        "high": 1.0 if is_least else average(by_law),
        "law": "utilisation law",
        "standing": "bound" if is_least else "identity",
        "assumes": "others use it too, or its holders wait for another lock: a lower bound"
        if is_least
        else "U = X S: how often it is taken, times how long each access holds it",
        "is_part": not any(by_law),
    }  # fmt: skip
    stage = _waiting_stage(case, name)
    if stage is not None:
        waited = [run.stage_times().get(stage.name, 0) for run in case.runs]
        yield equal(
            average([time / use.span for time, (use, _) in zip(waited, known, strict=True)]),
            quantity=f"mean queue at {name}",
            simulated=case.estimate([use.mean_queue for use, _ in known], "1"),
            law="Little's law", standing="identity",
            assumes="L = λ W: how often it is waited for, times the wait booked on accesses",
            is_part=name not in case.contended,
        )  # fmt: skip


def _waiting_stage(case: Case, name: str) -> Stage | None:
    """The stage that is booked for waiting at a queue and nowhere else, on accesses."""
    program = case.lowered.program
    takes = {
        (program.queues[row[7]].name, program.stages[row[9]])
        for row in program.rows
        if row[0] in (Op.TAKE, Op.TIMED_TAKE)
    }
    stages = {stage for queue, stage in takes if queue == name}
    if len(stages) != 1 or name in case.by_others:
        return None
    (stage,) = stages
    return stage if {queue for queue, other in takes if other == stage} == {name} else None
