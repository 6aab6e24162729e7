"""A platform from single accesses: which cost follows from which measurement.

What is measured are whole accesses, so a cost is a difference of them. With W, R a port write and
read that go to user space, K a port write that the kernel handles, E one that signals an eventfd,
F an MMIO write that does, M the mean of MMIO write and read, S a hypercall (or CPUID)::

    world switch out + in            S        where S is an exit of its own, else a share of K
    dispatch + decode (port out)     K - S
    decode (port in)                 that of port out + R - W
    signal                           E - K
    to user space + back             W - K
    dispatch + decode (MMIO)         F - (E - K) - S
    complete MMIO                    M - F + E - W

A sum of two costs is split as the base platform does, or evenly; no probe can tell its parts apart,
and no path through an exit needs them apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from vmexit_sim.calibration.base import check_base
from vmexit_sim.calibration.costs import Calibrated, combined
from vmexit_sim.calibration.measurement import Measurement
from vmexit_sim.calibration.platform_file import shown_interval, stated_time
from vmexit_sim.hypervisor.platform import Costs, Platform
from vmexit_sim.probe import probes as p
from vmexit_sim.probe.composites import HOLD, ITEM, LOOP, SPIN
from vmexit_sim.probe.kvm import DEVICE
from vmexit_sim.probe.survey import Survey
from vmexit_sim.statistics import median
from vmexit_sim.units import format_time

Sum = dict[str, float]
"""A weighted sum of measured means, by name."""

NORMAL = 1.959964
"""Standard errors that half of a 95 % interval has."""

WELL_BELOW = 0.9
"""An exit that only switches must take less than this part of one that also does something."""

SINGLE = (*(each.name for each in p.PROBES if each.items == 1), ITEM, LOOP, SPIN, HOLD)
"""What counts as a single access or as a part that is none; no composite guest is among them."""


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """A host's costs.

    Attributes:
        costs: those that the measurements tell.
        measurements: what they were derived from.
        notes: what a reader must know: what was split how, and what could not be told.
        taken_over: costs of the base that no probe shows.
    """

    costs: list[Calibrated]
    measurements: list[Measurement]
    notes: list[str] = field(default_factory=list)
    taken_over: list[str] = field(default_factory=list)


def measurements_of(survey: Survey) -> list[Measurement]:
    """The survey's single accesses as measurements.

    Each one's mean is the median of its blocks, and its standard error a normal interval's that is
    as wide as the one between order statistics: blocks are means of many exits, and some of them
    were hit by the host's other users. A block is no exit, so no spread of exits is stated.
    """
    return [measurement_of(name, survey) for name in SINGLE if _has(survey, name)]


def measurement_of(name: str, survey: Survey) -> Measurement:
    """One of them, whether it is a single access or not.

    Raises:
        KeyError: it was not measured.
    """
    found = survey.measured[name]
    middle = median(found.over)
    sure = middle.half_width < float("inf")
    return Measurement(
        name=name,
        mean=max(middle.value, 0.0),
        error=middle.half_width / NORMAL if sure else None,
        n=len(found.over),
        least=max(min(found.over), 0.0),
        file=DEVICE,
        row=f"median of {len(found.over)} blocks of {found.iterations} iterations",
    )


def _has(survey: Survey, name: str) -> bool:
    found = survey.measured.get(name)
    return found is not None and found.verdict == "measured" and bool(found.whole)


def plus(*terms: tuple[float, Mapping[str, float]]) -> Sum:
    """A weighted sum of sums; what cancels is left out."""
    total: Sum = {}
    for weight, each in terms:
        for name, own in each.items():
            total[name] = total.get(name, 0.0) + weight * own
    return {name: weight for name, weight in total.items() if abs(weight) > 1e-12}


def of(name: str) -> Sum:
    """One measurement alone."""
    return {name: 1.0}


class _Book:
    """The costs as they are written down."""

    def __init__(self, measurements: list[Measurement], *, is_emulated: bool) -> None:
        self.measurements, self.is_emulated = measurements, is_emulated
        self.costs: list[Calibrated] = []
        self.notes: list[str] = []

    def mean(self, total: Sum) -> float:
        return combined(self.measurements, total)[0]

    def note(self, cost: str, total: Sum, how: str, mark: str = "H") -> None:
        """Write a cost down; one that comes out below zero is none."""
        mean, low, high = combined(self.measurements, total)
        if not total:
            low = high = 0.0
            mark = "D" if mark == "H" else mark
        if "split" in how and mark == "H":  # a share of a measured sum is derived
            mark = "D"
        if mean < 0:
            self.notes.append(f"{cost} comes out at {format_time(mean)}; stated as 0")
        shown = shown_interval(low, high)
        self.costs.append(
            Calibrated(
                name=cost,
                value=stated_time(max(mean, 0.0)),
                combination=total,
                low=None if low is None else max(low, 0.0),
                high=None if high is None else max(high, 0.0),
                mark=mark,
                source=f"/dev/kvm on this host: {how}; {shown}",
            )
        )


def calibrate(
    survey: Survey, base: Platform, measurements: list[Measurement] | None = None
) -> Calibration:
    """A host's costs from its single accesses.

    Args:
        survey: what was measured.
        base: shares sums of two costs out where nothing else does.
        measurements: in place of the survey's own; with the same names.

    Raises:
        InputError: the base has no hypervisor, or one below its own.
    """
    check_base(base)
    book = _Book(
        measurements_of(survey) if measurements is None else measurements,
        is_emulated=survey.is_emulated,
    )
    known = {each.name for each in book.measurements}
    if p.PORT_WRITE in known:
        _exits(book, base, known)
    else:
        book.notes.append("port writes could not be measured: no exit's cost is calibrated")
    for cost, name, how in (
        ("page_load", p.PAGE_WAS_READ, "a read of a KVM_MEM_READONLY slot"),
        ("gather", p.DESCRIPTOR, "four bytes written to guest memory"),
        ("item", ITEM, "the handler's work for one item, timed without a guest"),
    ):
        if name in known:
            book.note(cost, of(name), how)
    if ITEM in known:
        how = "a store by user space, taken to cost what an item does"
        book.note("refresh_page", of(ITEM), how, "A")
    own = {cost.name for cost in book.costs}
    taken = [name for name in Costs.model_fields if name not in own]
    return Calibration(
        costs=book.costs, measurements=book.measurements, notes=book.notes, taken_over=taken
    )


def _exits(book: _Book, base: Platform, known: set[str]) -> None:
    write = of(p.PORT_WRITE)
    kernel, signal, how_kernel = _in_kernel(book, base, known)
    switch, work = _switch(book, base, kernel, known)
    split, even = "split as on the base platform", "split evenly"
    dispatch, decode = _shares(base, "dispatch_port", "decode_port_out")
    book.note("dispatch_port", plus((dispatch, work)), f"{how_kernel} less the switches, {split}")
    book.note("decode_port_out", plus((decode, work)), f"{how_kernel} less the switches, {split}")
    if p.PORT_READ in known:
        more = plus((decode, work), (1, of(p.PORT_READ)), (-1, write))
        book.note("decode_port_in", more, "as a port write's, and a port read less a port write")
    if signal is not None:
        book.note("signal", signal, "an ioeventfd less a port write that the kernel handles")
    call = p.HYPERCALL in known and p.HYPERCALL in switch
    book.note(
        "dispatch_hypercall", {} if call else work,
        "contained in the hypercall that the switches were taken from" if call
        else "hypercalls do not tell it here: taken as a port's dispatch and decode",
        "D" if call else "A",
    )  # fmt: skip
    user = plus((1, write), (-1, kernel))
    for cost in ("to_user", "to_kernel"):
        book.note(cost, plus((0.5, user)), f"a port write to user space less {how_kernel}, {even}")
    _memory(book, base, known, switch, user, signal or {})


def _in_kernel(book: _Book, base: Platform, known: set[str]) -> tuple[Sum, Sum | None, str]:
    """A port write that stays in the kernel, the signal of an eventfd, and what the first is."""
    event, own = p.PORT_EVENTFD in known, p.KERNEL_WRITE in known
    if own:
        signal = plus((1, of(p.PORT_EVENTFD)), (-1, of(p.KERNEL_WRITE))) if event else None
        return of(p.KERNEL_WRITE), signal, "a port write that the kernel handles"
    if event:
        book.notes.append("no port write that the kernel handles: signals are part of dispatch")
        return of(p.PORT_EVENTFD), {}, "a port write to an ioeventfd"
    costs = base.costs
    inside = sum(costs.duration(name).mean_ps for name in _KERNEL_PART)
    whole = inside + sum(costs.duration(name).mean_ps for name in ("to_user", "to_kernel"))
    share = inside / whole if whole else 0.5
    book.notes.append("nothing stays in the kernel here: its part of an exit is the base's share")
    return plus((share, of(p.PORT_WRITE))), None, "its share on the base platform"


_KERNEL_PART = ("world_switch_out", "world_switch_in", "dispatch_port", "decode_port_out")


def _switch(book: _Book, base: Platform, kernel: Sum, known: set[str]) -> tuple[Sum, Sum]:
    """Both world switches, and what else a port write costs in the kernel.

    Where instructions are emulated, those that would only switch make no exit at all.
    """
    limit = 0.0 if book.is_emulated else WELL_BELOW * book.mean(kernel)
    name = next(
        (each for each in (p.HYPERCALL, p.CPUID_EXIT)
         if each in known and book.mean(of(each)) < limit),
        None,
    )  # fmt: skip
    if name is not None:
        switch, how = of(name), f"{name}, split evenly"
    else:
        parts = [base.costs.duration(each).mean_ps for each in _KERNEL_PART]
        share = sum(parts[:2]) / sum(parts) if sum(parts) else 1.0
        switch = plus((share, kernel))
        how = "the base platform's share of a port write that stays in the kernel, split evenly"
        book.notes.append(
            "no exit was seen that only switches: the world switch cannot be told from dispatch "
            "and decode, and is the base platform's share of them"
        )
    for cost in ("world_switch_out", "world_switch_in"):
        book.note(cost, plus((0.5, switch)), how)
    return switch, plus((1, kernel), (-1, switch))


def _memory(
    book: _Book, base: Platform, known: set[str], switch: Sum, user: Sum, signal: Sum
) -> None:
    """What memory accesses cost; as on a port where they were not measured."""
    both = [name for name in (p.MMIO_WRITTEN, p.MMIO_WAS_READ) if name in known]
    if not both:
        return
    access = plus(*((1 / len(both), of(name)) for name in both))
    beyond = plus((1, access), (-1, switch), (-1, user))
    work, complete, how = beyond, {}, "MMIO to user space less switches and the way there"
    if p.MMIO_EVENTFD in known:
        inside = plus((1, of(p.MMIO_EVENTFD)), (-1, signal), (-1, switch))
        rest = plus((1, beyond), (-1, inside))
        if book.mean(inside) >= 0 and book.mean(rest) >= 0:
            work, complete, how = inside, rest, "MMIO to an ioeventfd less switches and signal"
    dispatch, decode = _shares(base, "dispatch_mmio", "decode_mmio")
    for cost, share in (("dispatch_mmio", dispatch), ("decode_mmio", decode)):
        book.note(cost, plus((share, work)), f"{how}, split as on the base platform")
    book.note("complete_mmio", complete, "MMIO to user space, mean of write and read, less the rest"
              if complete else "no more than completing a port access")  # fmt: skip
    if p.COALESCED in known:
        drains = 1 / RING_ENTRIES
        ring = plus((1, of(p.COALESCED)), (-1, switch), (-1, work),
                    (-drains, user), (-drains, complete))  # fmt: skip
        book.note("ring_entry", ring, "coalesced MMIO less dispatch, decode and a share of drains")


RING_ENTRIES = 170
"""Coalesced writes for each exit: a ring of (4096 - 8) / 24 entries, one of which stays free, and
the write that finds it full."""


def _shares(base: Platform, first: str, second: str) -> tuple[float, float]:
    """How the base shares a sum out between two costs."""
    a, b = (base.costs.duration(name).mean_ps for name in (first, second))
    return (a / (a + b), b / (a + b)) if a + b else (1.0, 0.0)
