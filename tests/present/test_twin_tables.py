"""Theory beside simulation, as `analytic` shows it: signs, units, and what is not shown."""

from __future__ import annotations

import io
import math

import pytest
from rich.console import Console

from vmexit_sim.configuration import checked
from vmexit_sim.opened import open_scenario
from vmexit_sim.present.twin_tables import twin_report, verdict
from vmexit_sim.scenario import Scenario
from vmexit_sim.statistics import Estimate, exact
from vmexit_sim.study.outcome import Comparison
from vmexit_sim.study.twin import Standing, Twin

GUEST = {"kind": "spread", "operations": 1, "between": "1 us", "read_share": 1, "space": "mmio"}
SCENARIO = {"platform": "ideal", "policies": ["linux-default"], "blocks": [{"guest": GUEST}]}


def twin(simulated: Estimate, low: float, high: float, standing: Standing, *,
         is_part: bool = False) -> Twin:  # fmt: skip
    return Twin(block="b", policy="p", quantity="q", simulated=simulated, low=low, high=high,
                law="the law", assumes="as it is", standing=standing, is_part=is_part)  # fmt: skip


def shown(*twins: Twin) -> str:
    asked = open_scenario(checked(Scenario, SCENARIO))
    console = Console(width=200, file=io.StringIO())
    console.print(twin_report(Comparison(opened=asked, replications=1, blocks=[]), twins))
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


RATE = Estimate(1000.0, 990.0, 1010.0, 5, "t", unit="1/s")


@pytest.mark.parametrize(
    ("said", "row"),
    [
        (twin(exact(2e6), 2e6, 2e6, "identity"), "p q 2 µs = 2 µs - the law"),
        (twin(exact(3e6), 2e6, 2e6, "approximation"), "p q 3 µs ≈ 2 µs +50 % the law"),
        (twin(RATE, 800.0, math.inf, "bound"), "p q 1,000 ± 10 /s ≥ 800 /s - the law"),
        (twin(RATE, -math.inf, 12_000.0, "bound"), "p q 1,000 ± 10 /s ≤ 12,000 /s - the law"),
        (twin(exact(5e6), 8e6, math.inf, "bound"), "p q 5 µs ≥ 8 µs -38 % ! the law"),
        (twin(exact(5e6), 0.0, 4e6, "bound"), "p q 5 µs ≤ 4 µs +25 % ! the law"),
        (twin(exact(7.0, "1"), 0.0, 0.0, "identity"), "p q 7 = 0 all of it ! the law"),
    ],
)
def test_a_row_shows_how_theory_stands_to_the_number_and_by_how_much_it_is_missed(
    said: Twin, row: str
) -> None:
    assert row in [" ".join(line.split()) for line in shown(said).splitlines()]


def test_parts_that_agree_are_counted_and_parts_that_miss_are_shown() -> None:
    good = twin(exact(2e6), 2e6, 2e6, "identity", is_part=True)
    bad = twin(exact(3e6), 2e6, 2e6, "identity", is_part=True)
    text = shown(good, good)
    assert "2 parts (stages, locks without use) agree, too, and are not shown" in text
    assert "simulated" not in text, "there is no table where there is no row"
    assert "All 2 numbers that theory can judge agree with it." in text
    text = shown(bad)
    assert "agree, too" not in text
    assert "+50 % !" in text


def test_a_number_where_theory_has_none_is_missed_by_all_of_it() -> None:
    assert "p: q by all of it" in verdict([twin(exact(7.0, "1"), 0.0, 0.0, "identity")])
