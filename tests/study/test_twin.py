"""The analytic twin: by hand, as invariants, on shipped scenarios, and with planted mistakes."""

from __future__ import annotations

import io
import json
import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from rich.console import Console

from vmexit_sim.analytic import mva
from vmexit_sim.configuration import checked
from vmexit_sim.distributions import Exponential
from vmexit_sim.hypervisor.access_class import AccessClass
from vmexit_sim.hypervisor.host import Host
from vmexit_sim.mechanisms import Mechanism
from vmexit_sim.opened import Opened, open_scenario
from vmexit_sim.policy import Match, Policy, Rule
from vmexit_sim.present.twin_tables import twin_document, twin_report, verdict
from vmexit_sim.scenario import Scenario, find_scenario
from vmexit_sim.statistics import Estimate, exact
from vmexit_sim.steps import (
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
from vmexit_sim.streams import Streams
from vmexit_sim.study.compare import compare
from vmexit_sim.study.outcome import Comparison
from vmexit_sim.study.replication import lowered_for
from vmexit_sim.study.twin import Standing, Twin, twins
from vmexit_sim.study.twin.own_draws import Demands, own_draws

US = 1_000_000
SECOND = 1e12


def exponential(mean: str) -> dict[str, str]:
    return {"kind": "exponential", "mean": mean}


CALM = {"kind": "spread", "operations": 4, "accesses_per_operation": 5, "between": "1 us",
        "read_share": 1, "space": "pci_config"}  # fmt: skip
CLOSED = {"kind": "spread", "operations": 1000, "between": exponential("3 us"), "read_share": 0.5,
          "space": "mmio", "emulate": exponential("2 us"), "vcpus": 3}  # fmt: skip
OPEN = {"kind": "spread", "operations": 3000, "arrivals": exponential("4 us"), "between": "0 ns",
        "read_share": 0.5, "space": "mmio"}  # fmt: skip


def opened(guest: dict[str, Any], policies: list[str] | None = None, **keys: Any) -> Opened:
    plain = {"platform": "ideal", "policies": policies or ["linux-default"], "replications": 5,
             "blocks": [{"guest": guest}]}  # fmt: skip
    return open_scenario(checked(Scenario, {**plain, **keys}))


def found(guest: dict[str, Any], policies: list[str] | None = None, **keys: Any) -> list[Twin]:
    asked = opened(guest, policies, **keys)
    return twins(asked, compare(asked))


def the(said: list[Twin], quantity: str, law: str = "") -> Twin:
    (twin,) = (t for t in said if t.quantity == quantity and law in t.law)
    return twin


# ------------------------------------------------------------------------------------- by hand


def test_a_calm_guest_is_added_up_to_the_picosecond() -> None:
    said = found(CALM)
    stall = the(said, "stall of an access")
    assert stall.simulated == exact(2 * US)
    assert (stall.low, stall.high, stall.standing) == (2 * US, 2 * US, "identity")
    assert the(said, "completion").low == 20 * 2 * US + 4 * US
    assert the(said, "VM exits").low == 40
    assert the(said, "utilisation of config lock").low == 40 / 44
    assert the(said, "time in stage world switch out").low == 40 * US
    assert not any(twin.misses for twin in said)


def test_a_constant_exit_with_poisson_arrivals_is_md1() -> None:
    # One exit takes 1 us, one comes every 4 us: rho S / (2 (1 - rho)) = 1/6 us of waiting.
    response = the(found(OPEN), "response of an operation")
    assert response.low == response.high == pytest.approx(US * (1 + 1 / 6))
    assert response.standing == "exact"


def test_an_operations_service_is_the_sum_of_its_parts() -> None:
    guest = {**OPEN, "arrivals": exponential("20 us"), "accesses_per_operation": 3,
             "within": exponential("500 ns"), "between": exponential("1 us"),
             "emulate": {"kind": "uniform", "low": "0 ns", "high": "2 us"}}  # fmt: skip
    mean = 1 + 2 * 0.5 + 3 * (1 + 1)
    variance = 1**2 + 2 * 0.5**2 + 3 * 2**2 / 12
    wait = (variance + mean**2) / 20 / (2 * (1 - mean / 20))
    said = found(guest)
    assert the(said, "response of an operation").low == pytest.approx(US * (wait + mean - 1))
    assert the(said, "response of an access").low == pytest.approx(US * (wait / 3 + 2))
    assert the(said, "stall of an access", "mean of the laws").low == pytest.approx(2 * US)


def test_vcpus_that_share_no_lock_are_each_a_queue_of_their_own() -> None:
    guest = {**OPEN, "vcpus": 2, "arrivals": exponential("1 us")}
    twin = the(found(guest, ["bare-metal"], platform="kvm-2017"), "response of an operation")
    assert (twin.law, twin.standing) == ("M/G/1", "exact")
    assert not twin.misses


def test_two_vcpus_behind_one_lock_are_the_machine_repairman() -> None:
    # Z = 3 + 1 (the exit), S = 2: p0 = 1 / (1 + 2 S/Z + 2 (S/Z)^2) = 0.4, X = (1 - p0) / S.
    twin = the(found({**CLOSED, "vcpus": 2}), "throughput while all run")
    assert twin.standing == "exact"
    assert twin.law == "machine repairman"
    # Theory is told the means as they were drawn.
    assert twin.low == pytest.approx(0.6 / 2e6 * SECOND, rel=0.05)


def test_throughput_lies_between_nobody_and_everybody_waiting() -> None:
    guest = {**CLOSED, "between": "3 us", "emulate": "2 us"}
    said = found(guest)
    assert the(said, "throughput").high == pytest.approx(SECOND / (2 * US))
    assert the(said, "throughput, by vCPUs' own time").low == pytest.approx(
        3 * SECOND / ((3 + 1 + 3 * 2) * US)
    )
    few = found({**guest, "between": "27 us"})
    assert the(few, "throughput").high == pytest.approx(3 * SECOND / (30 * US))


def test_a_lock_inside_another_lengthens_no_hold() -> None:
    said = found({**CLOSED, "space": "pci_config"})
    assert the(said, "utilisation of config lock").standing == "identity"
    assert the(said, "mean queue at VMM lock").low == 0
    assert the(said, "mean queue at config lock").low > 0.5


def by_rules(guest: dict[str, Any], *rules: Rule) -> list[Twin]:
    """Twins of a guest under a policy that no file states."""
    policy = Policy(name="own", title="own", rules=list(rules))
    asked = replace(opened(guest), policies=[policy])
    return twins(asked, compare(asked))


def test_a_lock_held_while_another_is_waited_for_is_held_longer() -> None:
    said = by_rules(
        {**CLOSED, "space": "pci_config"},
        Rule(side="host", match=Match(write=True), mechanism="trap_pio"),
        Rule(side="host", mechanism="trap_mmio"),
    )
    config = the(said, "utilisation of config lock")
    assert config.standing == "bound"
    assert config.simulated is not None
    assert config.simulated.value > 1.02 * config.low
    assert the(said, "utilisation of VMM lock").standing == "identity"
    network = the(said, "throughput while all run")
    assert (network.law, network.standing) == ("mean value analysis", "approximation")
    assert network.assumes == "a lock is held while its holder waits for another"
    assert not any(twin.misses for twin in said)


class TwoLocks(Mechanism):
    """A lock, then another, each held for an exponential time; never both."""

    def access(self, host: Host, access: AccessClass) -> Steps:
        for name, mean in (("first lock", "2 us"), ("second lock", "1 us")):
            lock = Queue(name, tokens=1)
            held = Exponential.model_validate({"kind": "exponential", "mean": mean})
            yield acquire(lock, Stage(f"wait: {name}", Role.WAIT))
            yield spend(Stage(f"in {name}", Role.HYPERVISOR), held)
            yield release(lock)
        yield stamp(Moment.DONE)


def test_two_locks_one_after_the_other_are_a_network_of_queues() -> None:
    said = by_rules({**CLOSED, "operations": 3000}, Rule(side="host", mechanism=TwoLocks()))
    network = the(said, "throughput while all run")
    assert (network.law, network.standing) == ("mean value analysis", "exact")
    assert network.low == pytest.approx(mva([2e6, 1e6], 3e6, 3).throughput * SECOND, rel=0.03)
    assert network.simulated is not None
    assert network.simulated.half_width < 0.03 * network.low
    for name in ("first lock", "second lock"):
        assert the(said, f"utilisation of {name}").standing == "identity"
        assert the(said, f"mean queue at {name}").standing == "identity"
    assert not any(twin.misses for twin in said)


class TwoServers(Mechanism):
    """Two servers, each kept for a microsecond."""

    def access(self, host: Host, access: AccessClass) -> Steps:
        servers = Queue("servers", tokens=2)
        yield acquire(servers, Stage("wait: servers", Role.WAIT))
        yield spend(Stage("served", Role.HYPERVISOR), US)
        yield release(servers)
        yield stamp(Moment.DONE)


def test_two_servers_bound_the_throughput_twice_as_high_and_are_no_centre() -> None:
    said = by_rules(
        {**CLOSED, "between": "100 ns", "vcpus": 4}, Rule(side="host", mechanism=TwoServers())
    )
    assert the(said, "throughput").high == pytest.approx(2 * SECOND / US)
    assert the(said, "utilisation of servers").low > 0.9
    assert the(said, "throughput while all run").standing == "none"
    assert not any(twin.misses for twin in said)


def test_accesses_of_the_warm_up_are_left_out_of_each_vcpus_beginning_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("vmexit_sim.study.twin.own_draws.BLOCK_ROWS", 8)
    asked = opened({**CALM, "vcpus": 2})
    lowered = lowered_for(asked, asked.policies[0], asked.blocks[0])
    guest = asked.blocks[0].workloads[1.0]
    kept = own_draws(Demands(lowered), guest, Streams(1), skipped=13)
    assert (kept.accesses, kept.stall, kept.exits) == (14, 14 * 2 * US, 28)


# -------------------------------------------------------------------------- planted mistakes


@pytest.mark.parametrize("guest", [CALM, CLOSED, OPEN])
def test_a_wrong_cost_is_found_and_named(guest: dict[str, Any]) -> None:
    right = opened(guest, platform="kvm-2017")
    wrong = opened(guest, platform="kvm-2017", costs={"to_user": "554 ns"})
    comparison = compare(right)
    assert not any(twin.misses for twin in twins(right, comparison))
    misses = {twin.quantity for twin in twins(wrong, comparison) if twin.misses}
    assert "time in stage to user space" in misses
    assert "time in stage dispatch" not in misses
    assert "VM exits" not in misses


def test_a_wrong_law_is_found_by_the_interval() -> None:
    right, wrong = (opened({**OPEN, "arrivals": exponential(gap)}) for gap in ("4 us", "3.4 us"))
    comparison = compare(right)
    assert not the(twins(right, comparison), "response of an operation").misses
    assert the(twins(wrong, comparison), "response of an operation").misses


def test_an_exit_more_than_the_paths_have_is_found() -> None:
    asked = opened(CALM)
    comparison = compare(asked)
    (block,) = comparison.blocks
    (outcome,) = block.policies
    samples = {**outcome.samples, "exits": [41.0]}
    tampered = replace(comparison, blocks=[
        replace(block, policies=[replace(outcome, samples=samples)])
    ])  # fmt: skip
    misses = [twin.quantity for twin in twins(asked, tampered) if twin.misses]
    assert misses == ["VM exits"]


# -------------------------------------------------------------------------------- invariants


@st.composite
def closed_guests(draw: st.DrawFn) -> dict[str, Any]:
    """Few vCPUs, times on a coarse grid or random."""
    times = st.sampled_from(["0 ns", "1 us", "2 us", exponential("1 us"),
                             {"kind": "uniform", "low": "1 us", "high": "3 us"}])  # fmt: skip
    return {
        "kind": "spread",
        "operations": draw(st.integers(1, 30)),
        "accesses_per_operation": draw(st.integers(1, 3)),
        "vcpus": draw(st.integers(1, 4)),
        "between": draw(times),
        "within": draw(times),
        "emulate": draw(times),
        "read_share": draw(st.sampled_from([0, 0.5, 1])),
        "space": draw(st.sampled_from(["pci_config", "mmio", "port_io"])),
    }


POLICIES = ["linux-default", "mmio-first", "hypercall", "read-only-pages", "config-cache",
            "late-detection", "clustered-ports", "bare-metal"]  # fmt: skip


SELDOM = {"kind": "spread", "operations": 1, "between": "0 ns", "vcpus": 2, "read_share": 0.5,
          "space": "pci_config"}  # fmt: skip
"""A guest with replications in which a lock is never taken."""


@example(SELDOM, "read-only-pages", "ideal")
@settings(max_examples=40)
@given(closed_guests(), st.sampled_from(POLICIES), st.sampled_from(["ideal", "kvm-2017"]))
def test_identities_and_bounds_hold_for_any_closed_loop(
    guest: dict[str, Any], policy: str, platform: str
) -> None:
    asked = opened(guest, [policy], platform=platform, replications=2)
    comparison = compare(asked, engine="simpy")
    for twin in twins(asked, comparison, engine="simpy"):
        if twin.standing in ("identity", "bound"):
            assert not twin.misses, twin


@pytest.mark.parametrize(
    ("standing", "low", "high", "misses"),
    [
        ("identity", 10.0, 10.0, False),
        ("identity", 10.5, 10.5, True),
        ("exact", 10.5, 10.5, False),
        ("exact", 11.5, 11.5, True),
        ("bound", 10.5, math.inf, True),
        ("bound", 9.5, math.inf, False),
        ("bound", -math.inf, 9.5, True),
        ("approximation", 20.0, 20.0, False),
    ],
)
def test_what_misses(standing: Standing, low: float, high: float, misses: bool) -> None:
    estimate = Estimate(10.0, 9.0, 11.0, 5, "t")
    twin = Twin(block="", policy="p", quantity="q", simulated=estimate, low=low, high=high,
                law="", assumes="", standing=standing)  # fmt: skip
    assert twin.misses is misses


# -------------------------------------------------------------------- where there is no theory


@pytest.mark.parametrize(
    ("policy", "said"),
    [
        ("batched-recorded", "by batched_hypercall the path depends on which accesses are pending"),
        ("xen-front-end", "by paravirtual_front_end the path depends on what others put into"),
    ],
)
def test_where_paths_depend_on_the_past_a_twin_says_why(policy: str, said: str) -> None:
    (twin,) = found(CALM, [policy])
    assert twin.standing == "none"
    assert twin.assumes.startswith(said)
    assert not twin.judges


def test_a_guest_that_takes_no_time_has_no_rate() -> None:
    guest = {**CALM, "between": "0 ns", "vcpus": 2}
    said = found(guest, ["bare-metal"])
    assert {twin.law for twin in said} == {"sum of costs"}
    assert not any(twin.misses for twin in said)


def test_shared_cpus_have_no_theory() -> None:
    (twin,) = found({**CLOSED, "operations": 10}, cpus=1)
    assert "share the host's CPUs" in twin.assumes


def test_a_backlog_that_grows_for_ever_has_no_mean() -> None:
    twin = the(found({**OPEN, "arrivals": exponential("900 ns")}), "response of an access")
    assert twin.standing == "none"
    assert "backlog" in twin.assumes


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"arrivals": "4 us", "between": exponential("1 us")}, "no Poisson process"),
        ({"vcpus": 2, "emulate": "500 ns"}, "keep each other waiting"),
    ],
)
def test_where_mg1_does_not_apply_a_twin_says_why(change: dict[str, Any], said: str) -> None:
    guest = {**OPEN, "arrivals": exponential("9 us"), "operations": 50, **change}
    assert said in the(found(guest), "response of an access").assumes


