"""Validation: answers that are known, beside the simulator's.

* `queueing`: exact results of queueing theory (`open_queues`, `closed_networks` run them);
* `published`: figures from papers, mails and commits, and what is not covered;
* `paths`: sums of costs by hand, for every mechanism (`cases`).

`claim` says what a row is, and what agreeing means.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from vmexit_sim.validation.claim import KINDS, Claim, Kind
from vmexit_sim.validation.paths import path_claims
from vmexit_sim.validation.published import UNCOVERED, published_claims
from vmexit_sim.validation.queueing import queueing_claims

__all__ = ["KINDS", "UNCOVERED", "Claim", "Kind", "claims"]


def claims(kinds: Sequence[Kind] = KINDS, *, quick: bool = False) -> Iterator[Claim]:
    """Every known answer of some kinds, one after the other as it is simulated.

    Args:
        kinds: which.
        quick: simulate less of what is random, so that intervals are wider: enough to find what is
            broken, not a law of chance that is missed by some percent.
    """
    of_kind: dict[Kind, Callable[[], Iterator[Claim]]] = {
        "queueing": lambda: queueing_claims(quick=quick),
        "published": lambda: published_claims(quick=quick),
        "paths": path_claims,
    }
    for kind in KINDS:
        if kind in kinds:
            yield from of_kind[kind]()
