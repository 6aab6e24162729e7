"""Commands that draw single runs: one access, exits and resources over time."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from vmexit_sim.cli.app import Count, Engine, Json, Names, at_least, status
from vmexit_sim.cli.changes import Changes
from vmexit_sim.cli.comparing import DEFAULT
from vmexit_sim.cli.picture import Picture, Replication, figure_app, moment, one_guest


@figure_app.command
def waterfall(
    scenario: str = DEFAULT,
    /,
    *,
    picture: Picture,
    policy: Names = None,
    access: str = "p50",
    vcpu: Annotated[int | None, Parameter(validator=at_least(0))] = None,
    replication: Replication = 0,
    block: str | None = None,
    engine: Engine = "auto",
    changes: Changes = Changes(),  # noqa: B008 - frozen
    json: Json = False,
) -> None:
    """One access, stage by stage, on vCPU, device and threads, policy under policy.

    The runs that are drawn are made on the reference engine.

    Parameters
    ----------
    scenario
        As for `compare`.
    policy
        The policies; by default the scenario's.
    access
        Its place in its vCPU's program order, or a quantile of the first policy's times (p50).
    vcpu
        Whose access.
    replication
        Which repetition of a random scenario.
    block
        The guest's name, or how it begins, where the scenario has several.
    engine
        What finds the access: auto, compiled or simpy.
    json
        Print one JSON document with the numbers drawn.
    """
    from vmexit_sim.present import figures
    from vmexit_sim.study.waterfall import waterfall as waterfall_of

    _ = picture.file
    opened, guest = one_guest(changes.opened(scenario, policy), block)
    with status() as tell:
        found = waterfall_of(opened, guest, access=access, vcpu=vcpu, replication=replication,
                             engine=engine, progress=tell)  # fmt: skip
    picture.write(figures.waterfall_figure(found, width=picture.inches),
                  figures.waterfall_frame(found), found.basis, json=json)  # fmt: skip


@figure_app.command
def exits(
    scenario: str = DEFAULT,
    /,
    *,
    picture: Picture,
    policy: Names = None,
    replication: Replication = 0,
    begin: Annotated[str | None, Parameter(name="--from")] = None,
    end: Annotated[str | None, Parameter(name="--to")] = None,
    bins: Count = 100,
    block: str | None = None,
    engine: Engine = "auto",
    changes: Changes = Changes(),  # noqa: B008 - frozen
    json: Json = False,
) -> None:
    """Exits over simulated time, by reason; a panel for each policy.

    The runs are made on the reference engine.

    Parameters
    ----------
    scenario
        As for `compare`.
    policy
        The policies; by default the scenario's first.
    replication
        Which repetition of a random scenario.
    begin
        Show what happens from this simulated time on ("2 ms").
    end
        Show what happens until this simulated time.
    bins
        Into how many bins time is cut.
    block
        The guest's name, or how it begins, where the scenario has several.
    engine
        What finds out how long the guest runs: auto, compiled or simpy.
    json
        Print one JSON document with the numbers drawn.
    """
    from vmexit_sim.present import figures
    from vmexit_sim.study.over_time import basis_of, over_time

    _ = picture.file
    since, until = moment(begin, "--from") or 0, moment(end, "--to")
    opened, guest = one_guest(changes.opened(scenario, policy), block)
    chosen = opened.policies if policy else opened.policies[:1]
    with status() as tell:
        runs = []
        for one in chosen:
            tell(f"{guest.name}: {one.name}")
            runs.append(over_time(opened, guest, one, replication=replication, begin=since,
                                  end=until, bins=bins, engine=engine))  # fmt: skip
    picture.write(figures.exits_figure(runs, width=picture.inches), figures.exits_frame(runs),
                  basis_of(runs), json=json)  # fmt: skip


@figure_app.command
def resources(
    scenario: str = DEFAULT,
    /,
    *,
    picture: Picture,
    policy: str | None = None,
    replication: Replication = 0,
    begin: Annotated[str | None, Parameter(name="--from")] = None,
    end: Annotated[str | None, Parameter(name="--to")] = None,
    bins: Count = 100,
    block: str | None = None,
    engine: Engine = "auto",
    changes: Changes = Changes(),  # noqa: B008 - frozen
    json: Json = False,
) -> None:
    """Use of locks, servers and host threads over simulated time, and who waits for them.

    The run is made on the reference engine.

    Parameters
    ----------
    scenario
        As for `compare`.
    policy
        The policy; by default the scenario's first.
    replication
        Which repetition of a random scenario.
    begin
        Show what happens from this simulated time on ("2 ms").
    end
        Show what happens until this simulated time.
    bins
        Into how many bins time is cut.
    block
        The guest's name, or how it begins, where the scenario has several.
    engine
        What finds out how long the guest runs: auto, compiled or simpy.
    json
        Print one JSON document with the numbers drawn.
    """
    from vmexit_sim.present import figures
    from vmexit_sim.study.over_time import over_time

    _ = picture.file
    since, until = moment(begin, "--from") or 0, moment(end, "--to")
    opened, guest = one_guest(changes.opened(scenario, [policy] if policy else None), block)
    with status() as tell:
        tell(f"{guest.name}: {opened.policies[0].name}")
        run = over_time(opened, guest, opened.policies[0], replication=replication, begin=since,
                        end=until, bins=bins, engine=engine)  # fmt: skip
    picture.write(figures.use_figure(run, width=picture.inches), figures.use_frame(run),
                  run.basis, json=json)  # fmt: skip
