"""The closed workload that engines are measured on, for vmexit-sim's own engines.

Four vCPUs think for an exponential time (10 us), exit (1 us), take one of two handler threads
first come first served, decode (2 us), take one of two devices, work for an exponential time
(5 us), give both back, and enter the guest (0.5 us).
"""

from __future__ import annotations

from vmexit_sim.configuration import checked
from vmexit_sim.device import load_devices
from vmexit_sim.guest.generators import Spread
from vmexit_sim.hypervisor.access_class import AccessClass
from vmexit_sim.hypervisor.host import Host
from vmexit_sim.hypervisor.platform import load_platform
from vmexit_sim.hypervisor.stages import DECODE, EMULATE, SWITCH_IN, SWITCH_OUT
from vmexit_sim.lowering import Lowered, lower
from vmexit_sim.mechanisms import Mechanism, register
from vmexit_sim.mechanisms.base import make_mechanism
from vmexit_sim.policy import Policy, Rule
from vmexit_sim.steps import (
    Column,
    Moment,
    Queue,
    Role,
    Stage,
    Steps,
    acquire,
    release,
    spend,
    stamp,
)
from vmexit_sim.units import MICROSECOND, NANOSECOND

WAIT_HANDLER = Stage("wait: handler", Role.WAIT)
WAIT_DEVICE = Stage("wait: device", Role.WAIT)


@register("benchmark_handler")
class BenchmarkHandler(Mechanism):
    """Exit, handler, device, entry; `handlers` and `devices` servers of each."""

    handlers: int = 2
    devices: int = 2

    def access(self, host: Host, access: AccessClass) -> Steps:
        """The path, as the module's docstring says it."""
        handlers = Queue("handlers", tokens=self.handlers)
        devices = Queue("devices", tokens=self.devices)
        yield stamp(Moment.EXIT, reason="IO_INSTRUCTION")
        yield spend(SWITCH_OUT, 1 * MICROSECOND)
        yield acquire(handlers, WAIT_HANDLER)
        yield spend(DECODE, 2 * MICROSECOND)
        yield acquire(devices, WAIT_DEVICE)
        yield spend(EMULATE, Column("emulate"))
        yield stamp(Moment.DONE)
        yield release(devices)
        yield release(handlers)
        yield spend(SWITCH_IN, 500 * NANOSECOND)
        yield stamp(Moment.ENTRY)


def workload(accesses: int, vcpus: int = 4) -> Spread:
    """The guest: single accesses, exponential think and device times."""
    exponential = {"kind": "exponential"}
    return checked(
        Spread,
        {
            "kind": "spread",
            "operations": accesses // vcpus,
            "vcpus": vcpus,
            "between": {**exponential, "mean": "10 us"},
            "emulate": {**exponential, "mean": "5 us"},
            "read_share": 1,
            "needed_share": 0,
            "space": "mmio",
        },
    )


def scaled_to(vcpus: int) -> tuple[int, int]:
    """Handlers and devices in the proportion of two to four vCPUs, at least one."""
    servers = max(vcpus // 2, 1)
    return servers, servers


def lowered(
    guest: Spread, handlers: int = 2, devices: int = 2, *, interruptible: bool = False
) -> Lowered:
    """The program for it.

    Args:
        guest: the workload.
        handlers, devices: how many there are.
        interruptible: put a second rule behind, which never gets an access, but whose mechanism
            could interrupt the guest; so its compute must be ready to be interrupted.
    """
    rules = [Rule(side="host", mechanism=BenchmarkHandler(handlers=handlers, devices=devices))]
    if interruptible:
        timed = {"name": "batched_hypercall", "max_batch": 4, "max_wait": "3 us", "needs": "idioms"}
        rules.append(Rule(side="host", mechanism=make_mechanism(timed)))
    policy = Policy(title="benchmark", rules=rules)
    return lower(policy, load_platform("ideal"), load_devices(), guest)
