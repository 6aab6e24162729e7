"""The machine code of the probes."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmexit_sim.probe.guests import (
    CODE,
    MEMORY_BYTES,
    OUT,
    PAGE_READ,
    STACK,
    Instruction,
    batched,
    descriptor,
    loop_of,
    read_mostly,
    spin,
    spread,
)
from vmexit_sim.probe.loop import BATCH_PORT, DESCRIPTORS, STOP_PORT
from vmexit_sim.probe.probes import BATCHES, PROBES

PAGE = Path(__file__).parents[2] / "docs" / "probe.md"


def test_the_empty_loop_is_the_bytes_written_out_by_hand() -> None:
    # dec ecx; jnz -6 (back over both); mov dx, 1F4h; out dx, al; hlt
    assert loop_of(()) == bytes.fromhex("6649 0F85FAFF BAF401 EE F4")
    assert STOP_PORT == 0x1F4


@given(st.lists(st.binary(min_size=1, max_size=9), max_size=200))
def test_the_jump_leads_back_to_the_first_instruction(parts: list[bytes]) -> None:
    code = loop_of([Instruction(part, "") for part in parts])
    jump = sum(map(len, parts)) + 2
    assert code[jump : jump + 2] == b"\x0f\x85"
    offset = int.from_bytes(code[jump + 2 : jump + 4], "little", signed=True)
    assert jump + 4 + offset == 0


def test_a_body_that_the_jump_cannot_span_is_refused() -> None:
    with pytest.raises(ValueError, match="too long"):
        loop_of([Instruction(bytes(0x8000), "")])


def test_every_guest_ends_before_its_data_begins() -> None:
    guests = [probe.guest for probe in PROBES] + [batched(65_535, 64), read_mostly(9), spread(1)]
    assert all(CODE + len(guest.code) < DESCRIPTORS for guest in guests)
    assert DESCRIPTORS + 4 * max(BATCHES) < STACK < MEMORY_BYTES


def test_a_batch_writes_each_descriptor_once_and_rings_with_their_number() -> None:
    guest = batched(5, 16)
    written = [each for each in guest.body if each.text.startswith("mov [")]
    assert written == [descriptor(item) for item in range(16)]
    assert len({each.code for each in written}) == 16
    assert (guest.body[-1], guest.port, guest.value) == (OUT, BATCH_PORT, 16)
    assert sum(each in guest.body for each in spin(5)) == 3


def test_a_mix_has_its_reads_and_one_write() -> None:
    body = read_mostly(9).body
    assert [each == PAGE_READ for each in body] == [True] * 9 + [False]


def test_a_spin_jumps_back_to_its_decrement() -> None:
    load, decrement, jump = (each.code for each in spin(0x1234))
    assert load == b"\xbb\x34\x12"
    offset = int.from_bytes(jump[1:], "little", signed=True)
    assert len(decrement) + len(jump) + offset == 0


def test_no_probe_is_named_twice() -> None:
    names = [probe.name for probe in PROBES]
    assert len(set(names)) == len(names)


def test_the_page_shows_the_code_that_is_run() -> None:
    text = PAGE.read_text(encoding="utf-8")
    single = [probe for probe in PROBES if probe.items == 1]
    shown = [probe for probe in single if f"`{probe.guest.hexadecimal}`" in text]
    assert [probe.name for probe in single if probe.body and probe not in shown] == []
    assert [probe.name for probe in single if probe.name not in text] == []
