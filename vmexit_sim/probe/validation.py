"""Predicting composite guests from single accesses, and holding that against the host.

::

    single accesses ─► calibration ─► platform ─┐
    guest's own code ─► compute ────────────────┼─► simulator ─► predicted ─┐
                                                │                           ├─► error
    the same guest on the same host ────────────┴──────────────► measured ──┘

No composite guest takes part in the calibration. A prediction's interval is the delta method's: how
much each measurement's standard error moves it, root of the sum of squares.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from vmexit_sim.calibration.measurement import Measurement
from vmexit_sim.calibration.platform_file import stated_time
from vmexit_sim.configuration import checked
from vmexit_sim.distributions import Constant
from vmexit_sim.guest.table import NEVER, AccessTable, Agent, Flag, Space, make_table
from vmexit_sim.guest.workload import Recorded
from vmexit_sim.hypervisor.platform import Platform, load_platform
from vmexit_sim.policy import Policy
from vmexit_sim.probe import composites as parts
from vmexit_sim.probe.calibration import NORMAL, measurements_of
from vmexit_sim.probe.children import ProbeError
from vmexit_sim.probe.host_platform import BASE, host_platform
from vmexit_sim.probe.probes import PORT_WRITE
from vmexit_sim.probe.survey import DELTA, Survey
from vmexit_sim.statistics import Estimate, median
from vmexit_sim.study.simulate import simulate

WITHIN = 0.15
"""How far from the measured value a prediction may be."""

ITERATIONS = 40
"""Iterations that are simulated: nothing is random, and few suffice."""


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """A composite guest: what was predicted, and what was measured.

    Attributes:
        name: the guest.
        policy: how the simulator reached its devices.
        accesses: accesses of one iteration of a vCPU.
        predicted: time of one access, guest compute included, in ps.
        measured: the same on the host; None: it could not be measured.
        why: why not.
        disturbed: measured blocks in which the CPU was taken away, for want of better ones.
    """

    name: str
    policy: str
    accesses: int
    predicted: Estimate
    measured: Estimate | None
    why: str = ""
    disturbed: int = 0

    @property
    def error(self) -> float:
        """Predicted over measured, less 1; NaN if it was not measured."""
        if self.measured is None or not self.measured.value:
            return math.nan
        return self.predicted.value / self.measured.value - 1

    @property
    def holds(self) -> bool:
        """Whether it lies within `WITHIN` of the measured value."""
        return abs(self.error) <= WITHIN


Times = Mapping[str, float]
"""Measured times by name, in ps."""


@dataclass(frozen=True, kw_only=True)
class _Composite:
    """One composite guest for the simulator.

    Attributes:
        name: as in `composites`.
        mechanism: what its one rule says.
        accesses: of one iteration of a vCPU.
        table: makes its accesses from measured times.
        by_doorbell: whether a batch is carried by a port write, and not by a hypercall.
    """

    name: str
    mechanism: Mapping[str, Any]
    accesses: int
    table: Callable[[Times], AccessTable]
    by_doorbell: bool = False


def validate(survey: Survey, base: Platform | None = None) -> list[Prediction]:
    """Predict every composite guest of a survey.

    Args:
        survey: taken with its composites.
        base: where costs come from that no probe shows; None: `host_platform.BASE`.

    Raises:
        ProbeError: the survey holds no composites, or what they consist of could not be measured.
    """
    base = load_platform(BASE) if base is None else base
    measurements = measurements_of(survey)
    lacking = {PORT_WRITE, parts.LOOP, parts.SPIN, parts.HOLD} - {m.name for m in measurements}
    if lacking or parts.SPREAD not in survey.measured:
        raise ProbeError(f"nothing can be predicted: not measured is {', '.join(sorted(lacking))}")
    variants = list(_variants(survey, base, measurements))
    n = min(each.n or 1 for each in measurements)
    found = []
    for composite in _composites():
        whole = survey.measured[composite.name]
        measured = None
        if whole.whole and whole.verdict == "measured":
            loop = _mean(measurements, parts.LOOP) if any(whole.control) else 0.0
            times = (np.array(whole.over) + loop) / composite.accesses
            measured = median(times)
        found.append(
            Prediction(
                name=composite.name,
                policy=str(composite.mechanism["name"]),
                accesses=composite.accesses,
                predicted=_predicted(composite, variants, n),
                measured=measured,
                why=whole.why,
                disturbed=whole.disturbed,
            )
        )
    return found


class _Variant(NamedTuple):
    """A host as measured, or with one measurement moved by its standard error."""

    platform: Platform
    times: Times


def _variants(
    survey: Survey, base: Platform, measurements: list[Measurement]
) -> Iterator[_Variant]:
    """The host as measured; then one for each measurement whose error is known."""
    moved = [measurements]
    for place, each in enumerate(measurements):
        if each.error is not None:
            own = replace(each, mean=each.mean + each.error)
            moved.append([*measurements[:place], own, *measurements[place + 1 :]])
    for known in moved:
        platform = host_platform(survey, base, known)
        yield _Variant(platform, {each.name: each.mean for each in known})


def _predicted(composite: _Composite, variants: list[_Variant], n: int) -> Estimate:
    """The prediction, and how far the measurements' errors move it."""
    value, *moved = (_simulated(composite, each) for each in variants)
    half = NORMAL * math.hypot(*(each - value for each in moved))
    return Estimate(value, value - half, value + half, n, DELTA)


