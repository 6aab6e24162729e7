"""This host as a platform: in a file for whoever simulates with it, or without one."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from vmexit_sim.calibration.measurement import Measurement
from vmexit_sim.calibration.platform_file import platform_text, write_platform
from vmexit_sim.configuration import checked
from vmexit_sim.hypervisor.platform import Costs, Platform, load_platform
from vmexit_sim.probe.calibration import Calibration, calibrate
from vmexit_sim.probe.probes import PROBES
from vmexit_sim.probe.survey import Survey

BASE = "kvm-2017"
"""Where costs come from that no probe shows."""


def stated(survey: Survey, found: Calibration, base: Platform, name: str) -> dict[str, Any]:
    """What a platform file of this host says, as `write_platform` takes it."""
    notes = "".join(f" {note[0].upper()}{note[1:]}." for note in found.notes)
    emulated = ""
    if survey.is_emulated:
        emulated = " This host emulates guest instructions, so the guest's own code is dear."
    return {
        "name": name,
        "title": f"Measured through /dev/kvm: {survey.host.cpu or 'this host'}",
        "about": f"{survey.host.text}. Single accesses of a guest of a few bytes, medians of "
                 f"blocks, over the empty loop.{emulated}{notes}",
        "caution": _caution(survey, found, base),
        "base": base,
        "costs": found.costs,
        "measurements": found.measurements,
    }  # fmt: skip


def _caution(survey: Survey, found: Calibration, base: Platform) -> str:
    """What whoever reads a result must know, in a sentence."""
    measured = [cost.name for cost in found.costs if cost.combination]
    missing = [probe.name for probe in PROBES if survey.estimate(probe.name) is None]
    lacking = f"; not measurable here: {', '.join(missing)}" if missing else ""
    others = len(Costs.model_fields) - len(measured)
    return (f"{len(measured)} costs follow from this host's measurements, {others} are those of "
            f"{base.name}{lacking}")  # fmt: skip


def write_host(path: Path, survey: Survey, base: Platform | None = None) -> Calibration:
    """Calibrate this host, and write its platform file.

    Args:
        path: the file.
        survey: what was measured.
        base: where other costs come from; None: `BASE`.

    Returns:
        The calibration, for telling what it rests on.

    Raises:
        InputError: the file cannot be written, or the base has no hypervisor or a nested one.
    """
    base = load_platform(BASE) if base is None else base
    found = calibrate(survey, base)
    write_platform(path, **stated(survey, found, base, path.name.removesuffix(".toml")))
    return found


def host_platform(survey: Survey, base: Platform, measurements: list[Measurement]) -> Platform:
    """The host as a platform, without a file.

    Args:
        survey: what was measured.
        base: where other costs come from.
        measurements: what the calibration goes by.

    Raises:
        InputError: the base has no hypervisor, or one below its own.
    """
    found = calibrate(survey, base, measurements)
    text = platform_text(**stated(survey, found, base, "this-host"))
    return checked(Platform, tomllib.loads(text), file="this host")
