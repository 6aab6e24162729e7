"""Services that break into what a vCPU computes: by hand, and what never changes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vmexit_sim.configuration import checked
from vmexit_sim.device import load_devices
from vmexit_sim.engine import run
from vmexit_sim.errors import InputError
from vmexit_sim.guest.generators import Interrupted
from vmexit_sim.guest.workload import Scaled
from vmexit_sim.hypervisor.platform import load_platform
from vmexit_sim.lowering import HostCpus, lower
from vmexit_sim.measure.records import RunResult
from vmexit_sim.policy import Policy, Rule
from vmexit_sim.streams import Streams
from vmexit_sim.study.simulate import simulate

US = 1_000_000
COSTS = {"injection": "2 us", "eoi": "3 us", "posted_injection": "100 ns"}


def guest(**changes: Any) -> Interrupted:
    """Three reads, 100 us of compute before each, and a service of two writes every 120 us."""
    main = {"kind": "spread", "operations": 3, "between": "100 us", "read_share": 1.0,
            "space": "mmio", **changes.pop("main", {})}  # fmt: skip
    services = {"kind": "interrupt_service", "services": 2, "interarrival": "120 us",
                "accesses": 2, "within": "5 us", "read_share": 0.0, **changes}  # fmt: skip
    return checked(Interrupted, {"kind": "interrupted", "main": main, "services": services})


def ran(workload: Any, mechanism: Any = "hypercall", **policy: Any) -> RunResult:
    rules = [Rule(side="host", mechanism=mechanism)]
    return simulate(Policy(title="alone", rules=rules, **policy), load_platform("ideal",
                    changes=COSTS), workload, keep_rows=True, engine="simpy")  # fmt: skip


def of_stream(result: RunResult, stream: int, column: str) -> list[int]:
    columns = result.to_columns()
    return columns[column][columns["vcpu"] == stream].tolist()


def test_a_service_stops_compute_and_the_rest_goes_on_after_it() -> None:
    # Read 1 at 100 .. 101; its next compute would end at 201. The service comes at 120: delivery
    # 2, exit 1, compute 5, exit 1, EOI 1 + 3, 13 in all; so the compute ends at 214.
    result = ran(guest())
    assert of_stream(result, 0, "start") == [100 * US, 214 * US, 328 * US]
    assert of_stream(result, 0, "stage: lent to interrupt service") == [0, 13 * US, 13 * US]
    assert of_stream(result, 0, "stage: guest compute") == [100 * US] * 3
    assert of_stream(result, 1, "start") == [120 * US, 128 * US, 240 * US, 248 * US]
    assert of_stream(result, 1, "stall") == [3 * US, 5 * US] * 2
    assert of_stream(result, 1, "stage: injection") == [2 * US, 0] * 2
    assert of_stream(result, 1, "stage: end of interrupt") == [0, 4 * US] * 2
    exits = {tally.reason: tally.samples for tally in result.exits}
    assert exits == {"VMCALL": 7, "EXTERNAL_INTERRUPT": 2, "APIC_ACCESS": 2}


def test_what_ends_a_halt_comes_in_with_its_entry() -> None:
    # One read at 100, then nothing but services: each finds the vCPU halted.
    halting = checked(Policy, {"title": "halts", "idle": {"guest": "halt"}})
    halting = halting.model_copy(update={"rules": [Rule(side="host", mechanism="hypercall")]})
    result = simulate(halting, load_platform("ideal", changes=COSTS),
                      guest(main={"operations": 1}), keep_rows=True, engine="simpy")  # fmt: skip
    exits = {tally.reason: tally.samples for tally in result.exits}
    assert exits == {"VMCALL": 5, "HLT": 2, "APIC_ACCESS": 2}
    assert of_stream(result, 1, "stage: injection") == [0] * 4


def test_posted_it_comes_without_an_exit() -> None:
    result = ran(guest(), delivery="posted")
    assert {tally.reason: tally.samples for tally in result.exits} == {"VMCALL": 7}
    assert of_stream(result, 1, "stage: injection") == [US // 10, 0] * 2


def test_in_an_exit_it_stays_pending_until_the_guest_computes_again() -> None:
    # The exit lasts from 100 to 150, the interrupt comes at 120 and is served at 150.
    long = {"main": {"operations": 2, "emulate": "49 us"}}
    result = ran(guest(services=1, **long))
    assert of_stream(result, 1, "start")[0] == 150 * US
    assert of_stream(result, 1, "stage: interrupt pending")[0] == 30 * US
    assert of_stream(result, 1, "due")[0] == 120 * US


def test_services_that_come_while_one_is_served_are_served_in_order() -> None:
    result = ran(guest(interarrival="1 us", services=3, main={"operations": 1}))
    starts = of_stream(result, 1, "start")[::2]
    assert starts == [1 * US, 14 * US, 27 * US]
    assert of_stream(result, 0, "start") == [139 * US]


def test_services_after_the_vcpus_last_access_are_served_as_it_idles() -> None:
    result = ran(guest(main={"operations": 1, "between": "1 us"}))
    assert of_stream(result, 1, "start")[::2] == [120 * US, 240 * US]
    assert result.completion == 253 * US


def test_a_vcpu_that_nobody_interrupts_ends_by_itself() -> None:
    result = ran(guest(main={"vcpus": 2, "operations": 1}))
    assert result.finish[1] == 101 * US


def test_more_interrupted_vcpus_than_there_are_is_a_mistake() -> None:
    with pytest.raises(InputError, match="interrupts 2 vCPUs of 1"):
        guest(vcpus=2)


@settings(max_examples=25, deadline=None)
@given(
    interarrival=st.sampled_from(["1 us", "7 us", "10 us"]),
    vcpus=st.integers(1, 3),
    accesses=st.integers(1, 3),
    mechanism=st.sampled_from(
        ["trap_mmio", "native", {"name": "batched_hypercall", "max_batch": 3, "needs": "oracle"},
         {"name": "batched_hypercall", "max_batch": 4, "max_wait": "5 us", "needs": "oracle"}]
    ),
    delivery=st.sampled_from(["exit", "posted"]),
)  # fmt: skip
def test_compute_is_never_lost_and_the_engines_agree(
    interarrival: str, vcpus: int, accesses: int, mechanism: Any, delivery: Any
) -> None:
    workload = guest(
        interarrival=interarrival, services=6, accesses=accesses, vcpus=vcpus,
        main={"vcpus": 3, "operations": 8, "between": "5 us", "emulate": "1 us"},
    )  # fmt: skip
    policy = Policy(title="p", rules=[Rule(side="host", mechanism=mechanism)], delivery=delivery)
    platform = load_platform("ideal", changes=COSTS)
    lowered = lower(policy, platform, load_devices(), workload)
    results = [
        run(lowered, workload, Streams(3), engine=engine, keep_rows=True)
        for engine in ("simpy", "compiled")
    ]
    one, other = (result.to_columns() for result in results)
    assert all(np.array_equal(column, other[name]) for name, column in one.items())
    assert results[0].exits == results[1].exits
    assert results[0].resources == results[1].resources
    for vcpu in range(3):
        assert of_stream(results[0], vcpu, "stage: guest compute") == [5 * US] * 8
        of_own = ("stall", "stage: guest compute", "stage: guest idle",
                  "stage: lent to interrupt service")  # fmt: skip
        spent = sum(sum(of_stream(results[0], vcpu, name)) for name in of_own if name in one)
        assert spent <= results[0].finish[vcpu]
    assert (one["done"] >= one["start"]).all()


def finish(workload: Any, mechanism: Any, **costs: str) -> int:
    rules = [Rule(side="host", mechanism=mechanism)]
    platform = load_platform("ideal", changes=costs)
    result = simulate(Policy(title="p", rules=rules), platform, workload, keep_rows=True)
    return result.finish[0]


@pytest.mark.parametrize(
    ("batch", "expected"),
    [
        # Reads of the vCPU's own: one exit each, flushed as each is a batch. Services of two
        # writes each gather for nothing, and flush 20 us later: exit, to user space 10.
        ({"max_wait": "20 us"}, 1_131), ({}, 1_032),
    ],
)  # fmt: skip
def test_what_a_service_left_behind_takes_the_vcpus_time(
    batch: dict[str, str], expected: int
) -> None:
    mechanism = {"name": "batched_hypercall", "needs": "oracle", "max_batch": 32,
                 "flush_at_operation_end": False, **batch}  # fmt: skip
    main = {"kind": "spread", "operations": 1, "between": "1 ms", "read_share": 1.0,
            "space": "mmio"}  # fmt: skip
    services = {"kind": "interrupt_service", "services": 10, "interarrival": "50 us",
                "accesses": 2, "read_share": 0.0}  # fmt: skip
    stated = {"kind": "interrupted", "main": main, "services": services}
    workload = checked(Interrupted, stated)
    assert finish(workload, mechanism, to_user="10 us") == expected * US


def test_refilling_after_a_services_exits_slows_the_vcpu_and_no_later_service() -> None:
    main = {"kind": "spread", "operations": 2, "between": "600 us", "read_share": 1.0,
            "space": "mmio"}  # fmt: skip
    services = {"kind": "interrupt_service", "services": 10, "interarrival": "50 us",
                "accesses": 1, "read_share": 0.0}  # fmt: skip
    workload = checked(Interrupted, {"kind": "interrupted", "main": main, "services": services})
    rules = [Rule(side="host", mechanism="hypercall")]
    platform = load_platform("ideal", changes={"refill": "10 us"})
    result = simulate(Policy(title="p", rules=rules), platform, workload, keep_rows=True)
    assert set(of_stream(result, 1, "stall")) == {2 * US}
    response = np.array(of_stream(result, 1, "resume")) - np.array(of_stream(result, 1, "due"))
    assert set(response.tolist()) == {2 * US}
    # Ten services of three exits each, and the vCPU's own first read: before its second compute.
    assert of_stream(result, 0, "stage: refill after exits") == [0, 310 * US]


@pytest.mark.parametrize("cpus", [1, 2])
def test_a_context_never_gives_a_cpu_back_that_it_does_not_hold(cpus: int) -> None:
    main = {"kind": "spread", "vcpus": 3, "operations": 40, "between": "100 us",
            "read_share": 0.5, "space": "mmio"}  # fmt: skip
    services = {"kind": "interrupt_service", "vcpus": 3, "services": 40, "interarrival": "90 us",
                "accesses": 3, "within": "2 us", "read_share": 0.3}  # fmt: skip
    workload = checked(Interrupted, {"kind": "interrupted", "main": main, "services": services})
    timed = {"name": "batched_hypercall", "max_wait": "5 us", "max_batch": 4, "needs": "oracle"}
    policy = Policy(title="p", rules=[Rule(side="host", mechanism=timed)])
    lowered = lower(policy, load_platform("kvm-2017"), load_devices(), workload, HostCpus(cpus))
    results = [run(lowered, workload, Streams(1), engine=e) for e in ("simpy", "compiled")]
    uses = [result.resource("CPUs") for result in results]
    assert uses[0] == uses[1]
    assert uses[0] is not None
    assert 0.2 < uses[0].utilisation <= 1


def test_think_time_scales_in_both_parts() -> None:
    result = ran(Scaled(guest(), 0.5))
    assert of_stream(result, 0, "stage: guest compute") == [50 * US] * 3
    assert of_stream(result, 1, "stage: guest compute") == [0, 5 * US // 2] * 2
