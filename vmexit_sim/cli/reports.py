"""The command that writes a comparison as a report."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from vmexit_sim.cli.app import OUTPUT, Count, Engine, Flag, Names, OptionalCount, app
from vmexit_sim.cli.changes import Changes
from vmexit_sim.cli.comparing import DEFAULT
from vmexit_sim.errors import InputError

ENDINGS = (".html", ".htm")


@app.command
def report(
    scenario: str = DEFAULT,
    /,
    *,
    output: Annotated[Path, Parameter(name=["--output", "-o"], group=OUTPUT)],
    policy: Names = None,
    precision: str | None = None,
    budget: Count = 1000,
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
    scenario
        As for `compare`.
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

    from vmexit_sim.output import write_whole
    from vmexit_sim.present import terminal
    from vmexit_sim.present.report import report as page
    from vmexit_sim.statistics import Precision
    from vmexit_sim.study.compare import compare as compare_policies
    from vmexit_sim.study.input_uncertainty import input_uncertainty as uncertain

    wanted = None if precision is None else Precision.parse(precision)
    opened = changes.opened(scenario, policy)
    workers = jobs or os.cpu_count() or 1
    with terminal.console(stderr=True).status("starting") as status:
        result = compare_policies(opened, status.update, engine=engine, jobs=workers,
                                  precision=wanted, budget=budget)  # fmt: skip
        uncertainty = (
            uncertain(result, engine=engine, jobs=workers, progress=status.update)
            if input_uncertainty
            else None
        )
        status.update("writing")
        stated = {"policy": policy, "precision": precision,
                  "budget": budget if precision else None,
                  "input-uncertainty": input_uncertainty}  # fmt: skip
        command = command_of(scenario, stated, changes, output)
        html = page(result, command, uncertainty).encode("utf-8", "replace")
    write_whole(output, lambda partial: _write(partial, html))
    print(f"{output}: {len(html) / 1024:,.0f} KiB")


def command_of(
    scenario: str, stated: Mapping[str, object], changes: Changes, output: Path
) -> str:  # fmt: skip
    """The command line that makes the same report, as a shell takes it.

    Args:
        scenario: what was named.
        stated: options of the command itself, by name without dashes; what is not set is left out.
        changes: what was changed in the scenario.
        output: the file.
    """
    changed = {each.name.strip("_").replace("_", "-"): getattr(changes, each.name)
               for each in fields(changes)}  # fmt: skip
    words = ["vmexit-sim", "report", scenario]
    for name, value in {**stated, **changed}.items():
        words += _option(name, value)
    return shlex.join([*words, "--output", str(output)])


def _option(name: str, value: object) -> Iterator[str]:
    """An option's words; none if it is not set. Only 0 is a number that is set and false."""
    if value is None or value is False or value == []:
        return
    if value is True:
        yield f"--{name}"
        return
    for each in value if isinstance(value, list) else [value]:
        yield f"--{name}={each}"


def _write(path: Path, html: bytes) -> None:
    path.write_bytes(html)
