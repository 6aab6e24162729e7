"""Commands that draw what policies cost, and how latencies are spread."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from vmexit_sim.cli.app import Engine, Json, Names, OptionalCount, cores, status
from vmexit_sim.cli.changes import Changes
from vmexit_sim.cli.comparing import DEFAULT
from vmexit_sim.cli.picture import Latency, Picture, figure_app, one_guest, trust
from vmexit_sim.errors import InputError


@figure_app.command
def policies(
    scenario: str = DEFAULT,
    /,
    *,
    picture: Picture,
    policy: Names = None,
    block: str | None = None,
    log: Annotated[bool, Parameter(negative=())] = False,
    engine: Engine = "auto",
    jobs: OptionalCount = None,
    changes: Changes = Changes(),  # noqa: B008 - frozen
    json: Json = False,
) -> None:
    """What each policy costs: bars of the time added, with intervals.

    Parameters
    ----------
    scenario
        As for `compare`.
    policy
        The policies; by default the scenario's.
    block
        The guest's name, or how it begins, where the scenario has several.
    log
        Make the axis of time logarithmic.
    engine
        What runs it: auto, compiled or simpy; the numbers are the same to the last bit.
    jobs
        Replications that run at a time; by default as many as there are cores.
    json
        Print one JSON document with the numbers drawn.
    """
    from vmexit_sim.present import figures
    from vmexit_sim.study.compare import compare

    _ = picture.file
    opened, _block = one_guest(changes.opened(scenario, policy), block)
    with status() as tell:
        (outcome,) = compare(opened, tell, engine=engine, jobs=cores(jobs)).blocks
    picture.write(
        figures.policy_bars(outcome, log=log, width=picture.inches), figures.policy_frame(outcome),
        f"hypervisor time by policy, {outcome.name}; {trust(opened)}", json=json,
    )  # fmt: skip


@figure_app.command
def stages(
    scenario: str = DEFAULT,
    /,
    *,
    picture: Picture,
    policy: Names = None,
    block: str | None = None,
    engine: Engine = "auto",
    jobs: OptionalCount = None,
    changes: Changes = Changes(),  # noqa: B008 - frozen
    json: Json = False,
) -> None:
    """Where the vCPU's time goes: stacked bars of the parts of an exit.

    Parameters
    ----------
    scenario
        As for `compare`.
    policy
        The policies; by default the scenario's.
    block
        The guest's name, or how it begins, where the scenario has several.
    engine
        What runs it: auto, compiled or simpy; the numbers are the same to the last bit.
    jobs
        Replications that run at a time; by default as many as there are cores.
    json
        Print one JSON document with the numbers drawn.
    """
    from vmexit_sim.present import figures
    from vmexit_sim.study.compare import compare

    _ = picture.file
    opened, _block = one_guest(changes.opened(scenario, policy), block)
    with status() as tell:
        (outcome,) = compare(opened, tell, engine=engine, jobs=cores(jobs)).blocks
    picture.write(
        figures.stage_breakdown(outcome, width=picture.inches), figures.stage_frame(outcome),
        f"time by stage, {outcome.name}; {trust(opened)}", json=json,
    )  # fmt: skip


@figure_app.command
def latency(
    scenario: str = DEFAULT,
    /,
    *,
    picture: Picture,
    policy: Names = None,
    of: Latency = "stall",
    block: str | None = None,
    engine: Engine = "auto",
    jobs: OptionalCount = None,
    changes: Changes = Changes(),  # noqa: B008 - frozen
    json: Json = False,
) -> None:
    """How latencies of single accesses are spread, with a logarithmic tail.

    Parameters
    ----------
    scenario
        As for `compare`.
    policy
        The policies; by default the scenario's.
    of
        Which latency: stall, response or effect.
    block
        The guest's name, or how it begins, where the scenario has several.
    engine
        What runs it: auto, compiled or simpy; the numbers are the same to the last bit.
    jobs
        Replications that run at a time; by default as many as there are cores.
    json
        Print one JSON document with the numbers drawn.
    """
    from vmexit_sim.present import figures
    from vmexit_sim.study.latencies import latency_spread

    _ = picture.file
    opened, guest = one_guest(changes.opened(scenario, policy), block)
    with status() as tell:
        found = latency_spread(opened, guest, of, engine=engine, jobs=cores(jobs), progress=tell)
    picture.write(figures.latency_figure(found, width=picture.inches),
                  figures.latency_frame(found), found.basis, json=json)  # fmt: skip


@figure_app.command
def tail(
    scenario: str = DEFAULT,
    /,
    *,
    picture: Picture,
    policy: Names = None,
    of: Latency = "stall",
    beyond: str = "p99",
    block: str | None = None,
    engine: Engine = "auto",
    jobs: OptionalCount = None,
    changes: Changes = Changes(),  # noqa: B008 - frozen
    json: Json = False,
) -> None:
    """What the slowest accesses spend their time on, beside what all of them do.

    Parameters
    ----------
    scenario
        As for `compare`.
    policy
        The policies; by default the scenario's.
    of
        The latency by which they are slow: stall, response or effect.
    beyond
        The quantile from which on an access is one of the slowest.
    block
        The guest's name, or how it begins, where the scenario has several.
    engine
        What runs it: auto, compiled or simpy; the numbers are the same to the last bit.
    jobs
        Replications that run at a time; by default as many as there are cores.
    json
        Print one JSON document with the numbers drawn.
    """
    from vmexit_sim.present import figures
    from vmexit_sim.study.tail import tail as attribute
    from vmexit_sim.study.waterfall import quantile_of

    _ = picture.file
    q = quantile_of(beyond)
    if q is None:
        raise InputError("is no quantile", key="--beyond", value=beyond, mend="write p99, p99.9, …")
    opened, guest = one_guest(changes.opened(scenario, policy), block)
    with status() as tell:
        found = attribute(opened, guest, of, q, engine=engine, jobs=cores(jobs), progress=tell)
    picture.write(figures.tail_figure(found, width=picture.inches), figures.tail_frame(found),
                  found.basis, json=json)  # fmt: skip
