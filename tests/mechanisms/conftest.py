"""What the tests of mechanisms share: one guest, one mechanism, one platform."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st

from vmexit_sim.device import load_devices
from vmexit_sim.engine import run
from vmexit_sim.guest.table import AccessTable, Flag, Space, make_table
from vmexit_sim.guest.workload import Recorded, Workload
from vmexit_sim.hypervisor.platform import Platform, load_platform
from vmexit_sim.lowering import lower
from vmexit_sim.measure.records import RunResult
from vmexit_sim.policy import Match, Policy, Rule
from vmexit_sim.streams import Streams
from vmexit_sim.study.simulate import simulate

DEVICE = {"user": "nvme", "kernel": "pit"}


@dataclass(frozen=True)
class Outcome:
    """A run, in the words of a test."""

    result: RunResult
    platform: Platform

    @property
    def cost(self) -> dict[str, int]:
        """The platform's costs by name, in ps."""
        return {name: round(c.value.mean_ps) for name, c in self.platform.costs.items()}

    @property
    def exits(self) -> dict[str, int]:
        """Exits by reason."""
        return {tally.reason: tally.samples for tally in self.result.exits}

    def column(self, name: str) -> list[int]:
        """A recorded column, row by row."""
        return self.result.to_columns()[name].tolist()

    def stages(self, row: int = 0, *, guest: bool = False) -> dict[str, int]:
        """The stages of one access that took time, guest compute left out."""
        return {
            stage.name: int(time)
            for stage in self.result.summary.stages
            if (time := self.result.to_columns()[f"stage: {stage.name}"][row])
            and (guest or stage.role.name != "GUEST")
        }


Run = Callable[..., Outcome]


@pytest.fixture
def run_by() -> Run:
    """Run rows by a mechanism, on a platform."""

    def run_alone(
        mechanism: Any,
        n: int = 1,
        *,
        location: str = "user",
        platform: str = "kvm-2013",
        costs: dict[str, Any] | None = None,
        workload: Workload | None = None,
        match: Match | None = None,
        **columns: Any,
    ) -> Outcome:
        if workload is None:
            columns = {"space": Space.PCI_CONFIG, "devices": (DEVICE[location],), **columns}
            workload = Recorded(make_table(n, **columns))
        host = load_platform(platform, changes=costs)
        rule = Rule(side="host", match=match or Match(), mechanism=mechanism)
        policy = Policy(title="the mechanism alone", rules=[rule])
        return Outcome(simulate(policy, host, workload, keep_rows=True, engine="simpy"), host)

    return run_alone


@pytest.fixture
def run_both() -> Callable[..., Outcome]:
    """Run a table by a mechanism on both engines, and insist that they agree to the last bit."""

    def run_on_both(
        mechanism: Any, table: AccessTable, platform: Platform, block_rows: int | None = None
    ) -> Outcome:
        rule = Rule(side="host", mechanism=mechanism)
        workload = Recorded(table)
        policy = Policy(title="the mechanism alone", rules=[rule])
        lowered = lower(policy, platform, load_devices(), workload)
        one, other = (
            run(lowered, workload, Streams(7), engine=engine, keep_rows=True, block_rows=block_rows)
            for engine in ("simpy", "compiled")
        )
        columns, others = one.to_columns(), other.to_columns()
        assert list(columns) == list(others)
        for name, column in columns.items():
            assert np.array_equal(column, others[name]), name
        assert (one.finish, one.exits, one.resources) == (
            other.finish,
            other.exits,
            other.resources,
        )
        return Outcome(one, platform)

    return run_on_both


@st.composite
def _tied_config_guests(draw: st.DrawFn) -> AccessTable:
    """Few registers, many repetitions, times on a coarse grid: so much falls together."""
    vcpus = draw(st.integers(1, 4))
    rows = draw(st.lists(st.integers(1, 25), min_size=vcpus, max_size=vcpus))
    n = sum(rows)

    def column(values: st.SearchStrategy[int]) -> np.ndarray:
        return np.array(draw(st.lists(values, min_size=n, max_size=n)))

    vcpu = np.repeat(np.arange(vcpus), rows)
    flags = [0, 0, 0, Flag.SIDE_EFFECT, Flag.DECODE_TOGGLE, Flag.WAITED, Flag.SPARE_TOGGLE]
    flags += [Flag.VOLATILE, Flag.ECAM, Flag.ABSENT, Flag.DECODE_TOGGLE | Flag.SPARE_TOGGLE]
    return make_table(
        n,
        vcpu=vcpu,
        space=column(st.sampled_from([0, 0, 0, 1, 2, 4])),
        write=column(st.sampled_from([0, 0, 1])).astype(bool),
        address=column(st.sampled_from([0, 1, 4, 0x10, 0x11, 0x12, 1 << 12, 1 << 12 | 0x10])),
        size=column(st.sampled_from([1, 2, 4])),
        operation=np.cumsum(column(st.integers(0, 1))) + 100 * vcpu,
        compute=column(st.integers(0, 3)) * 500_000,
        emulate=column(st.integers(0, 2)) * 500_000,
        device=column(st.integers(0, 1)),
        devices=("nvme", "pit"),
        targets=column(st.sampled_from([0, 0, 1, 3])),
        flags=column(st.sampled_from(flags)),
    )


@pytest.fixture(scope="session")
def tied_config_guests() -> st.SearchStrategy[AccessTable]:
    """See `_tied_config_guests`."""
    return _tied_config_guests()
