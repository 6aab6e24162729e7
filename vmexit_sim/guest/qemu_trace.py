"""A guest recorded by QEMU's trace log, as an access table.

::

    log ──► LogReader ──► rows ──► phases, agents, flags ──► AccessTable ──► operations

Every access of a vCPU is a row, those of timers and interrupt controllers too (they carry
`Flag.TIMER` and `Flag.IRQCHIP`). Config index and data are one row; the time between the two
belongs to the access and is in no row's `compute`. An index access without a data access is a row
with `Flag.INDEX_ONLY`. Interrupt messages are counted, but no rows.

Waiting. `Flag.WAITED` marks the row whose preceding gap an interrupt ended, seen in two ways:

* since the vCPU's previous access the log has an interrupt message to this vCPU and no other,
  logged by somebody else. One that the vCPU logged itself was caused by its own access, and
  a vCPU inside an access does not wait;
* the row ends an interrupt (EOI) though no message came since the vCPU's last EOI, and the access
  before it is no read of the same controller: a timer or inter-processor interrupt, which Linux
  acknowledges before it does anything else.

A log cannot tell an idle vCPU from one that the interrupt took from its work.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vmexit_sim.device import ConfigRole, DeviceCatalog
from vmexit_sim.errors import InputError
from vmexit_sim.guest.access_log import ABSENT, AccessLog
from vmexit_sim.guest.config_space import with_config_facts
from vmexit_sim.guest.operations import with_operations
from vmexit_sim.guest.qemu_log import LogReader
from vmexit_sim.guest.table import AccessTable, Flag, Phase, Space, make_table
from vmexit_sim.guest.trace_file import log_lines
from vmexit_sim.guest.trace_phases import agents
from vmexit_sim.units import LONGEST_PS, MICROSECOND

_COMMAND, _DECODE_BITS = 0x4, 0x3

Columns = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True, kw_only=True)
class LineCounts:
    """What a log holds, counted by lines; interrupt messages are no accesses.

    Attributes:
        accesses: lines of vCPUs' accesses.
        by_vcpu: the same for each vCPU.
        by_device: the same for each memory region's name: (reads, writes).
        index_accesses: lines at the config index register.
        pio: config data accesses through ports: (reads, writes).
        ecam: config accesses through ECAM: (reads, writes).
        absent_reads: config reads that no function answered.
        messages: interrupt messages, whichever thread logged them.
        phases: for each phase met: (phase, accesses, config accesses without index accesses).
        bad: lines that could not be used.
    """

    accesses: int
    by_vcpu: dict[int, int]
    by_device: dict[str, tuple[int, int]]
    index_accesses: int
    pio: tuple[int, int]
    ecam: tuple[int, int]
    absent_reads: int
    messages: int
    phases: tuple[tuple[Phase, int, int], ...]
    bad: int


@dataclass(frozen=True, kw_only=True)
class Trace:
    """An imported log.

    Attributes:
        table: every vCPU access as a row, operations recognised.
        values: what each row read or wrote (config data masked to its size).
        lines: counts of the log's lines.
        bad_lines: the first bad lines: (line number, reason).
    """

    table: AccessTable
    values: npt.NDArray[np.uint64]
    lines: LineCounts
    bad_lines: tuple[tuple[int, str], ...] = ()


def read_trace(path: Path | str, catalog: DeviceCatalog, *, strict: bool = False) -> Trace:
    """Import a QEMU trace log; plain, xz or gzip, whatever its name.

    Bad lines are counted and left out, never guessed at.

    Args:
        path: the log.
        catalog: what is known of devices.
        strict: refuse a log with any bad line.

    Raises:
        InputError: the file cannot be read or unpacked, holds no access of a vCPU, or lasts more
            than 53 days; with `strict` also the first bad line, by its number.
    """
    path = Path(path)
    log = LogReader(catalog, path, strict=strict)
    for line, text in enumerate(log_lines(path), 1):
        log.take(line, text)
    log.close()
    if not len(log.rows):
        raise InputError("holds no access of a vCPU", file=path,
                         mend="is it a log of QEMU's -trace memory_region_ops_*?")  # fmt: skip
    return trace_of(log, path, catalog, tick=MICROSECOND, notes=_notes(log))


def trace_of(
    log: AccessLog, path: Path, catalog: DeviceCatalog, *, tick: int, notes: list[str]
) -> Trace:
    """What a log held, as a table with phases, flags and operations.

    Args:
        log: a log that has been read to its end; it has rows.
        path: the log.
        catalog: what is known of devices.
        tick: the unit of the rows' gaps, in ps.
        notes: what people should know of the table.

    Raises:
        InputError: it lasts more than 53 days.
    """
    names = tuple(log.names)
    columns = _columns(log, names, catalog)
    if columns["gap"].sum(dtype=np.float64) > LONGEST_PS // tick:
        raise InputError("lasts longer than 53 days", file=path)
    order = np.lexsort((columns.pop("line"), columns["vcpu"]))
    columns = {name: column[order] for name, column in columns.items()}
    values: npt.NDArray[np.uint64] = columns.pop("value")
    compute = columns.pop("gap") * tick
    table = make_table(
        len(order),
        devices=names,
        origin=path.name,
        has_ecam=_lines(log, catalog, ConfigRole.ECAM) != (0, 0),
        notes=notes,
        compute=compute,
        **columns,
    )
    return Trace(
        table=with_operations(with_config_facts(table, values), values, catalog),
        values=values,
        lines=_line_counts(log, names, catalog, table),
        bad_lines=tuple(log.bad_lines),
    )


def _columns(log: AccessLog, names: tuple[str, ...], catalog: DeviceCatalog) -> Columns:
    """The rows as columns in the order of the log, with phase, agent and all flags."""
    columns: Columns = log.rows.columns()
    space, device, flags = columns["space"], columns["device"], columns["flags"]
    is_config = space == Space.PCI_CONFIG
    if not log.names_functions:
        # Without the events that name functions, a write's fate is unknown, not "absent".
        moves = (ConfigRole.DATA, ConfigRole.ECAM)
        region = next((n for n, name in enumerate(names) if catalog.of(name).config in moves), 0)
        device[is_config & columns["write"] & (device == ABSENT)] = region
    flags[is_config & (device == ABSENT)] |= int(Flag.ABSENT)
    for number, name in enumerate(names):
        known = catalog.of(name)
        rows = np.flatnonzero((device == number) & ~is_config)
        category = {"timer": Flag.TIMER, "irqchip": Flag.IRQCHIP}.get(known.category, Flag.NONE)
        flags[rows] |= int(category)
        if known.interrupts is not None:
            flags[rows] |= int(Flag.LOCAL_APIC)
        reads = rows[~columns["write"][rows]]
        flags[reads[known.has_side_effect(columns["address"][reads])]] |= int(Flag.SIDE_EFFECT)
    _mark_decode_toggles(columns)
    columns["phase"] = log.boundaries.phases(columns["line"])
    columns["agent"] = agents(columns["phase"], is_config)
    return columns


def _mark_decode_toggles(columns: Columns) -> None:
    """Flag the writes of COMMAND that turn memory or I/O decoding on or off.

    A function whose COMMAND was never seen has it 0, as after reset (PCI 3.0, 6.2.2).
    """
    answered = (columns["flags"] & int(Flag.ABSENT | Flag.INDEX_ONLY)) == 0
    is_command = (columns["address"] & 0xFFF) == _COMMAND
    rows = np.flatnonzero((columns["space"] == Space.PCI_CONFIG) & answered & is_command)
    decoded: dict[int, int] = {}
    for row in rows:
        function = int(columns["address"][row]) >> 12
        bits = int(columns["value"][row]) & _DECODE_BITS
        if columns["write"][row] and bits != decoded.get(function, 0):
            columns["flags"][row] |= int(Flag.DECODE_TOGGLE)
        decoded[function] = bits


def _line_counts(
    log: AccessLog, names: tuple[str, ...], catalog: DeviceCatalog, table: AccessTable
) -> LineCounts:
    absent = table.has(Flag.ABSENT) & ~table.write
    regions = sorted({number for number, _ in log.by_region})
    return LineCounts(
        accesses=log.by_vcpu.total(),
        by_vcpu=dict(sorted(log.by_vcpu.items())),
        by_device={
            names[n]: (log.by_region[n, False], log.by_region[n, True]) for n in regions
        },
        index_accesses=sum(_lines(log, catalog, ConfigRole.INDEX)),
        pio=_lines(log, catalog, ConfigRole.DATA),
        ecam=_lines(log, catalog, ConfigRole.ECAM),
        absent_reads=int(absent.sum()),
        messages=log.messages,
        phases=tuple(log.boundaries.counts()),
        bad=log.bad,
    )  # fmt: skip


def _lines(log: AccessLog, catalog: DeviceCatalog, role: ConfigRole) -> tuple[int, int]:
    """Lines of the regions that have a role in config accesses: (reads, writes)."""
    numbers = [n for name, n in log.names.items() if catalog.of(name).config is role]
    reads, writes = (sum(log.by_region[n, w] for n in numbers) for w in (False, True))
    return reads, writes


def _notes(log: LogReader) -> list[str]:
    notes = ["times are those of software emulation, with the cost of logging in them"]
    if log.bad:
        notes.append(f"{log.bad} bad lines were left out")
    if log.backward:
        notes.append(f"{log.backward} accesses are stamped before their predecessor; taken as 0")
    return notes
