"""The command that writes a comparison as a report."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

from cyclopts import Parameter

from vmexit_sim.catalog import is_result
from vmexit_sim.cli.app import OUTPUT, Count, Engine, Flag, Names, OptionalCount, app, cores
from vmexit_sim.cli.changes import Changes
from vmexit_sim.cli.command_line import changed, command_of, is_set, size_text
from vmexit_sim.cli.comparing import DEFAULT
from vmexit_sim.errors import InputError
from vmexit_sim.output import check_place, write_content

if TYPE_CHECKING:
    from vmexit_sim.opened import Opened

LARGEST_BUDGET = 1000
"""Most replications that a precision takes, if the user does not say."""

ENDINGS = (".html", ".htm")


@app.command
def report(
    scenario_or_result: str = DEFAULT,
    /,
    *,
    output: Annotated[Path, Parameter(name=["--output", "-o"], group=OUTPUT)],
    policy: Names = None,
    precision: str | None = None,
    budget: Count = LARGEST_BUDGET,
    input_uncertainty: Flag = False,
    engine: Engine = "auto",
    jobs: OptionalCount = None,
    changes: Changes = Changes(),  # noqa: B008 - frozen
) -> None:
    """Compare policies, and write the answer as one HTML file to read, print or send.

    It holds verdicts, tables, figures, every cost with its source, what was assumed, and the
    command that makes it again. It loads nothing, and equal input gives equal bytes.

    Parameters
    ----------
    scenario_or_result
        As for `compare`; or a result (.json) that `compare --output` saved, which is not run again.
    output
        The HTML file to write.
    policy
        Policies to compare, by name or path; the first is what the others are compared with.
    precision
        Go on with replications until the time that each policy adds is known to this part of it
        ("2%"), or it and all differences to this time ("0.2 us").
    budget
        Most replications that a precision may take.
    input_uncertainty
        Of a calibrated platform: let intervals hold how well its costs were measured, too.
    engine
        What runs it: auto, compiled or simpy; the numbers are the same to the last bit.
    jobs
        Replications that run at a time; by default as many as there are cores.
    """
    if output.suffix.lower() not in ENDINGS:
        raise InputError("is no HTML file's name", key="--output", value=str(output),
                         mend="end it with .html")  # fmt: skip

    check_place(output)
    stated = {"policy": policy, "precision": precision, "budget": budget if precision else None,
              "input-uncertainty": input_uncertainty}  # fmt: skip
    if is_result(scenario_or_result):
        refused = {**stated, **changed(changes), "budget": budget != LARGEST_BUDGET}
        html = _of_result(scenario_or_result, refused, output)
    else:
        command = command_of("report", scenario_or_result, stated, changes, output)
        wanted = _Wanted(precision, budget, input_uncertainty, engine, jobs)
        html = _of_scenario(changes.opened(scenario_or_result, policy), command, wanted)
    write_content(output, html)
    print(f"{output}: {size_text(len(html))}")


class _Wanted(NamedTuple):
    """How a comparison is to be run, as the command line has it."""

    precision: str | None
    budget: int
    input_uncertainty: bool
    engine: Engine
    jobs: int | None


def _of_scenario(opened: Opened, command: str, wanted: _Wanted) -> bytes:
    """The page of a comparison that is yet to be run."""
    from vmexit_sim.present import terminal
    from vmexit_sim.present.report import report as page
    from vmexit_sim.statistics import Precision
    from vmexit_sim.study.compare import compare as compare_policies
    from vmexit_sim.study.input_uncertainty import input_uncertainty as uncertain

    engine, jobs = wanted.engine, cores(wanted.jobs)
    precision = None if wanted.precision is None else Precision.parse(wanted.precision)
    with terminal.console(stderr=True).status("starting") as status:
        result = compare_policies(opened, status.update, engine=engine, jobs=jobs,
                                  precision=precision, budget=wanted.budget)  # fmt: skip
        uncertainty = (
            uncertain(result, engine=engine, jobs=jobs, progress=status.update)
            if wanted.input_uncertainty
            else None
        )
        status.update("writing")
        return page(result, command, uncertainty).encode("utf-8", "replace")


def _of_result(name: str, refused: dict[str, object], output: Path) -> bytes:
    """The page of a saved result; nothing is run.

    Args:
        name: the result file.
        refused: options that would have changed what was run, by name without dashes.
        output: where the page goes, for the command in it.

    Raises:
        InputError: it is no sound result, or an option asks for another one.
    """
    given = [f"--{option}" for option, value in refused.items() if is_set(value)]
    if given:
        raise InputError(f"asks for another run, and {name} is a result that was saved",
                         key=given[0], mend="leave it out, or name the scenario")  # fmt: skip

    from vmexit_sim.present.report import report as page
    from vmexit_sim.study.result_file import load_result

    found = load_result(Path(name))
    own = shlex.join(["vmexit-sim", "report", name, "--output", str(output)])
    command = f"{found.command}\n{own}" if found.command else own
    return page(found.comparison, command, found.uncertainty).encode("utf-8", "replace")
