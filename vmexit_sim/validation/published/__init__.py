"""Published figures, each beside what the model comes to, and those of which it says nothing.

* `thread`: the 2022 thread, boots, BARs and toggles;
* `exits`: what single exits cost on measured hosts;
* `devices`: what whole mechanisms were found to do;
* `uncovered`: what the model cannot say, and why.
"""

from collections.abc import Iterator

from vmexit_sim.validation.claim import Claim
from vmexit_sim.validation.published.devices import device_claims
from vmexit_sim.validation.published.exits import exit_claims
from vmexit_sim.validation.published.thread import thread_claims
from vmexit_sim.validation.published.uncovered import UNCOVERED

__all__ = ["UNCOVERED", "published_claims"]


def published_claims(*, quick: bool) -> Iterator[Claim]:
    """Every published figure that the model can say something about.

    Args:
        quick: simulate less, so that intervals are wider.
    """
    yield from thread_claims()
    yield from exit_claims()
    yield from device_claims(quick=quick)
