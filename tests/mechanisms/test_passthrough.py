"""An assigned device: its data path is the hardware's, its config space the VMM's."""

from __future__ import annotations

from typing import Any

import pytest

from vmexit_sim.guest.table import Flag, Space

US = 1_000_000


@pytest.mark.parametrize(
    ("space", "cost"),
    [
        (Space.MMIO, "native_mmio"),
        (Space.DOORBELL, "native_mmio"),
        (Space.PORT_IO, "native_port"),
        (Space.MSR, "native_mmio"),
    ],
)
@pytest.mark.parametrize("write", [0, 1])
@pytest.mark.parametrize("location", ["user", "kernel"])
def test_the_data_path_has_no_exit(
    run_by: Any, space: Space, cost: str, write: int, location: str
) -> None:
    ran = run_by("passthrough", space=space, write=write, location=location, emulate=7)
    assert ran.exits == {}
    assert ran.stages() == {"native access": ran.cost[cost]}
    assert ran.column("done") == ran.column("resume")


@pytest.mark.parametrize("location", ["user", "kernel"])
@pytest.mark.parametrize(
    ("flags", "exits"), [(0, {"IO_INSTRUCTION": 2}), (Flag.ECAM, {"EPT_MISCONFIG": 1})]
)
def test_config_space_traps_to_user_space_wherever_the_device_is(
    run_by: Any, location: str, flags: int, exits: dict[str, int]
) -> None:
    ran = run_by("passthrough", location=location, flags=flags)
    assert ran.exits == exits
    assert ran.stages()["to user space"] == ran.cost["to_user"] * sum(exits.values())


def test_a_decode_toggle_maps_the_bars(run_by: Any) -> None:
    """16 GB mapped by pinned pages took about 0.4 s, without pinning 1.5 us (356e88ebe447)."""
    toggle = {"flags": Flag.ECAM | Flag.DECODE_TOGGLE, "write": 1}
    for mapping, time in (("400 ms", 400_000 * US), ("1.5 us", 1_500_000)):
        ran = run_by("passthrough", costs={"state_change": mapping}, **toggle)
        assert ran.stages()["state change"] == time
