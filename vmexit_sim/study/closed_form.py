"""Closed forms: what theory says an access costs by single calls and by batches that fill.

Recognised is one vCPU that writes single accesses on constant costs, under `hypercall` or under a
`batched_hypercall` that nothing but filling up sends off:

``burden.mean``
    a closed loop with gaps of any law: `analytic.batched_burden`;
``effect.mean``
    an open loop with Poisson arrivals and nothing between them: M/D/1 for single calls,
    E_k/D/1 for batches whose gathering costs nothing.

Everything else has no closed form here, and none is made up.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from vmexit_sim.analytic import batched_burden, batched_effect, single_effect
from vmexit_sim.distributions import Exponential
from vmexit_sim.guest.generators import Spread
from vmexit_sim.mechanisms.base import Mechanism
from vmexit_sim.mechanisms.batched_hypercall import BatchedHypercall
from vmexit_sim.mechanisms.hypercall import Hypercall
from vmexit_sim.opened import Loaded, Opened
from vmexit_sim.policy import Match, Policy

LAWS = {
    "burden.mean": "batches of k wait (k - 1)/2 gaps to fill",
    "effect.mean": "M/D/1 for single calls, E_k/D/1 for batches that fill",
}
"""The metrics that have a closed form, and its law."""

_PARTS = ("world_switch_out", "world_switch_in", "dispatch_hypercall", "to_user", "to_kernel",
          "gather", "item", "refill")  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class ClosedForm:
    """Where theory puts flips.

    Attributes:
        law: what it rests on.
        roots: values of the factor at which theory's difference changes its sign; of a whole-number
            factor, half-way between the two it lies between.
    """

    law: str
    roots: tuple[float, ...]


@dataclass(frozen=True)
class _Call:
    """A call that carries so many accesses, in ps."""

    lasts: float
    done: float


def expected(opened: Opened, block: Loaded, policy: Policy, metric: str) -> float | None:
    """The mean that theory gives a metric in the long run.

    Args:
        opened: the scenario.
        block: which of its guests.
        policy: which of its policies.
        metric: its name.

    Returns:
        In ps; infinite if the policy cannot keep up with the arrivals; None: no closed form.
    """
    guest = block.workloads[block.main_scale]
    mechanism = _only_mechanism(policy, block)
    if not (metric in LAWS and isinstance(guest, Spread) and mechanism is not None
            and _is_plain(opened, guest)):  # fmt: skip
        return None
    k = mechanism.max_batch if isinstance(mechanism, BatchedHypercall) else 1
    call = _call(opened, block, guest, k, batched=isinstance(mechanism, BatchedHypercall))
    gather = _cost(opened, "gather") if isinstance(mechanism, BatchedHypercall) else 0.0
    if call is None:
        return None
    if metric == "burden.mean":
        if guest.arrivals is not None:
            return None
        return batched_burden(guest.between.mean_ps + gather, k, call.lasts / k + gather)
    arrivals = guest.arrivals
    if not (isinstance(arrivals, Exponential) and not arrivals.shift and not gather
            and guest.between.is_constant and not guest.between.mean_ps):  # fmt: skip
        return None
    rate = 1 / arrivals.mean_ps
    if isinstance(mechanism, Hypercall):
        return single_effect(rate, call.lasts, call.done)
    return batched_effect(rate, k, call.lasts, call.done)


def roots_of(
    excess: Callable[[float], float | None], grid: Sequence[float], *, whole: bool
) -> tuple[float, ...] | None:
    """Where a function that may be infinite changes its sign, by bisection.

    Args:
        excess: the function; None: nothing is known of it; not a number: it has no value there.
        grid: ascending values; two changes between neighbours stay unseen.
        whole: whether only whole numbers are values.

    Returns:
        The roots, ascending; None: somewhere on the grid nothing is known.
    """
    found = []
    previous: tuple[float, float] | None = None
    for place in grid:
        value = excess(place)
        if value is None:
            return None
        if math.isnan(value):
            previous = None
        elif value != 0:
            if previous is not None and (previous[1] < 0) != (value < 0):
                found.append(_bisected(excess, previous[0], place, previous[1] < 0, whole))
            previous = place, value
    return tuple(found)


def _bisected(
    excess: Callable[[float], float | None], low: float, high: float, below: bool, whole: bool
) -> float:
    while high - low > (1 if whole else 1e-9 * max(abs(low), abs(high))):
        middle = (low + high) / 2
        middle = float(math.floor(middle)) if whole else middle
        if middle in (low, high):
            break
        value = excess(middle)
        if not value:  # a root, or nothing to go by
            return middle
        low, high = (middle, high) if (value < 0) == below else (low, middle)
    return (low + high) / 2


def _only_mechanism(policy: Policy, block: Loaded) -> Hypercall | BatchedHypercall | None:
    """The mechanism of all accesses, if it is one of the two."""
    if len(policy.rules) != 1 or policy.rules[0].match != Match() or not policy.idle.is_free:
        return None
    if policy.reach(block.table) != 1:
        return None
    mechanism: Mechanism = policy.rules[0].mechanism
    if isinstance(mechanism, Hypercall):
        return mechanism
    if isinstance(mechanism, BatchedHypercall) and _only_fills(mechanism, block):
        return mechanism
    return None


def _only_fills(batches: BatchedHypercall, block: Loaded) -> bool:
    """Whether nothing but filling up sends a batch off."""
    guest = block.workloads[block.main_scale]
    needs = isinstance(guest, Spread) and guest.read_share > 0 and guest.needed_share > 0
    is_free = batches.needs == "oracle" or not needs
    return is_free and batches.max_wait is None and not batches.flush_at_operation_end


def _is_plain(opened: Opened, guest: Spread) -> bool:
    costs = opened.platform.costs
    return (
        guest.vcpus == guest.accesses_per_operation == 1
        and opened.scenario.cpus is None
        and opened.platform.nesting is None
        and guest.emulate.is_constant
        and all(costs.duration(name).is_constant for name in _PARTS)
        and not _cost(opened, "refill")
    )


def _cost(opened: Opened, name: str) -> float:
    return float(opened.platform.costs.duration(name).mean_ps)


def _call(opened: Opened, block: Loaded, guest: Spread, k: int, *, batched: bool) -> _Call | None:
    """A call from leaving the guest to being in it again, and when its items are done, on average.

    None: hardware handles the device, which no call reaches.
    """
    table = block.table
    named = [opened.catalog.of(name).location for name in table.devices] or ["user"]
    places = {named[number] for number in set(table.device.tolist())}
    if len(places) != 1 or places == {"hardware"}:
        return None
    is_user = places == {"user"}
    before = _cost(opened, "world_switch_out") + _cost(opened, "dispatch_hypercall")
    before += _cost(opened, "to_user") * is_user
    item = _cost(opened, "item") * batched + guest.emulate.mean_ps
    after = _cost(opened, "to_kernel") * is_user + _cost(opened, "world_switch_in")
    return _Call(lasts=before + k * item + after, done=before + (k + 1) / 2 * item)
