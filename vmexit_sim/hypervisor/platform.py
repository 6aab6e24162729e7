"""A platform: what each part of an exit costs on one host, every number with its source.

One exit, in the order in which it passes (time runs to the right)::

    guest | world_switch_out | dispatch_* | decode_* | to_user | emulate | to_kernel | world_switch_in | guest
                                                     '---- only where the device is in user space ----'

A cost nobody published is stated as derived or assumed, never left out silently.
"""  # noqa: E501

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from vmexit_sim.catalog import find
from vmexit_sim.configuration import (
    Configured,
    Frequency,
    Time,
    checked,
    misfit,
    read_extending,
)
from vmexit_sim.distributions import Distribution, Duration
from vmexit_sim.errors import InputError, nearest
from vmexit_sim.units import parse_frequency

MARKS = {
    "R": "read in the primary text",
    "R2": "read in a later text that quotes it",
    "M": "recalled: a prior to sweep, never a target",
    "D": "derived by arithmetic from read numbers",
    "A": "assumed: nobody published it",
    "H": "measured here: on the user's own host",
}
"""How much a number is worth."""

Mark = Literal["R", "R2", "M", "D", "A", "H"]


Weight = Annotated[float, Field(ge=-1e6, le=1e6, allow_inf_nan=False)]
"""How often a measurement's mean stands in a cost."""


class Measured(Configured):
    """What was measured on a host, as a calibration wrote it down.

    Attributes:
        mean: the mean, rounded to a ps.
        error: its standard error; None: not known.
        sd: standard deviation of one sample; None: not known.
        least: the shortest sample; None: not known.
        n: how many samples; None: not known.
        file: the file it was read from.
        row: where it stands there.
    """

    mean: Time
    error: Time | None = None
    sd: Time | None = None
    least: Time | None = None
    n: Annotated[int, Field(ge=1)] | None = None
    file: str = ""
    row: str = ""


class Cost(Configured):
    """One cost with its provenance.

    Attributes:
        value: how long it takes.
        stated: the value as the file has it, where that is text ("783 cycles").
        mark: what it is worth: read [R], read in a later text [R2], recalled [M], derived [D],
            assumed [A], measured here [H].
        source: where it was read, or how it was derived, or why it was assumed.
        combination: (``from``) weights of the platform's `measurements`, by name, whose
            means sum to this cost's; empty: it was not derived from any.
        interval: the ends of the 95 % interval of its mean, in ps; None: not known.
    """

    value: Distribution
    stated: str = ""
    mark: Mark
    source: Annotated[str, Field(min_length=8)]
    combination: dict[str, Weight] = Field(default_factory=dict, alias="from")
    interval: Annotated[tuple[Time, Time], Field(strict=False)] | None = None

    @model_validator(mode="after")
    def _ordered(self) -> Cost:
        if self.interval is not None and self.interval[0] > self.interval[1]:
            raise misfit("has its interval's low end above its high end", mend="swap them")
        return self

    @model_validator(mode="before")
    @classmethod
    def _as_stated(cls, data: Any) -> Any:
        if isinstance(data, dict) and isinstance(data.get("value"), str):
            return {**data, "stated": data["value"]}
        return data


class ConstantCost(Cost):
    """A cost that adds up over several occurrences, so that it cannot be a distribution."""

    @model_validator(mode="after")
    def _constant(self) -> ConstantCost:
        if not self.value.is_constant:
            raise misfit("is a distribution, and this cost adds up over several exits",
                         mend="give its mean, a constant")  # fmt: skip
        return self


