"""Multicast IPIs: each vCPU interrupts some of the others, as for a TLB shootdown.

What a multicast costs the guest is the number of writes of the interrupt command register (ICR):

``physical``
    x2APIC, one write of MSR 0x830 for each target.
``cluster``
    x2APIC with logical destinations: one write for each cluster of 16 vCPUs that has a target.
``xapic``
    the APIC as a page of memory: for each target a read that looks whether the last command is
    through, a write of the destination and one of the command.

::

    timer | EOI … | ICR ICR ICR …                timer | EOI … | ICR …
    msr writes of   one multicast, back to back
    other sorts

Targets are drawn anew for each multicast, every set of that size equally likely. Between multicasts
a vCPU sets its timer, and where ends of interrupts exit, it ends as many as it is sent on average.

Sources: Linux arch/x86/kernel/apic/x2apic_phys.c and x2apic_cluster.c (__x2apic_send_IPI_mask),
ipi.c (__default_send_IPI_dest_field); Intel SDM vol. 3, "Issuing interprocessor interrupts",
"Logical destination mode in x2APIC mode", and the table of x2APIC registers.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from vmexit_sim.configuration import misfit
from vmexit_sim.distributions import Distribution
from vmexit_sim.guest.generators.stream import Draws, Generated, Many, in_blocks
from vmexit_sim.guest.table import AccessTable, Agent, Flag, Kind, Phase, Space, make_table
from vmexit_sim.guest.workload import BLOCK_ROWS
from vmexit_sim.streams import Streams

ICR, EOI, TSC_DEADLINE = 0x830, 0x80B, 0x6E0
"""Model-specific registers of the local APIC and its timer."""

PAGE, PAGE_EOI, PAGE_ICR, PAGE_ICR_HIGH = 0xFEE0_0000, 0xB0, 0x300, 0x310
"""The local APIC's page, and registers in it."""

CLUSTER = 16
"""vCPUs of one cluster: the low four bits of an x2APIC id."""

XAPIC_VCPUS = 255
"""An xAPIC id has eight bits, of which one value is everybody."""

DRAWN = 2**18
"""Random numbers that are drawn at a time."""

TIMER, END, SEND = 0, 1, 2
"""Sorts of rows."""

Rows = npt.NDArray[np.int64]
Targets = Annotated[int, Field(ge=1, le=65_535)]


