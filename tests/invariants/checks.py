"""What holds of every run, whatever the scenario; or under which condition it holds."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from invariants.drawn import SEED, Drawn
from invariants.watching import Wait, Watched

from vmexit_sim.guest.table import NEVER, AccessTable
from vmexit_sim.guest.workload import whole_table
from vmexit_sim.lowering import VCPU_SHIFT
from vmexit_sim.measure.records import LATENCIES, RunResult
from vmexit_sim.mechanisms.base import Mechanism
from vmexit_sim.mechanisms.batched_hypercall import BatchedHypercall
from vmexit_sim.mechanisms.coalesced_mmio import CoalescedMmio
from vmexit_sim.mechanisms.ioeventfd import Ioeventfd
from vmexit_sim.policy import AS_RECORDED
from vmexit_sim.program import Op
from vmexit_sim.steps import Role
from vmexit_sim.streams import Streams

Column = np.ndarray[Any, Any]

LOCKS = ("config lock", "VMM lock", "front-end lock", "room for signals", ": back end", "at work")
"""Names of queues whose tokens are all there again in the end. A polling core is never given back,
unless it goes off, nor is the CPU that it polls on."""

WORK = (
    "available ring", "coalescing ring", "signals of", "signals found", "requests to", "answers of",
    "batch timer", "coalescing timer", "descriptors returned", "vCPU lent", "given back",
)  # fmt: skip
"""Names of mailboxes that are empty in the end. What may be left: interrupts of a vCPU that has
halted, what it never reaped, kicks and bells that nobody waits for, results needed at its end."""


@dataclass(frozen=True)
class Rows:
    """A run's rows, beside what the guest did."""

    drawn: Drawn
    result: RunResult

    @cached_property
    def columns(self) -> dict[str, Column]:
        """The recorded columns."""
        return self.result.to_columns()

    @cached_property
    def table(self) -> AccessTable:
        """The guest's accesses, in the same order."""
        return whole_table(self.drawn.workload, Streams(SEED, 0))

    @cached_property
    def mechanisms(self) -> list[Mechanism]:
        """What each access went by."""
        rules = [*self.drawn.policy.rules, *AS_RECORDED]
        return [rules[rule].mechanism for rule in self.drawn.policy.assign(self.table)]

    @cached_property
    def numbers(self) -> Column:
        """The accesses' numbers."""
        numbers: Column = self.columns["vcpu"] * 2**VCPU_SHIFT + self.columns["row"]
        return numbers

    def of_role(self, *roles: Role) -> Column:
        """Time in the stages of some roles, by access."""
        total = np.zeros(len(self.table), np.int64)
        for stage in self.result.summary.stages:
            if stage.role in roles:
                total += self.columns[f"stage: {stage.name}"]
        return total


def equal(one: RunResult, other: RunResult) -> None:
    """Two runs say the same, to the last bit."""
    rows, others = one.to_columns(), other.to_columns()
    assert list(rows) == list(others)
    assert [name for name in rows if not np.array_equal(rows[name], others[name])] == []
    assert one.finish == other.finish
    assert one.exits == other.exits
    assert one.resources == other.resources
    assert (one.who, one.vcpus, one.reach) == (other.who, other.vcpus, other.reach)
    assert np.array_equal(one.summary.totals, other.summary.totals)
    assert np.array_equal(one.summary.counts, other.summary.counts)
    assert np.array_equal(one.summary.stats, other.summary.stats)


def stages_sum_to_latencies(rows: Rows) -> None:
    """Front stages to the stall, back stages of what is posted to the time until its effect."""
    columns, summary = rows.columns, rows.result.summary
    front = rows.of_role(Role.ACCESS, Role.HYPERVISOR, Role.WAIT)
    assert np.array_equal(front, columns["stall"])
    posted = columns["posted"] >= 0
    until_effect = columns["done"] - columns["posted"]
    assert np.array_equal(rows.of_role(Role.BACK)[posted], until_effect[posted])
    totals = [columns[f"stage: {stage.name}"].sum() for stage in summary.stages]
    assert summary.stage_totals.tolist() == totals
    assert all(columns[f"stage: {stage.name}"].min() >= 0 for stage in summary.stages)
    assert all(summary.latencies[each].n == len(rows.table) for each in LATENCIES)


