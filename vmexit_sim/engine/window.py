"""The window through which a guest's accesses pass an engine, so that memory stays bounded.

::

    a vCPU's accesses   … retired …  [ block n-1 | block n ]  … not made yet …
                                       a ring of two blocks

When a vCPU enters a block, the one before last is reduced and the next is laid in its place. Every
access must have had its effect by then.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vmexit_sim.errors import SimulationError
from vmexit_sim.guest.workload import Workload, rows_made
from vmexit_sim.lowering import ALWAYS, Columns, Lowered
from vmexit_sim.program import Program
from vmexit_sim.streams import Streams

RECORDED = {
    "due": -1, "start": -1, "resume": -1, "stall": 0, "posted": -1, "done": -1, "exits": 0,
}  # fmt: skip
"""What is recorded of an access (see `Records`), and what it is before."""
IN_CACHE = 4096
"""Accesses whose columns and records a processor's own cache holds."""

Made = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Block:
    """A vCPU's next accesses, and where they go.

    Attributes:
        made: columns of accesses made at a time, in the order of `Window.names`.
        at: where in them the block begins.
        accesses: how many.
        slot: the first one's slot.
        replaces: begin and end of the accesses whose slots they take, in program order.
    """

    made: Made
    at: int
    accesses: int
    slot: int
    replaces: tuple[int, int] | None


class Window:
    """Every vCPU's ring of two blocks, and one slot more for the access of nobody."""

    def __init__(
        self, lowered: Lowered, workload: Workload, streams: Streams, block: int | None = None
    ) -> None:
        """Open a window.

        Args:
            lowered: how rows become columns.
            workload: the guest.
            streams: the replication's random streams.
            block: accesses of a block, a power of two; by default so many that the windows of all
                vCPUs together stay in the processor's cache.
        """
        vcpus = workload.vcpus
        if block is None:
            least = max(256, lowered.outstanding)
            block = max(1 << (IN_CACHE // vcpus).bit_length() >> 1, 1 << (least - 1).bit_length())
        assert block & (block - 1) == 0, "the window's size is a power of two"
        self.block = block
        self.size = 2 * block
        self.bits = self.size.bit_length() - 1
        self.slots = self.size * vcpus + 1
        self.loaded = [0] * vcpus
        self._portion = max(block, rows_made(vcpus))
        self.names = list(dict.fromkeys([*ALWAYS, *lowered.program.columns]))
        nothing = np.zeros((len(self.names), 0), np.int64)
        self._made: list[tuple[Made, int]] = [(nothing, 0)] * vcpus
        self._feeds: list[Iterator[Columns]] = [
            lowered.feed(workload, streams, vcpu, self._portion) for vcpu in range(vcpus)
        ]

    def slot(self, vcpu: int, access: int) -> int:
        """The slot of an access, by its place in the vCPU's program order."""
        return vcpu * self.size + (access & (self.size - 1))

    def next_block(self, vcpu: int) -> Block | None:
        """A vCPU's next block; None after the last."""
        begin = self.loaded[vcpu]
        made, at = self._made[vcpu]
        if at == made.shape[1]:
            following = next(self._feeds[vcpu], None)
            if following is None:
                return None
            made, at = np.array([following[name] for name in self.names], np.int64), 0
            if begin % self._portion or made.shape[1] > self._portion:
                raise SimulationError("a workload's blocks must be full, but for a vCPU's last one")
        n = min(self.block, made.shape[1] - at)
        self._made[vcpu] = made, at + n
        self.loaded[vcpu] += n
        old = begin - self.size
        replaces = (old, old + self.block) if old >= 0 else None
        return Block(made, at, n, self.slot(vcpu, begin), replaces)

    def left_over(self, vcpu: int) -> Iterator[tuple[int, int]]:
        """Begin and end of the blocks still in the window, in program order."""
        loaded = self.loaded[vcpu]
        blocks = -(-loaded // self.block)
        for block in range(max(blocks - 2, 0), blocks):
            yield block * self.block, min((block + 1) * self.block, loaded)

    def fixed_times(self, program: Program) -> npt.NDArray[np.int64]:
        """`Program.fixed` as an array, shape (classes, stages)."""
        fixed = np.zeros((len(program.entries), len(program.stages)), np.int64)
        for number, stages in enumerate(program.fixed):
            fixed[number, list(stages)] = list(stages.values())
        return fixed


def no_effect_error(vcpu: int, access: int, done: int, block: int) -> SimulationError:
    """The error for an access that outlives the window, or for a time beyond all times."""
    if done < -1:
        return SimulationError(
            f"access {access} of vCPU {vcpu} comes later than 106 days, beyond what picoseconds in "
            "64 bits can say; shorten the times"
        )
    return SimulationError(
        f"access {access} of vCPU {vcpu} has had no effect although {block} later ones have been "
        "issued; raise the block size"
    )
