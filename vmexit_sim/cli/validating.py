"""The command that puts known answers beside the simulator's: validation."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from vmexit_sim.cli.app import Flag, Json, app, print_json
from vmexit_sim.errors import InputError, VmexitError


@app.command
def validation(
    *,
    kind: Literal["queueing", "published", "paths"] | None = None,
    quick: Flag = False,
    page: Annotated[Path | None, Parameter(name="--page")] = None,
    json: Json = False,
) -> None:
    """Put known answers beside the simulator's: theory, published figures, sums by hand.

    Ends with status 1 if a row that must hold fails: a law of queueing theory, a sum of costs, or a
    published number that went into a model. A prediction may miss; what does is explained.

    Parameters
    ----------
    kind
        Only these rows: queueing, published or paths.
    quick
        Simulate less of what is random: seconds, and intervals six to ten times as wide, which the
        summary states. It finds what is broken, and sums that do not add up, but hardly a law of
        chance that is missed by some percent.
    page
        Write all tables into this page, between its two marks.
    json
        Print one JSON document instead of tables.
    """
    from vmexit_sim.present import terminal
    from vmexit_sim.present import validation_tables as tables
    from vmexit_sim.validation import KINDS, claims

    if page is not None:
        if quick or kind is not None:
            raise InputError("takes all rows at full length", key="--page",
                             mend="leave out --quick and --kind")  # fmt: skip
        tables.renewed(page, [])
    found = []
    with terminal.console(stderr=True).status("starting") as status:
        for claim in claims(KINDS if kind is None else (kind,), quick=quick):
            found.append(claim)
            status.update(f"{len(found)} rows; {claim.group}")
    if page is not None:
        from vmexit_sim.output import write_content

        text = tables.renewed(page, found)
        write_content(page, text)
    if json:
        print_json(tables.validation_document(found))
    elif page is None:
        terminal.console().print(tables.validation_report(found))
    else:
        print(f"{len(found)} rows: {page}")
    if failed := tables.failures(found):
        raise VmexitError(f"{len(failed)} rows that must hold do not:\n" + "\n".join(failed))