class Costs(Configured):
    """What a platform charges. Every cost is for one occurrence.

    Attributes:
        world_switch_out: leaving the guest (hardware transition and saving its state).
        world_switch_in: entering it again.
        dispatch_port: from the exit to the handler of a port access.
        dispatch_mmio: the same of a memory access (nested page fault, bus look-up).
        dispatch_hypercall: the same of a hypercall.
        decode_port_in: emulating the port-read instruction.
        decode_port_out: emulating the port-write instruction.
        decode_mmio: fetching, decoding and emulating the memory instruction.
        to_user: returning from the kernel to the VMM's user space, up to its device code.
        to_kernel: from there back into the kernel's run loop.
        complete_mmio: what completing a memory access costs beyond `to_kernel`.
        state_change: turning a function's address decoding on or off (remapping its BARs).
        page_load: a load from a page that the hypervisor mapped read-only: no exit.
        refresh_page: the VMM writing a changed register into such a page.
        gather: the guest writing one descriptor of a batch.
        item: the hypervisor taking one descriptor of a batch.
        injection: an interrupt into a running guest: the exit that lets it in, and its delivery.
        thread_wake_up: from an event sent to a sleeping thread of the host until it runs.
        pick_up: from an answer in shared memory until the spinning guest has seen it.
        native_port: one port access without a hypervisor.
        native_port_config: one config access by ports (address and data) without one.
        native_mmio: one device-memory or ECAM access without one.
        dispatch_msr: from the exit to the handler of an MSR access.
        dispatch_halt: from the exit of a HLT until the host polls or puts the vCPU to sleep.
        eoi: the interrupt controller handling an end-of-interrupt write.
        posted_injection: an interrupt into a running guest without an exit (posted).
        deliver_ipi: the interrupt controller passing an interrupt on to one target vCPU.
        vcpu_wake_up: from an interrupt for a vCPU that the host put to sleep until it runs.
        signal: signalling an eventfd in the kernel, up to waking who waits for it.
        ring_entry: the kernel writing one coalesced access into its ring.
        poll_queue: a polling side core looking into one queue.
        cache_hit: a config read that the guest answers from memory of its own.
        refill: what each exit adds to the guest's next compute: caches and TLB used by others. A
            constant.
    """

    world_switch_out: Cost
    world_switch_in: Cost
    dispatch_port: Cost
    dispatch_mmio: Cost
    dispatch_hypercall: Cost
    decode_port_in: Cost
    decode_port_out: Cost
    decode_mmio: Cost
    to_user: Cost
    to_kernel: Cost
    complete_mmio: Cost
    state_change: Cost
    page_load: Cost
    refresh_page: Cost
    gather: Cost
    item: Cost
    injection: Cost
    thread_wake_up: Cost
    pick_up: Cost
    native_port: Cost
    native_port_config: Cost
    native_mmio: Cost
    dispatch_msr: Cost
    dispatch_halt: Cost
    eoi: Cost
    posted_injection: Cost
    deliver_ipi: Cost
    vcpu_wake_up: Cost
    signal: Cost
    ring_entry: Cost
    poll_queue: Cost
    cache_hit: Cost
    refill: ConstantCost

    def items(self) -> list[tuple[str, Cost]]:
        """Names and costs, in the order above."""
        return [(name, getattr(self, name)) for name in type(self).model_fields]

    def duration(self, name: str) -> Duration:
        """How long the named cost takes."""
        cost: Cost = getattr(self, name)
        return cost.value


class Nesting(Configured):
    """What it adds that the hypervisor (L1) is itself a guest, of L0.

    An exit of the guest (L2) goes to L0, which forwards it to L1. While L1 handles it, what it
    does to its own processor exits to L0. The platform's costs are then L1's own work.

    Attributes:
        forward: L0 taking an exit of L2 to L1, and L1's resuming L2 back to L2.
        l1_exit: one exit of L1 to L0 and back.
        exits: exits of L1 for each exit of L2.
        user_exits: further exits of L1 on its way to user space and back.
        exits_source: where these two numbers are known from.
    """

    forward: Cost
    l1_exit: Cost
    exits: Annotated[int, Field(ge=0, le=1000)]
    user_exits: Annotated[int, Field(ge=0, le=1000)]
    exits_source: Annotated[str, Field(min_length=8)]


class VmmLock(Configured):
    """The lock that user-space device emulation runs under (QEMU's big lock).

    Attributes:
        discipline: who gets it next: the longest waiting, or the lowest-numbered vCPU.
        source: where this is known from.
    """

    discipline: Literal["fifo", "priority"] = "fifo"
    source: str = "assumed"


