"""Batches: what flushes them, what is inside, and who waits how long for what."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vmexit_sim.configuration import checked
from vmexit_sim.errors import InputError
from vmexit_sim.guest.generators import BarSizing
from vmexit_sim.guest.table import NEVER, Flag, Space, make_table
from vmexit_sim.guest.workload import Recorded
from vmexit_sim.hypervisor.platform import load_platform
from vmexit_sim.mechanisms import make_mechanism
from vmexit_sim.policy import Match, Policy, Rule
from vmexit_sim.study.simulate import simulate

US = 1_000_000
COSTS = {
    "gather": "1 us", "world_switch_out": "10 us", "dispatch_hypercall": "20 us",
    "to_user": "40 us", "item": "3 us", "to_kernel": "50 us", "world_switch_in": "30 us",
    "injection": "7 us", "state_change": "100 us",
}  # fmt: skip
FLUSH_KERNEL = 60 * US  # without items
FLUSH_USER = 150 * US


def batched(**parameters: Any) -> dict[str, Any]:
    return {"name": "batched_hypercall", "max_batch": 32, "needs": "oracle",
            "flush_at_operation_end": False, **parameters}  # fmt: skip


@pytest.fixture
def gathered(run_by: Any) -> Any:
    """Run writes (nobody needs a write) by batches on the made-up costs above."""

    def run(n: int, parameters: dict[str, Any] | None = None, **columns: Any) -> Any:
        columns = {"write": 1, "location": "kernel", "costs": COSTS, **columns}
        return run_by(batched(**parameters or {}), n, platform="ideal", **columns)

    return run


def test_one_full_batch_by_hand(gathered: Any) -> None:
    # Gathered at 1, 2, 3; out and dispatched until 33; items done at 33 + 3 + 5 each; entry.
    ran = gathered(3, {"max_batch": 3}, emulate=5 * US)
    assert ran.column("posted") == [1 * US, 2 * US, 3 * US]
    assert ran.column("done") == [41 * US, 49 * US, 57 * US]
    assert ran.stages(0) == {
        "gather": US, "wait in batch": 2 * US, "carried with batch": 38 * US,
    }  # fmt: skip
    assert ran.stages(1) == {
        "gather": US, "wait in batch": 1 * US, "carried with batch": 46 * US,
    }  # fmt: skip
    assert ran.stages(2) == {
        "gather": US, "world switch out": 10 * US, "dispatch": 20 * US, "batch item": 9 * US,
        "device emulation": 15 * US, "world switch in": 30 * US, "carried with batch": 54 * US,
    }  # fmt: skip
    assert ran.column("stall") == [US, US, 85 * US]
    assert ran.exits == {"VMCALL": 1}
    assert ran.column("exits") == [0, 0, 1]


def test_a_batch_with_one_item_for_user_space_goes_there_once(gathered: Any) -> None:
    ran = gathered(3, {"max_batch": 3}, devices=("pit", "nvme"), device=[0, 1, 0])
    assert ran.stages(2)["to user space"] == 40 * US
    assert ran.stages(2)["back to kernel"] == 50 * US
    ran = gathered(4, {"max_batch": 2}, devices=("pit", "nvme"), device=[1, 0, 0, 0])
    assert ran.stages(1)["to user space"] == 40 * US
    assert "to user space" not in ran.stages(3)  # forgotten after the flush


def test_each_toggle_inside_costs_its_state_change(gathered: Any) -> None:
    flags = [Flag.DECODE_TOGGLE, 0, Flag.DECODE_TOGGLE]
    ran = gathered(3, {"max_batch": 3}, flags=flags)
    assert ran.stages(2)["state change"] == 200 * US
    assert ran.column("done") == [136 * US, 139 * US, 242 * US]


def test_each_ipi_inside_is_delivered_to_its_targets(gathered: Any) -> None:
    costs = {**COSTS, "deliver_ipi": "2 us"}
    ran = gathered(3, {"max_batch": 3}, targets=[1, 0, 4], costs=costs)
    assert ran.stages(2)["IPI delivery"] == 10 * US
    assert ran.column("done") == [38 * US, 41 * US, 52 * US]


@pytest.mark.parametrize(("n", "size", "exits"), [(8, 1, 8), (8, 4, 2), (9, 4, 3), (3, 4, 1)])
def test_it_flushes_when_full_and_at_the_programs_end(
    gathered: Any, n: int, size: int, exits: int
) -> None:
    assert gathered(n, {"max_batch": size}).exits == {"VMCALL": exits}


def test_the_flush_at_the_programs_end_stalls_the_last_item(gathered: Any) -> None:
    ran = gathered(2)
    assert ran.column("stall") == [US, US + FLUSH_KERNEL + 6 * US]
    assert ran.column("resume") == [1 * US, 2 * US]  # it went on, and was stalled again
    assert ran.result.finish == [68 * US]


def test_it_flushes_before_the_row_that_needs_a_result(gathered: Any) -> None:
    # Row 0 is needed by row 2, so what is gathered by then, rows 0 and 1, is carried by row 1.
    ran = gathered(4, {"needs": "recorded"}, needed_by=[2, NEVER, NEVER, NEVER])
    assert ran.column("exits") == [0, 1, 0, 1]


def test_a_recording_where_every_read_blocks_cannot_be_batched(gathered: Any) -> None:
    ran = gathered(4, {"needs": "recorded"}, write=0)
    assert ran.column("exits") == [1, 1, 1, 1]
    assert gathered(4, {"needs": "oracle"}, write=0).column("exits") == [0, 0, 0, 1]


def test_idioms_are_needed_where_the_table_says(gathered: Any) -> None:
    needs = {"needed_by": [1, 2, 3, 4], "needed_idiom": [NEVER, NEVER, 3, NEVER]}
    assert gathered(4, {"needs": "idioms"}, **needs).column("exits") == [0, 0, 1, 1]
    assert gathered(4, {"needs": "recorded"}, **needs).column("exits") == [1, 1, 1, 1]


def test_what_an_earlier_batch_needed_is_forgotten(gathered: Any) -> None:
    # Row 0 is needed by row 4, but is carried with rows 0 and 1 already.
    ran = gathered(5, {"needs": "recorded", "max_batch": 2}, needed_by=[4, *[NEVER] * 4])
    assert ran.column("exits") == [0, 1, 0, 1, 1]


def test_it_flushes_at_an_operations_end_if_it_is_to(gathered: Any) -> None:
    operation = [0, 0, -1, 1, 1, 1]
    assert gathered(6, operation=operation).column("exits") == [0, 0, 0, 0, 0, 1]
    at_end = {"flush_at_operation_end": True}
    assert gathered(6, at_end, operation=operation).column("exits") == [0, 1, 0, 0, 0, 1]


@pytest.mark.parametrize("other", ["trap_mmio", "read_only_page", "hypercall", "native"])
def test_another_mechanisms_access_flushes_first(gathered: Any, other: str) -> None:
    space = [Space.PCI_CONFIG, Space.PCI_CONFIG, Space.MMIO]
    workload = Recorded(make_table(3, space=space, write=[1, 1, 0], devices=("pit",)))
    rules = [
        Rule(side="host", match=Match(space=["pci_config"]), mechanism=batched()),
        Rule(side="host", mechanism=other),
    ]
    platform = load_platform("ideal", changes=COSTS)
    result = simulate(
        Policy(title="both", rules=rules), platform, workload, keep_rows=True, engine="simpy"
    )
    done = result.to_columns()["done"].tolist()
    # The flush begins at 2 and stalls the third access: it lasts 60 and two items of 3.
    assert done[:2] == [35 * US, 38 * US]
    assert result.to_columns()["start"].tolist()[2] == 2 * US
    assert done[2] >= 68 * US
    assert result.to_columns()["exits"].tolist()[2] == 1 + (other in ("trap_mmio", "hypercall"))


def test_it_flushes_before_the_guest_idles(gathered: Any) -> None:
    ran = gathered(3, flags=[0, 0, Flag.WAITED], compute=[0, 0, 500 * US])
    assert ran.column("exits") == [0, 1, 1]
    assert ran.column("done")[:2] == [35 * US, 38 * US]
    assert ran.column("start")[2] == (2 + 66 + 500) * US


def test_a_timer_interrupts_compute_and_flushes(gathered: Any) -> None:
    # The batch opens at 0 and has waited 100 at 100. Of the next row's 200 of compute 99 have
    # passed then; injection (7) and flush (63) stall the item, and 101 of compute are left.
    ran = gathered(2, {"max_wait": "100 us"}, compute=[0, 200 * US])
    assert ran.exits == {"EXTERNAL_INTERRUPT": 1, "VMCALL": 2}
    assert ran.column("exits") == [2, 1]
    assert ran.column("done")[0] == (100 + 7 + 30 + 3) * US
    assert ran.column("stall") == [(1 + 7 + 63) * US, (1 + 63) * US]
    assert ran.column("start")[1] == (100 + 70 + 101) * US
    assert ran.stages(1, guest=True)["guest compute"] == 200 * US
    assert ran.stages(0)["injection"] == 7 * US
    assert ran.stages(0)["wait in batch"] == (99 + 7) * US


def test_the_clock_of_the_timer_starts_with_the_first_item(gathered: Any) -> None:
    ran = gathered(3, {"max_wait": "100 us"}, compute=[0, 90 * US, 200 * US])
    assert ran.column("done")[:2] == [(107 + 33) * US, (107 + 36) * US]


def test_a_timer_that_fires_when_all_is_flushed_interrupts_nobody(gathered: Any) -> None:
    ran = gathered(3, {"max_wait": "100 us", "max_batch": 2}, compute=[0, 0, 500 * US])
    assert ran.exits == {"VMCALL": 2}


def test_an_old_deadline_does_not_flush_a_newer_batch(gathered: Any) -> None:
    # Batch 1 opens at 0 and is flushed at 2 .. 68; batch 2 opens at 78, and waits until 178.
    ran = gathered(4, {"max_wait": "100 us", "max_batch": 2}, compute=[0, 0, 10 * US, 300 * US])
    assert ran.column("done")[2] == (178 + 7 + 33) * US


def test_an_interrupt_waits_until_the_guest_computes(gathered: Any) -> None:
    # The timer goes off at 3, in the middle of gathering, which takes 5; it is served at 5, when
    # the next row's compute begins.
    ran = gathered(2, {"max_wait": "3 us"}, compute=[0, 9 * US], costs={**COSTS, "gather": "5 us"})
    assert ran.exits == {"EXTERNAL_INTERRUPT": 1, "VMCALL": 2}
    assert ran.stages(0)["wait in batch"] == 7 * US
    assert ran.column("start")[1] == (5 + 7 + 63 + 9) * US


def test_a_longer_wait_than_the_run_changes_nothing(gathered: Any) -> None:
    columns = {"compute": [5 * US] * 6, "operation": [0, 0, 0, 1, 1, 1]}
    plain, timed = gathered(6, **columns), gathered(6, {"max_wait": "1 s"}, **columns)
    for name in ("due", "start", "resume", "stall", "posted", "done", "exits"):
        assert plain.column(name) == timed.column(name)


def test_one_32_bit_bar_is_two_exits(run_by: Any) -> None:
    # Read the register, write ones, read the size, write back: the sizes' first consumer lies
    # behind the operation, what the register held is needed by the write back.
    bar = checked(BarSizing, {"kind": "bar_sizing", "sequence": "bare", "bars32": 1})
    parameters = {"needs": "recorded", "flush_at_operation_end": True}
    assert run_by(batched(**parameters), workload=bar).exits == {"VMCALL": 2}


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        ({"max_batch": 0}, "max_batch: 0 does not fit"),
        ({"max_batch": 65_537}, "max_batch"),
        ({"max_batch": "8"}, "max_batch"),
        ({"max_wait": 5}, "max_wait: 5 has no unit"),
        ({"needs": "guessed"}, "needs: 'guessed'"),
        ({"max_bacth": 3}, "did you mean 'max_batch'"),
    ],
)
def test_parameters_that_do_not_fit_are_refused(parameters: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        make_mechanism(batched(**parameters))


def test_two_batching_rules_gather_side_by_side() -> None:
    space = [Space.PCI_CONFIG] * 8 + [Space.MMIO] * 8
    workload = Recorded(make_table(16, space=space, write=1))
    rules = [
        Rule(side="host", match=Match(space=["pci_config"]), mechanism=batched(max_batch=4)),
        Rule(side="host", mechanism=batched(max_batch=8)),
    ]
    result = simulate(
        Policy(title="two", rules=rules), load_platform("ideal"), workload, engine="simpy"
    )
    assert result.summary.exits == 3


def test_nobody_waits_for_less_than_no_time(gathered: Any) -> None:
    ran = gathered(4, {"max_wait": "1 s"})
    assert all(use.waiting >= 0 for use in ran.result.resources)


@settings(max_examples=30, deadline=None)
@given(
    rows=st.lists(
        st.tuples(st.booleans(), st.integers(0, 4), st.integers(0, 3), st.integers(1, 4)),
        min_size=1, max_size=20,
    ),
    size=st.integers(1, 6),
    needs=st.sampled_from(["recorded", "oracle"]),
    max_wait=st.sampled_from([None, "3 us", "20 us"]),
)  # fmt: skip
def test_items_are_carried_once_in_order_and_their_effect_is_waiting_and_carrying(
    rows: list[tuple[bool, int, int, int]], size: int, needs: str, max_wait: str | None
) -> None:
    n = len(rows)
    write, compute, emulate, ahead = (list(column) for column in zip(*rows, strict=True))
    needed = np.where(write, NEVER, np.arange(n) + np.array(ahead))
    table = make_table(n, space=Space.MMIO, write=write, compute=np.array(compute) * 3 * US,
                       emulate=np.array(emulate) * US, needed_by=needed)  # fmt: skip
    parameters = {"max_batch": size, "needs": needs}
    if max_wait is not None:
        parameters["max_wait"] = max_wait
    policy = Policy(title="all", rules=[Rule(side="host", mechanism=batched(**parameters))])
    costs = {"gather": "1 us", "item": "1 us", "injection": "1 us"}
    result = simulate(
        policy,
        load_platform("ideal", changes=costs),
        Recorded(table),
        keep_rows=True,
        engine="simpy",
    )
    columns = result.to_columns()
    zero = np.zeros(n, np.int64)
    wait, carried = (
        columns.get(f"stage: {s}", zero) for s in ("wait in batch", "carried with batch")
    )
    assert (wait + carried == columns["done"] - columns["posted"]).all()
    assert (np.diff(columns["done"]) > 0).all()
    assert int(columns.get("stage: batch item", zero).sum()) == n * US
    assert int(columns.get("stage: device emulation", zero).sum()) == int(table.emulate.sum())
    if needs == "recorded":  # no row computes with a result that is not there
        for row, consumer in enumerate(needed):
            if NEVER < consumer < n:
                begins = columns["start"][consumer] - table.compute[consumer]
                assert columns["done"][row] <= begins
