"""What a device catalog says, and refuses."""

from __future__ import annotations

import numpy as np
import pytest

from vmexit_sim.device import load_devices
from vmexit_sim.errors import InputError
from vmexit_sim.guest.emulation import with_emulation
from vmexit_sim.guest.table import Space, make_table
from vmexit_sim.streams import Streams

DEFAULT = """
[default]
name = "*"
emulate = "0 ns"
emulate_source = "test"
source = "test"
"""
KERNEL = ["apic-msi", "ioapic", "pic", "elcr", "pit", "pcspk"]
LOGGED = ["msr 0x6e0", "msr 0x8[0-9a-f][0-9a-f]", "msr 0x*", "* (kernel)"]
"""Names that a log of KVM's events gives to what it shows to be handled in the kernel."""


def written(tmp_path, text: str):
    path = tmp_path / "devices.toml"
    path.write_text(DEFAULT + text)
    return load_devices(path)


@pytest.mark.parametrize("name", KERNEL)
def test_what_kvm_emulates_is_in_the_kernel(name: str) -> None:
    assert load_devices().of(name).location == "kernel"


def test_everything_else_is_in_user_space() -> None:
    catalog = load_devices()
    elsewhere = {d.name for d in catalog.devices if d.location != "user"}
    assert elsewhere == {*KERNEL, *LOGGED}
    assert catalog.of("unheard of").location == "user"


def test_classes_tell_timers_and_interrupt_controllers() -> None:
    catalog = load_devices()
    for category, names in {
        "timer": ["pit", "pcspk", "hpet", "acpi-tmr"],
        "irqchip": ["apic-msi", "ioapic", "pic", "elcr", "kvmvapic"],
        "device": ["nvme", "serial"],
    }.items():
        assert {catalog.of(name).category for name in names} == {category}


def test_only_notification_regions_are_doorbells() -> None:
    catalog = load_devices()
    assert catalog.of("virtio-pci-notify-virtio-blk").doorbell
    assert not catalog.of("virtio-pci-common-virtio-blk").doorbell


def test_side_effects_are_told_by_the_offset_in_the_window() -> None:
    e1000 = load_devices().of("e1000-mmio")
    address = np.array([0xFEBC00C0, 0xFEBC00C4, 0xFEBC4000, 0xFEBC4124, 0xFEBC4128, 0xFEBC0008])
    assert e1000.has_side_effect(address).tolist() == [True, False, True, True, False, False]


def test_the_first_pattern_that_matches_is_meant(tmp_path) -> None:
    catalog = written(
        tmp_path,
        '[[devices]]\nname = "a-x"\nlocation = "kernel"\nsource = "s"\n'
        '[[devices]]\nname = "a-*"\nlocation = "hardware"\nsource = "s"\n',
    )
    assert [catalog.of(n).location for n in ("a-x", "a-y", "b")] == ["kernel", "hardware", "user"]
    assert catalog.of("a-x") is catalog.of("a-x")


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ('name = "a"', "source"),
        ('name = "a"\nsource = "s"\nlocaton = "user"', "no key"),
        ('name = "a"\nsource = "s"\nlocation = "moon"', "location"),
        ('name = "a"\nsource = "s"\nemulate = "1 us"', "emulate_source"),
        ('name = "a"\nsource = "s"\nwindow = "3 KiB"', "power of two"),
        (
            'name = "a"\nsource = "s"\nbit_bang = {data=0, order=4, at_least=8, source="s"}',
            "window",
        ),
        (
            'name = "a"\nsource = "s"\nwindow = "4 KiB"\n'
            'side_effect_reads = {registers=[[4096, 4096]], source="s"}',
            "beyond its window",
        ),
        (
            'name = "a"\nsource = "s"\nwindow = "4 KiB"\n'
            'side_effect_reads = {registers=[[8, 4]], source="s"}',
            "ends before",
        ),
    ],
)
def test_an_entry_that_does_not_fit_is_refused(tmp_path, entry: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        written(tmp_path, f"[[devices]]\n{entry}\n")


def test_an_unknown_catalog_is_refused() -> None:
    with pytest.raises(InputError, match="qemu"):
        load_devices("qemo")


def test_emulation_times_are_drawn_for_each_device_on_its_own_stream(tmp_path) -> None:
    random = 'emulate = {kind = "exponential", mean = "1 us"}\nemulate_source = "s"\nsource = "s"\n'
    catalog = written(
        tmp_path,
        f'[[devices]]\nname = "slow"\n{random}[[devices]]\nname = "fixed"\nsource = "s"\n'
        'emulate = "2 us"\nemulate_source = "s"\n',
    )
    space = [Space.MMIO] * 6
    table = make_table(6, space=space, device=[0, 1, 2, 0, 1, 2], devices=("slow", "fixed", "x"))
    drawn = with_emulation(table, catalog, Streams(1)).emulate
    assert drawn[[1, 4]].tolist() == [2_000_000] * 2
    assert drawn[[2, 5]].tolist() == [0, 0]
    assert (drawn[[0, 3]] > 0).all()
    alone = make_table(2, space=space[:2], device=[0, 0], devices=("slow",))
    assert with_emulation(alone, catalog, Streams(1)).emulate.tolist() == drawn[[0, 3]].tolist()
