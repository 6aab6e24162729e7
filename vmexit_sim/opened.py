"""An opened scenario: the guest of each block, the platform and the policies that it names.

::

    scenario (text) ──► names ──► files ──► blocks (guests at each think scale), platform, policies

A mistake in what is named is reported where it is named.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

from vmexit_sim import catalog
from vmexit_sim.configuration import checked, read_toml
from vmexit_sim.device import DeviceCatalog, load_devices
from vmexit_sim.errors import InputError, nearest
from vmexit_sim.guest.emulation import Emulated
from vmexit_sim.guest.qemu_trace import Trace
from vmexit_sim.guest.selection import count_during, select, selectable, with_deliveries
from vmexit_sim.guest.table import AccessTable
from vmexit_sim.guest.table_file import load_table
from vmexit_sim.guest.trace_formats import read_any_trace
from vmexit_sim.guest.workload import Recorded, Scaled, Workload
from vmexit_sim.hypervisor.platform import Platform, load_platform
from vmexit_sim.mechanisms.native import Native
from vmexit_sim.policy import Match, Policy, load_policy
from vmexit_sim.scenario import (
    RANDOM_REPLICATIONS,
    Block,
    Scenario,
    TableGuest,
    TraceGuest,
    WorkloadGuest,
    guest_kind,
)


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
    places = [f"{holder}.{guest_kind(guest)}" for holder in holders[:2]] + holders
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
