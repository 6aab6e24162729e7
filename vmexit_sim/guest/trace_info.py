"""What is in a recorded guest, as plain numbers ready for JSON.

`trace_info` counts a log's lines, so that anybody can check it with grep; `table_info` gives the
same keys for a saved table, which knows rows only. The two differ where lines and rows do:

=================  ======================================  ====================================
key                `trace_info`                            `table_info`
=================  ======================================  ====================================
vcpu_accesses      lines, index and data apart             rows, index and data joined
by_device          memory regions                          answering models for config accesses
config.port_exits  lines at the index and data ports       2 for each joined row, 1 for each
                                                           lone index access
phases             lines                                   rows
bad_lines,         counted                                 null: not in a table
messages
=================  ======================================  ====================================
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from vmexit_sim.guest.qemu_trace import Trace
from vmexit_sim.guest.table import AccessTable, Agent, Flag, Kind, Phase, Space

_KINDS = (Kind.BAR_SIZING, Kind.ABSENT_RUN, Kind.INTERRUPT_SERVICE, Kind.BIT_BANG)


def trace_info(trace: Trace) -> dict[str, Any]:
    """An imported log in numbers.

    ``operations`` counts operations, ``operation_accesses`` their rows and
    ``longest_operations`` the rows of the longest of each kind; ``agents`` counts rows.
    A phase's ``config`` counts config accesses without those at the index register.
    """
    lines = trace.lines
    return {
        "vcpu_accesses": lines.accesses,
        "vcpus": {str(vcpu): count for vcpu, count in lines.by_vcpu.items()},
        "by_device": {
            name: _read_write(*lines.by_device[name]) for name in sorted(lines.by_device)
        },
        "config": {
            "pio": _read_write(*lines.pio),
            "ecam": _read_write(*lines.ecam),
            "absent_reads": lines.absent_reads,
            "port_exits": lines.index_accesses + sum(lines.pio),
        },
        **_operations(trace.table),
        "agents": _agents(trace.table),
        "phases": [_phase(*counts) for counts in lines.phases],
        "bad_lines": lines.bad,
        "first_bad_lines": [{"line": line, "reason": why} for line, why in trace.bad_lines],
        "messages": lines.messages,
    }


def table_info(table: AccessTable) -> dict[str, Any]:
    """A table in numbers, with the keys of `trace_info`; everything is counted in rows."""
    config = table.space == Space.PCI_CONFIG
    ecam, lone = config & table.has(Flag.ECAM), config & table.has(Flag.INDEX_ONLY)
    ports = config & ~ecam & ~lone
    absent = config & table.has(Flag.ABSENT) & ~table.write
    vcpus, counts = np.unique(table.vcpu, return_counts=True)
    by_device = {
        table.devices[n]: _counted(table, table.device == n) for n in np.unique(table.device)
    }
    return {
        "vcpu_accesses": len(table),
        "vcpus": {str(vcpu): int(n) for vcpu, n in zip(vcpus, counts, strict=True)},
        "by_device": dict(sorted(by_device.items())),
        "config": {
            "pio": _counted(table, ports),
            "ecam": _counted(table, ecam),
            "absent_reads": _count(absent),
            "port_exits": 2 * _count(ports) + _count(lone),
        },
        **_operations(table),
        "agents": _agents(table),
        "phases": [
            _phase(phase, _count(rows), _count(rows & config & ~lone))
            for phase in Phase
            if (rows := table.phase == phase).any()
        ],
        "bad_lines": None,
        "first_bad_lines": [],
        "messages": None,
    }


def _operations(table: AccessTable) -> dict[str, dict[str, int]]:
    sizes = {
        kind.name.lower(): np.unique(table.operation[table.kind == kind], return_counts=True)[1]
        for kind in _KINDS
    }
    return {
        "operations": {name: len(size) for name, size in sizes.items()},
        "operation_accesses": {name: int(size.sum()) for name, size in sizes.items()},
        "longest_operations": {name: int(size.max(initial=0)) for name, size in sizes.items()},
    }


def _agents(table: AccessTable) -> dict[str, int]:
    return {agent.name.lower(): _count(table.agent == agent) for agent in Agent}


def _phase(phase: Phase, accesses: int, config: int) -> dict[str, Any]:
    return {"phase": phase.name.lower(), "accesses": accesses, "config": config}


def _counted(table: AccessTable, rows: npt.NDArray[np.bool_]) -> dict[str, int]:
    return _read_write(_count(rows & ~table.write), _count(rows & table.write))


def _read_write(reads: int, writes: int) -> dict[str, int]:
    return {"read": reads, "write": writes}


def _count(rows: npt.NDArray[np.bool_]) -> int:
    return int(np.count_nonzero(rows))
