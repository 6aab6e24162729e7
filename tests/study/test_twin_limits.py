"""The analytic twin where its laws end: guests, paths and runs that only some of them fit."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from vmexit_sim.configuration import checked
from vmexit_sim.distributions import Exponential
from vmexit_sim.guest.table import make_table
from vmexit_sim.guest.workload import Recorded
from vmexit_sim.hypervisor.access_class import AccessClass
from vmexit_sim.hypervisor.host import Host
from vmexit_sim.mechanisms import Mechanism
from vmexit_sim.mechanisms.base import MECHANISMS
from vmexit_sim.opened import Opened, open_scenario
from vmexit_sim.policy import Match, Policy, Rule
from vmexit_sim.scenario import Scenario
from vmexit_sim.statistics import Estimate
from vmexit_sim.steps import (
    Cell,
    Column,
    Moment,
    Queue,
    Role,
    Stage,
    Steps,
    acquire,
    let,
    release,
    spend,
    stamp,
    when,
)
from vmexit_sim.study.compare import compare
from vmexit_sim.study.twin import Twin, twins

US = 1_000_000
SECOND = 1e12
WORK = Stage("work", Role.HYPERVISOR)


def exponential(mean: str) -> dict[str, str]:
    return {"kind": "exponential", "mean": mean}


CLOSED = {"kind": "spread", "operations": 400, "between": exponential("3 us"), "read_share": 0.5,
          "space": "mmio", "emulate": exponential("2 us"), "vcpus": 2}  # fmt: skip
OPEN = {"kind": "spread", "operations": 400, "arrivals": exponential("20 us"), "read_share": 0.5,
        "between": exponential("2 us"), "space": "mmio"}  # fmt: skip


def opened(guest: dict[str, Any], *rules: Rule, scale: float = 1.0, **keys: Any) -> Opened:
    """A guest under a policy of these rules; of none: everything as recorded."""
    plain = {"platform": "ideal", "policies": ["linux-default"], "replications": 4,
             "blocks": [{"guest": guest, "think_scales": [scale]}], **keys}  # fmt: skip
    asked = open_scenario(checked(Scenario, plain))
    own = Policy(name="own", title="own", rules=list(rules))
    return replace(asked, policies=[own]) if rules else asked


def found(guest: dict[str, Any], *rules: Rule, **keys: Any) -> list[Twin]:
    asked = opened(guest, *rules, **keys)
    said = twins(asked, compare(asked))
    assert not any(twin.misses for twin in said)
    return said


def the(said: list[Twin], quantity: str, law: str = "") -> Twin:
    (twin,) = (t for t in said if t.quantity == quantity and law in t.law)
    return twin


def quantities(said: list[Twin]) -> set[str]:
    return {twin.quantity for twin in said}


# ---------------------------------------------------------------------- guests that are scaled


def test_a_guest_that_computes_half_as_long_is_a_queue_of_shorter_services() -> None:
    # Service: exponential of 1 us (half of 2) and an exit of 1 us; M/G/1 by hand.
    mean, second, rate = 2 * US, US**2 + (2 * US) ** 2, 1 / (20 * US)
    wait = rate * second / (2 * (1 - rate * mean))
    response = the(found(OPEN, scale=0.5), "response of an operation")
    assert (response.law, response.low) == ("M/G/1", pytest.approx(wait + US))
    whole = the(found(OPEN), "response of an operation")
    assert whole.low == pytest.approx(wait_of(3 * US, (2 * US) ** 2, rate) + US)


def wait_of(mean: float, variance: float, rate: float) -> float:
    return rate * (variance + mean**2) / (2 * (1 - rate * mean))


def test_a_guest_that_computes_half_as_long_is_still_the_machine_repairman() -> None:
    # Z = 1.5 + 1 (the exit), S = 2: p0 = 1 / (1 + 2 S/Z + 2 (S/Z)^2), X = (1 - p0) / S.
    busy = 1 - 1 / (1 + 2 * 0.8 + 2 * 0.8**2)
    twin = the(found({**CLOSED, "operations": 1000}, scale=0.5), "throughput while all run")
    assert (twin.law, twin.standing) == ("machine repairman", "exact")
    assert twin.low == pytest.approx(busy / (2 * US) * SECOND, rel=0.05)


# ------------------------------------------------------------------- exits that go on costing


def test_where_exits_lengthen_later_compute_a_queues_service_is_no_sum() -> None:
    twin = the(found(OPEN, costs={"refill": "1 us"}), "response of an access")
    assert twin.standing == "none"
    assert twin.assumes == "M/G/1: exits lengthen the compute of the next access"


def test_where_exits_lengthen_later_compute_a_rate_has_an_upper_bound_only() -> None:
    said = found(CLOSED, costs={"refill": "1 us"})
    assert the(said, "throughput").standing == "bound"
    assert "throughput, by vCPUs' own time" not in quantities(said)
    assert not any("response-time law" in twin.law for twin in said)
    network = the(said, "throughput while all run")
    assert (network.standing, network.assumes) == (
        "approximation", "exits lengthen the compute of the next access",
    )  # fmt: skip


# ------------------------------------------------------------------ work that is left to others

DOORBELLS = {**CLOSED, "space": "doorbell", "read_share": 0}


@pytest.mark.parametrize("vcpus", [1, 2])
def test_where_a_thread_does_the_work_only_the_vcpus_own_part_is_judged(vcpus: int) -> None:
    said = found({**DOORBELLS, "vcpus": vcpus}, Rule(side="host", mechanism="ioeventfd"))
    stall = the(said, "stall of an access", "sum of costs")
    assert (stall.standing, stall.low, stall.high) == ("bound", US, math.inf)
    assert the(said, "VM exits").low == 400 * vcpus
    assert not any("effect" in quantity for quantity in quantities(said))
    if vcpus == 1:
        assert the(said, "completion").standing == "bound"
    else:
        assert "throughput, by vCPUs' own time" not in quantities(said)


def test_beside_a_lock_work_that_is_left_behind_makes_the_network_an_approximation() -> None:
    """Half of the accesses are reads, which trap and hold the VMM's lock."""
    said = found(
        CLOSED,
        Rule(side="host", match=Match(write=True), mechanism="ioeventfd"),
        Rule(side="host", mechanism="trap_mmio"),
    )
    network = the(said, "throughput while all run")
    assert network.standing == "approximation"
    assert network.assumes == "others than the vCPUs use a lock, or work is left behind"
    assert the(said, "utilisation of VMM lock").standing == "identity", "the thread takes it not"


