"""Which costs of a platform each measurement is the sum of.

::

    vmcall           world_switch_out + world_switch_in
    outl_to_kernel   the same + dispatch_port
    inl_from_kernel  the same + decode_port_in
    inl_from_qemu    the same + to_user + to_kernel

kvm-unit-tests counts cycles in the guest, so all of the exit is in them. KVM's trace events, and so
perf, begin behind the processor's way out and end before its way in: the world switch is not in
them, and has to come from elsewhere. The software that every exit passes is in both.

An exit reason is as a rule a mixture: IO_INSTRUCTION has reads and writes, of which the kernel
handles some and user space the others. Then a cost counts by its share (`Mixture`). Shares are
taken as known: how wrong they may be is in no interval, so a result must say which it took.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from vmexit_sim.calibration.measurement import Measurement
from vmexit_sim.calibration.perf_stat import PerfTable
from vmexit_sim.errors import InputError

RAREST = 0.01
"""A kind of exit that is a smaller share of a mixture is left out of it: dividing a residual by its
share would make a cost of what is mostly noise."""

SWITCH = ("world_switch_out", "world_switch_in")
USER = ("to_user", "to_kernel")
MMIO = ("dispatch_mmio", "decode_mmio")
COMPLETE = "complete_mmio"


@dataclass(frozen=True, kw_only=True)
class Mixture:
    """What an exit reason consists of, where a log does not tell.

    Attributes:
        port_reads: share of reads among port accesses, 0 to 1; None: as an ioport view says, or
            else half, as a config access by ports is a write and then a read or a write.
        port_user: share of port accesses that user space handles.
        mmio_user: share of memory accesses that user space handles.
    """

    port_reads: float | None = None
    port_user: float = 1.0
    mmio_user: float = 1.0

    def __post_init__(self) -> None:
        """Refuse what is no share.

        Raises:
            InputError: a share that is not 0 to 1.
        """
        for name in ("port_reads", "port_user", "mmio_user"):
            share = getattr(self, name)
            if share is not None and not 0 <= share <= 1:
                raise InputError("is no share", key=name, value=share, mend="give 0 to 1")


@dataclass(frozen=True, kw_only=True)
class Observation:
    """A measurement, and what it is the sum of.

    Attributes:
        measurement: what was measured.
        kinds: the kinds of exit that it is a mixture of: share, and the costs of one such exit.
        contained: costs that it contains and nothing tells apart from the others: 0 from here on.
        has_spread: whether its spread is that of single exits.
        about: what its interval spans, for people.
        is_mixture: whether shares were assumed.
        reopens: costs to measure anew if they do not suffice to explain it.
    """

    measurement: Measurement
    kinds: tuple[tuple[float, tuple[str, ...]], ...]
    contained: tuple[str, ...] = ()
    has_spread: bool = False
    about: str = ""
    is_mixture: bool = False
    reopens: tuple[str, ...] = ()

    @property
    def weights(self) -> dict[str, float]:
        """How often each cost occurs in an average exit, in order."""
        weights: dict[str, float] = {}
        for share, costs in self.kinds:
            for cost in costs:
                weights[cost] = weights.get(cost, 0.0) + share
        return {cost: weight for cost, weight in weights.items() if weight > 0}


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """Everything that was measured, by where it comes from.

    Attributes:
        unit_tests: kvm-unit-tests' results.
        tables: perf's tables.
        events: what raw KVM events say of single kinds of access.
        mixture: what exit reasons consist of.
    """

    unit_tests: Sequence[Measurement] = ()
    tables: Sequence[PerfTable] = ()
    events: Sequence[Measurement] = ()
    mixture: Mixture = field(default_factory=Mixture)

    @property
    def measurements(self) -> list[Measurement]:
        """All of them."""
        rows = [measurement for table in self.tables for measurement in table.measurements]
        return [*self.unit_tests, *rows, *self.events]


def observations(evidence: Evidence) -> list[Observation]:
    """What can be used, the surest first: later ones only say what earlier ones left open.

    Micro-benchmarks' null exit gives the world switch. Then come exits of one kind, from raw events
    of the host's own guests before micro-benchmarks; last, mixtures.
    """
    tests = {measurement.name: measurement for measurement in evidence.unit_tests}
    found = [
        *_null_exits(tests),
        *_simulated(evidence.tables),
        *_events({measurement.name: measurement for measurement in evidence.events}),
        *_unit_tests(tests),
        *_views(evidence.tables),
    ]
    return [*found, *_mixtures(evidence)]


_CYCLES = "counted in the guest, so the whole exit"
_EVENTS = (
    "kvm_exit to kvm_entry, so without the world switch, and with what the exit waited for (the "
    "VMM's lock, a CPU)"
)


def _null_exits(tests: Mapping[str, Measurement]) -> Iterator[Observation]:
    for name in ("vmcall", "vmmcall", "cpuid"):
        if name in tests:
            yield Observation(measurement=tests[name], kinds=((1.0, SWITCH),), about=_CYCLES,
                              contained=("dispatch_hypercall",))  # fmt: skip
            return


def _simulated(tables: Sequence[PerfTable]) -> Iterator[Observation]:
    """A table that holds the world switch gives it away by hypercalls that do nothing else."""
    for table in tables:
        for measurement in table.measurements:
            if table.has_null_calls and table.view == "vmexit" and measurement.name == "VMCALL":
                yield Observation(measurement=measurement, kinds=((1.0, SWITCH),), has_spread=True,
                                  contained=("dispatch_hypercall",),
                                  about="simulated: with the world switch")  # fmt: skip


def _unit_tests(tests: Mapping[str, Measurement]) -> Iterator[Observation]:
    port, read = (*SWITCH, "dispatch_port"), (*SWITCH, "dispatch_port", "decode_port_in")
    paths: tuple[tuple[str, tuple[str, ...], tuple[str, ...]], ...] = (
        ("outl_to_kernel", port, ("decode_port_out",)),
        ("portio-datamatch-eventfd:pci-io", port, ("decode_port_out", "signal")),
        ("inl_from_kernel", read, ()),
        ("inl_from_qemu", (*read, *USER), ()),
        ("portio-no-eventfd:pci-io", (*port, *USER), ()),
        ("mmio-datamatch-eventfd:pci-mem", (*SWITCH, *MMIO), ("signal",)),
        ("mmio-no-eventfd:pci-mem", (*SWITCH, *MMIO, *USER, COMPLETE), ()),
    )
    for name, costs, contained in paths:
        if name in tests:
            yield Observation(measurement=tests[name], kinds=((1.0, costs),), contained=contained,
                              about=_CYCLES)  # fmt: skip


def _events(events: Mapping[str, Measurement]) -> Iterator[Observation]:
    port, read = ("dispatch_port",), ("dispatch_port", "decode_port_in")
    paths: tuple[tuple[str, tuple[str, ...], tuple[str, ...]], ...] = (
        ("VMCALL in kernel", ("dispatch_hypercall",), ()),
        ("msr write in kernel", ("dispatch_msr",), ()),
        ("port write in kernel", port, ("decode_port_out",)),
        ("port read in kernel", read, ()),
        ("port write to user space", (*port, "decode_port_out", *USER), ()),
        ("port read to user space", (*read, *USER), ()),
        ("mmio write in kernel", MMIO, ()),
        ("mmio read in kernel", MMIO, ()),
        ("mmio write to user space", (*MMIO, *USER, COMPLETE), ()),
        ("mmio read to user space", (*MMIO, *USER, COMPLETE), ()),
    )
    for name, costs, contained in paths:
        if name in events:
            yield Observation(measurement=events[name], kinds=((1.0, costs),), contained=contained,
                              has_spread=True, about=_EVENTS)  # fmt: skip


def _views(tables: Sequence[PerfTable]) -> Iterator[Observation]:
    """A port view's row of 0xCF8: user space notes the address, and does nothing else."""
    for table in tables:
        for measurement in table.measurements:
            if table.view == "ioport" and measurement.name == "0xcf8:POUT":
                yield Observation(measurement=measurement, kinds=((1.0, USER),), has_spread=True,
                                  about="kvm_pio to kvm_entry of the config address port, which no "
                                  "kernel handles: to user space and back")  # fmt: skip


