"""The probes' guests: a few bytes of real-mode machine code each, written out by hand.

::

    loop:  body              what is measured, once or more
           dec ecx           66 49
           jnz loop          0F 85 rel16
           mov dx, STOP_PORT BA F4 01
           out dx, al        EE         the VMM ends the run here
           hlt               F4         never reached

Registers before it starts: ecx iterations, dx the port, al the value that is written, esp a stack.
Segments: cs, ds, es, ss at 0 (memory), fs at a page that is read-only, gs at a page without memory.

Instruction formats: Intel SDM vol. 2 (16-bit operand and address size; 66 makes operands 32-bit).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from vmexit_sim.probe.loop import BATCH_PORT, DESCRIPTORS, STOP_PORT

CODE = 0x1000
STACK = 0xF000
BUFFER = 0x8000
MEMORY_BYTES = 0x10000
READ_ONLY_PAGE = 0xD0000
MMIO_PAGE = 0xE0000
"""The guest's memory map, guest-physical; memory begins at 0."""

USER_PORT = 0x300
KERNEL_PORT = 0x4D0
"""ELCR1, the edge/level register of the interrupt controller that the kernel emulates (PIIX)."""


class Instruction(NamedTuple):
    """One instruction: its bytes, and what an assembler would be given."""

    code: bytes
    text: str


@dataclass(frozen=True, kw_only=True)
class Guest:
    """A loop: its body, and what is in its registers before it starts.

    Attributes:
        body: the instructions of one iteration.
        port: what dx holds.
        value: what al holds.
    """

    body: tuple[Instruction, ...] = ()
    port: int = USER_PORT
    value: int = 0

    @property
    def code(self) -> bytes:
        """The whole guest, to be placed at `CODE`."""
        return loop_of(self.body)

    @property
    def hexadecimal(self) -> str:
        """The body's bytes as people write them."""
        return b"".join(each.code for each in self.body).hex(" ").upper()

    @property
    def text(self) -> str:
        """The body as an assembler would be given it, on one line."""
        return "; ".join(each.text for each in self.body)


def _word(value: int) -> bytes:
    return value.to_bytes(2, "little")


def loop_of(body: Sequence[Instruction]) -> bytes:
    """Machine code that runs a body ecx times, then says so.

    Raises:
        ValueError: the body is too long for the jump back.
    """
    inner = b"".join(each.code for each in body)
    back = len(inner) + 2 + 4
    if back > 0x8000:
        raise ValueError(f"a body of {len(inner)} bytes is too long")
    return (
        inner
        + b"\x66\x49"  # dec ecx
        + b"\x0f\x85" + _word(0x10000 - back)  # jnz loop
        + b"\xba" + _word(STOP_PORT)  # mov dx, STOP_PORT
        + b"\xee"  # out dx, al
        + b"\xf4"  # hlt
    )  # fmt: skip


OUT = Instruction(b"\xee", "out dx, al")
IN = Instruction(b"\xec", "in al, dx")
MMIO_WRITE = Instruction(b"\x65\xa2\x00\x00", "mov gs:[0], al")
MMIO_READ = Instruction(b"\x65\xa0\x00\x00", "mov al, gs:[0]")
PAGE_WRITE = Instruction(b"\x64\xa2\x00\x00", "mov fs:[0], al")
PAGE_READ = Instruction(b"\x64\xa0\x00\x00", "mov al, fs:[0]")
PUSH = Instruction(b"\x66\x51", "push ecx")
POP = Instruction(b"\x66\x59", "pop ecx")
CLEAR = Instruction(b"\x66\x31\xc0", "xor eax, eax")
CPUID = Instruction(b"\x0f\xa2", "cpuid")
CALL_NUMBER = Instruction(b"\x66\xb8\x01\x00\x00\x00", "mov eax, 1")  # KVM_HC_VAPIC_POLL_IRQ
VMCALL = Instruction(b"\x0f\x01\xc1", "vmcall")
VMMCALL = Instruction(b"\x0f\x01\xd9", "vmmcall")
OUTS = Instruction(b"\xf3\x6e", "rep outsb")
INS = Instruction(b"\xf3\x6c", "rep insb")


def descriptor(item: int) -> Instruction:
    """Write one descriptor of a batch: eax to its place in memory."""
    place = DESCRIPTORS + 4 * item
    return Instruction(b"\x66\xa3" + _word(place), f"mov [{place:#x}], eax")


def spin(rounds: int) -> tuple[Instruction, ...]:
    """Compute: so many rounds (1 … 65535) of a loop that touches nothing."""
    return (
        Instruction(b"\xbb" + _word(rounds), f"mov bx, {rounds}"),
        Instruction(b"\x4b", "dec bx"),
        Instruction(b"\x75\xfd", "jnz $-1"),
    )


def string_set_up(items: int) -> tuple[Instruction, ...]:
    """The registers of a string access of `items` bytes; ecx must have been pushed."""
    return (
        Instruction(b"\xbe" + _word(BUFFER), f"mov si, {BUFFER:#x}"),
        Instruction(b"\xbf" + _word(BUFFER), f"mov di, {BUFFER:#x}"),
        Instruction(b"\xb9" + _word(items), f"mov cx, {items}"),
    )


def spread(rounds: int) -> Guest:
    """Compute, then one port write."""
    return Guest(body=(*spin(rounds), OUT))


def batched(rounds: int, items: int) -> Guest:
    """The same accesses, each put into memory as a descriptor; a doorbell after `items` of them."""
    body = [each for item in range(items) for each in (*spin(rounds), descriptor(item))]
    return Guest(body=(*body, OUT), port=BATCH_PORT, value=items)


def read_mostly(reads: int) -> Guest:
    """So many reads of the read-only page, then one write to it."""
    return Guest(body=(*(PAGE_READ,) * reads, PAGE_WRITE))
