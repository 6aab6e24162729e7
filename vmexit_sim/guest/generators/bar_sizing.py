"""BAR sizing: how a kernel asks a PCI function how much address space it wants.

A BAR (base address register) answers how large a region it stands for by the bits that stick when
all ones are written to it. For each of its dwords::

    read it, write ~0, read the size, write it back       4 accesses by ECAM, 8 by ports

While all ones stand in it the BAR decodes a wrong region, so Linux first turns the function's
decoding off in PCI_COMMAND, if it is on. Three sequences:

``bare``
    the four accesses of each BAR that exists, as the 2022 thread counts them.
``old``
    Linux drivers/pci/probe.c, ``__pci_read_base``, before 2025: every register set turns decoding
    off and on again for itself. A 64-bit BAR is one set of two dwords.
``batched``
    the same file since commit 4453f360862e (A. Williamson, 2025): decoding goes off and on once
    for a function, then each register is read once more for its address.

Linux tries all six BAR slots of a type-0 function: that a slot is empty shows only when it is
sized, so an empty slot costs what a 32-bit BAR costs.

What belongs together: one BAR (one dword, or the two of a 64-bit BAR) is one operation,
``Kind.BAR_SIZING``, so that a call to the hypervisor that sizes one BAR replaces exactly one
operation. In ``old`` the accesses to PCI_COMMAND are inside it: such a call would make them
needless. In ``batched`` they serve all BARs, and the last reads fetch addresses, not sizes; both
belong to no operation and stay when a call replaces the sizing.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Annotated, Literal

from pydantic import Field, model_validator

from vmexit_sim.configuration import misfit
from vmexit_sim.distributions import Distribution
from vmexit_sim.guest.generators.pattern import FUNCTION, Pattern, PatternWriter, pattern_blocks
from vmexit_sim.guest.generators.stream import ZERO, Draws, Generated, Vcpus
from vmexit_sim.guest.table import AccessTable, Flag, Kind, concatenate
from vmexit_sim.guest.workload import BLOCK_ROWS
from vmexit_sim.streams import Streams

SLOTS = 6
"""BAR registers of a type-0 function."""

COMMAND, FIRST_BAR, ROM = 0x04, 0x10, 0x30
"""Registers of a type-0 function's header."""

MOST_FUNCTIONS = 65_536
"""Functions that one PCI segment can address."""

SizingSequence = Literal["bare", "old", "batched"]
"""Which kernel's way to size (see the module)."""