def moments_are_in_order(rows: Rows) -> None:
    """Of one access, and of one vCPU's accesses, none of which begins before the last resumed."""
    columns = rows.columns
    posted = columns["posted"] >= 0
    assert (columns["due"] <= columns["start"]).all()
    assert (columns["start"] <= columns["resume"]).all()
    assert (columns["start"] <= columns["done"]).all()
    assert (columns["done"] <= columns["resume"])[~posted].all()
    assert (columns["start"] <= columns["posted"])[posted].all()
    assert (columns["posted"] <= columns["done"])[posted].all()
    assert (columns["resume"] - columns["start"] <= columns["stall"]).all()
    same = np.diff(columns["vcpu"]) == 0
    assert (columns["resume"][:-1] <= columns["start"][1:])[same].all()
    for vcpu, finish in enumerate(rows.result.finish):
        assert columns["resume"][columns["vcpu"] == vcpu].max(initial=0) <= finish


def every_access_completes_once(run: Watched, rows: Rows) -> None:
    """And when the record says so."""
    effects = run.watch.effects
    assert sorted(effects) == rows.numbers.tolist()
    assert set(map(len, effects.values())) <= {1}
    assert [effects[n][0] for n in rows.numbers.tolist()] == rows.columns["done"].tolist()
    begun = [run.watch.begun[n] for n in rows.numbers.tolist()]
    assert begun == rows.columns["start"].tolist()


def exits_are_counted_once(run: Watched, rows: Rows) -> None:
    """On an access, and by the reason that they had."""
    watch = run.watch
    assert [watch.exits_of[n] for n in rows.numbers.tolist()] == rows.columns["exits"].tolist()
    tallied = {
        t.reason: (t.samples, t.total, t.least, t.greatest, t.squares) for t in run.result.exits
    }
    seen = {
        reason: (len(times), sum(times), min(times), max(times), sum(t * t for t in times))
        for reason, times in watch.exits.items()
    }
    assert tallied == seen
    assert run.result.summary.exits == sum(map(len, watch.exits.values()))


def queues_keep_their_books(run: Watched) -> None:
    """What comes goes or is left; use and queueing are what lengths say, over time and by wait."""
    assert len(run.result.resources) == len(run.watch.queues)
    for use, seen, left in zip(run.result.resources, run.watch.queues, run.left, strict=True):
        span = run.result.completion
        assert use.span == span
        assert use.tokens + seen.stored == seen.taken + left
        assert seen.joined == len(seen.waits)
        assert seen.handed == sum(wait.got is True for wait in seen.waits)
        assert use.takes <= seen.taken + seen.handed
        assert use.waits <= seen.joined
        assert use.waiting == seen.integral(span, items=False)
        if use.tokens:
            assert use.busy == use.tokens * span - seen.integral(span, items=True)
        assert 0 <= use.utilisation <= 1
        # Little's law, over the whole run
        waited = sum(wait.end - wait.begin for wait in seen.waits)
        assert seen.integral(run.ended, items=False) == waited


def nothing_is_left_in_the_end(run: Watched) -> None:
    """Locks are free, work is done, and only cores that poll keep a CPU."""
    polling = sum(rule.mechanism.cores_spent for rule in run.drawn.policy.rules)
    for queue, left in zip(run.program.queues, run.left, strict=True):
        if queue.name == "CPUs":
            assert queue.tokens - left <= polling
        elif any(part in queue.name for part in LOCKS):
            assert left == queue.tokens, queue.name
        elif any(part in queue.name for part in WORK):
            assert left == 0, queue.name


def sojourns_add_up_to_what_is_in_the_system(run: Watched, rows: Rows) -> None:
    """Little's law: accesses under way, over time; and those in rings, whose wait is booked."""
    changes: Counter[int] = Counter(run.watch.begun.values())
    changes.subtract(time for times in run.watch.effects.values() for time in times)
    under_way = area = before = 0
    for time in sorted(changes):
        area += under_way * (time - before)
        under_way, before = under_way + changes[time], time
        assert under_way >= 0
    assert under_way == 0
    assert area == (rows.columns["done"] - rows.columns["start"]).sum()

    by_rings = [not isinstance(m, BatchedHypercall | Ioeventfd) for m in rows.mechanisms]
    posted = (rows.columns["posted"] >= 0) & by_rings
    in_rings = [
        seen
        for queue, seen in zip(run.program.queues, run.watch.queues, strict=True)
        if "available ring" in queue.name or "coalescing ring" in queue.name
    ]
    if sum(seen.stored + seen.handed for seen in in_rings) != posted.sum():
        # The address of a config access by ports is noted in the coalescing ring, for no access.
        assert any(isinstance(m, CoalescedMmio) for m in rows.mechanisms)
        return
    names = ("stage: wait in ring", "stage: back end wake-up")
    booked = sum(rows.columns[name][posted].sum() for name in names if name in rows.columns)
    assert sum(seen.integral(run.ended, items=True) for seen in in_rings) == booked