def _simulated(composite: _Composite, variant: _Variant) -> float:
    """Time of one access under the simulator, in ps."""
    platform = variant.platform
    if composite.by_doorbell:
        platform = _doorbell_is_a_port(platform)
    policy = checked(Policy, {
        "name": composite.name, "title": composite.name, "about": "a probe's guest",
        "source": "vmexit_sim.probe.validation",
        "rules": [{"side": "host", "mechanism": dict(composite.mechanism)}],
    }, file="a probe's guest")  # fmt: skip
    result = simulate(policy, platform, Recorded(composite.table(variant.times)))
    return result.completion / (ITERATIONS * composite.accesses)


def _mean(measurements: list[Measurement], name: str) -> float:
    return next(each.mean for each in measurements if each.name == name)


def _composites() -> list[_Composite]:
    """Every composite guest, in the order in which they are shown."""
    batches = [
        _Composite(
            name=parts.behind_doorbell(n),
            mechanism={"name": "batched_hypercall", "max_batch": n,
                       "flush_at_operation_end": False},
            accesses=n,
            table=lambda times, n=n: _writes(times, n),  # type: ignore[misc]
            by_doorbell=True,
        )
        for n in parts.DOORBELLS
    ]  # fmt: skip
    return [
        _Composite(name=parts.SPREAD, mechanism={"name": "trap_pio"}, accesses=1,
                   table=lambda times: _writes(times, 1)),
        *batches,
        _Composite(name=parts.READ_MOSTLY, mechanism={"name": "read_only_page"},
                   accesses=parts.READS + 1, table=_read_mostly),
        _Composite(name=parts.LOCKED, mechanism={"name": "trap_pio"}, accesses=1, table=_locked),
    ]  # fmt: skip


def _doorbell_is_a_port(platform: Platform) -> Platform:
    """The platform with a hypercall that costs what a port write does until it is handled."""
    costs = platform.costs
    port = costs.duration("dispatch_port").mean_ps + costs.duration("decode_port_out").mean_ps
    call = costs.dispatch_hypercall.model_copy(
        update={"value": Constant.model_validate({"value": stated_time(port)})}
    )
    changed = costs.model_copy(update={"dispatch_hypercall": call})
    return platform.model_copy(update={"costs": changed})


def _once_a_loop(times: Times, accesses: int, each: float) -> Any:
    """Compute before each access: `each`, and the loop's own once an iteration."""
    compute = np.full(ITERATIONS * accesses, each)
    compute[::accesses] += times[parts.LOOP]
    return np.rint(compute).astype(np.int64)


def _writes(times: Times, accesses: int) -> AccessTable:
    """Port writes with compute before each."""
    return make_table(
        ITERATIONS * accesses,
        origin="a probe's guest",
        space=Space.PORT_IO,
        agent=Agent.DRIVER,
        write=True,
        needed_by=np.full(ITERATIONS * accesses, NEVER),
        compute=_once_a_loop(times, accesses, times[parts.SPIN]),
    )


def _read_mostly(times: Times) -> AccessTable:
    """Reads of a page, then a write to it, without compute but the loop's."""
    n = parts.READS + 1
    write = np.arange(ITERATIONS * n) % n == parts.READS
    return make_table(
        ITERATIONS * n,
        origin="a probe's guest",
        space=Space.MMIO,
        agent=Agent.DRIVER,
        write=write,
        compute=_once_a_loop(times, n, 0.0),
        flags=Flag.NONE,
    )


def _locked(times: Times) -> AccessTable:
    """Two vCPUs' port writes, whose device works under the VMM's lock."""
    n = 2 * ITERATIONS
    return make_table(
        n,
        origin="a probe's guest",
        vcpu=np.arange(n) // ITERATIONS,
        space=Space.PORT_IO,
        agent=Agent.DRIVER,
        write=True,
        compute=np.full(n, round(times[parts.LOOP])),
        emulate=np.full(n, round(times[parts.HOLD])),
    )
