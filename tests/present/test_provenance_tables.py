"""Where a cost comes from and what it means for a verdict, as `explain` tells it."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console, RenderableType

from vmexit_sim.hypervisor.platform import Platform, load_platform
from vmexit_sim.present.provenance_tables import (
    change_text,
    cost_report,
    document,
    meaning,
    platform_report,
)
from vmexit_sim.statistics import Estimate, exact
from vmexit_sim.study.sensitivity import Sensitivity, Weight
from vmexit_sim.study.sweep.factor import Quantity
from vmexit_sim.study.threshold import Threshold

NS = 1e3
CALIBRATED = """
extends = "kvm-2017"
title = "a host of one's own"
about = "t"

[measurements.from_qemu]
mean = "1800 ns"
error = "4 ns"
n = 1200
file = "vmexit.log"
row = "inl_from_qemu"

[measurements.from_kernel]
mean = "700 ns"

[costs.to_user]
value = "550 ns"
mark = "D"
source = "half of what user space costs more"
from = { from_qemu = 0.5, from_kernel = -0.5 }
interval = ["545 ns", "555 ns"]

[costs.decode_mmio]
value = "500 ns"
mark = "H"
source = "measured"
interval = ["490 ns", "510 ns"]
"""


@pytest.fixture
def host(tmp_path: Path) -> Platform:
    path = tmp_path / "host.toml"
    path.write_text(CALIBRATED)
    return load_platform(str(path))


def turns(below: Estimate | None = None, above: Estimate | None = None) -> Threshold:
    return Threshold(place="costs.to_user", base=Quantity(550 * NS, "ps"), below=below, above=above,
                     plausible=(300 * NS, 900 * NS), searched=(30 * NS, 9000 * NS))  # fmt: skip


def sensitivity(*weights: Weight, difference: float = -1e6) -> Sensitivity:
    return Sensitivity(first="linux-default", second="hypercall", block="b", metric="added",
                       difference=exact(difference), weights=list(weights))  # fmt: skip


def weight(cost: str = "to_user", change: float = 0.0, found: Threshold | None = None) -> Weight:
    return Weight(cost=cost, step=55 * NS, change=change, threshold=found)


def shown(what: RenderableType) -> list[str]:
    console = Console(width=400, file=io.StringIO())
    console.print(what)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]  # type: ignore[attr-defined]


def test_a_cost_names_its_measurements_with_weight_error_number_and_place(host: Platform) -> None:
    lines = shown(cost_report(host, "to_user", sensitivity(weight())))
    assert lines[0].startswith("to_user on host: returning from the kernel")
    assert lines[1:3] == [
        "value: 550 ns [D] derived by arithmetic from read numbers",
        "source: half of what user space costs more",
    ]
    assert lines[3] == "95 % interval of its mean: 545 ns to 555 ns, its split not in it"
    assert lines[4:6] == [
        "from +0.5 × from_qemu: 1.8 µs ± 4 ns (std. error), n = 1,200; vmexit.log, inl_from_qemu",
        "from -0.5 × from_kernel: 700 ns;",
    ]
    assert lines[6:] == [
        "verdict on b, by added: hypercall less by 1 µs (exact)",
        "weight: 55 ns more of it changes nothing",
    ]


def test_an_interval_of_a_measured_cost_is_the_costs_own(host: Platform) -> None:
    lines = shown(cost_report(host, "decode_mmio", sensitivity(weight("decode_mmio"))))
    assert "95 % interval of its mean: 490 ns to 510 ns" in lines


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (turns(below=exact(200 * NS)), ["the verdict changes below 200 ns"]),
        (turns(above=Estimate(2e6, 1.9e6, 2.1e6, 8, "t, inverted")),
         ["the verdict changes above 2.00 ± 0.10 µs"]),
        (turns(exact(200 * NS), exact(2e6)),
         ["the verdict changes below 200 ns", "the verdict changes above 2 µs"]),
        (turns(), ["the verdict does not change from 30 ns to 9 µs"]),
        (None, []),
    ],
)  # fmt: skip
def test_where_the_verdict_turns_along_a_cost_is_said(
    host: Platform, found: Threshold | None, said: list[str]
) -> None:
    lines = shown(cost_report(host, "to_user", sensitivity(weight(change=5e4, found=found))))
    at = next(number for number, line in enumerate(lines) if line.startswith("weight: "))
    assert lines[at] == "weight: 55 ns more of it changes the difference by 50 ns (+5.00 %)"
    assert lines[at + 1 :] == said


@pytest.mark.parametrize(
    ("change", "difference", "said"),
    [(0.0, -1e6, "0"), (5e4, -1e6, "+5.00 %"), (-5e4, -1e6, "-5.00 %"), (5e4, 0.0, "turns it")],
)
def test_a_weight_is_told_as_a_part_of_the_difference(
    change: float, difference: float, said: str
) -> None:
    assert change_text(weight(change=change), sensitivity(difference=difference)) == said


def test_all_costs_of_a_platform_stand_in_one_table_with_the_marks_that_occur(
    host: Platform,
) -> None:
    weights = [weight(name, 5e4 if name == "to_user" else 0.0) for name, _ in host.costs.items()]
    lines = shown(platform_report(host, sensitivity(*weights)))
    assert lines[:2] == [
        "host: a host of one's own",
        "verdict on b, by added: hypercall less by 1 µs (exact)",
    ]
    own = next(line.split() for line in lines if line.startswith("to_user "))
    assert own[:4] == ["to_user", "550", "ns", "D"]
    assert "+5.00" in own
    assert all(sum(line.startswith(f"{name} ") for line in lines) == 1 for name, _ in
               host.costs.items())  # fmt: skip
    marks = {cost.mark for _, cost in host.costs.items()}
    assert {line[1:3].rstrip("]") for line in lines if line.startswith("[")} == marks
    assert "R2" not in marks


def test_the_document_has_thresholds_only_where_they_were_looked_for(host: Platform) -> None:
    found = sensitivity(weight(found=turns(above=exact(2e6))), weight("decode_mmio"))
    costs = json.loads(json.dumps(document(host, found), allow_nan=False))["costs"]
    assert set(costs) == {"to_user", "decode_mmio"}
    assert costs["to_user"]["from"] == {"from_qemu": 0.5, "from_kernel": -0.5}
    changes = costs["to_user"]["verdict_changes"]
    assert (changes["below"], changes["above"]["value"]) == (None, 2e6)
    assert "verdict_changes" not in costs["decode_mmio"]


def test_a_cost_means_what_the_formats_say_it_means() -> None:
    assert meaning("to_user").startswith("returning from the kernel to the VMM")
    assert meaning("no_such_cost") == ""
