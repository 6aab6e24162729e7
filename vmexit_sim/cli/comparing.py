"""The command line.

Bad input ends with status 2 and a message that names the file, the key, the value and the mend;
nobody sees a traceback for a mistake of theirs. With ``--json`` a command prints one JSON document
on standard output and nothing else. Heavy imports happen inside the commands, so that ``--help``
answers at once.
"""

from __future__ import annotations

import gc
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import App, CycloptsError, Group, Parameter

from vmexit_sim import __version__
from vmexit_sim.errors import InputError, VmexitError

if TYPE_CHECKING:
    from vmexit_sim.scenario import Opened

USER_ERROR = 2
"""Exit status for input that cannot be used."""

OUTPUT = Group("Output", sort_key=10)

app = App(
    name="vmexit-sim",
    version=__version__,
    help="""What VM exits cost a guest, under any policy for reaching its devices.

    Start with `vmexit-sim compare`: two recorded Linux guests, a dozen policies, side by side.
    """,
    help_epilogue="""Scenarios, traces, workloads, platforms and policies go by name
    (`vmexit-sim models` lists them) or by path.""",
)
trace_app = App(name="trace", help="Look into recorded guests, and turn them into access tables.")
models_app = App(name="models", help="The shipped models: every cost with value, unit, source.")
app.command(trace_app)
app.command(models_app)
app.register_install_completion_command()


def _at_least(least: int) -> Callable[[object, int | None], None]:
    """A check of a whole number on the command line."""

    def check(_: object, value: int | None) -> None:
        if value is not None and value < least:
            raise ValueError(f"must be {least} or more")

    return check


Json = Annotated[bool, Parameter(name="--json", negative=(), group=OUTPUT)]
Engine = Literal["auto", "compiled", "simpy"]
Names = Annotated[list[str] | None, Parameter(consume_multiple=True, negative=())]
Flag = Annotated[bool, Parameter(negative=())]


@app.command
def compare(
    scenario: str = "bunched-and-spread",
    /,
    *,
    policy: Names = None,
    platform: str | None = None,
    cost: Names = None,
    cpus: Annotated[int | None, Parameter(validator=_at_least(1))] = None,
    time_slice: str | None = None,
    only: Names = None,
    during: Names = None,
    timers: Flag = False,
    deliveries: Flag = False,
    reps: Annotated[int | None, Parameter(validator=_at_least(1))] = None,
    seed: Annotated[int | None, Parameter(validator=_at_least(0))] = None,
    engine: Engine = "auto",
    jobs: Annotated[int | None, Parameter(validator=_at_least(1))] = None,
    json: Json = False,
) -> None:
    """Run several policies on the same guest and show what each costs.

    Without arguments: the config accesses of a recorded PCI scan (bunched) and the interrupt
    services of a recorded download (spread), under all of the thread's proposals, on KVM 2013.

    Parameters
    ----------
    scenario
        A shipped scenario, trace or workload, or a path: scenario (TOML), QEMU trace log (plain,
        .gz, .xz), or access table (Parquet).
    policy
        Policies to compare, by name or path; the first is what the others are compared with.
    platform
        Whose exit costs to use.
    cost
        Costs to put in place of the platform's, like thread_wake_up=8us.
    cpus
        Physical CPUs of the host; by default one for every thread, so that nobody waits for one.
    time_slice
        How long a vCPU computes before others are let onto its CPU ("3 ms").
    only
        Of a recording, keep these accesses: spaces (pci_config, mmio, …), kinds of operation
        (bar_sizing, interrupt_service, …), phases, or devices (* stands for anything).
    during
        Of a recording, keep accesses of these phases: firmware, early_kernel, kernel, user,
        modules, job, done.
    timers
        Keep accesses to timers and interrupt controllers.
    deliveries
        Of a recording, charge also the interrupt that begins each service, and its end.
    reps
        Replications of a random scenario (a deterministic one runs once).
    seed
        Root of all randomness.
    engine
        What runs it: auto, compiled or simpy; the numbers are the same to the last bit.
    jobs
        Replications that run at a time; by default as many as there are cores.
    json
        Print one JSON document instead of tables.
    """
    from vmexit_sim.study.compare import compare as compare_policies

    opened = _opened(
        scenario,
        {
            "policies": policy, "platform": platform, "replications": reps, "seed": seed,
            "cpus": cpus, "time_slice": time_slice, "costs": cost,
        },
        {"only": only, "during": during, "timers": timers, "deliveries": deliveries},
    )  # fmt: skip
    workers = jobs or os.cpu_count() or 1
    if json:
        from vmexit_sim.present import documents

        result = compare_policies(opened, engine=engine, jobs=workers)
        _print_json(documents.comparison(result))
        return
    from vmexit_sim.present import tables

    errors = tables.console(stderr=True)
    with errors.status("starting") as status:
        result = compare_policies(opened, status.update, engine=engine, jobs=workers)
    tables.console().print(tables.comparison(result))


