"""The access table: everything a guest does to its devices, one row per access.

::

    vcpu  compute   space       write  device   operation   needed_by
    0     1.2 us    pci_config  no     nvme     17 (BAR)    row 3
    0     0.1 us    pci_config  yes    nvme     17          -
    ...

Rows stand grouped by vCPU, in program order within each. Every random quantity that belongs to an
access is a column, drawn when the table is made, so that every policy meets the same guest. Tables
come from generators and from recorded traces; nothing downstream can tell which.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum, IntFlag
from typing import Any

import numpy as np
import numpy.typing as npt

from vmexit_sim.errors import InputError
from vmexit_sim.units import LONGEST_PS

NEVER = -1
"""In `needed_by`: nobody consumes a result. In `arrival`: the access waits for no moment."""


class Space(IntEnum):
    """Which of the guest's address spaces an access goes to."""

    PCI_CONFIG = 0
    PORT_IO = 1
    MMIO = 2
    DOORBELL = 3
    MSR = 4


class Agent(IntEnum):
    """Whose code made the access."""

    FIRMWARE = 0
    EARLY_KERNEL = 1  # direct 0xCF8/0xCFC accesses, before the config routines exist
    KERNEL = 2  # through the kernel's config-access routines
    DRIVER = 3


class Phase(IntEnum):
    """When in the guest's life the access falls."""

    FIRMWARE = 0
    EARLY_KERNEL = 1
    KERNEL = 2
    USER = 3
    MODULES = 4
    JOB = 5
    DONE = 6


class Kind(IntEnum):
    """What sort of operation an access belongs to."""

    NONE = 0
    BAR_SIZING = 1
    ABSENT_RUN = 2
    INTERRUPT_SERVICE = 3
    BIT_BANG = 4
    BURST = 5
    FUNCTION_SETUP = 6
    IPI = 7


class Flag(IntFlag):
    """What else a policy or a mechanism has to know of an access."""

    NONE = 0
    ABSENT = 1  # config read that no function answers: all ones
    SIDE_EFFECT = 2  # reading changes the device (clear-on-read): must trap
    DECODE_TOGGLE = 4  # config write that turns address decoding on or off: a state change
    ECAM = 8  # recorded through ECAM (a config access without it: through ports)
    INDEX_ONLY = 16  # a lone access to 0xCF8..0xCFB, without a data access: type-1 probing
    TIMER = 32  # a timer that an in-kernel irqchip or a paravirtual clock makes cheap or vanish
    IRQCHIP = 64  # interrupt controller: stays in the kernel with an in-kernel irqchip
    WAITED = 128  # the time before this access was waiting for an interrupt, not compute
    INTERRUPT = 256  # an interrupt brings the vCPU here: its delivery is charged
    END_OF_INTERRUPT = 512  # its service is over after this access: the EOI is charged
    SPARE_TOGGLE = 1024  # COMMAND, between two sizings of one function: batching spares it
    BRIDGE = 2048  # config access to a PCI-to-PCI bridge
    VOLATILE = 4096  # config register that may change without a write, as far as is known
    LOCAL_APIC = 8192  # memory access to the local APIC's page (xAPIC)
    IN_CONTEXT = 16384  # made in a vCPU's interrupt context, which stops the vCPU's compute


