"""What the JSON documents of `documents` hold, for their schemas.

Times are in ps and plain numbers; a number that there is not is null. `intervals` holds the
estimates whole, under the names of the plain numbers.
"""

from __future__ import annotations

from typing import Any

from pydantic import Field

from vmexit_sim.configuration import Configured
from vmexit_sim.study.result_format import SavedEstimate

Number = float | None
"""null: there is none."""

Numbers = dict[str, Number]


class CostShape(Configured):
    """One cost of the platform.

    Attributes:
        stated: the value as a file has it, where that is text.
        value: the value as it was read: its kind and parameters, times in ps.
        unit: of times in it.
        mark: how much it is worth.
        source: where it comes from.
    """

    stated: str
    value: dict[str, Any]
    unit: str
    mark: str
    source: str


class ConfigurationShape(Configured):
    """Everything that was asked for, as it was effective.

    Attributes:
        scenario: the scenario; times in ps.
        costs: the platform's costs by name, with what the scenario changed in place.
        clock_hz: what cycles are counted in.
    """

    scenario: dict[str, Any]
    costs: dict[str, CostShape]
    clock_hz: int


class WarmUpShape(Configured):
    """What a steady-state study left out.

    Attributes:
        accesses: of each vCPU, from its start.
        too_short: whether the run gave no sign that its warm-up was over.
    """

    accesses: int
    too_short: bool


class PairShape(Configured):
    """A policy against the first, on the same draws.

    Attributes:
        difference: this policy's less the first's.
        variance_reduction: the factor by which pairing narrowed its variance.
        told_apart: whether the interval excludes 0.
        more_replications_would_tell: about how many more would, if it does not.
    """

    difference: SavedEstimate
    variance_reduction: Number
    told_apart: bool
    more_replications_would_tell: int | None


class PolicyShape(Configured):
    """What one policy costs one guest.

    Attributes:
        policy: its name.
        block: the guest's name.
        reach: share of the accesses that its rules decide.
        counterfactual: whether it needs ECAM, which the guest does not have.
        bound: whether it is a bound, and no proposal.
        accesses: of one replication (mean).
        exits: VM exits of one replication.
        exits_by_reason: the same by reason.
        hypervisor_time_ps: time that virtualisation adds, all vCPUs together.
        ratio_to_first: that over the first policy's.
        difference_to_first_ps: that less the first policy's.
        completion_time_ps: when the last vCPU was through, at the last think scale.
        completion_time_by_think_scale_ps: the same at each think scale.
        stall_ps: of one access, how long its vCPU could not go on: mean and quantiles.
        response_ps: of one access, from when it was due until the vCPU went on.
        effect_ps: of one access, from when it was due until the device had changed.
        operation_stall_ps: of one operation; left out where there are none.
        operation_response_ps: likewise.
        operation_effect_ps: likewise.
        stages_ps: time in each stage, over all accesses.
        against_first: time added and completion against the first policy's.
        idle: what waiting costs, if the policy says how the guest waits.
        host_cpus: who waited for a CPU, if the scenario limits them.
        intervals: the estimates whole, by the names above.
    """

    policy: str
    block: str
    reach: float
    counterfactual: bool
    bound: bool
    accesses: float
    exits: Number
    exits_by_reason: Numbers
    hypervisor_time_ps: Number
    ratio_to_first: Number
    difference_to_first_ps: Number
    completion_time_ps: Number
    completion_time_by_think_scale_ps: Numbers
    stall_ps: Numbers
    response_ps: Numbers
    effect_ps: Numbers
    operation_stall_ps: Numbers = Field(default_factory=dict)
    operation_response_ps: Numbers = Field(default_factory=dict)
    operation_effect_ps: Numbers = Field(default_factory=dict)
    stages_ps: Numbers
    against_first: dict[str, PairShape]
    idle: Numbers = Field(default_factory=dict)
    host_cpus: Numbers = Field(default_factory=dict)
    intervals: dict[str, SavedEstimate]


class BlockShape(Configured):
    """What the policies cost one guest.

    Attributes:
        block: its name.
        origin: where its accesses came from.
        accesses: how many there are.
        warm_up: what was left out; only of a steady-state study.
        precision_reached: only if a precision was asked for.
        policies: one for each policy, in the scenario's order.
    """

    block: str
    origin: str
    accesses: float
    warm_up: WarmUpShape | None = None
    precision_reached: bool | None = None
    policies: list[PolicyShape]


