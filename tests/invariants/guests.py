"""Random guests: tables of any accesses, and any generator.

Most times lie on a grid of half a microsecond, so that much happens at the same instant.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st
from invariants.drawn import GRID
from pydantic import TypeAdapter

from vmexit_sim.guest.table import NEVER, AccessTable, Agent, Flag, Kind, Space, make_table
from vmexit_sim.guest.workload import Recorded, Workload
from vmexit_sim.scenario import Generator

Stated = dict[str, Any]

DEVICES = ("nvme", "pit", "e1000-mmio", "apic-msi")
"""In user space, in the kernel, in user space once more; the local APIC."""

APIC = DEVICES.index("apic-msi")

SPREAD_TIMES: list[Any] = [
    {"kind": "exponential", "mean": "1 us"},
    {"kind": "uniform", "low": "100 ns", "high": "3 us"},
    {"kind": "lognormal", "mean": "2 us", "cv": 0.5, "shift": "500 ns"},
    {"kind": "gamma", "mean": "1 us", "cv": 0.7},
]

READ, WRITE = {"write": False}, {"write": True}
CONFIG: Stated = {"space": Space.PCI_CONFIG, "agent": Agent.KERNEL}
DRIVER: Stated = {"agent": Agent.DRIVER}
MMIO = {**DRIVER, "space": Space.MMIO, "address": 0xFEB0_0000}
ACCESSES: dict[str, Stated] = {
    "MMIO write": {**MMIO, **WRITE},
    "MMIO read": {**MMIO, **READ},
    "config read": {**CONFIG, **READ, "address": 1 << 15 | 0x10},
    "config write": {**CONFIG, **WRITE, "address": 1 << 15 | 0x10},
    "config read, another register": {**CONFIG, **READ, "address": 1 << 15 | 0x40},
    "config read by ECAM": {**CONFIG, **READ, "address": 1 << 15 | 0x100, "flags": Flag.ECAM},
    "config read, absent": {**CONFIG, **READ, "address": 31 << 15, "flags": Flag.ABSENT},
    "config read, volatile": {**CONFIG, **READ, "address": 0x40, "flags": Flag.VOLATILE},
    "decode toggle": {**CONFIG, **WRITE, "address": 1 << 15 | 4, "flags": Flag.DECODE_TOGGLE},
    "decode toggle to spare": {
        **CONFIG, **WRITE, "address": 1 << 15 | 4, "flags": Flag.DECODE_TOGGLE | Flag.SPARE_TOGGLE,
    },
    "firmware's config read": {**CONFIG, **READ, "agent": Agent.FIRMWARE},
    "lone index write": {**CONFIG, **WRITE, "agent": Agent.EARLY_KERNEL, "flags": Flag.INDEX_ONLY},
    "port read": {**DRIVER, **READ, "space": Space.PORT_IO, "address": 0xC000},
    "port write": {**DRIVER, **WRITE, "space": Space.PORT_IO, "address": 0xC000},
    "clear on read": {**MMIO, **READ, "flags": Flag.SIDE_EFFECT},
    "doorbell": {**DRIVER, **WRITE, "space": Space.DOORBELL, "address": 0xFEB0_3000},
    "doorbell whose response is needed": {
        **DRIVER, **WRITE, "space": Space.DOORBELL, "address": 0xFEB0_3000, "needed": True,
    },
    "IPI": {"space": Space.MSR, **WRITE, "address": 0x830, "kind": Kind.IPI, "targets": 2},
    "MSR read": {"space": Space.MSR, **READ, "address": 0x80B},
    "local APIC write": {**MMIO, **WRITE, "address": 0xFEE0_0300, "device": APIC,
                         "flags": Flag.LOCAL_APIC},
    "local APIC read": {**MMIO, **READ, "address": 0xFEE0_0300, "device": APIC,
                         "flags": Flag.LOCAL_APIC},
    "interrupt service, begin": {**MMIO, **READ, "flags": Flag.INTERRUPT,
                                 "kind": Kind.INTERRUPT_SERVICE},
    "interrupt service, end": {**MMIO, **WRITE, "flags": Flag.END_OF_INTERRUPT,
                               "kind": Kind.INTERRUPT_SERVICE},
    "after waiting": {**MMIO, **READ, "flags": Flag.WAITED},
    "interrupt that was waited for": {**MMIO, **READ, "flags": Flag.WAITED | Flag.INTERRUPT},
}  # fmt: skip
"""What an access of a drawn table can be."""

ROW = st.tuples(
    st.sampled_from(list(ACCESSES)),
    st.integers(0, 6),  # compute, in half microseconds
    st.integers(0, 3),  # emulation
    st.integers(0, 4),  # rows until the result is needed; 0: never
    st.sampled_from([0, 0, 1, 2]),  # device
    st.sampled_from([False, False, True]),  # whether an operation begins
    st.sampled_from([-1, -1, -1, 0, 1, 8]),  # arrival after that of the row before; -1: none
)


@st.composite
def tables(draw: st.DrawFn) -> Workload:
    """A recorded guest of a few vCPUs, each with a few accesses of any kind."""
    columns: dict[str, list[Any]] = {name: [] for name in (
        "vcpu", "agent", "operation", "kind", "compute", "arrival", "device", "space", "write",
        "address", "needed_by", "needed_idiom", "flags", "emulate", "targets",
    )}  # fmt: skip
    operation = -1
    for vcpu in range(draw(st.integers(1, 4))):
        arrival, operation = 0, operation + 1
        least = draw(st.sampled_from([1, 8, 16]))
        rows = draw(st.lists(ROW, min_size=least, max_size=2 * least))
        for name, compute, emulate, needed, device, begins, after in rows:
            what = {"agent": Agent.KERNEL, "kind": Kind.NONE, "address": 0, "flags": 0,
                    "targets": 0, "device": device, **ACCESSES[name]}  # fmt: skip
            is_needed = what.pop("needed", not what["write"]) and needed
            row = len(columns["vcpu"])
            consumer = row + needed if is_needed else NEVER
            arrival += max(after, 0) * GRID
            operation += begins
            what |= {
                "vcpu": vcpu, "operation": operation, "compute": compute * GRID,
                "arrival": NEVER if after < 0 else arrival,
                "emulate": emulate * GRID, "needed_by": consumer,
                "needed_idiom": consumer + 2 if is_needed else NEVER,
            }  # fmt: skip
            for key, column in columns.items():
                column.append(what[key])
    return Recorded(made_table(columns))


def made_table(columns: dict[str, list[Any]]) -> AccessTable:
    """The table; a consumer beyond its vCPU's last row is the end of that vCPU."""
    vcpu = np.array(columns["vcpu"])
    behind = np.searchsorted(vcpu, vcpu, side="right")
    arrays = {name: np.array(column) for name, column in columns.items()}
    for name in ("needed_by", "needed_idiom"):
        arrays[name] = np.where(arrays[name] == NEVER, NEVER, np.minimum(arrays[name], behind))
    return make_table(len(vcpu), devices=DEVICES, **arrays)