@dataclass(frozen=True, kw_only=True)
class AccessTable:
    """A guest's accesses as columns of equal length.

    Rows are grouped by vCPU (ascending) and stand in program order within a vCPU.

    Attributes:
        vcpu: issuing vCPU, 0 ….
        agent: whose code (`Agent`).
        phase: when (`Phase`).
        operation: accesses of one operation share a number; -1: belongs to none. Operations of a
            vCPU are numbered in the order in which they begin.
        kind: what sort of operation (`Kind`).
        compute: guest time before the access, in ps. With `Flag.WAITED` it was waiting.
        arrival: earliest moment at which the access's turn (its compute, then itself) may begin,
            in ps from the start (an open loop); `NEVER`: when the row before is through.
        device: index into `devices`.
        space: `Space`.
        write: true for a write.
        size: access size in bytes.
        address: port, physical address, or for config space bus << 20 | device << 15 |
            function << 12 | register (the ECAM offset).
        needed_by: row (in this table's numbering; may lie beyond its end in a block of a longer
            stream) that first consumes this access's result, so that it must be there before that
            row's compute begins. `NEVER` for a write and for a read nobody waits for.
        needed_idiom: the same as a driver author who knew the idiom would have it: within
            recognised idioms results that are not really consumed one by one are not waited for.
        flags: `Flag`.
        emulate: time that emulating this access takes in the device model, in ps.
        targets: how many vCPUs this access sends an interrupt to; 0: it sends none.
        devices: device names.
        origin: where the table came from, for people.
        has_ecam: whether this guest could reach config space by ECAM at all.
    """

    vcpu: npt.NDArray[np.int32]
    agent: npt.NDArray[np.int8]
    phase: npt.NDArray[np.int8]
    operation: npt.NDArray[np.int64]
    kind: npt.NDArray[np.int8]
    compute: npt.NDArray[np.int64]
    arrival: npt.NDArray[np.int64]
    device: npt.NDArray[np.int16]
    space: npt.NDArray[np.int8]
    write: npt.NDArray[np.bool_]
    size: npt.NDArray[np.int8]
    address: npt.NDArray[np.int64]
    needed_by: npt.NDArray[np.int64]
    needed_idiom: npt.NDArray[np.int64]
    flags: npt.NDArray[np.int16]
    emulate: npt.NDArray[np.int64]
    targets: npt.NDArray[np.int32]
    devices: tuple[str, ...] = ()
    origin: str = ""
    has_ecam: bool = True
    notes: tuple[str, ...] = field(default=())

    def __len__(self) -> int:
        return len(self.vcpu)

    @property
    def vcpus(self) -> int:
        """How many vCPUs the guest has (those without an access below the highest included)."""
        return int(self.vcpu[-1]) + 1 if len(self) else 1

    @property
    def columns(self) -> dict[str, npt.NDArray[Any]]:
        """The columns by name."""
        return {name: getattr(self, name) for name in COLUMN_TYPES}

    def has(self, flag: Flag) -> npt.NDArray[np.bool_]:
        """Which rows carry a flag."""
        return (self.flags & np.int16(flag)).astype(np.bool_)

    def rows_of(self, vcpu: int) -> tuple[int, int]:
        """Where the rows of one vCPU begin and end."""
        # Of the column's own type: searching for another would copy a long column.
        begin, end = np.searchsorted(self.vcpu, np.array((vcpu, vcpu + 1), self.vcpu.dtype))
        return int(begin), int(end)

    def of_vcpu(self, vcpu: int) -> AccessTable:
        """The rows of one vCPU, renumbered."""
        return self.block(*self.rows_of(vcpu))

    def block(self, begin: int, end: int) -> AccessTable:
        """Rows begin … end-1, renumbered; a consumer may lie beyond the block's end."""
        part: dict[str, Any] = {name: column[begin:end] for name, column in self.columns.items()}
        for name in ("needed_by", "needed_idiom"):
            part[name] = np.where(part[name] == NEVER, NEVER, part[name] - begin)
        return replace(self, **part)

    def in_blocks(self, rows: int, vcpu: int | None = None) -> Iterator[AccessTable]:
        """The table, or one vCPU's rows of it, in blocks of `rows` rows, each renumbered."""
        first, end = (0, len(self)) if vcpu is None else self.rows_of(vcpu)
        for begin in range(first, end, rows):
            yield self.block(begin, min(begin + rows, end))

    def only(self, keep: npt.NDArray[np.bool_], *, with_compute: bool = True) -> AccessTable:
        """The rows where `keep`, renumbered.

        A consumer that is dropped hands its role to the next kept row.

        Args:
            keep: one truth value for each row.
            with_compute: whether the compute of a dropped row stays in the guest, added to that
                of the next kept row of the same vCPU.
        """
        if keep.all():  # a long table is not copied for nothing
            return self
        kept = np.flatnonzero(keep)
        new_number = np.concatenate([np.cumsum(keep) - keep, [len(kept)]]).astype(np.int64)
        part: dict[str, Any] = {name: column[kept] for name, column in self.columns.items()}
        for name in ("needed_by", "needed_idiom"):
            old = part[name]
            target = np.minimum(old, len(self))
            part[name] = np.where(old == NEVER, NEVER, new_number[target])
        if not with_compute:
            return replace(self, **part)
        elapsed = np.concatenate([[0], np.cumsum(self.compute)])
        first_of_vcpu = np.searchsorted(self.vcpu, self.vcpu[kept])
        previous = np.concatenate([[0], kept[:-1] + 1]) if len(kept) else kept
        begin = np.maximum(previous, first_of_vcpu)
        part["compute"] = elapsed[kept + 1] - elapsed[begin]
        return replace(self, **part)

    def with_think_scale(self, scale: float) -> AccessTable:
        """The same accesses with every compute time multiplied (rounded to whole ps).

        Raises:
            InputError: as `check_think_scale`.
        """
        self.check_think_scale(scale)
        return replace(self, compute=np.rint(self.compute * float(scale)).astype(np.int64))

    def check_think_scale(self, scale: float) -> None:
        """See whether compute times can be multiplied.

        Raises:
            InputError: one is longer than 53 days then.
        """
        if int(self.compute.max(initial=0)) * float(scale) > LONGEST_PS:
            raise InputError("makes a guest compute for more than 53 days", key="think_scales",
                             value=scale, mend="take a smaller one")  # fmt: skip


