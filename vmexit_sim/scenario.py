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

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal, Protocol

from pydantic import AfterValidator, Discriminator, Field, Tag, model_validator

from vmexit_sim import catalog
from vmexit_sim.configuration import Configured, checked, misfit, quantity_schema, read_toml
from vmexit_sim.device import DeviceCatalog, load_devices
from vmexit_sim.errors import InputError, nearest
from vmexit_sim.guest.emulation import Emulated
from vmexit_sim.guest.generators import Generator
from vmexit_sim.guest.qemu_trace import Trace
from vmexit_sim.guest.selection import count_during, select, selectable, with_deliveries
from vmexit_sim.guest.table import AccessTable
from vmexit_sim.guest.table_file import load_table
from vmexit_sim.guest.trace_formats import read_any_trace
from vmexit_sim.guest.workload import Recorded, Scaled, Workload
from vmexit_sim.hypervisor.host import TIME_SLICE
from vmexit_sim.hypervisor.platform import Platform, load_platform
from vmexit_sim.lowering import HostCpus
from vmexit_sim.mechanisms.native import Native
from vmexit_sim.policy import PHASES, Match, Policy, load_policy
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


def _guest_kind(stated: Any) -> str:
    if isinstance(stated, dict):
        return next((key for key in ("trace", "table", "workload") if key in stated), "generator")
    tags = ((TraceGuest, "trace"), (TableGuest, "table"), (WorkloadGuest, "workload"))
    return next((tag for model, tag in tags if isinstance(stated, model)), "generator")