def test_holds_that_are_not_exponential_make_the_repairman_an_approximation() -> None:
    twin = the(found({**CLOSED, "emulate": "2 us"}), "throughput while all run")
    assert twin.standing == "approximation"
    assert "not held for exponential times" in twin.assumes
    assert 0.01 < twin.off_by < 0.3, "constant holds make for less waiting"


def test_a_run_too_short_for_its_interval_makes_mg1_an_approximation() -> None:
    guest = {**OPEN, "arrivals": exponential("1050 ns"), "operations": 200}
    twin = the(found(guest, replications=40), "response of an operation")
    assert twin.standing == "approximation"
    assert twin.off_by < 0, "a run that starts empty waits less"


# ------------------------------------------------------------------------- shipped scenarios


@pytest.mark.parametrize("name", ["spread", "interrupt-service", "pci-scan-q35"])
def test_theory_and_simulation_agree_on_what_is_shipped(name: str) -> None:
    scenario, path = find_scenario(name)
    scenario = scenario.model_copy(update={"policies": ["linux-default", "read-only-pages"]})
    asked = open_scenario(scenario, path)
    said = twins(asked, compare(asked))
    assert [twin for twin in said if twin.misses] == []
    assert {twin.policy for twin in said if twin.judges} == {"linux-default", "read-only-pages"}
    assert (name == "interrupt-service") == any(twin.law == "M/G/1" for twin in said)


