"""Sums of named costs: what a person would write on paper, and what it comes to.

::

    c = Named(platform, emulate=2_000_000)
    c.world_switch_out + c.dispatch_port + 2 * (c.to_user + c.emulate)

has the text ``world_switch_out + dispatch_port + 2 × (to_user + emulate)`` and a number of ps.
"""

from __future__ import annotations

from dataclasses import dataclass

from vmexit_sim.hypervisor.platform import Platform


@dataclass(frozen=True)
class Term:
    """A cost, or a sum of costs.

    Attributes:
        text: as one would write it.
        ps: what it comes to.
        is_sum: whether it needs brackets as a part of a product.
    """

    text: str
    ps: int
    is_sum: bool = False

    def __add__(self, other: Term) -> Term:
        return Term(f"{self.text} + {other.text}", self.ps + other.ps, True)

    def __rmul__(self, times: int) -> Term:
        body = f"({self.text})" if self.is_sum else self.text
        return Term(f"{times} × {body}", times * self.ps)


def larger(one: Term, other: Term) -> Term:
    """The larger of two, as of what goes on at the same time."""
    return Term(f"max({one.text}, {other.text})", max(one.ps, other.ps))


def next_multiple(of: Term, after: Term) -> Term:
    """The first multiple of one that is larger than the other, as a poller looks."""
    return Term(f"({after.text} up to the next {of.text})", (after.ps // of.ps + 1) * of.ps)


class Named:
    """A platform's costs and a case's own times, as terms by their names.

    Args:
        platform: its costs must be constant; nested, its `forward` and `l1_exit` are named too.
        times: the case's own, in ps.
    """

    def __init__(self, platform: Platform, **times: int) -> None:
        self._platform, self._times = platform, times

    def __getattr__(self, name: str) -> Term:
        if name in self._times:
            return Term(name, self._times[name])
        nesting = self._platform.nesting
        if name in ("forward", "l1_exit") and nesting is not None:
            return Term(f"nesting.{name}", round(getattr(nesting, name).value.mean_ps))
        return Term(name, round(self._platform.costs.duration(name).mean_ps))
