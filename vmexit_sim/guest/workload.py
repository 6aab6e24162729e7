"""A workload: where a guest's accesses come from, block by block.

A recorded or imported guest is a table in memory, handed out in slices; a generator makes its
rows as they are wanted, so a run of any length needs the memory of one block. Concatenating the
blocks gives the same rows whatever the block size.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol

from vmexit_sim.guest.table import AccessTable, concatenate
from vmexit_sim.streams import Streams

BLOCK_ROWS = 16_384
"""Rows of one vCPU that are made at a time, at most."""

MADE_AT_A_TIME = 2**22
"""Rows of all vCPUs together that are made and not yet run, at most."""


def rows_made(vcpus: int) -> int:
    """Rows of one vCPU that are made at a time, a power of two.

    Making rows costs so much a call that many are made; of very many vCPUs fewer, for each keeps
    what was made for it.
    """
    return min(BLOCK_ROWS, 1 << (MADE_AT_A_TIME // vcpus).bit_length() >> 1)


NO_CONTEXTS: Mapping[int, int] = MappingProxyType({})


class Workload(Protocol):
    """A source of access tables."""

    @property
    def vcpus(self) -> int:
        """How many vCPUs issue accesses, interrupt contexts included."""

    @property
    def contexts(self) -> Mapping[int, int]:
        """Which of them are no vCPUs but interrupt contexts, and which vCPU each interrupts."""

    @property
    def is_random(self) -> bool:
        """Whether two replications can differ."""

    @property
    def is_whole(self) -> bool:
        """Whether the examples are all the accesses there are."""

    def examples(self) -> AccessTable:
        """A table that shows every kind of access which the workload can make.

        Its times mean nothing; what a policy's rules and a mechanism may look at is all there.
        """

    def blocks(self, vcpu: int, streams: Streams, rows: int = BLOCK_ROWS) -> Iterator[AccessTable]:
        """One vCPU's rows in program order, in blocks of `rows`, but for the last.

        Each block's columns hold that vCPU's number; `needed_by` counts from the block's start.
        """


@dataclass(frozen=True)
class Recorded:
    """A workload that is a table in memory: a recorded guest, or one made elsewhere."""

    table: AccessTable

    @property
    def vcpus(self) -> int:
        """The table's vCPUs."""
        return self.table.vcpus

    @property
    def is_random(self) -> bool:
        """Never: what was recorded was recorded."""
        return False

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
        """Slices of the table; `streams` is not used."""
        yield from self.table.in_blocks(rows, vcpu)


@dataclass(frozen=True)
class Scaled:
    """A workload whose guest computes longer or shorter, by a factor."""

    workload: Workload
    scale: float

    @property
    def vcpus(self) -> int:
        """As the workload's."""
        return self.workload.vcpus

    @property
    def is_random(self) -> bool:
        """As the workload's."""
        return self.workload.is_random

    @property
    def contexts(self) -> Mapping[int, int]:
        """As the workload's."""
        return self.workload.contexts

    @property
    def is_whole(self) -> bool:
        """As the workload's."""
        return self.workload.is_whole

    def examples(self) -> AccessTable:
        """As the workload's."""
        return self.workload.examples()

    def blocks(self, vcpu: int, streams: Streams, rows: int = BLOCK_ROWS) -> Iterator[AccessTable]:
        """The workload's rows, compute scaled."""
        for block in self.workload.blocks(vcpu, streams, rows):
            yield block.with_think_scale(self.scale)


def whole_table(workload: Workload, streams: Streams) -> AccessTable:
    """All of a workload's rows as one table."""
    if isinstance(workload, Recorded):
        return workload.table
    parts: list[AccessTable] = []
    for vcpu in range(workload.vcpus):
        parts.extend(workload.blocks(vcpu, streams))
    return concatenate(parts)