def test_a_steady_state_study_is_judged_behind_its_warm_up() -> None:
    asked = opened(CLOSED, study="steady-state")
    comparison = compare(asked)
    assert comparison.blocks[0].cut is not None
    assert [twin for twin in twins(asked, comparison) if twin.misses] == []


# --------------------------------------------------------------------------- how it is shown


def shown(comparison: Comparison, said: list[Twin]) -> str:
    console = Console(width=200, file=io.StringIO())
    console.print(twin_report(comparison, said))
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


def test_the_table_says_what_agrees_and_why_there_is_no_theory() -> None:
    asked = opened(CALM, ["linux-default", "batched-recorded"])
    comparison = compare(asked)
    text = shown(comparison, twins(asked, comparison))
    assert "= 2 µs" in text
    assert "no theory of batched-recorded: by batched_hypercall the path depends on" in text
    assert "numbers that theory can judge agree with it" in text
    assert "No theory: batched-recorded." in text


def test_the_last_sentence_names_what_misses_and_by_how_much() -> None:
    right, wrong = opened(CALM), opened(CALM, costs={"world_switch_out": "1.25 us"})
    comparison = compare(right)
    said = twins(wrong, comparison)
    assert "linux-default: stall of an access by -20 %" in verdict(said)
    assert "-20 % !" in shown(comparison, said)


def test_the_document_is_json_without_what_json_cannot_say() -> None:
    asked = opened({**CLOSED, "operations": 20}, ["linux-default", "batched-recorded"])
    comparison = compare(asked)
    document = json.loads(json.dumps(twin_document(comparison, twins(asked, comparison)),
                                     allow_nan=False))  # fmt: skip
    assert document["misses"] == 0
    bound = next(t for t in document["twins"] if t["standing"] == "bound")
    assert bound["theory"]["high"] is None
    assert bound["simulated"]["n"] == 5


def test_approximations_and_chance_are_told_apart_from_misses() -> None:
    said = verdict(found({**CLOSED, "emulate": "2 us"}))
    assert said.startswith("All ")
    assert "One approximation lies within" in said
    assert verdict([]) == "There is no theory to hold these numbers against."
