"""Sums by hand: every mechanism has some, every cost is in one, and a wrong sum is found out."""

from __future__ import annotations

import pytest

from vmexit_sim.hypervisor.host import Host
from vmexit_sim.hypervisor.platform import Costs, load_platform
from vmexit_sim.mechanisms import MECHANISMS
from vmexit_sim.validation.cases import CASES, PLATFORM
from vmexit_sim.validation.expression import Named, larger, next_multiple
from vmexit_sim.validation.paths import path_claims


def test_every_sum_holds_to_the_picosecond_with_shipped_costs_and_with_others() -> None:
    found = list(path_claims())
    assert [claim.claim for claim in found if not claim.agrees] == []
    assert found[-1].simulated.value == len(CASES)


def test_every_mechanism_has_a_sum() -> None:
    shipped = {name for name, of in MECHANISMS.items() if of.__module__.startswith("vmexit_sim")}
    assert {case.mechanism for case in CASES} == shipped


def test_every_cost_is_in_some_sum() -> None:
    named = [Named(load_platform(case.platform), emulate=1, compute=1) for case in CASES]
    texts = " ".join(case.total(c).text for case, c in zip(CASES, named, strict=True))
    # What exits cost the compute behind them is 0 on every platform that ships.
    assert {name for name in Costs.model_fields if name not in texts} == {"refill"}


def test_a_path_that_forgets_a_cost_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Host, "enter_guest", lambda host, all_as=None: host._entered())
    missed = [claim for claim in path_claims() if not claim.agrees]
    named = [claim for claim in path_claims() if "world_switch_in" in claim.claim]
    assert all(claim.fails for claim in missed)
    # What goes on beside the guest hides its entry: a back end that takes longer, say.
    hidden = {claim.claim for claim in named} - {claim.claim for claim in missed}
    assert all("max(world_switch_in" in claim for claim in hidden)
    assert len(missed) > 25


def test_terms_read_as_one_would_write_them() -> None:
    c = Named(load_platform(PLATFORM), emulate=7)
    both = c.gather + c.emulate
    assert both.text == "gather + emulate"
    assert (3 * both).text == "3 × (gather + emulate)"
    assert (3 * both).ps == 3 * (20_000 + 7)
    assert (2 * c.gather + c.emulate).text == "2 × gather + emulate"
    assert larger(c.gather, c.emulate).ps == 20_000
    assert next_multiple(c.gather, c.emulate).ps == 20_000
    assert next_multiple(c.gather, c.gather).ps == 40_000  # one that just began is looked at later
