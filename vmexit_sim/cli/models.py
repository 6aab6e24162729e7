"""Commands about the shipped models."""

from __future__ import annotations

from cyclopts import App

from vmexit_sim.cli.app import Json, app, print_json

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
