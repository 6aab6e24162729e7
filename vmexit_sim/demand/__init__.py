"""Service demand: what an access costs when nobody waits, read off its routine without a run.

A routine is walked from its first row to the next access, with every lock free and every time a
*sum* of a constant and columns of the access (`emulate`, random costs)::

    take ──► hold of a lock ──► put
    START ──► stall = constant + Σ coefficient × column ──► RESUME

Where the guest's past decides which way the routine goes (a batch that fills, a ring that is
empty), there is no such sum, and `StateDependent` says what decides. A branch whose sides cost the
access the same decides nothing: whether a guest idles before an arrival is no part of its stall.

Source: service demand and its use are those of P. J. Denning and J. P. Buzen, The operational
analysis of queueing network models, ACM Computing Surveys 10 (1978).
"""

from vmexit_sim.demand.sums import Moments, Sum, Unknown, moments_of
from vmexit_sim.demand.walk import Demand, Hold, StateDependent, demand_of

__all__ = [
    "Demand", "Hold", "Moments", "StateDependent", "Sum", "Unknown", "demand_of", "moments_of",
]  # fmt: skip