def lines_are_served_in_order(run: Watched) -> None:
    """First come first served, or by priority.

    A queue that somebody leaves when his time is over is left out: a vCPU that has had its slice
    joins the line of the lock it spins for anew.
    """
    timed = {run.program.queues[row[7]].name for row in run.program.rows if row[0] == Op.TIMED_TAKE}
    for queue, seen in zip(run.program.queues, run.watch.queues, strict=True):
        if queue.name in timed:
            continue
        waits = sorted(seen.waits, key=lambda wait: wait.begin)
        if queue.discipline == "fifo":
            latest, pending = 0, [0]
            for one, wait in enumerate(waits):
                if one and waits[one - 1].begin < wait.begin:
                    latest, pending = max(latest, *pending), [0]
                assert latest <= wait.end, queue.name
                pending.append(wait.end)
        else:
            for one in waits:
                overtaken = (w for w in waits if w.begin < one.end < w.end)
                assert all(_rank(run, one) <= _rank(run, other) for other in overtaken)


def _rank(run: Watched, wait: Wait) -> int:
    """Whom the VMM's lock prefers: the lowest-numbered vCPU, and the main loop."""
    is_vcpu = run.program.actors[wait.actor].is_vcpu
    return wait.access >> VCPU_SHIFT if is_vcpu and wait.access >= 0 else 0


def results_are_there_before_they_are_needed(rows: Rows) -> None:
    """Whoever consumes a result has it when his turn begins.

    A batch waits for what its `needs` say; a write that the kernel or a thread takes over (a
    coalescing ring, an eventfd) answers nothing.
    """
    columns, table = rows.columns, rows.table
    recorded = np.array(
        [
            not isinstance(m, BatchedHypercall | Ioeventfd | CoalescedMmio)
            or (isinstance(m, BatchedHypercall) and m.needs == "recorded")
            for m in rows.mechanisms
        ]
    )
    idioms = np.array(
        [isinstance(m, BatchedHypercall) and m.needs == "idioms" for m in rows.mechanisms]
    )
    for which, column in ((recorded, table.needed_by), (idioms, table.needed_idiom)):
        producer = np.flatnonzero(which & (column != NEVER) & (column < len(table)))
        consumer = column[producer]
        own = table.vcpu[producer] == table.vcpu[consumer]
        before = columns["resume"][consumer[own] - 1]
        assert (columns["done"][producer[own]] <= before).all()


def a_device_sees_a_vcpus_accesses_in_order(rows: Rows) -> None:
    """By one mechanism; and nothing overtakes a batch.

    By two mechanisms they may pass each other, and so do a write that has only signalled a thread
    and a trap that follows it: an eventfd keeps the order of what it signals.
    """
    done = rows.columns["done"]
    latest: dict[object, int] = {}
    for row, mechanism in enumerate(rows.mechanisms):
        signals = isinstance(mechanism, Ioeventfd) and rows.columns["posted"][row] >= 0
        key = (rows.table.vcpu[row], rows.table.device[row], mechanism, signals)
        assert latest.get(key, 0) <= done[row], mechanism
        latest[key] = int(done[row])
        if row and rows.table.vcpu[row] == rows.table.vcpu[row - 1]:
            other = rows.mechanisms[row - 1]
            if isinstance(other, BatchedHypercall) and other != mechanism:
                assert done[row - 1] <= done[row]


def holds(run: Watched) -> None:
    """All of that."""
    rows = Rows(run.drawn, run.result)
    stages_sum_to_latencies(rows)
    moments_are_in_order(rows)
    every_access_completes_once(run, rows)
    exits_are_counted_once(run, rows)
    queues_keep_their_books(run)
    nothing_is_left_in_the_end(run)
    sojourns_add_up_to_what_is_in_the_system(run, rows)
    lines_are_served_in_order(run)
    results_are_there_before_they_are_needed(rows)
    a_device_sees_a_vcpus_accesses_in_order(rows)
