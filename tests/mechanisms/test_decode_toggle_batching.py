"""Batched toggles: what stands between two sizings is not made, all else is."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vmexit_sim import catalog
from vmexit_sim.configuration import checked
from vmexit_sim.device import load_devices
from vmexit_sim.guest.generators import BarSizing
from vmexit_sim.guest.table import Flag, Space
from vmexit_sim.hypervisor.platform import load_platform
from vmexit_sim.mechanisms import make_mechanism
from vmexit_sim.opened import load_block
from vmexit_sim.policy import Match, load_policy
from vmexit_sim.scenario import Block
from vmexit_sim.study.simulate import simulate

BATCHED = "decode_toggle_batching"
SECOND = 10**12


def test_a_spared_access_takes_no_time_and_no_exit(run_by: Any) -> None:
    flags = [Flag.DECODE_TOGGLE, Flag.DECODE_TOGGLE | Flag.SPARE_TOGGLE, 0]
    ran = run_by(BATCHED, 3, write=1, flags=flags, costs={"state_change": "1 s"})
    assert ran.column("exits") == [2, 0, 2]
    assert ran.column("stall")[1] == 0
    assert ran.stages(1) == {}
    assert ran.column("done")[1] == ran.column("start")[1]
    assert [ran.stages(row).get("state change", 0) for row in range(3)] == [SECOND, 0, 0]


@pytest.mark.parametrize(
    ("via", "reason"),
    [("recorded", "IO_INSTRUCTION"), ("trap_mmio", "EPT_MISCONFIG"), ("hypercall", "VMCALL")],
)
def test_all_else_goes_the_underlying_way(run_by: Any, via: str, reason: str) -> None:
    assert list(run_by({"name": BATCHED, "via": via}).exits) == [reason]


@pytest.mark.parametrize("bars64", [0, 1, 3])
@pytest.mark.parametrize("rom", [True, False])
def test_of_the_old_sequence_two_toggles_a_function_are_left(
    run_by: Any, bars64: int, rom: bool
) -> None:
    stated = {"kind": "bar_sizing", "sequence": "old", "bars64": bars64, "rom": rom,
              "decode_on": True, "functions": 3}  # fmt: skip
    guest = checked(BarSizing, stated)
    ran = run_by(BATCHED, workload=guest, costs={"state_change": "1 s"})
    table = guest.examples()
    toggles = int(table.has(Flag.DECODE_TOGGLE).sum())
    registers = 6 - bars64 + rom
    assert toggles == 3 * 2 * registers
    assert ran.result.stage_times()["state change"] == 3 * 2 * SECOND
    # Of each set but the first the look at COMMAND goes too.
    spared = int(table.has(Flag.SPARE_TOGGLE).sum())
    assert spared == toggles - 3 * 2 + 3 * (registers - 1)
    assert ran.result.summary.exits == 2 * (len(table) - spared)


def test_without_decoding_only_the_looks_between_are_spared() -> None:
    stated = {"kind": "bar_sizing", "sequence": "old", "bars32": 2, "functions": 2}
    table = checked(BarSizing, stated).examples()
    spare = table.has(Flag.SPARE_TOGGLE)
    assert spare.sum() == 2 * 5
    assert not table.write[spare].any()


@pytest.mark.parametrize("sequence", ["bare", "batched"])
def test_other_sequences_have_nothing_to_spare(sequence: str) -> None:
    stated = {"kind": "bar_sizing", "sequence": sequence, "bars32": 2, "decode_on": True}
    assert not checked(BarSizing, stated).examples().has(Flag.SPARE_TOGGLE).any()


@pytest.mark.parametrize("trace", ["pci-scan-q35", "boot-q35", "boot-pc"])
def test_of_a_recorded_boot_two_toggles_of_every_function_that_decodes_are_left(
    trace: str,
) -> None:
    block = Block.model_validate({"name": trace, "guest": {"trace": trace}, "only": ["bar_sizing"]})
    guest = load_block(block, load_devices())
    table = guest.table
    mine = Match(space=["pci_config"], kind=["bar_sizing"]).rows(table) & (table.agent >= 2)
    toggles = mine & table.has(Flag.DECODE_TOGGLE)
    functions = len(set((table.address[toggles] >> 12).tolist()))
    assert (toggles & ~table.has(Flag.SPARE_TOGGLE)).sum() == 2 * functions
    result = simulate(
        load_policy("batched-toggles"),
        load_platform("kvm-2017", changes={"state_change": "1 s"}),
        guest.workloads[guest.main_scale],
    )
    left = int((table.has(Flag.DECODE_TOGGLE) & ~table.has(Flag.SPARE_TOGGLE)).sum())
    assert result.stage_times()["state change"] == left * SECOND
    assert catalog.names("policies")["batched-toggles"].is_file()


@settings(max_examples=20, deadline=None,
          suppress_health_check=[HealthCheck.function_scoped_fixture])  # fmt: skip
@given(data=st.data(), via=st.sampled_from(["recorded", "trap_mmio", "hypercall"]))
def test_engines_agree_and_spared_rows_never_exit(
    data: st.DataObject, tied_config_guests: Any, run_both: Any, via: str
) -> None:
    table = data.draw(tied_config_guests)
    platform = load_platform("ideal", changes={"state_change": "500 ns"})
    ran = run_both(make_mechanism({"name": BATCHED, "via": via}), table, platform)
    columns = ran.result.to_columns()
    spare = table.has(Flag.SPARE_TOGGLE)
    assert not columns["exits"][spare].any()
    assert not columns["stall"][spare].any()
    assert columns["exits"][~spare & (table.space != Space.MMIO)].all()
