"""A scenario: which guest, on which platform, under which policies.

A scenario file asks one question and holds one or more *blocks*, each a guest of its own::

    question = "Does batching help when accesses are spread?"
    platform = "kvm-2013"
    policies = ["linux-default", "hypercall", "batched-recorded"]

    [[blocks]]
    name = "bunched"
    guest = { trace = "pci-scan-q35" }
    only = ["pci_config"]

    [[blocks]]
    name = "spread"
    guest = { kind = "interrupt_service", services = 1000, … }

What a user can name on the command line instead of a file (a shipped scenario, a trace, a table, a
workload) becomes such a scenario too.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Discriminator, Field, Tag, model_validator

from vmexit_sim import catalog
from vmexit_sim.configuration import Configured, checked, misfit, quantity_schema, read_toml
from vmexit_sim.errors import InputError, nearest
from vmexit_sim.guest.generators import Generator
from vmexit_sim.hypervisor.host import TIME_SLICE
from vmexit_sim.lowering import HostCpus
from vmexit_sim.policy import PHASES
from vmexit_sim.units import MICROSECOND, PLAIN_TIME_PATTERN, parse_time

DEFAULT_SCENARIO = "bunched-and-spread"
DEFAULT_SEED = 1
RANDOM_REPLICATIONS = 10
"""Replications of a random scenario that does not say how many it wants."""


DEFAULT_POLICIES: tuple[str, ...] = (
    "linux-default", "mmio-first", "read-only-pages", "absent-page", "hypercall",
    "batched-recorded", "batched-idioms", "batched-oracle", "size-bar-hypercall",
    "late-detection", "xen-front-end", "bare-metal",
)  # fmt: skip
"""The thread's proposals, in the order in which its argument goes."""


class TraceGuest(Configured):
    """A recorded guest.

    Attributes:
        trace: a shipped trace's name, or the path of a QEMU or KVM log.
    """

    trace: str


class TableGuest(Configured):
    """A guest whose access table was saved.

    Attributes:
        table: a Parquet file's path.
    """

    table: str


class WorkloadGuest(Configured):
    """A synthetic guest in a file of its own.

    Attributes:
        workload: a shipped workload's name, or a TOML file's path.
    """

    workload: str


def guest_kind(stated: Any) -> str:
    """What kind of guest is stated: trace, table, workload or generator."""
    if isinstance(stated, dict):
        return next((key for key in ("trace", "table", "workload") if key in stated), "generator")
    tags = ((TraceGuest, "trace"), (TableGuest, "table"), (WorkloadGuest, "workload"))
    return next((tag for model, tag in tags if isinstance(stated, model)), "generator")


Guest = Annotated[
    Annotated[TraceGuest, Tag("trace")]
    | Annotated[TableGuest, Tag("table")]
    | Annotated[WorkloadGuest, Tag("workload")]
    | Annotated[Generator, Tag("generator")],
    Discriminator(guest_kind),
]


def _slice(stated: str) -> str:
    try:
        time = parse_time(stated)
    except InputError as error:
        raise misfit(error.problem, value=error.value, mend=error.mend) from None
    if time < MICROSECOND:
        raise misfit("is no time slice", value=stated, mend="give 1 us or more")
    return stated


TimeSlice = Annotated[
    str, AfterValidator(_slice), quantity_schema(PLAIN_TIME_PATTERN, "3 ms", "750 us")
]
"""A time as text, with its unit."""

ThinkScale = Annotated[float, Field(ge=0, le=1000, allow_inf_nan=False)]


class Block(Configured):
    """One guest of a scenario.

    Attributes:
        name: for tables and figures.
        guest: a recorded trace, a saved table, a workload file, or a generator's parameters.
        only: keep these accesses: spaces, kinds of operation, phases, or devices (``*`` stands
            for anything); empty: all.
        during: keep only accesses of these phases; empty: of all.
        timers: whether accesses to timers and interrupt controllers are kept. An in-kernel
            irqchip or a paravirtual clock takes most of them out of the picture, and how many
            polls a recording holds depends on the speed of emulation.
        deliveries: whether the interrupt that begins each interrupt service, and its end, are
            charged as well; a recording shows only what the driver did.
        think_scales: factors on the guest's compute for which completion time is given; the last
            is the one that all else is told for. By default 0, 0.1 and 1 for a recording, whose
            compute times are emulation's, and 1 for a synthetic guest.
    """

    name: str = ""
    guest: Guest
    only: list[str] = Field(default_factory=list)
    during: list[PHASES] = Field(default_factory=list)
    timers: bool = False
    deliveries: bool = False
    think_scales: Annotated[list[ThinkScale], Field(min_length=1)] | None = None