class Platform(Configured):
    """A host and its hypervisor.

    A file may say ``extends = "kvm-2017"``: then what it does not state is as there.

    Attributes:
        name: the file's name without its ending, or what the file calls itself.
        title: one line for people.
        about: what was measured, and what a user must know before trusting it.
        clock: what cycles are counted in, in Hz.
        clock_mark: how sure the clock is, as the marks of costs.
        clock_source: where the clock is known from.
        caution: what whoever reads a result must know, in a sentence; shown with every result.
        native_only: there is no hypervisor: only the mechanism `native` means anything.
        costs: what everything costs.
        vmm_lock: the lock around user-space emulation.
        nesting: if the hypervisor is a guest itself, what that adds.
        measurements: by name, what calibrated costs were derived from.
    """

    name: str = ""
    title: str
    about: str
    clock: Frequency
    clock_mark: Mark
    clock_source: str
    caution: str = ""
    native_only: bool = False
    costs: Costs
    vmm_lock: VmmLock = VmmLock()
    nesting: Nesting | None = None
    measurements: dict[str, Measured] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _derived_from_what_is_there(self) -> Platform:
        nesting = self.nesting
        own = (
            [] if nesting is None else [("forward", nesting.forward), ("l1_exit", nesting.l1_exit)]
        )
        for name, cost in [*self.costs.items(), *own]:
            for measured in cost.combination:
                if measured not in self.measurements:
                    problem = f"is what cost {name} is derived from, and no measurement"
                    mend = nearest(measured, self.measurements)
                    raise misfit(problem, value=measured, mend=mend)
        return self

    @property
    def is_random(self) -> bool:
        """Whether any cost is a distribution with spread."""
        nested = [] if self.nesting is None else [self.nesting.forward, self.nesting.l1_exit]
        costs = [*(cost for _, cost in self.costs.items()), *nested]
        return any(not cost.value.is_constant for cost in costs)


def _merged(own: dict[str, Any], base: dict[str, Any], origin: Path) -> dict[str, Any]:
    """What a platform states, and of the one that it extends what it does not."""
    for key in ("costs", "measurements"):
        if not isinstance(base.get(key, {}), dict):
            raise InputError("is no table", file=origin, key=key, mend=f"write [{key}.NAME]")
    base.pop("name", None)
    costs = own.get("costs", {})
    if isinstance(costs, dict):
        own["costs"] = {**base.get("costs", {}), **costs}
    measured = own.get("measurements", {})
    if "measurements" in base and isinstance(measured, dict):
        own["measurements"] = {**base["measurements"], **measured}
    return {**base, **own}


def load_platform(
    name: str,
    beside: Path | None = None,
    changes: Mapping[str, Any] | None = None,
    stated_in: Path | None = None,
) -> Platform:
    """The platform of that name or file.

    Args:
        name: a shipped platform, or a TOML file.
        beside: the file that names it, if any.
        changes: costs to put in place of the file's: name to a duration as files state it.
        stated_in: the file that states the changes, if any.

    Raises:
        InputError: no such platform, or its file does not fit; a cost without a source is refused.
    """
    path = find("platforms", name, beside)
    data = read_extending(path, "platforms", _merged)
    data.setdefault("name", path.name.removesuffix(".toml"))
    try:
        clock_hz = parse_frequency(data["clock"]) if "clock" in data else None
    except InputError as error:
        raise error.located(file=path, key="clock") from None
    platform = checked(Platform, data, file=path, context={"clock_hz": clock_hz, "file": path})
    if not changes:
        return platform
    changed = {}
    for key, value in changes.items():
        place = f"costs.{key}"
        if key not in Costs.model_fields:
            raise InputError("is no cost", file=stated_in, key=place,
                             mend=nearest(key, Costs.model_fields))  # fmt: skip
        stated = {"value": value, "mark": "A", "source": "set by the scenario"}
        context = {"clock_hz": clock_hz, "file": stated_in}
        model = ConstantCost if Costs.model_fields[key].annotation is ConstantCost else Cost
        changed[key] = checked(model, stated, file=stated_in, key=place, context=context)
    return platform.model_copy(update={"costs": platform.costs.model_copy(update=changed)})
