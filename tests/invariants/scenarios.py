"""Random scenarios: any platform, guest, policy and number of CPUs that fit together.

A scenario is valid by construction, has at most a few hundred accesses, and shrinks towards one
access of one vCPU, trapped on the ideal host.
"""

from __future__ import annotations

from hypothesis import strategies as st
from invariants.drawn import EVEN, GRID, Drawn, base_platform
from invariants.guests import SPREAD_TIMES, workloads
from invariants.policies import policies

from vmexit_sim.configuration import checked
from vmexit_sim.hypervisor.platform import ConstantCost, Cost, Costs, Platform
from vmexit_sim.lowering import HostCpus
from vmexit_sim.policy import Policy

GRID_TIMES = st.sampled_from(["500 ns", "1 us", "0 ns", "1500 ns", "4 us", "20 us"])
CONSTANT = frozenset({"refill", "poll_queue"})
"""Costs that cannot be random."""


@st.composite
def platforms(draw: st.DrawFn) -> Platform:
    """A shipped host, with some of its costs changed."""
    platform = base_platform(draw(st.sampled_from(["ideal", EVEN, "kvm-2013", "kvm-nested-2017"])))
    is_random = draw(st.booleans())
    chosen = draw(st.lists(st.sampled_from(list(Costs.model_fields)), max_size=12, unique=True))
    changed = {}
    for name in chosen:
        value = draw(GRID_TIMES)
        if is_random and name not in CONSTANT:
            value = draw(st.sampled_from([value, *SPREAD_TIMES]))
        model = ConstantCost if name == "refill" else Cost
        stated = {"value": value, "mark": "A", "source": "drawn for a test"}
        changed[name] = checked(model, stated)
    lock = platform.vmm_lock.model_copy(
        update={"discipline": draw(st.sampled_from(["fifo", "priority"]))}
    )
    costs = platform.costs.model_copy(update=changed)
    return platform.model_copy(update={"costs": costs, "vmm_lock": lock})


@st.composite
def host_cpus(draw: st.DrawFn, policy: Policy) -> HostCpus | None:
    """Mostly as many CPUs as anybody wants; else few, but one more than polling cores take."""
    polling = sum(rule.mechanism.cores_spent for rule in policy.rules)
    more = draw(st.sampled_from([None, None, 1, 2, 3]))
    if more is None:
        return None
    return HostCpus(polling + more, draw(st.sampled_from([2, 10, 6_000])) * GRID)


@st.composite
def scenarios(draw: st.DrawFn, mechanism: str | None = None, *, contexts: bool = True) -> Drawn:
    """Any scenario.

    Args:
        draw: Hypothesis's.
        mechanism: that of the policy's first rule; None: any.
        contexts: whether interrupt contexts may break into what vCPUs do.
    """
    policy = draw(policies(mechanism))
    return Drawn(
        platform=draw(platforms()),
        policy=policy,
        workload=draw(workloads(contexts=contexts)),
        cpus=draw(host_cpus(policy)),
    )
