"""What happens over time is told in bins that sum to the run's own tallies."""

from __future__ import annotations

from functools import cache
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmexit_sim.configuration import checked
from vmexit_sim.errors import InputError
from vmexit_sim.measure.over_time import StepSum
from vmexit_sim.opened import Opened, open_scenario
from vmexit_sim.scenario import Scenario
from vmexit_sim.study.over_time import RunOverTime, over_time

SPREAD = {"kind": "spread", "operations": 150, "vcpus": 3, "read_share": 0.5, "space": "mmio",
          "between": {"kind": "exponential", "mean": "4 us"},
          "emulate": {"kind": "exponential", "mean": "2 us"}}  # fmt: skip
REQUESTS = {"kind": "request_response", "requests": 200, "in_flight": 4,
            "think": {"kind": "exponential", "mean": "5 us"},
            "service": {"kind": "exponential", "mean": "2 us"}}  # fmt: skip
SCAN = {"trace": "pci-scan-q35"}


@cache
def opened(guest: str, policy: str) -> Opened:
    stated = {"spread": SPREAD, "requests": REQUESTS, "scan": SCAN}[guest]
    block = {"name": "g", "guest": stated, "only": ["bar_sizing"] if guest == "scan" else []}
    return open_scenario(checked(Scenario, {"policies": [policy], "blocks": [block]}))


def told(guest: str, policy: str, **more: int) -> RunOverTime:
    asked = opened(guest, policy)
    return over_time(asked, asked.blocks[0], asked.policies[0], **more)


@pytest.mark.parametrize(
    ("guest", "policy"),
    [("spread", "linux-default"), ("requests", "vhost"), ("requests", "spdk-like"),
     ("requests", "qemu-kvm"), ("scan", "read-only-pages")],
)  # fmt: skip
def test_bins_sum_to_what_the_run_says(guest: str, policy: str) -> None:
    run = told(guest, policy, bins=37)
    tallied = {tally.reason: tally.samples for tally in run.result.exits}
    assert {reason: int(counts.sum()) for reason, counts in run.exits.items()} == tallied
    assert (run.edges[0], run.edges[-1]) == (0, run.result.completion)
    servers = {use.name: use for use in run.uses if use.kind == "server"}
    assert servers or guest == "scan"
    for name, use in servers.items():
        resources = [each for each in run.result.resources if each.name == name]
        assert use.busy.sum() == sum(each.busy for each in resources)
        assert use.queued.sum() == sum(each.waiting for each in resources)
    if len(servers) == 1:
        assert run.utilisation(use) == pytest.approx(resources[0].utilisation)
        assert run.mean_queue(use) == pytest.approx(resources[0].mean_queue)


def test_a_back_ends_thread_is_as_busy_as_its_server() -> None:
    run = told("requests", "vhost")
    uses = {use.name: use for use in run.uses}
    assert uses["back end of vCPU 0"].busy.tolist() == uses["virtqueue: back end"].busy.tolist()
    assert "back end of vCPU 0" in {use.name for use in run.contended}
    assert "virtqueue: back end" not in {use.name for use in run.contended}  # nobody waits for it


def test_a_main_loop_is_as_busy_as_the_lock_under_which_it_works() -> None:
    run = told("requests", "qemu-kvm")
    uses = {use.name: use for use in run.uses}
    assert uses["main loop"].busy.sum() == uses["VMM lock"].busy.sum() > 0


def test_a_polling_core_is_busy_only_while_it_serves() -> None:
    run = told("requests", "spdk-like")
    uses = {use.name: use for use in run.uses}
    assert run.utilisation(uses["side core: core"]) == 1
    assert uses["side core"].busy.tolist() == uses["side core: core at work"].busy.tolist()


def test_windows_cut_the_same_run() -> None:
    whole = told("spread", "linux-default", bins=10)
    second = told("spread", "linux-default", begin=int(whole.edges[3]), end=int(whole.edges[4]),
                  bins=1)  # fmt: skip
    for one, other in zip(whole.uses, second.uses, strict=True):
        assert (one.busy[3], one.queued[3]) == (other.busy[0], other.queued[0])
        assert one.most[3] == other.most[0]
    assert sum(counts[3] for counts in whole.exits.values()) == pytest.approx(
        sum(counts[0] for counts in second.exits.values()), abs=1
    )  # the last bin holds both its ends


def test_bins_end_with_the_run_and_say_so() -> None:
    whole = told("spread", "linux-default", bins=10)
    longer = told("spread", "linux-default", bins=10, end=10 * whole.result.completion)
    assert longer.edges.tolist() == whole.edges.tolist()
    for one, other in zip(whole.uses, longer.uses, strict=True):
        assert whole.utilisation(one) == longer.utilisation(other)
    assert "so do the bins" in longer.basis
    assert "so do the bins" not in whole.basis


def test_a_window_past_the_end_is_refused_with_the_runs_end() -> None:
    end = told("spread", "linux-default", bins=1).result.completion
    with pytest.raises(InputError) as error:
        told("spread", "linux-default", begin=end, end=2 * end)
    assert error.value.key == "--from"
    assert "it ends at" in str(error.value)


@pytest.mark.parametrize(
    "more", [{"bins": 0}, {"begin": 5, "end": 5}, {"begin": 10**15}, {"begin": 9, "end": 3}]
)
def test_no_time_is_refused(more: dict[str, int]) -> None:
    with pytest.raises(InputError):
        told("spread", "linux-default", **more)


@given(
    changes=st.lists(st.tuples(st.integers(0, 60), st.integers(0, 4)), max_size=12),
    cuts=st.sets(st.integers(0, 50), min_size=2, max_size=8),
)
def test_a_step_functions_integral_is_that_of_its_picoseconds(
    changes: list[tuple[int, int]], cuts: set[int]
) -> None:
    edges = sorted(cuts)
    changes.sort(key=lambda change: change[0])
    summed = StepSum(edges, 1)
    values = np.ones(61, np.int64)
    for now, value in changes:
        summed.change(now, value)
        values[now:] = value
    summed.finish()
    bins = list(pairwise(edges))
    assert summed.sums == [int(values[a:b].sum()) for a, b in bins]
    assert summed.most == [int(values[a:b].max()) for a, b in bins]
