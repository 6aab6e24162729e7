"""Recorded: what a guest did when it was recorded, from Python."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vmexit_sim import catalog
from vmexit_sim.api.shown import Shown
from vmexit_sim.device import load_devices
from vmexit_sim.errors import InputError, nearest
from vmexit_sim.guest import trace_info
from vmexit_sim.guest.table import AccessTable, Agent, Flag, Kind, Phase, Space
from vmexit_sim.guest.table_file import load_table
from vmexit_sim.guest.trace_formats import read_any_trace
from vmexit_sim.study.stated import Named

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import RenderableType

CODES: dict[str, type[IntEnum]] = {"space": Space, "agent": Agent, "phase": Phase, "kind": Kind}
"""Columns whose codes stand for names."""


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class TraceResult(Shown):
    """A recorded guest.

    Attributes:
        name: what was asked for.
        info: counts by device, vCPU, agent and phase, and the operations found; the keys are those
            of ``vmexit-sim trace info --json`` (`vmexit_sim.guest.trace_info`).
        table: the accesses, as the simulator takes them.
    """

    name: str
    info: Mapping[str, Any]
    table: AccessTable

    def to_frame(self) -> pd.DataFrame:
        """One row for each access, in program order for each vCPU.

        Columns as `AccessTable` has them (times in ps; -1 in `arrival`, `needed_by` and
        `needed_idiom`: none), with names in place of codes: `space`, `agent`, `phase`, `kind` and
        `device` are categories, and each flag is a column of true and false.
        """
        import pandas as pd

        frame = pd.DataFrame(self.table.columns)
        for column, names in CODES.items():
            known = {int(code): code.name.lower() for code in names}
            frame[column] = frame[column].map(known).astype("category")
        devices = np.asarray([*self.table.devices, ""], object)
        frame["device"] = pd.Categorical(devices[self.table.device])
        flags = {str(flag.name).lower(): self.table.has(flag) for flag in Flag if flag}
        return frame.drop(columns="flags").assign(**flags)

    def _report(self) -> RenderableType:
        from vmexit_sim.present.trace_tables import trace_report

        return trace_report(self.name, dict(self.info))

    def _summary(self) -> str:
        vcpus = self.table.vcpus
        return f"{self.name}, {len(self.table):,} accesses of {vcpus} vCPU{'s' * (vcpus > 1)}"


def trace(path_or_name: Named, *, strict: bool = False) -> TraceResult:
    """Look into a recorded guest: ``vmexit-sim trace info``.

    Args:
        path_or_name: a shipped trace's name, or the path of a log of QEMU or KVM, or of an access
            table (Parquet).
        strict: refuse a log with malformed lines, instead of counting them.

    Raises:
        InputError: there is none, or it does not fit.
    """
    name, shipped = str(path_or_name), catalog.names("traces")
    path = shipped.get(name, Path(name))
    if not path.is_file():
        raise InputError("is no trace or table", value=name, mend=nearest(name, shipped))
    if path.suffix == ".parquet":
        table = load_table(path)
        return TraceResult(name=name, info=trace_info.table_info(table), table=table)
    read = read_any_trace(path, load_devices(), strict=strict)
    return TraceResult(name=name, info=trace_info.trace_info(read), table=read.table)
