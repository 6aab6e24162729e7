"""Commands that draw a metric along a factor: spacing, and a sweep's results."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from vmexit_sim.cli.app import Engine, Json, Names, OptionalCount, cores, status
from vmexit_sim.cli.changes import Changes
from vmexit_sim.cli.picture import Picture, figure_app, one_guest


@figure_app.command
def spacing(
    scenario: str = "spread",
    /,
    *,
    picture: Picture,
    policy: Names = None,
    metric: str = "effect.mean",
    along: str | None = None,
    from_: Annotated[str | None, Parameter(name="--from")] = None,
    to: str | None = None,
    points: OptionalCount = None,
    block: str | None = None,
    engine: Engine = "auto",
    jobs: OptionalCount = None,
    changes: Changes = Changes(),  # noqa: B008 - frozen
    json: Json = False,
) -> None:
    """A metric along the distance between accesses, and where policies break even.

    The first policy meets each of the others.

    Parameters
    ----------
    scenario
        As for `compare`; a synthetic guest.
    policy
        Two policies or more; by default the scenario's.
    metric
        What counts: effect.mean, burden.mean, stall.p99, added, … (docs/studies.md lists them).
    along
        The key of the scenario to vary; by default the guest's own spacing, a tenth to ten times.
    from_
        Where its range begins ("100ns").
    to
        Where it ends.
    points
        How many values are looked at first.
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
    from vmexit_sim.present.crossover_verdict import crossover_verdict
    from vmexit_sim.study.spacing import own_spacing, ranged
    from vmexit_sim.study.spacing import spacing as spacing_of

    _ = picture.file
    stated = changes.stated(scenario, policy)
    _opened, guest = one_guest(stated.opened(), block)
    place = along or own_spacing(stated, guest.name).places[0]
    with status() as tell:
        found = spacing_of(
            stated, along=ranged(stated, guest.name, place, from_, to, points), metric=metric,
            block=guest.name, engine=engine, jobs=cores(jobs), progress=tell,
        )  # fmt: skip
    picture.write(figures.spacing_figure(found, width=picture.inches),
                  figures.spacing_frame(found), found.basis, json=json,
                  further={"break_evens": figures.break_even_frame(found)})  # fmt: skip
    if not json:
        for each in found.crossovers:
            print(crossover_verdict(each))


@figure_app.command(name="sweep")
def sweep_lines(
    results: Path,
    /,
    *,
    picture: Picture,
    metric: str = "added",
    along: str | None = None,
    panels: str | None = None,
    block: str | None = None,
    json: Json = False,
) -> None:
    """A sweep's results along one factor: a line for each policy, another factor as panels.

    Parameters
    ----------
    results
        The folder that `sweep` wrote, or the Parquet file in it.
    metric
        What is drawn: added, effect.mean, … (docs/studies.md lists them).
    along
        The factor; by default the only one that is a number.
    panels
        The factor that has a panel for each of its values; by default the other one.
    block
        The guest's name; by default all, a panel each.
    json
        Print one JSON document with the numbers drawn.
    """
    from vmexit_sim.present import figures
    from vmexit_sim.study.sweep import open_results

    _ = picture.file
    found = open_results(results)
    drawn = figures.sweep_figure(found, metric, along=along, panels=panels, block=block,
                                 width=picture.inches)  # fmt: skip
    rows = found.of(metric, block)
    methods = ", ".join(dict.fromkeys(rows["method"].astype(str)))
    picture.write(drawn, rows, f"{metric} of {found.name}; intervals: {methods}", json=json)