class UncertainPolicyShape(Configured):
    """One policy's answer with the calibration's uncertainty in its intervals.

    Attributes:
        policy: its name.
        hypervisor_time_ps: time added.
        difference_to_first_ps: that less the first policy's.
        by_sampling_alone_ps: the same difference without the calibration's part.
        adds_least_in: share of draws in which it adds least; null: it is none that could.
    """

    policy: str
    hypervisor_time_ps: SavedEstimate
    difference_to_first_ps: SavedEstimate
    by_sampling_alone_ps: SavedEstimate
    adds_least_in: Number


class UncertainBlockShape(Configured):
    """One guest's answers.

    Attributes:
        block: its name.
        policies: in the scenario's order.
    """

    block: str
    policies: list[UncertainPolicyShape]


class UncertaintyShape(Configured):
    """What the calibration's uncertainty does to the answers.

    Attributes:
        draws: how often the calibration was drawn.
        drawn_costs: the costs that were drawn.
        fixed_costs: those about whose error nothing is known.
        blocks: by guest.
    """

    draws: int
    drawn_costs: list[str]
    fixed_costs: list[str]
    blocks: list[UncertainBlockShape]


class AskedShape(Configured):
    """What was asked.

    Attributes:
        scenario: its name.
        platform: its name.
        caution: what whoever reads a result on this platform must know; may be empty.
        seed: root of all randomness.
        replications: how many were run, of the guest that took most.
        version: of vmexit-sim.
        configuration: everything as it was effective.
    """

    scenario: str
    platform: str
    caution: str
    seed: int
    replications: int
    version: str
    configuration: ConfigurationShape


class ComparisonDocument(AskedShape):
    """What ``compare --json`` prints.

    Attributes:
        blocks: by guest.
        policies: the policies of all guests in one list.
        input_uncertainty: only with ``--input-uncertainty``.
    """

    blocks: list[BlockShape]
    policies: list[PolicyShape]
    input_uncertainty: UncertaintyShape | None = None


class TallyShape(Configured):
    """VM exits of one reason.

    Attributes:
        samples: how many.
        total_ps: from leaving the guest to being in it again, all together.
        min_ps: the shortest.
        max_ps: the longest.
        mean_ps: their mean.
    """

    samples: int
    total_ps: int
    min_ps: int
    max_ps: int
    mean_ps: float


class IdleShape(Configured):
    """What waiting cost.

    Attributes:
        asleep_ps: time that vCPUs slept.
        burnt: share of idle time that kept a CPU busy.
        cpu_share: share of the vCPUs' time that they did not sleep.
    """

    asleep_ps: int
    burnt: float
    cpu_share: float


class ResourceShape(Configured):
    """What one queue saw.

    Attributes:
        name: its name.
        tokens: servers it stands for; 0: a mailbox.
        takes: how often an item was taken.
        waits: how often someone had to wait.
        utilisation: share of its servers' time in use.
        mean_queue: how many waited, on average over time.
    """

    name: str
    tokens: int
    takes: int
    waits: int
    utilisation: float
    mean_queue: float


class RunDocument(AskedShape):
    """One policy, run once on one guest.

    Attributes:
        policy: its name.
        block: the guest's name.
        replication: which repetition.
        reach: share of the accesses that the policy's rules decided.
        accesses: how many.
        exits: how many VM exits.
        exits_by_reason: the same by reason.
        hypervisor_time_ps: time that virtualisation added, all vCPUs together.
        completion_time_ps: when the last vCPU was through.
        finish_ps: when each was.
        idle: what waiting cost, if the policy says how the guest waits.
        stages_ps: time in each stage, over all accesses.
        stall_ps: of one access, how long its vCPU could not go on: mean, quantiles, longest.
        response_ps: of one access, from when it was due until the vCPU went on.
        effect_ps: of one access, from when it was due until the device had changed.
        resources: every lock, server and mailbox.
    """

    policy: str
    block: str
    replication: int
    reach: float
    accesses: int
    exits: int
    exits_by_reason: dict[str, TallyShape]
    hypervisor_time_ps: int
    completion_time_ps: int
    finish_ps: list[int]
    idle: IdleShape | None = None
    stages_ps: dict[str, int]
    stall_ps: Numbers
    response_ps: Numbers
    effect_ps: Numbers
    resources: list[ResourceShape]


class RunDocuments(Configured):
    """What ``run --json`` prints.

    Attributes:
        blocks: one for each guest of the scenario.
    """

    blocks: list[RunDocument]