@app.command
def run(
    scenario: str = "bunched-and-spread",
    /,
    *,
    policy: str | None = None,
    platform: str | None = None,
    cost: Names = None,
    cpus: Annotated[int | None, Parameter(validator=_at_least(1))] = None,
    time_slice: str | None = None,
    only: Names = None,
    during: Names = None,
    timers: Flag = False,
    deliveries: Flag = False,
    seed: Annotated[int | None, Parameter(validator=_at_least(0))] = None,
    replication: Annotated[int, Parameter(validator=_at_least(0))] = 0,
    engine: Engine = "auto",
    records: Path | None = None,
    json: Json = False,
) -> None:
    """Run one policy and show all there is to see.

    Parameters
    ----------
    scenario
        As for `compare`.
    policy
        The policy; by default the scenario's first.
    platform
        Whose exit costs to use.
    cost
        Costs to put in place of the platform's, like thread_wake_up=8us.
    cpus
        As for `compare`.
    time_slice
        As for `compare`.
    only
        As for `compare`.
    during
        As for `compare`.
    timers
        Keep accesses to timers and interrupt controllers.
    deliveries
        Of a recording, charge also the interrupt that begins each service, and its end.
    seed
        Root of all randomness.
    replication
        Which repetition of a random scenario.
    engine
        What runs it: auto, compiled or simpy; the numbers are the same to the last bit.
    records
        Write every access's record (times in ps, a column for each stage) to this Parquet file.
    json
        Print one JSON document instead of tables.
    """
    from vmexit_sim.study.compare import lowered_for, run_once

    if records is not None:
        _check_parquet(records, "--records")
    chosen = None if policy is None else [policy]
    opened = _opened(
        scenario,
        {
            "policies": chosen, "platform": platform, "seed": seed,
            "cpus": cpus, "time_slice": time_slice, "costs": cost,
        },
        {"only": only, "during": during, "timers": timers, "deliveries": deliveries},
    )  # fmt: skip
    keep_rows = True if records is not None else None
    results = []
    for block in opened.blocks:
        lowered = lowered_for(opened, opened.policies[0], block)
        result = run_once(opened, lowered, block, replication, keep_rows=keep_rows, engine=engine)
        results.append((block, result))
    if records is not None:
        from vmexit_sim.present.records_file import save_records

        save_records({block.name: result for block, result in results}, records)
        if not json:
            kept = sum(result.summary.accesses for _, result in results)
            print(f"{records}: {kept:,} accesses, a row each; times in ps")
    if json:
        from vmexit_sim.present import documents

        _print_json(
            {"blocks": [documents.run(opened, block, result, replication)
                        for block, result in results]}
        )  # fmt: skip
        return
    from vmexit_sim.present import tables

    for block, result in results:
        tables.console().print(tables.run_report(opened, block, result))
        print()


@trace_app.command(name="info")
def trace_info(trace: str, /, *, strict: Flag = False, json: Json = False) -> None:
    """What a recorded guest did: counts by device, vCPU, agent and phase; operations found.

    Parameters
    ----------
    trace
        A shipped trace's name, or the path of a QEMU trace log or of an access table.
    strict
        Refuse a log with malformed lines, instead of counting them.
    json
        Print one JSON document instead of tables.
    """
    from vmexit_sim import catalog
    from vmexit_sim.device import load_devices
    from vmexit_sim.guest import trace_info as info
    from vmexit_sim.guest.qemu_trace import read_trace
    from vmexit_sim.guest.table_file import load_table

    path = catalog.find("traces", trace) if trace in catalog.names("traces") else _existing(trace)
    if path.suffix == ".parquet":
        document = info.table_info(load_table(path))
    else:
        document = info.trace_info(read_trace(path, load_devices(), strict=strict))
    if json:
        _print_json(document)
        return
    from vmexit_sim.present import tables
    from vmexit_sim.present.trace_tables import trace_report

    tables.console().print(trace_report(trace, document))


