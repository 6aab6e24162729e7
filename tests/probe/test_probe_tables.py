"""What people and programs are shown of a probe."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from io import StringIO

import pytest
from rich.console import Console, RenderableType

from vmexit_sim.hypervisor.platform import load_platform
from vmexit_sim.present.probe_tables import (
    probe_document,
    probe_report,
    ratio_lines,
    validation_report,
    verdict,
)
from vmexit_sim.probe import probes as p
from vmexit_sim.probe.calibration import calibrate
from vmexit_sim.probe.composites import ITEM, LOOP
from vmexit_sim.probe.host import HostFacts
from vmexit_sim.probe.probes import Measured, failed
from vmexit_sim.probe.survey import Survey
from vmexit_sim.probe.validation import Prediction
from vmexit_sim.statistics import exact

HOST = HostFacts(cpu="a CPU", vendor="GenuineIntel", kernel="6.0", module="kvm_intel",
                 nested=True, cpus=2, load=0.5, began="2026-01-01T00:00:00+00:00")  # fmt: skip


def took(name: str, ns: float, exits: float = 0.0, disturbed: int = 0) -> Measured:
    whole = tuple(1000 * (100 + ns + wobble) for wobble in range(-5, 6))
    return Measured(name=name, verdict="measured", whole=whole, control=(100_000.0,) * 11,
                    exits={"IO": exits} if exits else {}, items=exits, iterations=50,
                    set_aside=2, disturbed=disturbed)  # fmt: skip


SURVEY = Survey(
    host=HOST,
    measured={
        each.name: each
        for each in (
            took(p.PORT_WRITE, 2000, 1),
            took(p.PORT_EVENTFD, 500),
            took(p.MMIO_WAS_READ, 3000, 1, disturbed=3),
            took(p.PAGE_WAS_READ, 100),
            failed(p.HYPERCALL, "hung", "no answer in 10 s; ended by force"),
            took(LOOP, 900),
            took(ITEM, 10),
        )
    },
)

GUESSED = Prediction(name="two at once", policy="trap_pio", accesses=1, predicted=exact(12_000_000),
                     measured=exact(10_000_000))  # fmt: skip


def shown(report: RenderableType) -> str:
    out = StringIO()
    Console(file=out, width=140).print(report)
    return out.getvalue()


def test_a_report_names_the_host_and_every_probe_with_its_interval() -> None:
    text = shown(probe_report(SURVEY, calibrate(SURVEY, load_platform("kvm-2017"))))
    assert "a CPU; Linux 6.0; kvm_intel; itself a guest" in text
    assert re.search(r"port write to user space +2\.000\d* ± 0\.00\d+ µs +100", text)
    assert "11 (3 disturbed)" in text
    assert "hypercall: hung; no answer in 10 s; ended by force" in text
    assert "emulated one by one" in text
    assert "Not measured, as on the base platform: " in text


def test_ratios_are_of_what_was_measured() -> None:
    first, second = ratio_lines(SURVEY)
    assert first.startswith("An MMIO read that exits takes 30.")
    assert second.startswith("A port write to user space takes 4.0")


def test_a_miss_is_marked_and_named() -> None:
    good = replace(GUESSED, name="one", predicted=exact(10_100_000))
    text = shown(validation_report([GUESSED, good]))
    assert "+20.0 % !" in text
    assert "+1.0 % !" not in text
    assert verdict([GUESSED, good]) == (
        "1 of 2 predictions lie within 15 % of what was measured. Off are two at once by +20.0 %."
    )
    assert verdict([good]).startswith("All 1 predictions lie within 15 %")


def test_what_was_not_measured_is_said_and_not_judged() -> None:
    none = replace(GUESSED, measured=None, why="two vCPUs at a time take two CPUs of the host")
    assert "two at once: not measured, two vCPUs" in shown(validation_report([none]))
    assert verdict([none]) == "No composite guest could be measured here."


def test_a_document_is_json_and_holds_every_number() -> None:
    calibration = calibrate(SURVEY, load_platform("kvm-2017"))
    document = probe_document(SURVEY, calibration, [GUESSED])
    again = json.loads(json.dumps(document, allow_nan=False))
    probes = {each["name"]: each for each in again["probes"]}
    assert probes[p.PORT_WRITE]["over"]["value"] == pytest.approx(2_000_000)
    assert probes[p.PORT_WRITE]["code"] == "EE"
    assert probes[p.HYPERCALL]["verdict"] == "hung"
    assert again["validation"]["guests"][0]["error"] == pytest.approx(0.2)
    assert {"name", "value", "combination", "source"} <= set(again["calibration"]["costs"][0])