# ----------------------------------------------------------------------- rates that nobody has


def test_accesses_in_a_pattern_make_the_network_an_approximation() -> None:
    guest = {"kind": "bar_sizing", "sequence": "old", "functions": 3, "bars32": 2, "vcpus": 2,
             "think": exponential("3 us"), "emulate": exponential("2 us")}  # fmt: skip
    network = the(found(guest), "throughput while all run")
    assert network.standing == "approximation"
    assert network.assumes == "accesses come in a pattern, not independently of each other"


def test_a_pattern_states_no_law_of_its_accesses() -> None:
    guest = {"kind": "bar_sizing", "sequence": "old", "bars32": 2, "emulate": exponential("2 us")}
    assert [t.law for t in found(guest) if t.quantity == "stall of an access"] == ["sum of costs"]


def test_a_long_run_keeps_no_moments_so_its_network_is_not_judged(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("vmexit_sim.study.twin.comparison.EXACT_ROWS", 799)
    network = the(found(CLOSED), "throughput while all run")
    assert network.standing == "none"
    assert network.assumes == "there are too many accesses to keep the moment of each"


def test_a_vcpu_without_accesses_has_no_rate() -> None:
    asked = opened(CLOSED, policies=["linux-default"])
    table = make_table(8, vcpu=np.repeat([0, 2], 4), space=2, compute=US, emulate=US,
                       devices=("nvme",))  # fmt: skip
    (block,) = asked.blocks
    guest = replace(block, workloads={1.0: Recorded(table)}, table=table, is_recorded=True)
    asked = replace(asked, blocks=[guest])
    network = the(twins(asked, compare(asked)), "throughput while all run")
    assert (network.standing, network.assumes) == ("none", "some vCPU has nothing to do")


# ------------------------------------------------------------------------ paths and what they know


class BySize(Mechanism):
    """Takes as many microseconds as the access has bytes, told apart branch by branch."""

    def access(self, host: Host, access: AccessClass) -> Steps:
        for size in (1, 2, 4, 8):
            yield when(Column("size"), "==", size, [spend(WORK, size * US)])
        yield stamp(Moment.DONE)


class Alternating(Mechanism):
    """Every other access takes a microsecond."""

    def access(self, host: Host, access: AccessClass) -> Steps:
        turn = Cell("turn", per_vcpu=True)
        yield when(turn, "==", 0, [spend(WORK, US), let(turn, 1)], [let(turn, 0)])
        yield stamp(Moment.DONE)


class TwoWaits(Mechanism):
    """A lock that is taken twice, and waited for in two stages."""

    def access(self, host: Host, access: AccessClass) -> Steps:
        lock = Queue("lock", tokens=1)
        held = Exponential.model_validate({"kind": "exponential", "mean": "1 us"})
        for name in ("first", "second"):
            yield acquire(lock, Stage(f"wait: {name}", Role.WAIT))
            yield spend(Stage(name, Role.HYPERVISOR), held)
            yield release(lock)
        yield stamp(Moment.DONE)


def test_a_path_that_a_column_decides_is_added_up_value_by_value() -> None:
    asked = opened(CLOSED, Rule(side="host", mechanism=BySize()))
    table = make_table(6, space=2, size=[1, 2, 4, 8, 4, 4], devices=("nvme",))
    (block,) = asked.blocks
    guest = replace(block, workloads={1.0: Recorded(table)}, table=table, is_recorded=True)
    said = twins(replace(asked, blocks=[guest]), compare(replace(asked, blocks=[guest])))
    work = the(said, "time in stage work")
    assert (work.standing, work.low, work.misses) == ("identity", 23 * US, False)


def test_a_path_that_a_column_decides_has_no_stated_law() -> None:
    said = found({**OPEN, "emulate": exponential("1 us")}, Rule(side="host", mechanism=BySize()))
    twin = the(said, "response of an access")
    assert (twin.standing, twin.assumes) == (
        "none", "the path depends on a column whose law is not known",
    )  # fmt: skip


def test_a_path_that_no_column_tells_of_has_no_theory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MECHANISMS, "alternating", Alternating)
    (twin,) = found({**CLOSED, "vcpus": 1}, Rule(side="host", mechanism=Alternating()))
    assert twin.standing == "none"
    assert twin.assumes == "by alternating the path depends on 'turn'"


def test_a_lock_waited_for_in_two_stages_has_no_queue_by_littles_law() -> None:
    said = found({**CLOSED, "emulate": "0 ns"}, Rule(side="host", mechanism=TwoWaits()))
    assert the(said, "utilisation of lock").standing == "identity"
    assert "mean queue at lock" not in quantities(said)


def test_a_number_that_is_none_misses_whatever_judges_it() -> None:
    nan = Estimate(math.nan, math.nan, math.nan, 4, "t")
    twin = Twin(block="b", policy="p", quantity="q", simulated=nan, low=0.0, high=math.inf,
                law="", assumes="", standing="bound")  # fmt: skip
    assert twin.misses
    assert not replace(twin, standing="approximation").misses
