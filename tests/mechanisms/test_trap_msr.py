"""Model-specific registers and the local APIC's page: reasons, parts, and who decodes."""

from __future__ import annotations

from typing import Any

import pytest

from vmexit_sim.device import load_devices
from vmexit_sim.guest.table import Flag, Space, make_table
from vmexit_sim.guest.workload import Recorded
from vmexit_sim.hypervisor.platform import load_platform
from vmexit_sim.opened import load_block
from vmexit_sim.policy import Policy
from vmexit_sim.scenario import Block
from vmexit_sim.study.simulate import simulate

APIC = {"space": Space.MMIO, "flags": Flag.LOCAL_APIC, "devices": ("apic-msi",)}


def test_a_write_in_the_kernel_is_switches_and_dispatch(run_by: Any) -> None:
    ran = run_by("trap_msr", space=Space.MSR, write=1, location="kernel", emulate=5)
    c = ran.cost
    assert ran.stages() == {
        "world switch out": c["world_switch_out"], "dispatch": c["dispatch_msr"],
        "device emulation": 5, "world switch in": c["world_switch_in"],
    }  # fmt: skip
    assert ran.exits == {"MSR_WRITE": 1}


def test_a_read_exits_for_its_own_reason_and_goes_to_user_space_if_its_device_is_there(
    run_by: Any,
) -> None:
    ran = run_by("trap_msr", space=Space.MSR, location="user")
    assert ran.exits == {"MSR_READ": 1}
    assert ran.stages()["to user space"] == ran.cost["to_user"]
    assert "decode" not in ran.stages()


def test_each_target_of_an_ipi_costs_its_delivery(run_by: Any) -> None:
    ran = run_by("trap_msr", 3, space=Space.MSR, write=1, location="kernel", targets=[0, 1, 5])
    times = [ran.stages(row).get("IPI delivery", 0) for row in range(3)]
    assert times == [0, ran.cost["deliver_ipi"], 5 * ran.cost["deliver_ipi"]]


def test_what_no_policy_speaks_of_goes_by_its_instruction() -> None:
    spaces = [Space.MSR, Space.MSR, Space.PCI_CONFIG, Space.PCI_CONFIG, Space.PORT_IO, Space.MMIO,
              Space.DOORBELL, Space.MMIO]  # fmt: skip
    table = make_table(8, space=spaces, write=[1, 0, 0, 0, 0, 0, 1, 1],
                       flags=[0, 0, 0, Flag.ECAM, 0, 0, 0, Flag.LOCAL_APIC])  # fmt: skip
    result = simulate(Policy(title="nothing"), load_platform("ideal"), Recorded(table))
    assert {tally.reason: tally.samples for tally in result.exits} == {
        "MSR_WRITE": 1, "MSR_READ": 1, "IO_INSTRUCTION": 3, "EPT_MISCONFIG": 3, "APIC_ACCESS": 1,
    }  # fmt: skip
    assert result.reach == 0


def test_the_apics_page_is_decoded_unless_the_processor_virtualises_it(run_by: Any) -> None:
    ran = run_by("trap_mmio", 2, write=[0, 1], **APIC)
    assert ran.exits == {"APIC_ACCESS": 2}
    assert ran.stages(1)["decode"] == ran.cost["decode_mmio"]
    table = make_table(2, write=[0, 1], **APIC)
    posted = simulate(
        Policy(title="posted", delivery="posted"), load_platform("kvm-2017"), Recorded(table)
    )
    assert [(tally.reason, tally.samples) for tally in posted.exits] == [("APIC_WRITE", 1)]
    assert posted.stage_times().get("decode", 0) == 0


@pytest.mark.parametrize("trace", ["net-virtio"])
def test_a_recordings_apic_accesses_exit_for_their_own_reason(trace: str) -> None:
    block = Block.model_validate({"name": trace, "guest": {"trace": trace}, "timers": True,
                                  "only": ["apic-msi"]})  # fmt: skip
    guest = load_block(block, load_devices())
    result = simulate(
        Policy(title="nothing"), load_platform("ideal"), guest.workloads[guest.main_scale]
    )
    assert [tally.reason for tally in result.exits] == ["APIC_ACCESS"]
