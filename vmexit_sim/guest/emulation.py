"""How long the device model works on each access: the `emulate` column, from a device catalog."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from vmexit_sim.device import DeviceCatalog
from vmexit_sim.guest.table import AccessTable
from vmexit_sim.guest.workload import BLOCK_ROWS, NO_CONTEXTS
from vmexit_sim.streams import Streams


def with_emulation(table: AccessTable, catalog: DeviceCatalog, streams: Streams) -> AccessTable:
    """The table with its emulation times drawn, in ps.

    Each device on each vCPU has a stream of its own, so adding a device moves nobody else's
    draws; a constant draws nothing. The table must be whole: every call starts the streams anew.

    Args:
        table: accesses; what `emulate` held before is replaced.
        catalog: says how long each device takes.
        streams: the replication's random streams.
    """
    emulate = np.zeros(len(table), np.int64)
    for number in np.unique(table.device):
        name = table.devices[number]
        duration = catalog.of(name).emulation
        rows = np.flatnonzero(table.device == number)
        if duration.is_constant:
            emulate[rows] = round(duration.mean_ps)
            continue
        for vcpu in np.unique(table.vcpu[rows]):
            own = rows[table.vcpu[rows] == vcpu]
            rng = streams.named("emulate", name, int(vcpu))
            emulate[own] = duration.draw(rng, len(own))
    return replace(table, emulate=emulate)


@dataclass(frozen=True)
class Emulated:
    """A recorded guest on emulated devices: each replication draws the devices' times anew."""

    table: AccessTable
    catalog: DeviceCatalog

    @property
    def vcpus(self) -> int:
        """The table's vCPUs."""
        return self.table.vcpus

    @property
    def is_random(self) -> bool:
        """Whether any device it touches takes a random time."""
        used = (self.table.devices[number] for number in np.unique(self.table.device))
        return any(not self.catalog.of(name).emulation.is_constant for name in used)

    @property
    def contexts(self) -> Mapping[int, int]:
        """None: services stand in the vCPU's own order, as they were recorded."""
        return NO_CONTEXTS

    @property
    def is_whole(self) -> bool:
        """Always: the table is all there is."""
        return True

    def examples(self) -> AccessTable:
        """The table itself."""
        return self.table

    def blocks(self, vcpu: int, streams: Streams, rows: int = BLOCK_ROWS) -> Iterator[AccessTable]:
        """Slices of the table, its emulation times drawn."""
        own = with_emulation(self.table.of_vcpu(vcpu), self.catalog, streams)
        yield from own.in_blocks(rows)
