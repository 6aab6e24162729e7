"""An interrupted guest: what its vCPUs do by themselves, and services that break into it.

::

    vCPU      compute ── access ── com │ service │ pute ── access …
    device    ·········· interrupt ────┘

The services stand in streams of their own, the vCPUs' *interrupt contexts*, so that the same
accesses are served however late an access policy lets the vCPU come to them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Annotated, Literal

import numpy as np
from pydantic import Discriminator, model_validator

from vmexit_sim.configuration import Configured, misfit
from vmexit_sim.guest.generators.bar_sizing import BarSizing
from vmexit_sim.guest.generators.enumeration import Enumeration
from vmexit_sim.guest.generators.interrupts import InterruptService
from vmexit_sim.guest.generators.spread import Spread
from vmexit_sim.guest.table import AccessTable, Flag, concatenate
from vmexit_sim.guest.workload import BLOCK_ROWS
from vmexit_sim.streams import Streams


class Interrupted(Configured):
    """A guest whose vCPUs are interrupted in what they do.

    Attributes:
        main: what the vCPUs do by themselves.
        services: the interrupts of the first vCPUs, and how each is served; delivering them is
            always charged.
    """

    kind: Literal["interrupted"]
    main: Annotated[Spread | BarSizing | Enumeration, Discriminator("kind")]
    services: InterruptService

    @model_validator(mode="after")
    def _possible(self) -> Interrupted:
        if self.services.vcpus > self.main.vcpus:
            raise misfit(f"interrupts {self.services.vcpus} vCPUs of {self.main.vcpus}",
                         mend="lower services.vcpus")  # fmt: skip
        return self

    @property
    def vcpus(self) -> int:
        """The vCPUs, and behind them the interrupt contexts."""
        return self.main.vcpus + self.services.vcpus

    @property
    def contexts(self) -> Mapping[int, int]:
        """Each interrupt context, and its vCPU."""
        return {self.main.vcpus + vcpu: vcpu for vcpu in range(self.services.vcpus)}

    @property
    def is_random(self) -> bool:
        """Whether either part is."""
        return self.main.is_random or self.services.is_random

    @property
    def is_whole(self) -> bool:
        """Never: operations are shown, and others may be made of the same accesses."""
        return False

    def examples(self) -> AccessTable:
        """Both parts'."""
        return concatenate(
            [self.main.examples(), self._in_context(self._delivered.examples(), self.main.vcpus)]
        )

    def blocks(self, vcpu: int, streams: Streams, rows: int = BLOCK_ROWS) -> Iterator[AccessTable]:
        """One vCPU's rows, or one interrupt context's."""
        if vcpu not in self.contexts:
            yield from self.main.blocks(vcpu, streams, rows)
            return
        for block in self._delivered.blocks(vcpu, streams, rows):
            yield self._in_context(block, vcpu)

    @property
    def _delivered(self) -> InterruptService:
        return self.services.model_copy(update={"delivered": True})

    @staticmethod
    def _in_context(table: AccessTable, stream: int) -> AccessTable:
        """Services as rows of an interrupt context."""
        flags = table.flags | np.int16(Flag.IN_CONTEXT)
        return replace(table, flags=flags, vcpu=np.full(len(table), stream, np.int32))