class Ipi(Generated):
    """Each vCPU of a guest sends multicasts, and thinks between them.

    Attributes:
        mode: how the APIC is used: "physical" (x2APIC, a write for each target), "cluster"
            (x2APIC, one for each 16 vCPUs with a target), "xapic" (a page of memory, a read and
            two writes for each target).
        multicasts: multicasts per vCPU.
        vcpus: the guest's vCPUs; all of them send.
        targets: vCPUs that a multicast goes to: a number, or the least and the most of a uniform
            draw.
        between: guest compute before each multicast, and before each write of another sort.
        timers: writes of the timer's deadline before each multicast.
        ends_exit: whether ends of interrupts exit, as they do without APIC virtualisation: then
            as many stand before each multicast as it has targets.
    """

    kind: Literal["ipi"]
    mode: Literal["physical", "cluster", "xapic"]
    multicasts: Many
    vcpus: Annotated[int, Field(ge=2, le=65_536)]
    targets: Targets | Annotated[tuple[Targets, Targets], Field(strict=False)]
    between: Distribution
    timers: Annotated[int, Field(ge=0, le=10_000)] = 0
    ends_exit: bool = False

    @model_validator(mode="after")
    def _possible(self) -> Ipi:
        low, high = self.least_and_most
        if not low <= high <= self.vcpus - 1:
            raise misfit(f"sends to {low} to {high} of {self.vcpus - 1} others",
                         mend="keep least ≤ most < vcpus")  # fmt: skip
        if self.mode == "xapic" and self.vcpus > XAPIC_VCPUS:
            raise misfit(f"has {self.vcpus} vCPUs by xAPIC",
                         mend=f"keep vcpus at {XAPIC_VCPUS} or less, or use x2APIC")  # fmt: skip
        return self

    @property
    def least_and_most(self) -> tuple[int, int]:
        """The fewest and the most targets of a multicast."""
        return (self.targets, self.targets) if isinstance(self.targets, int) else self.targets

    @property
    def is_random(self) -> bool:
        """Whether times, counts or clusters are left to chance; who is a target always is."""
        low, high = self.least_and_most
        matters = self.mode == "cluster" and low < self.vcpus - 1
        return matters or low < high or not self.between.is_constant

    def examples(self) -> AccessTable:
        """Multicasts of one, two and three writes, and a write of each other sort."""
        sort = [TIMER] * (self.timers > 0) + [END] * self.ends_exit
        counts = np.array([1, 2, 3])
        rows = np.repeat(counts, counts * (3 if self.mode == "xapic" else 1))
        operation = np.concatenate([[-1] * len(sort), rows - 1])
        targets = np.concatenate([[0] * len(sort), np.ones(len(rows), np.int64)])
        return self._table(
            self._columns(np.array(sort + [SEND] * len(rows)), operation, targets), vcpu=0
        )

    def blocks(self, vcpu: int, streams: Streams, rows: int = BLOCK_ROWS) -> Iterator[AccessTable]:
        """One vCPU's rows, in blocks of at most `rows`."""
        draws = Draws(streams, vcpu)
        for columns in in_blocks(self._multicasts(vcpu, draws), rows):
            yield self._table(columns, vcpu)

    def _multicasts(self, vcpu: int, draws: Draws) -> Iterator[dict[str, Any]]:
        """Columns of some multicasts at a time, as many as `DRAWN` allows."""
        others = self.vcpus - 1
        step = max(DRAWN // others, 1)
        for begin in range(0, self.multicasts, step):
            n = min(step, self.multicasts - begin)
            counts = draws.whole("targets", *self.least_and_most, n)
            multicast, place = np.nonzero(draws.some_of("who", counts, others))
            send, targets = self._writes(multicast, place + (place >= vcpu))
            before = np.stack([np.full(n, self.timers), counts * self.ends_exit], axis=1)
            # In the order of multicasts: timers, ends, then what sends.
            owner = np.concatenate([np.repeat(np.arange(n), before[:, sort]) for sort in (0, 1)])
            sort = np.repeat([TIMER, END, SEND], [*before.sum(axis=0), len(send)])
            owner = np.concatenate([owner, send])
            order = np.lexsort((sort, owner))
            sort = sort[order]
            operation = np.where(sort == SEND, begin + owner[order], -1)
            reached = np.concatenate([np.zeros(len(owner) - len(send), np.int64), targets])
            columns = self._columns(sort, operation, reached[order])
            begins = (sort != SEND) | (np.diff(operation, prepend=-1) != 0)
            compute = np.zeros(len(sort), np.int64)
            compute[begins] = draws.times("between", self.between, int(begins.sum()))
            yield {**columns, "compute": compute}

    def _writes(self, multicast: Rows, target: Rows) -> tuple[Rows, Rows]:
        """The accesses that send to targets: whose multicast each is, and how many it reaches."""
        if self.mode == "cluster":
            clusters = -(-self.vcpus // CLUSTER)
            cluster, reached = np.unique(
                multicast * clusters + target // CLUSTER, return_counts=True
            )
            return cluster // clusters, reached
        accesses = 3 if self.mode == "xapic" else 1
        return np.repeat(multicast, accesses), np.ones(len(multicast) * accesses, np.int64)

    def _columns(self, sort: Rows, operation: Rows, targets: Rows) -> dict[str, Any]:
        """What rows of these sorts are; by xAPIC only every third that sends has a target."""
        sends = sort == SEND
        address = np.array([TSC_DEADLINE, EOI, ICR])[sort]
        write = np.ones(len(sort), np.bool_)
        space = np.full(len(sort), Space.MSR)
        if self.mode == "xapic":
            third = (np.cumsum(sends) - 1)[sends] % 3
            address[sort == END] = PAGE + PAGE_EOI
            address[sends] = PAGE + np.array([PAGE_ICR, PAGE_ICR_HIGH, PAGE_ICR])[third]
            write[sends] = third > 0
            space[sort != TIMER] = Space.MMIO
            targets = targets.copy()
            targets[sends] = np.where(third == 2, targets[sends], 0)
        return {
            "space": space,
            "write": write,
            "address": address,
            "operation": operation,
            "kind": np.where(sends, Kind.IPI, Kind.NONE),
            "targets": targets,
            "flags": np.where(space == Space.MMIO, Flag.LOCAL_APIC, Flag.NONE),
        }

    def _table(self, columns: dict[str, Any], vcpu: int) -> AccessTable:
        return make_table(
            len(columns["space"]),
            origin=f"multicast IPIs, {self.mode}",
            devices=("apic-msi",),
            vcpu=vcpu,
            agent=Agent.KERNEL,
            phase=Phase.JOB,
            **columns,
        )
