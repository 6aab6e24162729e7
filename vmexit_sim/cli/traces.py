"""Commands about recorded guests."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from vmexit_sim.cli.app import Flag, Json, app, check_parquet, print_json
from vmexit_sim.errors import InputError

trace_app = App(name="trace", help="Look into recorded guests, and turn them into access tables.")
app.command(trace_app)


@trace_app.command(name="info")
def trace_info(trace: str, /, *, strict: Flag = False, json: Json = False) -> None:
    """What a recorded guest did: counts by device, vCPU, agent and phase; operations found.

    Parameters
    ----------
    trace
        A shipped trace's name, or the path of a QEMU trace log, of a log of KVM's trace
        events, or of an access table.
    strict
        Refuse a log with malformed lines, instead of counting them.
    json
        Print one JSON document instead of tables.
    """
    from vmexit_sim import catalog
    from vmexit_sim.device import load_devices
    from vmexit_sim.guest import trace_info as info
    from vmexit_sim.guest.table_file import load_table
    from vmexit_sim.guest.trace_formats import read_any_trace

    path = catalog.find("traces", trace) if trace in catalog.names("traces") else _existing(trace)
    if path.suffix == ".parquet":
        document = info.table_info(load_table(path))
    else:
        document = info.trace_info(read_any_trace(path, load_devices(), strict=strict))
    if json:
        print_json(document)
        return
    from vmexit_sim.present import terminal
    from vmexit_sim.present.trace_tables import trace_report

    terminal.console().print(trace_report(trace, document))


@trace_app.command(name="import")
def trace_import(
    trace: str,
    /,
    *,
    output: Annotated[Path, Parameter(name=["--output", "-o"])],
    strict: Flag = False,
    json: Json = False,
) -> None:
    """Read a log of QEMU or KVM once, and save its access table for later.

    Parameters
    ----------
    trace
        A shipped trace's name, or the path of a QEMU trace log or of a log of KVM's
        trace events.
    output
        The Parquet file to write.
    strict
        Refuse a log with malformed lines, instead of counting them.
    json
        Print one JSON document instead of a sentence.
    """
    from vmexit_sim import catalog
    from vmexit_sim.device import load_devices
    from vmexit_sim.guest.table_file import save_table
    from vmexit_sim.guest.trace_formats import read_any_trace

    check_parquet(output, "--output")
    path = catalog.find("traces", trace) if trace in catalog.names("traces") else _existing(trace)
    read = read_any_trace(path, load_devices(), strict=strict)
    save_table(read.table, output)
    bad = read.lines.bad
    if json:
        print_json({"table": str(output), "accesses": len(read.table), "bad_lines": bad})
    else:
        skipped = f", {bad:,} malformed lines left out" if bad else ""
        print(f"{output}: {len(read.table):,} accesses{skipped}")


def _existing(name: str) -> Path:
    from vmexit_sim import catalog
    from vmexit_sim.errors import nearest

    path = Path(name)
    if not path.is_file():
        raise InputError("is no trace or table", value=name,
                         mend=nearest(name, catalog.names("traces")))  # fmt: skip
    return path
