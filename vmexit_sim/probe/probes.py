"""The probes: one access each, and what it should do.

::

    user space   port write, port read, MMIO write, MMIO read, write to a read-only page
    kernel       ioeventfd (port, MMIO), coalesced MMIO, interrupt controller, CPUID, hypercall
    no exit      read of a read-only page, a descriptor in memory
    several      string port access, a doorbell with n descriptors

Each probe is a loop and a control, the same loop without the access; `measure_probe` times both in
alternating blocks. What an exit carries is counted, not assumed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from vmexit_sim.probe.blocks import Blocks, measure
from vmexit_sim.probe.guests import (
    CALL_NUMBER,
    CLEAR,
    CPUID,
    IN,
    INS,
    KERNEL_PORT,
    MMIO_READ,
    MMIO_WRITE,
    OUT,
    OUTS,
    PAGE_READ,
    PAGE_WRITE,
    POP,
    PUSH,
    VMCALL,
    VMMCALL,
    Guest,
    Instruction,
    descriptor,
    string_set_up,
)
from vmexit_sim.probe.kvm import Kvm, missing, refused
from vmexit_sim.probe.loop import BATCH_PORT, ITEMS
from vmexit_sim.probe.machine import PLAIN, Board, Machine, ProbeFailed, exits_of

STRING_ITEMS = 64
BATCHES = (1, 4, 16, 64)
"""Descriptors that a doorbell carries."""

BLOCKS = 45
"""Blocks of each probe, unless asked otherwise."""

PORT_WRITE = "port write to user space"
PORT_READ = "port read from user space"
MMIO_WRITTEN = "MMIO write to user space"
MMIO_WAS_READ = "MMIO read from user space"
PAGE_WAS_READ = "read of a read-only page"
PAGE_WRITTEN = "write to a read-only page"
COALESCED = "coalesced MMIO write"
PORT_EVENTFD = "port write to an ioeventfd"
MMIO_EVENTFD = "MMIO write to an ioeventfd"
KERNEL_WRITE = "port write to the kernel"
CPUID_EXIT = "CPUID"
HYPERCALL = "hypercall"
DESCRIPTOR = "descriptor in memory"
STRING_OUT = f"string of {STRING_ITEMS} port writes"
STRING_IN = f"string of {STRING_ITEMS} port reads"


def doorbell(items: int) -> str:
    """The name of a doorbell's probe."""
    return f"doorbell with {items} descriptor{'s' * (items > 1)}"


@dataclass(frozen=True, kw_only=True)
class Probe:
    """One access, and what it should do.

    Attributes:
        name: for people.
        about: what happens, in a sentence.
        body: the loop's body.
        control: the body without what is measured.
        port: what dx holds.
        value: what al holds.
        board: what the kernel does itself.
        needs: capabilities beyond the board's.
        exits: exits to user space that an iteration should make; None: to be found out.
        items: accesses of an iteration.
    """

    name: str
    about: str
    body: tuple[Instruction, ...]
    control: tuple[Instruction, ...] = ()
    port: int = 0x300
    value: int = 0
    board: Board = PLAIN
    needs: tuple[str, ...] = ()
    exits: int | None = 0
    items: int = 1

    @property
    def guest(self) -> Guest:
        """The loop that is measured."""
        return Guest(body=self.body, port=self.port, value=self.value)

    @property
    def empty(self) -> Guest:
        """The loop without what is measured."""
        return Guest(body=self.control, port=self.port, value=self.value)


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What a probe gave.

    Attributes:
        name: the probe's.
        verdict: "measured"; "unsupported": KVM refuses it or ends the guest; "hung": it did not
            come back in time; "emulated": it made other exits than it should.
        why: for any verdict but the first, what happened.
        whole: time of an iteration, in ps, one value a block.
        control: time of an iteration without the access, in ps, one value a block.
        exits: exits of an iteration by reason.
        items: items that the device handled in an iteration.
        iterations: iterations of a block.
        set_aside: blocks that were repeated, since the CPU was taken away in them.
        disturbed: blocks that stay although it was.
    """

    name: str
    verdict: str
    why: str = ""
    whole: tuple[float, ...] = ()
    control: tuple[float, ...] = ()
    exits: dict[str, float]
    items: float = 0.0
    iterations: int = 0
    set_aside: int = 0
    disturbed: int = 0

    @property
    def over(self) -> tuple[float, ...]:
        """Time of an iteration over the control's, in ps, one value a block."""
        return tuple(a - b for a, b in zip(self.whole, self.control, strict=True))

    @property
    def exits_per_iteration(self) -> float:
        """Exits to user space that an iteration made."""
        return sum(self.exits.values())

    def joined(self, other: Measured) -> Measured:
        """The same probe's blocks of two rounds, one after the other."""
        if not other.whole:
            return self if self.whole or self.verdict != "measured" else other
        if not self.whole:
            return other
        n, m = len(self.whole), len(other.whole)
        reasons = {**self.exits, **other.exits}
        return Measured(
            name=self.name,
            verdict=self.verdict,
            why=self.why,
            whole=self.whole + other.whole,
            control=self.control + other.control,
            exits={reason: (n * self.exits.get(reason, 0) + m * other.exits.get(reason, 0))
                   / (n + m) for reason in reasons},
            items=(n * self.items + m * other.items) / (n + m),
            iterations=self.iterations,
            set_aside=self.set_aside + other.set_aside,
            disturbed=self.disturbed + other.disturbed,
        )  # fmt: skip


def failed(name: str, verdict: str, why: str) -> Measured:
    """A probe that gave no time."""
    return Measured(name=name, verdict=verdict, why=why, exits={})


