"""Platforms: every number has a source, and the paths add up to what was published."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from vmexit_sim import catalog
from vmexit_sim.errors import InputError
from vmexit_sim.guest.table import Space, make_table
from vmexit_sim.guest.workload import Recorded
from vmexit_sim.hypervisor.platform import MARKS, Platform, load_platform
from vmexit_sim.policy import Policy
from vmexit_sim.study.simulate import simulate

PLATFORMS = sorted(catalog.names("platforms"))
KVM_2013 = catalog.names("platforms")["kvm-2013"].read_text()


def changed(tmp_path: Path, old: str, new: str) -> Platform:
    assert old in KVM_2013
    path = tmp_path / "host.toml"
    path.write_text(KVM_2013.replace(old, new, 1))
    return load_platform(str(path))


def cycles(platform: Platform, *names: str) -> float:
    total = sum(platform.costs.duration(name).mean_ps for name in names)
    return total * platform.clock / 1e12


EXIT = ("world_switch_out", "world_switch_in")
USER = ("to_user", "to_kernel")


@pytest.mark.parametrize(
    ("name", "path", "published"),
    [
        ("kvm-2013", (*EXIT, "dispatch_port"), 1777),
        ("kvm-2013", (*EXIT, "dispatch_port", "decode_port_out", *USER), 5287),
        ("kvm-2013", (*EXIT, "dispatch_mmio", "decode_mmio"), 3685),
        ("kvm-2013", (*EXIT, "dispatch_mmio", "decode_mmio", *USER, "complete_mmio"), 8796),
        ("kvm-2012", (*EXIT, "dispatch_hypercall"), 3898),
        ("kvm-2012", (*EXIT, "dispatch_port", "decode_port_out"), 4451),
        ("kvm-2012", (*EXIT, "dispatch_port", "decode_port_in"), 7237),
        ("kvm-2012", (*EXIT, "dispatch_port", "decode_port_in", *USER), 20_574),
        ("kvm-2017", (*EXIT, "dispatch_hypercall"), 1181),
        ("kvm-2017", (*EXIT, "dispatch_port", "decode_port_out"), 1391),
        ("kvm-2017", (*EXIT, "dispatch_port", "decode_port_in", *USER), 6209),
        ("kvm-nested-2019", (*EXIT, "dispatch_port", "decode_port_in", *USER), 44_826),
    ],
)
def test_a_path_adds_up_to_what_was_published(
    name: str, path: tuple[str, ...], published: int
) -> None:
    # Each cost is rounded to a picosecond, far below a hundredth of a cycle.
    assert cycles(load_platform(name), *path) == pytest.approx(published, abs=0.01)


@pytest.mark.parametrize(
    ("name", "space", "write", "published"),
    [
        ("kvm-2013", Space.PORT_IO, 1, 5287),
        ("kvm-2013", Space.MMIO, 1, 8796),
        ("kvm-2017", Space.PORT_IO, 0, 6209),
        ("kvm-2012", Space.PORT_IO, 0, 20_574),
        ("kvm-nested-2019", Space.PORT_IO, 0, 44_826),
    ],
)
def test_a_simulated_exit_takes_what_was_published(
    name: str, space: Space, write: int, published: int
) -> None:
    platform = load_platform(name)
    guest = Recorded(make_table(3, space=space, write=write, devices=("nvme",)))
    result = simulate(Policy(title="as recorded"), platform, guest, engine="simpy")
    assert result.completion * platform.clock / 3e12 == pytest.approx(published, abs=0.01)
    (tally,) = result.exits
    assert tally.mean == tally.least == tally.greatest == result.completion / 3


def test_the_ideal_exit_is_one_microsecond() -> None:
    costs = dict(load_platform("ideal").costs.items())
    assert costs.pop("world_switch_out").value.mean_ps == 1_000_000
    assert {cost.value.mean_ps for cost in costs.values()} == {0}


@pytest.mark.parametrize("name", PLATFORMS)
def test_every_shipped_number_has_a_mark_and_a_source(name: str) -> None:
    platform = load_platform(name)
    assert platform.name == name
    assert not platform.is_random
    for cost_name, cost in platform.costs.items():
        assert cost.mark in MARKS, cost_name
        assert len(cost.source) >= 8, cost_name
    assert platform.clock_source


def test_a_cost_without_a_source_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"host\.toml: costs\.world_switch_in\.source: is missing"):
        changed(tmp_path, 'source = "see world_switch_out"\n', "")
    with pytest.raises(InputError, match=r"costs\.world_switch_in\.source: 'see' does not fit"):
        changed(tmp_path, 'source = "see world_switch_out"', 'source = "see"')


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('value = "783 cycles"', "value = 783", "783 has no unit"),
        ('value = "783 cycles"', 'value = "783 cycls"', "did you mean 'cycles'"),
        ('value = "783 cycles"', 'value = "-1 ns"', "is negative"),
        ("[costs.to_user]", "[costs.to_usr]", r"costs\.to_usr: is no key.*did you mean 'to_user'"),
        ("[costs.to_user]", "[costs.to_usr]", r"costs\.to_user: is missing"),
        ('clock = "3 GHz"', 'clock = "3"', r"host\.toml: clock: '3' has no unit"),
        ('clock = "3 GHz"', "", "clock: is missing"),
        ('clock = "3 GHz"', "", "no clock is known here; state the platform's clock"),
        ('mark = "D"', 'mark = "Z"', "mark: 'Z'"),
        ('discipline = "fifo"', 'discipline = "lifo"', "vmm_lock.discipline"),
        ('value = "783 cycles"', 'value = "783 cycles"\nfrom = { a = 1e7 }', "less than or equal"),
        ('value = "783 cycles"', 'value = "783 cycles"\nfrom = { a = -1e7 }', "greater than or"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path: Path, old: str, new: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        changed(tmp_path, old, new)


def test_a_platform_warns_of_nothing_and_traps_unless_it_says_so(tmp_path: Path) -> None:
    own = Path(tmp_path / "own.toml")
    lines = [line for line in KVM_2013.splitlines() if not line.startswith("caution")]
    own.write_text("\n".join(lines))
    plain = load_platform(str(own))
    assert (plain.caution, plain.native_only) == ("", False)


def test_cycles_are_those_of_the_stated_clock(tmp_path: Path) -> None:
    faster = changed(tmp_path, 'clock = "3 GHz"', 'clock = "1 GHz"')
    assert faster.costs.duration("world_switch_out").mean_ps == 783_000
    assert load_platform("kvm-2013").costs.duration("world_switch_out").mean_ps == 261_000


@pytest.mark.parametrize(
    ("stated", "mean"),
    [("2 us", 2_000_000), ("300 cycles", 100_000), ({"kind": "exponential", "mean": "9 us"}, 9e6)],
)
def test_a_cost_can_be_replaced_and_says_so(stated: Any, mean: float) -> None:
    platform = load_platform("kvm-2013", changes={"item": stated})
    assert platform.costs.item.value.mean_ps == mean
    assert platform.costs.item.mark == "A"
    assert platform.is_random == isinstance(stated, dict)
    original = load_platform("kvm-2013")
    assert platform.costs.model_copy(update={"item": original.costs.item}) == original.costs


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("world_switch_ot", "1 us", r"costs\.world_switch_ot: is no cost; did you mean 'world_sw"),
        ("item", 5, r"costs\.item: 5 has no unit"),
        ("item", "5 parsec", "unknown unit"),
    ],
)
def test_a_replacement_that_does_not_fit_is_refused(key: str, value: Any, says: str) -> None:
    with pytest.raises(InputError, match=says):
        load_platform("ideal", changes={key: value})


def test_an_unknown_platform_suggests_the_nearest() -> None:
    with pytest.raises(InputError, match="is no platform; did you mean 'vmware-2022'"):
        load_platform("vmware-2021")
