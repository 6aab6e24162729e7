"""How many of a guest's config reads a cache in the guest answers, whose reads they are.

A hit rate is a ratio, and what stands below the line makes the number. Published rates count the
reads of endpoints alone: those of bridges and of functions that do not exist never come to the
cache, and so miss nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vmexit_sim.guest.table import AccessTable, Agent, Flag, Space
from vmexit_sim.mechanisms.cached import Cached

AS_PUBLISHED = Cached(line="byte")
"""As the RFC's cache keeps registers (the policy ``config-cache``)."""

WITH_CAPABILITIES = Cached(line="byte", volatile=True)
"""Besides, what lies in capabilities that it does not know, a vendor's among them."""

EVERYTHING = Cached(line="dword", exclude=(), volatile=True)
"""Every register, whole dwords: what repetition alone allows."""


@dataclass(frozen=True, kw_only=True)
class Hits:
    """Config reads of one sort, and how many of them hit."""

    reads: int
    hits: int

    @property
    def rate(self) -> float:
        """Hits per read; 0 without reads."""
        return self.hits / self.reads if self.reads else 0.0


def hit_rates(table: AccessTable, cache: Cached, *, kernel_only: bool) -> dict[str, Hits]:
    """Hits among the reads of endpoints, of bridges, and of functions that do not exist.

    Args:
        table: a guest's accesses.
        cache: the cache; it is offered all three, each by itself.
        kernel_only: whether it is there, and reads are counted, from the kernel's config routines
            on; else from the guest's first access on.
    """
    config = (table.space == Space.PCI_CONFIG) & ~table.has(Flag.INDEX_ONLY)
    if kernel_only:
        config &= table.agent >= Agent.KERNEL
    absent, bridge = table.has(Flag.ABSENT), table.has(Flag.BRIDGE)
    whose = {"endpoints": ~absent & ~bridge, "bridges": ~absent & bridge, "absent": absent}
    rates = {}
    for name, mine in whose.items():
        reads = config & mine & ~table.write
        hits = _hits(table, cache, reads)
        rates[name] = Hits(reads=int(reads.sum()), hits=int(hits.sum()))
    return rates


def _hits(table: AccessTable, cache: Cached, reads: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Each vCPU's hits, as a run has them."""
    parts = []
    for vcpu in range(table.vcpus):
        begin, end = table.rows_of(vcpu)
        parts.append(cache.new_history().hits(table.of_vcpu(vcpu), reads[begin:end]))
    return np.concatenate(parts)
