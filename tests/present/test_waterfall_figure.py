"""A waterfall holds each stage of its access, to the picosecond, and where it belongs."""

from __future__ import annotations

from collections import Counter
from functools import cache

import numpy as np
import pytest
from figure_guests import POSTED, contended, recorded, requests

from vmexit_sim.errors import InputError
from vmexit_sim.present import figures
from vmexit_sim.study.replication import lowered_for, run_once
from vmexit_sim.study.waterfall import Waterfall, waterfall


@cache
def posted() -> Waterfall:
    return waterfall(requests(), requests().blocks[0], access="p90", replication=2)


@pytest.mark.parametrize("found", [posted, lambda: waterfall(recorded(), recorded().blocks[0])])
def test_stages_sum_to_the_record(found) -> None:  # type: ignore[no-untyped-def]
    for own in found().policies:
        times = Counter(own.booked)
        for piece in own.pieces:
            times[piece.stage] += piece.end - piece.begin
        assert times == own.stages, own.policy


def test_it_is_the_same_access_under_every_policy_and_as_recorded() -> None:
    opened, found = requests(), posted()
    block = opened.blocks[0]
    for own, policy in zip(found.policies, opened.policies, strict=True):
        rows = run_once(opened, lowered_for(opened, policy, block), block, 2,
                        keep_rows=True).to_columns()  # fmt: skip
        at = (rows["vcpu"] == found.vcpu) & (rows["row"] == found.row)
        assert own.resume == (rows["resume"] - rows["start"])[at][0]
        assert own.done == (rows["done"] - rows["start"])[at][0]
        assert own.exits == rows["exits"][at][0]
    assert found.facts.space == "doorbell"


def test_an_access_that_nothing_is_left_of_fills_its_vcpus_time() -> None:
    found = posted()
    (own,) = [each for each in found.policies if each.policy == "linux-default"]
    ends = [piece.end for piece in own.pieces]
    assert [piece.begin for piece in own.pieces] == [0, *ends[:-1]]
    assert ends[-1] == own.resume
    assert [piece.lane for piece in own.pieces if piece.stage == "device emulation"] == ["device"]


def test_posted_work_stands_in_its_own_lane_until_the_effect() -> None:
    frame = figures.waterfall_frame(posted())
    for own in posted().policies:
        lane = frame[(frame["policy"] == own.policy) & (frame["lane"] == "posted")]
        if own.posted is None:
            assert lane.empty
            continue
        assert lane["begin"].min() == own.posted
        later = [piece.end for piece in own.pieces if piece.is_back]
        assert max([*later, int(lane["end"].max())]) == own.done
    lanes = dict(frame.groupby("policy")["lane"].agg(set))
    assert lanes["vhost"] == {"vCPU", "device", "posted"}
    assert lanes["linux-default"] == {"vCPU", "device"}
    assert set(lanes) == set(POSTED)


def test_a_quantile_is_an_access_that_takes_that_long_under_the_first_policy() -> None:
    opened = contended()
    block = opened.blocks[0]
    rows = run_once(opened, lowered_for(opened, opened.policies[0], block), block,
                    keep_rows=True).to_columns()  # fmt: skip
    took = np.maximum(rows["resume"], rows["done"]) - rows["start"]
    slowest = waterfall(opened, block, access="p100")
    assert max(slowest.policies[0].resume, slowest.policies[0].done) == took.max()
    own = took[rows["vcpu"] == 1]
    first = waterfall(opened, block, access="p0", vcpu=1)
    assert max(first.policies[0].resume, first.policies[0].done) == own.min()
    assert first.vcpu == 1


def test_a_place_is_an_access_of_its_vcpu() -> None:
    found = waterfall(contended(), contended().blocks[0], access="17", vcpu=2)
    assert (found.vcpu, found.row) == (2, 17)
    assert found.basis.startswith("access 17 of vCPU 2 in g, replication 0: mmio ")


@pytest.mark.parametrize(
    ("access", "vcpu"),
    [("150", 0), ("9" * 5000, 0), ("-1", 0), ("p101", None), ("first", None), ("0", 3)],
)
def test_what_is_no_access_is_refused(access: str, vcpu: int | None) -> None:
    with pytest.raises(InputError) as told:
        waterfall(contended(), contended().blocks[0], access=access, vcpu=vcpu)
    assert told.value.mend is not None
