"""The command that shows a run moment by moment."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from vmexit_sim.cli.app import Count, Flag, Json, app, at_least, print_json
from vmexit_sim.cli.changes import Changes
from vmexit_sim.cli.comparing import DEFAULT


@app.command
def timeline(
    scenario: str = DEFAULT,
    /,
    *,
    output: Annotated[Path | None, Parameter(name=["--output", "-o"])] = None,
    text: Flag = False,
    policy: str | None = None,
    replication: Annotated[int, Parameter(validator=at_least(0))] = 0,
    begin: Annotated[str | None, Parameter(name="--from")] = None,
    end: Annotated[str | None, Parameter(name="--to")] = None,
    most: Count = 300_000,
    beside: Path | None = None,
    changes: Changes = Changes(),  # noqa: B008 - frozen
    json: Json = False,
) -> None:
    """Show what every vCPU and thread did, moment by moment: in the Perfetto UI, or as text.

    Accesses with their exits and stages, who emulates for whom, and who waits where, as trace
    events (JSON) that ui.perfetto.dev opens, or as a listing. The run is made on the reference
    engine.

    Parameters
    ----------
    scenario
        As for `compare`.
    output
        The JSON file to write.
    text
        Print a listing: a line for whatever happens, with its exact time.
    policy
        The policy; by default the scenario's first.
    replication
        Which repetition of a random scenario.
    begin
        Show what happens from this simulated time on ("2 ms").
    end
        Show what happens until this simulated time.
    most
        About so many events of each guest; later ones are left out, and that is said.
    beside
        A log of KVM's trace events: the exits of a real guest, in a process of their own.
    json
        Print one JSON document instead of sentences.
    """
    from vmexit_sim.errors import InputError
    from vmexit_sim.present.timeline_file import save_timelines
    from vmexit_sim.present.timeline_summary import summary, summary_document
    from vmexit_sim.present.timeline_text import listing
    from vmexit_sim.study.timeline import exits_beside, timeline_of
    from vmexit_sim.units import parse_time

    def time(stated: str | None, option: str) -> int | None:
        try:
            return None if stated is None else parse_time(stated)
        except InputError as error:
            raise error.located(key=option) from None

    if output is None and not text:
        raise InputError("is missing", key="--output", mend="give a file, as in -o trace.json, or "
                         "--text for a listing")  # fmt: skip
    if text and json:
        raise InputError("go to the same place", key="--text and --json", mend="choose one")
    if beside is not None and output is None:
        raise InputError("is for a trace file", key="--beside", mend="give -o FILE, too")
    since, until = time(begin, "--from") or 0, time(end, "--to")
    opened = changes.opened(scenario, None if policy is None else [policy])
    timelines = [
        timeline_of(opened, block, opened.policies[0], replication=replication, begin=since,
                    end=until, most=most)
        for block in opened.blocks
    ]  # fmt: skip
    real = None
    if beside is not None:
        longest = max(each.end for each in timelines) - since
        real = exits_beside(beside, length=longest, most=most)
    if text:
        print(*listing(timelines, opened.scenario), sep="\n")
    if output is None:
        return
    written = save_timelines(timelines, output, beside=real)
    if json:
        print_json(summary_document(timelines, output, written, real))
    else:
        print(summary(timelines, output, written, real))