Guest = Annotated[
    Annotated[TraceGuest, Tag("trace")]
    | Annotated[TableGuest, Tag("table")]
    | Annotated[WorkloadGuest, Tag("workload")]
    | Annotated[Generator, Tag("generator")],
    Discriminator(_guest_kind),
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


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """A block with everything it names opened.

    Attributes:
        name: the block's name.
        workloads: the guest at each think scale.
        table: its accesses, for what a policy reaches; of a synthetic guest examples only.
        is_recorded: whether the table is all there is.
        left_out: accesses to timers and interrupt controllers that were not asked for.
    """

    name: str
    workloads: dict[float, Workload]
    table: AccessTable
    is_recorded: bool
    left_out: int = 0

    @property
    def main_scale(self) -> float:
        """The think scale that results are told for."""
        return list(self.workloads)[-1]


class Asked(Protocol):
    """What was asked: all that is told of a result beside its numbers.

    Attributes:
        scenario: as it was effective.
        platform: with the scenario's costs in place.
        policies: in the scenario's order.
        is_random: whether replications can differ.
    """

    @property
    def scenario(self) -> Scenario: ...  # noqa: D102

    @property
    def platform(self) -> Platform: ...  # noqa: D102

    @property
    def policies(self) -> Sequence[Policy]: ...  # noqa: D102

    @property
    def is_random(self) -> bool: ...  # noqa: D102


@dataclass(frozen=True, kw_only=True)
class Opened:
    """A scenario with everything it names opened, ready to run."""

    scenario: Scenario
    platform: Platform
    policies: list[Policy]
    catalog: DeviceCatalog
    blocks: list[Loaded]

    @property
    def is_random(self) -> bool:
        """Whether replications can differ."""
        return self.platform.is_random or any(
            workload.is_random for block in self.blocks for workload in block.workloads.values()
        )

    @property
    def replications(self) -> int:
        """How many replications to run."""
        if not self.is_random:
            return 1
        return self.scenario.replications or RANDOM_REPLICATIONS


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


def open_scenario(
    scenario: Scenario,
    path: Path | None = None,
    elsewhere: Mapping[str, Path | None] = MappingProxyType({}),
) -> Opened:
    """Open everything that a scenario names.

    Args:
        scenario: what to open.
        path: the file it stands in; names in it may be relative to that.
        elsewhere: keys that were not stated in that file, and the one that they were stated in
            (None: none, but by the user): their names are relative to that, and errors name it.
            Of what a guest names whole places, like ``blocks.0.guest.trace``.

    Raises:
        InputError: something named is not there, or does not fit.
    """

    def stated_in(key: str) -> Path | None:
        return elsewhere.get(key, path)

    beside = stated_in("devices")
    with _at(beside, "devices"):
        devices = load_devices(str(catalog.find("devices", scenario.devices, beside)))
    beside = stated_in("platform")
    with _at(beside, "platform"):
        platform = load_platform(scenario.platform, beside, scenario.costs, stated_in("costs"))
    policies = []
    beside = stated_in("policies")
    for number, name in enumerate(dict.fromkeys(scenario.policies)):
        with _at(beside, f"policies.{number}"):
            policies.append(load_policy(name, beside, scenario.parameters.get(name),
                                        stated_in("parameters")))  # fmt: skip
            _refuse_traps_without_hypervisor(platform, policies[-1])
    for name in scenario.parameters:
        if name not in scenario.policies:
            raise InputError(
                "is no policy of this scenario", file=stated_in("parameters"),
                key=f"parameters.{name}", mend=nearest(name, scenario.policies),
            )  # fmt: skip
    blocks = []
    for number, block in enumerate(scenario.blocks):
        beside = guest_stated_in(number, block.guest, path, elsewhere)
        with _at(stated_in("only") or beside, f"blocks.{number}"):
            blocks.append(load_block(block, devices, beside, scenario.name))
    return Opened(
        scenario=scenario, platform=platform, policies=policies, catalog=devices, blocks=blocks
    )


def _refuse_traps_without_hypervisor(platform: Platform, policy: Policy) -> None:
    everything = any(
        isinstance(rule.mechanism, Native) and rule.side == "host" and rule.match == Match()
        for rule in policy.rules
    )
    if platform.native_only and not everything:
        raise InputError(
            f"traps, and on the platform {platform.name} there is nobody to trap to",
            value=policy.name, mend="take the policy bare-metal, or another platform",
        )  # fmt: skip


@contextmanager
def _at(path: Path | None, key: str) -> Iterator[None]:
    """Say where in a scenario something is named that cannot be found."""
    try:
        yield
    except InputError as error:
        raise error if path is None else error.located(file=path, key=key) from None


def load_block(
    block: Block, devices: DeviceCatalog, path: Path | None = None, name: str = ""
) -> Loaded:
    """A block's guest, with the accesses it asks for.

    Raises:
        InputError: the guest is not there, or nothing is left of it.
    """
    guest = block.guest
    if isinstance(guest, WorkloadGuest):
        guest = load_workload(guest.workload, path)
    opened: Callable[[AccessTable], Workload] = Recorded
    if isinstance(guest, TraceGuest):
        table = cached_trace(file_of(guest.trace, path), devices).table
        opened = partial(Emulated, catalog=devices)
    elif isinstance(guest, TableGuest):  # its emulation times are its own
        table = load_table(file_of(guest.table, path))
    else:
        if block.only or block.during or block.deliveries:
            key = next(key for key in ("only", "during", "deliveries") if getattr(block, key))
            raise InputError("is for recorded guests, and this one is synthetic", key=key,
                             mend="use the generator's parameters")  # fmt: skip
        workloads = {scale: scaled(guest, scale) for scale in block.think_scales or [1.0]}
        return Loaded(name=block.name or name, workloads=workloads, table=guest.examples(),
                      is_recorded=False)  # fmt: skip
    chosen = select(table, block.only, during=block.during, timers=block.timers)
    left_out = 0
    if not (block.timers or block.only):
        left_out = count_during(table, block.during) - len(chosen)
    del table  # a long one is not to stand in memory twice
    if block.deliveries:
        chosen = with_deliveries(chosen)
    if not len(chosen):
        named = guest.trace if isinstance(guest, TraceGuest) else guest.table
        raise InputError(f"leaves no access of {named}", key="only", value=block.only,
                         mend=f"known: {', '.join(selectable(chosen))}")  # fmt: skip
    scales = block.think_scales or [0.0, 0.1, 1.0]
    for scale in scales:
        chosen.check_think_scale(scale)
    recorded = opened(chosen)
    return Loaded(
        name=block.name or name,
        workloads={scale: scaled(recorded, scale) for scale in scales},
        table=chosen,
        is_recorded=True,
        left_out=left_out,
    )


def file_of(name: str, beside: Path | None) -> Path:
    """A recorded guest's file: any file that is there, whatever its name ends in."""
    return catalog.file_named(name, beside) or catalog.find("traces", name, beside)


def guest_stated_in(
    number: int, guest: Any, path: Path | None, elsewhere: Mapping[str, Path | None]
) -> Path | None:
    """The file that states a block's guest; None: none, but the user.

    Args:
        number: the block's.
        guest: what it states.
        path: the scenario's file, if any.
        elsewhere: as for `open_scenario`.
    """
    holders = [f"blocks.{number}.guest", "blocks.*.guest", f"blocks.{number}", "blocks.*"]
    places = [f"{holder}.{_guest_kind(guest)}" for holder in holders[:2]] + holders
    for place in places:
        if place in elsewhere:
            return elsewhere[place]
    return path or elsewhere.get("blocks")


def load_workload(name: str, beside: Path | None = None) -> Any:
    """A synthetic guest from a file.

    Raises:
        InputError: no such file, or it does not fit.
    """
    path = catalog.find("workloads", name, beside)
    data = read_toml(path)
    for key in ("title", "about"):  # for people
        if not isinstance(text := data.pop(key, ""), str):
            raise InputError("is no text", file=path, key=key, value=text)
    block = checked(Block, {"guest": data}, file=path, context={"file": path})
    return block.guest


def cached_trace(path: Path, devices: DeviceCatalog) -> Trace:
    """A trace, read once per process as long as its file does not change.

    Raises:
        InputError: as `read_any_trace`.
    """
    try:
        stat = path.stat()
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", file=path) from None
    return _traced(path, devices, stat.st_mtime_ns, stat.st_size, stat.st_ino)


@lru_cache(maxsize=16)
def _traced(path: Path, devices: DeviceCatalog, *version: int) -> Trace:
    return read_any_trace(path, devices)


def scaled(workload: Any, scale: float) -> Workload:
    """A guest whose compute is multiplied."""
    made: Workload = workload if scale == 1 else Scaled(workload, scale)
    return made
