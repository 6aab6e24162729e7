"""What did an exit cost in a boot of which only two times are known?

The thread gives a PCI scan's time by ports and with read-only pages, 55 and 18 ms. Whatever else
the scan did, C, is in both, so with the reads R and writes W of a like boot that was recorded::

    by ports           55 ms = C + (R + W) · 2·t
    read-only pages    18 ms = C + W · r·t + R · t_load + W · t_refresh

two equations for the two unknowns C and t, a port exit's cost; r is the ratio of an MMIO exit to a
port exit. The counts are not put in by hand: the boot is simulated under both policies at the
thread's own exit costs, and these are scaled until the difference fits. Running it again at the
fitted costs must give both times back.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from vmexit_sim.errors import InputError
from vmexit_sim.guest.table import AccessTable
from vmexit_sim.guest.workload import Recorded
from vmexit_sim.hypervisor.platform import load_platform
from vmexit_sim.measure.records import RunResult
from vmexit_sim.policy import load_policy
from vmexit_sim.study.simulate import simulate
from vmexit_sim.units import MILLISECOND

PLATFORM = "vmware-2022"
BEFORE, AFTER = "linux-default", "read-only-pages"
PUBLISHED = 55 * MILLISECOND, 18 * MILLISECOND
"""The scan by ports and with read-only pages, in ps. Source: Kaher, v2, 2022-09-06."""


@dataclass(frozen=True, kw_only=True)
class Fit:
    """A port exit's cost that explains two times of a scan; all times in ps.

    Attributes:
        reads: config reads of the scan.
        writes: config writes of it.
        port_exit: the fitted cost of a port exit.
        mmio_exit: an MMIO exit's, in the loop's ratio to it.
        constant: what the scan took besides its config accesses; negative: the times cannot be
            those of this scan.
        before: the scan by ports, simulated at the fitted costs, `constant` included.
        after: the same with read-only pages.
        at_loop_cost: what its config accesses by ports take at the loop's cost.
        exits: exits' time under either policy, over that of one port exit.
        rest: the accesses' time outside exits under either policy.
    """

    reads: int
    writes: int
    port_exit: float
    mmio_exit: float
    constant: float
    before: float
    after: float
    at_loop_cost: float
    exits: tuple[float, float]
    rest: tuple[float, float]

    def time(self, policy: int, port_exit: float) -> float:
        """The config accesses' time (ps) under policy 0 or 1, were a port exit to cost this."""
        return self.exits[policy] * port_exit + self.rest[policy]


def fit_scan(table: AccessTable, published: tuple[float, float] = PUBLISHED) -> Fit:
    """Fit a port exit's cost and the constant part to two published times.

    Args:
        table: the accesses of a recorded scan; their compute is left out.
        published: its time by ports and with read-only pages, in ps.

    Raises:
        InputError: read-only pages save no exit of these accesses, so nothing can be fitted.
    """
    serial = replace(table, vcpu=np.zeros_like(table.vcpu))  # a scan is: nobody waits for a lock
    guest = Recorded(serial.with_think_scale(0))
    costs = load_platform(PLATFORM).costs
    port = costs.duration("dispatch_port").mean_ps
    mmio = costs.duration("dispatch_mmio").mean_ps
    loop = _both(guest, port, mmio)
    spent = [run.stage_times().get("dispatch", 0) for run in loop]
    rest = [run.completion - exits for run, exits in zip(loop, spent, strict=True)]
    if spent[0] <= spent[1]:
        raise InputError("has nothing that read-only pages would save", key="table")
    scale = (published[0] - published[1] - rest[0] + rest[1]) / (spent[0] - spent[1])
    constant = published[0] - spent[0] * scale - rest[0]
    before, after = _both(guest, port * scale, mmio * scale)
    writes = int(table.write.sum())
    return Fit(
        reads=len(table) - writes,
        writes=writes,
        port_exit=port * scale,
        mmio_exit=mmio * scale,
        constant=constant,
        before=before.completion + constant,
        after=after.completion + constant,
        at_loop_cost=loop[0].completion,
        exits=(spent[0] / port, spent[1] / port),
        rest=(rest[0], rest[1]),
    )


def _both(guest: Recorded, port: float, mmio: float) -> list[RunResult]:
    """The scan under both policies, with these costs of an exit."""
    changes = {"dispatch_port": f"{round(port)} ps", "dispatch_mmio": f"{round(mmio)} ps"}
    platform = load_platform(PLATFORM, changes=changes)
    return [simulate(load_policy(name), platform, guest) for name in (BEFORE, AFTER)]
