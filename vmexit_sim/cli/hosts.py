"""Commands that make a platform of a real host: calibrate, probe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from vmexit_sim.cli.app import Flag, Json, app, print_json
from vmexit_sim.errors import InputError

Output = Annotated[Path | None, Parameter(name=["--output", "-o"])]


@app.command
def calibrate(
    files: list[str],
    /,
    *,
    name: str | None = None,
    output: Output = None,
    base: str = "kvm-2017",
    clock: str | None = None,
    constant: Flag = False,
    port_reads: float | None = None,
    port_user: float = 1.0,
    mmio_user: float = 1.0,
    json: Json = False,
) -> None:
    """Make a platform from measurements: what they identify, with intervals, and what not.

    Parameters
    ----------
    files
        Reports of `perf kvm stat`, logs of kvm-unit-tests' vmexit, logs of KVM's events
        (trace-cmd, perf script, ftrace); plain, .gz or .xz.
    name
        What the platform calls itself; by default as its file.
    output
        The platform file to write (.toml); without it the costs are only shown.
    base
        The platform that gives what was not measured.
    clock
        The host's time-stamp counter ("3.5 GHz"), where a log counts cycles and does not say it.
    constant
        Leave out the spread of exits: costs are their means, and what is simulated is exact.
    port_reads
        The share of reads among port exits (0 … 1), where no file tells it; by default a half.
    port_user
        The share of port exits that user space handles (0 … 1).
    mmio_user
        The same of memory exits.
    json
        Print one JSON document instead of tables.
    """
    from vmexit_sim.calibration.calibrate import calibrate as calibrated
    from vmexit_sim.calibration.calibrate import write_calibration
    from vmexit_sim.calibration.observations import Mixture
    from vmexit_sim.present import terminal
    from vmexit_sim.present.calibration_tables import calibration_document, calibration_report
    from vmexit_sim.units import parse_frequency

    _check_toml(output)
    try:
        hertz = None if clock is None else parse_frequency(clock)
    except InputError as error:
        raise error.located(key="--clock") from None
    mixture = Mixture(port_reads=port_reads, port_user=port_user, mmio_user=mmio_user)
    with terminal.console(stderr=True).status("reading"):
        found = calibrated(files, base=base, clock=hertz, mixture=mixture, spread=not constant)
    if output is not None:
        write_calibration(output, found, name or output.stem)
    if json:
        print_json(calibration_document(found))
        return
    terminal.console().print(calibration_report(found))
    if output is not None:
        print(f"platform: {output}; `vmexit-sim compare --platform {_path(output)}` uses it")


@app.command
def probe(
    *,
    output: Output = None,
    validate: Flag = False,
    base: str = "kvm-2017",
    json: Json = False,
) -> None:
    """Measure this host's exits through /dev/kvm, and make a platform of them.

    Runs guests of a few bytes of machine code, each in a process with a time limit. Needs access to
    /dev/kvm and nothing else; without it, ends with status 3.

    Parameters
    ----------
    output
        The platform file to write (.toml).
    validate
        Predict four composite guests from the single accesses, measure them, and show both.
    base
        The platform that gives what cannot be measured here.
    json
        Print one JSON document instead of tables.
    """
    from vmexit_sim import probe as probing
    from vmexit_sim.calibration.base import check_base
    from vmexit_sim.hypervisor.platform import load_platform
    from vmexit_sim.present import probe_tables, terminal

    _check_toml(output)
    platform = load_platform(base)
    check_base(platform)
    with terminal.console(stderr=True).status("probing") as status:
        survey = probing.survey(with_composites=validate, said=status.update)
        found = (
            probing.calibrate(survey, platform)
            if output is None
            else probing.write_host(output, survey, platform)
        )
        status.update("predicting")
        predictions = probing.validate(survey, platform) if validate else None
    if json:
        print_json(probe_tables.probe_document(survey, found, predictions))
        return
    terminal.console().print(probe_tables.probe_report(survey, found))
    if predictions is not None:
        print()
        terminal.console().print(probe_tables.validation_report(predictions))
    if output is not None:
        print(f"platform: {output}; `vmexit-sim compare --platform {_path(output)}` uses it")


def _check_toml(output: Path | None) -> None:
    """Refuse a file that could not be written, before anything is measured."""
    if output is None:
        return
    if output.suffix != ".toml":
        raise InputError("is no platform file's name", key="--output", value=str(output),
                         mend="end it with .toml")  # fmt: skip
    if not output.parent.is_dir():
        raise InputError("is in no existing folder", key="--output", value=str(output),
                         mend="make the folder first")  # fmt: skip


def _path(output: Path) -> str:
    """A file's name as the command line takes it for a path."""
    return str(output) if len(output.parts) > 1 else f"./{output}"
