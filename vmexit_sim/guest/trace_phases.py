"""When in the guest's life a log's line falls: firmware, early kernel, kernel, user space, job.

===============  ==============================================================================
phase begins     with
===============  ==============================================================================
early kernel     the write of 0 to port 0xF0 (Linux's real-mode setup resets the coprocessor
                 right after it took over), or the port-0x80 delays directly before it
kernel           the byte write to 0xCFB, the probe for configuration mechanism 1 with which
                 Linux's config-access routines begin
user, modules,   0xA1, 0xA2, 0xA3, 0xA4 written to port 0x80 by the recorded guests' scripts
job, done
===============  ==============================================================================

A log that may begin while the guest is running, as KVM's may, and holds no mark of a boot, begins
in user space: nothing of it is firmware's.

A phase can only be followed by a later one. Where no marker of the early kernel is met, what it
did counts as firmware; the two differ in no policy: neither can be reached from inside the guest.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from vmexit_sim.guest.table import Agent, Phase

_DELAY_PORT, _COPROCESSOR_PORT, _PROBE_PORT = 0x80, 0xF0, 0xCFB
_MARKS = {0xA1: Phase.USER, 0xA2: Phase.MODULES, 0xA3: Phase.JOB, 0xA4: Phase.DONE}


class Boundaries:
    """Finds where phases begin while lines go by, and counts each phase's accesses.

    Args:
        may_join: whether the log may begin while the guest is running.
    """

    def __init__(self, *, may_join: bool = False) -> None:
        self._may_join = may_join
        self._starts = [(Phase.FIRMWARE, 0, 0, 0)]  # phase, line, accesses and config before it
        self._accesses = self._config = 0
        self._delays = self._first_delay = 0

    def access(
        self, line: int, address: int, value: int, size: int, *, write: bool, config: bool
    ) -> None:
        """Take one access of a vCPU; `config`: it moves config data (it is no index access)."""
        if address == _DELAY_PORT and write:
            mark = _MARKS.get(value)
            if mark is not None:
                self._begin(mark, line)
            elif self._delays == 0:
                self._first_delay = line
            self._delays = 0 if mark is not None else self._delays + 1
        else:
            if write and address == _COPROCESSOR_PORT and value == 0:
                begin = self._first_delay if self._delays else line
                self._begin(Phase.EARLY_KERNEL, begin, self._delays)
            elif write and address == _PROBE_PORT and size == 1:
                self._begin(Phase.KERNEL, line)
            self._delays = 0
        self._accesses += 1
        self._config += config

    def _begin(self, phase: Phase, line: int, back: int = 0) -> None:
        """A phase begins at a line, `back` accesses ago."""
        if phase > self._starts[-1][0]:
            self._starts.append((phase, line, self._accesses - back, self._config))

    @property
    def has_joined(self) -> bool:
        """Whether the log began while the guest was running, as far as it shows."""
        boot = (Phase.EARLY_KERNEL, Phase.KERNEL)
        return self._may_join and not any(phase in boot for phase, *_ in self._starts)

    def _begun(self) -> list[tuple[Phase, int, int, int]]:
        """Where phases begin; what a running guest did before any mark is user space's."""
        first, *others = self._starts
        return [(Phase.USER, *first[1:]), *others] if self.has_joined else self._starts

    def counts(self) -> Iterator[tuple[Phase, int, int]]:
        """For each phase that has any: (phase, accesses, config accesses without index)."""
        starts = self._begun()
        ends = [*starts[1:], (Phase.DONE, 0, self._accesses, self._config)]
        for (phase, _, accesses, config), (_, _, accesses_end, config_end) in zip(
            starts, ends, strict=True
        ):
            if accesses_end > accesses:
                yield phase, accesses_end - accesses, config_end - config

    def phases(self, lines: npt.NDArray[np.int64]) -> npt.NDArray[np.int8]:
        """The phase (`Phase`) of each line number."""
        starts = self._begun()
        begins = np.array([line for _, line, _, _ in starts])
        kinds = np.array([phase for phase, _, _, _ in starts], np.int8)
        return kinds[np.searchsorted(begins, lines, side="right") - 1]


def agents(phases: npt.NDArray[np.int8], is_config: npt.NDArray[np.bool_]) -> npt.NDArray[np.int8]:
    """Whose code (`Agent`) made accesses: once the routines exist, all config accesses use them."""
    later = np.where(is_config, Agent.KERNEL, Agent.DRIVER)
    early = np.where(phases == Phase.FIRMWARE, Agent.FIRMWARE, Agent.EARLY_KERNEL)
    return np.where(phases >= Phase.KERNEL, later, early).astype(np.int8)
