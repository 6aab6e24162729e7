"""Interrupt service: a driver that reads its device's status, then acts, at each interrupt.

::

    interrupt ──► read status (clears it) ──► compute ──► access ──► compute ──► access …

Interrupts arrive whether or not the last one has been served (an open loop). The status read tells
the driver what to do, so everything waits for it, and as reading clears the register, no page of
memory can stand in for it. This is the example that the 2022 thread gives of accesses that do not
batch (N. Amit, LKML 2022-07-08).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import model_validator

from vmexit_sim.distributions import Distribution
from vmexit_sim.guest.generators.stream import (
    ADDRESSES,
    ZERO,
    Accesses,
    Arrivals,
    Draws,
    Generated,
    Many,
    Share,
    Vcpus,
    agent_of,
    operation_rows,
    refuse_endless,
)
from vmexit_sim.guest.table import NEVER, AccessTable, Flag, Kind, Phase, Space, make_table
from vmexit_sim.guest.workload import BLOCK_ROWS
from vmexit_sim.streams import Streams


class InterruptService(Generated):
    """Interrupts of one device per vCPU, each served by a few accesses.

    Attributes:
        services: interrupts per vCPU.
        interarrival: time from one interrupt to the next, per vCPU.
        accesses: accesses of one service, the status read included.
        vcpus: vCPUs, each with a device of its own that interrupts it.
        within: guest compute before each access of a service but the status read, which comes
            at once.
        read_share: part of the accesses after the status read that are reads; each read is needed
            by the next row.
        space: where the accesses go.
        emulate: time that emulating one access takes in the device model.
        delivered: whether delivering the interrupt and its end are charged too.
    """

    kind: Literal["interrupt_service"]
    services: Many
    interarrival: Distribution
    accesses: Accesses
    vcpus: Vcpus = 1
    within: Distribution = ZERO
    read_share: Share
    space: Literal["pci_config", "mmio", "port_io"] = "mmio"
    emulate: Distribution = ZERO
    delivered: bool = False

    @model_validator(mode="after")
    def _possible(self) -> InterruptService:
        refuse_endless(self.interarrival, self.services)
        return self

    @property
    def is_random(self) -> bool:
        """Whether any time or the read share is left to chance."""
        always = self.interarrival.is_constant and self.emulate.is_constant
        later = self.within.is_constant and self.read_share in (0, 1)
        return not (always and (later or self.accesses == 1))

    def examples(self) -> AccessTable:
        """A service of writes and one of reads, as far as the read share allows either."""
        n = min(self.accesses, 3)  # the status read, one in the middle, a last
        writes = np.repeat([self.read_share < 1, self.read_share == 0], n)
        status = np.arange(2 * n) % n == 0
        space = Space[self.space.upper()]
        return make_table(
            2 * n,
            agent=agent_of(space),
            phase=Phase.JOB,
            operation=np.arange(2 * n) // n,
            kind=Kind.INTERRUPT_SERVICE,
            arrival=np.where(status, 0, NEVER),
            space=space,
            write=writes & ~status,
            address=np.where(status, ADDRESSES[space], ADDRESSES[space] + 4),
            flags=self._flags(np.arange(2 * n), n),
        )

    def blocks(self, vcpu: int, streams: Streams, rows: int = BLOCK_ROWS) -> Iterator[AccessTable]:
        """One vCPU's rows, in blocks of at most `rows`, of which only one is in memory."""
        space = Space[self.space.upper()]
        draws = Draws(streams, vcpu)
        arrivals = Arrivals(draws, self.interarrival)
        for part in operation_rows(self.services, self.accesses, rows):
            n = len(part)
            status = part.first
            read = status | draws.chosen("read", self.read_share, n)
            yield make_table(
                n,
                origin="interrupt service",
                vcpu=vcpu,
                agent=agent_of(space),
                phase=Phase.JOB,
                operation=part.operation,
                kind=Kind.INTERRUPT_SERVICE,
                compute=part.gaps(draws, ZERO, self.within),
                arrival=arrivals.column(part),
                space=space,
                write=~read,
                # The status register is the device's first, the others lie beyond it.
                address=np.where(status, ADDRESSES[space], ADDRESSES[space] + 4),
                needed_by=np.where(read, np.arange(1, n + 1), NEVER),
                flags=self._flags(part.place, self.accesses),
                emulate=draws.times("emulate", self.emulate, n),
            )

    def _flags(self, place: npt.NDArray[np.int64], accesses: int) -> npt.NDArray[np.int64]:
        """Flags of rows by their places in services of so many accesses."""
        first, last = place % accesses == 0, place % accesses == accesses - 1
        flags = np.where(first, Flag.SIDE_EFFECT, Flag.NONE)
        if self.delivered:
            flags = flags | np.where(first, Flag.INTERRUPT, Flag.NONE)
            flags = flags | np.where(last, Flag.END_OF_INTERRUPT, Flag.NONE)
        return flags
