"""The analytic twin: what theory says, beside what was simulated.

::

    routine ──► demand ──► sums, laws, bounds, queueing formulas ──┐
                                                                   ├──► agree?
    routine ──► engine ──► records ──► estimates ──────────────────┘

A theory is an *identity* (it holds for each run, draw for draw, so the two must be equal), *exact*
in expectation (the estimate's interval must hold it), a *bound*, or an *approximation* (then the
difference says how good that is, and nothing is wrong). Where a path depends on what was before
(batches, rings, interrupts) there is none, and a twin says why.
"""

from vmexit_sim.study.twin.comparison import Standing, Twin, twins

__all__ = ["Standing", "Twin", "twins"]