_AROUND = (PUSH, CLEAR, POP)
_STRING = (PUSH, *string_set_up(STRING_ITEMS), POP)

PROBES: tuple[Probe, ...] = (
    Probe(name=PORT_WRITE, about="an exit that the VMM handles", body=(OUT,), exits=1),
    Probe(name=PORT_READ, about="an exit that the VMM answers", body=(IN,), exits=1),
    Probe(name=MMIO_WRITTEN, about="an exit with an instruction to decode, for the VMM",
          body=(MMIO_WRITE,), exits=1),
    Probe(name=MMIO_WAS_READ, about="an exit with an instruction to decode, which the VMM answers",
          body=(MMIO_READ,), exits=1),
    Probe(name=PAGE_WAS_READ, about="a load from a KVM_MEM_READONLY slot", body=(PAGE_READ,),
          needs=("KVM_CAP_READONLY_MEM",)),
    Probe(name=PAGE_WRITTEN, about="an exit as for MMIO; the VMM refreshes the page",
          body=(PAGE_WRITE,), exits=1, needs=("KVM_CAP_READONLY_MEM",)),
    Probe(name=COALESCED, about="the kernel puts the write into a ring; a full ring exits",
          body=(MMIO_WRITE,), exits=None, board=Board(coalesced=True)),
    Probe(name=PORT_EVENTFD, about="the kernel signals an eventfd", body=(OUT,),
          board=Board(port_eventfd=True)),
    Probe(name=MMIO_EVENTFD, about="the kernel decodes, and signals an eventfd",
          body=(MMIO_WRITE,), board=Board(memory_eventfd=True)),
    Probe(name=KERNEL_WRITE, about="the kernel's interrupt controller takes it (ELCR)",
          body=(OUT,), port=KERNEL_PORT, board=Board(irqchip=True)),
    Probe(name=CPUID_EXIT, about="the kernel answers", body=(PUSH, CLEAR, CPUID, POP),
          control=_AROUND),
    Probe(name=HYPERCALL, about="the kernel answers a call that asks for nothing", body=(),
          control=(CALL_NUMBER,)),
    Probe(name=DESCRIPTOR, about="the guest writes four bytes into its memory",
          body=(descriptor(0),)),
    Probe(name=STRING_OUT, about="rep outsb to user space", body=(*_STRING[:-1], OUTS, POP),
          control=_STRING, exits=None, items=STRING_ITEMS),
    Probe(name=STRING_IN, about="rep insb from user space", body=(*_STRING[:-1], INS, POP),
          control=_STRING, exits=None, items=STRING_ITEMS),
    *(
        Probe(name=doorbell(n), about="descriptors in memory, then one port write for all",
              body=(*(descriptor(item) for item in range(n)), OUT), port=BATCH_PORT, value=n,
              exits=1, items=n)
        for n in BATCHES
    ),
)  # fmt: skip
"""Every probe, in the order in which they are shown."""


def probe_named(name: str, vendor: str = "") -> Probe:
    """A probe of `PROBES`, complete for a CPU of this vendor.

    The hypercall's instruction is Intel's or AMD's; KVM patches a wrong one in the guest's code,
    which is not to be measured.
    """
    from dataclasses import replace

    probe = next(each for each in PROBES if each.name == name)
    if name != HYPERCALL:
        return probe
    call = VMCALL if vendor == "GenuineIntel" else VMMCALL
    return replace(probe, body=(CALL_NUMBER, call))


def measure_probe(
    kvm: Kvm, probe: Probe, *, blocks: int = BLOCKS, iterations: int | None = None
) -> Measured:
    """Time a probe on this host.

    A guest that KVM refuses or ends early is "unsupported"; one whose exits are not those it
    should make is "emulated". One that never comes back is the caller's to end.

    Args:
        kvm: the device.
        probe: what to time.
        blocks: how many blocks.
        iterations: of a block; None: as many as a block should take.
    """
    lacking = missing(kvm, (*probe.needs, *probe.board.needs))
    if lacking:
        return failed(probe.name, "unsupported", f"the kernel lacks {', '.join(lacking)}")
    try:
        with (
            Machine(kvm, probe.guest, probe.board) as body,
            Machine(kvm, probe.empty, probe.board) as control,
        ):
            found = measure(body, control, blocks, iterations)
    except ProbeFailed as ended:
        return failed(probe.name, "unsupported", str(ended))
    except OSError as error:
        return failed(probe.name, "unsupported", refused(error))
    return of_blocks(probe.name, found, probe.exits)


def of_blocks(name: str, found: Blocks, expected: int | None = None) -> Measured:
    """A result from blocks; other exits than `expected` make it "emulated"."""
    n = len(found.whole) * found.iterations
    exits = _per_iteration(found.counts, len(found.whole), n)
    total = sum(exits.values())
    odd = expected is not None and abs(total - expected) > 0.01
    return Measured(
        name=name,
        verdict="emulated" if odd else "measured",
        why=f"{total:.3g} exits an iteration, not {expected}" if odd else "",
        whole=tuple(found.whole.tolist()),
        control=tuple(found.control.tolist()),
        exits=exits,
        items=float(found.counts[ITEMS]) / n,
        iterations=found.iterations,
        set_aside=found.set_aside,
        disturbed=found.disturbed,
    )


def _per_iteration(counts: Any, runs: int, n: int) -> dict[str, float]:
    """Exits of an iteration by reason, without the port writes that end the runs."""
    exits = exits_of(counts)
    exits["IO"] = exits.get("IO", 0) - runs
    return {reason: float(np.round(count / n, 9)) for reason, count in exits.items() if count}
