"""A survey of this host: every probe, and if wanted the composite guests, in rounds."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from vmexit_sim.probe import composites as parts
from vmexit_sim.probe.children import LIMIT_S, Child, ProbeError, in_rounds
from vmexit_sim.probe.host import HostFacts, this_host
from vmexit_sim.probe.kvm import Kvm
from vmexit_sim.probe.probes import BLOCKS, PORT_WRITE, PROBES, Measured
from vmexit_sim.statistics import Estimate, median
from vmexit_sim.units import MICROSECOND

ROUNDS = 3

DELTA = "delta method"
"""An interval from those of what goes in, as if the result were linear in it."""

SPIN_PS = 5 * MICROSECOND
"""Compute between two accesses of the composite guests, about."""

TRIAL_SPIN, TRIAL_HOLD, TRIAL_BLOCKS = 32, 1000, 7
MOST_SPIN, MOST_HOLD = 65_535, 1_000_000

HOLD_SHARE = 1.5
"""Work under the lock over what an exit to user space takes: enough that the vCPUs queue."""

EMULATED_PS = 100_000
"""A loop of two instructions that takes so long is emulated, instruction by instruction."""


@dataclass(frozen=True, kw_only=True)
class Survey:
    """What was measured on this host.

    Attributes:
        host: which host, and when.
        measured: by name: probes, the empty loop, the item in user space; and where composite
            guests were wanted, those and their parts.
        spin: rounds of compute before each access of the composite guests; 0: none wanted.
        hold: rounds of work for each item under the lock.
    """

    host: HostFacts
    measured: Mapping[str, Measured]
    spin: int = 0
    hold: int = 0

    @property
    def is_emulated(self) -> bool:
        """Whether this host emulates guest instructions one by one, which makes loops dear."""
        loop = self.measured[parts.LOOP]
        return bool(loop.whole) and float(np.median(loop.whole)) > EMULATED_PS

    def estimate(self, name: str) -> Estimate | None:
        """An iteration over its control, the median of blocks, in ps; None: there is no time."""
        found = self.measured.get(name)
        return None if found is None or not found.whole else median(found.over)

    def ratio(self, first: str, second: str) -> Estimate | None:
        """How many times as long one takes as the other, by the delta method; None: not known."""
        a, b = self.estimate(first), self.estimate(second)
        if a is None or b is None or a.value <= 0 or b.value <= 0:
            return None
        value = a.value / b.value
        half = value * math.hypot(a.half_width / a.value, b.half_width / b.value)
        return Estimate(value, value - half, value + half, min(a.n, b.n), DELTA, unit="1")


def survey(
    *,
    with_composites: bool = False,
    blocks: int = BLOCKS,
    rounds: int = ROUNDS,
    limit: float = LIMIT_S,
    only: Callable[[str], bool] = lambda _: True,
    said: Callable[[str], None] = lambda _: None,
) -> Survey:
    """Measure this host.

    Args:
        with_composites: measure the composite guests, too.
        blocks: blocks of each measurement, all rounds together.
        rounds: rounds in which everything is measured in turn.
        limit: how long one measurement of one round may take, in s, before it counts as hung.
        only: which probes, by name; the others are left out.
        said: is told what goes on.

    Raises:
        NoKvm: there is no /dev/kvm here, or it may not be used.
        ProbeError: the measuring process does not work.
    """
    Kvm().close()
    host = this_host()
    orders: list[dict[str, Any]] = [
        {"do": "probe", "name": probe.name, "vendor": host.vendor}
        for probe in PROBES
        if only(probe.name)
    ]
    orders += [{"do": "loop", "name": parts.LOOP}, _handler(parts.ITEM, 0)]
    spin = hold = 0
    with Child(limit=limit) as child:
        if with_composites:
            said("finding the amount of compute and of work under the lock")
            spin, hold = _spin_for(child), _hold_for(child)
            orders += _composites(spin, hold)
        said(f"{len(orders)} measurements in {rounds} rounds")
        found = list(in_rounds(child, orders, blocks, rounds))
    measured = {each.name: each for each in found}
    return Survey(host=host, measured=measured, spin=spin, hold=hold)


def _handler(name: str, hold: int) -> dict[str, Any]:
    return {"do": "handler", "name": name, "hold": hold}


def _composites(spin: int, hold: int) -> list[dict[str, Any]]:
    """The composite guests, and the parts of them that are no access."""
    return [
        {"do": "spin", "name": parts.SPIN, "rounds": spin},
        _handler(parts.HOLD, hold),
        {"do": "spread", "name": parts.SPREAD, "rounds": spin},
        *(
            {"do": "batched", "name": parts.behind_doorbell(n), "rounds": spin, "items": n}
            for n in parts.DOORBELLS
        ),
        {"do": "read mostly", "name": parts.READ_MOSTLY},
        {"do": "locked", "name": parts.LOCKED, "hold": hold},
    ]


def _spin_for(child: Child) -> int:
    """Rounds of compute that take about `SPIN_PS`."""
    took = _median(child, {"do": "spin", "name": parts.SPIN, "rounds": TRIAL_SPIN})
    return int(min(max(round(SPIN_PS * TRIAL_SPIN / max(took, 1.0)), 1), MOST_SPIN))


def _hold_for(child: Child) -> int:
    """Rounds of work that take `HOLD_SHARE` times an exit to user space."""
    exit_ps = _median(child, {"do": "probe", "name": PORT_WRITE})
    took = _median(child, _handler(parts.HOLD, TRIAL_HOLD))
    rounds = round(HOLD_SHARE * exit_ps * TRIAL_HOLD / max(took, 1.0))
    return int(min(max(rounds, 1), MOST_HOLD))


def _median(child: Child, order: dict[str, Any]) -> float:
    found = child.ask({**order, "blocks": TRIAL_BLOCKS})
    if not found.whole:
        raise ProbeError(f"{found.name} cannot be measured here: {found.why}")
    return float(np.median(found.over))
