"""A drawn scenario: what `lower` takes, and how it is run."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from hypothesis import settings

from vmexit_sim.device import DeviceCatalog, load_devices
from vmexit_sim.engine import run
from vmexit_sim.guest.workload import Recorded, Workload
from vmexit_sim.hypervisor.platform import Costs, Platform, load_platform
from vmexit_sim.lowering import HostCpus, Lowered, lower
from vmexit_sim.measure.records import RunResult
from vmexit_sim.policy import Policy
from vmexit_sim.streams import Streams

GRID = 500_000
"""Half a microsecond, in ps."""

SEED = 7

CATALOG = load_devices()

EVEN = "half a microsecond each"
"""The name of a host on which every cost is the same."""


@cache
def base_platform(name: str) -> Platform:
    """A shipped platform, or `EVEN`."""
    if name != EVEN:
        return load_platform(name)
    even = load_platform("ideal", changes=dict.fromkeys(Costs.model_fields, "500 ns"))
    return even.model_copy(update={"name": EVEN})


def share(examples: int) -> int:
    """How many examples a test draws: in the suite so many, in a campaign in proportion more."""
    return max(examples * settings.default.max_examples // 100, 1)


@dataclass(frozen=True, kw_only=True, repr=False)
class Drawn:
    """A scenario, ready to lower.

    Attributes:
        platform: what the host charges.
        policy: which access goes by which mechanism.
        workload: the guest.
        cpus: the host's CPUs; None: one for every thread.
        catalog: where devices are emulated.
    """

    platform: Platform
    policy: Policy
    workload: Workload
    cpus: HostCpus | None = None
    catalog: DeviceCatalog = CATALOG

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """For Hypothesis."""
        printer.text(repr(self))

    def __repr__(self) -> str:
        """What tells it from others, for whoever reads a failure."""
        platform, policy = self.platform, self.policy
        base = base_platform(platform.name).costs
        costs = {n: c.value for n, c in platform.costs.items() if c != getattr(base, n)}
        rules = [
            f"{r.side} {r.match.model_dump(exclude_none=True)}: {r.mechanism!r}"
            for r in policy.rules
        ]
        guest: Any = self.workload
        if isinstance(guest, Recorded):
            columns = guest.table.columns.items()
            guest = {n: c.tolist() for n, c in columns if len(set(c.tolist())) > 1 or c[0]}
        return "\n  ".join(
            [
                f"platform {platform.name} (VMM lock: {platform.vmm_lock.discipline}), {costs}",
                f"delivery {policy.delivery}, {policy.idle!r}", *rules, repr(guest),
                f"{self.cpus}",
            ]
        )  # fmt: skip

    def lowered(self) -> Lowered:
        """The program."""
        return lower(self.policy, self.platform, self.catalog, self.workload, self.cpus)

    def run(
        self, engine: Literal["simpy", "compiled"] = "compiled", *, replication: int = 0
    ) -> RunResult:
        """Run it once, and keep every row."""
        streams = Streams(SEED, replication)
        return run(self.lowered(), self.workload, streams, engine=engine, keep_rows=True)
