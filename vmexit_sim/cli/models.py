"""Commands about the shipped models."""

from __future__ import annotations

from typing import Annotated

from cyclopts import App, Parameter

from vmexit_sim.cli.app import Engine, Json, OptionalCount, app, cores, print_json
from vmexit_sim.errors import InputError, nearest

models_app = App(name="models", help="The shipped models: every cost with value, unit, source.")
app.command(models_app)


@models_app.default
@models_app.command(name="list")
def models_list(*, json: Json = False) -> None:
    """List the shipped models.

    Parameters
    ----------
    json
        Print one JSON document instead of tables.
    """
    from vmexit_sim.present.model_tables import model_list, model_titles

    if json:
        print_json(model_titles())
        return
    from vmexit_sim.present import terminal

    terminal.console().print(model_list())


@app.command
def explain(
    platform: str,
    cost: str | None = None,
    /,
    *,
    scenario: str = "bunched-and-spread",
    between: Annotated[tuple[str, str], Parameter(negative=())] = ("linux-default", "hypercall"),
    metric: str = "added",
    block: str | None = None,
    engine: Engine = "auto",
    jobs: OptionalCount = None,
    json: Json = False,
) -> None:
    """Where a platform's costs come from, and what each means for a verdict.

    Parameters
    ----------
    platform
        The platform's name or path.
    cost
        One of its costs; by default all of them.
    scenario
        The scenario whose verdict is meant.
    between
        The two policies that it is between.
    metric
        What counts, as for `crossover`.
    block
        The guest's name or number; by default the scenario's first.
    engine
        What runs it: auto, compiled or simpy; the numbers are the same to the last bit.
    jobs
        Points that run at a time; by default as many as there are cores.
    json
        Print one JSON document instead of tables.
    """
    from vmexit_sim.hypervisor.platform import Costs, load_platform
    from vmexit_sim.present import provenance_tables as shown
    from vmexit_sim.present import terminal
    from vmexit_sim.study.sensitivity import sensitivity
    from vmexit_sim.study.template import template

    opened = load_platform(platform)
    if cost is not None and cost not in Costs.model_fields:
        raise InputError("is no cost", key="COST", value=cost,
                         mend=nearest(cost, Costs.model_fields))  # fmt: skip
    made = template(scenario, policies=between, changes={"platform": platform},
                    block=0 if block is None else block, metrics=[metric])  # fmt: skip
    with terminal.console(stderr=True).status("what each cost means for the verdict"):
        found = sensitivity(made, between, metric=metric, only=[] if cost is None else [cost],
                            engine=engine, jobs=cores(jobs))  # fmt: skip
    if json:
        print_json(shown.document(opened, found))
    elif cost is None:
        terminal.console().print(shown.platform_report(opened, found))
    else:
        terminal.console().print(shown.cost_report(opened, cost, found))


@models_app.command(name="show")
def models_show(name: str, /, *, json: Json = False) -> None:
    """Show one model: a platform's costs with their sources, a policy's rules, and so on.

    Parameters
    ----------
    name
        The model's name, or a platform's or policy's path.
    json
        Print one JSON document instead of tables.
    """
    from vmexit_sim.present.model_tables import model_document, model_report

    if json:
        print_json(model_document(name))
        return
    from vmexit_sim.present import terminal

    terminal.console().print(model_report(name))
