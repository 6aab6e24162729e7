"""Runs of what ships, by name: recorded boots, and loops of equal accesses.

A loop has no compute between its accesses, so its time divided by their number is the cost of one:
what a benchmark such as kvm-unit-tests' vmexit measures.
"""

from __future__ import annotations

from collections.abc import Sequence

from vmexit_sim.configuration import checked
from vmexit_sim.device import load_devices
from vmexit_sim.guest.generators import Spread
from vmexit_sim.guest.table import make_table
from vmexit_sim.guest.workload import Recorded, Workload
from vmexit_sim.hypervisor.platform import load_platform
from vmexit_sim.measure.records import RunResult
from vmexit_sim.opened import Loaded, load_block
from vmexit_sim.policy import Policy, Rule, load_policy
from vmexit_sim.scenario import Block
from vmexit_sim.study.simulate import simulate
from vmexit_sim.units import SECOND


def recorded_config(trace: str, *, during: Sequence[str] = ()) -> Loaded:
    """The config accesses of a recorded boot.

    Args:
        trace: a shipped trace's name.
        during: phases of the boot; empty: all.
    """
    block = Block.model_validate(
        {"name": trace, "guest": {"trace": trace}, "only": ["pci_config"], "during": list(during)}
    )
    return load_block(block, load_devices())


def run(
    policy: str | Policy,
    platform: str,
    guest: Workload,
    *,
    costs: dict[str, str] | None = None,
    keep_rows: bool = False,
) -> RunResult:
    """Simulate a guest once, policy and platform by their shipped names.

    Args:
        policy: a name, or a policy made in Python.
        platform: a name.
        guest: what accesses there are.
        costs: costs to put in place of the platform's, as files state them.
        keep_rows: keep every access's record in the result.
    """
    chosen = load_policy(policy) if isinstance(policy, str) else policy
    host = load_platform(platform, changes=costs)
    return simulate(chosen, host, guest, keep_rows=keep_rows)


def config_reads(how: str | dict[str, object], platform: str, reads: int) -> RunResult:
    """A loop of config reads of a function that exists, back to back.

    Args:
        how: a shipped policy's name, or a mechanism as policy files state it.
        platform: a shipped platform's name.
        reads: how many.
    """
    stated = {"kind": "spread", "operations": reads, "between": "0 ps", "space": "pci_config",
              "read_share": 1.0}  # fmt: skip
    if isinstance(how, str):
        return run(how, platform, checked(Spread, stated))
    policy = Policy(title="loop", rules=[checked(Rule, {"side": "host", "mechanism": how})])
    return run(policy, platform, checked(Spread, stated))


def loop_cycles(how: object, platform: str, n: int = 1, **columns: object) -> float:
    """What one access costs, in cycles of the platform, in a loop of equal ones.

    Args:
        how: a mechanism as policy files state it.
        platform: a shipped platform's name.
        n: how many accesses.
        columns: what they are, as `make_table` takes it.
    """
    policy = Policy(title="loop", rules=[checked(Rule, {"side": "host", "mechanism": how})])
    ran = run(policy, platform, Recorded(make_table(n, **columns)))  # type: ignore[arg-type]
    return ran.completion / n * load_platform(platform).clock / SECOND
