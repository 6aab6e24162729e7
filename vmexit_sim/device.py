"""What is known of devices: where they are emulated, and what their registers mean.

::

    name in a table or trace ──► DeviceCatalog.of ──► Device
                                 (first pattern       location, class, emulation time,
                                  that matches)       side effects, idioms

Nothing in the program knows a device by name; every such fact is data in ``models/devices``, and
every fact there says where it comes from. An offset is an address modulo the register window's
size: base address registers are naturally aligned, so this needs no knowledge of the base.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from fnmatch import fnmatchcase
from itertools import chain
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field, PrivateAttr, model_validator

from vmexit_sim.catalog import find
from vmexit_sim.configuration import Configured, Size, checked, misfit, read_toml
from vmexit_sim.distributions import Constant, Distribution

LARGEST_WINDOW = 2**40
"""Largest register window that a catalog may state, in bytes."""

Register = Annotated[int, Field(ge=0, lt=LARGEST_WINDOW)]
"""A register's offset into the device's window, in bytes."""

Source = Annotated[str, Field(min_length=1)]
"""Where a fact comes from; "[M]" marks one that was recalled, not looked up."""

Registers = Annotated[tuple[Register, Register], Field(strict=False)]
"""First and last offset of a stretch of registers, both included."""

Stretches = Annotated[tuple[Registers, ...], Field(strict=False, min_length=1)]


class ConfigRole(Enum):
    """How a region takes part in accesses to PCI config space."""

    INDEX = "index"  # chooses function and register
    DATA = "data"  # reads or writes what was chosen
    ECAM = "ecam"  # memory-mapped: the address chooses


class _Fact(Configured):
    """A group of facts with one source.

    Attributes:
        source: where these facts come from.
    """

    source: Source


class SideEffects(_Fact):
    """Reads that change the device, so that each must reach it.

    Attributes:
        registers: stretches of offsets.
    """

    registers: Stretches

    @model_validator(mode="after")
    def _ordered(self) -> SideEffects:
        refuse_backward(self.registers)
        return self


class InterruptController(_Fact):
    """What a local interrupt controller's region shows of interrupts.

    Attributes:
        messages: offsets whose writes are interrupt messages of devices, no guest accesses.
        end_of_interrupt: register whose write ends the service of an interrupt.
    """

    messages: Stretches
    end_of_interrupt: Register

    @model_validator(mode="after")
    def _ordered(self) -> InterruptController:
        refuse_backward(self.messages)
        return self


class Service(_Fact):
    """How a driver serves the device's interrupt, seen from its registers.

    Attributes:
        begin: read first, to learn (and acknowledge) the cause.
        end: written last, to allow the next interrupt.
        flush: read right after a write, only so that the write has arrived.
    """

    begin: Register
    end: Register
    flush: Register


class BitBang(_Fact):
    """How a driver moves single bits through a register.

    Attributes:
        data: register whose bits are driven and sampled.
        order: register that is read only to order the writes.
        at_least: fewest accesses to `data` that make a run.
    """

    data: Register
    order: Register
    at_least: Annotated[int, Field(ge=1)]


class Device(_Fact):
    """One device, or all whose names match a pattern.

    Attributes:
        name: name, or an fnmatch pattern ("virtio-pci-notify-*").
        location: where it is emulated: in the kernel, in user space, or real hardware.
        category: (``class``) an ordinary device, a timer, or an interrupt controller.
        emulate: time in the device model for one access; none: that of the default device.
        emulate_source: where that time comes from.
        doorbell: whether its writes are notifications whose value nobody reads back.
        window: size of its register window, in bytes; a power of two.
        config: its role in PCI config accesses, if any.
        side_effect_reads: registers that change by being read.
        interrupts: for a local interrupt controller.
        service: how its interrupt is served, if known.
        bit_bang: which of its registers are bit-banged, if any.
    """

    name: Annotated[str, Field(min_length=1, max_length=100)]
    location: Literal["kernel", "user", "hardware"] = "user"
    category: Literal["device", "timer", "irqchip"] = Field(default="device", alias="class")
    emulate: Distribution | None = None
    emulate_source: Source | None = None
    doorbell: bool = False
    window: Size | None = None
    config: Annotated[ConfigRole | None, Field(strict=False)] = None
    side_effect_reads: SideEffects | None = None
    interrupts: InterruptController | None = None
    service: Service | None = None
    bit_bang: BitBang | None = None

    @model_validator(mode="after")
    def _complete(self) -> Device:
        if (self.emulate is None) != (self.emulate_source is None):
            raise misfit("has an emulation time without its source, or the other way round",
                         value=self.name, mend="give both emulate and emulate_source")  # fmt: skip
        if self.window is not None and (
            self.window & (self.window - 1) or not 0 < self.window <= LARGEST_WINDOW
        ):
            raise misfit("has a window that is no power of two", value=self.window,
                         mend='write for instance "128 KiB"')  # fmt: skip
        registers = list(self._registers())
        if registers and self.window is None:
            raise misfit("has register facts but no window", value=self.name,
                         mend='give its size, for instance window = "4 KiB"')  # fmt: skip
        if self.window is not None and any(register >= self.window for register in registers):
            raise misfit("has a register beyond its window", value=max(registers),
                         mend="offsets count from the window's start")  # fmt: skip
        return self

    def _registers(self) -> Iterator[int]:
        """Every offset that a fact names."""
        if self.side_effect_reads is not None:
            yield from chain.from_iterable(self.side_effect_reads.registers)
        if self.interrupts is not None:
            yield from chain.from_iterable(self.interrupts.messages)
            yield self.interrupts.end_of_interrupt
        if self.service is not None:
            yield from (self.service.begin, self.service.end, self.service.flush)
        if self.bit_bang is not None:
            yield from (self.bit_bang.data, self.bit_bang.order)

    def offset(self, address: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Register offsets of addresses; without a window the addresses themselves."""
        return address if self.window is None else address & np.int64(self.window - 1)

    def has_side_effect(self, address: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Which addresses may not be read without the device noticing."""
        found = np.zeros(len(address), np.bool_)
        if self.side_effect_reads is not None:
            offset = self.offset(address)
            for first, last in self.side_effect_reads.registers:
                found |= (offset >= first) & (offset <= last)
        return found

    @property
    def emulation(self) -> Distribution:
        """Time in the device model for one access."""
        return self.emulate if self.emulate is not None else _NO_TIME


_NO_TIME = Constant.model_validate({"value": "0 ns"})


class DeviceCatalog(Configured):
    """Every device that is known, and what is assumed of the others.

    Attributes:
        default: stands for every device that no entry matches.
        devices: entries in order of precedence: the first that matches a name is meant.
    """

    default: Device
    devices: Annotated[tuple[Device, ...], Field(strict=False)] = ()
    _found: dict[str, Device] = PrivateAttr(default_factory=dict)

    def __eq__(self, other: object) -> bool:
        """Equal entries, whatever has been looked up in them."""
        return isinstance(other, DeviceCatalog) and (self.default, self.devices) == (
            other.default,
            other.devices,
        )

    def __hash__(self) -> int:
        return hash((self.default, self.devices))

    @model_validator(mode="after")
    def _timed(self) -> DeviceCatalog:
        if self.default.emulate is None:
            raise misfit("is missing: the default device has an emulation time",
                         key="default.emulate", mend='write emulate = "0 ns"')  # fmt: skip
        return self

    def of(self, name: str) -> Device:
        """The device that a name means, the default where it is unknown; complete and cached."""
        device = self._found.get(name)
        if device is None:
            device = next((d for d in self.devices if fnmatchcase(name, d.name)), self.default)
            given = device.emulate is not None
            source = device if given else self.default
            device = device.model_copy(
                update={
                    "name": name,
                    "emulate": source.emulate,
                    "emulate_source": source.emulate_source,
                }
            )
            self._found[name] = device
        return device


def load_devices(name_or_path: str | Path = "qemu") -> DeviceCatalog:
    """A device catalog: a shipped one by its name, or a file of one's own.

    Raises:
        InputError: there is no such catalog, or what it says does not fit.
    """
    path = find("devices", str(name_or_path))
    return checked(DeviceCatalog, read_toml(path), file=path, context={"file": path})


def refuse_backward(stretches: tuple[tuple[int, int], ...]) -> None:
    """Refuse stretches of registers whose ends are swapped."""
    for first, last in stretches:
        if last < first:
            raise misfit("ends before it begins", value=[first, last], mend="swap the two offsets")
