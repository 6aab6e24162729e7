"""Selection: find the best of several policies, replicating only those that may still be it.

::

    sum of (other - own)        told to be worse: dropped
        │╲________
        │         ╲________            the region narrows with every replication and
        │                   ╲_____     ends where a difference of `indifference` would
     0 ─┼──────────────────────────▶   have shown: then the better mean wins
        │                    _____╱
        │          _________╱
        │_________╱

A policy that lies within `indifference` of the best is as good: which of them wins is left open.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from vmexit_sim.errors import InputError
from vmexit_sim.statistics.estimate import CONFIDENCE

FIRST = 10


class Selection:
    """KN++, a fully sequential selection of the best mean, valid under common random numbers.

    Each replication runs every policy that is still alive, on the same draws, and is added; the
    caller keeps the budget::

        selection = Selection(names, indifference=1e6)
        while not selection.decided and selection.replications < budget:
            selection.add({name: run(name, selection.replications) for name in selection.alive})

    If the best mean is better than every other by at least the indifference, it is chosen with at
    least the stated probability, asymptotically (as the indifference goes to 0). The variance of
    each difference is estimated anew with every replication, and the region follows its degrees of
    freedom: with few of them it is wider than in the limit.

    Source: Kim and Nelson, "On the asymptotic validity of fully sequential selection procedures for
    steady-state simulation", Operations Research 54 (2006), procedure KN++ with c = 1 on
    independent replications; error split over pairs for dependent policies: Kim and Nelson, "A
    fully sequential procedure for indifference-zone selection in simulation", ACM TOMACS 11 (2001).

    Args:
        names: the policies, at least one, each once.
        indifference: the smallest difference of means worth detecting, in the results' unit.
        confidence: the probability of choosing the best.
        first: replications before any policy is dropped, at least 2.
        larger_is_better: otherwise the smallest mean is the best.

    Raises:
        InputError: no names or one twice, or an argument out of its range.
    """

    def __init__(
        self,
        names: Sequence[str],
        indifference: float,
        confidence: float = CONFIDENCE,
        first: int = FIRST,
        *,
        larger_is_better: bool = False,
    ) -> None:
        if not names or len(set(names)) < len(names):
            raise InputError("are not distinct policies", key="names", value=list(names))
        if not 0 < indifference < math.inf:
            raise InputError("is not an indifference", key="indifference", value=indifference,
                             mend="give more than 0")  # fmt: skip
        if not 0.5 <= confidence < 1:
            raise InputError("is not a probability to choose the best with", key="confidence",
                             value=confidence, mend="give 0.5 or more and less than 1")  # fmt: skip
        if first < 2:
            raise InputError("are too few to see a spread", key="first", value=first,
                             mend="give 2 or more")  # fmt: skip
        self._names = list(names)
        self._alive = np.ones(len(names), bool)
        self._indifference, self._first = float(indifference), first
        self._error = (1 - confidence) / max(len(names) - 1, 1)
        self._sign = 1.0 if larger_is_better else -1.0
        self._n = 0
        # Of result i less result j, so that what they have in common cancels before it is squared.
        self._sums = np.zeros(len(names))
        self._means = np.zeros((len(names), len(names)))
        self._squares = np.zeros((len(names), len(names)))

    @property
    def replications(self) -> int:
        """Replications added so far, of those that are alive."""
        return self._n

    @property
    def alive(self) -> list[str]:
        """The policies that may still be the best, in the order they were given."""
        return [name for name, alive in zip(self._names, self._alive, strict=True) if alive]

    @property
    def decided(self) -> bool:
        """Whether only one is left."""
        return int(self._alive.sum()) == 1

    @property
    def best(self) -> str:
        """The one with the best mean of those alive; chosen only if `decided`."""
        standing = np.where(self._alive, self._sign * self._sums, -math.inf)
        return self._names[int(np.argmax(standing))]

    def add(self, results: Mapping[str, float]) -> None:
        """Add one replication: what each policy alive came to; others' results are ignored.

        Raises:
            InputError: a policy alive has no result, or none that is finite.
        """
        values = np.array(
            [results.get(name, math.nan) if alive else 0.0
             for name, alive in zip(self._names, self._alive, strict=True)], np.float64
        )  # fmt: skip
        if not np.isfinite(values).all():
            missing = self._names[int(np.flatnonzero(~np.isfinite(values))[0])]
            raise InputError("has no result in this replication", key=missing)
        self._n += 1
        self._sums += values
        differences = self._sign * (values[:, None] - values)
        old = differences - self._means
        self._means += old / self._n
        self._squares += old * (differences - self._means)
        if self._n >= self._first:
            self._screen()

    def _screen(self) -> None:
        """Drop whom another alive beats by more than the region allows."""
        n, freedom = self._n, self._n - 1
        variance = self._squares / freedom
        h_squared = freedom * ((2 * self._error) ** (-2 / freedom) - 1)
        allowed = np.maximum(
            h_squared * variance / (2 * self._indifference * n) - self._indifference / 2, 0.0
        )
        rivals = self._alive[:, None] & self._alive
        beaten = (rivals & (self._means < -allowed)).any(axis=1)
        # Equal to the last bit where no difference is allowed any more: the first of them will do.
        is_tie = rivals & (self._means == 0) & (allowed == 0)
        beaten |= np.tril(is_tie, -1).any(axis=1)
        self._alive &= ~beaten
