"""How long the device model works on each access: the `emulate` column, from a device catalog."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from vmexit_sim.device import DeviceCatalog
from vmexit_sim.guest.table import AccessTable
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
