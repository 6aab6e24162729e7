"""Exact and textbook results to hold the simulator against.

Times come in one unit and go out in the same (rates are per that unit), so that picoseconds and
multiples of a service time serve alike. Each function names its source, or derives its formula.

* `queues`: one queue with arrivals of its own (an open loop);
* `networks`: customers that think and come back (a closed loop), and bounds on them;
* `batching`: when gathering accesses pays;
* `notification`: a producer that kicks a consumer only if it sleeps.
"""

from vmexit_sim.analytic.batching import (
    batched_burden,
    batched_effect,
    batching_pays_from,
    effect_break_even,
    fill_wait,
    latency_break_even,
    single_effect,
    waiting_break_even,
)
from vmexit_sim.analytic.networks import (
    Bounds,
    Mva,
    asymptotic_bounds,
    mva,
    repairman,
    two_spinners,
    utilisation,
)
from vmexit_sim.analytic.notification import Notified, producer_consumer
from vmexit_sim.analytic.queues import (
    bulk_mm1_wait,
    erlang_d1_wait,
    md1_wait,
    mg1_wait,
    mm1_quantile,
    mm1_wait,
    mmc_wait,
    polling_cycle,
    polling_wait,
)

__all__ = [
    "Bounds", "Mva", "Notified", "asymptotic_bounds", "batched_burden", "batched_effect",
    "batching_pays_from", "bulk_mm1_wait", "effect_break_even", "erlang_d1_wait", "fill_wait",
    "latency_break_even", "md1_wait", "mg1_wait", "mm1_quantile", "mm1_wait", "mmc_wait", "mva",
    "polling_cycle", "polling_wait", "producer_consumer", "repairman", "single_effect",
    "two_spinners", "utilisation", "waiting_break_even",
]  # fmt: skip
