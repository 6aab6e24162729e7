"""One run: a policy on a platform, for a guest.

The shortest way from Python into the simulator, and what every study is made of.
"""

from __future__ import annotations

from vmexit_sim.device import DeviceCatalog, load_devices
from vmexit_sim.engine import EngineName, run
from vmexit_sim.guest.workload import Workload
from vmexit_sim.hypervisor.platform import Platform
from vmexit_sim.lowering import HostCpus, lower
from vmexit_sim.measure.records import RunResult
from vmexit_sim.policy import Policy
from vmexit_sim.streams import Streams


def simulate(
    policy: Policy,
    platform: Platform,
    workload: Workload,
    *,
    devices: DeviceCatalog | None = None,
    seed: int = 1,
    replication: int = 0,
    keep_rows: bool = False,
    cpus: HostCpus | None = None,
    engine: EngineName = "auto",
) -> RunResult:
    """Run a guest once.

    Args:
        policy: how the guest reaches its devices.
        platform: what its exits cost.
        workload: the guest.
        devices: where devices are emulated; None: as QEMU does it.
        seed: root of all randomness.
        replication: which repetition; two replications share no random number.
        keep_rows: keep every access's record in the result.
        cpus: the host's physical CPUs; None: one for every thread.
        engine: what runs it; the result is the same to the last bit.

    Raises:
        SimulationError: a deadlock.
    """
    lowered = lower(policy, platform, devices or load_devices(), workload, cpus)
    return run(lowered, workload, Streams(seed, replication), engine=engine, keep_rows=keep_rows)