COLUMN_TYPES: dict[str, np.dtype[Any]] = {
    "vcpu": np.dtype(np.int32),
    "agent": np.dtype(np.int8),
    "phase": np.dtype(np.int8),
    "operation": np.dtype(np.int64),
    "kind": np.dtype(np.int8),
    "compute": np.dtype(np.int64),
    "arrival": np.dtype(np.int64),
    "device": np.dtype(np.int16),
    "space": np.dtype(np.int8),
    "write": np.dtype(np.bool_),
    "size": np.dtype(np.int8),
    "address": np.dtype(np.int64),
    "needed_by": np.dtype(np.int64),
    "needed_idiom": np.dtype(np.int64),
    "flags": np.dtype(np.int16),
    "emulate": np.dtype(np.int64),
    "targets": np.dtype(np.int32),
}

DEFAULTS: dict[str, int] = {
    "vcpu": 0,
    "agent": Agent.KERNEL,
    "phase": Phase.KERNEL,
    "operation": -1,
    "kind": Kind.NONE,
    "compute": 0,
    "arrival": NEVER,
    "device": 0,
    "write": 0,
    "size": 4,
    "address": 0,
    "flags": 0,
    "emulate": 0,
    "targets": 0,
}
"""What a column holds when a maker of tables does not say."""


def make_table(
    n: int,
    *,
    devices: Sequence[str] = ("device",),
    origin: str = "",
    has_ecam: bool = True,
    notes: Iterable[str] = (),
    **columns: npt.ArrayLike,
) -> AccessTable:
    """A table of `n` rows from the columns given; the others hold `DEFAULTS`.

    `needed_by`, if not given, is the next row of the same vCPU for a read (an ordinary read
    blocks) and `NEVER` for a write; `needed_idiom`, if not given, equals `needed_by`. Rows must
    already be grouped by vCPU.

    Raises:
        InputError: a column is unknown, has another length, or rows are not grouped by vCPU.
    """
    unknown = sorted(set(columns) - set(COLUMN_TYPES))
    if unknown or "space" not in columns:
        raise InputError(f"a table cannot be made: unknown columns {unknown}, or no `space`")
    made: dict[str, npt.NDArray[Any]] = {}
    for name, dtype in COLUMN_TYPES.items():
        if name in columns or name in DEFAULTS:
            given = np.asarray(columns.get(name, DEFAULTS.get(name, 0)))
            if given.ndim == 0:
                made[name] = np.full(n, given.astype(dtype))
                continue
            if given.shape != (n,):
                raise InputError(f"column has {given.shape} entries, not {n}", key=name)
            made[name] = given.astype(dtype, copy=False)
    if (np.diff(made["vcpu"]) < 0).any():
        raise InputError("rows are not grouped by vCPU", key="vcpu")
    if "needed_by" not in columns:
        made["needed_by"] = np.where(made["write"], NEVER, np.arange(1, n + 1))
    else:
        made["needed_by"] = np.asarray(columns["needed_by"], np.int64)
    made["needed_idiom"] = np.asarray(columns.get("needed_idiom", made["needed_by"]), np.int64)
    return AccessTable(
        **made, devices=tuple(devices), origin=origin, has_ecam=has_ecam, notes=tuple(notes)
    )


def concatenate(tables: Sequence[AccessTable]) -> AccessTable:
    """Tables one after the other, as one; device names are joined, consumers renumbered.

    The tables must come in order of vCPU. Tables of one vCPU are blocks of one stream and share
    its operation numbers; those of different vCPUs are kept apart.
    """
    if not tables:
        return make_table(0, space=[])
    names = tuple(dict.fromkeys(name for table in tables for name in table.devices))
    parts: dict[str, list[npt.NDArray[Any]]] = {name: [] for name in COLUMN_TYPES}
    rows = offset = operations = 0
    vcpu = -1
    for table in tables:
        if len(table) and table.vcpu[0] != vcpu:
            vcpu, offset = int(table.vcpu[0]), operations
        renumbered = dict(table.columns)
        for name in ("needed_by", "needed_idiom"):
            column = renumbered[name]
            renumbered[name] = np.where(column == NEVER, NEVER, column + rows)
        operation = renumbered["operation"]
        renumbered["operation"] = np.where(operation < 0, -1, operation + offset)
        index = np.array([names.index(name) for name in table.devices] or [0], np.int16)
        renumbered["device"] = index[renumbered["device"]]
        for name, column in renumbered.items():
            parts[name].append(column)
        rows += len(table)
        operations = max(operations, offset + int(operation.max(initial=-1)) + 1)
    joined: dict[str, Any] = {name: np.concatenate(columns) for name, columns in parts.items()}
    return replace(tables[0], **joined, devices=names)
