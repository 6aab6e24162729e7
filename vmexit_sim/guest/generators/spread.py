"""Spread: accesses in small operations, far from each other in time.

::

    compute  [access access access]  compute …………  [access access access]  compute ………

The case against batching: a few accesses whose results are wanted at once, then other work. With
`accesses_per_operation` large and `needed_share` small it becomes the case for batching, so that
one generator covers the way between.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np
from pydantic import model_validator

from vmexit_sim.configuration import misfit
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
from vmexit_sim.guest.table import NEVER, AccessTable, Flag, Phase, Space, make_table
from vmexit_sim.guest.workload import BLOCK_ROWS
from vmexit_sim.streams import Streams

_ABSENT_SLOT = 31 << 15
"""Where the reads go that no function answers: the last device of bus 0."""


class Spread(Generated):
    """Operations of equal length with compute inside and between them.

    Attributes:
        operations: operations per vCPU.
        accesses_per_operation: accesses of one operation.
        vcpus: vCPUs, all with the same parameters and with draws of their own.
        within: guest compute before each access of an operation but its first.
        between: guest compute before an operation's first access.
        arrivals: time between one operation's arrival and the next's, per vCPU (an open loop:
            arrivals do not wait for the operations before); none: a closed loop.
        read_share: part of the accesses that are reads.
        needed_share: part of the reads that the next row waits for; nobody waits for the others.
        absent_share: part of the reads that no function answers (config space only).
        space: where the accesses go.
        emulate: time that emulating one access takes in the device model.
    """

    kind: Literal["spread"]
    operations: Many
    accesses_per_operation: Accesses = 1
    vcpus: Vcpus = 1
    within: Distribution = ZERO
    between: Distribution
    arrivals: Distribution | None = None
    read_share: Share
    needed_share: Share = 1.0
    absent_share: Share = 0.0
    space: Literal["pci_config", "mmio", "port_io", "doorbell"]
    emulate: Distribution = ZERO

    @model_validator(mode="after")
    def _possible(self) -> Spread:
        if self.absent_share and self.space != "pci_config":
            raise misfit(f"has absent functions in {self.space}",
                         mend='set absent_share = 0, or space = "pci_config"')  # fmt: skip
        if self.read_share and self.space == "doorbell":
            raise misfit("reads a doorbell, which can only be rung", mend="set read_share = 0")
        if self.arrivals is not None:
            refuse_endless(self.arrivals, self.operations)
        return self

    @property
    def is_random(self) -> bool:
        """Whether any time or any share is left to chance."""
        times = [self.between, self.emulate]
        if self.arrivals is not None:
            times.append(self.arrivals)
        if self.accesses_per_operation > 1:
            times.append(self.within)
        shares = [self.read_share]
        if self.read_share:
            shares += [self.needed_share, self.absent_share]
        drawn = any(not time.is_constant for time in times)
        return drawn or any(0 < share < 1 for share in shares)

    def examples(self) -> AccessTable:
        """Operations of every flavour: writes, reads that are answered, and absent ones."""
        flavours = []  # of accesses: (write, absent)
        if self.read_share < 1:
            flavours.append((True, False))
        if self.read_share and self.absent_share < 1:
            flavours.append((False, False))
        if self.read_share and self.absent_share:
            flavours.append((False, True))
        n = min(self.accesses_per_operation, 3)  # a first, one in the middle, a last
        write, absent = np.repeat(np.array(flavours), n, axis=0).T
        operation, place = np.divmod(np.arange(len(write)), n)
        space = Space[self.space.upper()]
        return make_table(
            len(write),
            agent=agent_of(space),
            phase=Phase.JOB,
            operation=operation,
            arrival=NEVER if self.arrivals is None else np.where(place == 0, 0, NEVER),
            space=space,
            write=write,
            address=np.where(absent, _ABSENT_SLOT, ADDRESSES[space]),
            flags=np.where(absent, Flag.ABSENT, Flag.NONE),
        )

    def blocks(self, vcpu: int, streams: Streams, rows: int = BLOCK_ROWS) -> Iterator[AccessTable]:
        """One vCPU's rows, in blocks of at most `rows`, of which only one is in memory."""
        space = Space[self.space.upper()]
        draws = Draws(streams, vcpu)
        arrivals = None if self.arrivals is None else Arrivals(draws, self.arrivals)
        for part in operation_rows(self.operations, self.accesses_per_operation, rows):
            n = len(part)
            read = draws.chosen("read", self.read_share, n)
            needed = read & draws.chosen("needed", self.needed_share, n)
            absent = read & draws.chosen("absent", self.absent_share, n)
            yield make_table(
                n,
                origin="spread",
                vcpu=vcpu,
                agent=agent_of(space),
                phase=Phase.JOB,
                operation=part.operation,
                compute=part.gaps(draws, self.between, self.within),
                arrival=NEVER if arrivals is None else arrivals.column(part),
                space=space,
                write=~read,
                address=np.where(absent, _ABSENT_SLOT, ADDRESSES[space]),
                needed_by=np.where(needed, np.arange(1, n + 1), NEVER),
                flags=np.where(absent, Flag.ABSENT, Flag.NONE),
                emulate=draws.times("emulate", self.emulate, n),
            )
