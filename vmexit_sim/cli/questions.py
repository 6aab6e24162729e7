"""Commands for questions that one run cannot answer: crossover, decide, select, screen, tune."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from vmexit_sim.cli.app import (
    Count,
    Engine,
    Json,
    Names,
    OptionalCount,
    app,
    cores,
    print_json,
    status,
)
from vmexit_sim.cli.changes import Changes
from vmexit_sim.errors import InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.console import RenderableType

DEFAULT = "bunched-and-spread"
Two = Annotated[tuple[str, str], Parameter(negative=())]
Picture = Annotated[Path | None, Parameter(name="--figure")]
Scale = Literal["linear", "log", ""]


@app.command
def crossover(
    scenario: str = DEFAULT,
    /,
    *,
    between: Two,
    along: str,
    from_: Annotated[str, Parameter(name="--from")],
    to: str,
    scale: Scale = "",
    points: OptionalCount = None,
    metric: str = "added",
    block: str | None = None,
    tolerance: float = 1e-3,
    figure: Picture = None,
    engine: Engine = "auto",
    jobs: OptionalCount = None,
    changes: Changes = Changes(),  # noqa: B008 - frozen
    json: Json = False,
) -> None:
    """Where along a factor the better of two policies changes, with an interval.

    Parameters
    ----------
    scenario
        As for `compare`.
    between
        The two policies.
    along
        The factor: a key of the scenario by its place, like blocks.0.guest.between.mean,
        costs.to_user or parameters.batched-full.max_batch.
    from_
        Where the range begins ("100ns", "0.2", "2").
    to
        Where it ends.
    scale
        How values are spread over the range; by default by how far its ends lie apart.
    points
        How many values are looked at first.
    metric
        What counts: added, burden.mean, effect.p99, completion, … (docs/studies.md lists them).
    block
        The guest's name, where the scenario has several.
    tolerance
        To which part of its value a crossing is found.
    figure
        Draw the difference along the factor into this file (.svg, .png, .pdf).
    engine
        What runs it: auto, compiled or simpy; the numbers are the same to the last bit.
    jobs
        Replications that run at a time; by default as many as there are cores.
    json
        Print one JSON document instead of tables.
    """
    from vmexit_sim.present.crossover_tables import crossover_document, crossover_report
    from vmexit_sim.study.contest import stretch
    from vmexit_sim.study.crossover import crossover as find

    _check_picture(figure)
    stated = changes.stated(scenario)
    factor = stretch(along, from_, to, scale=scale, points=points)
    with status() as tell:
        found = find(
            stated.data, stated.path, first=between[0], second=between[1], along=factor,
            metric=metric, block=block, tolerance=tolerance, engine=engine, jobs=cores(jobs),
            progress=tell, elsewhere=stated.elsewhere,
        )  # fmt: skip
    _show(json, lambda: crossover_report(found), lambda: crossover_document(found))
    if figure is not None:
        from vmexit_sim.present.figures import crossover_figure

        _draw(crossover_figure(found), figure, silent=json)


@app.command
def decide(
    scenario: str = DEFAULT,
    /,
    *,
    across: str,
    up: str,
    policy: Names = None,
    metric: str = "added",
    block: str | None = None,
    figure: Picture = None,
    engine: Engine = "auto",
    jobs: OptionalCount = None,
    changes: Changes = Changes(),  # noqa: B008 - frozen
    json: Json = False,
) -> None:
    """Which policy is best over two factors: a map, with what is too close to call.

    Parameters
    ----------
    scenario
        As for `compare`.
    across
        The factor from left to right, like blocks.0.guest.between.mean=1us..1ms:9,log, or a list
        like platform=kvm-2013,kvm-2017.
    up
        The factor from bottom to top, likewise.
    policy
        The policies; by default the scenario's.
    metric
        What counts, as for `crossover`.
    block
        The guest's name, where the scenario has several.
    figure
        Draw the map into this file (.svg, .png, .pdf).
    engine
        What runs it: auto, compiled or simpy; the numbers are the same to the last bit.
    jobs
        Points that run at a time; by default as many as there are cores.
    json
        Print one JSON document instead of tables.
    """
    from vmexit_sim.present.crossover_tables import map_document, map_report
    from vmexit_sim.present.sweep_tables import progress_bar
    from vmexit_sim.study.decision_map import decision_map
    from vmexit_sim.study.sweep import Processes
    from vmexit_sim.study.sweep.factor import parse_factor

    _check_picture(figure)
    stated = changes.stated(scenario, policy)
    count = cores(jobs)
    workers = Processes(count) if count > 1 else None
    finished = False
    try:
        with progress_bar(0) as tell:
            found = decision_map(
                stated.data, stated.path, across=parse_factor(across), up=parse_factor(up),
                metric=metric, block=block, engine=engine,
                executor=workers.executor() if workers is not None else None, progress=tell,
                elsewhere=stated.elsewhere,
            )  # fmt: skip
        finished = True
    finally:
        if workers is not None:
            workers.close(at_once=not finished)
    _show(json, lambda: map_report(found), lambda: map_document(found))
    if figure is not None:
        from vmexit_sim.present.figures import map_figure

        _draw(map_figure(found), figure, silent=json)


@app.command
def select(
    scenario: str = DEFAULT,
    /,
    *,
    policy: Names = None,
    metric: str = "added",
    indifference: str = "1%",
    confidence: float = 0.95,
    budget: Count = 1000,
    block: str | None = None,
    engine: Engine = "auto",
    jobs: OptionalCount = None,
    changes: Changes = Changes(),  # noqa: B008 - frozen
    json: Json = False,
) -> None:
    """The best policy, with a stated probability of having chosen right.

    Replications go on until all others are told to be worse; those that are cost nothing any more.

    Parameters
    ----------
    scenario
        As for `compare`.
    policy
        The policies; by default the scenario's.
    metric
        What counts, by its mean over replications, as for `crossover`.
    indifference
        The smallest difference worth telling: a time ("1us"), a number, or a part of the best
        ("1%").
    confidence
        The probability of having chosen the best.
    budget
        Most replications.
    block
        The guest's name, where the scenario has several.
    engine
        What runs it: auto, compiled or simpy; the numbers are the same to the last bit.
    jobs
        Policies that run at a time; by default as many as there are cores.
    json
        Print one JSON document instead of tables.
    """
    from vmexit_sim.present.best_policy_tables import best_policy_report, document
    from vmexit_sim.study.best_policy import choose_best

    stated = changes.stated(scenario, policy)
    with status() as tell:
        found = choose_best(
            stated.data, metric=metric, indifference=indifference, confidence=confidence,
            budget=budget, block=block, path=stated.path, elsewhere=stated.elsewhere,
            engine=engine, jobs=cores(jobs), progress=tell,
        )  # fmt: skip
    _show(json, lambda: best_policy_report(found), lambda: document(found))


@app.command
def screen(
    scenario: str = DEFAULT,
    /,
    *,
    between: Two,
    range_: Annotated[Names, Parameter(name="--range")] = None,
    metric: str = "added",
    block: str | None = None,
    trajectories: Count = 10,
    figure: Picture = None,
    engine: Engine = "auto",
    jobs: OptionalCount = None,
    changes: Changes = Changes(),  # noqa: B008 - frozen
    json: Json = False,
) -> None:
    """Which of the platform's costs decide between two policies, and where the verdict flips.

    All costs are varied over ranges that suit how well each is known (Morris' method).

    Parameters
    ----------
    scenario
        As for `compare`.
    between
        The two policies.
    range_
        Ranges to use instead, or of other keys of the scenario besides: to_user=200ns..5us,
        blocks.0.guest.read_share=0..1,linear.
    metric
        What counts, as for `crossover`.
    block
        The guest's name, where the scenario has several.
    trajectories
        How many ways through the ranges; each runs as many points as there are costs.
    figure
        Draw a tornado of the influences into this file (.svg, .png, .pdf).
    engine
        What runs it: auto, compiled or simpy; the numbers are the same to the last bit.
    jobs
        Points that run at a time; by default as many as there are cores.
    json
        Print one JSON document instead of tables.
    """
    from vmexit_sim.present.screening_tables import document, screening_report
    from vmexit_sim.study.plausible import parse_range
    from vmexit_sim.study.screening import screen as screen_costs

    _check_picture(figure)
    stated = changes.stated(scenario)
    ranges = dict(parse_range(text) for text in range_ or ())
    with status() as tell:
        found = screen_costs(
            stated.data, *between, metric=metric, block=block, ranges=ranges, path=stated.path,
            elsewhere=stated.elsewhere, trajectories=trajectories, engine=engine,
            jobs=cores(jobs), progress=tell,
        )  # fmt: skip
    _show(json, lambda: screening_report(found), lambda: document(found))
    if figure is not None:
        from vmexit_sim.present.figures import tornado

        _draw(tornado(found), figure, silent=json)


@app.command
def tune(
    scenario: str = DEFAULT,
    /,
    *,
    parameter: str,
    policy: str | None = None,
    metric: str = "added",
    limit: Names = None,
    block: str | None = None,
    engine: Engine = "auto",
    jobs: OptionalCount = None,
    changes: Changes = Changes(),  # noqa: B008 - frozen
    json: Json = False,
) -> None:
    """The best value of a parameter, with an interval on how good it is.

    Parameters
    ----------
    scenario
        As for `compare`.
    parameter
        What to tune, and over which values: parameters.batched-full.max_batch=1..64, or a list
        like parameters.halt-poll-dynamic.idle.host_poll.longest=50us,200us,1ms.
    policy
        Whose metric counts; by default the policy that the parameter is of.
    metric
        The objective, as for `crossover`.
    limit
        What the value must keep to, like "effect.p99 <= 100us".
    block
        The guest's name, where the scenario has several.
    engine
        What runs it: auto, compiled or simpy; the numbers are the same to the last bit.
    jobs
        Values that run at a time; by default as many as there are cores.
    json
        Print one JSON document instead of tables.
    """
    from vmexit_sim.present.tuning_tables import document, tuning_report
    from vmexit_sim.study.sweep.factor import parse_factor
    from vmexit_sim.study.tuning import tune as tune_parameter

    stated = changes.stated(scenario)
    factor = parse_factor(parameter)
    with status() as tell:
        found = tune_parameter(
            stated.data, factor.places[0], factor.values, policy=policy, metric=metric,
            limits=limit or (), block=block, path=stated.path, elsewhere=stated.elsewhere,
            engine=engine, jobs=cores(jobs), progress=tell,
        )  # fmt: skip
    _show(json, lambda: tuning_report(found), lambda: document(found))


def _show(
    as_json: bool, report: Callable[[], RenderableType], document: Callable[[], dict[str, Any]]
) -> None:
    from vmexit_sim.present import terminal

    if as_json:
        print_json(document())
    else:
        terminal.console().print(report())


def _check_picture(path: Path | None) -> None:
    """Refuse a picture that could not be put where it is wanted, before anything is run."""
    if path is not None:
        from vmexit_sim.output import check_place

        check_place(path)


def _draw(figure: Figure, path: Path, *, silent: bool) -> None:
    """Write a figure, whole or not at all."""
    from vmexit_sim.present.figures import save

    try:
        save(figure, path)
    except InputError as error:
        raise error.located(key="--figure") from None
    if not silent:
        print(f"figure: {path}")