TIMES = st.sampled_from(["500 ns", "0 ns", "2 us", "20 us"])
RANDOM_TIMES = TIMES | st.sampled_from(SPREAD_TIMES)
SHARES = st.sampled_from([0.0, 0.3, 0.7, 1.0])


def generated(kind: str, **parameters: st.SearchStrategy[Any]) -> st.SearchStrategy[Stated]:
    """A generator's parameters."""
    return st.fixed_dictionaries({"kind": st.just(kind), **parameters})


def spreads(times: st.SearchStrategy[Any]) -> st.SearchStrategy[Stated]:
    """Operations far from each other."""
    return generated(
        "spread", operations=st.integers(1, 20), accesses_per_operation=st.integers(1, 4),
        vcpus=st.integers(1, 4), within=times, between=times, read_share=SHARES,
        needed_share=SHARES, space=st.sampled_from(["mmio", "pci_config", "port_io"]),
        emulate=times,
    )  # fmt: skip


def sizings(times: st.SearchStrategy[Any]) -> st.SearchStrategy[Stated]:
    """BAR sizing."""
    return generated(
        "bar_sizing", sequence=st.sampled_from(["bare", "old", "batched"]),
        functions=st.integers(1, 2), bars32=st.integers(1, 2), rom=st.booleans(),
        decode_on=st.booleans(), think=times, emulate=times, vcpus=st.integers(1, 3),
    )  # fmt: skip


def services(times: st.SearchStrategy[Any], vcpus: int = 3) -> st.SearchStrategy[Stated]:
    """Interrupt services."""
    return generated(
        "interrupt_service", services=st.integers(1, 10), accesses=st.integers(1, 4),
        interarrival=st.sampled_from(["3 us", "30 us", {"kind": "exponential", "mean": "20 us"}]),
        vcpus=st.integers(1, vcpus), within=times, read_share=SHARES, emulate=times,
        delivered=st.booleans(),
    )  # fmt: skip


def generators(
    times: st.SearchStrategy[Any], *, contexts: bool = True
) -> st.SearchStrategy[Stated]:
    """Any generator's parameters."""
    drawn = [
        spreads(times),
        sizings(times),
        services(times),
        generated(
            "request_response", requests=st.integers(1, 40), vcpus=st.integers(1, 3),
            in_flight=st.sampled_from([1, 2, 4, None]), think=times, service=times,
        ),
        generated(
            "ipi", mode=st.sampled_from(["physical", "cluster", "xapic"]),
            multicasts=st.integers(1, 4), vcpus=st.integers(3, 6), targets=st.just([1, 2]),
            between=times, timers=st.integers(0, 1), ends_exit=st.booleans(),
        ),
        generated(
            "pci_enumeration", buses_empty=st.integers(0, 1), think=times, emulate=times,
            sequence=st.sampled_from(["old", "batched"]),
            functions=st.just([{"caps": 2, "msix": True, "bars32": 1, "decode_on": True}]),
        ),
    ]  # fmt: skip
    if contexts:
        drawn.append(
            generated(
                "interrupted", main=spreads(times) | sizings(times), services=services(times, 1)
            )
        )
    return st.one_of(drawn)


_OPEN: TypeAdapter[Any] = TypeAdapter(Generator)


def workloads(*, contexts: bool = True) -> st.SearchStrategy[Workload]:
    """A recorded or a synthetic guest."""
    return tables() | generators(RANDOM_TIMES, contexts=contexts).map(_OPEN.validate_python)