class Scenario(Configured):
    """One question, and what it takes to answer it.

    Attributes:
        name: the file's name without its ending, or what the file calls itself.
        title: one line for people.
        question: what the scenario asks.
        platform: the host's name or file.
        policies: names or files; the first is what the others are compared with.
        devices: the device catalog's name or file.
        costs: platform costs to replace for this scenario.
        parameters: by policy, parameters to replace for this scenario: of its mechanisms by their
            name (``max_batch``), or anything of it by its place (``idle.host_poll.longest``).
        study: "terminating": every access counts, since the guest's start is part of the question;
            "steady-state": the question is of the long run, so a warm-up is found and left out.
        cpus: physical CPUs of the host; none: one for every thread, so that nobody waits for one.
        time_slice: how long a vCPU computes before others are let onto its CPU.
        blocks: the guests.
        seed: root of all randomness.
        replications: how often a random scenario is repeated; a deterministic one runs once.
    """

    name: str = ""
    title: str = ""
    question: str = ""
    platform: str = "kvm-2013"
    policies: Annotated[list[str], Field(min_length=1)] = Field(
        default_factory=lambda: list(DEFAULT_POLICIES)
    )
    devices: str = "qemu"
    costs: dict[str, Any] = Field(default_factory=dict)
    parameters: dict[str, dict[str, Any]] = Field(default_factory=dict)
    study: Literal["terminating", "steady-state"] = "terminating"
    cpus: Annotated[int, Field(ge=1, le=65_536)] | None = None
    time_slice: TimeSlice | None = None
    blocks: Annotated[list[Block], Field(min_length=1)]
    seed: Annotated[int, Field(ge=0, le=2**63)] = DEFAULT_SEED
    replications: Annotated[int, Field(ge=1, le=100_000)] | None = None

    @model_validator(mode="after")
    def _has_cpus_to_slice(self) -> Scenario:
        if self.time_slice is not None and self.cpus is None:
            raise misfit("is there, but a CPU for every thread as well", key="time_slice",
                         value=self.time_slice, mend="state cpus, too")  # fmt: skip
        return self

    @property
    def host_cpus(self) -> HostCpus | None:
        """The host's CPUs, if there may be too few."""
        if self.cpus is None:
            return None
        stated = self.time_slice
        return HostCpus(self.cpus, TIME_SLICE if stated is None else parse_time(stated))


def find_scenario(name: str = DEFAULT_SCENARIO) -> tuple[Scenario, Path | None]:
    """The scenario that a user means.

    Args:
        name: a shipped scenario, trace or workload, or a path: of a scenario (TOML), a trace log,
            or an access table (Parquet).

    Returns:
        The scenario, and the file it came from (None: it was made for a guest).

    Raises:
        InputError: nothing of that name, or a file that does not fit.
    """
    data, path = scenario_data(name)
    return checked_scenario(data, path), path


def scenario_data(
    name: str = DEFAULT_SCENARIO, beside: Path | None = None
) -> tuple[dict[str, Any], Path | None]:
    """What the scenario that a user means states, not yet checked.

    Args:
        name: as for `find_scenario`.
        beside: the file in which the name stands, if any; a path is tried beside it first.

    Returns:
        The data, and the file it came from (None: it was made for a guest).

    Raises:
        InputError: nothing of that name, or a file that is no TOML.
    """
    scenarios = catalog.names("scenarios")
    if name in scenarios:
        return _stated(scenarios[name]), scenarios[name]
    for kind in ("traces", "workloads"):
        if name in catalog.names(kind):
            guest = {"traces": "trace", "workloads": "workload"}[kind]
            return _for_guest(name, {guest: name}), None
    path = catalog.file_named(name, beside)
    if catalog.is_result(name):
        raise InputError("is a result's name, and a result is not run", value=name,
                         mend="vmexit-sim report takes it, and load in Python")  # fmt: skip
    if path is None:
        known = [*scenarios, *catalog.names("traces"), *catalog.names("workloads")]
        raise InputError("is no scenario, trace, table or workload", value=name,
                         mend=nearest(name, known))  # fmt: skip
    if path.suffix == ".toml":
        data = read_toml(path)
        if "kind" in data:
            return _for_guest(path.stem, {"workload": str(path)}), None
        return _stated(path), path
    guest = "table" if path.suffix == ".parquet" else "trace"
    return _for_guest(path.name.split(".")[0], {guest: str(path)}), None


def _stated(path: Path) -> dict[str, Any]:
    return {"name": path.name.removesuffix(".toml"), **read_toml(path)}


def _for_guest(name: str, guest: dict[str, str]) -> dict[str, Any]:
    return {"name": name, "title": name, "blocks": [{"guest": guest}]}


def checked_scenario(data: dict[str, Any], path: Path | None = None) -> Scenario:
    """A scenario's data, checked.

    Raises:
        InputError: it does not fit; every mistake is named.
    """
    return checked(Scenario, data, file=path, context={"file": path})


def load_scenario(path: Path) -> Scenario:
    """A scenario file.

    Raises:
        InputError: it does not fit; every mistake is named.
    """
    return checked_scenario(_stated(path), path)
