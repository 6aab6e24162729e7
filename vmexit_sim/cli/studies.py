"""Commands that run many scenarios: sweep."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from vmexit_sim.cli.app import Engine, Flag, Json, OptionalCount, app, cores, print_json
from vmexit_sim.errors import VmexitError

if TYPE_CHECKING:
    from vmexit_sim.study.sweep import Workers


@app.command
def sweep(
    study: str,
    /,
    *,
    output: Annotated[Path | None, Parameter(name=["--output", "-o"])] = None,
    list_: Annotated[Flag, Parameter(name="--list")] = False,
    jobs: OptionalCount = None,
    scheduler: str | None = None,
    engine: Engine = "auto",
    json: Json = False,
) -> None:
    """Run a scenario at many points, as a study file says, and store the results.

    What is stored is not run again: start the same study after an interruption, or with more
    points, and only what is missing runs.

    Parameters
    ----------
    study
        A study file's path, or a shipped study's name.
    output
        The folder of results; by default the study's name with ".results".
    list_
        Show the points, what is stored of them and about how long the rest would take, and stop.
    jobs
        Points that run at a time on this machine; by default as many as there are cores.
    scheduler
        Run on the Dask cluster whose scheduler has this address (tcp://host:8786) instead.
    engine
        What runs it: auto, compiled or simpy; the numbers are the same to the last bit.
    json
        Print one JSON document instead of tables.
    """
    from vmexit_sim.present import sweep_tables, terminal
    from vmexit_sim.study.sweep import list_study, load_study, plan, run_study

    stated, path = load_study(study)
    planned = plan(stated, path)
    folder = output or Path(f"{stated.name}.results")
    count = cores(jobs)
    if list_:
        listing = list_study(planned, folder, engine)
        if json:
            print_json(sweep_tables.listing_document(planned, listing))
        else:
            terminal.console().print(sweep_tables.listing(planned, listing, folder, count))
        return
    with (
        _workers(count, scheduler) as workers,
        sweep_tables.progress_bar(len(planned.points)) as told,
    ):
        outcome = run_study(planned, folder, workers=workers, engine=engine, progress=told)
    if json:
        print_json(sweep_tables.document(planned, outcome))
    else:
        terminal.console().print(sweep_tables.report(planned, outcome))
    if outcome.failures:
        raise VmexitError(sweep_tables.failed(outcome))


@contextmanager
def _workers(count: int, scheduler: str | None) -> Iterator[Workers]:
    """Where points run; what is under way is dropped if the user interrupts it."""
    from vmexit_sim.study.sweep import Cluster, InProcess, Processes

    workers: Workers
    if scheduler is not None:
        workers = Cluster(scheduler)
    else:
        workers = InProcess() if count == 1 else Processes(count)
    at_once = True
    try:
        yield workers
        at_once = False
    finally:
        workers.close(at_once=at_once)