def _mixtures(evidence: Evidence) -> Iterator[Observation]:
    rows: list[tuple[Measurement, bool]] = [
        (measurement, table.is_simulated)
        for table in evidence.tables
        if table.view == "vmexit"
        for measurement in table.measurements
    ]
    by_name = {row.name: (row, simulated) for row, simulated in rows}
    mixture = evidence.mixture
    reads = port_reads(evidence)
    ports = [
        (share * way, ("dispatch_port", decode, *(USER if in_user else ())))
        for share, decode in ((1 - reads, "decode_port_out"), (reads, "decode_port_in"))
        for way, in_user in ((1 - mixture.port_user, False), (mixture.port_user, True))
    ]
    memory = [
        (1 - mixture.mmio_user, MMIO),
        (mixture.mmio_user, (*MMIO, *USER, COMPLETE)),
    ]
    parts: tuple[tuple[str, list[tuple[float, tuple[str, ...]]], bool], ...] = (
        ("VMCALL", [(1.0, ("dispatch_hypercall",))], False),
        ("MSR_WRITE", [(1.0, ("dispatch_msr",))], False),
        ("MSR_READ", [(1.0, ("dispatch_msr",))], False),
        ("IO_INSTRUCTION", ports, True),
        ("EPT_MISCONFIG", memory, True),
    )
    for name, kinds, is_mixture in parts:
        if name not in by_name:
            continue
        row, simulated = by_name[name]
        if simulated and name == "VMCALL":  # gives the world switch, or nobody knows what
            continue
        switch = SWITCH if simulated else ()
        yield Observation(
            measurement=row,
            kinds=_kinds(kinds, switch),
            has_spread=True,
            about="simulated: with the world switch" if simulated else _EVENTS,
            is_mixture=is_mixture,
            reopens=USER if name == "IO_INSTRUCTION" and mixture.port_user > 0 else (),
        )


