"""Commands that run a scenario: compare, run, select, analytic."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from vmexit_sim.catalog import refuse_other_than_result
from vmexit_sim.cli.app import (
    OUTPUT,
    Count,
    Engine,
    Flag,
    Json,
    Names,
    OptionalCount,
    app,
    at_least,
    check_parquet,
    cores,
    print_json,
)
from vmexit_sim.cli.changes import Changes
from vmexit_sim.cli.command_line import command_of, size_text
from vmexit_sim.errors import InputError, VmexitError
from vmexit_sim.output import check_place

DEFAULT = "bunched-and-spread"


@app.command
def compare(
    scenario: str = DEFAULT,
    /,
    *,
    policy: Names = None,
    precision: str | None = None,
    budget: Count = 1000,
    input_uncertainty: Flag = False,
    engine: Engine = "auto",
    jobs: OptionalCount = None,
    changes: Changes = Changes(),  # noqa: B008 - frozen
    output: Annotated[Path | None, Parameter(name=["--output", "-o"], group=OUTPUT)] = None,
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
    precision
        Go on with replications until the time that each policy adds is known to this part of it
        ("2%"), or it and all differences to this time ("0.2 us").
    budget
        Most replications that a precision may take.
    input_uncertainty
        Of a calibrated platform: let the intervals hold how well its costs were measured, too.
    engine
        What runs it: auto, compiled or simpy; the numbers are the same to the last bit.
    jobs
        Replications that run at a time; by default as many as there are cores.
    output
        Save the whole comparison in this file (.json), for `report` and for `vmexit_sim.load`.
    json
        Print one JSON document instead of tables.
    """
    if output is not None:
        refuse_other_than_result(output, "--output")
        check_place(output)

    from vmexit_sim.present import documents, tables, terminal, uncertainty_tables
    from vmexit_sim.statistics import Precision
    from vmexit_sim.study.compare import compare as compare_policies
    from vmexit_sim.study.input_uncertainty import input_uncertainty as uncertain

    wanted = None if precision is None else Precision.parse(precision)
    opened = changes.opened(scenario, policy)
    workers = cores(jobs)
    with terminal.console(stderr=True).status("starting") as status:
        result = compare_policies(opened, status.update, engine=engine, jobs=workers,
                                  precision=wanted, budget=budget)  # fmt: skip
        uncertainty = (
            uncertain(result, engine=engine, jobs=workers, progress=status.update)
            if input_uncertainty
            else None
        )
    if output is not None:
        from vmexit_sim.study.result_file import Result, save_result

        stated = {"policy": policy, "precision": precision,
                  "budget": budget if precision else None,
                  "input-uncertainty": input_uncertainty}  # fmt: skip
        command = command_of("compare", scenario, stated, changes, output)
        size = save_result(Result(comparison=result, uncertainty=uncertainty, command=command),
                           output)  # fmt: skip
    if json:
        document = documents.comparison(result)
        if uncertainty is not None:
            document["input_uncertainty"] = uncertainty_tables.document(uncertainty)
        print_json(document)
        return
    terminal.console().print(tables.comparison(result))
    if uncertainty is not None:
        print()
        terminal.console().print(uncertainty_tables.uncertainty_report(uncertainty))
    if output is not None:
        print(f"\n{output}: {size_text(size)}")


@app.command
def run(
    scenario: str = DEFAULT,
    /,
    *,
    policy: str | None = None,
    replication: Annotated[int, Parameter(validator=at_least(0))] = 0,
    engine: Engine = "auto",
    records: Path | None = None,
    perf: Path | None = None,
    changes: Changes = Changes(),  # noqa: B008 - frozen
    json: Json = False,
) -> None:
    """Run one policy and show all there is to see.

    Parameters
    ----------
    scenario
        As for `compare`.
    policy
        The policy; by default the scenario's first.
    replication
        Which repetition of a random scenario.
    engine
        What runs it: auto, compiled or simpy; the numbers are the same to the last bit.
    records
        Write every access's record (times in ps, a column for each stage) to this Parquet file.
    perf
        Write the exits as `perf kvm stat report` prints them to this file; of one guest only.
    json
        Print one JSON document instead of tables.
    """
    from vmexit_sim.study.replication import lowered_for, run_once

    if records is not None:
        check_parquet(records, "--records")
    if perf is not None:
        check_place(perf)
    opened = changes.opened(scenario, None if policy is None else [policy])
    if perf is not None and len(opened.blocks) > 1:
        raise InputError("has several guests, and a report of exits is of one", key="--perf",
                         value=scenario, mend="name a trace or a workload")  # fmt: skip
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
    if perf is not None:
        from vmexit_sim.calibration.perf_text import perf_kvm_stat
        from vmexit_sim.output import write_content

        text = perf_kvm_stat(results[0][1])
        write_content(perf, text)
    if json:
        from vmexit_sim.present import documents

        print_json(
            {"blocks": [documents.run(opened, block, result, replication)
                        for block, result in results]}
        )  # fmt: skip
        return
    from vmexit_sim.present import terminal
    from vmexit_sim.present.run_tables import run_report

    for block, result in results:
        terminal.console().print(run_report(opened, block, result))
        print()


@app.command
def analytic(
    scenario: str = DEFAULT,
    /,
    *,
    policy: Names = None,
    engine: Engine = "auto",
    jobs: OptionalCount = None,
    changes: Changes = Changes(),  # noqa: B008 - frozen
    json: Json = False,
) -> None:
    """Put beside each simulated estimate what theory says of it, where there is one.

    Sums of costs without contention, the utilisation law, Little's law, asymptotic bounds, M/G/1,
    the machine repairman, mean value analysis. Ends with status 1 if a number misses a law that
    chance cannot break; of the laws that hold on average, one interval in twenty misses.

    Parameters
    ----------
    scenario
        As for `compare`.
    policy
        The policies; by default the scenario's.
    engine
        What runs it: auto, compiled or simpy; the numbers are the same to the last bit.
    jobs
        Replications that run at a time; by default as many as there are cores.
    json
        Print one JSON document instead of tables.
    """
    from vmexit_sim.present import terminal
    from vmexit_sim.present.twin_tables import twin_document, twin_report, verdict
    from vmexit_sim.study.compare import compare as compare_policies
    from vmexit_sim.study.twin import twins

    opened = changes.opened(scenario, policy)
    workers = cores(jobs)
    with terminal.console(stderr=True).status("starting") as status:
        comparison = compare_policies(opened, status.update, engine=engine, jobs=workers)
        status.update("theory")
        found = twins(opened, comparison, engine=engine, jobs=workers)
    if json:
        print_json(twin_document(comparison, found))
    else:
        terminal.console().print(twin_report(comparison, found))
    if any(twin.misses and twin.standing in ("identity", "bound") for twin in found):
        raise VmexitError(verdict(found))