@trace_app.command(name="import")
def trace_import(
    trace: str,
    /,
    *,
    output: Annotated[Path, Parameter(name=["--output", "-o"])],
    strict: Flag = False,
    json: Json = False,
) -> None:
    """Read a QEMU trace log once, and save its access table for later.

    Parameters
    ----------
    trace
        A shipped trace's name, or the path of a QEMU trace log.
    output
        The Parquet file to write.
    strict
        Refuse a log with malformed lines, instead of counting them.
    json
        Print one JSON document instead of a sentence.
    """
    from vmexit_sim import catalog
    from vmexit_sim.device import load_devices
    from vmexit_sim.guest.qemu_trace import read_trace
    from vmexit_sim.guest.table_file import save_table

    _check_parquet(output, "--output")
    path = catalog.find("traces", trace) if trace in catalog.names("traces") else _existing(trace)
    read = read_trace(path, load_devices(), strict=strict)
    save_table(read.table, output)
    bad = read.lines.bad
    if json:
        _print_json({"table": str(output), "accesses": len(read.table), "bad_lines": bad})
    else:
        skipped = f", {bad:,} malformed lines left out" if bad else ""
        print(f"{output}: {len(read.table):,} accesses{skipped}")


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
        _print_json(model_titles())
        return
    from vmexit_sim.present import tables

    tables.console().print(model_list())


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
        _print_json(model_document(name))
        return
    from vmexit_sim.present import tables

    tables.console().print(model_report(name))


def main(arguments: list[str] | None = None) -> None:
    """Run the command line, and end the process with its status."""
    logging.basicConfig(format="%(name)s: %(message)s", level=logging.WARNING)
    gc.set_threshold(100_000)  # a trace is many small objects, none of them garbage
    try:
        app(arguments, exit_on_error=False)
        sys.stdout.flush()
    except CycloptsError:
        sys.exit(USER_ERROR)  # cyclopts has said what is wrong
    except VmexitError as error:
        print(f"vmexit-sim: {error}", file=sys.stderr)
        sys.exit(USER_ERROR if isinstance(error, InputError) else 1)
    except KeyboardInterrupt:
        print("vmexit-sim: interrupted", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:  # the reader (head, a pager) has seen enough
        _forget_output()
        sys.exit(0)
    except OSError as error:  # a full disk
        print(f"vmexit-sim: output cannot be written: {error.strerror or error}", file=sys.stderr)
        _forget_output()
        sys.exit(1)
    sys.exit(0)


def _forget_output() -> None:
    """Keep Python from writing again, at its end, what could not be written."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _check_parquet(path: Path, option: str) -> None:
    if path.suffix != ".parquet":
        raise InputError("is no Parquet file's name", key=option, value=str(path),
                         mend="end it with .parquet")  # fmt: skip


def _opened(name: str, changes: dict[str, Any], chosen: dict[str, Any]) -> Opened:
    """The scenario a user means, with what the command line changes in it.

    Args:
        name: the scenario, or what stands for one.
        changes: keys of the scenario; those that hold None were not given.
        chosen: keys of each of its blocks; those that hold nothing were not given.
    """
    from vmexit_sim.configuration import checked
    from vmexit_sim.scenario import Scenario, find_scenario, open_scenario

    scenario, path = find_scenario(name)
    changes["costs"] = {**scenario.costs, **_costs(changes["costs"])} or None
    changes = {key: value for key, value in changes.items() if value is not None}
    chosen = {key: value for key, value in chosen.items() if value}
    blocks = [{**dict(block), **chosen} for block in scenario.blocks]
    stated = {**dict(scenario), **changes, "blocks": blocks}
    return open_scenario(checked(Scenario, stated, file="command line"), path,
                         elsewhere={*changes, *chosen})  # fmt: skip


def _costs(given: list[str] | None) -> dict[str, str]:
    """Costs as the command line states them, ``name=value``."""
    pairs = [each.partition("=") for each in given or ()]
    for name, sign, value in pairs:
        if not (name and sign and value):
            raise InputError("states no cost", key="--cost", value=name + sign + value,
                             mend="write it like thread_wake_up=8us")  # fmt: skip
    return {name.strip(): value.strip() for name, _, value in pairs}


def _existing(name: str) -> Path:
    from vmexit_sim import catalog
    from vmexit_sim.errors import nearest

    path = Path(name)
    if not path.is_file():
        raise InputError("is no trace or table", value=name,
                         mend=nearest(name, catalog.names("traces")))  # fmt: skip
    return path


def _print_json(document: object) -> None:
    import json

    print(json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False))


if __name__ == "__main__":
    main()