def _kinds(
    kinds: list[tuple[float, tuple[str, ...]]], switch: tuple[str, ...]
) -> tuple[tuple[float, tuple[str, ...]], ...]:
    """Kinds of exit with the world switch in each, without what is too rare to be measured."""
    kept = [(share, costs) for share, costs in kinds if share >= RAREST]
    total = sum(share for share, _ in kept)
    return tuple((share / total, (*switch, *costs)) for share, costs in kept)


REASONS = frozenset({"VMCALL", "MSR_WRITE", "MSR_READ", "IO_INSTRUCTION", "EPT_MISCONFIG"})
"""Exit reasons that costs are taken from."""


def assumed(evidence: Evidence, name: str) -> str:
    """Which shares a mixture's intervals take as known; "" if it is no mixture."""
    mixture = evidence.mixture
    if name == "IO_INSTRUCTION":
        how = "" if mixture.port_reads is not None else (
            ", counted" if _counted(evidence) else ", not measured"
        )  # fmt: skip
        return (
            f"intervals from {name} take the share of reads ({port_reads(evidence):.0%}{how}) and "
            f"of user-space exits ({mixture.port_user:.0%}) as known"
        )
    if name == "EPT_MISCONFIG":
        return (
            f"intervals from {name} take the share of user-space exits ({mixture.mmio_user:.0%}) "
            "as known"
        )
    return ""


def port_reads(evidence: Evidence) -> float:
    """The share of reads among port accesses: stated, counted in a port view, or a half."""
    if evidence.mixture.port_reads is not None:
        return evidence.mixture.port_reads
    counts = _counted(evidence)
    return counts["PIN"] / sum(counts.values()) if counts else 0.5


def _counted(evidence: Evidence) -> dict[str, int]:
    """Port reads and writes that a port view counted; empty: there is none."""
    counts = {"PIN": 0, "POUT": 0}
    for table in evidence.tables:
        for row in table.measurements:
            direction = row.name.rpartition(":")[2]
            if table.view == "ioport" and direction in counts:
                counts[direction] += row.n or 0
    return counts if any(counts.values()) else {}