Bars32 = Annotated[int, Field(ge=0, le=SLOTS)]
Bars64 = Annotated[int, Field(ge=0, le=SLOTS // 2)]
"""How many BARs of a width a function has."""


class BarSizing(Generated):
    """Each vCPU sizes the BARs of its own functions, one function after the other.

    Attributes:
        sequence: which kernel's: "bare", four accesses a BAR; "old", decoding off and on again for
            each register set; "batched" (since 2025), once for a function, then each address.
        functions: functions per vCPU.
        bars32: 32-bit BARs of each function.
        bars64: 64-bit BARs of each function; each takes two of the six slots.
        rom: whether the expansion ROM's register is sized too. Linux does so for every type-0
            function.
        decode_on: whether a function decodes addresses when it is scanned, so that PCI_COMMAND
            has to be written; ``bare`` never looks at it.
        think: guest compute before each access.
        emulate: time that emulating one access takes in the device model.
        vcpus: vCPUs that size at the same time.
    """

    kind: Literal["bar_sizing"]
    sequence: SizingSequence
    functions: Annotated[int, Field(ge=1, le=MOST_FUNCTIONS)] = 1
    bars32: Bars32 = 0
    bars64: Bars64 = 0
    rom: bool = False
    decode_on: bool = False
    think: Distribution = ZERO
    emulate: Distribution = ZERO
    vcpus: Vcpus = 1

    @model_validator(mode="after")
    def _possible(self) -> BarSizing:
        refuse_too_many_bars(self.bars32, self.bars64)
        if self.sequence == "bare" and not (self.bars32 or self.bars64 or self.rom):
            raise misfit("has nothing to size", mend="set bars32, bars64 or rom")
        if self.vcpus * self.functions > MOST_FUNCTIONS:
            raise misfit("has more functions than one PCI segment holds",
                         mend="keep vcpus × functions at 65,536 or less")  # fmt: skip
        return self

    @property
    def is_random(self) -> bool:
        """Whether any time is left to chance; the accesses never are."""
        return not (self.think.is_constant and self.emulate.is_constant)

    def examples(self) -> AccessTable:
        """All accesses of one vCPU: they are the same in every replication."""
        return concatenate(list(self.blocks(0, Streams(0))))

    def blocks(self, vcpu: int, streams: Streams, rows: int = BLOCK_ROWS) -> Iterator[AccessTable]:
        """One vCPU's rows, in blocks of at most `rows`; its functions follow on each other."""
        one = bar_pass(
            self.sequence, bars32=self.bars32, bars64=self.bars64, rom=self.rom,
            decode_on=self.decode_on,
        )  # fmt: skip
        own = one.repeated(self.functions, FUNCTION).at(vcpu * self.functions * FUNCTION)
        yield from pattern_blocks(
            own, vcpu=vcpu, draws=Draws(streams, vcpu), think=self.think, emulate=self.emulate,
            rows=rows, origin=f"BAR sizing, {self.sequence}",
        )  # fmt: skip


def refuse_too_many_bars(bars32: int, bars64: int) -> None:
    """Refuse BARs that do not fit into a function's six slots.

    Raises:
        ValueError: how many slots they need; reported as a misfit.
    """
    if bars32 + 2 * bars64 > SLOTS:
        raise misfit(f"needs {bars32 + 2 * bars64} BAR slots of {SLOTS}",
                     mend="a 64-bit BAR takes two; lower bars32 or bars64")  # fmt: skip


def bar_pass(
    sequence: SizingSequence, *, bars32: int, bars64: int, rom: bool, decode_on: bool
) -> Pattern:
    """The accesses that size the BARs of one function.

    Source: Linux drivers/pci/probe.c, ``__pci_read_base``, ``pci_read_bases``; since commit
    4453f360862e also ``__pci_size_bars``. The parameters are those of `BarSizing`.
    """
    slots = bars32 + 2 * bars64 if sequence == "bare" else SLOTS
    sets = _register_sets(slots, bars64, rom)
    writer = PatternWriter()
    if sequence == "batched":
        _size_at_once(writer, sets, decode_on)
    else:
        for number, registers in enumerate(sets):
            with writer.operation(Kind.BAR_SIZING):
                if sequence == "bare":
                    sizes = _size(writer, registers)
                else:
                    _decode_off(writer, decode_on, spare=number > 0)
                    sizes = _size(writer, registers)
                    _decode_back(writer, decode_on, spare=number < len(sets) - 1)
            for size in sizes:
                writer.need(size, by=writer.next_row)
    return writer.done()


def _register_sets(slots: int, bars64: int, rom: bool) -> list[list[int]]:
    """The registers of each BAR, 64-bit ones first, then of the ROM."""
    registers = [FIRST_BAR + 4 * slot for slot in range(slots)]
    pairs = [registers[2 * i : 2 * i + 2] for i in range(bars64)]
    return [*pairs, *([one] for one in registers[2 * bars64 :]), *([ROM] for _ in range(rom))]


def _size(writer: PatternWriter, registers: list[int]) -> list[int]:
    """Size one BAR; returns the rows whose results are its sizes."""
    sizes = []
    for register in registers:
        original = writer.read(register)
        writer.write(register)
        sizes.append(writer.read(register))
        # Not by the write of ones: whatever the register held, ones go to its address bits.
        writer.need(original, by=writer.write(register))
    return sizes


def _decode_off(writer: PatternWriter, decode_on: bool, *, spare: bool = False) -> None:
    """Look whether decoding is on, and turn it off if so; `spare`: between two sizings."""
    flag = Flag.SPARE_TOGGLE if spare else Flag.NONE
    writer.read(COMMAND, 2, flag)
    if decode_on:
        writer.write(COMMAND, 2, Flag.DECODE_TOGGLE | flag)


def _decode_back(writer: PatternWriter, decode_on: bool, *, spare: bool = False) -> None:
    if decode_on:
        writer.write(COMMAND, 2, Flag.DECODE_TOGGLE | (Flag.SPARE_TOGGLE if spare else Flag.NONE))


def _size_at_once(writer: PatternWriter, sets: list[list[int]], decode_on: bool) -> None:
    """Size every BAR while decoding is off, then read each address."""
    _decode_off(writer, decode_on)
    sizes = []
    for registers in sets:
        with writer.operation(Kind.BAR_SIZING):
            sizes += _size(writer, registers)
    _decode_back(writer, decode_on)
    for size, register in zip(sizes, chain.from_iterable(sets), strict=True):
        writer.read(register)
        # Sizes are kept in an array and first looked at beside the address read here.
        writer.need(size, by=writer.next_row)
